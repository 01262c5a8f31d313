//! The life cycle of people.

use serde_json::json;

use super::{Bench, USER, rights};
use crate::domain::{AccessMethods, AdministrationLevel};
use crate::scim::connection::{Profile, Settings, UsernameChange};
use crate::scim::image::USER_EXTENSION;
use crate::store::{Kind, Store};

#[tokio::test]
async fn a_create_answers_with_everything_that_a_client_needs() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let sent = json!({
        "schemas": [USER, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "userName": "JDoe@acme.example", "externalId": "00u1", "password": "Random-placeholder-9", "groups": [],
        "name": {"givenName": "J", "familyName": "Doe"}, "phoneNumbers": [{"value": "tel:+1-555-0100"}],
        "id": "mine", "meta": {"resourceType": "User"}, "nonsense": 1, "title": null,
    });
    let reply = idp.post("/Users", &sent).await;
    let id = reply.body["id"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), format!("https://cedargate.example/scim/v2/Users/{id}"));
    assert_eq!(reply.header("etag"), "W/\"1\"");
    assert_eq!(reply.header("content-type"), "application/scim+json");
    assert!(reply.header("cedargate-revision").starts_with("1-"));
    let user = reply.ok(201);
    assert_ne!(user["id"], "mine");
    assert_eq!(user["userName"], "JDoe@acme.example");
    assert_eq!(user["externalId"], "00u1");
    assert_eq!(user["phoneNumbers"][0]["value"], "tel:+1-555-0100");
    assert_eq!(user["meta"]["version"], "W/\"1\"");
    assert_eq!(user["meta"]["resourceType"], "User");
    assert_eq!(user["meta"]["created"], "2025-10-09T08:53:20.000Z");
    for absent in ["password", "groups", "nonsense", "title", "active"] {
        assert!(user.get(absent).is_none(), "{absent}: {user}");
    }
    assert_eq!(idp.get(&format!("/Users/{id}")).await.ok(200), user);
    let record = bench.store.get(Kind::User, &id).await.unwrap().unwrap();
    assert!(!record.document.contains("Random-placeholder") && !record.state.contains("Random-placeholder"));
    let image = bench.image(&id).await;
    assert!(image.active && image.login.is_none() && image.methods == AccessMethods::DASHBOARD_ONLY);
}

#[tokio::test]
async fn active_is_lost_in_every_way_and_never_comes_back_by_silence() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let ways = [
        json!([{"op": "replace", "value": {"active": false}}]),
        json!([{"op": "Replace", "path": "active", "value": "False"}]),
        json!([{"op": "remove", "path": "active"}]),
        json!([{"op": "replace", "path": "active", "value": null}]),
        json!([{"op": "remove", "path": "ACTIVE"}]),
    ];
    for (index, operations) in ways.into_iter().enumerate() {
        for stated in [Some(true), None] {
            let name = format!("u{index}-{stated:?}");
            let mut body = json!({"userName": name});
            if let Some(active) = stated {
                body["active"] = json!(active);
            }
            let id = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
            assert!(bench.image(&id).await.active);
            let path = format!("/Users/{id}");
            idp.patch(&path, operations.clone()).await.ok(200);
            assert!(!bench.image(&id).await.active, "{name}");
            idp.put(&path, &json!({"userName": name, "title": "x"})).await.ok(200);
            assert!(!bench.image(&id).await.active, "a PUT without active: {name}");
            idp.patch(&path, json!([{"op": "add", "path": "title", "value": "y"}])).await.ok(200);
            assert!(!bench.image(&id).await.active, "another PATCH: {name}");
            assert_eq!(idp.get(&path).await.status, 200, "an inactive person stays readable");
            idp.patch(&path, json!([{"op": "replace", "path": "active", "value": true}])).await.ok(200);
            assert!(bench.image(&id).await.active, "only by saying so: {name}");
        }
    }
}

#[tokio::test]
async fn an_active_person_stays_so_by_a_put_without_active() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = idp.user("a").await;
    idp.put(&format!("/Users/{id}"), &json!({"userName": "a"})).await.ok(200);
    assert!(bench.image(&id).await.active);
    let replaced = idp.put(&format!("/Users/{id}"), &json!({"userName": "a", "active": false})).await.ok(200);
    assert_eq!(replaced["active"], false);
    assert!(!bench.image(&id).await.active);
}

