//! What a request says beside its body: query parameters and preconditions.

use super::error::{ScimError, quote};
use super::schema::Definition;
use crate::http::Request;
use crate::http::header::HeaderMap;

/// How many resources a list holds, as announced in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageSizes {
    /// Where the client does not say.
    pub default: u64,
    /// At most.
    pub most: u64,
}

/// Names in `attributes` or `excludedAttributes` beyond this are not read.
const MOST_NAMES: usize = 200;

/// Which attributes the client wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Only these, beside those that are always returned.
    pub attributes: Option<Vec<String>>,
    /// All but these.
    pub excluded: Option<Vec<String>>,
}

impl Wanted {
    /// Reads `attributes` and `excludedAttributes`.
    ///
    /// # Errors
    /// 400 where both are given (RFC 7644 section 3.9 makes them alternatives).
    pub fn read(pairs: &[(String, String)]) -> Result<Self, ScimError> {
        let names = |key: &str| {
            let text = value(pairs, key)?;
            Some(
                text.split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
                    .take(MOST_NAMES)
                    .collect(),
            )
        };
        let wanted = Self { attributes: names("attributes"), excluded: names("excludedAttributes") };
        if wanted.attributes.is_some() && wanted.excluded.is_some() {
            return Err(ScimError::invalid_value("send either attributes or excludedAttributes, not both"));
        }
        Ok(wanted)
    }

    /// Whether the answer can hold the attribute.
    pub fn includes(&self, definition: &Definition, path: &str) -> bool {
        definition.includes(path, self.attributes.as_deref(), self.excluded.as_deref())
    }
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At this index, from 1 (RFC 7644 section 3.4.2.4).
    Index(u64),
    /// Where this cursor says; an empty one begins a walk (RFC 9865).
    Cursor(String),
}

/// What a list asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// The filter's text.
    pub filter: Option<String>,
    /// Where the page begins.
    pub start: Start,
    /// At most so many.
    pub count: u64,
    /// The path to sort by, and whether descending.
    pub sort: Option<(String, bool)>,
    /// Which attributes.
    pub wanted: Wanted,
}

impl Listing {
    /// Reads the parameters of RFC 7644 section 3.4.2 and RFC 9865. With an index, numbers out of range are clamped
    /// as the former says; with a cursor, `count` must be in range as the latter says.
    ///
    /// # Errors
    /// 400 for a number that is none, for another `sortOrder`, and for an index beside a cursor; `invalidCount`.
    pub fn read(pairs: &[(String, String)], sizes: PageSizes) -> Result<Self, ScimError> {
        let (start, count) = match value(pairs, "cursor") {
            Some(cursor) => (Start::Cursor(cursor.trim().to_owned()), count_in_range(pairs, sizes)?),
            None => {
                let start = number(pairs, "startIndex")?.unwrap_or(1).max(1).unsigned_abs();
                let count = number(pairs, "count")?.map_or(sizes.default, |count| count.max(0).unsigned_abs());
                (Start::Index(start), count.min(sizes.most))
            }
        };
        let descending = match value(pairs, "sortOrder").map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "ascending") => false,
            Some("descending") => true,
            Some(other) => {
                let detail = format!("sortOrder is {}; use ascending or descending", quote(other));
                return Err(ScimError::invalid_value(detail));
            }
        };
        let text = |key| value(pairs, key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            filter: text("filter"),
            start,
            count,
            sort: text("sortBy").map(|path| (path, descending)),
            wanted: Wanted::read(pairs)?,
        })
    }
}

/// The `count` of a walk by cursor.
fn count_in_range(pairs: &[(String, String)], sizes: PageSizes) -> Result<u64, ScimError> {
    if value(pairs, "startIndex").is_some_and(|text| !text.trim().is_empty()) {
        return Err(ScimError::invalid_value("send either startIndex or cursor, not both"));
    }
    let most = sizes.most;
    let out_of_range = || ScimError::invalid_count(format!("with a cursor, count must be a number from 1 to {most}"));
    let count = number(pairs, "count").map_err(|_| out_of_range())?;
    let count = count.map_or(Ok(sizes.default), |count| u64::try_from(count).map_err(|_| out_of_range()))?;
    if (1..=most).contains(&count) { Ok(count) } else { Err(out_of_range()) }
}

/// The first value of a parameter; names match without case.
pub(super) fn value<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
}

/// A whole number, held within 64 bits however long the text is.
fn number(pairs: &[(String, String)], key: &str) -> Result<Option<i64>, ScimError> {
    let Some(text) = value(pairs, key).map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ScimError::invalid_value(format!("{key} is {}; send a whole number", quote(text))));
    }
    let beyond = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Ok(Some(text.parse().unwrap_or(beyond)))
}

/// `If-Match` and `If-None-Match`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Precondition {
    matches: Option<String>,
    none_match: Option<String>,
}

