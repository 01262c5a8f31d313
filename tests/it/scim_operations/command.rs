//! The command line on a real server.

use std::path::Path;
use std::process::{Command, Output};

use super::*;
use crate::support::TestServer;

fn cedargate(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cedargate")).args(arguments).arg("--data").arg(data).output().unwrap()
}

#[track_caller]
fn good(data: &Path, arguments: &[&str]) -> String {
    let output = cedargate(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_incident_from_the_alarm_to_the_undo() {
    let server = TestServer::start();
    let data = server.data();
    good(data, &["organization", "set", "acme"]);
    let added = good(data, &["connection", "add", "--organization", "acme", "--name", "Okta", "-o", "json"]);
    let added: Value = serde_json::from_str(&added).unwrap();
    let id = text(&added["id"]);
    good(data, &["connection", "set", &id, "--alarm-count", "3", "--requests-per-second", "100"]);
    let mut door = server.doors().provisioner(&text(&added["token"]));
    for name in ["ann", "bob", "eve"] {
        let body = json!({"schemas": [USER], "userName": name, "roles": [{"value": "Ordering"}, {"value": "Nope"}]});
        let user = text(&door.call("POST", "Users", &body).expect(&[201]).json()["id"]);
        door.call("DELETE", &format!("Users/{user}"), &Value::Null).expect(&[204]);
    }
    let taken = door.call("POST", "Users", &json!({"schemas": [USER], "userName": " "})).expect(&[400]);

    let list = good(data, &["connection", "list"]);
    assert!(list.contains("ALARM: 3 deactivated; healthy"), "{list}");
    let events = good(data, &["connection", "events", &id]);
    for wanted in ["POST Users", "DELETE Users", "active yes > no", "roles +", "userName is empty", "alarm"] {
        assert!(events.contains(wanted), "{wanted}: {events}");
    }
    let failures = good(data, &["connection", "events", &id, "--outcome", "failure", "-o", "json"]);
    let failure: Value = serde_json::from_str(failures.trim()).unwrap();
    assert_eq!(failure["id"], event_of(&taken));
    let one = good(data, &["connection", "event", &event_of(&taken)]);
    assert!(one.contains("status") && one.contains("userName is empty"), "{one}");

    let dry = cedargate(data, &["connection", "undo", &id, "--dry-run"]);
    assert!(String::from_utf8_lossy(&dry.stderr).contains("nothing was changed"), "{dry:?}");
    let undone = good(data, &["connection", "undo", &id]);
    assert!(undone.starts_with("restored   3\n"), "{undone}");
    assert!(good(data, &["connection", "show", &id]).contains("healthy"));
    let nothing = cedargate(data, &["connection", "settle", &id]);
    assert_eq!(nothing.status.code(), Some(1), "no alarm stands any more");
}

#[test]
fn lines_that_failed_are_written_as_they_were_and_can_be_imported_alone() {
    let server = TestServer::start();
    let data = server.data();
    good(data, &["organization", "set", "acme"]);
    let line =
        |name: &str, role: &str| json!({"schemas": [USER], "userName": name, "roles": [{"value": role}]}).to_string();
    let odd = format!("  {}  ", line("eve", "Emperor"));
    let input = [line("ann", "Ordering"), line("bob", "Emperor"), "{oops".into(), line("zoe", "Ordering"), odd.clone()];
    let file = data.join("people.jsonl");
    let left = data.join("left.jsonl");
    std::fs::write(&file, format!("{}\n", input.join("\n"))).unwrap();
    let (file, left_name) = (file.to_str().unwrap(), left.to_str().unwrap());
    let arguments = ["import", file, "--organization", "acme", "--failures", left_name];
    let partial = cedargate(data, &arguments);
    assert_eq!(partial.status.code(), Some(6));
    assert_eq!(String::from_utf8_lossy(&partial.stdout).lines().count(), 3);
    let written = std::fs::read_to_string(&left).unwrap();
    assert_eq!(written, format!("{}\n{{oops\n{}\n", input[1], odd), "byte by byte as they were");

    std::fs::write(&left, written.replace("Emperor", "Reporting").replace("{oops\n", "")).unwrap();
    let again = cedargate(data, &["import", left_name, "--organization", "acme"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("created 2, updated 0, failed 0"));
    let rest = cedargate(data, &["import", file, "--organization", "acme", "--skip", "3"]);
    let said = String::from_utf8_lossy(&rest.stderr).into_owned();
    assert!(said.contains("created 0, updated 1, failed 1"), "{said}");
    assert!(String::from_utf8_lossy(&rest.stdout).starts_with("line 5: "), "lines keep their numbers");
}