#[tokio::test]
async fn a_changed_user_name_is_an_alias_and_every_login_stays_reserved() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = idp.user("first").await;
    let path = format!("/Users/{id}");
    let renamed = idp.patch(&path, json!([{"op": "replace", "value": {"userName": "second"}}])).await.ok(200);
    assert_eq!((&renamed["userName"], renamed.get(USER_EXTENSION)), (&json!("second"), None));
    let asked = idp.get(&format!("{path}?attributes={USER_EXTENSION}:username")).await.ok(200);
    assert_eq!((&asked[USER_EXTENSION], &asked["schemas"][1]), (&json!({"username": "first"}), &json!(USER_EXTENSION)));
    let image = bench.image(&id).await;
    assert_eq!((image.username.as_str(), image.login.as_deref()), ("first", Some("second")));
    idp.put(&path, &json!({"userName": "third"})).await.ok(200);
    for taken in ["first", "SECOND", "third"] {
        let refused = idp.post("/Users", &json!({"userName": taken})).await;
        assert!(refused.body["detail"].as_str().unwrap().starts_with("userName"), "{}", refused.body);
        assert_eq!(refused.refused(409), "uniqueness", "{taken}");
    }
    idp.put(&path, &json!({"userName": "First"})).await.ok(200);
    assert_eq!(bench.image(&id).await.login, None, "another spelling of the username is the username");
}

#[tokio::test]
async fn a_connection_can_refuse_changed_user_names() {
    let bench = Bench::new().await;
    let settings = Settings { username_change: UsernameChange::Reject, ..Settings::default() };
    let idp = bench.connect("acme", Profile::Generic, settings).await;
    let path = format!("/Users/{}", idp.user("a").await);
    assert_eq!(idp.put(&path, &json!({"userName": "b"})).await.refused(400), "mutability");
    assert_eq!(idp.get(&path).await.ok(200)["userName"], "a");
    idp.put(&path, &json!({"userName": "A"})).await.ok(200);
}

#[tokio::test]
async fn names_and_addresses_are_unique_without_case_and_the_answer_names_no_one() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let email = json!([{"value": "Jane@x.example", "type": "work"}, {"value": "second@x.example"}]);
    let jane = idp.post("/Users", &json!({"userName": "jane", "externalId": "e1", "emails": email})).await.ok(201);
    let cases = [
        (json!({"userName": "JANE"}), "userName"),
        (json!({"userName": "other", "emails": [{"value": "jane@X.example", "primary": true}]}), "emails"),
        (json!({"userName": "other", "externalId": "e1"}), "externalId"),
    ];
    for (body, attribute) in cases {
        let reply = idp.post("/Users", &body).await;
        let detail = reply.body["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(attribute) && !detail.contains(jane["id"].as_str().unwrap()), "{detail}");
        assert_eq!(reply.refused(409), "uniqueness");
    }
    idp.post("/Users", &json!({"userName": "o2", "externalId": "E1"})).await.ok(201);
    idp.post("/Users", &json!({"userName": "o3", "emails": [{"value": "second@x.example"}]})).await.ok(201);
}

#[tokio::test]
async fn a_deleted_person_is_gone_for_clients_and_kept_for_ever() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let body = json!({"userName": "jane", "emails": [{"value": "j@x.example"}], "roles": [{"value": "Ordering"}]});
    let id = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
    let group = idp.group("g", &[&id]).await;
    let path = format!("/Users/{id}");
    assert!(idp.delete(&path).await.headers.contains_key("cedargate-revision"));
    for reply in [idp.get(&path).await, idp.delete(&path).await, idp.put(&path, &body).await] {
        assert_eq!(reply.refused(404), "");
    }
    assert_eq!(idp.patch(&path, json!([{"op": "replace", "value": {"active": true}}])).await.status, 404);
    assert_eq!(idp.get("/Users?filter=userName%20eq%20%22jane%22").await.ok(200)["totalResults"], 0);
    let image = bench.image(&id).await;
    assert!(!image.active && image.roles.is_empty());
    assert!(idp.get(&format!("/Groups/{group}")).await.ok(200).get("members").is_none());
    let other = bench.idp("acme").await;
    assert_eq!(other.post("/Users", &json!({"userName": "jane"})).await.refused(409), "uniqueness");
    other.post("/Users", &json!({"userName": "o", "emails": [{"value": "J@x.example"}]})).await.ok(201);
}

