//! Old raw text goes, small segments become few, and nothing else changes.
#![expect(clippy::disallowed_methods, reason = "stands in for scrub")]
use std::cell::Cell;
use std::path::Path;

use record::{Clean, Reject, Time};
use store::{Error, Keys, Role, Store};

use crate::{call, keys_in, new_store, reopen, scrub_id};

const DAY: i64 = 86_400_000;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

fn open_at(folder: &Path, day: i64) -> Store {
    NOW.set(day * DAY);
    let (path, keys, clock) = (folder.join("test.db"), keys_in(folder), || Time(NOW.get()));
    if path.exists() { Store::open(&path, keys, clock) } else { Store::create(&path, keys, clock) }.expect("the store")
}

fn scrub(store: &Store) {
    for batch in store.raw_conversations(&scrub_id(1), 9).expect("batches") {
        let batch = batch.expect("a batch");
        store.put_clean(&batch.id, &batch.calls.into_iter().map(Clean::vouch).collect::<Vec<_>>()).expect("clean");
    }
}

fn clean(store: &Store) -> Vec<String> {
    let calls = store.clean_calls().expect("clean calls").flat_map(|batch| batch.expect("a batch"));
    calls.map(|call| serde_json::to_string(&call).expect("JSON")).collect()
}

fn segments(folder: &Path, kind: &str) -> i64 {
    let database = rusqlite::Connection::open(folder.join("test.db")).expect("the file");
    database.query_row("SELECT count(*) FROM segment WHERE kind = ?1", [kind], |row| row.get(0)).expect("a count")
}

#[test]
fn raw_text_goes_by_age_and_the_rest_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let reject =
        Reject { file: "f".into(), line: 1, field: String::new(), problem: "p".into(), cure: String::new(), row: Some("row".into()) };
    open_at(folder.path(), 1).append(&[call("a", 0), call("b", 0)], &[reject]).expect("append");
    scrub(&open_at(folder.path(), 2));
    open_at(folder.path(), 3).append(&[call("old", 0)], &[]).expect("append");
    open_at(folder.path(), 9).append(&[call("a", 1)], &[]).expect("append");
    let store = open_at(folder.path(), 10);
    let (copy, frame) = (clean(&store), store.frame().expect("a frame"));
    let before = Time(4 * DAY);
    let planned = store.expire_raw(before, false, true).expect("a dry run");
    assert_eq!((planned.calls, planned.rejects, planned.unscrubbed), (2, 1, 1));
    assert_eq!(store.expire_raw(before, false, false).expect("expired"), planned);
    assert!(store.shrink().expect("written anew"));
    let counts = store.counts().expect("counts");
    assert_eq!((counts.calls, counts.without_raw, counts.rejects, segments(folder.path(), "raw")), (4, 2, 0, 2));
    assert_eq!(clean(&store), copy);
    assert!(store.frame().expect("a frame").equals_missing(&frame));
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());

    // The old log again is known; `a` goes on with what of it is still there.
    assert_eq!(store.append(&[call("a", 0)], &[]).expect("append").duplicate, 1);
    assert_eq!(store.pending(&scrub_id(1)).expect("pending"), 2);
    scrub(&store);
    assert_eq!((clean(&store).len(), store.pending(&scrub_id(2)).expect("pending")), (4, 2));
    let all = store.expire_raw(Time(20 * DAY), true, false).expect("expired");
    assert_eq!((all.calls, all.unscrubbed, segments(folder.path(), "raw")), (2, 0, 0));
    assert_eq!(clean(&store).len(), 4);
}

#[test]
fn small_segments_become_few_and_every_call_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    for at in 0..50 {
        store.append(&[call("a", at), call("b", at)], &[]).expect("append");
    }
    scrub(&store);
    store.append(&(0..1100).map(|at| call("big", at)).collect::<Vec<_>>(), &[]).expect("append");
    let raw = |store: &Store| -> Vec<_> {
        store.raw_conversations(&scrub_id(9), 9000).expect("batches").flat_map(|batch| batch.expect("a batch").calls).collect()
    };
    let (calls, copy) = (raw(&store), clean(&store));
    let bodies = |folder: &Path| {
        let database = rusqlite::Connection::open(folder.join("test.db")).expect("the file");
        database.query_row("SELECT sum(length(body)) FROM segment", [], |row| row.get::<_, i64>(0)).expect("a sum")
    };
    let size = bodies(folder.path());
    assert_eq!(segments(folder.path(), "raw"), 51);
    assert_eq!(store.merge_small(true).expect("a dry run").into, 2);
    assert_eq!(segments(folder.path(), "raw"), 51);
    let merged = store.merge_small(false).expect("merged");
    assert!(store.shrink().expect("written anew"));
    assert_eq!((merged.into, segments(folder.path(), "raw"), segments(folder.path(), "clean")), (2, 2, 1));
    assert!(bodies(folder.path()) < size / 2);
    assert_eq!((raw(&store), clean(&store)), (calls, copy));
    assert_eq!(store.merge_small(false).expect("again").segments, 0, "what is merged stays as it is");
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
    drop(store);
    let held = tempfile::tempdir().expect("a folder");
    std::fs::copy(folder.path().join("keys/trainer.key"), held.path().join("trainer.key")).expect("copied");
    let trainer = Store::open(&folder.path().join("test.db"), Keys::load(held.path()).expect("keys"), || Time(0)).expect("the store");
    assert!(matches!(trainer.merge_small(false), Err(Error::MissingKey { role: Role::Curator, .. })));
}

#[test]
fn what_was_merged_is_as_old_as_its_oldest_part() {
    let folder = tempfile::tempdir().expect("a folder");
    for day in 1..=3 {
        let store = open_at(folder.path(), day);
        store.append(&[call("a", u32::try_from(day).expect("small"))], &[]).expect("append");
        scrub(&store);
    }
    let store = open_at(folder.path(), 4);
    assert_eq!(store.merge_small(false).expect("merged").into, 1, "days 1 and 2");
    assert_eq!(store.expire_raw(Time(2 * DAY), false, true).expect("a dry run").calls, 2);
    drop(store);
    reopen(folder.path());
}
