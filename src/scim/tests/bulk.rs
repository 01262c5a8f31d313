//! Bulk: references, errors, order, limits, and what it must not reach.

use serde_json::{Value, json};

use super::{Bench, Idp};

const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn job(operations: &[Value]) -> Value {
    json!({"schemas": [BULK], "Operations": operations})
}

async fn run(idp: &Idp, operations: &[Value]) -> Vec<Value> {
    let answer = idp.post("/Bulk", &job(operations)).await.ok(200);
    assert_eq!(answer["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]));
    answer["Operations"].as_array().unwrap().clone()
}

fn post(endpoint: &str, id: &str, data: Value) -> Value {
    json!({"method": "POST", "path": endpoint, "bulkId": id, "data": data})
}

fn user(name: &str) -> Value {
    post("/Users", name, json!({"userName": name}))
}

fn group(name: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    post("/Groups", name, json!({"displayName": name, "members": members}))
}

fn statuses(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["status"].as_str().unwrap()).collect()
}

fn id(result: &Value) -> &str {
    result["location"].as_str().unwrap().rsplit('/').next().unwrap()
}

#[tokio::test]
async fn each_operation_is_the_single_request() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let old = idp.user("old").await;
    let gone = idp.user("gone").await;
    let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": false}]});
    let results = run(
        &idp,
        &[
            user("new"),
            json!({"method": "PUT", "path": format!("/Users/{old}"), "version": "W/\"1\"", "data": {"userName": "old", "title": "t"}}),
            json!({"method": "PATCH", "path": format!("/Users/{old}"), "bulkId": "p", "data": patch}),
            json!({"method": "DELETE", "path": format!("/Users/{gone}")}),
            json!({"method": "PUT", "path": format!("/Users/{old}"), "version": "W/\"1\"", "data": {"userName": "old"}}),
            user("OLD"),
        ],
    )
    .await;
    assert_eq!(statuses(&results), ["201", "200", "200", "204", "412", "409"]);
    let first = format!("https://cedargate.example/scim/v2/Users/{}", id(&results[0]));
    let expected = json!({"method": "POST", "bulkId": "new", "version": "W/\"1\"", "location": first, "status": "201"});
    assert_eq!(results[0], expected);
    assert_eq!((&results[2]["bulkId"], &results[2]["version"]), (&json!("p"), &json!("W/\"3\"")));
    assert_eq!((&results[3]["version"], id(&results[3])), (&Value::Null, gone.as_str()));
    assert_eq!(id(&results[4]), old);
    assert_eq!(results[5]["location"], Value::Null, "a create that failed is nowhere");
    assert_eq!(
        (&results[5]["response"]["scimType"], &results[5]["response"]["status"]),
        (&json!("uniqueness"), &json!("409"))
    );
    assert_eq!(idp.get(&format!("/Users/{old}")).await.ok(200)["active"], false);
    assert_eq!(idp.get(&format!("/Users/{gone}")).await.status, 404);
}

#[tokio::test]
async fn references_lead_backwards_and_forwards_and_into_paths() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let boss = json!({"userName": "worker", (ENTERPRISE): {"manager": {"value": "bulkId:boss"}}});
    let join = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [
        {"op": "add", "path": "members", "value": [{"value": "bulkId:boss", "$ref": "../Users/bulkId:boss"}]},
        {"op": "remove", "path": "members[value eq \"bulkId:worker\"]"}]});
    let results = run(
        &idp,
        &[
            group("outer", &["bulkId:inner", "bulkId:worker"]),
            group("inner", &["bulkId:worker"]),
            post("/Users", "worker", boss),
            user("boss"),
            json!({"method": "PATCH", "path": "/Groups/bulkId:outer", "data": join}),
        ],
    )
    .await;
    assert_eq!(statuses(&results), ["201", "201", "201", "201", "200"], "in the order of the request");
    let (outer, inner, worker, boss) = (id(&results[0]), id(&results[1]), id(&results[2]), id(&results[3]));
    assert_eq!(id(&results[4]), outer);
    let worker = idp.get(&format!("/Users/{worker}")).await.ok(200);
    assert_eq!(worker[ENTERPRISE]["manager"]["value"], boss);
    let members = idp.get(&format!("/Groups/{outer}")).await.ok(200)["members"].clone();
    let mut members: Vec<&str> =
        members.as_array().unwrap().iter().map(|member| member["value"].as_str().unwrap()).collect();
    members.sort_unstable();
    let mut expected = [inner, boss];
    expected.sort_unstable();
    assert_eq!(members, expected);
    assert!(!worker.to_string().contains("bulkId"));
}

