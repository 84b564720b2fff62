//! What must hold of tasks whatever the log: made-up agents with known prompts.
#![expect(clippy::disallowed_methods, reason = "a test makes its clean calls itself")]
use std::collections::{BTreeMap, BTreeSet};

use cluster::{Cluster, HashEmbedder, Summary, Tally, Tasks, UNASSIGNED, adjusted_rand};
use proptest::prelude::*;
use record::{Assigner, Call, Clean, Part, Shares, Silent, TaskKind, Train, split};
use serde_json::{Value, json};

const NAMES: [&str; 7] = ["Ann", "Bo", "Carla", "Dmitri", "Eve", "Farouk", "Gudrun"];
const ITEMS: [&str; 5] = ["kettle", "lamp that flickers at night", "chair", "phone with a broken screen", "tent"];

#[expect(clippy::needless_pass_by_value, reason = "the JSON of a test is written where it is used")]
fn call(source: &str, conversation: &str, request: Value, answer: Value) -> Clean<Call> {
    let record = json!({"source_id": source, "conversation_id": conversation, "request": request,
        "response": {"choices": [{"message": answer}], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}, "cost_usd": 0.01});
    Clean::vouch(serde_json::from_value(record).expect("a call record"))
}

fn text(content: &str) -> Value {
    json!({"role": "assistant", "content": content})
}

/// The `i`th call of agent node `node`, with its node as label.
fn make(node: usize, i: usize) -> (Clean<Call>, &'static str) {
    let (name, item) = (NAMES[i % 7], ITEMS[i % 5]);
    let id = format!("{node}-{i}");
    let conversation = format!("c{node}-{}", i / 2);
    let customer = format!("The customer is {name} {name}son, order {}.", 1000 + i);
    let say = format!("{name} writes: my {item} number {i} came broken and I want to know what happens now.");
    let chat =
        |system: String, user: String| json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]});
    let schema = |field: &str| json!({"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {field: {"type": "string"}}}}});
    match node {
        0 => {
            let system =
                format!("You route support tickets to a queue.\n{customer}\nAnswer with one of the words billing, shipping or repair.");
            (call(&id, &conversation, chat(system, say), text(["billing", "shipping", "repair"][i % 3])), "route")
        }
        1 => {
            let system = "You work for a shop.\nExtract the order from the message as JSON with the fields the schema names.".to_owned();
            let mut request = chat(system, say);
            request["response_format"] = schema("item");
            (call(&id, &conversation, request, text(&json!({"item": item}).to_string())), "extract")
        }
        2 => {
            let mut request = chat(format!("You work for a shop.\nPlan the repair and call the tools you need.\n{customer}"), say);
            request["tools"] = json!([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}}}}]);
            let tool = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1", "function": {"name": "look_up", "arguments": "{\"order\": 1}"}}]});
            (call(&id, &conversation, request, tool), "plan")
        }
        _ => {
            let system = "You work for a shop.\nWrite a short and friendly mail about the refund that the customer gets.".to_owned();
            let mail = format!("Dear {name}, we are sorry about your {item} and will refund the price within a week. Your shop");
            (call(&id, &conversation, chat(system, say), text(&mail)), "mail")
        }
    }
}

fn log(sizes: [usize; 4]) -> Vec<(Clean<Call>, &'static str)> {
    sizes.iter().enumerate().flat_map(|(node, n)| (0..*n).map(move |i| make(node, i))).collect()
}

fn all_train(calls: impl IntoIterator<Item = Clean<Call>>) -> Part<Train> {
    split(calls, 0, Shares { calibration: 0.0, held: 0.0 }).train
}

fn summary(calls: &[(Clean<Call>, &str)]) -> Summary {
    let mut summary = Cluster::default().summary();
    summary.observe(&all_train(calls.iter().map(|(call, _)| call.clone())));
    summary
}

fn fit(calls: &[(Clean<Call>, &str)], known: Option<&Tasks>) -> Tasks {
    Cluster::default().fit(&summary(calls), &HashEmbedder::default(), known, &Silent).expect("a made-up log clusters")
}

fn buckets(tasks: &Tasks, calls: &[(Clean<Call>, &str)]) -> Vec<String> {
    calls.iter().map(|(call, _)| Tasks::bucket(&tasks.assign(call.prompt())).0).collect()
}

fn bytes(tasks: &Tasks) -> String {
    serde_json::to_string(tasks).expect("tasks are plain data")
}

