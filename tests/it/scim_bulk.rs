//! Bulk and hostile sizes against the real server: an answer each time, nothing written that should not be, and memory
//! that does not grow.

use serde_json::{Value, json};

use crate::support::{Provisioner, TestServer, report};

const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
/// How much a server may keep of what it was sent, in kibibytes. Far less than it was sent.
const KEPT: u64 = 48 * 1024;

struct Scene {
    server: TestServer,
    connection: String,
    scim: Provisioner,
}

impl Scene {
    fn new() -> Self {
        let server = TestServer::start();
        let mut operator = server.doors().operator();
        operator.organization("acme");
        let made = operator.call("POST", "connections", &json!({"name": "idp", "organization": "acme"}));
        let made = made.expect(&[201]).json();
        let scim = server.doors().provisioner(made["token"].as_str().unwrap());
        Self { connection: made["id"].as_str().unwrap().to_owned(), scim, server }
    }

    /// The statuses of the operations.
    fn bulk(&mut self, operations: &[Value]) -> Vec<String> {
        let body = json!({"schemas": [BULK], "Operations": operations});
        let answer = self.scim.call("POST", "Bulk", &body).expect(&[200]).json();
        let results = answer["Operations"].as_array().unwrap().iter();
        results.map(|result| result["status"].as_str().unwrap().to_owned()).collect()
    }

    fn total(&mut self, endpoint: &str) -> u64 {
        self.scim.call("GET", &format!("{endpoint}?count=0"), &Value::Null).expect(&[200]).json()["totalResults"]
            .as_u64()
            .unwrap()
    }

    /// Resident memory in kibibytes, where the machine tells.
    fn memory(&self) -> Option<u64> {
        let addresses = std::fs::read_to_string(self.server.data().join("addresses.json")).unwrap();
        let pid = serde_json::from_str::<Value>(&addresses).unwrap()["pid"].as_u64().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().split(' ').next()?.parse().ok()
    }
}

fn group(name: &str, member: Option<&str>) -> Value {
    let members: Vec<Value> = member.iter().map(|name| json!({"value": format!("bulkId:{name}")})).collect();
    json!({"method": "POST", "path": "/Groups", "bulkId": name, "data": {"displayName": name, "members": members}})
}

#[test]
fn chains_resolve_rings_conflict_and_each_operation_stands_in_the_provisioning_log() {
    let mut scene = Scene::new();
    let names: Vec<String> = (0..300).map(|number| format!("g{number}")).collect();
    let chain: Vec<Value> =
        (0..300).map(|number| group(&names[number], names.get(number + 1).map(String::as_str))).collect();
    assert!(scene.bulk(&chain).iter().all(|status| status == "201"));
    assert_eq!(scene.total("Groups"), 300);
    assert_eq!(scene.bulk(&[group("a", Some("b")), group("b", Some("a"))]), ["409", "409"]);
    let ring: Vec<Value> = (0..300).map(|n| group(&format!("r{n}"), Some(&format!("r{}", (n + 1) % 300)))).collect();
    assert!(scene.bulk(&ring).iter().all(|status| status == "409"));
    assert_eq!(scene.total("Groups"), 300, "a ring leaves nothing behind");

    let create = |name: &str, user: &str| json!({"method": "POST", "path": "/Users", "bulkId": name, "data": {"userName": user, "password": "Hunter2-x"}});
    assert_eq!(scene.bulk(&[create("x", "jane"), create("y", "JANE")]), ["201", "409"]);
    let path = format!("connections/{}/events?count=2", scene.connection);
    let events = scene.server.doors().operator().call("GET", &path, &Value::Null).expect(&[200]).json();
    let text = events.to_string();
    assert!(text.contains("409") && text.contains("201") && text.contains("/scim/v2/Users"), "{text}");
    assert!(!text.contains("Hunter2"), "{text}");
}

#[test]
fn hostile_sizes_get_an_answer_and_leave_no_trace() {
    let mut scene = Scene::new();
    let config = scene.scim.call("GET", "ServiceProviderConfig", &Value::Null).expect(&[200]).json();
    let (most, largest) = (&config["bulk"]["maxOperations"], &config["bulk"]["maxPayloadSize"]);
    let most = usize::try_from(most.as_u64().unwrap()).unwrap();
    let largest = usize::try_from(largest.as_u64().unwrap()).unwrap();
    let deep = format!("{}userName pr{}", "(".repeat(64), ")".repeat(64));
    let negated = format!("{}userName pr{}", "not (".repeat(64), ")".repeat(64));
    let many = vec!["title eq \"x\""; 10_000].join(" or ");
    let search = |members: Value| {
        let mut body = members;
        body["schemas"] = json!([SEARCH]);
        body.to_string().into_bytes()
    };
    let too_many = vec![json!({"method": "DELETE", "path": "/Users/x"}); most + 1];
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("Bulk", json!({"schemas": [BULK], "Operations": too_many}).to_string().into_bytes(), &[413]),
        ("Bulk", vec![b'['; largest + 1], &[413]),
        ("Bulk", vec![b'['; largest], &[400]),
        ("Bulk", json!({"schemas": [BULK], "Operations": [{"method": "POST", "path": "/Users", "bulkId": "x".repeat(100_000), "data": {}}]}).to_string().into_bytes(), &[400, 413]),
        (".search", search(json!({"filter": deep})), &[400]),
        (".search", search(json!({"filter": negated})), &[400]),
        ("Users/.search", search(json!({"filter": many})), &[400, 413]),
        ("Users/.search", search(json!({"filter": "(".repeat(60_000)})), &[400]),
        ("Users/.search", search(json!({"count": 1_000_000_000_000_u64, "startIndex": 1_000_000_000_000_u64})), &[200]),
        ("Users/.search", search(json!({"count": 1e300})), &[200, 400]),
        ("Users/.search", search(json!({"cursor": "A".repeat(60_000)})), &[400]),
        ("Users/.search", search(json!({"sortBy": "a.".repeat(30_000)})), &[400]),
    ];
    let mut round = || {
        for (path, body, statuses) in &cases {
            let reply = scene.scim.send("POST", path, body).unwrap();
            assert!(statuses.contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
            if reply.status != 200 {
                assert_eq!(reply.json()["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error", "{path}");
            }
        }
    };
    // The first rounds fill what is kept for good: threads, connections, statements.
    round();
    round();
    let before = scene.memory();
    let mut round = || {
        for (path, body, _) in &cases {
            scene.scim.send("POST", path, body).unwrap();
        }
    };
    for _ in 0..20 {
        round();
    }
    let after = scene.memory();
    report(&format!("resident memory before and after in KiB: {before:?}, {after:?}"));
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after.saturating_sub(before) < KEPT, "{before} KiB became {after} KiB");
    }
    for query in ["filter=%28%28%28", "count=99999999999999999999", "startIndex=-99999999999999999999&count=5"] {
        let reply = scene.scim.call("GET", &format!("Users?{query}"), &Value::Null).expect(&[200, 400]);
        assert!(reply.status == 400 || reply.json()["totalResults"] == 0, "{query}");
    }
    assert_eq!((scene.total("Users"), scene.total("Groups")), (0, 0));
}