#[tokio::test]
async fn rings_unknown_names_and_failed_references_are_said_and_change_nothing() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    idp.user("taken").await;
    let results = run(
        &idp,
        &[
            group("a", &["bulkId:b"]),
            group("b", &["bulkId:a"]),
            group("self", &["bulkId:self"]),
            group("c", &["bulkId:a"]),
            group("d", &["bulkId:nobody"]),
            user("taken"),
            group("e", &["bulkId:taken"]),
            user("fine"),
        ],
    )
    .await;
    assert_eq!(statuses(&results), ["409", "409", "409", "409", "400", "409", "409", "201"]);
    assert!(results[0]["response"]["detail"].as_str().unwrap().contains("ring"));
    assert!(results[3]["response"]["detail"].as_str().unwrap().contains("`a`"));
    assert_eq!(results[4]["response"]["scimType"], "invalidValue");
    assert_eq!(idp.get("/Groups").await.ok(200)["totalResults"], 0);
}

/// A person whose manager another operation makes.
fn led(name: &str, boss: &str) -> Value {
    let own = json!({"department": name, "manager": {"value": format!("bulkId:{boss}")}});
    post("/Users", name, json!({"userName": name, (ENTERPRISE): own}))
}

#[tokio::test]
async fn a_ring_of_managers_is_made_whole() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let operations = [
        group("team", &["bulkId:a", "bulkId:own"]),
        led("a", "b"),
        led("b", "c"),
        led("c", "a"),
        led("own", "own"),
        led("last", "b"),
    ];
    let results = run(&idp, &operations).await;
    assert_eq!(statuses(&results), ["201"; 6], "{results:?}");
    let manager = async |of: usize| {
        let user = idp.get(&format!("/Users/{}", id(&results[of]))).await.ok(200);
        assert_eq!(user[ENTERPRISE]["department"], user["userName"], "what stood beside it");
        assert_eq!(user["meta"]["version"], results[of]["version"], "the version after all");
        user[ENTERPRISE]["manager"]["value"].as_str().unwrap().to_owned()
    };
    for (of, boss) in [(1, 2), (2, 3), (3, 1), (4, 4), (5, 2)] {
        assert_eq!(manager(of).await, id(&results[boss]));
    }
    let team = idp.get(&format!("/Groups/{}", id(&results[0]))).await.ok(200);
    assert_eq!(team["members"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_ring_of_which_one_fails_does_not_happen() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let taken = bench.idp("acme").await.user("taken").await;
    // Neither the one before nor the one after the one that fails stays, nor what waits for the ring.
    let operations = [
        led("a", "b"),
        led("b", "c"),
        post("/Users", "c", json!({"userName": "taken", (ENTERPRISE): {"manager": "bulkId:a"}})),
        group("g", &["bulkId:a"]),
        user("fine"),
    ];
    let results = run(&idp, &operations).await;
    assert_eq!(statuses(&results), ["409", "409", "409", "409", "201"], "{results:?}");
    assert_eq!(results[2]["response"]["scimType"], "uniqueness", "the one that failed says why");
    assert!(results[0]["response"]["detail"].as_str().unwrap().contains("none of them happened"));
    assert_eq!(idp.get("/Users").await.ok(200)["totalResults"], 2, "`taken` and `fine`");
    assert_eq!(idp.get("/Groups").await.ok(200)["totalResults"], 0);
    idp.get(&format!("/Users/{taken}")).await.ok(200);
    // However many are taken back, nobody was deactivated by mistake.
    let names: Vec<String> = (0..12).map(|number| format!("r{number}")).collect();
    let mut many: Vec<Value> = names.windows(2).map(|pair| led(&pair[0], &pair[1])).collect();
    many.push(post("/Users", "r11", json!({"userName": "TAKEN", (ENTERPRISE): {"manager": "bulkId:r0"}})));
    assert_eq!(statuses(&run(&idp, &many).await), ["409"; 12]);
    assert_eq!(bench.scim.concern(), Ok(()));
    // Sent again without the fault, all of it happens.
    let again = run(&idp, &[led("a", "b"), led("b", "c"), led("c", "a")]).await;
    assert_eq!(statuses(&again), ["201"; 3]);
    // The reference itself is refused where it is added.
    let bad =
        |name: &str, boss: &str| post("/Users", name, json!({"userName": name, "active": format!("bulkId:{boss}")}));
    let results = run(&idp, &[bad("x", "y"), led("y", "x")]).await;
    assert_eq!(statuses(&results), ["400", "409"], "{results:?}");
    assert_eq!(idp.get("/Users?filter=userName+eq+%22x%22").await.ok(200)["totalResults"], 0);
    let mut body = job(&[led("p", "q"), bad("q", "p"), user("z")]);
    body["failOnErrors"] = json!(1);
    let answer = idp.post("/Bulk", &body).await.ok(200);
    assert_eq!(statuses(answer["Operations"].as_array().unwrap()), ["409", "400"], "the ring is one, and the job ends");
}

#[tokio::test]
async fn a_chain_of_300_resolves_from_its_end() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let mut chain: Vec<Value> = (0..299).map(|n| group(&format!("g{n}"), &[&format!("bulkId:g{}", n + 1)])).collect();
    chain.push(group("g299", &[]));
    let results = run(&idp, &chain).await;
    assert!(results.iter().all(|result| result["status"] == "201"));
    let first = idp.get(&format!("/Groups/{}", id(&results[0]))).await.ok(200);
    assert_eq!(first["members"][0]["value"], id(&results[1]));
    let back = json!([{"op": "add", "path": "members", "value": [{"value": id(&results[0])}]}]);
    assert_eq!(idp.patch(&format!("/Groups/{}", id(&results[299])), back).await.refused(400), "invalidValue");
}

