//! The README's commands, run as a newcomer would run them.

use std::path::Path;
use std::process::Command;

use crate::support::Doors;

/// The shell blocks of the README, in order.
fn blocks() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut blocks = Vec::new();
    for part in text.split("```sh\n").skip(1) {
        blocks.push(part.split("```").next().unwrap().to_owned());
    }
    blocks
}

#[test]
fn every_command_does_what_the_readme_says() {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cedargate"), bin.join("cedargate")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let local = "127.0.0.1:0";
    let mut server = Command::new(env!("CARGO_BIN_EXE_cedargate"))
        .args(["serve", "--front", local, "--gate", local, "--ops", local])
        .current_dir(home.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let data = home.path().join("cedargate-data");
    let doors = loop {
        match Doors::read(&data) {
            Some((doors, _)) => break doors,
            None => assert!(server.try_wait().unwrap().is_none(), "the server ended at its start"),
        }
        std::thread::yield_now();
    };
    let mut ran = 0;
    for block in blocks() {
        // These two run the whole house; `tests/run` does the one and is the other.
        if block.starts_with("cargo run") || block.starts_with("tests/run") {
            continue;
        }
        let script = format!("set -e\n{}", block.replace("127.0.0.1:8181", &doors.gate));
        let output =
            Command::new("sh").arg("-c").arg(&script).env("PATH", &path).current_dir(home.path()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{block}\n{out}\n{err}");
        ran += 1;
        if block.starts_with("curl") {
            let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert!(answer["decision"] == "permit" || answer["decision"] == true, "{out}");
        }
        if block.contains("cedargate can") {
            assert!(out.contains("permit"), "{out}");
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(ran >= 4, "only {ran} blocks ran");
}

#[test]
fn the_demo_agrees_with_its_case_files() {
    let output = Command::new(env!("CARGO_BIN_EXE_cedargate")).args(["demo", "--once"]).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}\n{}", String::from_utf8_lossy(&output.stderr));
    let answers = out.lines().filter(|line| line.starts_with("  permit") || line.starts_with("  deny")).count();
    assert!(answers >= 13, "{out}");
    let last = out.lines().rev().find(|line| line.starts_with("          ")).unwrap();
    assert!(last.contains("deactivated"), "{out}");
}
