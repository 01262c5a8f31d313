//! Conformance tools of other people against the real server.
//!
//! scim2-tester runs twice. On a folder with the schemas of RFC 7643 alone nothing may fail. On the built-in folder one
//! check is wrong for [`APPENDED`]: on one and the same resource it adds a whole extension, then a value to one of its
//! multi-valued attributes, and expects that value alone, where RFC 7644 section 3.5.2.1 says "If the target location
//! specifies a multi-valued attribute, a new value is added to the attribute". (No extension of the RFCs has such an
//! attribute, so that the tool never meets the case elsewhere.) No answer satisfies both. Replacing instead would take
//! away every account but the last from people whose provider adds them one by one. So its verdict on these four is
//! overruled, and by what it reports alone: the value that it had added before, then the one that it added now, each
//! once, is what the RFC asks for. Anything else is a failure, and of failures there are none.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{TestServer, outside_program, report};

const OWN: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:";
/// Where the values of the first `add` stay beside that of the second.
const APPENDED: [&str; 4] = ["User:accessMethods", "User:accounts", "Group:roles", "Group:accounts"];
/// The checks that a server with User, EnterpriseUser and Group is asked to pass.
const CHECKS: usize = 135;

/// A check of scim2-tester: its status, its name, and what it said.
#[derive(Debug)]
struct Check {
    status: String,
    said: String,
}

/// Runs scim2-tester; the token goes by the environment, where no list of processes shows it.
fn scim2_tester(server: &TestServer, token: &str) -> Vec<Check> {
    let url = format!("http://{}/scim/v2", server.doors().front);
    let output = Command::new(outside_program("scim2-tester", "scim2"))
        .args(["--url", &url, "test", "--verbose"])
        .env("SCIM_CLI_HEADERS", format!("Authorization: Bearer {token}"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut checks: Vec<Check> = Vec::new();
    for line in text.lines() {
        let status = line.split(' ').next().unwrap_or_default();
        if !status.is_empty() && status.chars().all(|letter| letter.is_ascii_uppercase()) && line.contains(' ') {
            checks.push(Check { status: status.to_owned(), said: line.to_owned() });
        } else if let Some(check) = checks.last_mut() {
            check.said.push('\n');
            check.said.push_str(line);
        }
    }
    let passed = checks.iter().filter(|check| check.status == "SUCCESS").count();
    report(&format!("scim2-tester: {} checks, {passed} passed", checks.len()));
    assert!(!checks.is_empty(), "scim2-tester said nothing: {text}{}", String::from_utf8_lossy(&output.stderr));
    checks
}

fn not_passed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| check.status != "SUCCESS").collect()
}

fn connect(server: &TestServer, settings: &Value) -> String {
    let mut operator = server.doors().operator();
    operator.organization("acme");
    let body = json!({"name": "conformance", "organization": "acme", "profile": "strict", "settings": settings});
    let made = operator.call("POST", "connections", &body).expect(&[201]).json();
    made["token"].as_str().unwrap().to_owned()
}

/// The shipped folder without our own extensions, to `data/scim-schemas`, where the server finds it.
fn standard_schemas(data: &Path) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("scim-schemas");
    let folder = data.join("scim-schemas");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["User.json", "Group.json", "EnterpriseUser.json", "ServiceProviderConfig.json"] {
        std::fs::copy(shipped.join(file), folder.join(file)).unwrap();
    }
    let text = std::fs::read_to_string(shipped.join("ResourceTypes.json")).unwrap();
    let mut types: Value = serde_json::from_str(&text).unwrap();
    for one in types.as_array_mut().unwrap() {
        let extensions = one["schemaExtensions"].as_array_mut().unwrap();
        extensions.retain(|extension| !extension["schema"].as_str().unwrap().starts_with(OWN));
    }
    std::fs::write(folder.join("ResourceTypes.json"), types.to_string()).unwrap();
}

#[test]
fn scim2_tester_passes_on_the_schemas_of_the_rfc() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    standard_schemas(&data);
    let server = TestServer::start_on(&data);
    let checks = scim2_tester(&server, &connect(&server, &json!({})));
    let failed = not_passed(&checks);
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checks.len() >= CHECKS, "{} checks", checks.len());
}

#[test]
fn scim2_tester_finds_no_fault_in_the_shipped_schemas() {
    let server = TestServer::start();
    let checks = scim2_tester(&server, &connect(&server, &json!({})));
    // It draws values by chance: of the two access methods it may add the one that is there, and is content then.
    let failed: Vec<_> = not_passed(&checks).into_iter().filter(|check| !is_appended(check)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checks.len() - not_passed(&checks).len() >= CHECKS, "{} checks", checks.len());
}

/// Whether a check that did not pass reports exactly what the RFC asks for: `Patched value: ['b']` and
/// `Returned value: ['a', 'b']`.
fn is_appended(check: &Check) -> bool {
    let said = check.said.split_whitespace().collect::<Vec<_>>().join(" ");
    let of = |attribute: &&str| said.contains(&format!("unexpected value for '{OWN}{attribute}'"));
    let list = |name: &str| -> Vec<&str> {
        let rest = said.split_once(name).map_or("", |(_, rest)| rest).trim_start();
        let inner = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(inner, _)| inner);
        inner.split(", ").filter(|value| !value.is_empty()).collect()
    };
    let (patched, returned) = (list("Patched value:"), list("Returned value:"));
    let ([new], [old, last]) = (&patched[..], &returned[..]) else { return false };
    said.contains("check_add_attribute") && APPENDED.iter().any(of) && last == new && old != new
}

#[test]
fn scim_sanity_finds_nothing_in_its_strict_mode() {
    let server = TestServer::start();
    // It adds a member whom nobody knows, and wants a 200.
    let token = connect(&server, &json!({"pass_over_unknown_members": true}));
    let url = format!("http://{}/scim/v2", server.doors().front);
    let output = Command::new(outside_program("scim-sanity", "scim-sanity"))
        .args(["probe", &url, "--token", &token, "--strict", "--json-output", "--i-accept-side-effects"])
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    report(&format!("scim-sanity: {}", found["summary"]));
    let rest = found["results"].as_array().unwrap().iter();
    let rest: Vec<_> = rest.filter(|result| !matches!(result["status"].as_str(), Some("pass" | "skip"))).collect();
    assert!(rest.is_empty(), "{rest:#?}");
    let skipped = found["summary"]["skipped"].as_u64().unwrap();
    let passed = found["summary"]["passed"].as_u64().unwrap();
    assert_eq!(skipped, 3, "agents, which are not people");
    assert!(passed >= 28, "{}", found["summary"]);
    assert_eq!(found["mode"], "strict");
}
