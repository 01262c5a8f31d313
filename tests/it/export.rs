//! An export goes into an empty installation and makes the same people and groups there, with the same rights.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::TestServer;

const USER: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";

fn cedargate(server: &TestServer, arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cedargate"))
        .arg("--data")
        .arg(server.data())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), told)
}

#[test]
fn what_was_exported_is_imported_with_the_same_rights() {
    let [from, to] = [TestServer::start(), TestServer::start()];
    for server in [&from, &to] {
        let mut operator = server.doors().operator();
        for organization in ["acme", "globex"] {
            operator.organization(organization);
        }
        operator.account("acme", "100", &["UC".to_owned()]);
        operator.account("acme", "200", &[]);
    }
    let token = from.doors().operator().connection("acme", "generic");
    let mut provisioner = from.doors().provisioner(&token);
    let core = "urn:ietf:params:scim:schemas:core:2.0:User";
    let mut ids = Vec::new();
    for (name, roles, accounts) in [("mia", json!(["Ordering", "Unheard Of"]), ["100"]), ("tom", json!([]), ["200"])] {
        let roles: Vec<Value> = roles.as_array().unwrap().iter().map(|role| json!({"value": role})).collect();
        let user = json!({"schemas": [core, USER], "userName": name, "displayName": format!("The {name}"),
            "emails": [{"value": format!("{name}@example.com"), "primary": true}], "active": true,
            "roles": roles, USER: {"accessMethods": ["api"], "accounts": accounts}});
        let made = provisioner.call("POST", "Users", &user).expect(&[201]).json();
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let mut group = |name: &str, member: &str, extension: Value| {
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", GROUP], "displayName": name,
            "members": [{"value": member}], GROUP: extension});
        provisioner.call("POST", "Groups", &body).expect(&[201]).json()["id"].as_str().unwrap().to_owned()
    };
    let inner = group("Inner", &ids[1], json!({"roles": ["Porting"]}));
    group("Outer", &inner, json!({"roles": ["Reporting"], "accounts": ["100"]}));

    let folder = tempfile::tempdir().unwrap();
    let (code, told) = cedargate(&from, &["export", "--organization", "acme", "people.jsonl"], folder.path());
    assert_eq!(code, Some(6), "mia claims a role that nobody gave, and a group holds a group: {told}");
    assert!(told.contains("2 people, 2 groups") && told.contains("1 people claim rights"), "{told}");
    assert!(told.contains("1 groups hold other groups"), "{told}");
    let (code, told) = cedargate(&to, &["import", "people.jsonl", "--organization", "acme"], folder.path());
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("created 4, updated 0, failed 0"), "{told}");

    let rights = |server: &TestServer, name: &str| {
        let user = server.doors().operator().call("GET", &format!("users/{name}"), &Value::Null).expect(&[200]).json();
        let names = |list: &str, key: &str| {
            let mut names: Vec<String> = user["effective"][list]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one[key].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        (names("roles", "name"), names("accounts", "id"), user["emails"].clone(), user["displayName"].clone())
    };
    let mut mia = rights(&from, "mia");
    mia.0.retain(|role| role != "Unheard Of");
    assert_eq!(mia, rights(&to, "mia"));
    assert_eq!(rights(&from, "tom"), rights(&to, "tom"));
    assert_eq!(rights(&to, "tom").0, ["Porting", "Reporting"]);
    // The second export leaves nothing out, and says the same.
    let (code, told) = cedargate(&to, &["export", "--organization", "acme", "again.jsonl"], folder.path());
    assert_eq!(code, Some(0), "{told}");
    // By name; the order of members in an object says nothing.
    let lines = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let named = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            (format!("{}{}", line["userName"], line["displayName"]), line)
        };
        text.lines().map(named).collect::<std::collections::BTreeMap<String, Value>>()
    };
    assert_eq!(lines("people.jsonl"), lines("again.jsonl"));
    let (code, told) = cedargate(&from, &["export", "--organization", "nowhere"], folder.path());
    assert_eq!(code, Some(1), "{told}");
}
