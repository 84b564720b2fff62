//! What is forgotten is nowhere any more, and does not come back.
#![expect(clippy::disallowed_methods, reason = "stands in for scrub")]
use std::collections::BTreeSet;
use std::path::Path;

use record::{Call, Clean, Prediction, Reject, TaskId};
use serde_json::json;
use store::{Error, Keys, Role, Store, Subject};

use crate::{call, fixed_clock, new_store, reopen, scrub_id};

/// Call `at` of a conversation that was held for `client`.
fn call_for(client: &str, conversation: &str, at: u32) -> Call {
    let mut call = call(conversation, at);
    call.client_id = Some(client.to_owned());
    call
}

fn scrub(store: &Store, version: u8) {
    for batch in store.raw_conversations(&scrub_id(version), 700).expect("batches") {
        let batch = batch.expect("a batch");
        store.put_clean(&batch.id, &batch.calls.into_iter().map(Clean::vouch).collect::<Vec<_>>()).expect("clean");
    }
}

fn reject(row: &str) -> Reject {
    Reject { file: "f".into(), line: 1, field: String::new(), problem: "bad".into(), cure: String::new(), row: Some(row.into()) }
}

/// Forty conversations of ten clients, their calls interleaved over many small segments, so that pages split and cells move.
fn filled(folder: &Path) -> Store {
    let store = new_store(folder);
    for part in 0..30 {
        let calls: Vec<_> = (0..40).map(|n| call_for(&format!("client-{}", n % 10), &format!("c{n}"), part)).collect();
        store.append(&calls, &[]).expect("append");
    }
    store.append(&[], &[reject(r#"{"user":"client-3","#), reject(r#"{"user":"client-33","#)]).expect("append");
    scrub(&store, 1);
    let predictions: Vec<_> = ["c3:0", "c4:0"].map(|id| (id.to_owned(), Prediction::default())).into();
    store.put_predictions(&scrub_id(7), &predictions).expect("predictions");
    let quotes = json!({"n": 2, "answers": [{"source_id": "c3:0", "asked": "?"}, {"source_id": "c4:0"}], "by": {"c3:1": 1, "c4:1": 2}});
    store.finish_unit(&scrub_id(8), "evaluate", "x", &quotes).expect("a unit");
    let task = TaskId("t".to_owned());
    store.note_made("adapter", "adapters/aa", &task, ["c3:0", "c13:0", "c4:0"]).expect("noted");
    store.note_made("dataset", "out", &task, ["c4:0"]).expect("noted");
    store
}

fn ids(store: &Store) -> BTreeSet<String> {
    let calls = store.clean_calls().expect("clean calls").flat_map(|batch| batch.expect("a batch"));
    calls.map(|call| call.source_id.clone()).collect()
}

/// What must be nowhere afterwards: the hashes of the calls in question and the beginnings of all segments that hold them.
fn marks(folder: &Path, client: &str) -> Vec<Vec<u8>> {
    let store = reopen(folder);
    let position = store.position_of(&format!("{client}:0")).expect("asked").expect("it is stored");
    drop(store);
    let database = rusqlite::Connection::open(folder.join("test.db")).expect("the file");
    let mut marks = Vec::new();
    for sql in [
        "SELECT source FROM call WHERE origin = (SELECT origin FROM call WHERE id = ?1)",
        "SELECT content FROM call WHERE origin = (SELECT origin FROM call WHERE id = ?1)",
        "SELECT hash FROM conversation WHERE id IN (SELECT conversation FROM call WHERE origin = (SELECT origin FROM call WHERE id = ?1))",
        "SELECT hash FROM origin WHERE id = (SELECT origin FROM call WHERE id = ?1)",
        "SELECT substr(body, 40, 64) FROM segment WHERE id IN (SELECT segment FROM call WHERE origin = (SELECT origin FROM call WHERE id = ?1))",
        "SELECT substr(body, 40, 64) FROM segment WHERE id IN
           (SELECT clean_segment FROM call WHERE origin = (SELECT origin FROM call WHERE id = ?1)) OR kind = 'prediction' AND ?1 > 0",
    ] {
        let mut query = database.prepare(sql).expect("a query");
        let rows = query.query_map([i64::try_from(position).expect("small")], |row| row.get(0)).expect("rows");
        marks.extend(rows.map(|row| row.expect("a blob")));
    }
    marks
}

fn on_disk(folder: &Path) -> Vec<u8> {
    ["test.db", "test.db-wal"].iter().filter_map(|name| std::fs::read(folder.join(name)).ok()).flatten().collect()
}

fn found(disk: &[u8], marks: &[Vec<u8>]) -> usize {
    let heads: BTreeSet<&[u8]> = marks.iter().map(|mark| &mark[..16]).collect();
    disk.windows(16).filter(|window| heads.contains(window)).count()
}

#[test]
fn a_client_is_forgotten_everywhere_and_kept_out() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(filled(folder.path()));
    let marks = marks(folder.path(), "c3");
    assert!(marks.len() > 270 && found(&on_disk(folder.path()), &marks) >= marks.len());
    let store = reopen(folder.path());
    let last = store.last_position().expect("asked");
    let all = ids(&store);
    let subject = Subject::Client("client-3".to_owned());
    let planned = store.forget(&subject, true).expect("a dry run");
    assert_eq!(
        (planned.calls, planned.conversations, planned.clean, planned.predictions, planned.rejects, planned.results),
        (120, 4, 120, 1, 1, 1)
    );
    assert_eq!(ids(&store), all, "a dry run removes nothing");
    let mut forgotten = store.forget(&subject, false).expect("forgotten");
    assert!(std::mem::take(&mut forgotten.erased));
    assert_eq!(forgotten, planned);
    let made: Vec<_> = forgotten.made.iter().map(|made| (made.kind.as_str(), made.name.as_str(), made.calls)).collect();
    assert_eq!(made, [("adapter", "adapters/aa", 2)]);

    // Nothing of it is left, with the log still there and after it was folded in; what else was stored is.
    assert_eq!(found(&on_disk(folder.path()), &marks), 0);
    let gone: BTreeSet<_> = all.iter().filter(|id| ["c3:", "c13:", "c23:", "c33:"].iter().any(|c| id.starts_with(c))).cloned().collect();
    assert_eq!(ids(&store), all.difference(&gone).cloned().collect());
    assert_eq!(store.predictions(&scrub_id(7)).expect("predictions").expect("kept").len(), 1);
    let value = store.unit_value(&scrub_id(8)).expect("asked");
    assert_eq!(value, Some(json!({"n": 2, "answers": [{"source_id": "c4:0"}], "by": {"c4:1": 2}})));
    let rows: Vec<_> = store.rejects().expect("rejects").map(|reject| reject.expect("a reject").row).collect();
    assert_eq!(rows, [Some(r#"{"user":"client-33","#.to_owned())]);
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
    drop(store);
    assert_eq!(found(&on_disk(folder.path()), &marks), 0);

    // The old log again, and one that goes on.
    let store = reopen(folder.path());
    let calls =
        [call_for("client-3", "c3", 0), call_for("client-3", "new", 0), call_for("client-4", "c4", 0), call_for("client-4", "c4", 99)];
    let recorded = store.append(&calls, &[reject(r#"{"user":"client-3","#)]).expect("append");
    assert_eq!((recorded.accepted, recorded.duplicate, recorded.forgotten, recorded.rejected), (1, 1, 3, 0));
    assert_eq!(store.position_of("c4:99").expect("asked"), Some(last + 1), "no number is given twice");
    let trail = store.trail().expect("the trail");
    let told: Vec<_> = trail.iter().filter(|(_, e)| e.segment == 0).map(|(_, e)| (&e.action[..], &e.kind[..], e.records)).collect();
    assert_eq!(told, [("forgot", "client", 120), ("kept out", "raw", 3)]);
}

#[test]
fn a_person_is_forgotten_with_the_conversations_that_name_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    let mut calls = vec![call_for("acme", "a", 0), call_for("acme", "a", 1), call_for("acme", "b", 0), call_for("ann@x.org", "c", 0)];
    calls[1].request.0["user"] = "ann@x.org".into();
    calls[2].request.0["messages"][0]["content"] = "ask ann@x.org".into();
    store.append(&calls, &[]).expect("append");
    let forgotten = store.forget(&Subject::Person("ann@x.org".to_owned()), false).expect("forgotten");
    assert_eq!((forgotten.calls, forgotten.conversations), (3, 2), "a name in a text is for scrub");
    let mut late = call_for("acme", "d", 0);
    late.tags.insert("user_id".to_owned(), "ann@x.org".into());
    let recorded = store.append(&[call_for("acme", "a", 7), late, call_for("acme", "b", 1)], &[]).expect("append");
    assert_eq!((recorded.accepted, recorded.forgotten), (1, 2), "the conversation is kept out, and whatever names the person");
}

#[test]
fn an_older_clean_copy_is_forgotten_with_its_conversation() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    store.append(&[call("a", 0), call("b", 0)], &[]).expect("append");
    scrub(&store, 1);
    // `a` moves on; its first clean copy stays behind in the segment of `b`.
    store.append(&[call("a", 1)], &[]).expect("append");
    scrub(&store, 1);
    let forgotten = store.forget(&Subject::Conversation("a".to_owned()), false).expect("forgotten");
    assert_eq!((forgotten.calls, forgotten.clean), (2, 2));
    let trail = store.trail().expect("the trail");
    let clean: Vec<_> = trail.iter().filter(|(_, e)| e.kind == "clean" && e.action == "wrote").map(|(_, e)| e.records).collect();
    assert_eq!(clean, [2, 2, 1], "the segment that both lay in was written anew with one record");
    assert_eq!(ids(&store), ["b:0".to_owned()].into());
    assert_eq!(store.append(&[call("a", 0)], &[]).expect("append").forgotten, 1);
}

#[test]
fn forgetting_needs_the_curator_and_unknown_names_are_kept_out_too() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(filled(folder.path()));
    let held = tempfile::tempdir().expect("a folder");
    for role in [Role::Collector, Role::Trainer] {
        std::fs::copy(folder.path().join("keys").join(role.file_name()), held.path().join(role.file_name())).expect("copied");
    }
    let store = Store::open(&folder.path().join("test.db"), Keys::load(held.path()).expect("keys"), fixed_clock).expect("the store");
    let subject = Subject::Client("nobody".to_owned());
    assert!(matches!(store.forget(&subject, false), Err(Error::MissingKey { role: Role::Curator, .. })));
    drop(store);
    let store = reopen(folder.path());
    assert_eq!(store.forget(&subject, false).expect("forgotten").calls, 0);
    assert_eq!(store.append(&[call_for("nobody", "z", 0)], &[]).expect("append").forgotten, 1);
}

#[test]
fn what_a_killed_process_deleted_is_erased_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(filled(folder.path()));
    let database = rusqlite::Connection::open(folder.path().join("test.db")).expect("the file");
    database
        .execute_batch(
            "CREATE TABLE junk(x); INSERT INTO junk VALUES (zeroblob(500000)); DROP TABLE junk; INSERT INTO meta VALUES ('erase', 'due')",
        )
        .expect("done");
    let pages =
        |database: &rusqlite::Connection| database.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0)).expect("a count");
    assert!(pages(&database) > 50);
    reopen(folder.path());
    assert_eq!(pages(&database), 0);
}
