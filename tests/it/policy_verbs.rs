//! How the verbs of a policy author end: the exit codes that scripts rely on, each from the real binary.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::copy_folder;

/// The small sound folder, with some files laid over it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/policies/good"), folder.path());
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Exit code, stdout and stderr of a verb, run in a folder of its own without any server.
fn cedargate(arguments: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cedargate"))
        .args(arguments)
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const CLOSED: &str = "@id(\"closed\") @title(\"Closed.\") forbid (principal, action, resource);";
const FAILING: &str = "[accounts.100]\nproducts = [\"UC\"]\n[[case]]\nname = \"wrong\"\nperson = { roles = [\"Ordering\"] }\nrequest = \"GET /accounts/100/orders\"\nverdict = \"deny\"\nreason = \"role-missing\"\n";
const UNUSED: &str = "[[role]]\nname = \"Ordering\"\n[[role]]\nname = \"Idle\"\n[[product]]\nname = \"UC\"\n";

#[test]
fn every_verb_ends_with_the_code_of_the_table() {
    let good = folder(&[]);
    let closed = folder(&[("closed.cedar", CLOSED)]);
    let broken = folder(&[("more.cedar", "permit (principal, action, resource);")]);
    let failing = folder(&[("tests/wrong.toml", FAILING)]);
    let idle = folder(&[("catalogue.toml", UNUSED)]);
    let crooked = folder(&[("crooked.cedar", "@id( \"x\" )   forbid(principal,action,resource)when{false};")]);
    let path = |folder: &tempfile::TempDir| folder.path().display().to_string();
    let [good, closed, broken, failing, idle, crooked] = [&good, &closed, &broken, &failing, &idle, &crooked].map(path);
    let cases: [(i32, &[&str]); 24] = [
        (0, &["policy", "check", "--policies", &good]),
        (3, &["policy", "check", "--policies", &broken]),
        (0, &["policy", "check", "--policies", &idle]),
        (3, &["policy", "check", "--policies", &idle, "--deny-warnings"]),
        (1, &["policy", "check", "--policies", &good, "--people", "no-such-file"]),
        (2, &["policy", "check", "--people", "a", "--live"]),
        (1, &["policy", "check", "--policies", &good, "--live"]),
        (0, &["policy", "test", "--policies", &good]),
        (4, &["policy", "test", "--policies", &failing]),
        (4, &["policy", "test", "--policies", &closed, "--require-coverage"]),
        (3, &["policy", "test", "--policies", &broken]),
        (1, &["policy", "test", "--policies", &good, "--policy", "no-such-policy"]),
        (1, &["policy", "test", "--policies", &good, "--name", "no such case"]),
        (0, &["policy", "diff", &good, &good]),
        (6, &["policy", "diff", &good, &closed]),
        (3, &["policy", "diff", &good, &broken]),
        (2, &["policy", "diff", &good]),
        (0, &["policy", "fmt", "--policies", &good, "--check"]),
        (6, &["policy", "fmt", "--policies", &crooked, "--check"]),
        (0, &["policy", "matrix", "--policies", &good]),
        (3, &["policy", "matrix", "--policies", &broken]),
        (3, &["policy", "schema", "--policies", &broken]),
        (1, &["policy", "people"]),
        (1, &["why", "mia", "GET", "/accounts/100/orders"]),
    ];
    for (code, arguments) in cases {
        let (ended, out, talk) = cedargate(arguments);
        assert_eq!(ended, code, "{arguments:?}\n{out}{talk}");
        assert!(code == 0 || !format!("{out}{talk}").is_empty(), "{arguments:?} ends with {code} and says nothing");
    }
}

#[test]
fn the_shipped_folder_has_no_warning_and_no_gap() {
    let (ended, _, talk) = cedargate(&["policy", "check", "--deny-warnings"]);
    assert_eq!(ended, 0, "{talk}");
    assert!(!talk.contains("warning"), "{talk}");
    let (ended, out, talk) = cedargate(&["policy", "test", "--require-coverage"]);
    assert_eq!(ended, 0, "{out}{talk}");
    assert!(talk.contains(", 0 gaps"), "{talk}");
}

/// What nobody uses, and what the folder does not know, over the people of a file.
#[test]
fn a_check_over_people_names_what_nobody_uses_and_what_the_folder_does_not_know() {
    let group = "019aa8e1-0000-7000-8000-000000000020";
    let reads = format!(
        "@id(\"readers\") permit (principal in Group::\"{group}\", action in Action::\"Reads\", resource is Account);"
    );
    let folder = folder(&[("readers.cedar", &reads)]);
    let user = json_line(
        r#"{"number": 30, "image": {"kind": "user", "id": "019aa8e1-0000-7000-8000-000000000030", "organization": 1,
            "username": "mia", "active": true, "level": "Basic User", "methods": {"dashboard": true, "api": true}, "roles": ["Porting"], "assigned": true,
            "accounts": [10]}}"#,
    );
    let lines = [
        json_line(r#"{"number": 1, "image": {"kind": "organization", "id": "acme"}}"#),
        json_line(
            r#"{"number": 10, "image": {"kind": "account", "id": "100", "organization": 1, "products": ["UC"]}}"#,
        ),
        user,
    ];
    let people = folder.path().join("people.jsonl");
    std::fs::write(&people, lines.join("\n")).unwrap();
    let path = folder.path().display().to_string();
    let check = ["policy", "check", "--plain", "--policies", &path, "--people", people.to_str().unwrap()];
    let (ended, _, talk) = cedargate(&check);
    assert_eq!(ended, 0, "{talk}");
    let warnings: Vec<&str> = talk.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    assert_eq!(
        warnings,
        [
            "catalogue.toml: the role `Porting`, held by 1, is not in the catalogue and grants nothing",
            "catalogue.toml:2:1: nobody holds the role `Ordering`",
            &format!(
                "readers.cedar:1:1: the policy `readers` names Group::\"{group}\", which the directory does not know"
            ),
        ]
    );
}

fn json_line(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text).unwrap().to_string()
}
