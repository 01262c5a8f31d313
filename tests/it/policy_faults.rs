//! Broken folders, one kind of fault each: every file of `tests/cases/policies/<kind>` laid over the good folder there, and
//! what must be said about it in `<kind>/expected.txt`, for people and after a line of dashes in plain form.
//!
//! `CEDARGATE_WRITE_EXPECTED=1` writes what is said now; read it before you keep it.

use std::path::{Path, PathBuf};

use cedargate::policy::{Bundle, Source};

fn overlay(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            overlay(&entry.path(), &target);
        } else if entry.file_name() != "expected.txt" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/policies")
}

fn laid_over(kind: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    overlay(&cases().join("good"), folder.path());
    overlay(kind, folder.path());
    folder
}

#[test]
fn every_kind_of_fault_is_told_with_its_place_and_what_to_write() {
    let good = laid_over(&cases().join("good"));
    Bundle::load(&Source::Folder(good.path().into())).unwrap();
    let (mut kinds, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(cases()).unwrap() {
        let kind = entry.unwrap().path();
        if kind.ends_with("good") {
            continue;
        }
        kinds += 1;
        let folder = laid_over(&kind);
        let said = match Bundle::load(&Source::Folder(folder.path().into())) {
            Ok(_) => "sound\n".to_owned(),
            Err(faults) => {
                let pretty: Vec<String> = faults.iter().map(|fault| fault.pretty()).collect();
                let plain: Vec<String> = faults.iter().map(ToString::to_string).collect();
                format!("{}\n---\n{}\n", pretty.join("\n").trim_end(), plain.join("\n"))
            }
        };
        let file = kind.join("expected.txt");
        if std::env::var_os("CEDARGATE_WRITE_EXPECTED").is_some() {
            std::fs::write(&file, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if said != expected || said == "sound\n" {
            wrong.push(format!("{}:\n{said}\nexpected:\n{expected}", kind.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {kinds}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(kinds >= 40, "{kinds}");
}

/// The verb itself: exit code, both forms for people, and JSON with everything an editor needs.
#[test]
fn policy_check_tells_all_faults_of_a_folder_in_one_run() {
    let folder = laid_over(&cases().join("everything-at-once"));
    let run = |flags: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cedargate"));
        let output = command.args(["policy", "check", "--policies"]).arg(folder.path()).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stdout).unwrap()
    };
    let (pretty, plain) = (run(&[]), run(&["--plain"]));
    let files = ["more.cedar", "catalogue.toml", "routes/more.toml", "tests/more.toml"];
    assert!(files.iter().all(|file| pretty.contains(&format!("--> {file}:")) && plain.contains(&format!("{file}:"))));
    assert!(pretty.contains("^^^") && !plain.contains("^^^"));
    let json: serde_json::Value = serde_json::from_str(&run(&["--output", "json"])).unwrap();
    let found = json["diagnostics"].as_array().unwrap();
    assert!(found.len() >= 5, "{json}");
    assert!(found.iter().all(|one| one["line"].as_u64().unwrap() > 0 && one["source"].is_string()), "{json}");
}
