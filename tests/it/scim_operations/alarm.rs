//! Mass deactivation: the alarm, the hold, and the undo. Lock and `active` are two facts.

use super::*;
use crate::support::TestServer;

/// What the gate says to a question that the role Ordering and account 100 answer.
fn may_order(server: &InProcess, name: &str) -> String {
    let question = json!({"subject": {"user": name}, "action": "createOrder", "channel": "api",
        "resource": {"type": "Account", "id": "100"}});
    server.doors().asker().ask(&question).reason
}

#[test]
fn a_mass_deactivation_raises_the_alarm_and_one_call_takes_it_back() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    let ids: Vec<String> = (0..60).map(|number| idp.user(&format!("user-{number}"))).collect();
    let members: Vec<Value> = ids.iter().map(|id| json!({ "value": id })).collect();
    let body = json!({"schemas": [GROUP], "displayName": "all", "members": members});
    let group = text(&idp.door.call("POST", "Groups", &body).expect(&[201]).json()["id"]);
    let before: Vec<String> = (0..60).map(|number| may_order(&house.server, &format!("user-{number}"))).collect();

    // Three ways to go: deactivated, replaced by a body without rights, deleted.
    for (number, id) in ids.iter().enumerate() {
        match number % 3 {
            0 => idp.deactivate(id).expect(&[200]),
            1 => {
                let bare = json!({"schemas": [USER], "userName": format!("user-{number}"), "active": false});
                idp.door.call("PUT", &format!("Users/{id}"), &bare).expect(&[200])
            }
            _ => idp.door.call("DELETE", &format!("Users/{id}"), &Value::Null).expect(&[204]),
        };
        assert_eq!(may_order(&house.server, &format!("user-{number}")), "deactivated", "at once, alarm or not");
    }
    let shown = house.get(&format!("connections/{}", idp.id));
    let alarm = &shown["standing"]["alarm"];
    assert_eq!((&alarm["deactivated"], &alarm["of"]), (&json!(60), &json!(60)), "{alarm}");
    let raised = house.events(&idp.id, "&kind=alarm");
    assert_eq!((raised.len(), &raised[0]["deactivated"]), (1, &json!(12)), "20 % of 60: {raised:?}");
    let ready = house.operator.get("/readyz?verbose").expect(&[200]).text();
    assert!(ready.contains("[!]provisioning: connection") && ready.ends_with("ready\n"), "{ready}");
    let metrics = house.operator.get("/metrics").text();
    assert!(metrics.contains(&format!("scim_connection_alarm{{connection=\"{}\"}} 1", idp.id)));

    let undo = format!("connections/{}/undo", idp.id);
    let dry = house.operator.call("POST", &undo, &json!({"dryRun": true})).expect(&[200]).json();
    assert_eq!((&dry["restored"], &dry["failed"]), (&json!(60), &json!(0)));
    assert_eq!(may_order(&house.server, "user-0"), "deactivated", "a dry run changes nothing");
    let undone = house.operator.call("POST", &undo, &Value::Null).expect(&[200]).json();
    assert_eq!((&undone["restored"], &undone["unchanged"], &undone["failed"]), (&json!(60), &json!(0), &json!(0)));
    let after: Vec<String> = (0..60).map(|number| may_order(&house.server, &format!("user-{number}"))).collect();
    assert_eq!(after, before);
    assert!(before.iter().all(|reason| reason == "role"), "{before:?}");
    let back = idp.door.call("GET", &format!("Groups/{group}"), &Value::Null).expect(&[200]).json();
    assert_eq!(back["members"].as_array().unwrap().len(), 60, "memberships, too");

    let ready = house.operator.get("/readyz?verbose").expect(&[200]).text();
    assert!(ready.contains("[+]provisioning ok"), "{ready}");
    assert_eq!(house.events(&idp.id, "&kind=undo").len(), 61, "one for each person and one for the whole");
    house.operator.call("POST", &undo, &Value::Null).expect(&[409]);
    let again = house.operator.call("POST", &undo, &json!({"since": alarm["since"]})).expect(&[200]).json();
    assert_eq!((&again["restored"], &again["unchanged"]), (&json!(0), &json!(60)), "safe to run again");
}

