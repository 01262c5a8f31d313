//! Import and the operators' view and changes.

use serde_json::{Value, json};

use super::{Bench, GROUP, USER, rights};
use crate::domain::{AdministrationLevel, Timestamp};
use crate::scim::connection::{Profile, Settings};
use crate::scim::image::{GROUP_EXTENSION, USER_EXTENSION};
use crate::scim::{Imported, ScimError};
use crate::store::{Kind, Store};

fn roles() -> Vec<String> {
    ["Ordering", "Porting"].map(str::to_owned).to_vec()
}

async fn import(bench: &Bench, line: &Value) -> Result<Imported, ScimError> {
    bench.scim.import_line("acme", line, &roles()).await
}

#[tokio::test]
async fn lines_make_and_update_people_and_groups() {
    let bench = Bench::new().await;
    let own = json!({"accounts": ["100"], "administrationLevel": "Account Admin", "locked": true, "passwordChangedAt": "2025-01-01T00:00:00Z"});
    let line = rights("jdoe", &["Ordering"], own);
    assert_eq!(import(&bench, &line).await.unwrap(), Imported::Created);
    assert_eq!(import(&bench, &line).await.unwrap(), Imported::Updated);
    let view = bench.scim.user_view("JDOE").await.unwrap();
    let image = bench.image(view["id"].as_str().unwrap()).await;
    assert!(image.locked && image.active && image.level == AdministrationLevel::AccountAdmin);
    assert_eq!(image.password_changed_at, Some(Timestamp(1_735_689_600_000)));
    assert_eq!(
        (image.roles.as_slice(), image.accounts.as_slice()),
        (&["Ordering".to_owned()][..], &[bench.account("100").await][..])
    );
    assert_eq!(view["meta"]["version"], "W/\"1\"", "the second run had nothing to do");
    assert_eq!(view[USER_EXTENSION]["passwordChangedAt"], "2025-01-01T00:00:00.000Z");

    let inner = json!({"schemas": [GROUP], "displayName": "inner", "members": [{"value": "jDoe"}]});
    assert_eq!(import(&bench, &inner).await.unwrap(), Imported::Created);
    let idp = bench.idp("acme").await;
    let list = idp.get("/Groups").await.ok(200);
    let inner_id = list["Resources"][0]["id"].as_str().unwrap();
    let outer = json!({
        "schemas": [GROUP, GROUP_EXTENSION], "displayName": "Outer", "members": [{"value": inner_id}],
        (GROUP_EXTENSION): {"roles": ["Porting"], "accounts": ["200"]},
    });
    assert_eq!(import(&bench, &outer).await.unwrap(), Imported::Created);
    assert_eq!(import(&bench, &json!({"schemas": [GROUP], "displayName": "INNER"})).await.unwrap(), Imported::Updated);
    let view = bench.scim.user_view("jdoe").await.unwrap();
    let origins: Vec<(&str, &str)> = view["effective"]["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| (role["name"].as_str().unwrap(), role["origin"]["name"].as_str().unwrap_or("direct")))
        .collect();
    assert_eq!(origins, [("Ordering", "direct"), ("Porting", "Outer")], "members that a line does not mention stay");
    assert_eq!(view["effective"]["accounts"][1]["id"], "200");
    assert_eq!(view["effective"]["administrationLevel"], "Account Admin");
}

#[tokio::test]
async fn import_refuses_what_would_grant_nothing() {
    let bench = Bench::new().await;
    let rival = bench.idp("rival").await;
    rival.user("taken").await;
    let bad = [
        (rights("a", &["Nonsense"], json!({})), 400, "Nonsense"),
        (rights("a", &[], json!({"accounts": ["900"]})), 400, "900"),
        (rights("a", &[], json!({"administrationLevel": "admin"})), 400, "administrationLevel"),
        (rights("a", &[], json!({"accessMethods": ["fax"]})), 400, "fax"),
        (rights("a b", &[], json!({})), 400, "userName"),
        (rights(&"x".repeat(101), &[], json!({})), 400, "userName"),
        (rights("a", &[], json!({"locked": "maybe"})), 400, "locked"),
        (rights("a", &[], json!({"passwordChangedAt": "yesterday"})), 400, "passwordChangedAt"),
        (rights("TAKEN", &[], json!({})), 409, "userName"),
        (json!({"userName": "a"}), 400, "schemas"),
        (json!({"schemas": [USER], "userName": "a", "nonsense": 1}), 400, "nonsense"),
        (json!({"schemas": [GROUP], "displayName": "g", "members": [{"value": "nobody"}]}), 400, "nobody"),
        (json!({"schemas": [GROUP], "displayName": "g", "members": [{"value": "taken"}]}), 400, "taken"),
    ];
    for (line, status, names) in bad {
        let error = import(&bench, &line).await.unwrap_err();
        assert_eq!(error.status.as_u16(), status, "{line}: {error}");
        assert!(error.detail.contains(names), "{line}: {error}");
    }
    let head = bench.store.head().await.unwrap();
    assert!(bench.scim.import_line("nowhere", &json!({}), &[]).await.unwrap_err().status.as_u16() == 404);
    assert_eq!(bench.store.head().await.unwrap(), head);
    assert!(bench.scim.users(Some("acme"), None, None, 10).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_import_takes_over_whom_an_identity_provider_made() {
    let bench = Bench::new().await;
    let settings = Settings { roles: Some(Vec::new()), ..Settings::default() };
    let idp = bench.connect("acme", Profile::Generic, settings).await;
    let user = idp
        .post("/Users", &json!({"userName": "j#EXT#", "externalId": "e1", "roles": [{"value": "Porting"}]}))
        .await
        .ok(201);
    let id = user["id"].as_str().unwrap();
    assert!(bench.image(id).await.roles.is_empty());
    assert_eq!(bench.scim.user_view(id).await.unwrap()["withheld"]["roles"], json!(["Porting"]));
    assert_eq!(import(&bench, &rights("j#ext#", &["Porting"], json!({}))).await.unwrap(), Imported::Updated);
    assert_eq!(bench.image(id).await.roles, ["Porting"]);
    assert_eq!(idp.get(&format!("/Users/{id}")).await.ok(200)["externalId"], "e1");
    idp.delete(&format!("/Users/{id}")).await.ok(204);
    assert_eq!(bench.scim.user_view(id).await.unwrap()["deleted"], true);
    assert_eq!(import(&bench, &rights("j#ext#", &[], json!({}))).await.unwrap(), Imported::Updated);
    assert!(bench.image(id).await.active);
}

#[tokio::test]
async fn operators_change_what_no_identity_provider_may() {
    let bench = Bench::new().await;
    let settings = Settings { roles: Some(vec!["Ordering".into()]), ..Settings::default() };
    let idp = bench.connect("acme", Profile::Generic, settings).await;
    let id =
        idp.post("/Users", &rights("jane", &["Ordering", "Porting"], json!({"accounts": ["9"]}))).await.ok(201)["id"]
            .as_str()
            .unwrap()
            .to_owned();
    let path = format!("/Users/{id}");
    let patch = async |body: Value| bench.scim.patch_user("jane", &body, &roles()).await;

    let (view, revision) = patch(json!({"locked": true, "passwordChangedAt": "2025-06-01T00:00:00Z"})).await.unwrap();
    assert_eq!(revision, bench.store.head().await.unwrap().revision);
    assert_eq!(view[USER_EXTENSION]["locked"], true);
    let image = bench.image(&id).await;
    assert!(image.locked && image.active);
    assert_eq!(image.roles, ["Ordering"], "a lock grants nothing that was withheld");
    idp.put(&path, &json!({"userName": "jane", "active": true})).await.ok(200);
    idp.delete(&path).await.ok(204);
    idp.post("/Users", &json!({"userName": "jane"})).await.ok(201);
    assert!(bench.image(&id).await.locked, "neither a PUT nor a new create lifts a lock");

    patch(json!({"locked": false, "passwordChangedAt": null, "roles": ["Porting"], "accounts": ["200"], "administrationLevel": "Account Admin", "accessMethods": ["api"]})).await.unwrap();
    let image = bench.image(&id).await;
    assert!(!image.locked && image.password_changed_at.is_none() && image.level == AdministrationLevel::AccountAdmin);
    assert_eq!(
        (image.roles.as_slice(), image.methods.api, image.methods.dashboard),
        (&["Porting".to_owned()][..], true, false)
    );
    let read = idp.get(&path).await.ok(200);
    assert_eq!(read["roles"][0]["value"], "Porting");
    idp.put(&path, &read).await.ok(200);
    assert_eq!(bench.image(&id).await.roles, ["Porting"], "an echo keeps what an operator gave");
    idp.put(&path, &json!({"userName": "jane"})).await.ok(200);
    let image = bench.image(&id).await;
    assert!(image.roles.is_empty() && image.level == AdministrationLevel::BasicUser, "the document decides");
    idp.put(&path, &read).await.ok(200);
    assert!(bench.image(&id).await.roles.is_empty(), "and what is gone is not given back by a limited connection");

    patch(json!({"active": false})).await.unwrap();
    assert!(!bench.image(&id).await.active);
    assert_eq!(idp.get(&path).await.ok(200)["active"], false);
}

#[tokio::test]
async fn operators_are_told_what_is_wrong() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = idp.user("jane").await;
    let bad = [
        json!([]),
        json!({"nonsense": 1}),
        json!({"active": "true"}),
        json!({"locked": null}),
        json!({"passwordChangedAt": "soon"}),
        json!({"administrationLevel": "root"}),
        json!({"roles": ["Nonsense"]}),
        json!({"roles": "Ordering"}),
        json!({"accounts": ["900"]}),
        json!({"accessMethods": ["fax"]}),
    ];
    for body in bad {
        let error = bench.scim.patch_user(&id, &body, &roles()).await.unwrap_err();
        assert_eq!(error.status.as_u16(), 400, "{body}: {error}");
    }
    assert_eq!(bench.scim.patch_user("nobody", &json!({}), &[]).await.unwrap_err().status.as_u16(), 404);
    assert_eq!(bench.scim.user_view("nobody").await.unwrap_err().status.as_u16(), 404);
    idp.delete(&format!("/Users/{id}")).await.ok(204);
    assert_eq!(bench.scim.patch_user(&id, &json!({"active": true}), &[]).await.unwrap_err().status.as_u16(), 404);
    let record = bench.store.get(Kind::User, &id).await.unwrap().unwrap();
    assert!(record.deleted);
}

#[tokio::test]
async fn people_are_listed_page_by_page() {
    let bench = Bench::new().await;
    let (acme, rival) = (bench.idp("acme").await, bench.idp("rival").await);
    for index in 0..5 {
        acme.user(&format!("a{index}")).await;
        rival.user(&format!("r{index}")).await;
    }
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = bench.scim.users(None, None, after, 3).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|user| user["userName"].as_str().unwrap().to_owned()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 10);
    let some = bench.scim.users(Some("rival"), Some("userName ew \"3\""), None, 10).await.unwrap();
    assert_eq!((some.items.len(), some.items[0]["organization"].as_str()), (1, Some("rival")));
    assert_eq!(bench.scim.users(Some("nowhere"), None, None, 10).await.unwrap_err().status.as_u16(), 404);
    assert_eq!(bench.scim.users(None, Some("nonsense"), None, 10).await.unwrap_err().status.as_u16(), 400);
}