#[test]
fn each_node_is_a_task_with_its_kind_and_a_name() {
    let calls = log([120, 80, 60, 17]);
    let tasks = fit(&calls, None);
    let labels: Vec<_> = calls.iter().map(|(_, label)| *label).collect();
    assert_eq!(adjusted_rand(&buckets(&tasks, &calls), &labels), 1.0);
    let described: BTreeMap<_, _> = tasks.describe().iter().map(|task| (task.name.as_str(), (task.kind, task.train_calls))).collect();
    let expected = BTreeMap::from([
        ("route-support-tickets", (TaskKind::Label, 120)),
        ("extract-order", (TaskKind::Json, 80)),
        ("plan-repair", (TaskKind::ToolCall, 60)),
        ("write-friendly-mail", (TaskKind::Text, 17)),
    ]);
    assert_eq!(described, expected);
}

#[test]
fn counts_cover_every_call_once() {
    let mut calls = log([40, 40, 40, 10]);
    calls.push((call("x", "x", json!({"messages": [{"role": "user", "content": "what is the time in Oslo"}]}), text("noon")), "stray"));
    let tasks = fit(&calls, None);
    let (mut one, mut two) = (Tally::default(), Tally::default());
    for (at, ((call, _), bucket)) in calls.iter().zip(buckets(&tasks, &calls)).enumerate() {
        if at % 2 == 0 { &mut one } else { &mut two }.add(&record::TaskId(bucket), call, None);
    }
    one.merge(two);
    let rows = one.tasks(&tasks);
    assert_eq!(rows.iter().map(|row| row.calls).sum::<u64>(), calls.len() as u64);
    assert!((rows.iter().map(|row| row.cost_usd).sum::<f64>() - 0.01 * calls.len() as f64).abs() < 1e-9);
    let stray = rows.last().expect("there are rows");
    assert_eq!((stray.noise, stray.task.0.as_str(), stray.calls), (true, UNASSIGNED, 1));
    assert_eq!(rows[0].prompt_tokens[0], 102, "the upper end of a two percent bucket over 100");
}

#[test]
fn a_prompt_that_nobody_sent_before_is_not_known() {
    let tasks = fit(&log([60, 60, 60, 20]), None);
    let other = json!({"messages": [{"role": "system", "content": "You translate recipes from French.\nKeep every measure as it is written."}, {"role": "user", "content": "Une cuillère de sel"}]});
    let assignment = tasks.assign(call("x", "x", other, text("")).prompt());
    assert_eq!((assignment.task, assignment.known), (None, false));
}

#[test]
fn a_changed_prompt_becomes_a_task_with_a_parent_and_the_old_one_stays() {
    let old = fit(&log([60, 60, 60, 20]), None);
    let change = |(call, label): (Clean<Call>, &'static str)| {
        let mut call = call.into_inner();
        let system = call.request.0["messages"][0]["content"].as_str().expect("a text").replace(
            "Answer with one of the words billing, shipping or repair.",
            "Give a number only: 1 for billing, 2 for shipping and 3 for repair. Take 2 where you are in doubt.",
        );
        call.request.0["messages"][0]["content"] = Value::String(system);
        (Clean::vouch(call), label)
    };
    let night: Vec<_> = (200..260).map(|i| change(make(0, i))).chain((200..260).map(|i| make(1, i))).collect();
    let unknown = night.iter().take(60).filter(|(call, _)| !old.assign(call.prompt()).known).count();
    assert_eq!(unknown, 60, "a drifted prompt must not count as the old task");
    let new = fit(&night, Some(&old));
    let routing = old.find("route-support-tickets").expect("it was born");
    let child = new.describe().iter().find(|task| task.parent.is_some()).expect("a new version");
    assert_eq!(child.parent.as_ref(), Some(&routing.task));
    assert_ne!(child.name, routing.name);
    assert_eq!(new.find(&routing.task.0), Some(routing), "what a night does not show is kept");
    let extract = |tasks: &Tasks| tasks.find("extract-order").map(|task| task.task.clone());
    assert_eq!(extract(&new), extract(&old));
    assert_eq!(new.find("extract-order").map(|task| task.train_calls), Some(120));
}

#[test]
fn ids_and_names_stay_when_the_log_doubles() {
    let (half, whole) = (fit(&log([60, 40, 30, 10]), None), fit(&log([120, 80, 60, 20]), None));
    let ids = |tasks: &Tasks| tasks.describe().iter().map(|task| (task.task.clone(), task.name.clone())).collect::<BTreeSet<_>>();
    assert_eq!(ids(&half), ids(&whole));
    assert_eq!(ids(&fit(&log([120, 80, 60, 20]), Some(&half))), ids(&half));
}