#[test]
fn an_undo_leaves_alone_what_somebody_changed_since_and_says_whom_it_could_not_help() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    let (ann, bob, eve) = (idp.user("ann"), idp.user("bob"), idp.user("eve"));
    let email = |name: &str| json!({"schemas": [USER], "userName": name, "emails": [{"value": "team@acme.example"}]});
    idp.door.call("PUT", &format!("Users/{bob}"), &email("bob")).expect(&[200]);
    let begin = json!({"since": "2030-01-01T00:00:00Z"});
    house.clock.advance(1_000);
    let bare = json!({"schemas": [USER], "userName": "ann", "active": false});
    idp.door.call("PUT", &format!("Users/{ann}"), &bare).expect(&[200]);
    idp.door.call("DELETE", &format!("Users/{bob}"), &Value::Null).expect(&[204]);
    idp.deactivate(&eve).expect(&[200]);
    // Since then an operator gave Ann another role, Eve came back by herself and was locked, and Bob's address is Zoe's.
    house.operator.call("PATCH", &format!("users/{ann}"), &json!({"roles": ["Reporting"]})).expect(&[200]);
    idp.patch(&format!("Users/{eve}"), &json!([{"op": "replace", "value": {"active": true}}])).expect(&[200]);
    house.operator.call("PATCH", &format!("users/{eve}"), &json!({"locked": true})).expect(&[200]);
    idp.door.call("POST", "Users", &email("zoe")).expect(&[201]);

    let undone = house.operator.call("POST", &format!("connections/{}/undo", idp.id), &begin).expect(&[200]).json();
    assert_eq!((&undone["restored"], &undone["unchanged"], &undone["failed"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(undone["failures"][0]["user"], bob);
    assert!(text(&undone["failures"][0]["error"]).starts_with("emails is in use already"), "{undone}");
    let view = house.get(&format!("users/{ann}"));
    assert_eq!(view["effective"]["active"], true);
    let roles: Vec<&str> =
        view["effective"]["roles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(roles, ["Reporting"], "what somebody said since stands");
    assert_eq!(view["effective"]["accounts"][0]["id"], "100", "what nobody touched is back");
    assert_eq!(may_order(&house.server, "eve"), "locked", "an undo lifts no lock");
    assert_eq!(may_order(&house.server, "bob"), "deactivated");
}

#[test]
fn an_undo_keeps_whom_somebody_else_deactivated_or_deleted_since() {
    let mut house = House::new();
    let (mut idp, mut other) = (house.connect(json!({})), house.connect(json!({})));
    let names = ["ann", "bob", "eve", "joe", "max", "zoe"];
    let ids = names.map(|name| idp.user(name));
    let [ann, bob, eve, joe, max, zoe] = ids.each_ref();
    let members: Vec<Value> = ids.iter().map(|id| json!({ "value": id })).collect();
    let body = json!({"schemas": [GROUP], "displayName": "all", "members": members});
    let group = text(&idp.door.call("POST", "Groups", &body).expect(&[201]).json()["id"]);
    // Zoe had gone before, by the other connection; the mistake deletes her.
    other.deactivate(zoe).expect(&[200]);
    let first = text(&house.events(&other.id, "")[0]["id"]);
    house.clock.advance(1_000);
    for id in [ann, bob, eve, joe, max] {
        idp.deactivate(id).expect(&[200]);
    }
    // Max's deletion belongs to the mistake.
    for id in [max, zoe] {
        idp.door.call("DELETE", &format!("Users/{id}"), &Value::Null).expect(&[204]);
    }
    // An operator lets Ann in again and has her go; says of Bob that he is to stay out; the other connection deletes Eve
    // and says the same of Joe, twice.
    for active in [true, false] {
        house.operator.call("PATCH", &format!("users/{ann}"), &json!({ "active": active })).expect(&[200]);
    }
    house.operator.call("PATCH", &format!("users/{bob}"), &json!({"active": false})).expect(&[200]);
    other.door.call("DELETE", &format!("Users/{eve}"), &Value::Null).expect(&[204]);
    other.deactivate(joe).expect(&[200]);
    idp.deactivate(joe).expect(&[200]);

    let undo = format!("connections/{}/undo", idp.id);
    let since = json!({"since": "2030-01-01T00:00:00Z", "dryRun": true});
    let dry = house.operator.call("POST", &undo, &since).expect(&[200]).json();
    let since = json!({"since": "2030-01-01T00:00:00Z"});
    let undone = house.operator.call("POST", &undo, &since).expect(&[200]).json();
    assert_eq!((&dry["restored"], &dry["kept"]), (&undone["restored"], &undone["kept"]), "a dry run says the same");
    assert_eq!(
        (&undone["restored"], &undone["kept"], &undone["failed"]),
        (&json!(2), &json!(4), &json!(0)),
        "{undone}"
    );
    let mut kept: Vec<&str> = undone["keptPeople"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    kept.sort_unstable();
    let mut stay = [ann, bob, eve, joe].map(String::as_str);
    stay.sort_unstable();
    assert_eq!(kept, stay);
    for name in ["ann", "bob", "eve", "joe", "zoe"] {
        assert_eq!(may_order(&house.server, name), "deactivated", "{name}");
    }
    assert_eq!(may_order(&house.server, "max"), "role", "deactivated and then deleted by the one mistake");
    let zoe_now = idp.door.call("GET", &format!("Users/{zoe}"), &Value::Null).expect(&[200]).json();
    assert_eq!(zoe_now["active"], false, "as she was before the mistake");
    let back = idp.door.call("GET", &format!("Groups/{group}"), &Value::Null).expect(&[200]).json();
    let there: Vec<&Value> = back["members"].as_array().unwrap().iter().map(|member| &member["value"]).collect();
    assert!(there.contains(&&json!(max)) && there.contains(&&json!(zoe)), "{back}");
    let undo = format!("connections/{}/undo", other.id);
    let undone = house.operator.call("POST", &undo, &json!({ "since": first })).expect(&[200]).json();
    assert_eq!((&undone["restored"], &undone["kept"]), (&json!(2), &json!(0)), "Zoe and Eve are its own: {undone}");
}

#[test]
fn where_the_settings_say_so_further_deactivations_wait_for_an_operator() {
    let mut house = House::new();
    let rule = json!({"deactivation_alarm": {"count": 3, "share_percent": 0, "hold": true}});
    let mut idp = house.connect(rule);
    let ids: Vec<String> = (0..6).map(|number| idp.user(&format!("user-{number}"))).collect();
    for id in &ids[..3] {
        idp.deactivate(id).expect(&[200]);
    }
    for reply in [idp.deactivate(&ids[3]), idp.door.call("DELETE", &format!("Users/{}", ids[3]), &Value::Null)] {
        let held = reply.expect(&[429]);
        assert_eq!(held.header("retry-after"), Some("600"));
        assert!(held.text().contains("cedargate connection settle"), "{}", held.text());
    }
    assert_eq!(may_order(&house.server, "user-3"), "role", "nothing was changed");
    idp.patch(&format!("Users/{}", ids[3]), &json!([{"op": "replace", "value": {"title": "x"}}])).expect(&[200]);

    let alarm = format!("connections/{}/alarm", idp.id);
    house.operator.call("DELETE", &alarm, &Value::Null).expect(&[204]);
    house.operator.call("DELETE", &alarm, &Value::Null).expect(&[404]);
    idp.deactivate(&ids[3]).expect(&[200]);
    assert_eq!(house.events(&idp.id, "&kind=settled").len(), 1);
    assert_eq!(house.get(&format!("connections/{}", idp.id))["standing"]["alarm"], Value::Null);
}

#[test]
fn an_alarm_outlives_the_process_and_so_does_the_last_use_of_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = TestServer::start_on(&data);
    let mut operator = server.doors().operator();
    operator.organization("acme");
    let settings = json!({"deactivation_alarm": {"count": 2}});
    let body = json!({"name": "Okta", "organization": "acme", "settings": settings});
    let made = operator.call("POST", "connections", &body).expect(&[201]).json();
    let mut door = server.doors().provisioner(&text(&made["token"]));
    for name in ["ann", "bob"] {
        let body = json!({"schemas": [USER], "userName": name});
        let id = text(&door.call("POST", "Users", &body).expect(&[201]).json()["id"]);
        door.call("DELETE", &format!("Users/{id}"), &Value::Null).expect(&[204]);
    }
    let path = format!("connections/{}", text(&made["id"]));
    // Reading the log waits for what is written beside the answers, the last use of the token among it.
    operator.call("GET", &format!("{path}/events"), &Value::Null).expect(&[200]);
    server.kill();
    let server = TestServer::start_on(&data);
    let mut operator = server.doors().operator();
    let shown = operator.call("GET", &path, &Value::Null).expect(&[200]).json();
    assert_eq!(shown["standing"]["alarm"]["deactivated"], 2, "{shown}");
    assert!(shown["tokens"][0]["lastUsed"].is_string(), "{shown}");
    let undone = operator.call("POST", &format!("{path}/undo"), &Value::Null).expect(&[200]).json();
    assert_eq!(undone["restored"], 2);
}

#[test]
fn a_lock_and_active_are_two_facts_in_every_place() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    let id = idp.user("ann");
    let user = format!("users/{id}");
    house.operator.call("PATCH", &user, &json!({"locked": true})).expect(&[200]);
    assert_eq!(may_order(&house.server, "ann"), "locked");
    // Neither going and coming nor deleting and coming again lifts it.
    idp.deactivate(&id).expect(&[200]);
    assert_eq!(may_order(&house.server, "ann"), "deactivated");
    idp.patch(&format!("Users/{id}"), &json!([{"op": "replace", "value": {"active": true}}])).expect(&[200]);
    assert_eq!(may_order(&house.server, "ann"), "locked");
    idp.door.call("DELETE", &format!("Users/{id}"), &Value::Null).expect(&[204]);
    assert_eq!(idp.user("ann"), id);
    assert_eq!(may_order(&house.server, "ann"), "locked");
    for event in house.events(&idp.id, &format!("&resource={id}")) {
        let effect = &event["effect"];
        assert!(effect["locked"].is_null() || effect["locked"]["after"] == false, "no provider locks: {event}");
    }
    let view = house.get(&user);
    assert_eq!((&view["effective"]["active"], &view[USER_EXTENSION]["locked"]), (&json!(true), &json!(true)));
    house.operator.call("PATCH", &user, &json!({"locked": false})).expect(&[200]);
    assert_eq!(may_order(&house.server, "ann"), "role");
}
