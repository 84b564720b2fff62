//! Keys change under a store that has content; who has none reads nothing, from the file itself either.
#![expect(clippy::disallowed_methods, reason = "stands in for scrub, and puts an older file back")]
use std::path::Path;
use std::str::FromStr;

use age::x25519::Identity;
use record::Clean;
use serde_json::json;
use store::{Error, Keys, Role, Store, Subject};

use crate::{call, fixed_clock, keys_in, new_store, reopen, scrub_id};

fn filled(folder: &Path) -> Store {
    let store = new_store(folder);
    store.append(&[call("a", 0), call("a", 1), call("b", 0)], &[]).expect("append");
    let batch = store.raw_conversations(&scrub_id(1), 9).expect("batches").next().expect("one").expect("a batch");
    store.put_clean(&batch.id, &batch.calls.into_iter().map(Clean::vouch).collect::<Vec<_>>()).expect("clean");
    store.put_predictions(&scrub_id(2), &[("a:0".to_owned(), record::Prediction::default())]).expect("predictions");
    store.finish_unit(&scrub_id(3), "evaluate", "x", &json!({"a": 1})).expect("a unit");
    store
}

/// The store with other key files beside `collector.key`.
fn with(folder: &Path, keys: &Path) -> Result<Store, Error> {
    Store::open(&folder.join("test.db"), Keys::load(keys)?, fixed_clock)
}

/// The first identity of a key file.
fn identity(folder: &Path, role: Role) -> Identity {
    let text = std::fs::read_to_string(folder.join(role.file_name())).expect("a key file");
    Identity::from_str(text.lines().last().expect("a line")).expect("an identity")
}

/// Which kinds of sealed bytes of the raw SQLite file an identity opens.
fn opens(folder: &Path, identity: &Identity) -> Vec<String> {
    let database = rusqlite::Connection::open(folder.join("test.db")).expect("the file");
    let sql = "SELECT kind, body FROM segment UNION ALL SELECT 'trail', detail FROM trail UNION ALL SELECT 'result', value FROM unit";
    let mut query = database.prepare(sql).expect("a query");
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).expect("rows");
    let mut kinds: Vec<String> = rows
        .map(|row| row.expect("a row"))
        .filter(|(_, sealed)| {
            let decryptor = age::Decryptor::new(&sealed[..]).expect("an age file");
            decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).is_ok()
        })
        .map(|(kind, _)| kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn the_raw_file_opens_to_a_roles_own_key_and_no_other() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    drop(filled(folder.path()));
    Keys::create(other.path()).expect("keys");
    let keys = folder.path().join("keys");
    assert_eq!(opens(folder.path(), &identity(&keys, Role::Curator)), ["clean", "prediction", "raw", "result"]);
    assert_eq!(opens(folder.path(), &identity(&keys, Role::Trainer)), ["clean", "prediction", "result"]);
    assert_eq!(opens(folder.path(), &identity(&keys, Role::Auditor)), ["trail"]);
    for role in [Role::Curator, Role::Trainer, Role::Auditor] {
        assert!(opens(folder.path(), &identity(other.path(), role)).is_empty());
    }
    // All that a collector has are public keys and the secret of the hashes.
    let collector = std::fs::read_to_string(keys.join("collector.key")).expect("the key file");
    assert!(!collector.contains("AGE-SECRET"));
}

