//! Every habit of the profile table, done by every profile: forgiven or refused as the table says.

use serde_json::{Value, json};

use super::{Bench, Idp, Reply, USER};
use crate::scim::connection::{Profile, Settings};
use crate::scim::dialect::{Dialect, HABITS};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Sends one habit on a fresh server; answers the reply and the person read afterwards.
async fn act(idp: &Idp, habit: &str, user: &str) -> Reply {
    let path = format!("/Users/{user}");
    let put = |more: Value| {
        let mut body = json!({"schemas": [USER], "userName": "jane"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let work = "emails[type eq \"work\"].value";
    match habit {
        "string_booleans" => idp.patch(&path, json!([{"op": "replace", "path": "active", "value": "False"}])).await,
        "numbers_as_text" => idp.put(&path, &put(json!({"title": 7}))).await,
        "single_object_as_array" => idp.put(&path, &put(json!({"emails": {"value": "j@x.example"}}))).await,
        "one_element_array" => idp.put(&path, &put(json!({(ENTERPRISE): {"manager": [{"value": "m"}]}}))).await,
        "bare_values" => idp.put(&path, &put(json!({(ENTERPRISE): {"manager": "m"}}))).await,
        "empty_string_clears" => {
            idp.put(&path, &put(json!({"title": "x"}))).await.ok(200);
            idp.patch(&path, json!([{"op": "replace", "path": "title", "value": ""}])).await
        }
        "path_keys" => idp.patch(&path, json!([{"op": "replace", "value": {"name.givenName": "Jane"}}])).await,
        "legacy_urns" => {
            idp.patch(&path, json!([{"op": "add", "path": "urn:scim:schemas:core:1.0:title", "value": "x"}])).await
        }
        "unqualified_names" => idp.get("/Users?filter=department%20pr").await,
        "unknown_attributes" => idp.put(&path, &put(json!({"colour": "green"}))).await,
        "missing_schemas" => idp.put(&path, &json!({"userName": "jane"})).await,
        "any_case_operations" => idp.patch(&path, json!([{"op": "Replace", "path": "title", "value": "x"}])).await,
        "create_from_value_path" => {
            idp.patch(&path, json!([{"op": "replace", "path": work, "value": "j@x.example"}])).await
        }
        "remove_with_value" => {
            idp.patch(&path, json!([{"op": "remove", "path": "roles", "value": [{"value": "Porting"}]}])).await
        }
        "unquoted_literals" => idp.get("/Users?filter=userName%20eq%20jane").await,
        other => panic!("no sample of {other}"),
    }
}

/// What an accepted habit must have come to, as a JSON pointer and a value.
fn outcome(habit: &str) -> (&'static str, Value) {
    match habit {
        "string_booleans" => ("/active", json!(false)),
        "numbers_as_text" => ("/title", json!("7")),
        "single_object_as_array" | "create_from_value_path" => ("/emails/0/value", json!("j@x.example")),
        "one_element_array" | "bare_values" => {
            ("/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/manager/value", json!("m"))
        }
        "path_keys" => ("/name/givenName", json!("Jane")),
        "legacy_urns" | "any_case_operations" => ("/title", json!("x")),
        "remove_with_value" => ("/roles", json!([{"value": "Ordering"}])),
        "unquoted_literals" => ("/totalResults", json!(1)),
        "unqualified_names" => ("/totalResults", json!(0)),
        "empty_string_clears" | "unknown_attributes" | "missing_schemas" => ("/userName", json!("jane")),
        other => panic!("no outcome of {other}"),
    }
}

#[tokio::test]
async fn every_habit_is_forgiven_or_refused_as_the_table_says() {
    for profile in Profile::ALL {
        for habit in HABITS {
            let bench = Bench::new().await;
            let idp = bench.connect("acme", profile, Settings::default()).await;
            let roles = json!([{"value": "Ordering"}, {"value": "Porting"}]);
            let body = json!({"schemas": [USER], "userName": "jane", "roles": roles});
            let user = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
            let reply = act(&idp, habit.name, &user).await;
            let what = format!("{} as {}: {}", habit.name, profile.name(), reply.body);
            if (habit.forgiven)(&Dialect::of(profile).forgives) {
                assert_eq!(reply.status, 200, "{what}");
                let (pointer, value) = outcome(habit.name);
                assert_eq!(reply.body.pointer(pointer), Some(&value), "{what}");
            } else if habit.name == "empty_string_clears" {
                // RFC 7643 section 2.5 does not take an empty text for no value: it is a title like another.
                assert_eq!(reply.ok(200)["title"], "", "{what}");
            } else if habit.name == "path_keys" {
                // A key of which the schema knows nothing, and such keys are left out (RFC 7644 section 3.3).
                assert!(reply.ok(200).get("name").is_none(), "{what}");
            } else {
                assert_eq!(reply.status, 400, "{what}");
            }
            let read = idp.get(&format!("/Users/{user}")).await.ok(200);
            assert!(read.get("colour").is_none() && read["userName"] == "jane", "{what}");
        }
    }
}

#[tokio::test]
async fn a_patch_is_answered_as_the_table_and_the_setting_say() {
    use crate::scim::dialect::Patched;
    let status = |patched: Patched| if patched == Patched::Body { 200 } else { 204 };
    for profile in Profile::ALL {
        for patch_without_body in [false, true] {
            let bench = Bench::new().await;
            let settings = Settings { patch_without_body, ..Settings::default() };
            let idp = bench.connect("acme", profile, settings).await;
            let (user, group) = (idp.user("a").await, idp.group("g", &[]).await);
            let dialect = Dialect::of(profile);
            for (path, name, patched) in [
                (format!("/Users/{user}"), "title", dialect.patched_user),
                (format!("/Groups/{group}"), "displayName", dialect.patched_group),
            ] {
                let operations = json!([{"op": "replace", "path": name, "value": "x"}]);
                let expected = if patch_without_body { 204 } else { status(patched) };
                assert_eq!(idp.patch(&path, operations.clone()).await.status, expected, "{} {path}", profile.name());
                let asked = idp.patch(&format!("{path}?attributes={name}"), operations).await.ok(200);
                assert_eq!(asked[name], "x");
            }
        }
    }
}

#[tokio::test]
async fn roles_are_announced_to_those_who_look_for_them_and_served_to_everybody() {
    for profile in Profile::ALL {
        let bench = Bench::new().await;
        let idp = bench.connect("acme", profile, Settings::default()).await;
        let announced = Dialect::of(profile).announces_roles;
        let types = idp.get("/ResourceTypes").await.ok(200).to_string();
        assert_eq!(types.contains("urn:okta:scim:schemas:core:1.0:Role"), announced, "{}", profile.name());
        let one = idp.get("/ResourceTypes/Entitlement").await.status;
        let schema = idp.get("/Schemas/urn:okta:scim:schemas:core:1.0:Entitlement").await.status;
        assert_eq!((one == 200, schema == 200), (announced, announced));
        assert_eq!(idp.get("/Entitlements").await.ok(200)["totalResults"], 2);
    }
}

#[tokio::test]
async fn only_what_a_connection_may_give_is_listed() {
    let bench = Bench::new().await;
    let settings = Settings { accounts: Some(vec!["200".into(), "900".into(), "1".into()]), ..Settings::default() };
    let idp = bench.connect("acme", Profile::Okta, settings).await;
    let list = idp.get("/Entitlements").await.ok(200);
    assert_eq!((&list["totalResults"], &list["Resources"][0]["id"]), (&json!(1), &json!("200")));
    for (id, status) in [("200", 200), ("100", 404), ("900", 404), ("1", 404)] {
        assert_eq!(idp.get(&format!("/Entitlements/{id}")).await.status, status, "{id}");
    }
    for path in ["/Roles?filter=id+pr", "/Entitlements?filter=id+pr"] {
        assert_eq!(idp.get(path).await.refused(403), "");
    }
    assert_eq!(idp.get("/Roles").await.ok(200)["totalResults"], 0, "no catalogue on this bench");
}
