//! No door without a lock: every endpoint of every listener refuses whoever shows no credential, or stands in
//! `tests/uncovered-routes.txt` with the reason why it does not.

use std::collections::BTreeMap;

use cedargate::app::Seams;
use serde_json::{Value, json};

use crate::support::InProcess;

const LIST: &str = "tests/uncovered-routes.txt";

/// Lines `LISTENER METHOD TEMPLATE  # reason`.
fn listed() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(LIST).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (route, reason) = line.split_once('#').unwrap_or_else(|| panic!("no reason: {line}"));
            assert!(!reason.trim().is_empty(), "no reason: {line}");
            (route.split_whitespace().collect::<Vec<_>>().join(" "), reason.trim().to_owned())
        })
        .collect()
}

#[test]
fn every_endpoint_without_a_credential_refuses_or_is_listed() {
    let server = InProcess::start(Seams::default());
    let mut open = BTreeMap::new();
    let mut walked = 0;
    for (listener, endpoints) in server.endpoints() {
        assert!(!endpoints.is_empty(), "{listener} has no endpoint");
        for endpoint in endpoints {
            let methods: Vec<&str> = match endpoint.method.as_deref() {
                Some(method) => vec![method],
                None => vec!["GET", "POST", "PUT", "PATCH", "DELETE"],
            };
            for method in methods {
                let mut client = server.doors().anonymous(listener);
                let body = if matches!(method, "POST" | "PUT" | "PATCH") { json!({}) } else { Value::Null };
                let reply = client.json(method, &path(&endpoint.template), &body);
                walked += 1;
                if !matches!(reply.status, 401 | 403) {
                    let name = endpoint.method.as_deref().unwrap_or("*");
                    open.insert(format!("{listener} {name} {}", endpoint.template), reply.status);
                }
            }
        }
    }
    let listed = listed();
    let missing: Vec<_> = open.iter().filter(|(route, _)| !listed.contains_key(*route)).collect();
    assert!(missing.is_empty(), "these answer anybody; lock them or list them in {LIST}: {missing:#?}");
    let stale: Vec<_> = listed.keys().filter(|route| !open.contains_key(*route)).collect();
    assert!(stale.is_empty(), "these are locked or gone; take them from {LIST}: {stale:#?}");
    assert!(walked > 30, "{walked}");
}

/// With something in the place of every parameter.
fn path(template: &str) -> String {
    let filled = template.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment });
    filled.collect::<Vec<_>>().join("/").replace('*', "x")
}
