//! Policies go in and out of service whole: a good edit takes effect, a bad one leaves the last good bundle.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Client, Doors, copy_folder as copy};

struct Server {
    child: std::process::Child,
    doors: Doors,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: &Path) -> std::process::Child {
    let local = "127.0.0.1:0";
    Command::new(env!("CARGO_BIN_EXE_cedargate"))
        .args(["serve", "--front", local, "--gate", local, "--ops", local, "--policies", "policies", "--data", "data"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn started(folder: &Path) -> Server {
    let mut child = serve(folder);
    let doors = loop {
        match Doors::read(&folder.join("data")) {
            Some((doors, _)) => break doors,
            None => assert!(child.try_wait().unwrap().is_none(), "the server ended at its start"),
        }
        std::thread::yield_now();
    };
    Server { child, doors }
}

/// Written aside and renamed, as editors do: the folder is read at any moment.
fn edit(policies: &Path, name: &str, text: &str) {
    let aside = policies.join(".edit.tmp");
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(&aside, policies.join(name)).unwrap();
}

fn ask(client: &mut Client) -> Value {
    let question = json!({
        "subject": {"user": "nobody"}, "request": {"method": "POST", "path": "/api/v1/oauth2/token"},
    });
    client.json("POST", "/v1/authorize", &question).json()
}

#[test]
fn a_good_edit_takes_effect_and_a_bad_one_leaves_the_last_good_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), &policies);
    // Without its own cases, which would rightly refuse the edit below.
    std::fs::remove_dir_all(policies.join("tests")).unwrap();
    let server = started(folder.path());
    let mut gate = Client::new(&server.doors.gate);
    let before = ask(&mut gate);
    assert_eq!(before["reason"]["code"], "public");

    let forbid = "@id(\"closed\") @title(\"Closed for today.\") forbid (principal, action, resource);";
    edit(&policies, "closed.cedar", forbid);
    let mut operator = server.doors.operator();
    let mut reload = || operator.try_call("POST", "policies/reload", &json!({})).unwrap();
    assert_eq!(reload().status, 200);
    let closed = ask(&mut gate);
    assert_eq!((&closed["reason"]["code"], &closed["policies"]), (&json!("forbidden"), &json!(["closed"])));
    assert_ne!(closed["bundle"], before["bundle"]);

    edit(&policies, "closed.cedar", "forbid (principal, action, resource) when { principal.nose };");
    let refused = reload();
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("closed.cedar"));
    assert_eq!(ask(&mut gate)["bundle"], closed["bundle"], "the last good bundle serves");
    let mut ops = server.doors.anonymous("ops");
    let ready = ops.send("GET", "/readyz?verbose", "text/plain", b"").unwrap();
    assert_eq!(ready.status, 200, "the last good bundle is good enough to be asked");
    assert!(ready.text().contains("[!]policies: serving"));

    std::fs::remove_file(policies.join("closed.cedar")).unwrap();
    assert_eq!(reload().status, 200);
    assert_eq!(ask(&mut gate)["reason"]["code"], "public");
}

#[test]
fn a_bad_bundle_at_the_start_refuses_to_start_and_binds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), &policies);
    std::fs::write(policies.join("bad.cedar"), "permit (principal, action == Action::\"noSuch\", resource);").unwrap();
    let output = serve(folder.path()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("bad.cedar"), "{told}");
    assert!(!folder.path().join("data/addresses.json").exists());

    // A folder that fails its own cases is another kind of fault.
    std::fs::write(policies.join("bad.cedar"), "@id(\"all\") forbid (principal, action, resource);").unwrap();
    assert_eq!(serve(folder.path()).wait_with_output().unwrap().status.code(), Some(4));
}

