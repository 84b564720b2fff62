//! A file of an older layout is brought up to date and nothing of it is lost.
use store::Store;

use crate::{call, fixed_clock, keys_in, new_store, reopen};

/// Takes a store back to layout 1: what later layouts added goes, and the tables get their first shape.
fn layout_1(path: &std::path::Path) {
    let database = rusqlite::Connection::open(path).expect("the file");
    let columns = "id INTEGER PRIMARY KEY, source BLOB NOT NULL UNIQUE, content BLOB NOT NULL,
      conversation INTEGER NOT NULL REFERENCES conversation(id), origin INTEGER REFERENCES origin(id),
      segment INTEGER NOT NULL REFERENCES segment(id), position INTEGER NOT NULL, plain INTEGER NOT NULL,
      step INTEGER NOT NULL, time_ms INTEGER, model INTEGER NOT NULL REFERENCES model(id),
      prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER, latency_ms REAL, cost_usd REAL,
      scrub INTEGER REFERENCES scrub(id),
      clean_segment INTEGER REFERENCES segment(id), clean_position INTEGER, clean_plain INTEGER, clean_hash BLOB,
      task INTEGER REFERENCES task(id)";
    database
        .execute_batch(&format!(
            "CREATE TABLE old({columns}); INSERT INTO old SELECT * FROM call; DROP TABLE call; ALTER TABLE old RENAME TO call;
             CREATE INDEX call_conversation ON call(conversation);
             CREATE INDEX call_clean_segment ON call(clean_segment) WHERE clean_segment IS NOT NULL;
             DROP INDEX reject_segment; DROP INDEX prediction_segment; ALTER TABLE segment DROP COLUMN stored_ms;
             DELETE FROM meta WHERE name = 'layout 1 until'; DROP TABLE tombstone; DROP TABLE made; PRAGMA user_version = 1;"
        ))
        .expect("layout 1");
}

#[test]
fn a_store_of_layout_1_opens_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    store.append(&[call("a", 0), call("a", 1)], &[]).expect("append");
    let frame = store.frame().expect("a frame");
    drop(store);
    let path = folder.path().join("test.db");
    layout_1(&path);
    let store = reopen(folder.path());
    assert!(store.frame().expect("a frame").equals_missing(&frame));
    assert_eq!(store.append(&[call("a", 1), call("a", 2)], &[]).expect("append").duplicate, 1);
    assert_eq!(store.raw_conversations(&crate::scrub_id(1), 9).expect("batches").next().expect("one").expect("a batch").calls.len(), 3);
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
}

#[test]
fn a_newer_layout_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(new_store(folder.path()));
    let path = folder.path().join("test.db");
    rusqlite::Connection::open(&path).expect("the file").pragma_update(None, "user_version", 99).expect("set");
    let before = std::fs::read(&path).expect("the file");
    let Err(error) = Store::open(&path, keys_in(folder.path()), fixed_clock) else { panic!("it opened") };
    assert!(matches!(error, store::Error::Layout { found: 99, .. }), "{error}");
    assert!(error.cure().is_some_and(|cure| cure.contains("version")));
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}
