//! Damage and tampering are found.
use std::collections::BTreeMap;

use store::Store;

use crate::{call, new_store, reopen};

/// Runs SQL behind the store's back and gives what `verify` then says.
fn after(tamper: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    for at in 0..3 {
        store.append(&[call("a", at)], &[]).expect("append");
    }
    store.write_artifact("x", &BTreeMap::from([("f".to_owned(), vec![1])])).expect("an artifact");
    let clean = store.verify().expect("verify");
    assert_eq!((clean.trail, clean.segments, clean.artifacts, clean.problems.len()), (3, 3, 1, 0));
    drop(store);
    let database = rusqlite::Connection::open(folder.path().join("test.db")).expect("the file");
    database.execute_batch(&format!("PRAGMA foreign_keys = OFF; {tamper}")).expect("tampered");
    drop(database);
    let store: Store = reopen(folder.path());
    store.verify().expect("verify").problems
}

#[test]
fn every_kind_of_tampering_is_found() {
    for (tamper, found) in [
        ("UPDATE segment SET body = x'00' WHERE id = 2", "segment 2 is not what was written"),
        ("DELETE FROM segment WHERE id = 2", "segment 2 is in the audit trail and no more in the store"),
        (
            "INSERT INTO segment SELECT 9, kind, hash, records, plain, body, stored_ms FROM segment WHERE id = 1",
            "segment 9 was written by nobody",
        ),
        ("DELETE FROM trail WHERE seq = 2", "the audit trail is broken at entry 3"),
        ("UPDATE trail SET time_ms = 1 WHERE seq = 1", "the audit trail is broken at entry 1"),
        ("DELETE FROM trail WHERE seq = 3", "segment 3 was written by nobody"),
    ] {
        let problems = after(tamper);
        assert!(problems.iter().any(|problem| problem.contains(found)), "{tamper}: {problems:?}");
    }
    assert_eq!(after("SELECT 1"), Vec::<String>::new());
}

#[test]
fn a_changed_artifact_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    let files = BTreeMap::from([("f".to_owned(), vec![1]), ("g".to_owned(), vec![2])]);
    let place = store.write_artifact("x", &files).expect("an artifact");
    std::fs::File::create(place.join("f")).expect("emptied");
    std::fs::remove_file(place.join("g")).expect("removed");
    assert_eq!(store.verify().expect("verify").problems.len(), 2);
}
