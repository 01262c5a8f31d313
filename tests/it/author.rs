//! The page for policy authors, done step by step as it is written: the same commands, the same output.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Doors, copy_folder};

/// The shell blocks of the page, each with the output that it shows.
fn steps() -> Vec<(String, Option<String>)> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy-author.md")).unwrap();
    let mut steps = Vec::new();
    for part in page.split("```sh\n").skip(1) {
        let (script, rest) = part.split_once("```").unwrap();
        let shown = rest.split("```sh\n").next().unwrap().split_once("```text\n").map(|(_, text)| text);
        let shown = shown.map(|text| text.split_once("```").unwrap().0.to_owned());
        steps.push((script.to_owned(), shown));
    }
    steps
}

/// The server of the page, ended with the test.
struct Serving(std::process::Child, Doors);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(home: &Path) -> Serving {
    let local = "127.0.0.1:0";
    let mut child = Command::new(env!("CARGO_BIN_EXE_cedargate"))
        .args(["serve", "--policies", "mine", "--front", local, "--gate", local, "--ops", local])
        .current_dir(home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        match Doors::read(&home.join("cedargate-data")) {
            Some((doors, _)) => return Serving(child, doors),
            None => assert!(child.try_wait().unwrap().is_none(), "the server ended at its start"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_page_for_authors_does_what_it_says() {
    let home = tempfile::tempdir().unwrap();
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), &home.path().join("policies"));
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cedargate"), bin.join("cedargate")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut serving: Option<Serving> = None;
    let mut compared = 0;
    for (script, shown) in steps() {
        if script.starts_with("cedargate serve") {
            serving = Some(serve(home.path()));
            continue;
        }
        let ops = serving.as_ref().map_or_else(String::new, |serving| serving.1.ops.clone());
        let script = format!("exec 2>&1\n{}", script.replace("127.0.0.1:9191", &ops));
        let output =
            Command::new("sh").arg("-c").arg(&script).env("PATH", &path).current_dir(home.path()).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        match shown {
            Some(shown) => {
                assert_eq!(out.trim_end(), shown.trim_end(), "{script}");
                compared += 1;
            }
            None => assert!(output.status.success(), "{script}\n{out}"),
        }
    }
    assert!(compared >= 8, "only {compared} outputs are shown");
}
