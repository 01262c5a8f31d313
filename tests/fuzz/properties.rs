//! What must hold for any bytes that a client sends to the SCIM door. The fuzzers look for bytes that break it;
//! `tests/it/fuzz_corpus.rs` replays the committed ones in every test run.
#![allow(dead_code, reason = "each fuzzer uses one of these")]

use std::sync::{Arc, LazyLock};

use cedargate::clock::Sources;
use cedargate::domain::{Image, OrganizationImage, Timestamp};
use cedargate::http::header::HeaderValue;
use cedargate::http::router::Handling;
use cedargate::http::{Method, Request, RouteTable};
use cedargate::scim::connection::{Connection, Profile, Settings};
use cedargate::scim::filter::{Filter, LONGEST_FILTER, matches};
use cedargate::scim::patch;
use cedargate::scim::schema::{Resource, ResourceKind, Schemas, Tolerance};
use cedargate::scim::{Scim, ScimError};
use cedargate::store::memory::MemoryStore;
use cedargate::store::{Content, Kind, Step, Store, Transaction};
use serde_json::{Value, json};

/// A secret that no answer may ever hold.
const PASSWORD: &str = "t0p-s3cr3t-w0rd";

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::builtin().expect("the built-in schemas"));
/// Made once: reading it took nearly all of a run.
static PERSON: LazyLock<Value> = LazyLock::new(person);
static STORED: LazyLock<Resource> = LazyLock::new(|| {
    let definition = SCHEMAS.definition(ResourceKind::User);
    definition.parse(&PERSON, &Tolerance::STRICT).expect("the person fits the schema")
});
const TOLERANCES: [Tolerance; 2] = [Tolerance::GENERIC, Tolerance::STRICT];

/// A person who has something everywhere.
fn person() -> Value {
    json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
            "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User",
        ],
        "userName": "mia@example.com", "active": true, "externalId": "00u1",
        "name": {"givenName": "Mia", "familyName": "Roth"},
        "emails": [{"value": "mia@example.com", "type": "work", "primary": true}, {"value": "m@home.example", "type": "home"}],
        "phoneNumbers": [{"value": "tel:+1-555-0100", "type": "mobile"}],
        "addresses": [{"type": "work", "country": "US", "postalCode": "27606"}],
        "roles": [{"value": "Ordering"}, {"value": "Unknown"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "NOC", "manager": {"value": "7"}},
        "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User": {
            "administrationLevel": "Basic User", "accessMethods": ["api"], "accounts": ["100"],
        },
    })
}

fn refused(error: &ScimError) {
    assert!((400..500).contains(&error.status.as_u16()), "bytes of a client are never the server's fault: {error:?}");
}

/// A filter that can be read has one canonical text, which reads as the same filter where it is short enough to be read;
/// meaning it never fails.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for tolerance in TOLERANCES {
        match Filter::parse(text, &tolerance) {
            Ok(filter) => {
                let canonical = filter.to_string();
                match Filter::parse(&canonical, &Tolerance::STRICT) {
                    Ok(again) => assert_eq!(filter, again, "{text:?} and its canonical text {canonical:?}"),
                    // A control character takes six to be written.
                    Err(error) => assert!(canonical.len() > LONGEST_FILTER, "{canonical:?} is no filter: {error:?}"),
                }
                for kind in [ResourceKind::User, ResourceKind::Group] {
                    matches(&filter, SCHEMAS.definition(kind), PERSON.as_object().expect("an object"));
                }
            }
            Err(error) => refused(&error),
        }
    }
}

/// A path of a PATCH, with every operation.
pub fn patch_path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    for operation in [
        json!({"op": "add", "path": path, "value": "x"}),
        json!({"op": "replace", "path": path, "value": {"value": "x", "type": "work"}}),
        json!({"op": "remove", "path": path}),
        json!({"op": "replace", "value": {path: [{"value": "x"}]}}),
    ] {
        patched(&json!({"schemas": [patch::PATCH_SCHEMA], "Operations": [operation]}));
    }
}

/// A whole PATCH.
pub fn patch_body(data: &[u8]) {
    if let Ok(body) = serde_json::from_slice::<Value>(data) {
        patched(&body);
    }
}

/// All or nothing, and the result fits the schema: read again it is the same.
fn patched(body: &Value) {
    let definition = SCHEMAS.definition(ResourceKind::User);
    for tolerance in TOLERANCES {
        let before: &Resource = &STORED;
        let outcome = patch::parse(body, &tolerance)
            .and_then(|operations| patch::apply(definition, before.clone(), &operations, &tolerance));
        match outcome {
            Ok(patched) => {
                let document = Value::Object(patched.resource.as_map().clone());
                assert!(document.get("password").is_none(), "a password was kept");
                let again = definition.parse(&document, &Tolerance::STRICT).expect("the result fits the schema");
                assert_eq!(again.as_map(), patched.resource.as_map(), "the result reads as something else");
                definition.check_required(&again).expect("nothing required went away");
                if !patched.changed {
                    assert_eq!(patched.resource.as_map(), before.as_map(), "changed without saying so");
                }
            }
            Err(error) => refused(&error),
        }
    }
}

