//! The head that prompts share is found in the train split alone, and nothing is learnt from what has another.
use finetune::{Error, Examples, Finetune, HANDOVER, InMemory, Manifest, Origin, PromptMode, Subject, Trainer};
use record::{Call, Dropped, Fingerprint, Request, Silent, TaskId};
use serde_json::{Value, json};

use crate::world::{call, chat, config, model, train_split};

fn settings() -> Finetune {
    Finetune { prompt: PromptMode::DropShared, rank: 4, alpha: 8.0, batch_size: 8, max_steps: Some(3), ..Finetune::default() }
}

/// A hundred conversations of a call each, of which the first `other` begin otherwise.
fn log(other: usize, change: impl Fn(&mut Value)) -> Vec<Call> {
    let mut calls: Vec<Call> = (0..100).map(|c| call(c, 0, c)).collect();
    calls.iter_mut().take(other).for_each(|call| change(&mut call.request.0));
    calls
}

fn reword(request: &mut Value) {
    request["messages"][0]["content"] = json!("route");
}

fn examples(calls: Vec<Call>) -> Result<Examples, Error> {
    settings().examples(&train_split(calls), &(), &chat(), &config())
}

fn system(dropped: Option<&Dropped>) -> Vec<&str> {
    dropped.iter().flat_map(|dropped| &dropped.shared.system).map(String::as_str).collect()
}

#[test]
fn a_head_that_nearly_all_calls_have_is_dropped_and_the_others_are_left_out() {
    let found = examples(log(5, reword)).expect("usable calls");
    let dropped = found.dropped.as_ref().expect("a head");
    assert_eq!(system(Some(dropped)), ["route this"]);
    assert!((dropped.share - 0.95).abs() < 1e-12);
    // `<system> route this <end>` is gone; of the calls that are counted five have no prompt to show
    assert_eq!(dropped.prompt_tokens, [11.0, 7.0]);
    assert_eq!(found.left_out, [("that do not begin with the constant prompt".to_owned(), 5)]);
    let calls: u64 = found.train.iter().chain(&found.validation).map(|example| example.calls).sum();
    assert_eq!(calls, 95);
    let chat = chat();
    for example in &found.train {
        let text = chat.tokenizer().decode(&example.sequence.tokens).expect("known words");
        assert!(text.starts_with("<user> which"), "{text}");
    }
}

#[test]
fn what_more_calls_begin_otherwise_is_not_dropped() {
    let found = examples(log(6, reword)).expect("usable calls");
    assert_eq!((found.dropped, found.left_out.len()), (None, 0));
    let kept = Finetune { prompt: PromptMode::Keep, ..settings() };
    let whole = kept.examples(&train_split(log(6, reword)), &(), &chat(), &config()).expect("usable calls");
    assert_eq!((whole.dropped, whole.fingerprint), (None, found.fingerprint));
}

#[test]
fn messages_and_tools_are_dropped_each_as_far_as_they_are_shared() {
    let tool =
        |name: &str| json!([{"type": "function", "function": {"name": name, "description": "does", "parameters": {"type": "object"}}}]);
    let mut calls = log(3, |request| request["tools"] = tool("g"));
    calls.iter_mut().skip(3).for_each(|call| call.request.0["tools"] = tool("f"));
    let dropped = examples(calls.clone()).expect("usable calls").dropped.expect("a head");
    assert_eq!((system(Some(&dropped)), &dropped.shared.tools[..]), (vec!["route this"], &tool("f").as_array().expect("a list")[..]));
    assert!((dropped.share - 0.97).abs() < 1e-12);
    // where tools differ, messages go alone; three calls with another message are three too many for both
    calls.iter_mut().skip(3).take(3).for_each(|call| reword(&mut call.request.0));
    let dropped = examples(calls.clone()).expect("usable calls").dropped.expect("a head");
    assert_eq!((system(Some(&dropped)), dropped.shared.tools.len()), (vec!["route this"], 0));
    // a second message that is shared goes with the first, one that is not stays
    for (second, expected) in [("please", 2), ("w1", 1)] {
        let mut calls = log(0, |_| ());
        for (c, call) in calls.iter_mut().enumerate() {
            let content = if c % 2 == 0 { "please" } else { second };
            call.request.0["messages"].as_array_mut().expect("a list").insert(1, json!({"role": "developer", "content": content}));
        }
        assert_eq!(system(examples(calls).expect("usable calls").dropped.as_ref()).len(), expected);
    }
}

#[test]
fn a_prompt_is_never_dropped_whole() {
    let calls = log(100, |request| request["messages"].as_array_mut().expect("a list").truncate(1));
    let found = examples(calls).expect("usable calls");
    assert_eq!((found.dropped, found.left_out.len()), (None, 0));
}

#[test]
fn the_manifest_and_what_others_are_given_say_what_was_dropped() {
    let (part, task, base) = (train_split(log(2, reword)), TaskId("t-1".into()), Fingerprint("base".into()));
    let found = settings().examples(&part, &(), &chat(), &config()).expect("usable calls");
    let plan = settings().plan(&found, &config(), None).expect("a plan");
    let outcome =
        settings().train(&model(settings().trainable()), &found, &plan, &mut InMemory::default(), &Silent).expect("a healthy run");
    let origin = Origin { task: &task, model: "tiny", folder: "adapters/1", base: &base };
    let adapter = settings().manifest(origin, &found, &plan, &outcome);
    let read: record::Adapter = serde_json::from_value(serde_json::to_value(&adapter).expect("plain data")).expect("its own form");
    assert_eq!((system(read.dropped.as_ref()), read.dropped.is_some()), (vec!["route this"], true));
    for trainer in [Trainer::Trl, Trainer::Axolotl] {
        let subject = Subject { task: &task, name: "route", model: "tiny", place: "/models/tiny", base: &base, weights: &[] };
        let files = settings().hand_over(trainer, subject, &part, &(), &chat(), &config()).expect("a good log");
        let text = |name: &str| String::from_utf8(files[name].clone()).expect("text");
        assert!(!text("data/train.jsonl").contains("route this") && text("data/train.jsonl").contains("which w"));
        assert!(text("README.md").contains("7 tokens a prompt of 11"), "{}", text("README.md"));
        let manifest = Manifest::parse(&files[HANDOVER]).expect("ours");
        assert_eq!((manifest.unlike, manifest.settings.prompt), (0, PromptMode::DropShared));
        // what comes back is held against the same examples
        let again = manifest.settings.examples(&part, &(), &chat(), &config()).expect("usable calls");
        assert!(manifest.learnt(&again.fingerprint).is_ok());
    }
    assert!(read.dropped.expect("a head").shared.trim(&Request(json!({"messages": []}))).is_none());
}
