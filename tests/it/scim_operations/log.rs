//! The provisioning log.

use super::*;
use crate::support::TestServer;

#[test]
fn a_write_is_logged_with_its_difference_its_marks_and_its_effect_and_without_secrets() {
    let mut house = House::new();
    let mut idp = house.connect(json!({"roles": ["Ordering"]}));
    let body = json!({"schemas": [USER, USER_EXTENSION], "userName": "jdoe", "password": "hunter2-Secret",
        "externalId": "00u1", "roles": [{"value": "Ordering"}, {"value": "Emperor"}],
        (USER_EXTENSION): {"accounts": ["100", "999"], "administrationLevel": "Account Admin"}});
    let made = idp.door.call("POST", "Users", &body).expect(&[201]).json();
    let id = text(&made["id"]);
    let event = &house.events(&idp.id, "")[0];
    assert_eq!((&event["status"], &event["kind"]), (&json!(201), &json!("request")));
    assert_eq!(event["request"]["method"], "POST");
    assert_eq!(event["resource"], json!({"type": "User", "id": id, "name": "jdoe"}));
    let effect = &event["effect"];
    assert_eq!(effect["roles"], json!({"gained": ["Ordering"], "lost": []}));
    assert_eq!(effect["accounts"], json!({"gained": ["100"], "lost": []}));
    assert_eq!(effect["active"], json!({"before": null, "after": true}));
    let marks: Vec<&str> =
        event["marks"].as_array().unwrap().iter().map(|mark| mark["attribute"].as_str().unwrap()).collect();
    assert_eq!(marks, ["administrationLevel", "roles", "accounts"]);

    let own = format!("{USER_EXTENSION}:accessMethods");
    idp.patch(
        &format!("Users/{id}"),
        &json!([{"op": "replace", "path": own, "value": ["api"]},
        {"op": "replace", "value": {"title": "Chief", "password": "hunter2-Other"}}]),
    )
    .expect(&[200]);
    let event = &house.events(&idp.id, "")[0];
    assert_eq!(
        event["changes"],
        json!([{"attribute": own, "before": null, "after": ["api"]}, {"attribute": "title", "before": null, "after": "Chief"}]),
        "{event}"
    );
    assert_eq!(event["effect"], json!({"accessMethods": {"gained": ["api"], "lost": ["dashboard"]}}));

    // The same again changes nothing and is logged all the same.
    idp.patch(&format!("Users/{id}"), &json!([{"op": "replace", "value": {"title": "Chief"}}])).expect(&[200]);
    let events = house.events(&idp.id, &format!("&resource={id}"));
    assert_eq!((events.len(), &events[0]["changes"]), (3, &json!([])));
    let all = format!("{events:?}{:?}", house.get(&format!("connections/{}", idp.id)));
    assert!(!all.contains("hunter2"), "passwords never");
    assert!(!all.contains(&idp.token), "tokens never");
}

#[test]
fn groups_tell_who_joined_and_left_and_what_that_gives() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    let (ann, bob) = (idp.user("ann"), idp.user("bob"));
    let extension = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";
    let body = json!({"schemas": [GROUP, extension], "displayName": "porting", "members": [{"value": ann}],
        (extension): {"roles": ["Porting"]}});
    let group = text(&idp.door.call("POST", "Groups", &body).expect(&[201]).json()["id"]);
    let members = |gained: Value, lost: Value| json!({"gained": gained, "lost": lost});
    let named = |id: &str, name: &str| json!({"total": 1, "named": [{"id": id, "name": name}]});
    let nobody = json!({"total": 0, "named": []});
    let event = &house.events(&idp.id, "")[0];
    assert_eq!(event["effect"]["members"], members(named(&ann, "ann"), nobody.clone()));

    let path = format!("Groups/{group}");
    // Ann is a member already and the stranger never was one: only Bob is news.
    idp.patch(&path, &json!([{"op": "add", "path": "members", "value": [{"value": ann}, {"value": bob}]}]))
        .expect(&[200]);
    let event = &house.events(&idp.id, "")[0];
    assert_eq!(event["effect"]["members"], members(named(&bob, "bob"), nobody.clone()));
    assert_eq!(event["effect"]["gives"], json!({"roles": ["Porting"], "accounts": []}));
    idp.patch(&path, &json!([{"op": "remove", "path": format!("members[value eq \"{ann}\"]")}])).expect(&[200]);
    assert_eq!(house.events(&idp.id, "")[0]["effect"]["members"], members(nobody.clone(), named(&ann, "ann")));

    idp.door.call("DELETE", &format!("Users/{bob}"), &Value::Null).expect(&[204]);
    let event = &house.events(&idp.id, "")[0];
    assert_eq!(event["effect"]["groups"]["lost"], json!([{"id": group, "name": "porting"}]));
    assert_eq!((&event["undoable"], &event["effect"]["active"]["after"]), (&json!(true), &json!(false)));
    idp.patch(&path, &json!([{"op": "add", "path": "members", "value": [{"value": ann}]}])).expect(&[200]);
    idp.door.call("DELETE", &path, &Value::Null).expect(&[204]);
    let event = &house.events(&idp.id, "")[0];
    assert_eq!(event["effect"]["members"], members(nobody, named(&ann, "ann")));
    assert_eq!(event["effect"]["gives"]["roles"], json!(["Porting"]));
}

