//! Clients of the front door that mean harm, where a conversation file cannot say it: spellings of paths on real
//! sockets, sizes, secrets at rest, addresses that must not be called, and two organizations side by side.

mod twins;

use std::net::TcpListener;
use std::path::Path;

use cedargate::clock::Sources;
use cedargate::scim::connection::{Profile, Settings};
use cedargate::scim::conversation::{Incoming, Outgoing, Sender};
use serde_json::{Value, json};

use crate::conversation::{Provider, World};
use crate::support::{Client, TestServer};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const SECRET: &str = "correct-horse-battery-staple-77";

pub async fn send(idp: &Provider, method: &str, path: &str, body: Option<Value>) -> Incoming {
    let headers = [("content-type".to_owned(), "application/scim+json".to_owned())].into();
    let outgoing = Outgoing {
        method: method.to_owned(),
        path: format!("/scim/v2{path}"),
        headers,
        body: body.map(|body| body.to_string()),
    };
    idp.send(outgoing).await.unwrap()
}

async fn provider() -> Provider {
    World::new(Sources::system()).await.connect("acme", Profile::Generic, Settings::default()).await
}

async fn created(idp: &Provider, path: &str, body: Value) -> String {
    let came = send(idp, "POST", path, Some(body)).await;
    assert_eq!(came.status, 201, "{}", came.body);
    serde_json::from_str::<Value>(&came.body).unwrap()["id"].as_str().unwrap().to_owned()
}

/// A path in spellings that have led around authentication elsewhere (ZITADEL, CVE-2026-32130).
fn spellings(path: &str) -> Vec<String> {
    let encoded: String = path.bytes().map(|b| if b == b'/' { "/".into() } else { format!("%{b:02X}") }).collect();
    let first = path.replacen("Users", "%55sers", 1).replacen("Groups", "%47roups", 1);
    vec![
        path.to_owned(),
        encoded.clone(),
        encoded.replace('%', "%25"),
        first,
        path.to_lowercase(),
        path.to_uppercase(),
        path.replace("/scim", "//scim"),
        path.replace("/v2/", "/v2//"),
        path.replace("/v2/", "/v2/./"),
        path.replace("/v2/", "/v2/x/../"),
        path.replace("/v2/", "/v2/%2e%2e/v2/"),
        path.replace("/v2/", "/v2%2f"),
        path.replace("/v2/", "/v2;x=y/"),
        path.replace("/v2/", "\\v2\\"),
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}%00"),
        format!("{path}?access_token=x"),
        format!("{path}.json"),
        format!("http://127.0.0.1{path}"),
    ]
}

#[test]
fn no_spelling_of_a_path_gets_around_the_token() {
    let server = TestServer::start();
    let mut operator = server.doors().operator();
    operator.organization("acme");
    let token = operator.connection("acme", "generic");
    let made =
        server.doors().provisioner(&token).call("POST", "Users", &json!({"schemas": [USER], "userName": "victim"}));
    let id = made.expect(&[201]).json()["id"].as_str().unwrap().to_owned();
    let paths = [
        "Users".to_owned(),
        format!("Users/{id}"),
        "Groups".into(),
        "Schemas".into(),
        "ResourceTypes".into(),
        "ServiceProviderConfig".into(),
        "Roles".into(),
        "Entitlements".into(),
        "Bulk".into(),
        "Me".into(),
        ".search".into(),
        "Users/.search".into(),
    ];
    let wrong = format!("{}x", &token[..token.len() - 1]);
    let cut = token[..token.len() - 6].to_owned();
    let body = json!({"schemas": [USER], "userName": "intruder", "active": false}).to_string();
    let mut asked = 0;
    for bearer in [None, Some(wrong), Some(cut), Some("Bearer".into()), Some("eyJhbGciOiJub25lIn0.e30.".into())] {
        let client = Client::new(&server.doors().front);
        let mut client = if let Some(bearer) = &bearer { client.bearer(bearer) } else { client };
        for path in paths.iter().flat_map(|path| spellings(&format!("/scim/v2/{path}"))) {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                asked += 1;
                // A line that is no HTTP may end the connection without an answer.
                let Ok(reply) = client.send(method, &path, "application/scim+json", body.as_bytes()) else { continue };
                assert!(matches!(reply.status, 400 | 401 | 404 | 405), "{method} {path}: {}", reply.status);
                assert!(!reply.text().contains(&id) && !reply.text().contains("victim"), "{method} {path}");
            }
        }
    }
    assert!(asked >= 5 * 12 * 20 * 5, "{asked}");
    let mut scim = server.doors().provisioner(&token);
    let people = scim.call("GET", "Users", &Value::Null).expect(&[200]).json();
    assert_eq!((&people["totalResults"], &people["Resources"][0]["meta"]["version"]), (&json!(1), &json!("W/\"1\"")));
}

