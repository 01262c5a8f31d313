//! The native batch: one state of the world, no older than any question asks for, and a bad question in its place.

use serde_json::{Value, json};

use crate::support::TestServer;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

#[test]
fn each_question_says_the_least_revision_that_it_accepts() {
    let server = TestServer::start();
    let mut operator = server.doors().operator();
    operator.organization("acme");
    let token = operator.connection("acme", "generic");
    let mut scim = server.doors().provisioner(&token);
    let user = json!({"schemas": [USER], "userName": "jdoe", "active": true});
    let made = scim.call("POST", "Users", &user).expect(&[201]);
    let revision = made.header("cedargate-revision").unwrap().to_owned();
    let (epoch, number) = revision.split_once('-').unwrap();
    let ahead = format!("{epoch}-{}", number.parse::<u64>().unwrap() + 1_000_000);
    let elsewhere = format!("{}-1", epoch.parse::<u32>().unwrap() + 1);

    let question = |least: &Value| json!({"subject": {"user": "jdoe"}, "action": "signIn", "minRevision": least});
    let mut asker = server.doors().asker();
    let questions =
        [json!(revision), json!(ahead), json!(null), json!(elsewhere), json!("soon")].map(|least| question(&least));
    let reply = asker.post("/v1/authorize/batch", &json!({"questions": questions})).expect(&[200]).json();
    let decisions = reply["decisions"].as_array().unwrap();
    let told: Vec<&str> = (decisions.iter())
        .map(|item| item["decision"].as_str().or_else(|| item["error"]["code"].as_str()).unwrap())
        .collect();
    assert_eq!(told, ["permit", "not-fresh", "permit", "not-fresh", "bad-request"], "{reply}");
    assert_eq!(decisions[0]["revision"], decisions[2]["revision"], "one state of the world");
    assert_eq!(asker.post("/v1/authorize", &question(&json!(ahead))).status, 503);
    assert_eq!(asker.post("/v1/authorize", &question(&json!(revision))).status, 200);
}

#[test]
fn a_batch_holds_a_thousand_and_shares_what_it_says_once() {
    let server = TestServer::start();
    let mut asker = server.doors().asker();
    let batch = |size: usize| {
        let item = json!({"request": {"method": "GET", "path": "/api/accounts/100/orders"}});
        json!({"subject": {"user": "nobody"}, "channel": "dashboard", "context": {"account": "100"},
            "questions": vec![item; size]})
    };
    let reply = asker.post("/v1/authorize/batch", &batch(1000)).expect(&[200]).json();
    let decisions = reply["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 1000);
    assert!(decisions.iter().all(|item| item["reason"]["code"] == "unknown-user"), "{}", decisions[0]);
    let ids: std::collections::BTreeSet<&str> = decisions.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1000, "each decision has an id of its own");
    let refused = asker.post("/v1/authorize/batch", &batch(1001)).expect(&[400]).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("1000"), "{refused}");
}

/// A context is read as strictly in a batch as alone: nothing twice, nothing deep.
#[test]
fn a_context_that_reads_in_two_ways_is_refused() {
    let server = TestServer::start();
    let mut client = server.doors().anonymous("gate");
    for context in ["{\"account\":\"100\",\"account\":\"200\"}", "{\"x\":{\"a\":1,\"a\":2}}", "[]", "\"x\""] {
        let question = format!("{{\"subject\":{{\"user\":\"jdoe\"}},\"action\":\"signIn\",\"context\":{context}}}");
        let alone = client.send("POST", "/v1/authorize", "application/json", question.as_bytes()).unwrap();
        assert_eq!(alone.status, 400, "{context}: {}", alone.text());
        let batch = format!("{{\"questions\":[{question}]}}");
        let reply = client.send("POST", "/v1/authorize/batch", "application/json", batch.as_bytes()).unwrap().json();
        assert_eq!(reply["decisions"][0]["error"]["code"], "bad-request", "{context}: {reply}");
        let shared = format!("{{\"context\":{context},\"questions\":[]}}");
        let reply = client.send("POST", "/v1/authorize/batch", "application/json", shared.as_bytes()).unwrap();
        assert_eq!(reply.status, 400, "{context}: {}", reply.text());
    }
}
