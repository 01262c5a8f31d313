//! Routes, checked and ready: exact paths first, then templates from the most to the least particular, then prefixes.

use hashbrown::HashMap;
use hyper::header::{ALLOW, HeaderValue};
use percent_encoding::percent_decode_str;

use super::{Endpoint, Handling, Registration, Renderer, Router, RouterError};
use crate::http::{HeadHandler, Method, Refusal, Response};

/// The routes of one listener. Never changes.
pub struct RouteTable {
    /// Paths without parameters, by their exact text: the short way for the busiest endpoints.
    exact: HashMap<&'static str, usize>,
    /// Every template, those with fewer parameters first.
    templates: Vec<Node>,
    /// The longest first.
    prefixes: Vec<Node>,
    /// The longest first.
    renderers: Vec<(&'static str, Renderer)>,
    alike: Vec<(Method, &'static str, HeadHandler)>,
    endpoints: Vec<Endpoint>,
}

/// The route of a request.
pub struct Found<'a> {
    /// How it is answered.
    pub handling: &'a Handling,
    /// Its template, for logs: unlike the path it holds nothing of the client's.
    pub template: &'static str,
    /// The parameters by name, percent-decoded.
    pub parameters: Vec<(&'static str, String)>,
}

/// No route: why, and the methods that the path does answer, where it answers any.
#[derive(Debug)]
pub struct Miss {
    /// 404, 405, or 400 for a parameter that cannot be decoded.
    pub refusal: Refusal,
    allow: Option<HeaderValue>,
}

struct Node {
    template: &'static str,
    segments: Vec<Segment>,
    folded: bool,
    methods: Vec<(Method, Handling)>,
    any: Option<Handling>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    Parameter(&'static str),
}

impl RouteTable {
    pub(super) fn build(router: Router) -> Result<Self, RouterError> {
        let endpoints = router.endpoints();
        let Router { registrations, mut renderers, folded, alike } = router;
        let (mut templates, mut prefixes): (Vec<Node>, Vec<Node>) = (Vec::new(), Vec::new());
        for registration in registrations {
            let nodes = if registration.is_prefix { &mut prefixes } else { &mut templates };
            register(nodes, registration, &folded)?;
        }
        templates.sort_by_key(Node::parameter_count);
        if let Some((first, second)) = undecided(&templates) {
            let (first, second) = (first.template.to_owned(), second.template.to_owned());
            return Err(RouterError::Ambiguous { first, second });
        }
        prefixes.sort_by_key(|node| std::cmp::Reverse(node.template.len()));
        renderers.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let exact = templates
            .iter()
            .enumerate()
            .filter(|(_, node)| node.parameter_count() == 0)
            .map(|(index, node)| (node.template, index))
            .collect();
        Ok(Self { exact, templates, prefixes, renderers, alike, endpoints })
    }

    /// The route for a method and a path, the path as sent and without its query.
    ///
    /// # Errors
    /// [`Miss`]: 404, 405, or 400 for a parameter that cannot be decoded.
    pub fn find(&self, method: &Method, path: &str) -> Result<Found<'_>, Miss> {
        if let Some(node) = self.exact.get(path).and_then(|index| self.templates.get(*index)) {
            return node.select(method, Vec::new());
        }
        if let Some(node) = self.templates.iter().find(|node| node.matches(path)) {
            return node.select(method, node.parameters(path)?);
        }
        if let Some(node) = self.prefixes.iter().find(|node| node.begins(path)) {
            return node.select(method, Vec::new());
        }
        Err(Refusal::not_found("there is no such endpoint; look at the path").into())
    }

    /// What says how requests like this one may be answered.
    pub fn alike(&self, method: &Method, path: &str) -> Option<&HeadHandler> {
        let found = self.alike.iter().find(|(of, on, _)| of == method && *on == path);
        found.map(|(.., handler)| handler)
    }

    /// Whether any requests may be answered by their likeness.
    pub fn has_alike(&self) -> bool {
        !self.alike.is_empty()
    }

    /// Renders a refusal as the routes on this path want it.
    pub fn render(&self, path: &str, refusal: &Refusal) -> Response {
        match self.renderers.iter().find(|(prefix, _)| begins_without_case(path, prefix)) {
            Some((_, renderer)) => renderer(refusal),
            None => refusal.to_response(),
        }
    }

    /// Renders a miss: as [`Self::render`], with `Allow` where the path answers other methods.
    pub fn render_miss(&self, path: &str, miss: &Miss) -> Response {
        let mut response = self.render(path, &miss.refusal);
        if let Some(allow) = &miss.allow {
            response.headers_mut().insert(ALLOW, allow.clone());
        }
        response
    }

    /// Every endpoint, sorted.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

impl From<Refusal> for Miss {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, allow: None }
    }
}

impl Node {
    fn parameter_count(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Parameter(_))).count()
    }

    fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/').skip(1);
        path.starts_with('/')
            && self.segments.iter().all(|segment| {
                parts.next().is_some_and(|part| match segment {
                    Segment::Literal(text) => self.same(text, part),
                    Segment::Parameter(_) => !part.is_empty(),
                })
            })
            && parts.next().is_none()
    }

    fn begins(&self, path: &str) -> bool {
        if self.folded { begins_without_case(path, self.template) } else { path.starts_with(self.template) }
    }

    fn same(&self, literal: &str, part: &str) -> bool {
        literal == part || (self.folded && literal.eq_ignore_ascii_case(part))
    }

    fn parameters(&self, path: &str) -> Result<Vec<(&'static str, String)>, Refusal> {
        let mut parameters = Vec::new();
        for (segment, part) in self.segments.iter().zip(path.split('/').skip(1)) {
            if let Segment::Parameter(name) = segment {
                parameters.push((*name, decode(name, part)?));
            }
        }
        Ok(parameters)
    }

    fn select(&self, method: &Method, parameters: Vec<(&'static str, String)>) -> Result<Found<'_>, Miss> {
        let named = |wanted: &Method| self.methods.iter().find(|(method, _)| method == wanted);
        let handling = named(method).map(|(_, handling)| handling).or(self.any.as_ref()).or_else(|| {
            // RFC 9110 section 9.3.2: HEAD is GET without the body, which the server leaves out.
            if method == Method::HEAD { named(&Method::GET).map(|(_, handling)| handling) } else { None }
        });
        match handling {
            Some(handling) => Ok(Found { handling, template: self.template, parameters }),
            None => Err(self.wrong_method(method)),
        }
    }

    fn wrong_method(&self, method: &Method) -> Miss {
        let mut names: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        names.sort_unstable();
        let allowed = names.join(", ");
        let message = format!("{method} is not answered here; use one of {allowed}");
        Miss { refusal: Refusal::method_not_allowed(message), allow: HeaderValue::try_from(allowed).ok() }
    }

    /// Whether some path matches both.
    fn overlaps(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(one, two)| match (one, two) {
                (Segment::Literal(one), Segment::Literal(two)) => self.same(one, two) || other.same(one, two),
                (Segment::Literal(_) | Segment::Parameter(_), Segment::Parameter(_))
                | (Segment::Parameter(_), Segment::Literal(_)) => true,
            })
    }

    /// Whether this one has a literal wherever the other has one, so that "literal beats parameter" decides.
    fn is_at_least_as_particular(&self, other: &Self) -> bool {
        self.segments.iter().zip(&other.segments).all(|(one, two)| match (one, two) {
            (Segment::Literal(_), Segment::Literal(_) | Segment::Parameter(_))
            | (Segment::Parameter(_), Segment::Parameter(_)) => true,
            (Segment::Parameter(_), Segment::Literal(_)) => false,
        })
    }

    fn add(&mut self, method: Option<Method>, handling: Handling) -> Result<(), String> {
        match method {
            None if self.any.is_some() => Err(format!("* {}", self.template)),
            None => {
                self.any = Some(handling);
                Ok(())
            }
            Some(method) if self.methods.iter().any(|(held, _)| *held == method) => {
                Err(format!("{method} {}", self.template))
            }
            Some(method) => {
                self.methods.push((method, handling));
                Ok(())
            }
        }
    }
}

