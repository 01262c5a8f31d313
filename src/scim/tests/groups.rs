//! Groups and their members.

use serde_json::{Value, json};

use super::{Bench, GROUP, Idp};
use crate::domain::Image;
use crate::scim::connection::{Profile, Settings};
use crate::scim::image::GROUP_EXTENSION;
use crate::store::{Kind, Store};

async fn members(idp: &Idp, group: &str) -> Vec<String> {
    let group = idp.get(&format!("/Groups/{group}")).await.ok(200);
    let members = group["members"].as_array().cloned().unwrap_or_default();
    members.iter().map(|member| member["value"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_group_is_made_with_its_members_in_one_step() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let (a, b) = (idp.user("a").await, idp.user("b").await);
    let before = bench.store.head().await.unwrap().revision.number;
    let body = json!({
        "schemas": [GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
        "displayName": "Engineers", "externalId": "g1", "members": [{"value": a, "display": "A"}, {"value": b}],
    });
    let reply = idp.post("/Groups", &body).await;
    assert_eq!(bench.store.head().await.unwrap().revision.number, before + 1);
    let group = reply.ok(201);
    assert_eq!(group["members"][0]["type"], "User");
    assert_eq!(group["members"][1]["$ref"], format!("https://cedargate.example/scim/v2/Users/{b}"));
    assert_eq!(group["externalId"], "g1");
    let shown = idp.get(&format!("/Users/{a}")).await.ok(200);
    assert_eq!(shown["groups"][0]["display"], "Engineers");
    assert_eq!(shown["groups"][0]["type"], "direct");
    assert_eq!(idp.post("/Groups", &json!({"displayName": "engineers"})).await.refused(409), "uniqueness");
    let gone = json!({"displayName": "x", "members": [{"value": a}, {"value": "nobody"}]});
    assert_eq!(idp.post("/Groups", &gone).await.refused(400), "invalidValue");
    assert_eq!(idp.get("/Groups").await.ok(200)["totalResults"], 1, "nothing was written");
}

#[tokio::test]
async fn members_come_and_go_in_every_dialect() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let (a, b, c) = (idp.user("a").await, idp.user("b").await, idp.user("c").await);
    let group = idp.group("g", &[]).await;
    let path = format!("/Groups/{group}");
    let steps: Vec<(Value, Vec<&String>)> = vec![
        (json!([{"op": "add", "path": "members", "value": [{"value": a, "display": "A"}]}]), vec![&a]),
        (json!([{"op": "Add", "path": "members", "value": [{"$ref": null, "value": b}]}]), vec![&a, &b]),
        (json!([{"op": "add", "value": {"members": [{"value": c}]}}]), vec![&a, &b, &c]),
        (json!([{"op": "remove", "path": format!("members[value eq \"{b}\"]")}]), vec![&a, &c]),
        (json!([{"op": "remove", "path": "members", "value": [{"value": a}]}]), vec![&c]),
        (
            json!([
                {"op": "remove", "path": format!("members[value eq \"{c}\"]")},
                {"op": "add", "path": "members", "value": [{"value": b}, {"value": a}]},
            ]),
            vec![&a, &b],
        ),
        (json!([{"op": "replace", "path": "members", "value": [{"value": c}, {"value": b}]}]), vec![&b, &c]),
        (json!([{"op": "remove", "path": "members[type eq \"User\"]"}]), vec![]),
        (json!([{"op": "replace", "value": {"members": [{"value": a}, {"value": b}]}}]), vec![&a, &b]),
        (json!([{"op": "replace", "value": {"members": [], "id": group, "displayName": "renamed"}}]), vec![]),
        (
            json!([{"op": "add", "path": "members", "value": [{"value": a}]}, {"op": "remove", "path": "members"}]),
            vec![],
        ),
        (json!([{"op": "replace", "path": "displayName", "value": "again"}]), vec![]),
    ];
    for (operations, expected) in steps {
        idp.patch(&path, operations.clone()).await.ok(200);
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(members(&idp, &group).await, expected, "{operations}");
    }
    assert_eq!(idp.get(&path).await.ok(200)["displayName"], "again");
}

#[tokio::test]
async fn an_unknown_member_stops_the_whole_patch() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let rival = bench.idp("rival").await;
    let (a, foreign) = (idp.user("a").await, rival.user("f").await);
    let group = idp.group("g", &[&a]).await;
    let path = format!("/Groups/{group}");
    let head = bench.store.head().await.unwrap();
    for stranger in ["nobody", foreign.as_str(), group.to_uppercase().as_str()] {
        for operations in [
            json!([{"op": "replace", "path": "displayName", "value": "h"}, {"op": "add", "path": "members", "value": [{"value": stranger}]}]),
            json!([{"op": "replace", "path": "members", "value": [{"value": stranger}]}]),
        ] {
            assert_eq!(idp.patch(&path, operations).await.refused(400), "invalidValue");
        }
        let put = json!({"displayName": "h", "members": [{"value": stranger}]});
        assert_eq!(idp.put(&path, &put).await.refused(400), "invalidValue");
        let remove = json!([{"op": "remove", "path": format!("members[value eq \"{stranger}\"]")}]);
        idp.patch(&path, remove).await.ok(200);
    }
    assert_eq!(members(&idp, &group).await, [a]);
    assert_eq!(idp.get(&path).await.ok(200)["displayName"], "g");
    let after = bench.store.head().await.unwrap();
    assert!(after.revision.number - head.revision.number <= 3, "only removals of strangers reached the ledger");
}

#[tokio::test]
async fn a_put_keeps_members_that_it_does_not_mention_and_empties_by_an_empty_list() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let (a, b) = (idp.user("a").await, idp.user("b").await);
    let group = idp.group("g", &[&a, &b]).await;
    let path = format!("/Groups/{group}");
    idp.put(&path, &json!({"displayName": "h"})).await.ok(200);
    assert_eq!(members(&idp, &group).await, [a.clone(), b.clone()]);
    idp.put(&path, &json!({"displayName": "h", "members": [{"value": b}]})).await.ok(200);
    assert_eq!(members(&idp, &group).await, [b]);
    idp.put(&path, &json!({"displayName": "h", "members": []})).await.ok(200);
    assert!(members(&idp, &group).await.is_empty());
}