#[test]
fn a_password_is_nowhere_afterwards() {
    let server = TestServer::start();
    let mut operator = server.doors().operator();
    operator.organization("acme");
    let token = operator.connection("acme", "okta");
    let mut scim = server.doors().provisioner(&token);
    let mut replies =
        vec![scim.call("POST", "Users", &json!({"schemas": [USER], "userName": "pat", "password": SECRET}))];
    let id = replies[0].json()["id"].as_str().unwrap().to_owned();
    let path = format!("Users/{id}");
    let patch = |operation: Value| json!({"schemas": [PATCH], "Operations": [operation]});
    for body in [
        patch(json!({"op": "replace", "value": {"password": SECRET}})),
        patch(json!({"op": "add", "path": "password", "value": SECRET})),
        patch(json!({"op": "replace", "path": "password", "value": {"password": SECRET}})),
        patch(json!({"op": "replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:password", "value": SECRET})),
    ] {
        replies.push(scim.call("PATCH", &path, &body));
    }
    replies.push(scim.call("PUT", &path, &json!({"schemas": [USER], "userName": "pat", "password": SECRET})));
    replies.push(scim.call("PUT", &path, &json!({"schemas": [USER], "password": SECRET})));
    replies.push(scim.call("POST", "Users", &json!({"schemas": [USER], "userName": "pat", "password": SECRET})));
    replies.push(scim.call("GET", &format!("{path}?attributes=password"), &Value::Null));
    replies.push(scim.call("GET", &format!("Users?filter=password%20eq%20%22{SECRET}%22"), &Value::Null));
    let connections = operator.call("GET", "connections", &Value::Null).expect(&[200]).json();
    let connection = connections["items"][0]["id"].as_str().unwrap();
    replies.push(operator.call("GET", &format!("connections/{connection}/events"), &Value::Null).expect(&[200]));
    replies.push(operator.call("GET", &format!("users/{id}"), &Value::Null).expect(&[200]));
    for reply in replies {
        assert!(!reply.text().contains(SECRET), "{}", reply.text());
    }
    let folder = server.data().parent().unwrap();
    let (found, files) = files_with(folder, SECRET.as_bytes());
    assert!(found.is_empty(), "the password stands in {found:?}");
    assert!(files >= 3, "ledger, log and token were looked through: {files}");
}

/// The files below a folder that hold these bytes, and how many there are in all.
fn files_with(folder: &Path, bytes: &[u8]) -> (Vec<String>, usize) {
    let (mut found, mut count) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let (inner, files) = files_with(&path, bytes);
            found.extend(inner);
            count += files;
        } else {
            count += 1;
            let content = std::fs::read(&path).unwrap();
            if content.windows(bytes.len()).any(|window| window == bytes) {
                found.push(path.display().to_string());
            }
        }
    }
    (found, count)
}

