//! Tokens and rates.

use super::*;

#[test]
fn tokens_rotate_expire_and_are_revoked_and_each_refusal_says_what_to_do() {
    let mut house = House::new();
    let mut idp = house.connect(json!({}));
    idp.door.call("GET", "Users", &Value::Null).expect(&[200]);
    let tokens = format!("connections/{}/tokens", idp.id);
    let second =
        house.operator.call("POST", &tokens, &json!({"expires": "2030-01-02T00:00:00Z"})).expect(&[201]).json();
    house.operator.call("POST", &tokens, &json!({})).expect(&[409]);
    let mut other = house.server.doors().provisioner(&text(&second["token"]));
    other.call("GET", "Users", &Value::Null).expect(&[200]);

    let shown = house.operator.call("GET", &format!("connections/{}", idp.id), &Value::Null).expect(&[200]);
    for secret in [&idp.token, &text(&second["token"])] {
        assert!(!shown.text().contains(secret.as_str()), "shown once");
    }
    let shown = shown.json();
    assert_eq!(shown["tokens"].as_array().unwrap().len(), 2);
    assert!(shown["tokens"].as_array().unwrap().iter().all(|token| token["lastUsed"] == "2030-01-01T00:00:00Z"));

    house.clock.advance(86_400_000);
    let expired = other.call("GET", "Users", &Value::Null).expect(&[401]);
    assert!(text(&expired.json()["detail"]).starts_with("the token has expired; make a new one"), "{}", expired.text());
    let event = house.get(&format!("events/{}", event_of(&expired)));
    assert_eq!((&event["status"], &event["connection"]), (&json!(401), &json!(idp.id)));
    let again = other.call("GET", "Users", &Value::Null).expect(&[401]);
    assert!(!again.text().contains("(event"), "a flood of them is logged once a minute: {}", again.text());
    assert_eq!(house.get(&format!("connections/{}", idp.id))["standing"]["quarantine"]["state"], "token refused");
    idp.door.call("GET", "Users", &Value::Null).expect(&[200]);
    assert_eq!(house.get(&format!("connections/{}", idp.id))["standing"]["quarantine"]["state"], "healthy");

    let first = text(&shown["tokens"][0]["id"]);
    house.operator.call("DELETE", &format!("{tokens}/{first}"), &Value::Null).expect(&[204]);
    let revoked = idp.door.call("GET", "Users", &Value::Null).expect(&[401]);
    assert!(text(&revoked.json()["detail"]).starts_with("the token was revoked; make a new one"), "{}", revoked.text());

    for (presented, wanted) in [
        (idp.token[..38].to_owned(), "has 38 characters and should have 77: it was cut off"),
        (format!("{}x", idp.token), "something was pasted behind it"),
        (format!("{}~{}", &idp.token[..20], &idp.token[21..]), "a wrong character"),
        ("Bearer".to_owned(), "is not one of this server"),
    ] {
        let refused = house.server.doors().provisioner(&presented).call("GET", "Users", &Value::Null).expect(&[401]);
        let detail = text(&refused.json()["detail"]);
        assert!(detail.contains(wanted), "{detail}");
        assert!(!refused.text().contains(&idp.token[4..30]), "nothing of the token comes back");
        assert!(refused.header("www-authenticate").is_some());
    }
}

#[test]
fn whoever_asks_too_fast_hears_when_to_come_back() {
    let mut house = House::new();
    let mut idp = house.connect(json!({"requests_per_second": 25}));
    for _ in 0..125 {
        idp.door.call("GET", "ServiceProviderConfig", &Value::Null).expect(&[200]);
    }
    let limited = idp.door.call("GET", "Users", &Value::Null).expect(&[429]);
    assert_eq!(limited.header("retry-after"), Some("1"), "whole seconds, as Okta reads them");
    assert_eq!(limited.header("content-type"), Some("application/scim+json"));
    assert_eq!(limited.json()["status"], "429");
    assert!(limited.text().contains("requests_per_second"), "{}", limited.text());
    let event = event_of(&limited);
    idp.door.call("GET", "Users", &Value::Null).expect(&[429]);
    // Entra's own pace is never refused.
    for _ in 0..250 {
        house.clock.advance(40);
        idp.door.call("GET", "ServiceProviderConfig", &Value::Null).expect(&[200]);
    }
    let logged = house.events(&idp.id, "&outcome=failure");
    assert_eq!(logged.len(), 1, "the flood is one event");
    assert_eq!(logged[0]["id"], event);
    let standing = house.get(&format!("connections/{}", idp.id))["standing"].clone();
    assert_eq!((&standing["requests"]["limited"], &standing["requests"]["success"]), (&json!(2), &json!(375)));
    assert_eq!(standing["quarantine"]["failures"], 0, "a provider that waits does not fail");

    let path = format!("connections/{}", idp.id);
    let refused = house.operator.call("PATCH", &path, &json!({"settings": {"requests_per_second": 3}})).expect(&[400]);
    assert!(refused.text().contains("at least 25"), "{}", refused.text());
    house.operator.call("PATCH", &path, &json!({"settings": {"requests_per_second": 0}})).expect(&[200]);
    for _ in 0..200 {
        idp.door.call("GET", "ServiceProviderConfig", &Value::Null).expect(&[200]);
    }
}

#[test]
fn settings_change_one_by_one_and_null_is_the_default() {
    let mut house = House::new();
    let idp = house.connect(json!({"may_grant_admin": true, "deactivation_alarm": {"count": 7}}));
    let path = format!("connections/{}", idp.id);
    let change =
        json!({"name": "Okta prod", "settings": {"deactivation_alarm": {"hold": true}, "may_grant_admin": null}});
    let changed = house.operator.call("PATCH", &path, &change).expect(&[200]).json();
    assert_eq!(changed["name"], "Okta prod");
    assert_eq!(
        changed["settings"]["deactivation_alarm"],
        json!({"window_minutes": 10, "count": 7, "share_percent": 20, "hold": true})
    );
    assert_eq!(changed["settings"]["may_grant_admin"], false);
    for bad in [
        json!({"settings": {"deactivation_alarm": {"window_minutes": 0}}}),
        json!({"settings": {"may_grant_admins": true}}),
        json!({"settings": {"roles": ["Emperor"]}}),
        json!({"tokens": []}),
    ] {
        house.operator.call("PATCH", &path, &bad).expect(&[400]);
    }
}
