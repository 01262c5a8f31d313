//! Who gets in, how far, and what the doors say of themselves.

use serde_json::json;

use super::{Bench, USER};
use crate::clock::SeededRandom;
use crate::domain::Timestamp;
use crate::scim::connection::{Connection, Profile, Settings};
use crate::store::{Kind, Step, Store};
use crate::token::Secret;

#[tokio::test]
async fn no_endpoint_and_no_spelling_of_a_path_answers_without_a_token() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = idp.user("jane").await;
    let foreign = Secret::generate(&SeededRandom::new(77)).shown;
    let mut paths: Vec<String> = bench
        .endpoints()
        .into_iter()
        .map(|(_, template)| template.replace("{id}", &id).trim_end_matches('*').to_owned())
        .collect();
    for spelling in
        ["%55sers", "users", "Users/", "Users//", "./Users", "Users%2f", "Users;a=b", "../v2/Users", "Nothing", "%00"]
    {
        paths.push(format!("/scim/v2/{spelling}"));
        paths.push(format!("/scim/v2/{spelling}/{id}"));
    }
    let cut = &idp.token[..idp.token.len() - 4];
    for token in ["", "nonsense", cut, foreign.as_str()] {
        let idp = idp.with_token(token);
        for path in &paths {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"] {
                let reply = idp.send(method, path, &[], "").await;
                let fault = reply.status;
                assert!(matches!(fault, 401 | 404 | 400), "{method} {path} {token:?}: {fault} {}", reply.body);
                assert!(!reply.body.to_string().contains(&id), "{method} {path}");
                if fault == 401 {
                    assert!(reply.header("www-authenticate").starts_with("Bearer"));
                    assert_eq!(reply.refused(401), "");
                }
            }
        }
    }
    assert!(idp.with_token(cut).get("/Users").await.body["detail"].as_str().unwrap().contains("cut off"));
    let real = ["GET /Users", "POST /Users", "GET /Groups", "GET /Schemas", "GET /ServiceProviderConfig", "GET /Me"];
    for endpoint in real {
        let (method, path) = endpoint.split_once(' ').unwrap();
        assert_eq!(idp.with_token("").send(method, path, &[], "").await.refused(401), "", "{endpoint}");
    }
}

#[tokio::test]
async fn the_root_answers_with_and_without_a_slash_behind_it() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    idp.user("jane").await;
    let plain = idp.get("/scim/v2?count=1").await.ok(200);
    assert_eq!(plain["totalResults"], 1);
    for spelling in ["/scim/v2/?count=1", "/SCIM/V2/?count=1"] {
        assert_eq!(idp.get(spelling).await.ok(200), plain, "{spelling}");
    }
    for path in ["/scim/v2", "/scim/v2/"] {
        assert_eq!(idp.send("POST", path, &[], "{}").await.header("allow"), "GET", "{path}");
    }
    assert_eq!(idp.get("/scim/v2//").await.refused(404), "");
}

#[tokio::test]
async fn a_token_opens_until_it_is_revoked_expired_or_its_connection_is_gone() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    assert_eq!(idp.get("/Users").await.status, 200);
    let record = bench.store.get(Kind::Connection, &idp.connection).await.unwrap().unwrap();
    let mut connection = Connection::from_record(&record).unwrap();
    let expiring = connection.add_token(&bench.sources, Some(Timestamp(1_760_000_001_000))).unwrap().shown;
    let first = connection.tokens[0].id.clone();
    connection.revoke_token(&first, Timestamp(1));
    bench.store_connection(&connection, Some(record.number)).await;
    assert!(idp.get("/Users").await.body["detail"].as_str().unwrap().contains("revoked"));
    let other = idp.with_token(&expiring);
    assert_eq!(other.get("/Users").await.status, 200);
    bench.clock.advance(1_000);
    assert!(other.get("/Users").await.body["detail"].as_str().unwrap().contains("expired"));
    bench.clock.advance(-1_000);
    bench.commit(Step::Remove { number: record.number, expected: None }).await;
    assert_eq!(other.get("/Users").await.status, 401);
}