#[test]
fn every_error_names_its_event_and_the_event_says_the_same() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    let id = idp.user("jdoe");
    let missing = "Users/00000000-0000-7000-8000-000000000000";
    let patch = |operations: Value| json!({"schemas": [PATCH], "Operations": operations});
    let cases = [
        ("POST", "Users".to_owned(), json!({"schemas": [USER], "userName": "JDoe"}), 409),
        ("POST", "Users".to_owned(), json!({"schemas": [USER]}), 400),
        ("GET", missing.to_owned(), Value::Null, 404),
        ("GET", "Users?filter=nonsense".to_owned(), Value::Null, 400),
        ("GET", "Users?filter=password+eq+%22x%22".to_owned(), Value::Null, 403),
        ("PATCH", format!("Users/{id}"), patch(json!([{"op": "frobnicate", "path": "title"}])), 400),
        ("PATCH", format!("Users/{id}"), patch(json!([{"op": "remove"}])), 400),
        ("PATCH", "Users".to_owned(), json!({}), 405),
        ("GET", "Nowhere".to_owned(), Value::Null, 404),
        (
            "POST",
            "Groups".to_owned(),
            json!({"schemas": [GROUP], "displayName": "g", "members": [{"value": "nobody"}]}),
            400,
        ),
    ];
    for (method, path, body, status) in &cases {
        let reply = idp.door.call(method, path, body).expect(&[*status]);
        let answer = reply.json();
        let event = house.get(&format!("events/{}", event_of(&reply)));
        assert_eq!(event["status"], *status, "{method} {path}");
        let detail = text(&event["detail"]);
        assert!(text(&answer["detail"]).starts_with(&detail), "{detail} / {answer}");
        // What is wrong, and after that what to do.
        assert!(detail.contains([';', ':', ',']) && detail.len() > 30, "{detail}");
        assert_eq!(event["scimType"], answer["scimType"], "{method} {path}");
        assert!(!event["request"]["path"].as_str().unwrap().contains('?'), "filters hold names of people");
        assert_eq!(event["undoable"], false);
    }
    assert_eq!(house.events(&idp.id, "&outcome=failure").len(), cases.len());
    assert_eq!(house.events(&idp.id, "&outcome=success").len(), 1, "reads that went well are counted, not logged");
    let counts = house.get(&format!("connections/{}", idp.id))["standing"]["requests"].clone();
    assert_eq!((&counts["refused"], &counts["success"]), (&json!(cases.len()), &json!(1)));
}

