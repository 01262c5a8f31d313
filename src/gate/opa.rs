//! `/v1/data/cedargate/authz`: the data API of OPA, as Kong's and APISIX's opa plug-ins ask it.
//!
//! In: `{"input": …}`. Kong tells the request in `input.request.http`, APISIX in `input.request`; the caller is whom
//! their `Authorization` header proves or, where the settings say so, the consumer that the gateway authenticated.
//! Out: 200 with `{"result": {"allow": …}}`; status and text of a deny stand where that gateway looks for them. The
//! texts go to the client, so they say nothing but no; reason and id stand in our own answer's headers.
//! Fail-closed: the refusal's status (Kong makes a 500 of it) with `"allow": false` in the body (APISIX looks at
//! nothing else).

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

use super::answer::{self, Judged};
use super::credentials::{CallerSource, Manner};
use super::json::{Members, member, object, text};
use super::original::{NOBODY, Original};
use crate::domain::{EntityName, Subject};
use crate::http::header::{HeaderName, WWW_AUTHENTICATE};
use crate::http::{Refusal, Response, StatusCode, respond};

/// Where the plug-ins ask.
pub const PATH: &str = "/v1/data/cedargate/authz";

/// Which gateway asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Kong,
    Apisix,
}

/// The request that a gateway asks about.
#[derive(Debug)]
pub struct Asks<'v> {
    by: Asking,
    method: &'v str,
    host: Option<&'v str>,
    /// As the client sent it, without the query.
    path: String,
    caller: Subject<'v>,
    request_id: Option<&'v str>,
}

impl Asks<'_> {
    /// The request as all gateway dialects have it.
    pub fn original(&self) -> Original<'_> {
        let Self { by: _, method, host, path, caller, request_id } = self;
        Original { method, host: *host, path, caller: *caller, request_id: *request_id }
    }
}

/// Reads either gateway's input.
///
/// # Errors
/// 400 where something that decides is missing, of another type, or there more than once.
pub fn read<'v>(body: &'v Value, manner: &Manner) -> Result<Asks<'v>, Refusal> {
    let missing = |path: &str| Refusal::bad_request(format!("`{path}` is missing"));
    let body = body.as_object().ok_or_else(|| Refusal::bad_request("the body must be a JSON object"))?;
    let input = object(body, "input", "input")?.ok_or_else(|| missing("input"))?;
    let request = object(input, "request", "input.request")?.ok_or_else(|| missing("input.request"))?;
    let (by, http, at) = match object(request, "http", "input.request.http")? {
        Some(http) => (Asking::Kong, http, "input.request.http"),
        None => (Asking::Apisix, request, "input.request"),
    };
    let needed = |name: &str| {
        let path = format!("{at}.{name}");
        text(http, name, &path)?.ok_or_else(|| missing(&path))
    };
    let path = needed("path")?;
    let headers = object(http, "headers", "headers of the request")?;
    Ok(Asks {
        by,
        method: needed("method")?,
        host: text(http, "host", "host of the request")?,
        path: match by {
            Asking::Kong => without_query(path)?,
            Asking::Apisix => encoded(path),
        },
        caller: caller(input, headers, manner)?,
        request_id: headers.and_then(|of| header(of, "x-request-id").ok().flatten()).filter(|id| id.len() <= 128),
    })
}

/// Writes the decision in the words of the gateway that asked.
pub fn write(asks: &Asks<'_>, judged: &Judged) -> Response {
    let mut headers: Vec<(&str, &str)> = Vec::new();
    let result = if judged.permits() {
        headers.extend(judged.identity());
        Answer { allow: true, headers: headers_of(&headers), ..Answer::default() }
    } else {
        headers.push((answer::DECISION_ID, &judged.id));
        let status = judged.deny_status();
        if status == StatusCode::UNAUTHORIZED {
            headers.push((WWW_AUTHENTICATE.as_str(), judged.challenge));
        }
        Answer { headers: headers_of(&headers), ..Answer::deny(status, &[asks.by]) }
    };
    let mut response = respond(StatusCode::OK, "application/json", body(&Body { result, error: None }));
    answer::decision_headers(response.headers_mut(), judged.decision.reason, &judged.id);
    response
}