#[tokio::test]
async fn the_job_ends_after_so_many_errors() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let bad = post("/Users", "bad", json!({}));
    let operations = [user("a"), bad.clone(), user("b"), post("/Users", "worse", json!({})), user("c")];
    let mut body = job(&operations);
    body["failOnErrors"] = json!(2);
    let answer = idp.post("/Bulk", &body).await.ok(200);
    assert_eq!(statuses(answer["Operations"].as_array().unwrap()), ["201", "400", "201", "400"]);
    assert_eq!(idp.get("/Users").await.ok(200)["totalResults"], 2, "nothing after the second error");
    let all = run(&idp, &[bad, user("d")]).await;
    assert_eq!(statuses(&all), ["400", "201"], "without failOnErrors the rest goes on");
}

#[tokio::test]
async fn nothing_but_writes_of_resources_can_be_reached() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let rival = bench.idp("rival").await;
    let foreign = rival.user("foreign").await;
    let paths = [
        "/Bulk",
        "/Me",
        "/Schemas",
        "/ServiceProviderConfig",
        "/.search",
        "/Users/.search",
        "Users",
        "",
        "/",
        "//Users",
        "/Users/",
        "/Users/x/y",
        "/Users/../Groups",
        "/Users?x=1",
        "/scim/v2/Users",
        "/manage/v1/organizations",
        "https://elsewhere.example/Users",
        "/%55sers",
        "/Users/%2e%2e",
        "/Users#x",
    ];
    for path in paths {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let result =
                &run(&idp, &[json!({"method": method, "path": path, "bulkId": "x", "data": {"userName": "x"}})]).await
                    [0];
            let status = result["status"].as_str().unwrap();
            assert!(matches!(status, "400" | "404" | "405"), "{method} {path}: {result}");
        }
    }
    let get =
        run(&idp, &[json!({"method": "GET", "path": "/Users"}), json!({"method": "OPTIONS", "path": "/Users"})]).await;
    assert_eq!(statuses(&get), ["405", "405"]);
    let without = run(
        &idp,
        &[
            json!({"method": "POST", "path": "/Users", "data": {"userName": "x"}}),
            json!({"method": "POST", "path": "/Users", "bulkId": "y"}),
        ],
    )
    .await;
    assert_eq!(statuses(&without), ["400", "400"], "bulkId and data are needed");
    let theirs = run(&idp, &[json!({"method": "DELETE", "path": format!("/Users/{foreign}")})]).await;
    assert_eq!(statuses(&theirs), ["404"]);
    assert_eq!(idp.get("/Users").await.ok(200)["totalResults"], 0);
    rival.get(&format!("/Users/{foreign}")).await.ok(200);
}

#[tokio::test]
async fn limits_hold_and_secrets_stay_out() {
    let bench = Bench::new().await;
    let idp = bench.idp("acme").await;
    let config = idp.get("/ServiceProviderConfig").await.ok(200);
    let most = usize::try_from(config["bulk"]["maxOperations"].as_u64().unwrap()).unwrap();
    let largest = usize::try_from(config["bulk"]["maxPayloadSize"].as_u64().unwrap()).unwrap();
    let many: Vec<Value> = (0..=most).map(|_| json!({"method": "DELETE", "path": "/Users/x"})).collect();
    assert!(idp.post("/Bulk", &job(&many)).await.body["detail"].as_str().unwrap().contains("maxOperations"));
    assert_eq!(idp.post("/Bulk", &job(&many)).await.refused(413), "");
    assert_eq!(run(&idp, &many[1..]).await.len(), most);
    // Not even JSON: the size is looked at first.
    let large = idp.send("POST", "/Bulk", &[], &"[".repeat(largest + 1)).await;
    assert!(large.body["detail"].as_str().unwrap().contains("maxPayloadSize"));
    assert_eq!(large.refused(413), "");
    assert_eq!(run(&idp, &[]).await.len(), 0);

    let secret = "Hunter2-secret";
    let operations = [
        post("/Users", "a", json!({"userName": "a", "password": secret})),
        post("/Users", "b", json!({"userName": "a", "password": secret})),
        post("/Users", "c", json!({"userName": {"x": 1}, "password": secret})),
        post("/Nowhere", "d", json!({"password": secret})),
    ];
    let results = run(&idp, &operations).await;
    assert_eq!(statuses(&results), ["201", "409", "400", "400"]);
    assert!(!json!(results).to_string().contains(secret));
}
