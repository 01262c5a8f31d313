//! Organizations, accounts, products.

use super::*;
use crate::domain::{AccountImage, Image, OrganizationImage};
use crate::store::Kind;

#[tokio::test]
async fn an_organization_is_created_renamed_listed_and_deleted() {
    let house = House::new();
    let created = house.put("organizations/acme", json!({"name": "Acme"})).await;
    assert_eq!((created.status, created.body), (StatusCode::CREATED, json!({"id": "acme", "name": "Acme"})));
    assert_eq!(created.revision.as_deref(), Some("1-1"));

    let renamed = house.put("organizations/acme", json!({"name": "Acme GmbH"})).await;
    assert_eq!((renamed.status, renamed.revision.as_deref()), (StatusCode::OK, Some("1-2")));
    assert_eq!(house.get("organizations/acme").await.body, json!({"id": "acme", "name": "Acme GmbH"}));

    house.put("organizations/globex", json!({"name": "Globex"})).await;
    let list = house.get("organizations").await.body;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["next"], Value::Null);

    let deleted = house.delete("organizations/acme").await;
    assert_eq!((deleted.status, deleted.revision.as_deref()), (StatusCode::NO_CONTENT, Some("1-4")));
    assert_eq!(house.get("organizations/acme").await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.delete("organizations/acme").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_same_put_again_writes_nothing_and_answers_the_present_revision() {
    let house = House::furnished().await;
    let before = house.head().await;
    let organization = house.put("organizations/acme", json!({"name": "acme"})).await;
    let account = json!({"products": ["UC", "UC"], "organization": "acme", "name": " Main "});
    let account = house.put("accounts/100", account).await;
    for answer in [organization, account] {
        assert_eq!((answer.status, answer.revision.as_deref()), (StatusCode::OK, Some(before.as_str())));
    }
    assert_eq!(house.head().await, before);
}

#[tokio::test]
async fn images_in_the_log_carry_what_decisions_read() {
    let house = House::furnished().await;
    let number = house.store.get(Kind::Organization, "acme").await.unwrap().unwrap().number;
    let log = house.store.tail(0, 10).await.unwrap();
    assert_eq!(log[0].changes[0].image, Image::Organization(OrganizationImage { id: "acme".into() }));
    let account = AccountImage { id: "100".into(), organization: number, products: vec!["UC".into()] };
    assert_eq!(log[2].changes.last().unwrap().image, Image::Account(account));
}

#[tokio::test]
async fn only_an_empty_organization_can_be_deleted() {
    let house = House::furnished().await;
    house.post("connections", json!({"name": "Okta", "organization": "acme"})).await;
    let refused = house.delete("organizations/acme").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "conflict"));
    assert!(refused.message().contains("1 account, 1 connection"), "{}", refused.message());
    assert_eq!(house.get("organizations/acme").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_account_keeps_its_organization() {
    let house = House::furnished().await;
    let before = house.head().await;
    let moved = house.put("accounts/100", json!({"organization": "globex", "name": "Main", "products": []})).await;
    assert_eq!(moved.status, StatusCode::CONFLICT);
    assert!(moved.message().contains("belongs to organization `acme`"), "{}", moved.message());
    let nowhere = house.put("accounts/101", json!({"organization": "none", "name": "x", "products": []})).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert_eq!(house.head().await, before);
    assert_eq!(house.get("accounts/100").await.body["organization"], "acme");
}

#[tokio::test]
async fn products_are_checked_sorted_and_replaced_whole() {
    let house = House::furnished().await;
    let unknown = house.put("accounts/100", json!({"organization": "acme", "products": ["UC", "Terminatoin"]})).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::BAD_REQUEST, "unknown-product"));
    assert!(unknown.message().contains("`Terminatoin`; did you mean `Termination`?"), "{}", unknown.message());
    assert_eq!(house.get("accounts/100").await.body["products"], json!(["UC"]));

    let set = house.put("accounts/100", json!({"organization": "acme", "products": ["UC", "Origination"]})).await;
    assert_eq!(set.status, StatusCode::OK);
    let shown = house.get("accounts/100").await.body;
    assert_eq!(shown, json!({"id": "100", "organization": "acme", "name": "100", "products": ["Origination", "UC"]}));

    let forgotten = house.put("accounts/100", json!({"organization": "acme", "name": "Main"})).await;
    assert_eq!(forgotten.status, StatusCode::BAD_REQUEST, "leaving products out must not take them away");
    assert!(forgotten.message().contains("products"));

    let table = house.get("products").await.body;
    assert_eq!(table["products"][0], json!({"name": "UC", "description": "UC it is"}));
}

