//! Versions, preconditions and many writers at a time.

use std::sync::Arc;

use serde_json::json;

use super::{Bench, Idp};
use crate::store::{Kind, Store};

async fn together<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> crate::store::BoxFuture<'static, T>,
) -> Vec<T> {
    let tasks: Vec<_> = (0..count).map(|index| tokio::spawn(work(index))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

fn shared(idp: &Idp) -> Arc<Idp> {
    Arc::new(idp.clone())
}

#[tokio::test]
async fn a_precondition_holds_or_nothing_happens() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let path = format!("/Users/{}", idp.user("jane").await);
    let tag = idp.get(&path).await.header("etag").to_owned();
    let fresh = idp.send("GET", &path, &[("if-none-match", &tag)], "").await;
    assert_eq!((fresh.status, fresh.header("etag")), (304, tag.as_str()));
    let body = json!({"userName": "jane", "title": "a"}).to_string();
    let changed = idp.send("PUT", &path, &[("if-match", &tag)], &body).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "W/\"2\""));
    for method in ["PUT", "DELETE"] {
        assert_eq!(idp.send(method, &path, &[("if-match", &tag)], &body).await.refused(412), "", "{method}");
    }
    assert_eq!(idp.send("GET", &path, &[("if-none-match", &tag)], "").await.status, 200);
    assert_eq!(idp.send("PUT", &path, &[("if-none-match", "*")], &body).await.refused(412), "");
    assert_eq!(idp.send("DELETE", &path, &[("if-match", "W/\"2\"")], "").await.status, 204);

    let group = format!("/Groups/{}", idp.group("g", &[]).await);
    let stale = idp.send("PUT", &group, &[("if-match", "\"7\"")], "{\"displayName\": \"h\"}").await;
    assert_eq!(stale.refused(412), "");
    assert_eq!(idp.send("DELETE", &group, &[("if-match", "\"1\"")], "").await.status, 204);
}

