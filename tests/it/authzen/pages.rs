//! Searches page by page: the pages join to the whole, and a token is good for its own request alone.

use serde_json::{Value, json};

use super::{Scenario, post};
use crate::support::Client;

/// Every page of a search, and the tokens that led from one to the next.
fn pages(client: &mut Client, to: &str, request: &Value, limit: u64) -> (Vec<Vec<Value>>, Vec<String>) {
    let mut request = request.clone();
    request["page"] = json!({"limit": limit});
    let (mut pages, mut tokens) = (Vec::new(), Vec::new());
    loop {
        let answer = post(client, to, &request).expect(&[200]).json();
        let results = answer["results"].as_array().unwrap().clone();
        assert!(results.len() as u64 <= limit, "{answer}");
        assert_eq!(answer["page"]["count"], results.len(), "{answer}");
        pages.push(results);
        let token = answer["page"]["next_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            return (pages, tokens);
        }
        assert!(pages.len() < 100, "no end: {answer}");
        // As in the specification's sample, the second page leaves the limit out.
        request["page"] = json!({"token": token});
        tokens.push(token);
    }
}

#[test]
fn the_pages_join_to_the_whole_and_every_result_gets_a_permit() {
    let scenario = Scenario::start(&[]);
    let mut client = scenario.client();
    let (alice, record) = (json!({"type": "user", "id": "alice"}), json!({"type": "record", "id": "record-1"}));
    let searches = [
        ("subject", json!({"subject": {"type": "user"}, "action": {"name": "read"}, "resource": record})),
        ("resource", json!({"subject": alice, "action": {"name": "read"}, "resource": {"type": "record"}})),
        ("action", json!({"subject": alice, "resource": record})),
    ];
    for (kind, request) in searches {
        let to = format!("/access/v1/search/{kind}");
        let (whole, _) = pages(&mut client, &to, &request, 1000);
        assert_eq!(whole.len(), 1, "{kind}");
        assert!(!whole[0].is_empty(), "{kind}");
        let (single, tokens) = pages(&mut client, &to, &request, 1);
        assert_eq!(single.concat(), whole[0], "{kind}");
        assert!(tokens.len() + 1 >= whole[0].len(), "{kind}: {tokens:?}");
        for result in &whole[0] {
            let mut question = request.clone();
            question[kind] = result.clone();
            let decision = post(&mut client, "/access/v1/evaluation", &question).expect(&[200]).json();
            assert_eq!(decision["decision"], true, "{kind}: {result}: {decision}");
        }
    }
}

#[test]
fn a_token_is_good_for_its_own_request_alone() {
    let scenario = Scenario::start(&[]);
    let mut client = scenario.client();
    let to = "/access/v1/search/subject";
    let request = json!({"subject": {"type": "user"}, "action": {"name": "read"},
        "resource": {"type": "record", "id": "record-1"}, "context": {"ip": "10.0.0.1"}});
    let (_, tokens) = pages(&mut client, to, &request, 1);
    let token = tokens.first().expect("more than one subject may read record-1");
    let mut with = |to: &str, change: &dyn Fn(&mut Value)| {
        let mut changed = request.clone();
        changed["page"] = json!({"token": token});
        change(&mut changed);
        post(&mut client, to, &changed).status
    };
    assert_eq!(with(to, &|_| {}), 200);
    assert_eq!(with(to, &|request| request["page"]["limit"] = json!(1)), 200);
    assert_eq!(with(to, &|request| request["unknown"] = json!(1)), 200);
    assert_eq!(with(to, &|request| request["page"]["limit"] = json!(2)), 400);
    assert_eq!(with(to, &|request| request["action"]["name"] = json!("write")), 400);
    assert_eq!(with(to, &|request| request["resource"]["id"] = json!("record-2")), 400);
    assert_eq!(with(to, &|request| request["context"] = json!({"ip": "10.0.0.2"})), 400);
    assert_eq!(with(to, &|request| request["page"]["token"] = json!(format!("A{token}"))), 400);
    let action = |request: &mut Value| request["subject"]["id"] = json!("alice");
    assert_eq!(with("/access/v1/search/action", &action), 400);
    // Another server has another key.
    let other = Scenario::start(&[]);
    let mut request = request.clone();
    request["page"] = json!({"token": token});
    assert_eq!(post(&mut other.client(), to, &request).status, 400);
}
