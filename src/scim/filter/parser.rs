//! Text of filters and of PATCH paths, read by hand: one pass, every limit held while reading.

use super::{DEEPEST_FILTER, Filter, LONGEST_FILTER, Literal, MOST_TERMS, Operator};
use crate::scim::error::ScimError;
use crate::scim::schema::Tolerance;

/// A PATCH path as written: `attribute`, `attribute[filter]` or `attribute[filter].part`. Without a filter the
/// attribute still holds its part (`name.givenName`): only the schema can tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::scim) struct PathText {
    pub attribute: String,
    pub filter: Option<Filter>,
    pub sub: Option<String>,
}

/// See [`Filter::parse`].
pub(super) fn parse_filter(text: &str, tolerance: &Tolerance) -> Result<Filter, ScimError> {
    let mut parser = Parser::new(text, tolerance);
    let whole = parser.check_length().and_then(|()| {
        let filter = parser.any()?;
        parser.end()?;
        Ok(filter)
    });
    whole.map_err(|fault| ScimError::invalid_filter(parser.explain("filter", &fault)))
}

/// Reads a PATCH path. Errors: 400 `invalidPath`, also where the filter inside is at fault.
pub(in crate::scim) fn parse_path(text: &str, tolerance: &Tolerance) -> Result<PathText, ScimError> {
    let mut parser = Parser::new(text, tolerance);
    let whole = parser.check_length().and_then(|()| {
        let attribute = parser.path()?;
        let mut path = PathText { attribute, filter: None, sub: None };
        if parser.peek()? == Token::OpenBracket {
            path.filter = Some(parser.bracket()?);
            path.sub = parser.adjacent_part()?;
        }
        parser.end()?;
        Ok(path)
    });
    whole.map_err(|fault| ScimError::invalid_path(parser.explain("path", &fault)))
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'t> {
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Text(String),
    Word(&'t str),
    End,
}

struct Parser<'t> {
    text: &'t str,
    /// A byte offset at a character boundary.
    position: usize,
    depth: usize,
    terms: usize,
    in_element: bool,
    tolerance: &'t Tolerance,
}

type Parsed<T> = Result<T, String>;

impl<'t> Parser<'t> {
    fn new(text: &'t str, tolerance: &'t Tolerance) -> Self {
        Self { text, position: 0, depth: 0, terms: 0, in_element: false, tolerance }
    }

    fn explain(&self, what: &str, fault: &str) -> String {
        let place = self.text.get(..self.position).unwrap_or("").chars().count();
        format!("the {what} cannot be read near character {place}: {fault}")
    }

