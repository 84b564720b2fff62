//! Appending, scrubbing, reading back.
#![expect(clippy::disallowed_methods, reason = "stands in for scrub")]
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use record::{Call, Clean, Recorder, Reject, TaskId};
use store::Store;

use crate::{call, new_store, reopen, scrub_id};

/// Two conversations, their calls interleaved.
fn interleaved(n: u32) -> Vec<Call> {
    (0..n).flat_map(|at| [call("a", at), call("b", at)]).collect()
}

fn scrub_all(store: &Store, version: u8, edit: impl Fn(&mut Call)) -> usize {
    let mut batches = 0;
    for batch in store.raw_conversations(&scrub_id(version), 3).expect("batches") {
        let mut batch = batch.expect("a batch");
        batch.calls.iter_mut().for_each(&edit);
        let clean: Vec<_> = batch.calls.into_iter().map(Clean::vouch).collect();
        store.put_clean(&batch.id, &clean).expect("clean calls");
        batches += 1;
    }
    batches
}

fn clean_ids(store: &Store) -> Vec<String> {
    let batches = store.clean_calls().expect("clean calls");
    batches.flat_map(|batch| batch.expect("a batch")).map(|call| call.source_id.clone()).collect()
}

#[test]
fn calls_come_back_as_they_were_and_whole_by_conversation() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    let calls = interleaved(5);
    let recorded = store.append(&calls, &[]).expect("append");
    assert_eq!((recorded.accepted, recorded.duplicate), (10, 0));
    drop(store);
    let store = reopen(folder.path());
    let batches: Vec<_> = store.raw_conversations(&scrub_id(1), 3).expect("batches").map(|b| b.expect("a batch").calls).collect();
    assert_eq!(batches.len(), 2);
    for (batch, name) in batches.iter().zip(["a", "b"]) {
        assert_eq!(*batch, (0..5).map(|at| call(name, at)).collect::<Vec<_>>());
    }
}

#[test]
fn the_same_calls_again_add_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = new_store(folder.path());
    let mut calls = interleaved(5);
    calls.push(calls[0].clone());
    let reject =
        |line| Reject { file: "f".into(), line, field: String::new(), problem: "bad".into(), cure: "fix".into(), row: Some("{".into()) };
    let recorded = store.append(&calls, &[reject(1), reject(1), reject(2)]).expect("append");
    assert_eq!((recorded.accepted, recorded.duplicate, recorded.rejected), (10, 1, 2));
    let before = store.counts().expect("counts");
    let mut changed = calls[1].clone();
    changed.cost_usd = Some(9.0);
    calls[1] = changed;
    store.take_recorded();
    store.record(calls, vec![reject(2)]).expect("append");
    let again = store.take_recorded();
    assert_eq!((again.accepted, again.duplicate, again.conflicting, again.rejected), (0, 11, 1, 0));
    assert_eq!(store.counts().expect("counts").calls, before.calls);
    let rejects: Vec<_> = store.rejects().expect("rejects").map(|r| r.expect("a reject")).collect();
    assert_eq!(rejects, [reject(1), reject(2)]);
}

#[test]
fn a_changed_scrubber_or_a_new_call_brings_conversations_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    store.append(&interleaved(2), &[]).expect("append");
    assert_eq!(scrub_all(&store, 1, |_| ()), 2);
    assert_eq!(store.pending(&scrub_id(1)).expect("pending"), 0);
    assert_eq!(scrub_all(&store, 1, |_| ()), 0);
    let first = store.clean_fingerprint().expect("fingerprint");
    store.append(&[call("b", 2)], &[]).expect("append");
    assert_eq!(store.pending(&scrub_id(1)).expect("pending"), 3);
    assert_eq!(scrub_all(&store, 1, |_| ()), 1);
    assert_eq!(clean_ids(&store), ["a:0", "a:1", "b:0", "b:1", "b:2"]);
    assert_eq!(scrub_all(&store, 2, |call| call.latency_ms = None), 2);
    let all: Vec<_> = store.clean_calls().expect("clean").flat_map(|batch| batch.expect("a batch")).collect();
    assert!(all.iter().all(|call| call.latency_ms.is_none()), "no call of the old clean copy is left");
    assert_ne!(store.clean_fingerprint().expect("fingerprint"), first);
    assert!(store.verify().expect("verify").problems.is_empty());
}

#[test]
fn a_refused_call_has_no_clean_copy_and_a_foreign_one_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    store.append(&interleaved(2), &[]).expect("append");
    let batch = store.raw_conversations(&scrub_id(1), 100).expect("batches").next().expect("one").expect("a batch");
    let foreign = Clean::vouch(call("c", 0));
    assert!(matches!(store.put_clean(&batch.id, &[foreign]), Err(store::Error::Foreign { count: 1 })));
    assert_eq!(store.pending(&scrub_id(1)).expect("pending"), 4, "nothing was marked");
    store.put_clean(&batch.id, &[Clean::vouch(call("a", 1))]).expect("clean");
    assert_eq!((store.pending(&scrub_id(1)).expect("pending"), clean_ids(&store)), (0, vec!["a:1".to_owned()]));
}

#[test]
fn tasks_are_noted_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    store.append(&interleaved(3), &[]).expect("append");
    scrub_all(&store, 1, |_| ());
    let task = TaskId("route".to_owned());
    let noted = store.assign_tasks([("a:0", Some(&task)), ("a:1", Some(&task)), ("b:2", Some(&task)), ("b:0", None), ("x", Some(&task))]);
    assert_eq!(noted.expect("assign"), 4);
    let stats = store.task_stats().expect("stats");
    let route = &stats[0];
    assert_eq!((route.task.as_deref(), route.calls, route.conversations, route.priced), (Some("route"), 3, 2, 3));
    assert_eq!((route.prompt_tokens, route.answer_tokens), ([11, 12], [2, 2]));
    assert!((route.cost_usd - 0.75).abs() < 1e-9);
    assert_eq!((stats[1].task.as_deref(), stats[1].calls), (None, 3));
    assert_eq!(store.task_of("a:1").expect("task"), Some(task.clone()));
    let of_task: Vec<_> =
        store.clean_calls_of(&task).expect("calls").flat_map(|b| b.expect("a batch")).map(|c| c.source_id.clone()).collect();
    assert_eq!(of_task, ["a:0", "a:1", "b:2"]);
    assert_eq!(store.frame().expect("frame").height(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// However calls arrive, every batch holds whole conversations, and together they hold each call once.
    #[test]
    fn batches_partition_the_calls(arrivals in prop::collection::vec((0_u8..6, 0_u32..8), 1..60), cuts in 1_usize..20, most in 1_usize..12) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = new_store(folder.path());
        let calls: Vec<_> = arrivals.iter().map(|(conversation, at)| call(&format!("c{conversation}"), *at)).collect();
        for part in calls.chunks(cuts) {
            store.append(part, &[]).expect("append");
        }
        let mut home = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (number, batch) in store.raw_conversations(&scrub_id(1), most).expect("batches").enumerate() {
            let calls = batch.expect("a batch").calls;
            let conversations: BTreeSet<_> = calls.iter().map(|call| call.conversation_id.clone()).collect();
            prop_assert!(calls.len() <= most || conversations.len() == 1);
            for call in calls {
                prop_assert_eq!(*home.entry(call.conversation_id.clone()).or_insert(number), number);
                prop_assert!(seen.insert(call.source_id));
            }
        }
        prop_assert_eq!(seen, calls.into_iter().map(|call| call.source_id).collect::<BTreeSet<_>>());
    }
}
