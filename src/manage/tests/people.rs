//! People and import, with the real rules of `scim` underneath.

use super::*;
use crate::domain::Image;

const EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";

fn person(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", EXTENSION],
        "userName": name,
        "emails": [{"value": format!("{name}@acme.test"), "primary": true}],
        "roles": [{"value": "Ordering"}],
        EXTENSION: {"accounts": ["100"], "accessMethods": ["api"]},
    })
}

fn group(name: &str, members: &[&str], roles: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|member| json!({"value": member})).collect();
    let extension = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", extension],
        "displayName": name,
        "members": members,
        extension: {"roles": roles},
    })
}

impl House {
    async fn import(&self, lines: &[Value]) -> Vec<Value> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let answer = self.send(Method::POST, "/manage/v1/import?organization=acme", Some(TOKEN), text).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn summary(created: u64, updated: u64, failed: u64) -> Value {
    json!({"summary": {"created": created, "updated": updated, "failed": failed}})
}

#[tokio::test]
async fn people_and_groups_come_in_and_again_and_show_their_effective_roles() {
    let house = House::furnished().await;
    let mut lines: Vec<Value> = (0..40).map(|number| person(&format!("user{number}"))).collect();
    lines.push(group("Closers", &["user0", "user39"], &["Disconnect"]));
    assert_eq!(house.import(&lines).await, [summary(41, 0, 0)]);
    assert_eq!(house.import(&lines).await, [summary(0, 41, 0)], "safe to run again");

    let user = house.get("users/USER39").await.body;
    assert_eq!(user["userName"], "user39");
    let roles = user["effective"]["roles"].as_array().unwrap();
    assert_eq!(roles[0], json!({"name": "Ordering", "origin": {"type": "direct"}}));
    assert_eq!((&roles[1]["name"], &roles[1]["origin"]["name"]), (&json!("Disconnect"), &json!("Closers")));
    assert_eq!(house.get(&format!("users/{}", user["id"].as_str().unwrap())).await.body, user);
    assert_eq!(house.get("users/nobody").await.status, StatusCode::NOT_FOUND);

    let page = house.get("users?count=30&organization=acme").await.body;
    let next = page["next"].as_str().unwrap();
    let rest = house.get(&format!("users?count=30&organization=acme&cursor={next}")).await.body;
    assert_eq!((page["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (30, 10));
    assert_eq!(rest["next"], Value::Null);
    assert_eq!(house.get("users?organization=globex").await.body["items"], json!([]));
    let found = house.get("users?filter=userName%20eq%20%22user7%22").await.body;
    assert_eq!((found["items"].as_array().unwrap().len(), &found["items"][0]["userName"]), (1, &json!("user7")));
    let bad = house.get("users?filter=userName%20is%207").await;
    assert_eq!((bad.status, bad.code()), (StatusCode::BAD_REQUEST, "invalid-filter"));
}

#[tokio::test]
async fn lines_that_would_grant_nothing_fail_alone() {
    let house = House::furnished().await;
    let mut stranger = person("stranger");
    stranger["roles"] = json!([{"value": "Emperor"}]);
    let mut elsewhere = person("elsewhere");
    elsewhere[EXTENSION]["accounts"] = json!(["900"]);
    let lines = house
        .import(&[person("good"), stranger.clone(), elsewhere, json!({"hello": 1}), group("g", &["nobody"], &[])])
        .await;
    assert_eq!(lines.last().unwrap(), &summary(1, 0, 4));
    let numbers: Vec<_> = lines.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
    assert_eq!(lines[0]["input"], stranger, "a failed line can be put right and sent again");
    assert!(lines[0]["error"].as_str().unwrap().contains("Emperor"), "{}", lines[0]);
    assert_eq!(house.get("users/stranger").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_import_needs_an_organization_that_exists() {
    let house = House::furnished().await;
    for (target, status) in [
        ("import", StatusCode::BAD_REQUEST),
        ("import?organization=none", StatusCode::NOT_FOUND),
        ("import?organization=acme&dry=1", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(house.post(target, person("x")).await.status, status, "{target}");
    }
    assert_eq!(house.get("users/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_operator_changes_what_is_named_and_decisions_hear_of_it() {
    let house = House::furnished().await;
    house.import(&[person("ann")]).await;
    let changed = house
        .patch("users/ann", json!({"locked": true, "roles": ["Reporting"], "administrationLevel": "Account Admin"}))
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    assert_eq!(changed.revision, Some(house.head().await));
    assert_eq!(changed.body["effective"]["administrationLevel"], "Account Admin");
    assert_eq!(changed.body[EXTENSION]["locked"], true);
    let log = house.store.tail(0, 100).await.unwrap();
    let Image::User(image) = &log.last().unwrap().changes[0].image else { panic!("an image of a person") };
    assert!(image.locked && image.active && image.roles == ["Reporting"]);

    let off = house.patch("users/ann", json!({"active": false})).await;
    assert_eq!(off.body["effective"]["active"], false);
    assert_eq!(off.body["effective"]["roles"][0]["name"], "Reporting", "what is not named stays");

    let before = house.head().await;
    for bad in [
        json!({"roles": ["Emperor"]}),
        json!({"accounts": ["900"]}),
        json!({"active": "yes"}),
        json!({"userName": "bob"}),
        json!({"administrationLevel": "God"}),
        json!(["active"]),
    ] {
        let answer = house.patch("users/ann", bad.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(!answer.message().is_empty());
    }
    assert_eq!(house.patch("users/nobody", json!({"active": true})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.head().await, before);
}
