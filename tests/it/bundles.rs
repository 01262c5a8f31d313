//! Folders for other applications than the dashboard: each is sound and passes its own cases.

use std::path::Path;
use std::process::Command;

#[test]
fn folders_of_other_applications_load_and_pass_their_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/bundles");
    let mut folders = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let run = |verb: &str| {
            let output = Command::new(env!("CARGO_BIN_EXE_cedargate"))
                .args(["policy", verb, "--policies"])
                .arg(&folder)
                .output()
                .unwrap();
            let told =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{}: policy {verb}:\n{told}", folder.display());
            told
        };
        run("check");
        let told = run("test");
        assert!(
            !told.contains("no case in which it speaks") && !told.contains("no case asks"),
            "{}: {told}",
            folder.display()
        );
        folders += 1;
    }
    assert!(folders >= 2);
}
