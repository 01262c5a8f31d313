//! The request that a gateway asks about, as its headers tell it: each exactly once, without twins.
//!
//! A header that occurs twice, or beside a twin that some servers fold into the same name (`X_Forwarded_Uri`), may be
//! read in another way by the gateway or the service behind it: the question is refused, not repaired.

use crate::domain::{Asked, Channel, Question, Subject};
use crate::http::header::HeaderMap;

use super::credentials::{CallerSource, Manner};

/// What is wrong with the headers that tell the original request. Always a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// A header that the dialect needs.
    #[error("the header {0} is missing; the gateway's configuration must send it")]
    Missing(&'static str),
    /// More than one value, or values that something has joined.
    #[error("the header {0} must occur exactly once")]
    NotOnce(String),
    /// `x_forwarded_uri` beside or instead of `x-forwarded-uri`.
    #[error("the header {0} is another spelling of one that decides; the gateway must drop it")]
    Twin(String),
    /// Empty, or holding something else than visible ASCII.
    #[error("the header {0} cannot be read")]
    Unreadable(String),
    /// Two headers that must say the same do not.
    #[error("the headers {0} and {1} tell different requests")]
    Conflict(&'static str, &'static str),
}

/// What a gateway asks about.
#[derive(Clone, Debug)]
pub struct Original<'a> {
    /// The client's method.
    pub method: &'a str,
    /// The host that the client asked, where the gateway tells it.
    pub host: Option<&'a str>,
    /// Path and query as the client sent them.
    pub path: &'a str,
    /// Who asks.
    pub caller: Subject<'a>,
    /// The request's id at the gateway, for the log.
    pub request_id: Option<&'a str>,
}

impl<'a> Original<'a> {
    /// The question that this is.
    pub const fn question(&self, channel: Channel) -> Question<'a> {
        let asked = Asked::Request { method: self.method, host: self.host, path: self.path };
        Question { subject: self.caller, asked, channel, context: &[], least_revision: None }
    }
}

/// A header's value where it occurs once; `None` where it does not occur.
///
/// # Errors
/// More than one, and values that are not visible ASCII.
pub fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, HeaderFault> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderFault::NotOnce(name.to_owned()));
    }
    first.to_str().map(Some).map_err(|_| HeaderFault::Unreadable(name.to_owned()))
}

/// As [`once`], for a header that must be there and say something.
///
/// # Errors
/// As [`once`], and where it is missing or empty.
pub fn required<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, HeaderFault> {
    let value = once(headers, name)?.ok_or(HeaderFault::Missing(name))?;
    if value.is_empty() { Err(HeaderFault::Unreadable(name.to_owned())) } else { Ok(value) }
}

/// A method as HTTP writes one: a token (RFC 9110 section 9.1).
///
/// # Errors
/// Anything else, such as two methods that something has joined.
pub fn method<'a>(name: &'static str, value: &'a str) -> Result<&'a str, HeaderFault> {
    let is_method = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if is_method { Ok(value) } else { Err(HeaderFault::Unreadable(name.to_owned())) }
}

/// A host with or without a port, and nothing else: no list, no user, no path.
///
/// # Errors
/// Anything else.
pub fn host<'a>(name: &'static str, value: &'a str) -> Result<&'a str, HeaderFault> {
    let (inner, port) = match value.rsplit_once(':') {
        // The last colon of a bare IPv6 address in brackets is inside of them.
        Some((inner, port)) if !port.contains(']') => (inner, Some(port)),
        _ => (value, None),
    };
    let is_name = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let literal = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let is_literal = literal.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    let is_port =
        port.is_none_or(|port| port.len() <= 5 && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if (is_name || is_literal) && is_port { Ok(value) } else { Err(HeaderFault::Unreadable(name.to_owned())) }
}

/// Refuses other spellings of the headers that decide: these names, `Authorization`, the caller's header and all of ours.
///
/// # Errors
/// [`HeaderFault::Twin`] by the name that was sent.
pub fn without_twins<'a>(
    names: impl Iterator<Item = &'a str>,
    deciding: &[&str],
    manner: &Manner,
) -> Result<(), HeaderFault> {
    for name in names.filter(|name| !is_plain(name)) {
        let folded = folded(name);
        let is_callers = manner.caller.iter().any(|source| match source {
            CallerSource::Header(header) => self::folded(header.as_str()) == folded && header.as_str() != name,
            CallerSource::Authorization
            | CallerSource::Principal
            | CallerSource::JwtMetadata
            | CallerSource::Consumer => false,
        });
        if is_callers || folded == "authorization" || folded.starts_with("cedargate-") || deciding.contains(&&*folded) {
            return Err(HeaderFault::Twin(name.to_owned()));
        }
    }
    Ok(())
}

/// A header's name as servers see it that make variables of names (CGI, WSGI, PHP): `x_user` and `x.user` are `x-user`.
pub fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Whether a service may take it for one of ours: `cedargate` and then anything that [`folded`] makes a hyphen.
pub fn is_ours(name: &str) -> bool {
    let parts = name.as_bytes().split_first_chunk::<9>();
    parts.is_some_and(|(word, rest)| {
        word.eq_ignore_ascii_case(b"cedargate") && rest.first().is_some_and(|next| !next.is_ascii_alphanumeric())
    })
}