/// A whole resource: what is read from a body reads as itself.
pub fn resource_body(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    for kind in [ResourceKind::User, ResourceKind::Group] {
        for tolerance in TOLERANCES {
            let definition = SCHEMAS.definition(kind);
            match definition.parse(&body, &tolerance) {
                Ok(resource) => {
                    let document = Value::Object(resource.as_map().clone());
                    assert!(document.get("password").is_none(), "a password was kept");
                    let again = definition.parse(&document, &Tolerance::STRICT).expect("the result fits the schema");
                    assert_eq!(again.as_map(), resource.as_map(), "the result reads as something else");
                }
                Err(error) => refused(&error),
            }
        }
    }
}

/// A bulk request to the whole service on a store in memory: one answer for each operation that was tried, no
/// failure of the server, no password.
pub fn bulk(data: &[u8]) {
    let Ok(mut body) = serde_json::from_slice::<Value>(data) else { return };
    if body.to_string().contains(PASSWORD) {
        // Somewhere else it is a name like any other.
        return;
    }
    plant_password(&mut body, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let service = Service::new().await;
        let (status, answer) = service.post("/scim/v2/Bulk", &body).await;
        assert!(status < 500, "the server failed: {answer}");
        assert!(!answer.to_string().contains(PASSWORD), "a password came back");
        if status == 200 {
            // Names of members count in any case, as the profile forgives.
            let named =
                body.as_object().and_then(|all| all.iter().find(|(name, _)| name.eq_ignore_ascii_case("operations")));
            let sent = named.and_then(|(_, value)| value.as_array()).map_or(0, Vec::len);
            let tried = answer["Operations"].as_array().expect("an answer for each operation").len();
            assert!(tried <= sent, "{tried} answers to {sent} operations");
        }
    });
}

/// Wherever the bytes name a password, it is the one that must never come back.
fn plant_password(value: &mut Value, depth: usize) {
    match value {
        Value::Object(members) if depth < 64 => {
            for (name, member) in members.iter_mut() {
                if name.eq_ignore_ascii_case("password") {
                    *member = Value::from(PASSWORD);
                } else {
                    plant_password(member, depth + 1);
                }
            }
        }
        Value::Array(elements) if depth < 64 => elements.iter_mut().for_each(|one| plant_password(one, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {}
    }
}

/// The SCIM service with one organization and one connection.
struct Service {
    table: RouteTable,
    token: String,
}

impl Service {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        assert!(store.set_apply_hook(Arc::new(|_, _| {})));
        let sources = Sources::system();
        let image = Image::Organization(OrganizationImage { id: "acme".into() });
        let organization =
            Content { document: "{}".into(), state: "{}".into(), image: Some(image), ..Content::default() };
        let id = sources.identifier();
        let mut connection =
            Connection::new(id.clone(), "acme".into(), "idp".into(), Profile::Generic, Settings::default());
        let token = connection.add_token(&sources, None).expect("a token").shown;
        let content = connection.to_content().expect("a connection that can be stored");
        let steps = vec![
            Step::Create {
                kind: Kind::Organization,
                id: "acme".into(),
                organization: String::new(),
                content: organization,
            },
            Step::Create { kind: Kind::Connection, id, organization: "acme".into(), content },
        ];
        let transaction = Transaction { operation: sources.identifier(), at: Timestamp(1), steps };
        store.commit(transaction).await.expect("an organization and its connection");
        let schemas = Schemas::builtin().expect("the built-in schemas");
        let scim = Arc::new(Scim::new(store, schemas, sources, "https://cedargate.example/"));
        Self { table: scim.router().build().expect("routes"), token }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let found = self.table.find(&Method::POST, path).expect("the endpoint is there");
        let mut request = Request::new(Method::POST, path);
        request.parameters = found.parameters.clone();
        request.body = body.to_string().into();
        let headers =
            [("authorization", format!("Bearer {}", self.token)), ("content-type", "application/scim+json".into())];
        for (name, value) in headers {
            request.headers.insert(name, HeaderValue::from_str(&value).expect("a header"));
        }
        let response = match found.handling {
            Handling::Here(handler) => handler(request).response().await,
            Handling::Later(handler) => handler(request).await,
            Handling::Now(handler) => handler(request),
            Handling::Stream(_) => unreachable!("SCIM reads whole bodies"),
        };
        let status = response.status().as_u16();
        let bytes = response.into_body().whole().cloned().unwrap_or_default();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}
