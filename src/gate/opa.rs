//! `/v1/data/cedargate/authz`: the data API of OPA, as Kong's and APISIX's opa plug-ins ask it.
//!
//! In: `{"input": …}`. Kong tells the request in `input.request.http`, APISIX in `input.request`; the person is the
//! consumer that the gateway authenticated, else whom the caller's `Authorization` header proves.
//! Out: 200 with `{"result": {"allow": …}}`; status and text of a deny stand where that gateway looks for them. The
//! texts go to the client, so they say nothing but no; reason and id stand in our own answer's headers.
//! Fail-closed: the refusal's status (Kong makes a 500 of it) with `"allow": false` in the body (APISIX looks at
//! nothing else).

use std::sync::Arc;

use serde_json::{Value, json};

use super::json::{self, Members, member, object, text};
use super::{Gate, native, refuse};
use crate::domain::{Asked, Channel, Decision, EntityName, Question, Reason, Subject, Verdict};
use crate::http::header::CONTENT_TYPE;
use crate::http::{Body, Method, Refusal, Request, Response, Router, StatusCode, now};

const PATH: &str = "/v1/data/cedargate/authz";

/// Which gateway asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Kong,
    Apisix,
}

/// The request that a gateway asks about.
struct Asks<'v> {
    by: Asking,
    method: &'v str,
    host: Option<&'v str>,
    /// As the client sent it, without the query.
    path: String,
    consumer: Option<&'v str>,
    authorization: Option<&'v str>,
}

/// The endpoint.
pub fn routes(gate: &Arc<Gate>) -> Router {
    let gate = Arc::clone(gate);
    Router::new()
        .route(Method::POST, PATH, now(move |request| answer(&gate, &request).unwrap_or_else(|refusal| closed(&refusal))))
        .refusals(PATH, Arc::new(closed))
}

fn answer(gate: &Gate, request: &Request) -> Result<Response, Refusal> {
    gate.admit(request)?;
    let body = json::parse(&request.body)?;
    let asks = read(&body)?;
    let subject = match (asks.consumer, asks.authorization) {
        (Some(name), _) => Subject::Entity(EntityName::new("User", name)),
        (None, shown) => Subject::Authorization(shown.unwrap_or("")),
    };
    let question = Question {
        subject,
        asked: Asked::Request { method: asks.method, host: asks.host, path: &asks.path },
        channel: Channel::Api,
        context: &[],
        least_revision: None,
    };
    let decision = gate.authz.decide(&question).map_err(|failure| refuse(&failure))?;
    let id = gate.authz.decision_id();
    let mut response = crate::http::json(StatusCode::OK, &result(asks.by, &decision, &id));
    native::decision_headers(response.headers_mut(), &decision, &id);
    Ok(response)
}

/// Reads either gateway's input.
fn read(body: &Value) -> Result<Asks<'_>, Refusal> {
    let missing = |path: &str| Refusal::bad_request(format!("`{path}` is missing"));
    let body = body.as_object().ok_or_else(|| Refusal::bad_request("the body must be a JSON object"))?;
    let input = object(body, "input", "input")?.ok_or_else(|| missing("input"))?;
    let request = object(input, "request", "input.request")?.ok_or_else(|| missing("input.request"))?;
    let (by, http) = match object(request, "http", "input.request.http")? {
        Some(http) => (Asking::Kong, http),
        None => (Asking::Apisix, request),
    };
    let path = text(http, "path", "path of the request")?.ok_or_else(|| missing("path of the request"))?;
    let headers = object(http, "headers", "headers of the request")?;
    Ok(Asks {
        by,
        method: text(http, "method", "method of the request")?.ok_or_else(|| missing("method of the request"))?,
        host: text(http, "host", "host of the request")?,
        path: match by {
            Asking::Kong => without_query(path)?,
            Asking::Apisix => encoded(path),
        },
        consumer: consumer(input)?,
        authorization: headers.map(authorization).transpose()?.flatten(),
    })
}

/// Kong gives the path without its query, so a `?` in it is not the query's.
fn without_query(path: &str) -> Result<String, Refusal> {
    if path.contains('?') {
        return Err(Refusal::bad_request("the path of the request holds a `?`"));
    }
    Ok(path.to_owned())
}