/// Whether only letters, digits and hyphens stand in it, as in every name that people use.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Who asks, from headers: the first source of the manner that the request has. Nobody where it has none, which
/// endpoints for everybody accept.
///
/// # Errors
/// A header that occurs more than once or cannot be read.
pub fn caller<'a>(headers: &'a HeaderMap, manner: &Manner, vouched: Vouched<'a>) -> Result<Subject<'a>, HeaderFault> {
    // Also where another source speaks first: a service behind the gateway might read the other one.
    let authorization = once(headers, "authorization")?;
    for source in &manner.caller {
        match source {
            CallerSource::Authorization => {
                if let Some(value) = authorization {
                    return Ok(Subject::Authorization(value));
                }
            }
            CallerSource::Header(name) => {
                if let Some(user) = once(headers, name.as_str())?.filter(|user| !user.is_empty()) {
                    return Ok(Subject::User(user));
                }
            }
            CallerSource::Principal => {
                if let Some(name) = vouched.principal {
                    return Ok(Subject::Principal(name));
                }
            }
            CallerSource::JwtMetadata => {
                if let Some(claims) = vouched.claims {
                    return Ok(Subject::Claims(claims));
                }
            }
            // Only the OPA dialect tells it.
            CallerSource::Consumer => {}
        }
    }
    Ok(NOBODY)
}

/// What a gateway has verified itself and tells beside the headers; only Envoy's gRPC dialect does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouched<'a> {
    /// A name in the client's certificate.
    pub principal: Option<&'a str>,
    /// The claims of a token, a JSON object.
    pub claims: Option<&'a str>,
}

/// A caller who shows nothing.
pub const NOBODY: Subject<'static> = Subject::Authorization("");

/// The request's id at the gateway, where it is one that a log line can hold.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-request-id")?.to_str().ok().filter(|id| id.len() <= 128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).fold(
            HeaderMap::new(),
            |mut map, (name, value)| {
                map.append(name, value);
                map
            },
        )
    }

    #[test]
    fn a_deciding_header_occurs_once() {
        let map = headers(&[("x-one", "1"), ("x-two", "1"), ("x-two", "1"), ("x-empty", "")]);
        assert_eq!(once(&map, "x-one"), Ok(Some("1")));
        assert_eq!(once(&map, "x-none"), Ok(None));
        assert_eq!(once(&map, "x-two"), Err(HeaderFault::NotOnce("x-two".into())));
        assert_eq!(required(&map, "x-none"), Err(HeaderFault::Missing("x-none")));
        assert!(required(&map, "x-empty").is_err());
    }

    #[test]
    fn twins_of_deciding_headers_are_refused_and_others_pass() {
        let manner =
            Manner { caller: vec![CallerSource::Header(HeaderName::from_static("x-user"))], ..Manner::default() };
        let check = |name| without_twins([name].into_iter(), &["x-forwarded-uri"], &manner);
        for twin in ["x_forwarded_uri", "x-forwarded_uri", "x.forwarded.uri", "x_user", "x~user", "cedargate_user"] {
            assert_eq!(check(twin), Err(HeaderFault::Twin(twin.into())));
        }
        for other in ["x_other", "x-forwarded-uri", "x-user", "cookie", "x-forwarded_for"] {
            assert_eq!(check(other), Ok(()), "{other}");
        }
    }

    #[test]
    fn names_of_ours_are_known_in_every_spelling() {
        for name in ["cedargate-user", "Cedargate-X", "cedargate_user", "cedargate.user", "cedargate-"] {
            assert!(is_ours(name) && folded(name).starts_with("cedargate-"), "{name}");
        }
        for name in ["cedargate", "cedargates-user", "cedargat-user", "x-cedargate-user", ""] {
            assert!(!is_ours(name) && !folded(name).starts_with("cedargate-"), "{name}");
        }
    }

    #[test]
    fn hosts_and_methods_are_one_thing_each() {
        for good in ["a.example", "A.example:8443", "[::1]", "[::1]:80", "127.0.0.1"] {
            assert_eq!(host("host", good), Ok(good));
        }
        for bad in ["", "a, b", "a,b", "a@b", "a/b", "a:b", "a:", "a b", "[::1", "::1", "a:123456", "a#b", "a?b"] {
            assert!(host("host", bad).is_err(), "{bad}");
        }
        assert_eq!(method("m", "M-SEARCH"), Ok("M-SEARCH"));
        for bad in ["", "GET,POST", "GET POST", "GET\t", "G/T"] {
            assert!(method("m", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_source_that_speaks_names_the_caller() {
        let by_gateway = CallerSource::Header(HeaderName::from_static("x-user"));
        let both = Manner { caller: vec![by_gateway, CallerSource::Authorization], ..Manner::default() };
        let read = |pairs: &[(&'static str, &'static str)], manner: &Manner| {
            caller(&headers(pairs), manner, Vouched::default()).map(|subject| format!("{subject:?}"))
        };
        let user = format!("{:?}", Subject::User("jdoe"));
        let shown = format!("{:?}", Subject::Authorization("Bearer x"));
        let nobody = format!("{NOBODY:?}");
        assert_eq!(read(&[("x-user", "jdoe"), ("authorization", "Bearer x")], &both), Ok(user));
        assert_eq!(read(&[("x-user", ""), ("authorization", "Bearer x")], &both), Ok(shown.clone()));
        assert_eq!(read(&[("x-user", "jdoe"), ("authorization", "Bearer x")], &Manner::default()), Ok(shown));
        assert_eq!(read(&[("x-user", "jdoe")], &Manner::default()), Ok(nobody));
        assert!(read(&[("authorization", "a"), ("authorization", "b")], &both).is_err());
        assert!(read(&[("x-user", "a"), ("x-user", "b")], &both).is_err());
    }
}
