//! A process killed at any moment leaves whole batches, and frees the store.
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use store::{Keys, Store, Subject};

use crate::{call, fixed_clock, keys_in, new_store, reopen};

const BATCH: u32 = 40;

/// The process that is killed: run by the test below, which sends it a folder.
#[test]
#[ignore = "started by `a_killed_writer_leaves_whole_batches`"]
fn writer() {
    let mut folder = String::new();
    std::io::stdin().read_to_string(&mut folder).expect("a folder");
    let store = reopen(folder.as_ref());
    for batch in 0.. {
        let calls: Vec<_> = (0..BATCH).map(|at| call(&format!("k{batch}"), at)).collect();
        store.append(&calls, &[]).expect("append");
        println!("\nwrote {batch}");
    }
}

#[test]
fn a_killed_writer_leaves_whole_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(new_store(folder.path()));
    let mut calls = 0;
    for patience in [1, 3, 6] {
        let mut child = child("kill::writer", folder.path());
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let wrote = lines.map_while(Result::ok).filter(|line| line.starts_with("wrote")).take(patience).count();
        child.kill().expect("killed");
        child.wait().expect("ended");
        let store = reopen(folder.path());
        let counts = store.counts().expect("counts");
        assert_eq!(counts.calls % u64::from(BATCH), 0, "whole batches alone");
        assert!(counts.calls >= u64::from(BATCH) * wrote as u64, "what was reported as written is there");
        assert!(counts.calls >= calls);
        calls = counts.calls;
        assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
    }
}

/// The process that is killed while it tends the store.
#[test]
#[ignore = "started by `a_process_killed_while_it_tends_the_store_leaves_a_good_one`"]
fn keeper() {
    let mut folder = String::new();
    std::io::stdin().read_to_string(&mut folder).expect("a folder");
    let store = reopen(folder.as_ref());
    for round in store.last_position().expect("asked").. {
        for at in 0..4 {
            store.append(&[call(&format!("keep{round}"), at), call(&format!("drop{round}"), at)], &[]).expect("append");
        }
        println!("\nwrote {round}");
        store.forget(&Subject::Conversation(format!("drop{round}")), false).expect("forgotten");
        println!("\nforgot {round}");
        store.merge_small(false).expect("merged");
        store.shrink().expect("written anew");
    }
}

#[test]
fn a_process_killed_while_it_tends_the_store_leaves_a_good_one() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(new_store(folder.path()));
    for (turn, patience) in [1, 2, 5, 8, 12, 16].into_iter().enumerate() {
        let mut child = child("kill::keeper", folder.path());
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let told = lines.map_while(Result::ok).filter(|line| line.starts_with("wrote ") || line.starts_with("forgot "));
        let told: Vec<String> = told.take(patience).collect();
        std::thread::sleep(std::time::Duration::from_millis(3 * turn as u64));
        child.kill().expect("killed");
        child.wait().expect("ended");
        let store = reopen(folder.path());
        assert_eq!(store.verify().expect("verify").problems, Vec::<String>::new());
        let batches = store.raw_conversations(&crate::scrub_id(1), 999).expect("batches");
        let ids: Vec<String> = batches.flat_map(|batch| batch.expect("a batch").calls).map(|call| call.source_id).collect();
        for line in told {
            let (what, round) = line.split_once(' ').expect("two words");
            let held = |name: &str| ids.iter().filter(|id| id.starts_with(&format!("{name}{round}:"))).count();
            assert_eq!(held("keep"), 4, "{line}");
            assert!(what == "wrote" || held("drop") == 0, "{line}: what was forgotten is back");
        }
    }
}

fn child(test: &str, folder: &std::path::Path) -> std::process::Child {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([test, "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let path = folder.to_str().expect("a plain path");
    child.stdin.take().expect("its input").write_all(path.as_bytes()).expect("the folder is sent");
    child
}

#[test]
fn a_second_writer_is_told_and_a_reader_is_not_kept_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = new_store(folder.path());
    writer.append(&[call("a", 0)], &[]).expect("append");
    let path = folder.path().join("test.db");
    let second = Store::open(&path, keys_in(folder.path()), fixed_clock);
    assert!(matches!(second, Err(store::Error::Busy(_))));
    let reader = Store::open_beside(&path, keys_in(folder.path()), fixed_clock).expect("a reader");
    assert_eq!(reader.counts().expect("counts").calls, 1);
    drop(writer);
    reopen(folder.path());
}

#[test]
fn a_torn_or_foreign_file_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    store.append(&(0..200).map(|at| call("a", at)).collect::<Vec<_>>(), &[]).expect("append");
    drop(store);
    let path = folder.path().join("test.db");
    let open = || Store::open(&path, keys_in(folder.path()), fixed_clock).map(|_| ());
    std::fs::File::options().write(true).open(&path).expect("the file").set_len(5000).expect("cut");
    let torn = open().and_then(|()| Store::open(&path, keys_in(folder.path()), fixed_clock)?.counts().map(|_| ()));
    assert!(matches!(torn, Err(store::Error::Damaged { .. })), "{torn:?}");
    let mut file = std::fs::File::create(&path).expect("the file");
    file.write_all(&[b'x'; 9000]).expect("written");
    assert!(matches!(open(), Err(store::Error::Damaged { .. })));
    let other = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        Store::open(&other.path().join("none.db"), Keys::load(other.path()).expect("keys"), fixed_clock),
        Err(store::Error::NotFound(_))
    ));
}
