//! What only a test inside the crate can bring about: a disk that is full, and SQLite's own refusals.
use record::{Call, Request, Response, Time};
use serde_json::json;

use crate::{Error, Keys, Store, Subject};

fn call(at: u32) -> Call {
    // Text that does not compress, so that a full disk comes soon.
    let text: String = (0..400).map(|n| blake3::hash(format!("{at} {n}").as_bytes()).to_hex().to_string()).collect();
    let row = json!({"source_id": format!("s{at}"), "conversation_id": format!("c{}", at % 5), "client_id": "x",
        "request": Request(json!({"model": "m", "messages": [{"role": "user", "content": text}]})), "response": Response(json!({"model": "m"}))});
    serde_json::from_value(row).expect("the record has every required field")
}

/// A store whose file may not grow by more than `pages` pages.
fn limited(store: &Store, pages: i64) {
    let now: i64 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a count");
    store.connection.query_row(&format!("PRAGMA max_page_count = {}", now + pages), [], |_| Ok(())).expect("a limit");
}

fn store(folder: &std::path::Path) -> Store {
    Store::create(&folder.join("test.db"), Keys::create(&folder.join("keys")).expect("keys"), || Time(1)).expect("a new store")
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    store.append(&(0..10).map(call).collect::<Vec<_>>(), &[]).expect("append");
    limited(&store, 3);
    let full = store.append(&(0..20).map(call).collect::<Vec<_>>(), &[]).expect_err("no room");
    assert!(matches!(full, Error::Full), "{full:?}");
    assert!(full.cure().is_some_and(|cure| cure.contains("make room")));
    assert_eq!(store.counts().expect("counts").calls, 10);
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
    limited(&store, 100_000);
    let recorded = store.append(&(0..20).map(call).collect::<Vec<_>>(), &[]).expect("append");
    assert_eq!((recorded.accepted, recorded.duplicate), (10, 10));
}

#[test]
fn forgetting_on_a_full_disk_is_all_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path());
    store.append(&(0..10).map(call).collect::<Vec<_>>(), &[]).expect("append");
    limited(&store, 1);
    let subject = Subject::Conversation("c1".to_owned());
    assert!(matches!(store.forget(&subject, false), Err(Error::Full)));
    assert_eq!(store.counts().expect("counts").calls, 10);
    limited(&store, 100_000);
    assert_eq!(store.forget(&subject, false).expect("forgotten").calls, 2);
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
}

#[test]
fn sqlites_refusals_have_their_names() {
    let of = |code: i32| Error::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
    assert!(matches!(of(rusqlite::ffi::SQLITE_FULL), Error::Full));
    assert!(matches!(of(rusqlite::ffi::SQLITE_BUSY), Error::Held));
    assert!(matches!(of(rusqlite::ffi::SQLITE_CORRUPT), Error::Torn(_)));
    for error in [of(rusqlite::ffi::SQLITE_FULL), of(rusqlite::ffi::SQLITE_BUSY), of(rusqlite::ffi::SQLITE_CORRUPT)] {
        assert!(error.cure().is_some(), "{error}");
    }
}
