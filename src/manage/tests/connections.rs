//! Connections and their tokens.

use super::*;
use crate::scim::connection::{Connection, TOKEN_SCOPE, TokenRefused};
use crate::store::UniqueKey;
use crate::token::Secret;

impl House {
    async fn connect(&self, body: Value) -> Value {
        let answer = self.post("connections", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert!(answer.revision.is_some());
        answer.body
    }

    /// What the front door would say to the token.
    async fn admit(&self, token: &str) -> Result<String, TokenRefused> {
        let presented = Secret::parse(token).unwrap();
        let key = UniqueKey { scope: TOKEN_SCOPE.into(), value: presented.id.clone() };
        let record = self.store.holder(key).await.unwrap().ok_or(TokenRefused::Unknown)?;
        let connection = Connection::from_record(&record).unwrap();
        connection.admit(&presented, self.manage.sources.clock.now()).map(|()| connection.organization)
    }
}

fn okta() -> Value {
    json!({"name": "Okta", "organization": "acme", "profile": "okta"})
}

#[tokio::test]
async fn the_token_is_shown_once_and_opens_its_organization() {
    let house = House::furnished().await;
    let created = house.connect(okta()).await;
    assert_eq!(
        (&created["name"], &created["organization"], &created["profile"]),
        (&json!("Okta"), &json!("acme"), &json!("okta"))
    );
    assert_eq!(created["settings"]["may_grant_admin"], false);
    let token = created["token"].as_str().unwrap();
    assert_eq!(house.admit(token).await, Ok("acme".to_owned()));

    let shown = house.get(&format!("connections/{}", created["id"].as_str().unwrap())).await;
    let list = house.get("connections?organization=acme").await;
    for text in [&shown.text, &list.text] {
        assert!(!text.contains(token) && !text.contains("hash"), "{text}");
    }
    assert_eq!(shown.body["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(shown.body["tokens"][0]["created"], "2025-10-09T08:53:20Z");
    assert_eq!(shown.body["tokens"][0]["expires"], Value::Null);
    assert_eq!(list.body["items"][0], shown.body);
    assert_eq!(house.get("connections?organization=globex").await.body["items"], json!([]));
}

#[tokio::test]
async fn rotation_has_two_live_tokens_at_most_and_revoking_ends_one_at_once() {
    let house = House::furnished().await;
    let created = house.connect(okta()).await;
    let tokens = format!("connections/{}/tokens", created["id"].as_str().unwrap());
    let first = created["token"].as_str().unwrap();
    let first_id = created["tokens"][0]["id"].as_str().unwrap();

    let second = house.send(Method::POST, &format!("/manage/v1/{tokens}"), Some(TOKEN), "").await;
    assert_eq!(second.status, StatusCode::CREATED);
    assert_eq!(house.admit(second.body["token"].as_str().unwrap()).await, Ok("acme".to_owned()));

    let third = house.post(&tokens, json!({})).await;
    assert_eq!((third.status, third.code()), (StatusCode::CONFLICT, "too-many-tokens"));
    assert!(third.message().contains(first_id), "it says which to revoke: {}", third.message());

    let revoked = house.delete(&format!("{tokens}/{first_id}")).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(house.admit(first).await, Err(TokenRefused::Revoked));
    let again = house.delete(&format!("{tokens}/{first_id}")).await;
    assert_eq!((again.status, again.revision), (StatusCode::NO_CONTENT, revoked.revision));
    assert_eq!(house.delete(&format!("{tokens}/none")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.post(&tokens, json!({})).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_is_noted_of_tokens_goes_with_them() {
    let house = House::furnished().await;
    let created = house.connect(okta()).await;
    let id = created["id"].as_str().unwrap();
    let tokens = format!("connections/{id}/tokens");
    let note = |key: String, value: &str| crate::store::Step::Note { key, value: Some(value.to_owned()) };
    let mut last = created["tokens"][0]["id"].as_str().unwrap().to_owned();
    for turn in 0..40 {
        house.manage.commit(vec![note(format!("connection/{id}/token/{last}"), &turn.to_string())]).await.unwrap();
        let next = house.post(&tokens, json!({})).await.body["id"].as_str().unwrap().to_owned();
        assert_eq!(house.delete(&format!("{tokens}/{last}")).await.status, StatusCode::NO_CONTENT);
        last = next;
    }
    let shown = house.get(&format!("connections/{id}")).await.body;
    let known: Vec<&str> =
        shown["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap()).collect();
    let notes = house.store.notes("connection/").await.unwrap();
    assert!(notes.len() <= known.len() && notes.len() > 2, "{} notes of {} tokens", notes.len(), known.len());
    assert!(notes.iter().all(|(key, _)| known.iter().any(|id| key.ends_with(id))));

    // What an earlier process left behind goes at the start; what is about a token that is there stays.
    let stray =
        ["connection/gone/token/x".to_owned(), "connection/gone/alarm".to_owned(), format!("connection/{id}/token/x")];
    house.manage.commit(stray.map(|key| note(key, "1")).to_vec()).await.unwrap();
    house.manage.scim.recover().await.unwrap();
    assert_eq!(house.store.notes("connection/").await.unwrap(), notes);
}

#[tokio::test]
async fn a_token_may_expire_but_only_in_the_future() {
    let house = House::furnished().await;
    let created = house.connect(okta()).await;
    let tokens = format!("connections/{}/tokens", created["id"].as_str().unwrap());
    for bad in ["2020-01-01T00:00:00Z", "2025-10-09T08:53:20Z", "tomorrow", ""] {
        assert_eq!(house.post(&tokens, json!({"expires": bad})).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(house.post(&tokens, json!({"expire": "2030-01-01T00:00:00Z"})).await.status, StatusCode::BAD_REQUEST);
    let token = house.post(&tokens, json!({"expires": "2025-10-09T10:53:21+02:00"})).await.body;
    assert_eq!(token["expires"], "2025-10-09T08:53:21Z");
    let token = token["token"].as_str().unwrap();
    assert!(house.admit(token).await.is_ok());
    house.clock.advance(1_000);
    assert_eq!(house.admit(token).await, Err(TokenRefused::Expired));
}

#[tokio::test]
async fn deleting_a_connection_ends_its_tokens_at_once() {
    let house = House::furnished().await;
    let created = house.connect(okta()).await;
    let path = format!("connections/{}", created["id"].as_str().unwrap());
    let deleted = house.delete(&path).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(deleted.revision, Some(house.head().await));
    assert_eq!(house.admit(created["token"].as_str().unwrap()).await, Err(TokenRefused::Unknown));
    for answer in
        [house.get(&path).await, house.delete(&path).await, house.post(&format!("{path}/tokens"), json!({})).await]
    {
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn settings_that_would_not_do_what_they_say_are_refused() {
    let house = House::furnished().await;
    let before = house.head().await;
    let with = |settings: Value| json!({"name": "x", "organization": "acme", "settings": settings});
    let cases = [
        (json!({"name": "x", "organization": "none"}), StatusCode::NOT_FOUND, "none"),
        (json!({"name": "x", "organization": "acme", "profile": "octa"}), StatusCode::BAD_REQUEST, "octa"),
        (json!({"name": "x", "organization": "acme", "token": "x"}), StatusCode::BAD_REQUEST, "token"),
        (json!({"organization": "acme"}), StatusCode::BAD_REQUEST, "name"),
        (with(json!({"may_grant_admins": true})), StatusCode::BAD_REQUEST, "may_grant_admins"),
        (with(json!({"roles": ["Ordring"]})), StatusCode::BAD_REQUEST, "did you mean `Ordering`?"),
        (with(json!({"accounts": ["999"]})), StatusCode::BAD_REQUEST, "`999`"),
        (
            json!({"name": "x", "organization": "globex", "settings": {"accounts": ["100"]}}),
            StatusCode::BAD_REQUEST,
            "`100`",
        ),
    ];
    for (body, status, word) in cases {
        let answer = house.post("connections", body.clone()).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.message().contains(word), "{body}: {}", answer.message());
    }
    assert_eq!(house.head().await, before);

    let good =
        house.connect(with(json!({"roles": ["Ordering"], "accounts": ["100"], "username_change": "reject"}))).await;
    assert_eq!(good["settings"]["roles"], json!(["Ordering"]));
}
