//! Bad people and groups: SCIM's errors and the operators', and not one attribute different afterwards.

use serde_json::{Value, json};

use super::{GROUP, PATCH, Scene, USER, ada, nested};
use crate::support::Reply;

#[track_caller]
fn is_scim_error(reply: &Reply, status: u16, what: &str) -> String {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("application/scim+json")), "{what}");
    let body = reply.json();
    assert_eq!(body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]), "{what}: {body}");
    assert_eq!(body["status"], json!(status.to_string()), "{what}: {body}");
    body["detail"].as_str().expect("a detail").to_owned()
}

#[test]
fn resources_that_cannot_be_read() {
    let mut scene = Scene::new();
    let path = format!("Users/{}", scene.ada);
    scene.unchanged("people", |scene| {
        for text in ["", "{", "nonsense", "[]", "\"ada\"", "{\"userName\": \"eve\", \"userName\": \"ada\""] {
            let reply = scene.scim.send("POST", "Users", text.as_bytes()).unwrap();
            is_scim_error(&reply, 400, text);
            is_scim_error(&scene.scim.send("PUT", &path, text.as_bytes()).unwrap(), 400, text);
            is_scim_error(&scene.scim.send("PATCH", &path, text.as_bytes()).unwrap(), 400, text);
        }
        for body in [
            json!({"schemas": [USER]}),
            json!({"schemas": [USER], "userName": ""}),
            json!({"schemas": [USER], "userName": {"is": "eve"}}),
            json!({"schemas": [USER], "userName": ["eve", "mallory"]}),
            json!({"schemas": [USER], "userName": "eve", "active": "perhaps"}),
            json!({"schemas": [USER], "userName": "eve", "active": {}}),
            json!({"schemas": [USER], "userName": "eve", "name": "Eve"}),
            json!({"schemas": [USER], "userName": "eve", "name": {"givenName": {"is": "Eve"}}}),
        ] {
            is_scim_error(&scene.scim.call("POST", "Users", &body), 400, &body.to_string());
        }
        let deep = format!("{{\"schemas\":[\"{USER}\"],\"userName\":\"eve\",\"roles\":{}}}", nested(10_000));
        is_scim_error(&scene.scim.send("POST", "Users", deep.as_bytes()).unwrap(), 400, "10,000 deep");
        let huge = json!({"schemas": [USER], "userName": "eve", "nickName": "x".repeat(10 << 20)}).to_string();
        if let Ok(reply) = scene.scim.send("POST", "Users", huge.as_bytes()) {
            is_scim_error(&reply, 413, "10 MB");
        }
        let nobody = scene.scim.call("GET", "Users?filter=userName%20eq%20%22eve%22", &Value::Null).expect(&[200]);
        assert_eq!(nobody.json()["totalResults"], 0);
    });
}

#[test]
fn patches_that_fail_change_nothing_of_what_they_say() {
    let mut scene = Scene::new();
    let (user, group) = (format!("Users/{}", scene.ada), format!("Groups/{}", scene.group));
    scene.unchanged("patches", |scene| {
        let off = json!({"op": "replace", "path": "active", "value": false});
        for operations in [
            json!(null),
            json!([]),
            json!({}),
            json!([7]),
            json!([{"op": "replace"}]),
            json!([{"op": "destroy", "path": "active"}]),
            json!([{"path": "active", "value": false}]),
            json!([off, {"op": "replace", "path": "active", "value": "perhaps"}]),
            json!([off, {"op": "remove"}]),
            json!([off, {"op": "replace", "path": "name[", "value": "x"}]),
            json!([off, {"op": "replace", "path": "emails[type eq].value", "value": "x"}]),
            json!([off, {"op": "replace", "path": "userName", "value": ""}]),
            json!([off, {"op": "replace", "path": "userName", "value": {"is": "eve"}}]),
        ] {
            let body = json!({"schemas": [PATCH], "Operations": operations});
            is_scim_error(&scene.scim.call("PATCH", &user, &body), 400, &body.to_string());
        }
        let empty = json!({"op": "replace", "path": "members", "value": []});
        for operation in [
            json!({"op": "add", "path": "members", "value": [{"value": "nobody"}]}),
            json!({"op": "add", "path": "members", "value": [{"value": 7}]}),
            json!({"op": "replace", "path": "displayName", "value": {"is": "x"}}),
        ] {
            let body = json!({"schemas": [PATCH], "Operations": [empty, operation]});
            is_scim_error(&scene.scim.call("PATCH", &group, &body), 400, &body.to_string());
        }
        let body = json!({"schemas": [GROUP], "displayName": "More", "members": [{"value": "nobody"}]});
        let reply = scene.scim.call("POST", "Groups", &body);
        assert!(matches!(reply.status, 400 | 404), "{}", reply.text());
    });
}

