//! What lies on the disk, and who can read it.
#![expect(clippy::disallowed_methods, reason = "stands in for scrub")]
use std::path::Path;

use record::{Clean, Reject};
use store::{Error, Keys, Role, Store};

use crate::{call, fixed_clock, keys_in, new_store, scrub_id};

fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && !entry.ends_with("keys") {
            all.extend(bytes_below(&entry));
        } else if entry.is_file() {
            all.extend(std::fs::read(entry).expect("a file"));
        }
    }
    all
}

#[test]
fn no_personal_byte_reaches_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    let reject = Reject {
        file: "/home/planted-user/log".into(),
        line: 3,
        field: String::new(),
        problem: "p".into(),
        cure: String::new(),
        row: Some("planted-row".into()),
    };
    let mut calls = vec![call("planted-conversation", 0), call("planted-conversation", 1)];
    calls[0].request.0["messages"][0]["content"] = "planted-body".into();
    store.append(&calls, &[reject]).expect("append");
    let batch = store.raw_conversations(&scrub_id(1), 10).expect("batches").next().expect("one").expect("a batch");
    store.put_clean(&batch.id, &batch.calls.into_iter().map(Clean::vouch).collect::<Vec<_>>()).expect("clean");
    store.put_predictions(&scrub_id(9), &[("planted-conversation:0".to_owned(), record::Prediction::default())]).expect("predictions");
    let kept = store.predictions(&scrub_id(9)).expect("predictions").expect("kept");
    assert_eq!(kept[0].0, "planted-conversation:0");
    // With the write-ahead log still there, and after it was folded in.
    for open in [Some(store), None] {
        let disk = bytes_below(folder.path());
        assert!(disk.len() > 10_000);
        let origin = std::fs::read_to_string(folder.path().join("keys/collector.key")).expect("the key");
        let secret = origin.lines().find_map(|line| line.strip_prefix("origin ")).expect("the secret");
        for planted in
            ["tenant-of-planted-origin", "planted-conversation", "planted-body", "planted-user", "planted-row", "AGE-SECRET", secret]
        {
            assert!(!disk.windows(planted.len()).any(|window| window == planted.as_bytes()), "{planted} is on the disk");
        }
        drop(open);
    }
}

/// The store opened with the key files of `roles` alone.
fn with(folder: &Path, roles: &[Role]) -> Store {
    let held = tempfile::tempdir().expect("a folder");
    for role in roles {
        std::fs::copy(folder.join("keys").join(role.file_name()), held.path().join(role.file_name())).expect("copied");
    }
    Store::open(&folder.join("test.db"), Keys::load(held.path()).expect("keys"), fixed_clock).expect("the store")
}

#[test]
fn a_role_reads_what_its_key_opens_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(new_store(folder.path()));
    let missing = |outcome: Result<(), Error>, wanted: Role| match outcome {
        Err(Error::MissingKey { role, .. }) => assert_eq!(role, wanted),
        other => panic!("{other:?}"),
    };
    let collector = with(folder.path(), &[Role::Collector]);
    collector.append(&[call("a", 0)], &[]).expect("a collector appends");
    missing(collector.raw_conversations(&scrub_id(1), 9).map(|_| ()), Role::Curator);
    missing(collector.clean_calls().map(|_| ()), Role::Trainer);
    missing(collector.trail().map(|_| ()), Role::Auditor);
    assert!(collector.verify().expect("verify").problems.is_empty());
    drop(collector);

    let curator = with(folder.path(), &[Role::Curator]);
    let batch = curator.raw_conversations(&scrub_id(1), 9).expect("batches").next().expect("one").expect("a batch");
    curator.put_clean(&batch.id, &batch.calls.into_iter().map(Clean::vouch).collect::<Vec<_>>()).expect("clean");
    assert_eq!(curator.clean_calls().expect("clean").count(), 1);
    missing(curator.append(&[call("a", 1)], &[]).map(|_| ()), Role::Collector);
    drop(curator);

    let trainer = with(folder.path(), &[Role::Trainer]);
    assert_eq!(trainer.clean_calls().expect("clean").map(|batch| batch.expect("a batch").len()).sum::<usize>(), 1);
    missing(trainer.raw_conversations(&scrub_id(1), 9).map(|_| ()), Role::Curator);
    missing(trainer.rejects().map(|_| ()), Role::Curator);
    drop(trainer);

    let auditor = with(folder.path(), &[Role::Auditor]);
    let trail: Vec<_> =
        auditor.trail().expect("the trail").into_iter().map(|(_, entry)| format!("{} {}", entry.action, entry.kind)).collect();
    assert_eq!(trail, ["wrote raw", "read raw", "wrote clean", "read clean", "read clean"]);
    missing(auditor.clean_calls().map(|_| ()), Role::Trainer);
    assert!(auditor.verify().expect("verify").trail_read);
}

#[test]
fn keys_of_another_store_are_refused_and_none_are_overwritten() {
    let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    drop(new_store(one.path()));
    let wrong = Store::open(&one.path().join("test.db"), keys_in(two.path()), fixed_clock);
    assert!(matches!(wrong, Err(Error::WrongKey { role: Role::Collector, .. })), "{:?}", wrong.err());
    assert!(matches!(Keys::create(&one.path().join("keys")), Err(Error::Exists(_))));
    std::fs::File::create(two.path().join("keys/trainer.key")).expect("an empty file");
    assert!(matches!(Keys::load(&two.path().join("keys")), Err(Error::BadKey { role: Role::Trainer, .. })));
}

#[test]
#[cfg(unix)]
fn key_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    Keys::create(folder.path()).expect("keys");
    for role in Role::ALL {
        let mode = std::fs::metadata(folder.path().join(role.file_name())).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{role}");
    }
}