/// Edits without anybody asking for a reload, one in ten of them invalid, while questions go on: each answer is one
/// valid version's, none an error, and every edit arrives.
#[test]
fn edits_arrive_by_themselves_and_every_answer_is_of_one_valid_version() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), &policies);
    std::fs::remove_dir_all(policies.join("tests")).unwrap();
    let write = |text: &str| edit(&policies, "version.cedar", text);
    let version = |number: usize| write(&format!("@id(\"v{number}\") forbid (principal, action, resource);"));
    version(0);
    let server = started(folder.path());
    let stop = AtomicBool::new(false);
    let seen: Vec<Vec<(String, String)>> = std::thread::scope(|threads| {
        let asking: Vec<_> = (0..2)
            .map(|_| {
                threads.spawn(|| {
                    let mut gate = Client::new(&server.doors.gate);
                    let mut seen = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = ask(&mut gate);
                        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
                        seen.push((text(&answer["policies"][0]), text(&answer["bundle"])));
                    }
                    seen
                })
            })
            .collect();
        let mut gate = Client::new(&server.doors.gate);
        let mut ops = server.doors.anonymous("ops");
        for number in 1..=20 {
            if number % 10 == 5 {
                write("forbid (principal, action, resource) when { principal.nose };");
                while !ops.send("GET", "/readyz?verbose", "text/plain", b"").unwrap().text().contains("[!]policies") {}
            } else {
                version(number);
                while ask(&mut gate)["policies"] != json!([format!("v{number}")]) {}
            }
        }
        stop.store(true, Ordering::Relaxed);
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut bundles = std::collections::HashMap::new();
    for (policy, bundle) in seen.into_iter().flatten() {
        assert!(policy.starts_with('v'), "{policy}");
        assert_eq!(bundles.entry(policy).or_insert_with(|| bundle.clone()), &bundle, "one version, one bundle");
    }
    assert!(bundles.len() > 1);
}

/// An edit and a reload every 100 ms, one in ten invalid, while questions go on: no answer but of a version that was in
/// service, none of an older one than the answer before it, and every valid version is acknowledged.
#[test]
fn a_reload_every_100_ms_under_load_lets_only_whole_versions_answer() {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    const EDITS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/policies/good"), &policies);
    std::fs::remove_dir_all(policies.join("tests")).unwrap();
    let write = |text: &str| edit(&policies, "version.cedar", text);
    let version = |number: usize| {
        let open = "@id(\"v{}\") @title(\"Version {}.\") forbid (principal, action, resource);";
        write(&open.replace("{}", &number.to_string()));
    };
    version(0);
    let server = started(folder.path());
    let mut operator = server.doors.operator();
    operator.organization("acme");
    operator.account("acme", "100", &["UC".to_owned()]);
    let token = operator.connection("acme", "generic");
    let extension = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
    let mia = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", extension], "userName": "mia",
        "roles": [{"value": "Ordering"}], extension: {"accessMethods": ["api"], "accounts": ["100"]}});
    server.doors.provisioner(&token).call("POST", "Users", &mia).expect(&[201]);
    let question = json!({"subject": {"user": "mia"}, "request": {"method": "GET", "path": "/accounts/100/orders"}});
    let stop = AtomicBool::new(false);
    let reload =
        |operator: &mut crate::support::Operator| operator.try_call("POST", "policies/reload", &json!({})).unwrap();
    let mut served: HashMap<usize, String> = HashMap::new();
    served.insert(0, reload(&mut operator).expect(&[200]).json()["bundle"].as_str().unwrap().to_owned());
    let seen: Vec<Vec<(usize, String)>> = std::thread::scope(|threads| {
        let asking: Vec<_> = (0..3)
            .map(|_| {
                threads.spawn(|| {
                    let mut gate = Client::new(&server.doors.gate);
                    let mut seen = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let reply = gate.json("POST", "/v1/authorize", &question).expect(&[200]);
                        let answer = reply.json();
                        let policy = answer["policies"][0].as_str().unwrap_or_else(|| panic!("{answer}"));
                        let number = policy.strip_prefix('v').unwrap().parse().unwrap();
                        assert_eq!(answer["reason"]["message"], format!("Version {number}"), "{answer}");
                        seen.push((number, answer["bundle"].as_str().unwrap().to_owned()));
                    }
                    seen
                })
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut ticks = runtime.block_on(async { tokio::time::interval(Duration::from_millis(100)) });
        for number in 1..=EDITS {
            runtime.block_on(ticks.tick());
            if number % 10 == 5 {
                write("@id(\"bad\") forbid (principal, action, resource) when { principal.nose };");
                reload(&mut operator).expect(&[422]);
            } else {
                version(number);
                let reply = reload(&mut operator).expect(&[200]).json();
                served.insert(number, reply["bundle"].as_str().unwrap().to_owned());
            }
        }
        stop.store(true, Ordering::Relaxed);
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(served.len(), 1 + EDITS * 9 / 10);
    for one in &seen {
        for (number, bundle) in one {
            assert_eq!(served.get(number), Some(bundle), "version {number} answered with another bundle");
        }
        assert!(one.is_sorted_by_key(|(number, _)| *number), "an older version answered after a newer one");
    }
    let versions: std::collections::HashSet<usize> = seen.iter().flatten().map(|(number, _)| *number).collect();
    assert!(versions.len() > EDITS / 4, "only {} versions were seen: too little load", versions.len());
}