/// Puts a registration where its template already is, or opens a new place.
fn register(nodes: &mut Vec<Node>, registration: Registration, folded: &[&'static str]) -> Result<(), RouterError> {
    let Registration { method, template, is_prefix, handling } = registration;
    let segments = segments(template, is_prefix)?;
    let folded = folded.iter().any(|prefix| template.starts_with(prefix));
    let mut node = Node { template, segments, folded, methods: Vec::new(), any: None };
    let again = nodes.iter_mut().find(|held| {
        let same_way = held.is_at_least_as_particular(&node) && node.is_at_least_as_particular(held);
        held.overlaps(&node) && same_way
    });
    let Some(held) = again else {
        // A new node holds nothing yet, so there is nothing to collide with.
        let _ = node.add(method, handling);
        nodes.push(node);
        return Ok(());
    };
    let second = method.as_ref().map_or_else(|| format!("* {template}"), |method| format!("{method} {template}"));
    if held.segments != node.segments {
        // The same shape under other names (or another case): handlers would ask for parameters that are not there.
        return Err(RouterError::Ambiguous { first: held.template.to_owned(), second });
    }
    held.add(method, handling).map_err(|first| RouterError::Ambiguous { first, second })
}

/// Two templates that match a common path, neither having a literal wherever the other has one.
fn undecided(templates: &[Node]) -> Option<(&Node, &Node)> {
    let pairs = templates
        .iter()
        .enumerate()
        .flat_map(|(index, one)| templates.iter().skip(index + 1).map(move |two| (one, two)));
    pairs.into_iter().find(|(one, two)| one.overlaps(two) && !one.is_at_least_as_particular(two))
}

fn segments(template: &'static str, is_prefix: bool) -> Result<Vec<Segment>, RouterError> {
    let refuse = |why| Err(RouterError::Template { template, why });
    let Some(inner) = template.strip_prefix('/') else { return refuse("does not begin with a slash") };
    if is_prefix && !template.ends_with('/') {
        return refuse("is a prefix and does not end with a slash");
    }
    if is_prefix && template.contains(['{', '}']) {
        return refuse("is a prefix and has a parameter");
    }
    let mut segments = Vec::new();
    for part in inner.split('/') {
        let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some("") => return refuse("has a parameter without a name"),
            Some(name) if segments.contains(&Segment::Parameter(name)) => {
                return refuse("names two parameters alike");
            }
            Some(name) => segments.push(Segment::Parameter(name)),
            None if part.contains(['{', '}']) => return refuse("has a parameter that is only part of a segment"),
            None => segments.push(Segment::Literal(part)),
        }
    }
    Ok(segments)
}

/// Decodes once. What does not decode cleanly is refused, never repaired.
fn decode(name: &str, part: &str) -> Result<String, Refusal> {
    let refuse = |why| Err(Refusal::bad_request(format!("the path's {name} {why}; percent-encode it as UTF-8")));
    let mut after = part.split('%').skip(1);
    if after.any(|rest| !rest.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))) {
        return refuse("has a percent sign without two hexadecimal digits");
    }
    match percent_decode_str(part).decode_utf8() {
        Err(_) => refuse("is not UTF-8"),
        Ok(text) if text.contains('\0') => refuse("has a NUL character"),
        Ok(text) => Ok(text.into_owned()),
    }
}

fn begins_without_case(path: &str, prefix: &str) -> bool {
    path.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}