/// Writes what is not a decision, in the words of every gateway. The cause is ours and the gateway's affair: its
/// client gets a plain no, and is never asked for the gateway's own token.
pub fn refuse(refusal: &Refusal) -> Response {
    let result = Answer::deny(StatusCode::SERVICE_UNAVAILABLE, &[Asking::Kong, Asking::Apisix]);
    let error = Some(Fault { code: refusal.code, message: &refusal.message });
    let (parts, _) = refusal.to_response().into_parts();
    let mut response = Response::from_parts(parts, bytes::Bytes::from(body(&Body { result, error })).into());
    answer::write_refusal(response.headers_mut(), refusal);
    response
}

#[derive(Serialize)]
struct Body<'a> {
    result: Answer,
    /// For whoever reads the gateway's log; no plug-in looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Fault<'a>>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'static str,
    message: &'a str,
}

/// A result; each gateway finds the status and the text under names of its own.
#[derive(Default, Serialize)]
struct Answer {
    allow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    headers: Members,
}

impl Answer {
    /// A deny in the words of these gateways.
    fn deny(status: StatusCode, to: &[Asking]) -> Self {
        let (code, text) = (Some(status.as_u16()), Some(answer::body_of(status).trim_end()));
        to.iter().fold(Self::default(), |denial, by| match by {
            Asking::Kong => Self { status: code, message: text, ..denial },
            Asking::Apisix => Self { status_code: code, reason: text, ..denial },
        })
    }
}

fn headers_of(pairs: &[(&str, &str)]) -> Members {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}

/// What cannot be written allows nothing.
fn body(body: &Body<'_>) -> String {
    serde_json::to_string(body).unwrap_or_else(|_| "{\"result\":{\"allow\":false}}".to_owned())
}

/// Who asks: the first source of the settings that the input has.
fn caller<'v>(input: &'v Members, headers: Option<&'v Members>, manner: &Manner) -> Result<Subject<'v>, Refusal> {
    let shown = |name: &str| headers.map_or(Ok(None), |headers| header(headers, name));
    // Also where another source speaks first: a service behind the gateway might read the other one.
    let authorization = shown("authorization")?;
    for source in &manner.caller {
        match source {
            CallerSource::Authorization => {
                if let Some(credential) = authorization {
                    return Ok(Subject::Authorization(credential));
                }
            }
            CallerSource::Header(name) => {
                if let Some(user) = shown(HeaderName::as_str(name))?.filter(|user| !user.is_empty()) {
                    return Ok(Subject::User(user));
                }
            }
            CallerSource::Consumer => {
                if let Some(name) = consumer(input)? {
                    return Ok(Subject::Entity(EntityName::new("User", name)));
                }
            }
            // Only Envoy's gRPC dialect tells these.
            CallerSource::Principal | CallerSource::JwtMetadata => {}
        }
    }
    Ok(NOBODY)
}

/// The consumer by the name under which we know people: `custom_id`, else `username`.
fn consumer(input: &Members) -> Result<Option<&str>, Refusal> {
    let Some(consumer) = object(input, "consumer", "input.consumer")? else { return Ok(None) };
    let named = match text(consumer, "custom_id", "input.consumer.custom_id")? {
        Some(id) => Some(id),
        None => text(consumer, "username", "input.consumer.username")?,
    };
    named.map(Some).ok_or_else(|| Refusal::bad_request("`input.consumer` has neither `custom_id` nor `username`"))
}

/// A header of one value, whatever the case of its name; other spellings that servers fold into it are refused.
fn header<'v>(headers: &'v Members, wanted: &str) -> Result<Option<&'v str>, Refusal> {
    let folded = wanted.replace('_', "-");
    let mut named = headers.keys().filter(|name| name.replace('_', "-").eq_ignore_ascii_case(&folded));
    let Some(name) = named.next() else { return Ok(None) };
    let once = || Refusal::bad_request(format!("the header {wanted} of the request must be one text"));
    if named.next().is_some() || !name.eq_ignore_ascii_case(wanted) {
        return Err(once());
    }
    match member(headers, name) {
        None => Ok(None),
        Some(Value::String(shown)) => Ok(Some(shown)),
        Some(Value::Array(values)) => match values.as_slice() {
            [Value::String(shown)] => Ok(Some(shown)),
            _ => Err(once()),
        },
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Null) => Err(once()),
    }
}

