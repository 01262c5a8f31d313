//! What SQLite's ledger survives, and what it refuses with a sentence that says what to do.

use std::path::Path;

use cedargate::domain::Timestamp;
use cedargate::store::sqlite::OpenError;
use cedargate::store::{Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{group, join, open, projected, transaction, user};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A closed ledger with three people in a group, in seven revisions.
fn ledger() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let steps =
        vec![user("ada"), user("eve"), user("bob"), group("staff"), join(4, &[1]), join(4, &[2]), join(4, &[3])];
    for (place, step) in steps.into_iter().enumerate() {
        let moment = i64::try_from(place).unwrap() * 1_000;
        runtime().block_on(store.commit(transaction(&format!("operation-{place}"), moment, vec![step]))).unwrap();
    }
    drop(store);
    folder
}

/// Changes the file behind the store's back.
fn tamper(folder: &Path, sql: &str) {
    let connection = Connection::open(folder.join("ledger.sqlite")).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn refusal(folder: &Path) -> OpenError {
    open(folder).map(drop).expect_err("the ledger was opened")
}

fn refused_as_damaged(folder: &Path, word: &str) {
    let refusal = refusal(folder);
    assert!(matches!(refusal, OpenError::Damaged(_)), "{refusal:?}");
    let sentence = refusal.to_string();
    assert!(sentence.contains(word) && sentence.ends_with("restore a backup"), "{sentence}");
}

#[test]
fn a_new_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("deep/data");
    let store = open(&inner).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inner), mode(&inner.join("ledger.sqlite"))), (0o700, 0o600));
    drop(store);
}

#[test]
fn everything_is_there_after_reopening() {
    let folder = ledger();
    let store = open(folder.path()).unwrap();
    let head = runtime().block_on(store.head()).unwrap();
    assert_eq!(head.revision.number, 7);
    assert_eq!(store.verify().unwrap(), head);
    let (revision, state) = projected(&store);
    assert_eq!(revision, head.revision);
    assert_eq!((state.images.len(), state.members.len()), (4, 3));
    // It goes on where it stood: revisions, numbers, operations.
    let next = runtime().block_on(store.commit(transaction("next", 9, vec![user("new")]))).unwrap();
    assert_eq!((next.revision.number, next.outcomes[0].number), (8, 5));
    let again = runtime().block_on(store.commit(transaction("operation-3", 9, vec![]))).unwrap();
    assert_eq!((again.revision.number, again.outcomes[0].number), (4, 4));
    assert_eq!(again.outcomes[0].created, Timestamp(3_000));
}

