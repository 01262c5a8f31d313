//! The operators' API through its handlers, on the store in memory, without sockets.

mod connections;
mod people;
mod tenancy;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{Catalogue, Manage, OperatorToken};
use crate::clock::{HandClock, SeededRandom, Sources};
use crate::domain::Timestamp;
use crate::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use crate::http::{BodyReader, Handling, Method, Request, Response, RouteTable, StatusCode};
use crate::scim::Scim;
use crate::scim::schema::Schemas;
use crate::store::Store;
use crate::store::memory::MemoryStore;

pub(crate) const TOKEN: &str = "operator-token-for-tests";

/// The API with everything under it.
pub(crate) struct House {
    manage: Arc<Manage>,
    routes: RouteTable,
    clock: Arc<HandClock>,
    store: Arc<MemoryStore>,
}

/// An answer, read whole.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    revision: Option<String>,
    body: Value,
    text: String,
}

impl Answered {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
}

impl House {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(HandClock::new(Timestamp(1_760_000_000_000)));
        let sources = Sources { clock: clock.clone(), random: Arc::new(SeededRandom::new(7)) };
        let store = Arc::new(MemoryStore::new());
        let names = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), format!("{name} it is"))).collect();
        let catalogue = Catalogue {
            roles: names(&["Ordering", "Disconnect", "Reporting"]),
            products: names(&["UC", "Termination", "Origination"]),
        };
        let schemas = Schemas::builtin().unwrap();
        let scim = Arc::new(Scim::new(store.clone(), schemas, sources.clone(), "http://front"));
        let manage = Arc::new(Manage {
            store: store.clone(),
            scim,
            sources,
            operator_token: OperatorToken::new(TOKEN).unwrap(),
            catalogue: Arc::new(move || catalogue.clone()),
            reload: Arc::new(|| Box::pin(async { Ok("bundle-2".to_owned()) })),
        });
        let routes = manage.routes().build().unwrap();
        Self { manage, routes, clock, store }
    }

    /// With the organizations `acme` and `globex`, and account 100 of `acme`.
    async fn furnished() -> Self {
        let house = Self::new();
        for organization in ["acme", "globex"] {
            let put = house.put(&format!("organizations/{organization}"), json!({"name": organization})).await;
            assert_eq!(put.status, StatusCode::CREATED);
        }
        let account = json!({"organization": "acme", "name": "Main", "products": ["UC"]});
        assert_eq!(house.put("accounts/100", account).await.status, StatusCode::CREATED);
        house
    }

    /// One request through the routes.
    pub(crate) async fn respond(
        &self,
        method: Method,
        target: &str,
        token: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Response {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
        }
        let found = self.routes.find(&method, path).unwrap_or_else(|miss| panic!("{method} {path}: {miss:?}"));
        let body = body.into();
        let request = |body| Request {
            method: method.clone(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers,
            body,
            peer: std::sync::Arc::default(),
            parameters: found.parameters,
            id: "r1".to_owned(),
        };
        match found.handling {
            Handling::Now(handler) => handler(request(body)),
            Handling::Here(handler) => handler(request(body)).response().await,
            Handling::Later(handler) => handler(request(body)).await,
            Handling::Stream(handler) => handler(request(Bytes::new()), BodyReader::from_bytes(body)).await,
        }
    }

    async fn send(&self, method: Method, target: &str, token: Option<&str>, body: impl Into<Bytes>) -> Answered {
        let (head, body) = self.respond(method, target, token, body).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let revision = head.headers.get("cedargate-revision").map(|value| value.to_str().unwrap().to_owned());
        Answered { status: head.status, revision, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    async fn get(&self, target: &str) -> Answered {
        self.send(Method::GET, &format!("/manage/v1/{target}"), Some(TOKEN), "").await
    }

    async fn put(&self, target: &str, body: Value) -> Answered {
        self.send(Method::PUT, &format!("/manage/v1/{target}"), Some(TOKEN), body.to_string()).await
    }

    async fn post(&self, target: &str, body: Value) -> Answered {
        self.send(Method::POST, &format!("/manage/v1/{target}"), Some(TOKEN), body.to_string()).await
    }

    async fn patch(&self, target: &str, body: Value) -> Answered {
        self.send(Method::PATCH, &format!("/manage/v1/{target}"), Some(TOKEN), body.to_string()).await
    }

    async fn delete(&self, target: &str) -> Answered {
        self.send(Method::DELETE, &format!("/manage/v1/{target}"), Some(TOKEN), "").await
    }

    async fn head(&self) -> String {
        self.store.head().await.unwrap().revision.to_string()
    }
}

#[tokio::test]
async fn no_endpoint_answers_without_the_operator_token() {
    let house = House::furnished().await;
    let before = house.head().await;
    let endpoints = house.routes.endpoints().to_vec();
    assert!(endpoints.len() >= 19);
    for endpoint in endpoints {
        let method = Method::from_bytes(endpoint.method.unwrap().as_bytes()).unwrap();
        let path = endpoint.template.replace("{id}", "acme").replace("{token}", "t");
        for token in [None, Some(""), Some("operator-token-for-test"), Some("operator-token-for-tests2"), Some("x")] {
            let answer = house.send(method.clone(), &path, token, r#"{"name": "Stolen"}"#).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {token:?}");
            assert_eq!(answer.code(), "unauthenticated");
        }
    }
    assert_eq!(house.head().await, before, "nothing was written");
}

#[test]
fn an_operator_token_is_never_short_or_empty() {
    for bad in
        ["", " ", "short", &"x".repeat(19), &"x".repeat(513), "with a blank in the middle", "ümläut-ümläut-ümläut"]
    {
        assert!(OperatorToken::new(bad).is_err(), "{bad:?}");
    }
    let token = OperatorToken::new(&format!("{TOKEN}\n")).unwrap();
    assert!(token.admits(TOKEN) && !token.admits("") && !token.admits("operator"));
    assert!(!format!("{token:?}").contains("operator-token"));
}

#[tokio::test]
async fn reload_answers_with_the_bundle_or_says_why_the_old_one_stays() {
    let house = House::new();
    let answer = house.post("policies/reload", json!({})).await;
    assert_eq!((answer.status, &answer.body["bundle"]), (StatusCode::OK, &json!("bundle-2")));

    let manage = Arc::new(Manage {
        store: house.store.clone(),
        scim: house.manage.scim.clone(),
        sources: house.manage.sources.clone(),
        operator_token: OperatorToken::new(TOKEN).unwrap(),
        catalogue: house.manage.catalogue.clone(),
        reload: Arc::new(|| Box::pin(async { Err("ordering.cedar:3: unexpected token".to_owned()) })),
    });
    let broken = House { routes: manage.routes().build().unwrap(), manage, ..house };
    let answer = broken.post("policies/reload", json!({})).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNPROCESSABLE_ENTITY, "policies-invalid"));
    assert!(answer.message().contains("ordering.cedar:3"));
}