#[tokio::test]
async fn repeating_a_membership_moves_nothing() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let a = idp.user("a").await;
    let group = idp.group("g", &[&a]).await;
    let path = format!("/Groups/{group}");
    let before = idp.get(&path).await.ok(200);
    bench.clock.advance(60_000);
    let add = json!([{"op": "add", "path": "members", "value": [{"value": a}]}]);
    let after = idp.patch(&path, add).await.ok(200);
    assert_eq!(after["meta"], before["meta"]);
}

#[tokio::test]
async fn groups_nest_and_never_contain_themselves() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let a = idp.user("a").await;
    let inner = idp.group("inner", &[&a]).await;
    let middle = idp.group("middle", &[&inner]).await;
    let outer = idp.group("outer", &[&middle]).await;
    let shown = idp.get(&format!("/Users/{a}")).await.ok(200);
    let groups: Vec<(&str, &str)> = shown["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (group["display"].as_str().unwrap(), group["type"].as_str().unwrap()))
        .collect();
    assert_eq!(groups, [("inner", "direct"), ("middle", "indirect"), ("outer", "indirect")]);
    assert_eq!(idp.get(&format!("/Groups/{outer}")).await.ok(200)["members"][0]["type"], "Group");
    for (group, member) in [(&inner, &inner), (&inner, &middle), (&inner, &outer), (&middle, &outer)] {
        let add = json!([{"op": "add", "path": "members", "value": [{"value": member}]}]);
        assert_eq!(idp.patch(&format!("/Groups/{group}"), add).await.refused(400), "invalidValue");
    }
    idp.delete(&format!("/Groups/{middle}")).await.ok(204);
    let shown = idp.get(&format!("/Users/{a}")).await.ok(200);
    assert_eq!(shown["groups"].as_array().unwrap().len(), 1);
    assert!(members(&idp, &outer).await.is_empty());
    assert_eq!(idp.get(&format!("/Groups/{middle}")).await.refused(404), "");
    idp.group("middle", &[&outer]).await;
}