#[test]
fn a_reader_is_added_and_removed_for_all_that_is_stored() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let mut store = filled(folder.path());
    Keys::create(other.path()).expect("keys");
    let second = identity(other.path(), Role::Trainer);
    let public = second.to_public().to_string();
    assert!(opens(folder.path(), &second).is_empty());
    let resealed = store.add_reader(Role::Trainer, &public).expect("added");
    assert_eq!((resealed.segments, resealed.results, resealed.erased), (2, 1, true));
    assert_eq!(opens(folder.path(), &second), ["clean", "prediction", "result"]);
    assert_eq!(store.known_keys().iter().filter(|key| key.role == "trainer").count(), 2);
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
    store.put_predictions(&scrub_id(4), &[("a:1".to_owned(), record::Prediction::default())]).expect("sealed for both");
    drop(store);

    std::fs::remove_file(other.path().join("collector.key")).expect("removed");
    std::fs::remove_file(other.path().join("curator.key")).expect("removed");
    std::fs::remove_file(other.path().join("auditor.key")).expect("removed");
    let trainer = with(folder.path(), other.path()).expect("the second trainer");
    assert_eq!(trainer.clean_calls().expect("clean").map(|batch| batch.expect("a batch").len()).sum::<usize>(), 3);
    assert!(trainer.predictions(&scrub_id(4)).expect("opened").is_some());
    drop(trainer);

    let mut store = reopen(folder.path());
    let removed = store.remove_reader(Role::Trainer, &public).expect("removed");
    assert_eq!(removed.segments, 3);
    assert!(opens(folder.path(), &second).is_empty());
    assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
    assert_eq!(store.clean_calls().expect("clean").count(), 1);
    drop(store);
    assert!(matches!(with(folder.path(), other.path()), Err(Error::WrongKey { role: Role::Trainer, .. })));
}

#[test]
fn readers_that_cannot_be_changed_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = filled(folder.path());
    let own = store.known_keys()[0].key.clone();
    for outcome in
        [store.add_reader(Role::Collector, &own), store.add_reader(Role::Trainer, "age1nonsense"), store.remove_reader(Role::Curator, &own)]
    {
        assert!(matches!(outcome, Err(Error::Reader { .. })), "{outcome:?}");
    }
    // A database that somebody gave one more reader is not sealed for.
    drop(store);
    let database = rusqlite::Connection::open(folder.path().join("test.db")).expect("the file");
    let foreign = Identity::generate().to_public().to_string();
    database.execute("UPDATE meta SET value = value || ' ' || ?1 WHERE name = 'recipient curator'", [foreign]).expect("tampered");
    assert!(matches!(with(folder.path(), &folder.path().join("keys")), Err(Error::OldKey(_))));
}

#[test]
fn a_new_origin_secret_finds_what_the_old_one_hashed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = filled(folder.path());
    let exported = tempfile::tempdir().expect("a folder");
    store.keys().export_collector(exported.path()).expect("exported");
    assert!(matches!(store.keys().export_collector(exported.path()), Err(Error::Exists(_))));
    drop(store);
    let before = std::fs::read(folder.path().join("test.db")).expect("the file");
    let mut store = reopen(folder.path());
    store.rotate_origin().expect("rotated");
    let mut changed = call("a", 1);
    changed.cost_usd = Some(1.0);
    let recorded = store.append(&[call("a", 0), changed, call("a", 2), call("c", 0)], &[]).expect("append");
    assert_eq!((recorded.accepted, recorded.duplicate, recorded.conflicting), (2, 2, 1));
    assert_eq!(store.counts().expect("counts").conversations, 3, "a conversation goes on under its old row");
    assert_eq!(store.position_of("b:0").expect("asked"), Some(3));
    store.forget(&Subject::Conversation("b".to_owned()), false).expect("forgotten");
    store.rotate_origin().expect("rotated");
    assert_eq!(store.append(&[call("b", 0)], &[]).expect("append").forgotten, 1);
    assert_eq!(store.known_keys().iter().filter(|key| key.role == "origin").count(), 3);
    drop(store);

    // A copy of the key file from before is told apart from a foreign one.
    assert!(matches!(with(folder.path(), exported.path()), Err(Error::OldKey(_))));
    assert!(matches!(with(folder.path(), &exported.path().join("none")).map(|s| s.keys().has(Role::Collector)), Ok(false)));
    // Cut off between key file and database: the database is older than the file, and is taken along.
    drop(reopen(folder.path()));
    std::fs::write(folder.path().join("test.db"), before).expect("put back");
    let store = Store::open(&folder.path().join("test.db"), keys_in(folder.path()), fixed_clock).expect("taken along");
    assert_eq!(store.append(&[call("a", 0)], &[]).expect("append").duplicate, 1);
}