#[test]
fn what_somebody_else_has_is_refused_by_the_name_of_the_attribute_alone() {
    let mut scene = Scene::new();
    let secret = scene.ada.clone();
    scene.unchanged("duplicates", |scene| {
        let mail = |address: &str| json!([{"value": address, "primary": true}]);
        for (attribute, body) in [
            ("userName", json!({"schemas": [USER], "userName": "ada"})),
            ("userName", json!({"schemas": [USER], "userName": "ADA", "emails": mail("other@example.test")})),
            ("email", json!({"schemas": [USER], "userName": "eve", "emails": mail("ada@example.test")})),
            ("email", json!({"schemas": [USER], "userName": "eve", "emails": mail("Ada@Example.TEST")})),
        ] {
            for organization in ["acme", "globex"] {
                let scim = if organization == "acme" { &mut scene.scim } else { &mut scene.foreign };
                let what = format!("{organization}: {body}");
                let reply = scim.call("POST", "Users", &body);
                let detail = is_scim_error(&reply, 409, &what);
                assert_eq!(reply.json()["scimType"], "uniqueness", "{what}");
                assert!(detail.to_lowercase().contains(&attribute.to_lowercase()), "{what}: {detail}");
                let text = reply.text();
                for told in [secret.as_str(), "Augusta", "Lovelace", "acme"] {
                    assert!(!text.contains(told), "{what} tells {told}: {text}");
                }
            }
        }
        let line = json!({"schemas": [USER], "userName": "eve", "emails": mail("ada@example.test")});
        let reply = scene.operator.call("POST", "import?organization=globex", &line).expect(&[200]);
        let lines: Vec<Value> = reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), &lines[1]["summary"]["failed"]), (2, &json!(1)), "{lines:?}");
        assert!(lines[0]["error"].to_string().contains("mail"), "{lines:?}");
    });
}

#[test]
fn operators_are_told_what_is_wrong_as_well() {
    let mut scene = Scene::new();
    scene.unchanged("operators", |scene| {
        for (method, path, body, status) in [
            ("PUT", "organizations/initech", json!({"name": 7}), 400),
            ("PUT", "organizations/initech", json!({"name": "I", "colour": "red"}), 400),
            ("PUT", "accounts/101", json!({"organization": "nowhere", "name": "x", "products": []}), 404),
            ("PUT", "accounts/101", json!({"organization": "acme", "name": "x", "products": ["Snake Oil"]}), 400),
            ("PUT", "accounts/100", json!({"organization": "globex", "name": "x", "products": []}), 409),
            ("POST", "connections", json!({"name": "x", "organization": "acme", "profile": "abacus"}), 400),
            ("POST", "connections", json!({"name": "x", "organization": "acme", "settings": {"may_fly": true}}), 400),
            ("PATCH", "users/ada", json!({"active": "perhaps"}), 400),
            ("PATCH", "users/ada", json!({"active": false, "shoeSize": 38}), 400),
            ("PATCH", "users/ada", json!({"active": false, "roles": ["Keeper of the Keys"]}), 400),
            ("PATCH", "users/ada", json!({"active": false, "accounts": ["999"]}), 400),
            ("PATCH", "users/ada", json!({"active": false, "passwordChangedAt": "yesterday"}), 400),
            ("PATCH", "users/nobody", json!({"active": false}), 404),
            ("DELETE", "organizations/acme", Value::Null, 409),
        ] {
            let reply = scene.operator.call(method, path, &body);
            // 404 or 400 are both fair for a body that names what is not there.
            let fair = reply.status == status || (status == 404 && reply.status == 400);
            assert!(fair, "{method} {path} {body}: {} {}", reply.status, reply.text());
            assert!(reply.json()["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{path}");
        }
        // Nor do refused fields cling to the next good change of another person.
        scene.foreign.call("POST", "Users", &ada()).expect(&[409]);
    });
}