    fn check_length(&self) -> Parsed<()> {
        let fits = self.text.len() <= LONGEST_FILTER;
        if fits { Ok(()) } else { Err(format!("it is longer than {LONGEST_FILTER} bytes")) }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.position..).unwrap_or("")
    }

    fn next(&mut self) -> Parsed<Token<'t>> {
        let trimmed = self.rest().trim_start();
        self.position = self.text.len() - trimmed.len();
        let Some(first) = trimmed.chars().next() else { return Ok(Token::End) };
        let single = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            '[' => Token::OpenBracket,
            ']' => Token::CloseBracket,
            '"' => return self.quoted(trimmed),
            _ => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | '"');
                let word = trimmed.find(ends).and_then(|end| trimmed.get(..end)).unwrap_or(trimmed);
                self.position += word.len();
                return Ok(Token::Word(word));
            }
        };
        self.position += 1;
        Ok(single)
    }

    /// A JSON string: finds its end, then lets the JSON parser read it.
    fn quoted(&mut self, from: &'t str) -> Parsed<Token<'t>> {
        let mut escaped = false;
        for (offset, byte) in from.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let literal = from.get(..=offset).unwrap_or("");
                    let text: String =
                        serde_json::from_str(literal).map_err(|_| "the quoted text is not a JSON string".to_owned())?;
                    if text.contains('\0') {
                        return Err("the quoted text holds the character NUL".to_owned());
                    }
                    self.position += literal.len();
                    return Ok(Token::Text(text));
                }
                _ => {}
            }
        }
        Err("the quoted text has no end".to_owned())
    }

    fn peek(&mut self) -> Parsed<Token<'t>> {
        let before = self.position;
        let token = self.next();
        self.position = before;
        token
    }

    /// Takes a word of the grammar (`and`, `or`, `pr`) if it comes next.
    fn take_word(&mut self, wanted: &str) -> Parsed<bool> {
        let before = self.position;
        if matches!(self.next()?, Token::Word(word) if word.eq_ignore_ascii_case(wanted)) {
            return Ok(true);
        }
        self.position = before;
        Ok(false)
    }

    fn expect(&mut self, wanted: &Token<'_>, name: &str) -> Parsed<()> {
        let before = self.position;
        if self.next()? == *wanted {
            return Ok(());
        }
        self.position = before;
        Err(format!("expected {name}"))
    }

    fn end(&mut self) -> Parsed<()> {
        self.expect(&Token::End, "`and`, `or` or the end")
    }

    fn any(&mut self) -> Parsed<Filter> {
        let mut filters = Vec::new();
        loop {
            let filter = self.all()?;
            if let Filter::Or(inner) = filter {
                filters.extend(inner);
            } else {
                filters.push(filter);
            }
            if !self.take_word("or")? {
                return Ok(only(filters, Filter::Or));
            }
        }
    }

    fn all(&mut self) -> Parsed<Filter> {
        let mut filters = Vec::new();
        loop {
            let filter = self.unit()?;
            if let Filter::And(inner) = filter {
                filters.extend(inner);
            } else {
                filters.push(filter);
            }
            if !self.take_word("and")? {
                return Ok(only(filters, Filter::And));
            }
        }
    }

    fn unit(&mut self) -> Parsed<Filter> {
        if self.peek()? == Token::Open {
            return self.group();
        }
        let before = self.position;
        if self.take_word("not")? && self.peek()? == Token::Open {
            return self.group().map(|filter| Filter::Not(Box::new(filter)));
        }
        self.position = before;
        self.comparison()
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        let fits = self.depth <= DEEPEST_FILTER;
        if fits { Ok(()) } else { Err(format!("it is nested deeper than {DEEPEST_FILTER} levels")) }
    }

    fn group(&mut self) -> Parsed<Filter> {
        self.deeper()?;
        self.expect(&Token::Open, "`(`")?;
        let filter = self.any()?;
        self.expect(&Token::Close, "`and`, `or` or `)`")?;
        self.depth -= 1;
        Ok(filter)
    }

    fn bracket(&mut self) -> Parsed<Filter> {
        if self.in_element {
            return Err("a value path cannot stand inside another".to_owned());
        }
        self.deeper()?;
        self.expect(&Token::OpenBracket, "`[`")?;
        self.in_element = true;
        let filter = self.any()?;
        self.in_element = false;
        self.expect(&Token::CloseBracket, "`and`, `or` or `]`")?;
        self.depth -= 1;
        Ok(filter)
    }

    /// `.part` right behind a `]`.
    fn adjacent_part(&mut self) -> Parsed<Option<String>> {
        if !self.rest().starts_with('.') {
            return Ok(None);
        }
        self.position += 1;
        if self.rest().starts_with(char::is_whitespace) {
            return Err("expected a sub-attribute behind the dot".to_owned());
        }
        self.path().map(Some)
    }

    fn path(&mut self) -> Parsed<String> {
        let before = self.position;
        if let Token::Word(word) = self.next()?
            && word.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Ok(word.to_owned());
        }
        self.position = before;
        Err("expected an attribute".to_owned())
    }

    fn comparison(&mut self) -> Parsed<Filter> {
        let path = self.path()?;
        if self.peek()? != Token::OpenBracket {
            return self.condition(path);
        }
        let filter = self.bracket()?;
        let filter = match self.adjacent_part()? {
            None => filter,
            Some(part) => {
                let more = self.condition(part)?;
                let mut filters = if let Filter::And(filters) = filter { filters } else { vec![filter] };
                filters.push(more);
                Filter::And(filters)
            }
        };
        Ok(Filter::Element { path, filter: Box::new(filter) })
    }

    fn condition(&mut self, path: String) -> Parsed<Filter> {
        self.terms += 1;
        if self.terms > MOST_TERMS {
            return Err(format!("it has more than {MOST_TERMS} comparisons"));
        }
        if self.take_word("pr")? {
            return Ok(Filter::Present { path });
        }
        let before = self.position;
        let operator = if let Token::Word(word) = self.next()? { Operator::parse(word) } else { None };
        let Some(operator) = operator else {
            self.position = before;
            return Err("expected an operator (eq ne co sw ew gt ge lt le pr)".to_owned());
        };
        Ok(Filter::Compare { path, operator, value: self.literal()? })
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let before = self.position;
        let word = match self.next()? {
            Token::Text(text) => return Ok(Literal::Text(text)),
            Token::Word(word) => word,
            Token::Open | Token::Close | Token::OpenBracket | Token::CloseBracket | Token::End => {
                self.position = before;
                return Err("expected a value in double quotes, a number, true, false or null".to_owned());
            }
        };
        match word {
            "true" => Ok(Literal::Boolean(true)),
            "false" => Ok(Literal::Boolean(false)),
            "null" => Ok(Literal::Null),
            number if serde_json::from_str::<serde_json::Number>(number).is_ok() => {
                Ok(Literal::Number(number.to_owned()))
            }
            bare if self.tolerance.unquoted_literals && !bare.contains('\0') => Ok(Literal::Text(bare.to_owned())),
            _ => {
                self.position = before;
                Err("text must stand in double quotes".to_owned())
            }
        }
    }
}