#[test]
fn members_that_are_passed_over_are_marked() {
    let mut house = House::new();
    let mut idp = house.connect(json!({"pass_over_unknown_members": true}));
    let ann = idp.user("ann");
    let body = json!({"schemas": [GROUP], "displayName": "staff"});
    let group = format!("Groups/{}", text(&idp.door.call("POST", "Groups", &body).expect(&[201]).json()["id"]));
    let members: Vec<Value> = ["nobody", &ann].iter().map(|id| json!({ "value": id })).collect();
    let add = |members: &[Value]| json!([{"op": "add", "path": "members", "value": members}]);
    let answer = idp.patch(&group, &add(&members)).expect(&[200]).json();
    assert_eq!(answer["members"].as_array().unwrap().len(), 1, "who is nobody is no member");
    idp.patch(&group, &add(&members[..1])).expect(&[200]);
    for event in house.events(&idp.id, "").iter().take(2) {
        let mark = &event["marks"][0];
        assert_eq!((&mark["attribute"], &mark["value"]), (&json!("members"), &json!("nobody")), "{event}");
        assert!(text(&mark["message"]).ends_with("nobody in the organization has this id"), "{mark}");
        assert_eq!(event["marks"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn the_log_comes_in_pages_and_by_condition() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    let mut others = house.connect(json!({}));
    let mut names = Vec::new();
    for number in 0..20 {
        house.clock.advance(1_000);
        names.push(format!("user-{number}"));
        idp.user(&format!("user-{number}"));
        others.user(&format!("other-{number}"));
    }
    let events = house.events(&idp.id, "");
    let found: Vec<String> = events.iter().rev().map(|event| text(&event["resource"]["name"])).collect();
    assert_eq!(found, names, "newest first, none twice, none of another connection");
    let at = |seconds: i64| format!("2030-01-01T00:00:{seconds:02}Z");
    assert_eq!(house.events(&idp.id, &format!("&since={}&until={}", at(5), at(8))).len(), 3);
    let number = events[4]["number"].as_u64().unwrap();
    assert_eq!(house.events(&idp.id, &format!("&after={number}")).len(), 4, "what came since");
    for bad in ["outcome=maybe", "kind=x", "cursor=7", "since=yesterday", "count=0", "after=x", "colour=red"] {
        house.operator.call("GET", &format!("connections/{}/events?{bad}", idp.id), &Value::Null).expect(&[400]);
    }
    house.operator.call("GET", "connections/none/events", &Value::Null).expect(&[404]);
    house.operator.call("GET", "events/none", &Value::Null).expect(&[404]);

    house.operator.call("DELETE", &format!("connections/{}", idp.id), &Value::Null).expect(&[204]);
    assert_eq!(house.events(&idp.id, "").len(), 20, "the log outlives its connection");
}

#[test]
fn figures_of_connections_stand_in_the_metrics() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    idp.user("ann");
    idp.door.call("GET", "Nowhere", &Value::Null).expect(&[404]);
    let metrics = house.operator.get("/metrics").expect(&[200]).text();
    let id = &idp.id;
    for line in [
        format!("cedargate_scim_connection_requests_total{{connection=\"{id}\",outcome=\"success\"}} 1"),
        format!("cedargate_scim_connection_requests_total{{connection=\"{id}\",outcome=\"refused\"}} 1"),
        format!("cedargate_scim_connection_last_success_timestamp_seconds{{connection=\"{id}\"}} 1893456000"),
        format!("cedargate_scim_connection_failure_ratio{{connection=\"{id}\"}} 0.5"),
        format!("cedargate_scim_connection_alarm{{connection=\"{id}\"}} 0"),
        "cedargate_scim_events_lost_total 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in:\n{metrics}");
    }
}

#[test]
fn a_killed_server_has_an_event_for_each_write_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = TestServer::start_on(&data);
    let mut operator = server.doors().operator();
    operator.organization("acme");
    let body = json!({"name": "Okta", "organization": "acme"});
    let made = operator.call("POST", "connections", &body).expect(&[201]).json();
    let (id, token) = (text(&made["id"]), text(&made["token"]));
    let mut door = server.doors().provisioner(&token);
    let mut confirmed = Vec::new();
    for number in 0..100 {
        let body = json!({"schemas": [USER], "userName": format!("user-{number}")});
        confirmed.push(text(&door.call("POST", "Users", &body).expect(&[201]).json()["id"]));
    }
    server.kill();
    let server = TestServer::start_on(&data);
    let mut operator = server.doors().operator();
    let page = operator.call("GET", &format!("connections/{id}/events?count=1000"), &Value::Null).expect(&[200]).json();
    let logged: Vec<String> =
        page["items"].as_array().unwrap().iter().rev().map(|event| text(&event["resource"]["id"])).collect();
    assert_eq!(logged, confirmed);
}
