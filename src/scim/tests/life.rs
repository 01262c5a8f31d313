//! What the life cycle promises where decisions see it: locks beside `active`, rights that a link does not bring back,
//! names that stay, every spelling of a right.

use serde_json::{Value, json};

use super::{Bench, Idp, USER, rights};
use crate::clock::Clock;
use crate::domain::{AccessMethods, AdministrationLevel, Timestamp};
use crate::scim::Since;
use crate::scim::connection::{Connection, Profile, Settings};
use crate::scim::image::USER_EXTENSION;
use crate::store::{Content, Event, Kind, Step, Store};

/// A person with rights; answers the id.
async fn somebody(idp: &Idp) -> String {
    let mut body = rights("jane", &["Ordering"], json!({"accounts": ["100"], "accessMethods": ["api"]}));
    body["externalId"] = json!("e1");
    idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned()
}

async fn lock(bench: &Bench, id: &str, locked: bool) {
    bench.scim.patch_user(id, &json!({ "locked": locked }), &[]).await.unwrap();
}

#[tokio::test]
async fn a_lock_is_not_the_identity_providers_to_lift() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = somebody(&idp).await;
    let path = format!("/Users/{id}");
    lock(&bench, &id, true).await;
    assert!(bench.image(&id).await.active, "a lock is no deactivation");
    let active = |on: bool| json!([{"op": "replace", "value": {"active": on}}]);
    let own = json!({USER_EXTENSION: {"locked": false}, "userName": "jane", "externalId": "e1", "active": true});
    idp.patch(&path, active(false)).await.ok(200);
    idp.patch(&path, active(true)).await.ok(200);
    idp.put(&path, &own).await.ok(200);
    assert!(bench.image(&id).await.locked && bench.image(&id).await.active);
    idp.delete(&path).await.ok(204);
    assert!(bench.image(&id).await.locked);
    assert_eq!(idp.post("/Users", &own).await.ok(201)["id"], id.as_str());
    let image = bench.image(&id).await;
    assert!(image.locked && image.active, "made again, and locked as before");
    lock(&bench, &id, false).await;
    assert!(!bench.image(&id).await.locked);
}

#[tokio::test]
async fn unlocking_does_not_bring_back_whom_the_identity_provider_deactivated() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = somebody(&idp).await;
    lock(&bench, &id, true).await;
    idp.patch(&format!("/Users/{id}"), json!([{"op": "replace", "path": "active", "value": false}])).await.ok(200);
    lock(&bench, &id, false).await;
    let image = bench.image(&id).await;
    assert!(!image.active && !image.locked);
}

#[tokio::test]
async fn a_deactivated_person_keeps_what_was_given_and_a_link_brings_back_only_what_it_states() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = somebody(&idp).await;
    let path = format!("/Users/{id}");
    idp.patch(&path, json!([{"op": "remove", "path": "active"}])).await.ok(200);
    let image = bench.image(&id).await;
    assert!(!image.active && image.roles == ["Ordering"], "deactivated, not stripped");
    let again = json!({"userName": "jane", "externalId": "e1", "roles": ["Porting"], "active": true});
    idp.post("/Users", &again).await.ok(201);
    let image = bench.image(&id).await;
    assert_eq!((image.roles.as_slice(), image.accounts.len()), (&["Porting".to_owned()][..], 0));
    assert_eq!((image.methods, image.level), (AccessMethods::DASHBOARD_ONLY, AdministrationLevel::BasicUser));
    idp.delete(&path).await.ok(204);
    let image = bench.image(&id).await;
    assert!(!image.active && image.roles.is_empty() && image.username == "jane");
    assert_eq!(image.methods, AccessMethods { dashboard: false, api: false });
}

#[tokio::test]
async fn a_person_is_made_inactive_where_the_create_says_so() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    for (name, stated, active) in
        [("a", json!(false), false), ("b", json!("False"), false), ("c", json!(true), true), ("d", Value::Null, true)]
    {
        let body = json!({"userName": name, "active": stated});
        let id = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
        assert_eq!(bench.image(&id).await.active, active, "{stated}");
    }
}

#[tokio::test]
async fn a_role_means_the_same_in_every_spelling() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let app_role = json!({"id": "18d14569", "value": "Ordering", "displayName": "Places orders"}).to_string();
    let lists = [
        json!("Ordering"),
        json!(["Ordering"]),
        json!({"value": "Ordering"}),
        json!([{"value": "Ordering", "display": "Places orders"}]),
        json!([{"value": "Ordering", "type": "WindowsAzureActiveDirectoryRole", "primary": "True"}]),
        json!([{"id": "18d14569", "value": "Ordering", "displayName": "Places orders"}]),
        json!([{"display": "Ordering"}]),
        json!([{ "value": app_role }]),
        json!([app_role]),
    ];
    for (at, roles) in lists.into_iter().enumerate() {
        let body = json!({"userName": format!("u{at}"), "roles": roles});
        let id = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
        assert_eq!(bench.image(&id).await.roles, ["Ordering"], "created with {roles}");
        let path = format!("/Users/{id}");
        let ways = [
            json!([{"op": "Replace", "path": "roles", "value": roles}]),
            json!([{"op": "Add", "path": "roles", "value": roles}]),
            json!([{"op": "replace", "value": {"roles": roles}}]),
            json!([{"op": "replace", "value": {"urn:ietf:params:scim:schemas:core:2.0:User:roles": roles}}]),
        ];
        for operations in ways {
            idp.patch(&path, json!([{"op": "remove", "path": "roles"}])).await.ok(200);
            assert!(bench.image(&id).await.roles.is_empty() && !bench.image(&id).await.assigned);
            idp.patch(&path, operations.clone()).await.ok(200);
            assert_eq!(bench.image(&id).await.roles, ["Ordering"], "{operations}");
        }
    }
    let id = idp.user("paths").await;
    let primary = json!([{"op": "Add", "path": "roles[primary eq \"True\"].value", "value": "Ordering"}]);
    idp.patch(&format!("/Users/{id}"), primary).await.ok(200);
    assert_eq!(bench.image(&id).await.roles, ["Ordering"]);
}