#[test]
fn a_second_process_is_refused() {
    let folder = ledger();
    let first = open(folder.path()).unwrap();
    let refusal = refusal(folder.path());
    assert!(matches!(refusal, OpenError::Locked { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains(folder.path().to_str().unwrap()));
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = ledger();
    tamper(folder.path(), "INSERT INTO migration (name, checksum, at) VALUES ('9999_later', 'x', 0)");
    let refusal = refusal(folder.path());
    assert!(matches!(refusal, OpenError::Newer { found, known } if found == known + 1), "{refusal:?}");
    assert!(refusal.to_string().contains("run the newer release"));
}

#[test]
fn a_changed_migration_is_refused() {
    let folder = ledger();
    tamper(folder.path(), "UPDATE migration SET checksum = 'x'");
    let refusal = refusal(folder.path());
    assert!(matches!(&refusal, OpenError::Changed { name } if name == "0001_ledger"), "{refusal:?}");
}

#[test]
fn what_is_not_our_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.sqlite");
    let text = "not a database, but long enough to have a header ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    assert!(matches!(refusal(folder.path()), OpenError::NotADatabase));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);

    std::fs::remove_file(&file).unwrap();
    tamper(folder.path(), "CREATE TABLE theirs (a)");
    let before = std::fs::read(&file).unwrap();
    assert!(matches!(refusal(folder.path()), OpenError::Foreign));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let refusal = refusal(&folder.path().join("file/data"));
    assert!(matches!(refusal, OpenError::Folder { .. }), "{refusal:?}");
}

#[test]
fn a_head_that_the_log_does_not_confirm_is_refused() {
    for (sql, word) in [
        ("UPDATE head SET number = 8", "revision 1-8"),
        ("UPDATE head SET number = 6", "revision 1-6"),
        ("UPDATE head SET epoch = 2", "revision 2-7"),
        ("UPDATE head SET hash = zeroblob(32)", "hash"),
        ("UPDATE head SET next_number = 4", "number 4 again"),
        ("DELETE FROM head", "head row is missing"),
        ("DELETE FROM change_log", "0 rows"),
        ("DELETE FROM change_log WHERE number = 7", "6 rows"),
        ("DELETE FROM change_log WHERE number = 3", "6 rows"),
        ("UPDATE change_log SET place = place + 1 WHERE number = 7", "ends with 1-8"),
        ("UPDATE change_log SET body = replace(body, '3', '2') WHERE number = 7", "hash of its content"),
        ("UPDATE change_log SET at = at + 1 WHERE number = 7", "hash of its content"),
        ("UPDATE change_log SET hash = zeroblob(32) WHERE number = 6", "hash of its content"),
        ("DROP TABLE head", "no such table"),
    ] {
        let folder = ledger();
        tamper(folder.path(), sql);
        refused_as_damaged(folder.path(), word);
    }
}

/// Where the bytes stand in the file, from its end: the newest copy.
fn place_of(file: &[u8], wanted: &[u8]) -> usize {
    file.windows(wanted.len()).rposition(|window| window == wanted).unwrap()
}

#[test]
fn a_flipped_bit_is_noticed() {
    let folder = ledger();
    let file = folder.path().join("ledger.sqlite");
    let sound = std::fs::read(&file).unwrap();
    let hash = runtime().block_on(open(folder.path()).unwrap().head()).unwrap().hash;
    let in_head_or_log = place_of(&sound, &hash);
    let in_last_body = place_of(&sound, b"\"added\":[3]") + 9;
    let in_first_page = 18; // The version of the file format.
    for place in [in_head_or_log, in_last_body, in_first_page] {
        let mut flipped = sound.clone();
        flipped[place] ^= 0x08;
        std::fs::write(&file, &flipped).unwrap();
        let refusal = refusal(folder.path());
        assert!(!refusal.to_string().is_empty());
    }
    std::fs::write(&file, &sound).unwrap();
    open(folder.path()).unwrap().verify().unwrap();
}

#[test]
fn a_full_check_finds_what_the_start_does_not_read() {
    for (sql, word) in [
        ("UPDATE change_log SET body = replace(body, 'ada', 'eve') WHERE number = 1", "revision 1-1"),
        ("UPDATE change_log SET hash = zeroblob(32) WHERE number = 2", "revision 1-2"),
        ("UPDATE image SET body = replace(body, 'true', 'false') WHERE number = 2", "resource 2"),
        ("UPDATE image SET body = '{}' WHERE number = 2", "image"),
        ("DELETE FROM image WHERE number = 3", "resource 3 is missing"),
        ("DELETE FROM membership WHERE member_number = 2", "2 is missing from the members of 4"),
        ("INSERT INTO membership VALUES (4, 4)", "does not make 4 a member of 4"),
        ("UPDATE tally SET total = total + 1 WHERE kind = 'user'", "total of kind user"),
        ("DELETE FROM tally WHERE kind = 'group'", "total of kind group"),
        ("DELETE FROM lookup WHERE value = 'ada'", "not found by one of its values"),
        ("UPDATE lookup SET value = 'eve' WHERE value = 'ada'", "by a value that it does not have"),
        ("DELETE FROM unique_key WHERE value = 'ada'", "names a unique key"),
        ("UPDATE resource SET held = '[]' WHERE number = 1", "its row does not name"),
        ("PRAGMA foreign_keys = OFF; INSERT INTO unique_key VALUES ('s', 'v', 99)", "unique_key"),
        ("PRAGMA foreign_keys = OFF; UPDATE attribute SET number = 99 WHERE number = 1", "attribute"),
    ] {
        let folder = ledger();
        tamper(folder.path(), sql);
        let store = open(folder.path()).unwrap();
        let Err(StoreError::Damaged(found)) = store.verify() else { panic!("{sql} was not found") };
        assert!(found.contains(word), "{sql}: {found}");
    }
}

#[test]
fn a_head_changed_under_a_running_store_stops_it() {
    let folder = ledger();
    let store = open(folder.path()).unwrap();
    tamper(folder.path(), "UPDATE head SET next_number = 1000");
    let wait = |operation: &str| runtime().block_on(store.commit(transaction(operation, 1, vec![user("new")])));
    assert!(matches!(wait("one"), Err(StoreError::Unavailable(_))));
    tamper(folder.path(), "UPDATE head SET next_number = 5");
    assert!(matches!(wait("two"), Err(StoreError::Unavailable(_))), "once stopped it stays so");
    assert_eq!(runtime().block_on(store.head()).unwrap().revision.number, 7, "reads go on");
}