#[tokio::test]
async fn depth_and_length_end_with_an_error() {
    let idp = provider().await;
    let id = created(&idp, "/Users", json!({"schemas": [USER], "userName": "deep"})).await;
    let user = format!("/Users/{id}");
    let long = [
        "a.".repeat(8_000) + "b",
        format!("emails[{}value eq \"x\"{}]", "(".repeat(8_000), ")".repeat(8_000)),
        format!("emails[{}value eq \"x\"", "not (".repeat(8_000)),
        "emails[".repeat(4_000),
        format!("emails[value eq \"x\"{}].value", " or value eq \"x\"".repeat(10_000)),
    ];
    for path in &long {
        let operation = json!({"op": "replace", "path": path, "value": "x"});
        let came = send(&idp, "PATCH", &user, Some(json!({"schemas": [PATCH], "Operations": [operation]}))).await;
        assert!(matches!(came.status, 400 | 413), "{}", came.body);
        let keyed = json!({"op": "replace", "value": {(path.as_str()): "x"}});
        let came = send(&idp, "PATCH", &user, Some(json!({"schemas": [PATCH], "Operations": [keyed]}))).await;
        assert!(matches!(came.status, 200 | 400 | 413), "left out or refused: {}", came.body);
        let filter: String = path.bytes().map(|b| format!("%{b:02X}")).collect();
        let came = send(&idp, "GET", &format!("/Users?filter={filter}"), None).await;
        assert_eq!(came.status, 400, "{}", came.body);
    }
    let operation = json!({"op": "replace", "path": "title", "value": "x"});
    let many = json!({"schemas": [PATCH], "Operations": vec![operation; 1_001]});
    assert_eq!(send(&idp, "PATCH", &user, Some(many)).await.status, 413);
    let nested = (0..100).fold(json!("x"), |inner, _| json!({ "name": inner }));
    let came = send(&idp, "PUT", &user, Some(json!({"schemas": [USER], "userName": "deep", "x": nested}))).await;
    assert_eq!(came.status, 400, "{}", came.body);
    let read: Value = serde_json::from_str(&send(&idp, "GET", &user, None).await.body).unwrap();
    assert_eq!(read["meta"]["version"], "W/\"1\"", "nothing of all this changed anybody");
}

#[tokio::test]
async fn references_are_never_called() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/Users/1", listener.local_addr().unwrap());
    let idp = provider().await;
    let body = json!({
        "schemas": [USER], "userName": "ref", "profileUrl": address, "photos": [{"value": address, "type": "photo"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": "m", "$ref": address}},
    });
    let id = created(&idp, "/Users", body).await;
    let members = json!([{"value": id, "$ref": address}]);
    let group = created(&idp, "/Groups", json!({"schemas": [GROUP], "displayName": "g", "members": members})).await;
    let add = json!({"op": "add", "path": "members", "value": [{"$ref": address}]});
    let came =
        send(&idp, "PATCH", &format!("/Groups/{group}"), Some(json!({"schemas": [PATCH], "Operations": [add]}))).await;
    assert_eq!(came.status, 400, "a reference names nobody: {}", came.body);
    let read: Value = serde_json::from_str(&send(&idp, "GET", &format!("/Groups/{group}"), None).await.body).unwrap();
    assert_eq!(read["members"][0]["$ref"], format!("https://cedargate.example/scim/v2/Users/{id}"));
    let called = listener.accept();
    assert!(called.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "somebody called");
}

#[tokio::test]
async fn the_one_thing_that_another_organization_learns_names_nobody() {
    let world = World::new(Sources::system()).await;
    let acme = world.connect("acme", Profile::Generic, Settings::default()).await;
    let rival = world.connect("rival", Profile::Generic, Settings::default()).await;
    let email = json!([{"value": "ann@acme.example", "primary": true}]);
    let id =
        created(&acme, "/Users", json!({"schemas": [USER], "userName": "Ann", "externalId": "e", "emails": email}))
            .await;
    for (body, attribute) in [
        (json!({"schemas": [USER], "userName": "aNN"}), "userName"),
        (json!({"schemas": [USER], "userName": "x", "emails": [{"value": "ANN@acme.example"}]}), "emails"),
    ] {
        let came = send(&rival, "POST", "/Users", Some(body)).await;
        let body: Value = serde_json::from_str(&came.body).unwrap();
        assert_eq!((came.status, &body["scimType"]), (409, &json!("uniqueness")));
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.starts_with(attribute) && !detail.contains(&id) && !detail.contains("acme"), "{detail}");
    }
}