#[tokio::test]
async fn a_create_links_to_the_record_that_it_means_with_only_its_own_rights() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let own = json!({"accounts": ["100"], "accessMethods": ["api"]});
    let mut body = rights("jane", &["Ordering"], own);
    body["externalId"] = json!("e1");
    let id = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
    idp.group("g", &[&id]).await;
    idp.delete(&format!("/Users/{id}")).await.ok(204);

    let again = idp.post("/Users", &json!({"userName": "jane"})).await;
    assert_eq!(again.header("etag"), "W/\"3\"", "created, deleted, linked again");
    let again = again.ok(201);
    assert_eq!(again["id"], id.as_str(), "by userName");
    assert!(again.get("roles").is_none() && again.get("groups").is_none());
    let image = bench.image(&id).await;
    assert!(image.active && image.roles.is_empty() && image.accounts.is_empty());
    assert_eq!(image.methods, AccessMethods::DASHBOARD_ONLY);

    idp.patch(&format!("/Users/{id}"), json!([{"op": "add", "path": "externalId", "value": "e2"}])).await.ok(200);
    idp.delete(&format!("/Users/{id}")).await.ok(204);
    let third = idp.post("/Users", &json!({"userName": "janet", "externalId": "e2"})).await.ok(201);
    assert_eq!(third["id"], id.as_str(), "by externalId");
    assert_eq!((&third["userName"], &third["schemas"]), (&json!("janet"), &json!([USER])), "of what the answer holds");
    assert_eq!(bench.image(&id).await.username, "jane");
}

#[tokio::test]
async fn an_inactive_person_is_linked_by_external_id_and_a_living_one_is_not() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let body = json!({"userName": "jane", "externalId": "e1", "active": true, "roles": [{"value": "Ordering"}]});
    let id = idp.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
    let group = idp.group("g", &[&id]).await;
    assert_eq!(idp.post("/Users", &body).await.refused(409), "uniqueness");
    idp.patch(&format!("/Users/{id}"), json!([{"op": "replace", "value": {"active": false}}])).await.ok(200);
    assert_eq!(idp.post("/Users", &json!({"userName": "jane"})).await.refused(409), "uniqueness", "not by name");
    let again = idp.post("/Users", &json!({"userName": "jane", "externalId": "e1"})).await.ok(201);
    assert_eq!(again["id"], id.as_str());
    let image = bench.image(&id).await;
    assert!(image.active && image.roles.is_empty());
    assert!(idp.get(&format!("/Groups/{group}")).await.ok(200).get("members").is_none());
}

#[tokio::test]
async fn another_connection_never_links_to_what_it_did_not_make() {
    let bench = Bench::new().await;
    let first = bench.idp("acme").await;
    let second = bench.idp("acme").await;
    let body = json!({"userName": "jane", "externalId": "e1"});
    let id = first.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
    first.delete(&format!("/Users/{id}")).await.ok(204);
    assert_eq!(second.post("/Users", &body).await.refused(409), "uniqueness");
    let other = second.post("/Users", &json!({"userName": "other", "externalId": "e1"})).await.ok(201);
    assert_ne!(other["id"], id.as_str(), "the same externalId means another person elsewhere");
}