/// APISIX gives the path decoded (nginx's `$uri`). Encoded again, what was hidden behind an escape is an escape again,
/// and is refused where it could be read in two ways.
fn encoded(path: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
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
    percent_encoding::utf8_percent_encode(path, KEPT).to_string()
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

/// The caller's credential: one header of one value, whatever the case of its name.
fn authorization(headers: &Members) -> Result<Option<&str>, Refusal> {
    let once = || Refusal::bad_request("the request has more than one `Authorization` header");
    let mut named = headers.keys().filter(|name| name.eq_ignore_ascii_case("authorization"));
    let Some(name) = named.next() else { return Ok(None) };
    if named.next().is_some() {
        return Err(once());
    }
    match member(headers, name) {
        None => Ok(None),
        Some(Value::String(shown)) => Ok(Some(shown)),
        Some(Value::Array(values)) => match values.as_slice() {
            [Value::String(shown)] => Ok(Some(shown)),
            _ => Err(once()),
        },
        Some(_) => Err(Refusal::bad_request("the `Authorization` header of the request must be text")),
    }
}

fn result(by: Asking, decision: &Decision, id: &str) -> Value {
    if decision.verdict() == Verdict::Permit {
        return json!({"result": {"allow": true, "headers": {"Cedargate-Decision-Id": id}}});
    }
    let (status, message) = match decision.reason == Reason::Unauthenticated {
        true => (StatusCode::UNAUTHORIZED, "authentication is needed"),
        false => (StatusCode::FORBIDDEN, "access denied"),
    };
    let mut headers = json!({"Cedargate-Decision-Id": id});
    if status == StatusCode::UNAUTHORIZED {
        headers["WWW-Authenticate"] = json!("Bearer");
    }
    let mut result = denial(status, message, &[by]);
    result["result"]["headers"] = headers;
    result
}

/// A deny in the words of these gateways.
fn denial(status: StatusCode, message: &str, to: &[Asking]) -> Value {
    let mut result = json!({"allow": false});
    for by in to {
        let (status_name, text_name) = match by {
            Asking::Kong => ("status", "message"),
            Asking::Apisix => ("status_code", "reason"),
        };
        result[status_name] = json!(status.as_u16());
        result[text_name] = json!(message);
    }
    json!({"result": result})
}

/// What is not a decision, in the words of every gateway. The cause is ours and the gateway's affair: its client gets
/// a plain no, and is never asked for the gateway's own token.
fn closed(refusal: &Refusal) -> Response {
    let mut body = denial(StatusCode::SERVICE_UNAVAILABLE, "access cannot be decided now", &[Asking::Kong, Asking::Apisix]);
    body["error"] = json!({"code": refusal.code, "message": refusal.message});
    let mut response = refusal.to_response();
    response.headers_mut().insert(CONTENT_TYPE, crate::http::header::HeaderValue::from_static("application/json"));
    response.map(|_| Body::from(bytes::Bytes::from(body.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoded_path_is_encoded_again() {
        assert_eq!(encoded("/api/a b/%2F?x#y;z\\é"), "/api/a%20b/%252F%3Fx%23y%3Bz%5C%C3%A9");
        assert_eq!(encoded("/api/a-b_c.d~e/!$&'()*+,=:@"), "/api/a-b_c.d~e/!$&'()*+,=:@");
    }

    #[test]
    fn the_credential_is_one_header_of_one_value() {
        let read = |headers: Value| {
            authorization(headers.as_object().unwrap()).map(|found| found.map(str::to_owned)).map_err(|error| error.message)
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
    }

    #[test]
    fn a_refusal_allows_in_no_gateways_words() {
        let refusal = Refusal::unavailable("not-fresh", "behind");
        let response = closed(&refusal);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: Value = serde_json::from_slice(response.body().whole().unwrap()).unwrap();
        assert_eq!(body["result"]["allow"], false);
        assert_eq!((&body["result"]["status"], &body["result"]["status_code"]), (&json!(503), &json!(503)));
    }
}
