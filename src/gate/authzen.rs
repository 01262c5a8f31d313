//! OpenID AuthZEN 1.0: `/access/v1/evaluation`, `/evaluations`, `/search/…` and `/.well-known/authzen-configuration`.
//!
//! A decision is 200, permit or deny; 400 for what cannot be read, 401 for a gateway that did not authenticate. The
//! fail-closed answer is the refusal's own status with its sentence as text: never 200, and never `"decision":true`.
//! What the types and names mean is the bundle's to say; knows no SCIM and no Cedar.

mod evaluation;
mod metadata;
mod page;
mod question;
mod request;
mod search;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

pub use metadata::PublicUrl;

use super::Gate;
use super::credentials::{Dialect, Manner};
use super::json::{self, Members};
use crate::http::header::{CONTENT_TYPE, HeaderValue};
use crate::http::{Body, Method, Refusal, Request, Response, Router, StatusCode, later, now};
use page::Sealer;

/// Searches that run at the same time; others wait for their turn, within the listener's deadline.
const SEARCHES_AT_ONCE: usize = 2;

/// The AuthZEN dialect of a gate.
pub struct AuthZen {
    gate: Arc<Gate>,
    sealer: Sealer,
    public_url: Option<PublicUrl>,
    searches: Arc<Semaphore>,
}

/// Where the endpoints are, below the public URL.
const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";
const SEARCH_SUBJECT: &str = "/access/v1/search/subject";
const SEARCH_RESOURCE: &str = "/access/v1/search/resource";
const SEARCH_ACTION: &str = "/access/v1/search/action";
const WELL_KNOWN: &str = "/.well-known/authzen-configuration";
const WELL_KNOWN_BELOW: &str = "/.well-known/authzen-configuration/";

impl AuthZen {
    /// The dialect over a gate. `page_key` seals page tokens: 32 random bytes. `public_url` is where clients reach
    /// the gate; without it there is no metadata, and clients use the default paths.
    pub fn new(gate: Arc<Gate>, page_key: [u8; 32], public_url: Option<PublicUrl>) -> Self {
        let searches = Arc::new(Semaphore::new(SEARCHES_AT_ONCE));
        Self { gate, sealer: Sealer::new(page_key), public_url, searches }
    }

    /// Every endpoint of the dialect.
    pub fn routes(self: &Arc<Self>) -> Router {
        let router = Router::new()
            .route(Method::POST, EVALUATION, self.answered_now(evaluation::evaluation))
            .route(
                Method::POST,
                EVALUATIONS,
                later({
                    let dialect = Arc::clone(self);
                    move |request| {
                        let dialect = Arc::clone(&dialect);
                        async move { evaluation::evaluations(&dialect, &request).await.unwrap_or_else(render) }
                    }
                }),
            )
            .route(Method::GET, WELL_KNOWN, self.answered_now(metadata::configuration))
            .prefix(WELL_KNOWN_BELOW, self.answered_now(metadata::configuration))
            .refusals("/access/", Arc::new(|refusal: &Refusal| render(refusal.clone())))
            .refusals(WELL_KNOWN, Arc::new(|refusal: &Refusal| render(refusal.clone())));
        [
            (SEARCH_SUBJECT, search::Kind::Subject),
            (SEARCH_RESOURCE, search::Kind::Resource),
            (SEARCH_ACTION, search::Kind::Action),
        ]
        .into_iter()
        .fold(router, |router, (path, kind)| {
            let dialect = Arc::clone(self);
            router.route(
                Method::POST,
                path,
                later(move |request| {
                    let dialect = Arc::clone(&dialect);
                    async move { search::search(&dialect, kind, &request).await.unwrap_or_else(render) }
                }),
            )
        })
    }

    fn answered_now(
        self: &Arc<Self>,
        answer: fn(&Self, &Request) -> Result<Response, Refusal>,
    ) -> crate::http::Handling {
        let dialect = Arc::clone(self);
        now(move |request| answer(&dialect, &request).unwrap_or_else(render))
    }

    /// The body of a request, from a gateway that may ask, and how its questions are read.
    ///
    /// # Errors
    /// 401 for one that may not, 400 where the body is no JSON object (AuthZEN 1.0, section 10.1).
    fn body(&self, request: &Request) -> Result<(Members, &Manner), Refusal> {
        let manner = self.gate.admit(Dialect::AuthZen, request)?;
        let media_type = request.header(CONTENT_TYPE.as_str()).unwrap_or("").split(';').next().unwrap_or("").trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::bad_request("the request needs `Content-Type: application/json`"));
        }
        if request.body.is_empty() {
            return Err(Refusal::bad_request("the body is empty; send a JSON object"));
        }
        match json::parse(&request.body)? {
            Value::Object(members) => Ok((members, manner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Refusal::bad_request("the body must be a JSON object"))
            }
        }
    }
}

/// A refusal as AuthZEN wants it: the status, and the sentence as the whole body.
fn render(refusal: Refusal) -> Response {
    let mut response = refusal.to_response();
    let media_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response.map(|_| Body::from(bytes::Bytes::from(refusal.message)))
}

/// An answer in JSON.
fn answer(body: &impl serde::Serialize) -> Result<Response, Refusal> {
    let text = serde_json::to_string(body).map_err(|_| Refusal::internal("the answer could not be written"))?;
    Ok(crate::http::respond(StatusCode::OK, "application/json", text))
}