#[tokio::test]
async fn each_form_of_a_tag_means_what_rfc_9110_says_on_every_method() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "displayName", "value": "x"}]})
    .to_string();
    let replace = |kind: &str| match kind {
        "Users" => json!({"userName": "jane"}).to_string(),
        _ => json!({"displayName": "g"}).to_string(),
    };
    for (kind, id) in [("Users", idp.user("jane").await), ("Groups", idp.group("g", &[]).await)] {
        let path = format!("/{kind}/{id}");
        let body = replace(kind);
        for stale in ["W/\"9\"", "\"9\"", "\"\"", "nonsense", "W/\"7\", \"8\"", ""] {
            for (method, body) in [("PUT", body.as_str()), ("PATCH", patch.as_str()), ("DELETE", "")] {
                let reply = idp.send(method, &path, &[("if-match", stale)], body).await;
                assert_eq!(reply.refused(412), "", "{method} {path} {stale}");
            }
        }
        assert_eq!(idp.get(&path).await.header("etag"), "W/\"1\"", "nothing happened");
        for (number, fresh) in ["*", "W/\"2\"", "\"3\"", "\"1\", W/\"4\""].into_iter().enumerate() {
            let name = format!("x{number}");
            let reply = idp
                .send("PATCH", &path, &[("if-match", fresh)], &patch.replace("\"x\"", &json!(name).to_string()))
                .await;
            assert_eq!(
                (reply.status, reply.header("etag")),
                (200, format!("W/\"{}\"", number + 2).as_str()),
                "{fresh}"
            );
            assert_eq!(reply.body["meta"]["version"], format!("W/\"{}\"", number + 2), "one tag in both places");
        }
        for (tags, status) in [("W/\"5\"", 304), ("\"5\"", 304), ("*", 304), ("\"1\", \"5\"", 304), ("\"4\"", 200)] {
            assert_eq!(idp.send("GET", &path, &[("if-none-match", tags)], "").await.status, status, "{tags}");
        }
        let nobody = format!("/{kind}/nobody");
        for (method, body) in [("PUT", body.as_str()), ("PATCH", patch.as_str()), ("DELETE", "")] {
            let reply = idp.send(method, &nobody, &[("if-match", "*")], body).await;
            assert!(matches!(reply.status, 404 | 412), "{method}: what is not there has no tag");
        }
        assert_eq!(idp.send("DELETE", &path, &[("if-match", "*")], "").await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_patches_and_16_deletes_with_one_tag_one_wins() {
    for kind in ["Users", "Groups"] {
        let bench = Bench::new().await;
        let idp = shared(&bench.idp("acme").await);
        let id = if kind == "Users" { idp.user("jane").await } else { idp.group("g", &[]).await };
        let path = format!("/{kind}/{id}");
        let statuses = together(32, |index| {
            let (idp, path) = (Arc::clone(&idp), path.clone());
            Box::pin(async move {
                let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                    "Operations": [{"op": "replace", "path": "displayName", "value": format!("n{index}")}]});
                let (method, body) =
                    if index % 2 == 0 { ("PATCH", body.to_string()) } else { ("DELETE", String::new()) };
                idp.send(method, &path, &[("if-match", "W/\"1\"")], &body).await.status
            })
        })
        .await;
        let won = statuses.iter().filter(|status| matches!(**status, 200 | 204)).count();
        assert_eq!(won, 1, "{kind}: {statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 204 | 404 | 412)), "{kind}: {statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_creates_of_one_name_one_wins() {
    let bench = Bench::new().await;
    let idp = shared(&bench.idp("acme").await);
    let statuses = together(64, |index| {
        let idp = Arc::clone(&idp);
        Box::pin(async move {
            let name = if index % 2 == 0 { "Jane" } else { "jANE" };
            idp.post("/Users", &json!({ "userName": name })).await.status
        })
    })
    .await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 63);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_writers_with_one_tag_one_wins_and_without_tags_all_do() {
    let bench = Bench::new().await;
    let idp = shared(&bench.idp("acme").await);
    let path = format!("/Users/{}", idp.user("jane").await);
    let statuses = together(32, |index| {
        let (idp, path) = (Arc::clone(&idp), path.clone());
        Box::pin(async move {
            let body = json!({"userName": "jane", "title": format!("t{index}")}).to_string();
            idp.send("PUT", &path, &[("if-match", "W/\"1\"")], &body).await.status
        })
    })
    .await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 412)), "{statuses:?}");

    let statuses = together(32, |index| {
        let (idp, path) = (Arc::clone(&idp), path.clone());
        Box::pin(async move {
            let email = json!([{"value": format!("{index}@x.example"), "type": format!("t{index}")}]);
            idp.patch(&path, json!([{"op": "add", "path": "emails", "value": email}])).await.status
        })
    })
    .await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(idp.get(&path).await.ok(200)["emails"].as_array().unwrap().len(), 32, "no write was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_join_side_by_side_and_rings_never_close() {
    let bench = Bench::new().await;
    let idp = shared(&bench.idp("acme").await);
    let mut groups = Vec::new();
    for index in 0..8 {
        groups.push(idp.group(&format!("g{index}"), &[]).await);
    }
    let groups = Arc::new(groups);
    let statuses = together(8, |index| {
        let (idp, groups) = (Arc::clone(&idp), Arc::clone(&groups));
        Box::pin(async move {
            let next = &groups[(index + 1) % groups.len()];
            let add = json!([{"op": "add", "path": "members", "value": [{"value": next}]}]);
            idp.patch(&format!("/Groups/{}", groups[index]), add).await.status
        })
    })
    .await;
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 1, "the last link is refused: {statuses:?}");

    let mut users = Vec::new();
    for index in 0..32 {
        users.push(idp.user(&format!("u{index}")).await);
    }
    let users = Arc::new(users);
    let statuses = together(32, |index| {
        let (idp, path) = (Arc::clone(&idp), format!("/Groups/{}", groups[0]));
        let users = Arc::clone(&users);
        Box::pin(async move {
            idp.patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": users[index]}]}])).await.status
        })
    })
    .await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let group = idp.get(&format!("/Groups/{}", groups[0])).await.ok(200);
    let people = group["members"].as_array().unwrap().iter().filter(|member| member["type"] == "User").count();
    assert_eq!(people, 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_deleted_while_joining_is_no_member() {
    let bench = Bench::new().await;
    let idp = shared(&bench.idp("acme").await);
    let group = idp.group("g", &[]).await;
    let number = bench.store.get(Kind::Group, &group).await.unwrap().unwrap().number;
    let mut joined = 0;
    for round in 0..100 {
        let user = idp.user(&format!("u{round}")).await;
        let statuses = together(2, |index| {
            let (idp, group, user) = (Arc::clone(&idp), format!("/Groups/{group}"), user.clone());
            Box::pin(async move {
                let join = json!([{"op": "add", "path": "members", "value": [{"value": user}]}]);
                if (index + round) % 2 == 0 {
                    idp.delete(&format!("/Users/{user}")).await.status
                } else {
                    idp.patch(&group, join).await.status
                }
            })
        })
        .await;
        assert!(statuses.contains(&204), "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 204 | 400)), "{statuses:?}");
        joined += usize::from(statuses.contains(&200));
        assert_eq!(bench.store.members(number, None, 9).await.unwrap(), [], "round {round}: {statuses:?}");
    }
    assert!(joined > 0, "some joined first and left by their deletion");
}