#[tokio::test]
async fn each_connection_has_its_own_external_id() {
    let bench = Bench::new().await;
    let first = bench.idp("acme").await;
    let second = bench.idp("acme").await;
    let body = json!({"userName": "jane", "externalId": "one"});
    let id = first.post("/Users", &body).await.ok(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/Users/{id}");
    assert!(second.get(&path).await.ok(200).get("externalId").is_none());
    second.patch(&path, json!([{"op": "add", "path": "externalId", "value": "two"}])).await.ok(200);
    assert_eq!(first.get(&path).await.ok(200)["externalId"], "one");
    assert_eq!(second.get(&path).await.ok(200)["externalId"], "two");
    for (idp, hit, miss) in [(&first, "one", "two"), (&second, "two", "one")] {
        let total = async |id: &str| idp.get(&format!("/Users?filter=externalId+eq+%22{id}%22")).await.ok(200);
        assert_eq!(total(hit).await["totalResults"], 1);
        assert_eq!(total(miss).await["totalResults"], 0);
        assert_eq!(idp.get("/Users?filter=externalId+pr&sortBy=externalId").await.ok(200)["totalResults"], 1);
    }
    first.put(&path, &json!({"userName": "jane"})).await.ok(200);
    assert_eq!(first.get(&path).await.ok(200)["externalId"], "one", "a PUT that does not mention it leaves it");
    first.put(&path, &json!({"userName": "jane", "externalId": null})).await.ok(200);
    assert!(first.get(&path).await.ok(200).get("externalId").is_none());
}

#[tokio::test]
async fn rights_follow_the_document_within_the_limits_of_who_wrote_it() {
    let bench = Bench::new().await;
    let settings = Settings {
        roles: Some(vec!["Ordering".into()]),
        accounts: Some(vec!["100".into(), "900".into()]),
        ..Settings::default()
    };
    let idp = bench.connect("acme", Profile::Generic, settings).await;
    let own = json!({"administrationLevel": "Account Admin", "accounts": ["100", "200", "900", "1"], "accessMethods": ["api", "fax"]});
    let user = idp.post("/Users", &rights("jane", &["Ordering", "Porting"], own.clone())).await.ok(201);
    assert_eq!(user[USER_EXTENSION]["administrationLevel"], "Account Admin", "stored and echoed");
    assert_eq!(user[USER_EXTENSION]["accounts"], own["accounts"]);
    assert_eq!(user["roles"].as_array().unwrap().len(), 2);
    let id = user["id"].as_str().unwrap();
    let image = bench.image(id).await;
    assert_eq!(image.level, AdministrationLevel::BasicUser);
    assert_eq!((image.roles.as_slice(), image.assigned), (&["Ordering".to_owned()][..], true));
    assert_eq!(image.accounts, [bench.account("100").await], "200 is not allowed, 900 is a rival's, 1 is nobody's");
    assert_eq!(image.methods, AccessMethods { dashboard: false, api: true });

    let path = format!("/Users/{id}");
    idp.patch(&path, json!([{"op": "remove", "path": "roles[value eq \"Ordering\"]"}])).await.ok(200);
    let image = bench.image(id).await;
    assert!(image.roles.is_empty() && image.assigned);
    idp.put(&path, &json!({"userName": "jane"})).await.ok(200);
    let image = bench.image(id).await;
    assert!(!image.assigned && image.accounts.is_empty() && image.methods == AccessMethods::DASHBOARD_ONLY);
}

#[tokio::test]
async fn the_admin_level_comes_by_setting_only() {
    let bench = Bench::new().await;
    let settings = Settings { may_grant_admin: true, ..Settings::default() };
    let trusted = bench.connect("acme", Profile::Generic, settings).await;
    let plain = bench.idp("acme").await;
    let admin = rights("boss", &[], json!({"administrationLevel": "Account Admin"}));
    let id = trusted.post("/Users", &admin).await.ok(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.image(&id).await.level, AdministrationLevel::AccountAdmin);
    let path = format!("/Users/{id}");
    plain.patch(&path, json!([{"op": "add", "path": "title", "value": "x"}])).await.ok(200);
    assert_eq!(bench.image(&id).await.level, AdministrationLevel::AccountAdmin, "a repetition takes nothing away");
    let level = format!("{USER_EXTENSION}:administrationLevel");
    plain.patch(&path, json!([{"op": "remove", "path": level}])).await.ok(200);
    plain.patch(&path, json!([{"op": "add", "path": level, "value": "Account Admin"}])).await.ok(200);
    assert_eq!(bench.image(&id).await.level, AdministrationLevel::BasicUser);
}

#[tokio::test]
async fn read_only_facts_cannot_be_written_by_clients() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let own = json!({"username": "root", "locked": true, "passwordChangedAt": "2020-01-01T00:00:00Z"});
    let user = idp.post("/Users", &rights("jane", &[], own)).await.ok(201);
    assert_eq!(user.get(USER_EXTENSION), None);
    let path = format!("/Users/{}", user["id"].as_str().unwrap());
    for name in ["username", "locked", "passwordChangedAt"] {
        let operation = json!([{"op": "replace", "path": format!("{USER_EXTENSION}:{name}"), "value": "true"}]);
        assert_eq!(idp.patch(&path, operation).await.refused(400), "mutability", "{name}");
    }
    assert_eq!(idp.get(&path).await.ok(200)["meta"]["version"], "W/\"1\"");
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = idp.user("jane").await;
    let path = format!("/Users/{id}");
    bench.clock.advance(60_000);
    let before = bench.store.head().await.unwrap();
    let reply = idp.patch(&path, json!([{"op": "replace", "path": "userName", "value": "jane"}])).await;
    assert_eq!(reply.header("cedargate-revision"), before.revision.to_string());
    assert_eq!(reply.ok(200)["meta"]["version"], "W/\"1\"");
    assert_eq!(bench.store.head().await.unwrap(), before);
}