#[tokio::test]
async fn what_is_not_a_role_counts_as_assigned_and_grants_nothing() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    for (at, roles) in [
        json!([{"value": "", "display": "Ordering"}]),
        json!([{"primary": true}]),
        json!([{"value": json!({"value": "", "displayName": "Ordering"}).to_string()}]),
        json!([{"value": json!({"value": ["Ordering"]}).to_string()}]),
        json!([{"type": "Ordering"}]),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"schemas": [USER], "userName": format!("n{at}"), "roles": roles});
        let id = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
        let image = bench.image(&id).await;
        assert!(!image.roles.iter().any(|role| role == "Ordering"), "{roles}: {image:?}");
    }
}

#[tokio::test]
async fn entitlements_give_accounts_within_the_limits_and_never_beside_the_extension() {
    let bench = Bench::new().await;
    let settings = Settings { accounts: Some(vec!["100".into()]), ..Settings::default() };
    let idp = bench.connect("acme", Profile::Okta, settings).await;
    let entitled = json!([{"value": "100", "type": "account"}, {"value": "200", "type": "account"}, {"value": "900", "type": "account"}]);
    let body = json!({"schemas": [USER], "userName": "e", "entitlements": entitled});
    let user = idp.post("/Users", &body).await.ok(201);
    assert_eq!(user["entitlements"], entitled, "stored and echoed");
    let id = user["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.image(&id).await.accounts, [bench.account("100").await]);
    let path = format!("/Users/{id}");
    let accounts = format!("{USER_EXTENSION}:accounts");
    idp.patch(&path, json!([{"op": "add", "path": accounts, "value": ["nobody's"]}])).await.ok(200);
    assert!(bench.image(&id).await.accounts.is_empty(), "the extension speaks, and what it says means nothing");
    idp.patch(&path, json!([{"op": "remove", "path": accounts}])).await.ok(200);
    assert_eq!(bench.image(&id).await.accounts.len(), 1);
    idp.patch(&path, json!([{"op": "remove", "path": "entitlements[value eq \"100\"]"}])).await.ok(200);
    assert!(bench.image(&id).await.accounts.is_empty());
}

/// Earlier releases noted neither with the person who had ended the access nor in the event that it had been active.
async fn as_left_by_an_earlier_release(bench: &Bench, idp: &Idp, id: &str) {
    idp.patch(&format!("/Users/{id}"), json!([{"op": "replace", "path": "active", "value": false}])).await.ok(200);
    let record = bench.store.get(Kind::User, id).await.unwrap().unwrap();
    let mut state: Value = serde_json::from_str(&record.state).unwrap();
    assert!(state.as_object_mut().unwrap().shift_remove("ended").is_some());
    let content = Content { document: record.document, state: state.to_string(), ..Content::default() };
    bench.commit(Step::Replace { number: record.number, expected: None, content }).await;
    let before = json!({"changes": [{"name": "active", "after": false}], "claims": {}, "groups": []});
    let event = Event {
        id: format!("earlier-{id}"),
        connection: idp.connection.clone(),
        at: bench.clock.now(),
        kind: "request".into(),
        status: 200,
        resource: id.into(),
        body: "{}".into(),
        before: Some(before.to_string()),
    };
    bench.commit(Step::Event(event)).await;
}

#[tokio::test]
async fn an_undo_takes_back_what_an_earlier_release_logged_where_nobody_wrote_since() {
    let bench = Bench::new().await;
    let (idp, other) = (bench.idp("acme").await, bench.idp("acme").await);
    let (alone, touched) = (idp.user("alone").await, idp.user("touched").await);
    for id in [&alone, &touched] {
        as_left_by_an_earlier_release(&bench, &idp, id).await;
    }
    let inactive = json!([{"op": "replace", "path": "active", "value": false}]);
    other.patch(&format!("/Users/{touched}"), inactive).await.ok(200);
    let record = bench.store.get(Kind::Connection, &idp.connection).await.unwrap().unwrap();
    let connection = Connection::from_record(&record).unwrap();
    let undone = bench.scim.undo(&connection, &Since::Time(Timestamp(0)), false).await.unwrap();
    assert_eq!((undone.restored, undone.kept, undone.failed), (1, 1, 0), "{undone:?}");
    assert_eq!(undone.kept_people, [touched], "another connection says the same of this one");
    assert!(bench.image(&alone).await.active);
}
