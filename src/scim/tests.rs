//! The service through its own router, on the store in memory: no sockets, real tokens, hand-turned time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bulk;
mod characteristics;
mod dialects;
mod doors;
mod groups;
mod life;
mod lists;
mod operators;
mod races;
mod users;
mod walks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::Scim;
use super::connection::{Connection, Profile, Settings};
use super::image::USER_EXTENSION;
use super::schema::Schemas;
use crate::clock::{HandClock, SeededRandom, Sources};
use crate::domain::{AccountImage, Image, Number, OrganizationImage, Timestamp, UserImage};
use crate::http::header::{HeaderMap, HeaderName, HeaderValue};
use crate::http::{Handling, Method, Request, RouteTable};
use crate::store::memory::MemoryStore;
use crate::store::{Content, Kind, Step, Store, Transaction};

/// A server with two organizations: `acme` with the accounts 100 and 200, `rival` with the account 900.
pub(super) struct Bench {
    pub store: Arc<MemoryStore>,
    pub scim: Arc<Scim>,
    pub clock: Arc<HandClock>,
    pub sources: Sources,
    table: Arc<RouteTable>,
    images: Arc<Mutex<BTreeMap<Number, Image>>>,
}

/// An identity provider with its token.
#[derive(Clone)]
pub(super) struct Idp {
    table: Arc<RouteTable>,
    pub token: String,
    pub connection: String,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The `scimType`, if the status is this one.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/scim+json");
        assert_eq!(self.body["status"], status.to_string());
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        self.body["scimType"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Bench {
    pub async fn new() -> Self {
        Self::with_schemas(Schemas::builtin().unwrap()).await
    }

    pub async fn with_schemas(schemas: Schemas) -> Self {
        Self::built(schemas, |scim| scim).await
    }

    pub async fn built(schemas: Schemas, change: impl FnOnce(Scim) -> Scim) -> Self {
        let store = Arc::new(MemoryStore::new());
        let images: Arc<Mutex<BTreeMap<Number, Image>>> = Arc::default();
        let seen = Arc::clone(&images);
        assert!(store.set_apply_hook(Arc::new(move |_, changes| {
            let mut seen = seen.lock().unwrap();
            for change in changes {
                match &change.image {
                    Image::Members(_) => {}
                    Image::Organization(_) | Image::Account(_) | Image::User(_) | Image::Group(_) | Image::Gone => {
                        seen.insert(change.number, change.image.clone());
                    }
                }
            }
        })));
        let clock = Arc::new(HandClock::new(Timestamp(1_760_000_000_000)));
        let sources = Sources { clock: clock.clone(), random: Arc::new(SeededRandom::new(11)) };
        let scim = Scim::new(store.clone(), schemas, sources.clone(), "https://cedargate.example/");
        let scim = Arc::new(change(scim));
        let table = Arc::new(scim.router().build().unwrap());
        let bench = Self { store, scim, clock, sources, table, images };
        for (organization, accounts) in [("acme", &["100", "200"][..]), ("rival", &["900"])] {
            bench.organization(organization, accounts).await;
        }
        bench
    }

    async fn organization(&self, id: &str, accounts: &[&str]) {
        let image = Image::Organization(OrganizationImage { id: id.to_owned() });
        let number = self.create(Kind::Organization, id, "", image).await;
        for account in accounts {
            let image = AccountImage { id: (*account).to_owned(), organization: number, products: Vec::new() };
            self.create(Kind::Account, account, id, Image::Account(image)).await;
        }
    }

    async fn create(&self, kind: Kind, id: &str, organization: &str, image: Image) -> Number {
        let content = Content { document: "{}".into(), state: "{}".into(), image: Some(image), ..Content::default() };
        self.commit(Step::Create { kind, id: id.into(), organization: organization.into(), content }).await
    }

    pub async fn commit(&self, step: Step) -> Number {
        let operation = self.sources.identifier();
        let transaction = Transaction { operation, at: Timestamp(1), steps: vec![step] };
        self.store.commit(transaction).await.unwrap().outcomes[0].number
    }

    pub async fn idp(&self, organization: &str) -> Idp {
        self.connect(organization, Profile::Generic, Settings::default()).await
    }

    pub async fn connect(&self, organization: &str, profile: Profile, settings: Settings) -> Idp {
        let id = self.sources.identifier();
        let mut connection = Connection::new(id.clone(), organization.into(), "idp".into(), profile, settings);
        let token = connection.add_token(&self.sources, None).unwrap().shown;
        self.store_connection(&connection, None).await;
        Idp { table: Arc::clone(&self.table), token, connection: id }
    }

    pub async fn store_connection(&self, connection: &Connection, number: Option<Number>) {
        let content = connection.to_content().unwrap();
        let step = match number {
            Some(number) => Step::Replace { number, expected: None, content },
            None => Step::Create {
                kind: Kind::Connection,
                id: connection.id.clone(),
                organization: connection.organization.clone(),
                content,
            },
        };
        self.commit(step).await;
    }

    /// What decisions see of a person.
    pub async fn image(&self, id: &str) -> UserImage {
        let number = self.store.get(Kind::User, id).await.unwrap().unwrap().number;
        match self.images.lock().unwrap().get(&number) {
            Some(Image::User(image)) => image.clone(),
            other => panic!("no image of a person but {other:?}"),
        }
    }

    /// The organization's number of an account.
    pub async fn account(&self, id: &str) -> Number {
        self.store.get(Kind::Account, id).await.unwrap().unwrap().number
    }

    pub fn endpoints(&self) -> Vec<(Option<String>, String)> {
        self.table.endpoints().iter().map(|endpoint| (endpoint.method.clone(), endpoint.template.clone())).collect()
    }
}

impl Idp {
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], &body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, &[], &body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], "").await
    }

    /// A PATCH with these operations.
    pub async fn patch(&self, path: &str, operations: Value) -> Reply {
        let body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": operations,
        });
        self.send("PATCH", path, &[], &body.to_string()).await
    }

    /// A new person; answers the id.
    pub async fn user(&self, name: &str) -> String {
        let user = self.post("/Users", &json!({"schemas": [USER], "userName": name})).await.ok(201);
        user["id"].as_str().unwrap().to_owned()
    }

    /// A new group; answers the id.
    pub async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
        let body = json!({"schemas": [GROUP], "displayName": name, "members": members});
        self.post("/Groups", &body).await.ok(201)["id"].as_str().unwrap().to_owned()
    }

    /// Anything. The path is relative to `/scim/v2` unless it begins so.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let whole = if path.to_lowercase().starts_with("/scim") { path.to_owned() } else { format!("/scim/v2{path}") };
        let (path, query) = match whole.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (whole, None),
        };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut sent = HeaderMap::new();
        if !self.token.is_empty() {
            sent.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", self.token)).unwrap());
        }
        if !body.is_empty() {
            sent.insert("content-type", HeaderValue::from_static("application/scim+json; charset=utf-8"));
        }
        for (name, value) in headers {
            sent.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let response = match self.table.find(&method, &path) {
            Ok(found) => {
                let request = Request {
                    parameters: found.parameters.clone(),
                    method,
                    path,
                    query,
                    headers: sent,
                    body: body.to_owned().into(),
                    peer: std::sync::Arc::default(),
                    id: "test".into(),
                };
                match found.handling {
                    Handling::Later(handler) => handler(request).await,
                    Handling::Now(_) | Handling::Here(_) | Handling::Stream(_) => {
                        panic!("SCIM endpoints run on tasks of their own")
                    }
                }
            }
            Err(miss) => self.table.render_miss(&path, &miss),
        };
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// A person with rights.
pub(super) fn rights(name: &str, roles: &[&str], own: Value) -> Value {
    let roles: Vec<Value> = roles.iter().map(|role| json!({ "value": role })).collect();
    json!({"schemas": [USER, USER_EXTENSION], "userName": name, "roles": roles, (USER_EXTENSION): own})
}