#[test]
fn very_small_logs_cluster_too() {
    assert!(fit(&[], None).describe().is_empty());
    for n in [1, 2, 3] {
        assert!(fit(&log([n, 0, 0, 0]), None).describe().is_empty(), "{n} calls are no task");
    }
    // thirty-one calls of which a bit more than half may be fitted on
    let tasks = fit(&log([500, 0, 0, 17]), None);
    assert_eq!(tasks.describe().len(), 2);
}

#[test]
fn a_workload_parts_what_text_would_join() {
    let calls = (0..60).map(|i| {
        let (call, _) = make(0, i);
        let mut call = call.into_inner();
        let node = if i % 2 == 0 { "triage" } else { "audit" };
        call.workload_id = Some(node.to_owned());
        (Clean::vouch(call), node)
    });
    let calls: Vec<_> = calls.collect();
    let tasks = fit(&calls, None);
    assert_eq!(tasks.describe().iter().map(|task| task.name.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(["audit", "triage"]));
}

#[test]
fn turns_split_a_task_when_asked() {
    let turn = |i: usize| {
        let (call, _) = make(2, i);
        let mut call = call.into_inner();
        let more = [
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1", "function": {"name": "look_up", "arguments": "{}"}}]}),
            json!({"role": "tool", "tool_call_id": "1", "content": "found"}),
        ];
        if i % 2 == 1 {
            call.request.0["messages"].as_array_mut().expect("a list").extend(more);
            call.response = record::Response::from_message(&text("It will be repaired by Friday, and you need not do anything."));
        }
        (Clean::vouch(call), if i % 2 == 1 { "after tool" } else { "after user" })
    };
    let calls: Vec<_> = (0..80).map(turn).collect();
    assert_eq!(fit(&calls, None).describe().len(), 1);
    let config = Cluster { by_turn: true, ..Cluster::default() };
    let tasks = config.fit(&summary(&calls), &HashEmbedder::default(), None, &Silent).expect("it clusters");
    let labels: Vec<_> = calls.iter().map(|(_, label)| *label).collect();
    assert_eq!(adjusted_rand(&buckets(&tasks, &calls), &labels), 1.0);
    let kinds: BTreeMap<_, _> = tasks.describe().iter().map(|task| (task.turn.clone().unwrap_or_default(), task.kind)).collect();
    assert_eq!(kinds, BTreeMap::from([("after-look_up".to_owned(), TaskKind::Text), ("after-user".to_owned(), TaskKind::ToolCall)]));
}

#[test]
fn settings_out_of_range_are_errors() {
    let wrong = Cluster { threshold: 1.5, ..Cluster::default() };
    assert!(wrong.fit(&Summary::default(), &HashEmbedder::default(), None, &Silent).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order of rows, the batches and the threads, the same bytes come out.
    #[test]
    fn order_batches_and_threads_do_not_show(
        order in Just((0..140_usize).collect::<Vec<_>>()).prop_shuffle(),
        cut in 1..139_usize,
        threads in 1..5_usize,
    ) {
        let calls = log([50, 40, 30, 20]);
        let expected = bytes(&fit(&calls, None));
        let shuffled: Vec<_> = order.iter().map(|at| calls[*at].clone()).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        let found = pool.install(|| {
            let (mut one, two) = (summary(&shuffled[..cut]), summary(&shuffled[cut..]));
            one.merge(two);
            Cluster::default().fit(&one, &HashEmbedder::default(), None, &Silent).expect("it clusters")
        });
        prop_assert_eq!(bytes(&found), expected);
    }

    /// What was fitted is found again: each task gets at least the calls it was fitted on, and serde changes nothing.
    #[test]
    fn assignment_agrees_with_the_fit(sizes in [10..60_usize, 10..60_usize, 10..60_usize, 10..60_usize]) {
        let calls = log(sizes);
        let tasks = fit(&calls, None);
        let read: Tasks = serde_json::from_str(&bytes(&tasks)).expect("tasks read back");
        prop_assert_eq!(&read, &tasks);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        buckets(&read, &calls).into_iter().filter(|bucket| bucket != UNASSIGNED).for_each(|bucket| *counts.entry(bucket).or_default() += 1);
        let fitted: BTreeMap<String, u64> = tasks.describe().iter().map(|task| (task.task.0.clone(), task.train_calls)).collect();
        prop_assert_eq!(counts.keys().collect::<Vec<_>>(), fitted.keys().collect::<Vec<_>>());
        prop_assert!(fitted.iter().all(|(task, n)| counts[task] >= *n), "{:?} of {:?}", counts, fitted);
    }
}