#[tokio::test]
async fn two_organizations_never_see_each_other() {
    let bench = Bench::new().await;
    let acme = bench.idp("acme").await;
    let rival = bench.idp("rival").await;
    let user = acme.user("jane").await;
    let group = acme.group("g", &[&user]).await;
    for path in [format!("/Users/{user}"), format!("/Groups/{group}")] {
        let replies = [
            rival.get(&path).await,
            rival.put(&path, &json!({"userName": "x", "displayName": "x"})).await,
            rival.patch(&path, json!([{"op": "replace", "path": "displayName", "value": "x"}])).await,
            rival.delete(&path).await,
        ];
        let nobody = rival.get(&path.replace(&user[..8], "00000000").replace(&group[..8], "00000000")).await;
        for reply in replies {
            let sentence = |body: &serde_json::Value| {
                body["detail"].as_str().unwrap().split(" (event ").next().unwrap().to_owned()
            };
            assert_eq!(sentence(&reply.body), sentence(&nobody.body), "as if it were not there");
            assert_eq!(reply.refused(404), "");
        }
    }
    for path in ["/Users", "/Groups", "/Users?filter=userName+eq+%22jane%22", "/Users?sortBy=userName"] {
        assert_eq!(rival.get(path).await.ok(200)["totalResults"], 0, "{path}");
    }
    assert_eq!(
        rival.post("/Users", &json!({"userName": "JANE"})).await.refused(409),
        "uniqueness",
        "the one exception"
    );
    rival.group("g", &[]).await;
    assert_eq!(acme.get(&format!("/Users/{user}")).await.ok(200)["groups"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn types_of_paths_match_without_case_and_ids_with_it() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let id = idp.user("jane").await;
    assert_eq!(idp.get(&format!("/users/{id}")).await.status, 200);
    assert_eq!(idp.get("/scim/V2/USERS?").await.status, 200);
    assert_eq!(idp.get("/groups?&").await.status, 200);
    assert_eq!(idp.get(&format!("/Users/{}", id.to_uppercase())).await.status, 404);
}

#[tokio::test]
async fn other_methods_and_missing_parts_are_said_plainly() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    for path in ["/ServiceProviderConfig", "/Schemas", "/ResourceTypes", "/Schemas/x", "/ResourceTypes/User"] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let reply = idp.send(method, path, &[], "{}").await;
            assert_eq!(reply.header("allow"), "GET");
            assert_eq!(reply.refused(405), "", "{method} {path}");
        }
    }
    assert_eq!(idp.put("/Users", &json!({})).await.refused(405), "");
    assert_eq!(idp.post("/Users/x", &json!({})).await.refused(405), "");
    for path in ["/Bulk", "/.search", "/Users/.search", "/Groups/.search"] {
        assert_eq!(idp.get(path).await.refused(405), "", "{path}");
    }
    assert!(idp.get("/Me").await.body["detail"].as_str().unwrap().contains("identity provider"));
    for path in ["/Me"] {
        assert_eq!(idp.post(path, &json!({})).await.refused(501), "", "{path}");
    }
    assert_eq!(idp.get("/Nothing").await.refused(404), "");
    assert_eq!(idp.post("", &json!({})).await.refused(405), "");
}

#[tokio::test]
async fn discovery_is_whole_true_and_takes_no_filter() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let config = idp.get("/ServiceProviderConfig").await.ok(200);
    for feature in ["patch", "filter", "sort", "etag", "bulk"] {
        assert_eq!(config[feature]["supported"], true, "{feature}");
    }
    assert_eq!(config["pagination"]["maxPageSize"], config["filter"]["maxResults"], "one limit, announced twice");
    assert_eq!((&config["pagination"]["cursor"], &config["pagination"]["index"]), (&json!(true), &json!(true)));
    assert_eq!(config["meta"]["location"], "https://cedargate.example/scim/v2/ServiceProviderConfig");
    for (path, one) in [("/Schemas", USER), ("/ResourceTypes", "User")] {
        let list = idp.get(path).await.ok(200);
        let resources = list["Resources"].as_array().unwrap();
        assert_eq!(list["totalResults"], resources.len());
        assert_eq!(list["itemsPerPage"], resources.len());
        let found = idp.get(&format!("{path}/{one}")).await.ok(200);
        assert!(resources.contains(&found));
        assert_eq!(found["meta"]["location"], format!("https://cedargate.example/scim/v2{path}/{one}"));
        assert_eq!(idp.get(&format!("{path}/nothing")).await.refused(404), "");
        assert_eq!(idp.get(&format!("{path}?filter=id+pr")).await.refused(403), "");
    }
    assert_eq!(idp.get("/ServiceProviderConfig?filter=id+pr").await.refused(403), "");
}

#[tokio::test]
async fn bodies_are_json_of_either_type_and_nothing_else() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let body = json!({"schemas": [USER], "userName": "a"}).to_string();
    let typed = async |content_type: &str, body: &str| {
        idp.send("POST", "/Users", &[("content-type", content_type)], body).await
    };
    typed("application/json", &body).await.ok(201);
    typed("Application/SCIM+JSON;charset=UTF-8", &body.replace("\"a\"", "\"b\"")).await.ok(201);
    for other in ["text/plain", "application/xml", "application/jsonx"] {
        assert_eq!(typed(other, &body).await.refused(415), "", "{other}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for broken in ["{", "", "nonsense", deep.as_str(), "[]", "\"x\"", "{\"userName\": \"\\ud800\"}"] {
        assert_eq!(
            typed("application/json", broken).await.refused(400),
            "invalidSyntax",
            "{}",
            &broken[..broken.len().min(20)]
        );
    }
    for wrong in
        [json!({}), json!({"userName": " "}), json!({"userName": 1.5, "name": "x"}), json!({"userName": "a\u{0}"})]
    {
        assert_eq!(idp.post("/Users", &wrong).await.refused(400), "invalidValue", "{wrong}");
    }
    assert_eq!(idp.get("/Users").await.ok(200)["totalResults"], 2);
}

#[tokio::test]
async fn a_strict_connection_is_strict() {
    let bench = Bench::new().await;
    let strict = bench.connect("acme", Profile::Strict, Settings::default()).await;
    let id = strict.user("a").await;
    let path = format!("/Users/{id}");
    let capital = json!([{"op": "Replace", "path": "active", "value": false}]);
    assert_eq!(strict.patch(&path, capital).await.status, 400);
    let text = json!([{"op": "replace", "path": "active", "value": "False"}]);
    assert_eq!(strict.patch(&path, text).await.status, 400);
    strict.patch(&path, json!([{"op": "replace", "path": "active", "value": false}])).await.ok(200);
}
