//! The house inspects itself: import table, homes of outside crates, size of files, a door comment everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may import whom: the table of ARCHITECTURE.md.
const IMPORTS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("telemetry", &["domain", "clock"]),
    ("http", &["clock", "telemetry"]),
    ("store", &["domain", "clock", "telemetry"]),
    ("directory", &["domain", "clock", "telemetry", "store"]),
    ("policy", &["domain", "clock", "telemetry"]),
    ("token", &["domain", "clock", "telemetry"]),
    ("authz", &["domain", "clock", "telemetry", "directory", "policy", "token"]),
    ("scim", &["domain", "clock", "telemetry", "http", "store", "token", "authz"]),
    ("gate", &["domain", "telemetry", "http", "token", "authz"]),
    ("manage", &["domain", "clock", "telemetry", "http", "store", "policy", "token", "authz", "scim"]),
    ("config", &["domain", "http", "telemetry", "token", "authz", "gate"]),
    (
        "app",
        &[
            "config",
            "domain",
            "clock",
            "telemetry",
            "http",
            "store",
            "directory",
            "policy",
            "token",
            "authz",
            "scim",
            "gate",
            "manage",
        ],
    ),
    ("cli", &["app", "config", "policy", "http"]),
    ("main", &["cli"]),
];

/// Outside crates with a home; named anywhere else they are a leak.
const HOMES: &[(&str, &[&str])] = &[
    ("cedar_policy", &["policy"]),
    ("cedar_policy_core", &["policy"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("http_body_util", &["http"]),
    ("envoy_types", &["gate"]),
    ("prost", &["gate"]),
    ("aws_lc_rs", &["token"]),
    ("jsonwebtoken", &["token"]),
    ("argon2", &["token"]),
    ("moka", &["authz", "token"]),
    ("rusqlite", &["store"]),
    ("prometheus_client", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("clap", &["cli"]),
    ("notify", &["app"]),
    ("indicatif", &["cli"]),
    ("arc_swap", &["authz", "directory", "policy", "telemetry", "token"]),
    ("tokio_rustls", &["http"]),
    ("webpki", &["http"]),
    ("rustls_native_certs", &["http"]),
];

const LONGEST_FILE: usize = 500;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join("src"), &mut paths);
    paths.sort();
    paths.iter().map(|path| (path.strip_prefix(root).unwrap().into(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The room that a file stands in.
fn room(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Whether a file holds tests alone: those may reach for whatever they need.
fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.parent().is_some_and(|folder| folder.ends_with("tests"))
}

/// Code without line comments (doc links name rooms without importing them) and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The words that follow a marker: `crate::` gives rooms.
fn words_after<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(marker).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            return None;
        }
        let rest = &text[at + marker.len()..];
        Some(&rest[..rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())])
    })
}

#[test]
fn imports_point_one_way() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in sources() {
        let room = room(&path);
        if room == "lib" || is_test(&path) {
            continue;
        }
        let Some(allowed) = table.get(room.as_str()) else {
            faults.push(format!("{}: the room `{room}` is not in the table", path.display()));
            continue;
        };
        seen.insert(room.clone());
        let code = code(&text);
        let marker = if room == "main" { "cedargate::" } else { "crate::" };
        for import in words_after(&code, marker) {
            if import != room && table.contains_key(import) && !allowed.contains(&import) {
                faults.push(format!("{}: `{room}` may not import `{import}`", path.display()));
            }
        }
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let unused: Vec<_> = table.keys().filter(|room| !seen.contains(**room)).collect();
    assert!(unused.is_empty(), "rooms of the table without code: {unused:?}");
}

#[test]
fn the_table_stands_in_architecture_md() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (room, allowed) in IMPORTS {
        let imports = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        let row = format!("| `{room}` | {imports} |");
        let row = if *room == "app" { "| `app` | everything |".to_owned() } else { row };
        assert!(text.contains(&row), "ARCHITECTURE.md lacks the row: {row}");
    }
}

#[test]
fn outside_crates_stay_at_home() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        if is_test(&path) {
            continue;
        }
        let code = code(&text);
        for (name, homes) in HOMES {
            let named = words_after(&code, &format!("{name}::")).next().is_some();
            if named && !homes.contains(&room.as_str()) {
                faults.push(format!("{}: `{name}` belongs to {homes:?}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_can_be_read_in_one_sitting_and_say_what_they_are_for() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            faults.push(format!("{}: {lines} lines; at most {LONGEST_FILE}", path.display()));
        }
        if !text.starts_with("//! ") && !is_test(&path) {
            faults.push(format!("{}: no door comment", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_marks_of_unfinished_work() {
    let marks = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];
    let faults: Vec<String> = (sources().iter())
        .filter(|(_, text)| marks.iter().any(|mark| text.contains(mark)))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