/// Kong gives the path without its query, so a `?` in it is not the query's; blanks and characters beyond ASCII are
/// decoded, everything else is as the client sent it.
fn without_query(path: &str) -> Result<String, Refusal> {
    const DECODED: &AsciiSet = &CONTROLS.add(b' ');
    if path.contains('?') {
        return Err(Refusal::bad_request("`input.request.http.path` holds a `?`"));
    }
    Ok(utf8_percent_encode(path, DECODED).to_string())
}

/// APISIX gives the path decoded (nginx's `$uri`). Encoded again, what was hidden behind an escape is an escape again,
/// and is refused where it could be read in two ways.
fn encoded(path: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'!')
        .remove(b'$')
        .remove(b'&')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')')
        .remove(b'*')
        .remove(b'+')
        .remove(b',')
        .remove(b'=')
        .remove(b':')
        .remove(b'@');
    utf8_percent_encode(path, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decoded_path_is_encoded_again() {
        assert_eq!(encoded("/api/a b/%2F?x#y;z\\é"), "/api/a%20b/%252F%3Fx%23y%3Bz%5C%C3%A9");
        assert_eq!(encoded("/api/a-b_c.d~e/!$&'()*+,=:@"), "/api/a-b_c.d~e/!$&'()*+,=:@");
    }

    #[test]
    fn kong_decodes_blanks_and_characters_beyond_ascii_alone() {
        assert_eq!(without_query("/api/a b/é/%2F/%25"), Ok("/api/a%20b/%C3%A9/%2F/%25".into()));
        assert!(without_query("/api?x").is_err());
    }

    #[test]
    fn a_header_is_one_value_under_one_name() {
        let read = |headers: Value| {
            let found = header(headers.as_object().unwrap(), "authorization");
            found.map(|found| found.map(str::to_owned)).map_err(|refusal| refusal.message)
        };
        assert_eq!(read(json!({"Authorization": "Bearer x", "accept": "*/*"})), Ok(Some("Bearer x".into())));
        assert_eq!(read(json!({"authorization": ["Bearer x"]})), Ok(Some("Bearer x".into())));
        assert_eq!(read(json!({"accept": "*/*"})), Ok(None));
        for twice in [
            json!({"authorization": ["Bearer x", "Bearer y"]}),
            json!({"authorization": "Bearer x", "Authorization": "Bearer y"}),
            json!({"authorization": 7}),
            json!({"authorization": []}),
        ] {
            assert!(read(twice.clone()).is_err(), "{twice}");
        }
        let user = json!({"x_user": "root"});
        assert!(header(user.as_object().unwrap(), "x-user").is_err(), "another spelling");
    }

    #[test]
    fn a_consumer_counts_where_the_settings_say_so() {
        let body = json!({"input": {"consumer": {"username": "jdoe"}, "request": {"http":
            {"method": "GET", "path": "/", "headers": {"authorization": "Bearer x"}}}}});
        let caller = |sources: &[CallerSource]| {
            let manner = Manner { caller: sources.to_vec(), ..Manner::default() };
            format!("{:?}", read(&body, &manner).unwrap().caller)
        };
        let proved = format!("{:?}", Subject::Authorization("Bearer x"));
        assert_eq!(caller(&[CallerSource::Authorization]), proved);
        assert_eq!(caller(&[CallerSource::Authorization, CallerSource::Consumer]), proved);
        assert!(caller(&[CallerSource::Consumer, CallerSource::Authorization]).contains("jdoe"));
        assert_eq!(caller(&[CallerSource::Principal]), format!("{NOBODY:?}"));
    }

    #[test]
    fn a_refusal_allows_in_no_gateways_words() {
        let response = refuse(&Refusal::unavailable("not-fresh", "behind"));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["cedargate-decision"], "deny");
        let body: Value = serde_json::from_slice(response.body().whole().unwrap()).unwrap();
        assert_eq!(body["result"]["allow"], false);
        assert_eq!((&body["result"]["status"], &body["result"]["status_code"]), (&json!(503), &json!(503)));
    }
}