#[tokio::test]
async fn answers_leave_members_out_where_nobody_wants_them() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let a = idp.user("a").await;
    let group = idp.group("g", &[&a]).await;
    let path = format!("/Groups/{group}?excludedAttributes=members");
    assert!(idp.get(&path).await.ok(200).get("members").is_none());
    let patched = idp.patch(&path, json!([{"op": "remove", "path": "members"}])).await.ok(200);
    assert!(patched.get("members").is_none() && patched["displayName"] == "g");
    for profile in [Profile::Okta, Profile::Entra] {
        let idp = bench.connect("acme", profile, Settings::default()).await;
        let add = json!([{"op": "add", "path": "members", "value": [{"value": a}]}]);
        let reply = idp.patch(&format!("/Groups/{group}"), add.clone()).await;
        assert!(reply.headers.contains_key("etag") && reply.headers.contains_key("cedargate-revision"));
        assert_eq!(reply.ok(204), Value::Null);
        let asked = idp.patch(&format!("/Groups/{group}?attributes=members"), add).await.ok(200);
        assert_eq!(asked["members"][0]["value"], a.as_str());
    }
}

#[tokio::test]
async fn groups_give_roles_and_accounts_within_limits() {
    let bench = Bench::new().await;
    let settings = Settings { roles: Some(vec!["Ordering".into()]), ..Settings::default() };
    let idp = bench.connect("acme", Profile::Generic, settings).await;
    let own = json!({"roles": ["Ordering", "Porting"], "accounts": ["100", "900"]});
    let body = json!({"schemas": [GROUP, GROUP_EXTENSION], "displayName": "g", (GROUP_EXTENSION): own});
    let group = idp.post("/Groups", &body).await.ok(201);
    assert_eq!(group[GROUP_EXTENSION], own);
    let record = bench.store.get(Kind::Group, group["id"].as_str().unwrap()).await.unwrap().unwrap();
    let image = match bench.images.lock().unwrap().get(&record.number) {
        Some(Image::Group(image)) => image.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((image.name.as_str(), image.assigned), ("g", true));
    assert_eq!((image.roles, image.accounts), (vec!["Ordering".to_owned()], vec![bench.account("100").await]));
}

#[tokio::test]
async fn look_ups_by_membership() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let rival = bench.idp("rival").await;
    let a = idp.user("a").await;
    let group = idp.group("g", &[&a]).await;
    idp.group("h", &[]).await;
    let total = async |idp: &Idp, path: String| {
        idp.get(&path.replace(' ', "%20").replace('"', "%22")).await.ok(200)["totalResults"].clone()
    };
    assert_eq!(total(&idp, format!("/Groups?filter=members eq \"{a}\"")).await, 1);
    assert_eq!(total(&idp, format!("/Groups?filter=id eq \"{group}\" and members eq \"{a}\"&attributes=id")).await, 1);
    assert_eq!(total(&idp, format!("/Groups?filter=members.value eq \"{group}\"")).await, 0);
    assert_eq!(total(&idp, format!("/Users?filter=groups.value eq \"{group}\"")).await, 1);
    assert_eq!(total(&rival, format!("/Groups?filter=members eq \"{a}\"")).await, 0);
    assert_eq!(total(&idp, "/Groups?filter=displayName eq \"G\"".into()).await, 1);
}
