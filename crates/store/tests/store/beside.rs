//! Readers beside a writer, and bodies that were cut or exchanged.
#![expect(clippy::disallowed_methods, reason = "stands in for scrub")]
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use record::Clean;
use store::{Error, Store};

use crate::{call, fixed_clock, keys_in, new_store, reopen, scrub_id};

fn beside(folder: &Path) -> Store {
    Store::open_beside(&folder.join("test.db"), keys_in(folder), fixed_clock).expect("a reader")
}

/// Reads all there is and gives the number of raw calls; none where a segment was merged away meanwhile.
fn read(store: &Store) -> Option<usize> {
    let whole = || -> Result<usize, Error> {
        store.frame()?;
        for batch in store.clean_calls()? {
            batch?;
        }
        store.raw_conversations(&scrub_id(9), 50)?.try_fold(0, |sum, batch| Ok(sum + batch?.calls.len()))
    };
    match whole() {
        Ok(count) => Some(count),
        Err(Error::Moved { .. }) => None,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn readers_see_whole_batches_while_one_writer_collects_and_merges() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = new_store(folder.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let (mut counts, mut before) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                // A new connection each time, as a command has, and one that stays open.
                let store = beside(folder.path());
                for count in [read(&store), read(&store)].into_iter().flatten() {
                    assert!(count >= before && count % 5 == 0, "{count} calls after {before}");
                    (before, counts) = (count, counts + 1);
                }
            }
            counts
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        for at in 0..40 {
            writer.append(&(0..5).map(|n| call(&format!("c{n}"), at)).collect::<Vec<_>>(), &[]).expect("append");
            if at % 10 == 9 {
                let batch = writer.raw_conversations(&scrub_id(1), 999).expect("batches").next().expect("one").expect("a batch");
                writer.put_clean(&batch.id, &batch.calls.into_iter().map(Clean::vouch).collect::<Vec<_>>()).expect("clean");
                writer.merge_small(false).expect("merged");
                writer.shrink().expect("tried");
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("no reader failed") > 0);
        }
    });
    assert_eq!(read(&beside(folder.path())), Some(200));
    assert_eq!(writer.verify().expect("verify").problems, Vec::<String>::new());
}

#[test]
fn a_segment_that_is_cut_or_exchanged_is_told_and_the_others_are_read() {
    for (tamper, cause) in [
        ("UPDATE segment SET body = substr(body, 1, length(body) / 2) WHERE id = 1", "not those that were written"),
        ("UPDATE segment SET kind = 'clean' WHERE id = 1", "not those that were written"),
        (
            "UPDATE segment SET body = (SELECT body FROM segment WHERE id = 2), hash = (SELECT hash FROM segment WHERE id = 2) WHERE id = 1",
            "",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = new_store(folder.path());
        store.append(&[call("a", 0)], &[]).expect("append");
        store.append(&[call("b", 0)], &[]).expect("append");
        drop(store);
        rusqlite::Connection::open(folder.path().join("test.db")).expect("the file").execute_batch(tamper).expect("tampered");
        let store = reopen(folder.path());
        let batches: Vec<_> = store.raw_conversations(&scrub_id(1), 1).expect("batches").collect();
        assert!(batches[1].is_ok());
        match &batches[0] {
            Err(error @ Error::Segment { segment: 1, .. }) if !cause.is_empty() => {
                assert!(error.to_string().contains(cause) && error.cure().is_some(), "{error}");
            }
            Ok(_) if cause.is_empty() => assert!(!store.verify().expect("verify").problems.is_empty(), "verify finds what was exchanged"),
            other => panic!("{tamper}: {other:?}"),
        }
    }
}