fn only(mut filters: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match (filters.len(), filters.pop()) {
        (1, Some(filter)) => filter,
        (_, last) => {
            filters.extend(last);
            many(filters)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Filter, ScimError> {
        Filter::parse(text, &Tolerance::STRICT)
    }

    #[test]
    fn the_grammar_and_its_canonical_text() {
        let cases = [
            ("userName Eq \"bjensen\"", "userName eq \"bjensen\""),
            ("title PR and userType eq \"E\"", "title pr and userType eq \"E\""),
            ("a pr or b pr and c pr", "a pr or b pr and c pr"),
            ("(a pr or b pr) and c pr", "(a pr or b pr) and c pr"),
            ("((a pr) and ((b pr and c pr)))", "a pr and b pr and c pr"),
            ("a pr or (b pr or c pr)", "a pr or b pr or c pr"),
            ("NOT(a pr)", "not (a pr)"),
            ("not (not (a pr and b pr))", "not (not (a pr and b pr))"),
            ("emails[type eq \"work\" and value co \"@x\"]", "emails[type eq \"work\" and value co \"@x\"]"),
            ("emails[type eq \"work\"].value eq \"x\"", "emails[type eq \"work\" and value eq \"x\"]"),
            ("e[a pr or b pr].c pr", "e[(a pr or b pr) and c pr]"),
            ("urn:x:2.0:User:a.b  eq   -1.50e3", "urn:x:2.0:User:a.b eq -1.50e3"),
            ("active eq true and x eq null", "active eq true and x eq null"),
            (r#"a eq "q\"\\ü\u00e9""#, r#"a eq "q\"\\üé""#),
            ("a eq \")\"", "a eq \")\""),
            ("not eq 1", "not eq 1"),
        ];
        for (text, canonical) in cases {
            let filter = parse(text).unwrap();
            assert_eq!(filter.to_string(), canonical);
            assert_eq!(parse(canonical).unwrap(), filter);
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_place() {
        for text in [
            "",
            " ",
            "userName",
            "userName eq",
            "userName xx \"a\"",
            "userName eq a",
            "userName eq \"a",
            "userName eq \"a\" and",
            "userName eq \"a\" userName",
            "(userName pr",
            "userName pr)",
            "not userName pr",
            "emails[type eq \"a\"",
            "emails[]",
            "emails[a[b pr]]",
            "emails[type pr]. value pr",
            "\"a\" eq \"b\"",
            "a eq TRUE",
            "a eq 01",
            "a eq \"\\ud800\"",
            "a eq \"\\u0000\"",
            "ü pr",
            "a pr; b pr",
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.scim_type, Some("invalidFilter"), "{text}");
        }
        assert!(parse("a pr and b xx 1").unwrap_err().detail.contains("near character 10"));
    }

    #[test]
    fn bare_words_are_forgiven_where_the_profile_says_so() {
        let filter = Filter::parse("userName eq jdoe@x.org and b eq True", &Tolerance::GENERIC).unwrap();
        assert_eq!(filter.to_string(), "userName eq \"jdoe@x.org\" and b eq \"True\"");
    }

    #[test]
    fn limits_hold_while_reading() {
        let nested = |depth: usize| format!("{}a pr{}", "(".repeat(depth), ")".repeat(depth));
        parse(&nested(DEEPEST_FILTER)).unwrap();
        parse(&nested(DEEPEST_FILTER + 1)).unwrap_err();
        parse(&"(".repeat(8000)).unwrap_err();
        parse(&"not (".repeat(3000)).unwrap_err();
        let many = |terms: usize| vec!["a pr"; terms].join(" or ");
        parse(&many(MOST_TERMS)).unwrap();
        assert!(parse(&many(MOST_TERMS + 1)).unwrap_err().detail.contains("64 comparisons"));
        assert!(parse(&many(10_000)).unwrap_err().detail.contains("16384 bytes"));
    }

    #[test]
    fn paths_of_operations() {
        let path = |text: &str| parse_path(text, &Tolerance::STRICT);
        let plain = path("urn:x:2.0:User:name.givenName").unwrap();
        assert_eq!((plain.attribute.as_str(), plain.filter, plain.sub), ("urn:x:2.0:User:name.givenName", None, None));
        let full = path("emails[type eq \"work\"].value").unwrap();
        assert_eq!(full.filter.unwrap().to_string(), "type eq \"work\"");
        assert_eq!(full.sub.as_deref(), Some("value"));
        for wrong in ["", "a b", "a[", "a[b pr", "a[b pr]c", "a[b pr].", "a[b pr] .c", "a[b pr].c d", "[b pr]", "\"a\""]
        {
            assert_eq!(path(wrong).expect_err(wrong).scim_type, Some("invalidPath"));
        }
    }

    fn any_path() -> impl Strategy<Value = String> {
        "(urn:x:2\\.0:User:)?[a-z$][A-Za-z0-9_-]{0,8}(\\.[a-z]{1,5})?"
    }

    fn any_literal() -> impl Strategy<Value = Literal> {
        prop_oneof![
            "[^\\x00]{0,12}".prop_map(Literal::Text),
            any::<i64>().prop_map(|number| Literal::Number(number.to_string())),
            any::<bool>().prop_map(Literal::Boolean),
            Just(Literal::Null),
        ]
    }

    fn any_term() -> impl Strategy<Value = Filter> {
        let operator = prop::sample::select(Operator::ALL.to_vec());
        prop_oneof![
            any_path().prop_map(|path| Filter::Present { path }),
            (any_path(), operator, any_literal()).prop_map(|(path, operator, value)| Filter::Compare {
                path,
                operator,
                value
            }),
        ]
    }

    fn tree(leaf: BoxedStrategy<Filter>) -> BoxedStrategy<Filter> {
        let join = |filters: Vec<Filter>, and: bool| {
            let flat = filters.into_iter().flat_map(|filter| match filter {
                Filter::And(inner) if and => inner,
                Filter::Or(inner) if !and => inner,
                other @ (Filter::And(_)
                | Filter::Or(_)
                | Filter::Not(_)
                | Filter::Present { .. }
                | Filter::Compare { .. }
                | Filter::Element { .. }) => vec![other],
            });
            if and { Filter::And(flat.collect()) } else { Filter::Or(flat.collect()) }
        };
        leaf.prop_recursive(4, 20, 3, move |inner| {
            prop_oneof![
                (prop::collection::vec(inner.clone(), 2..4), any::<bool>()).prop_map(move |(f, and)| join(f, and)),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
        .boxed()
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let element = (any_path(), tree(any_term().boxed()))
            .prop_map(|(path, filter)| Filter::Element { path, filter: Box::new(filter) });
        tree(prop_oneof![3 => any_term(), 1 => element].boxed())
    }

    proptest! {
        #[test]
        fn text_round_trips(filter in any_filter()) {
            prop_assume!(filter.to_string().matches(" pr").count() < 30);
            match Filter::parse(&filter.to_string(), &Tolerance::STRICT) {
                Ok(again) => prop_assert_eq!(again, filter),
                Err(error) => prop_assert!(error.detail.contains("comparisons"), "{}", error),
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}", grammar in "([a-c(\\[\\]).\" ]|not|and|or|eq|pr){0,40}") {
            let _ = Filter::parse(&text, &Tolerance::GENERIC);
            let _ = Filter::parse(&grammar, &Tolerance::GENERIC);
            let _ = parse_path(&grammar, &Tolerance::GENERIC);
        }
    }
}