impl Precondition {
    /// Reads the headers.
    ///
    /// # Errors
    /// 400 where one is given twice or not printable: a precondition is never passed over.
    pub fn read(request: &Request) -> Result<Self, ScimError> {
        let header = |name: &str| match (header_count(&request.headers, name), request.header(name)) {
            (0, _) => Ok(None),
            (_, Some(text)) => Ok(Some(text.to_owned())),
            (_, None) => Err(ScimError::invalid_value(format!("send {name} once, as printable text"))),
        };
        Ok(Self { matches: header("if-match")?, none_match: header("if-none-match")? })
    }

    /// Whether a write may go on at this version.
    ///
    /// # Errors
    /// 412 where it may not.
    pub fn check(&self, version: u64) -> Result<(), ScimError> {
        let holds = self.matches.as_deref().is_none_or(|tags| names(tags, version))
            && !self.none_match.as_deref().is_some_and(|tags| names(tags, version));
        if holds {
            return Ok(());
        }
        Err(ScimError::version_mismatch(
            "the resource has changed since it was read; read it again and repeat the change",
        ))
    }

    /// Whether a reader has this version already.
    pub fn is_unmodified(&self, version: u64) -> bool {
        self.none_match.as_deref().is_some_and(|tags| names(tags, version))
    }

    /// Whether the client named the version that it means.
    pub fn is_set(&self) -> bool {
        self.matches.is_some()
    }
}

fn header_count(headers: &HeaderMap, name: &str) -> usize {
    headers.get_all(name).iter().count()
}

/// Whether a list of entity tags names this version, compared weakly (RFC 9110 section 8.8.3.2).
fn names(tags: &str, version: u64) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        tag == "*"
            || tag
                .strip_prefix("W/")
                .unwrap_or(tag)
                .strip_prefix('"')
                .and_then(|tag| tag.strip_suffix('"'))
                .is_some_and(|tag| tag == version.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: PageSizes = PageSizes { default: 100, most: 200 };

    fn pairs(query: &str) -> Vec<(String, String)> {
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    #[test]
    fn numbers_are_clamped_and_nonsense_is_refused() {
        let cases = [
            ("", (1, 100)),
            ("&", (1, 100)),
            ("startIndex=0&count=-5", (1, 0)),
            ("startIndex=-3&count=0", (1, 0)),
            ("startIndex=7&count=1000000000000000000000000", (7, 200)),
            ("STARTINDEX=2&Count=3&", (2, 3)),
            ("startIndex=99999999999999999999", (i64::MAX.unsigned_abs(), 100)),
        ];
        for (query, expected) in cases {
            let listing = Listing::read(&pairs(query), SIZES).unwrap();
            assert_eq!((listing.start, listing.count), (Start::Index(expected.0), expected.1), "{query}");
        }
        for query in ["count=x", "startIndex=1.5", "count=-", "count=0x1", "sortOrder=up"] {
            assert_eq!(Listing::read(&pairs(query), SIZES).unwrap_err().status.as_u16(), 400, "{query}");
        }
    }

    #[test]
    fn with_a_cursor_the_count_must_be_in_range() {
        for (query, cursor, count) in
            [("cursor", "", 100), ("cursor=&count=1", "", 1), ("count=200&cursor=x", "x", 200)]
        {
            let listing = Listing::read(&pairs(query), SIZES).unwrap();
            assert_eq!((listing.start, listing.count), (Start::Cursor(cursor.to_owned()), count), "{query}");
        }
        for count in ["0", "-1", "201", "1000000000000000000000000", "x"] {
            let error = Listing::read(&pairs(&format!("cursor&count={count}")), SIZES).unwrap_err();
            assert_eq!(error.scim_type, Some("invalidCount"), "{count}");
        }
        let both = Listing::read(&pairs("cursor&startIndex=1"), SIZES).unwrap_err();
        assert_eq!(both.scim_type, Some("invalidValue"));
    }

    #[test]
    fn wanted_attributes_are_alternatives() {
        let wanted = Wanted::read(&pairs("attributes=userName, emails.value,,")).unwrap();
        assert_eq!(wanted.attributes.unwrap(), ["userName", "emails.value"]);
        assert!(Wanted::read(&pairs("attributes=a&excludedAttributes=b")).is_err());
    }

    #[test]
    fn tags_are_compared_weakly() {
        let with = |matches: Option<&str>, none_match: Option<&str>| Precondition {
            matches: matches.map(str::to_owned),
            none_match: none_match.map(str::to_owned),
        };
        for tags in ["W/\"3\"", "\"3\"", "*", "\"1\", W/\"3\""] {
            assert!(with(Some(tags), None).check(3).is_ok(), "{tags}");
            assert!(with(None, Some(tags)).is_unmodified(3));
            assert!(with(None, Some(tags)).check(3).is_err());
        }
        for tags in ["W/\"4\"", "3", "", "W/3"] {
            assert!(with(Some(tags), None).check(3).is_err(), "{tags}");
            assert!(!with(None, Some(tags)).is_unmodified(3));
        }
        assert!(with(None, None).check(3).is_ok());
    }
}
