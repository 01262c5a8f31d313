//! The fuzzers' committed corpora, replayed: what was found once stays found.

use std::path::Path;

#[path = "../fuzz/properties.rs"]
mod properties;

fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/fuzz").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        // The name of the file is what a failure needs.
        let held = std::panic::catch_unwind(|| property(&bytes));
        assert!(held.is_ok(), "{} breaks its property", path.display());
        count += 1;
    }
    assert!(count >= 10, "only {count} cases in {}", folder.display());
}

#[test]
fn filters() {
    replay("filter", properties::filter);
}

#[test]
fn patch_paths() {
    replay("patch_path", properties::patch_path);
}

#[test]
fn patch_bodies() {
    replay("patch_body", properties::patch_body);
}

#[test]
fn resource_bodies() {
    replay("resource_body", properties::resource_body);
}

#[test]
fn bulk_requests() {
    replay("bulk", properties::bulk);
}