#[tokio::test]
async fn bad_bodies_ids_and_parameters_are_refused_and_change_nothing() {
    let house = House::furnished().await;
    let before = house.head().await;
    for body in [
        "",
        "{",
        "[\"Acme\"]",
        "\"Acme\"",
        "null",
        "{}",
        r#"{"name": 7}"#,
        r#"{"name": ""}"#,
        "{\"name\": \"a\\u0000\"}",
        r#"{"name": "A", "nmae": "B"}"#,
        r#"{"name": "A", "name": "B"}"#,
        &format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        &format!("{{\"name\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        let answer = house.send(Method::PUT, "/manage/v1/organizations/acme", Some(TOKEN), body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:.60}");
        assert_eq!(answer.code(), "bad-request");
    }
    let unknown = house.put("organizations/acme", json!({"name": "A", "nmae": "B"})).await;
    assert!(unknown.message().contains("`nmae`"), "{}", unknown.message());
    for (what, id) in [("organizations", ".."), ("accounts", "a b"), ("accounts", "a,b")] {
        let body = json!({"name": "A", "organization": "acme", "products": []});
        assert_eq!(
            house.put(&format!("{what}/{}", id.replace(' ', "%20")), body).await.status,
            StatusCode::BAD_REQUEST
        );
    }
    for target in [
        "organizations?count=0",
        "organizations?count=1001",
        "organizations?count=x",
        "organizations?cursor=7",
        "organizations?page=2",
        "organizations?count=1&count=2",
        "organizations/acme?x=1",
        "products?x=1",
    ] {
        assert_eq!(house.get(target).await.status, StatusCode::BAD_REQUEST, "{target}");
    }
    assert_eq!(house.get("accounts?organization=none").await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.head().await, before);
}

#[tokio::test]
async fn lists_come_in_pages_that_hold_everything_once() {
    let house = House::furnished().await;
    for number in 0..7 {
        let organization = if number % 2 == 0 { "acme" } else { "globex" };
        house.put(&format!("accounts/n{number}"), json!({"organization": organization, "products": []})).await;
    }
    for (filter, wanted) in [
        ("", vec!["100", "n0", "n1", "n2", "n3", "n4", "n5", "n6"]),
        ("&organization=acme", vec!["100", "n0", "n2", "n4", "n6"]),
    ] {
        for count in [1, 3, 5, 8, 9] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = house.get(&format!("accounts?count={count}{filter}{cursor}")).await.body;
                let items = page["items"].as_array().unwrap();
                assert!(items.len() <= count && !items.is_empty());
                seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(seen, wanted, "in pages of {count}");
        }
    }
}

#[tokio::test]
async fn a_creation_and_a_removal_of_its_organization_exclude_each_other() {
    use crate::manage::organizations;
    use crate::store::Step;

    let house = House::new();
    house.put("organizations/acme", json!({"name": "Acme"})).await;
    // What DELETE saw before an account came in between.
    let seen = organizations::find(&house.manage, "acme").await.unwrap();
    house.put("accounts/1", json!({"organization": "acme", "products": []})).await;
    let late = house.manage.commit(vec![Step::Remove { number: seen.number, expected: Some(seen.version) }]).await;
    assert!(organizations::raced(&late.unwrap_err()), "the creation raised the organization's version");
}
