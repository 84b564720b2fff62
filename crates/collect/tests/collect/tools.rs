//! What tools write around calls: each as it comes, alone and with all others in one file.
use std::collections::BTreeMap;

use collect::{Collect, Collected, Format};
use record::{Call, Time};
use serde_json::{Value, json};

use crate::{Memory, fixture, read};

/// Reads several inputs that belong together.
fn read_all(names: &[&str]) -> (Memory, Collected) {
    let (step, mut memory, mut counts) = (Collect::default(), Memory::default(), Collected::default());
    let mut reader = step.reader();
    for name in names {
        counts += reader.read(name, &fixture(name)[..], &mut memory).expect("nothing here fails");
    }
    counts += reader.finish(&mut memory).expect("nothing here fails");
    (memory, counts)
}

/// Question and answer of each call: the last user's text, and the answer's text or its first tool's name.
pub fn said(calls: &[Call]) -> Vec<(String, String)> {
    let answer = |call: &Call| match call.response.tool_calls().first() {
        Some(tool) => tool.name.clone(),
        None => call.response.text(),
    };
    calls.iter().map(|call| (call.request.last_user(), answer(call))).collect()
}

pub fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(asked, answered)| ((*asked).to_owned(), (*answered).to_owned())).collect()
}

fn problems(memory: &Memory) -> Vec<String> {
    memory.rejects.iter().map(|reject| format!("{} [{}] {}", reject.line, reject.field, reject.problem)).collect()
}

/// The conversation that most fixtures of spans hold.
fn is_the_parcel(call: &Call) {
    let messages: Vec<Value> = call.request.messages().map(|message| message.0.clone()).collect();
    let expected = json!([
        {"role": "system", "content": "Sort."},
        {"role": "user", "content": "parcel lost"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "look", "arguments": "{\"id\":1}"}}]},
        {"role": "tool", "tool_call_id": "c0", "content": "lost in Oslo"},
    ]);
    assert_eq!(Value::Array(messages), expected);
    assert_eq!((call.response.text().as_str(), call.request.model()), ("shipping", "gpt-4o"));
    assert_eq!((call.response.usage().prompt, call.response.usage().completion), (Some(20), Some(1)));
    assert_eq!(call.request.0["temperature"].as_f64(), Some(0.0));
    assert_eq!(call.request.tools().count(), 1, "{}", call.request.0);
    assert!(call.request.tools().all(|tool| !tool.name().is_empty()));
}

#[test]
fn litellm() {
    let (memory, counts) = read(&fixture("litellm.jsonl"));
    assert_eq!(said(&memory.calls), pairs(&[("parcel lost", "shipping"), ("card declined", "payments")]));
    let [one, two] = &memory.calls[..] else { panic!("two calls") };
    assert_eq!((one.source_id.as_str(), one.conversation_id.as_str(), one.client_id.as_deref()), ("chatcmpl-1", "t1", Some("u-1")));
    assert_eq!((one.timestamp, one.latency_ms, one.cost_usd), (Some(Time(1_760_000_000_100)), Some(800.0), Some(0.0001)));
    assert_eq!((one.response.usage().prompt, one.request.tools().count(), one.request.model()), (Some(20), 1, "gpt-4o"));
    assert_eq!((two.conversation_id.as_str(), two.latency_ms, two.tags["cache_hit"].as_str()), ("s2", Some(2500.0), Some("False")));
    assert_eq!(counts.formats["litellm"].around, 1, "an embedding is no call");
    let expected = [
        "4 [status] the call failed: rate limit",
        "5 [messages] the log holds no content of this call",
        "6 [messages] LiteLLM has redacted the content",
    ];
    assert_eq!(problems(&memory), expected);
    assert!(memory.rejects[1].cure.contains("store_prompts_in_spend_logs"));
}

#[test]
fn helicone() {
    let (memory, _) = read(&fixture("helicone.jsonl"));
    assert_eq!(said(&memory.calls), pairs(&[("parcel lost", "shipping"), ("card declined", "payments")]));
    let [one, two] = &memory.calls[..] else { panic!("two calls") };
    assert_eq!((one.conversation_id.as_str(), one.workload_id.as_deref(), one.latency_ms), ("s1", Some("/sort"), Some(800.0)));
    assert_eq!((one.client_id.as_deref(), one.grade(), one.response.usage().prompt), (Some("u-2"), Some(1.0), Some(20)));
    assert_eq!((two.request.system().as_str(), two.response.usage().prompt), ("Sort.", Some(9)));
    assert_eq!(problems(&memory), ["3 [response_status] the call failed: status 429", "4 [request_body] the export holds no bodies"]);
}

#[test]
fn langfuse() {
    let (memory, counts) = read(&fixture("langfuse.jsonl"));
    let expected = [("parcel lost", "shipping"), ("card declined", "{\"team\": \"payments\"}"), ("bill twice", "route")];
    assert_eq!(said(&memory.calls), pairs(&expected));
    let [one, two, three] = &memory.calls[..] else { panic!("three calls") };
    assert_eq!((one.workload_id.as_deref(), one.conversation_id.as_str(), one.client_id.as_deref()), (Some("sorter"), "t1", Some("u-3")));
    assert_eq!((one.latency_ms, one.cost_usd, one.grade()), (Some(1200.0), Some(0.0001), Some(1.0)));
    assert_eq!((one.request.tools().count(), one.response.usage().prompt), (1, Some(20)));
    assert_eq!((two.request.model(), two.latency_ms), ("gpt-4o", Some(1000.0)), "settings that are no JSON do no harm");
    assert_eq!(three.response.finish_reason(), Some("tool_calls"));
    assert_eq!(counts.formats["langfuse"].around, 1);
    assert_eq!(problems(&memory), ["5 [level] the call failed: timeout", "6 [input] there is none"]);
}

#[test]
fn langsmith() {
    let (memory, counts) = read(&fixture("langsmith.jsonl"));
    assert_eq!(said(&memory.calls), pairs(&[("parcel lost", "shipping"), ("card declined", "payments")]));
    is_the_parcel(&memory.calls[0]);
    let one = &memory.calls[0];
    assert_eq!((one.conversation_id.as_str(), one.latency_ms, one.cost_usd, one.grade()), ("c9", Some(1000.0), Some(0.0002), Some(0.5)));
    assert_eq!((memory.calls[1].conversation_id.as_str(), memory.calls[1].request.model()), ("r2", "gpt-4o"));
    assert_eq!(counts.formats["langsmith"].around, 1);
    let expected = ["4 [error] the call failed: RateLimitError", "5 [inputs] it lies in another file, under an address of its own"];
    assert_eq!(problems(&memory), expected);
}

#[test]
fn braintrust() {
    let (memory, counts) = read(&fixture("braintrust.jsonl"));
    assert_eq!(said(&memory.calls), pairs(&[("parcel lost", "shipping")]));
    let one = &memory.calls[0];
    assert_eq!((one.conversation_id.as_str(), one.latency_ms, one.grade()), ("s0", Some(800.0), Some(1.0)));
    assert_eq!((one.request.tools().count(), one.response.usage().prompt, one.request.model()), (1, Some(20), "gpt-4o"));
    assert_eq!((counts.formats["braintrust"].around, problems(&memory)), (1, vec!["3 [error] the call failed: timeout".to_owned()]));
}

#[test]
fn bedrock() {
    let (memory, counts) = read(&fixture("bedrock.jsonl"));
    let expected = [("parcel lost", "shipping"), ("card declined", "payments"), ("bill twice", "billing")];
    assert_eq!(said(&memory.calls), pairs(&expected));
    let one = &memory.calls[0];
    assert_eq!((one.source_id.as_str(), one.request.model(), one.request.system().as_str()), ("q1", "amazon.nova-pro-v1:0", "Sort."));
    assert_eq!((one.client_id.as_deref(), one.response.usage().prompt), (Some("arn:aws:iam::1:user/agent"), Some(20)));
    assert_eq!(counts.formats["bedrock"].around, 1);
    let expected = [
        "5 [input.inputBodyJson] the body is too large for the log and lies in an object of its own, `9f_input.json.gz`",
        "6 [errorCode] the call failed: ThrottlingException",
    ];
    assert_eq!(problems(&memory), expected);
}

#[test]
fn openpipe_tensorzero_and_plain_pairs() {
    let (memory, _) = read(&fixture("openpipe.jsonl"));
    assert_eq!(said(&memory.calls), pairs(&[("parcel lost", "shipping"), ("card declined", "payments")]));
    assert!(memory.calls.iter().all(|call| call.workload_id.as_deref() == Some("route")));
    assert_eq!(problems(&memory), ["3 [statusCode] the call failed: oops"]);

    let (memory, _) = read(&fixture("tensorzero.jsonl"));
    let [one, two, three] = &memory.calls[..] else { panic!("three calls: {:?}", memory.rejects) };
    assert_eq!((one.workload_id.as_deref(), one.conversation_id.as_str(), one.client_id.as_deref()), (Some("route"), "ep1", Some("u-4")));
    let roles: Vec<_> = one.request.messages().map(|message| message.role().to_owned()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!((one.response.text().as_str(), one.request.tools().count(), one.latency_ms), ("shipping", 1, Some(800.0)));
    assert_eq!((two.response.text().as_str(), two.request.last_user().as_str()), ("{\"team\":\"billing\"}", "{\"topic\":\"bill\"}"));
    assert_eq!((three.source_id.as_str(), three.request.system().as_str(), three.response.text().as_str()), ("019c", "Sort.", "payments"));
    assert!(two.request.schema().is_some() && two.lossy.contains(&"template".to_owned()));

    let (memory, _) = read(&fixture("plain.jsonl"));
    let expected =
        [("parcel lost", "shipping"), ("Sort the ticket.\n\ncard declined", "payments"), ("bill twice", "billing"), ("open today?", "yes")];
    assert_eq!(said(&memory.calls), pairs(&expected));
    assert_eq!((memory.calls[1].request.system().as_str(), memory.calls[2].request.tools().count()), ("Be short.", 1));
    assert!(memory.calls[2].tags.contains_key("non_preferred_output"), "{:?}", memory.calls[2].tags);
    assert_eq!(problems(&memory), ["5 [prompt] it is empty"]);
}

#[test]
fn batches_are_joined_in_any_order_of_files() {
    let files = ["batch-openai-input.jsonl", "batch-openai-output.jsonl", "batch-anthropic-input.jsonl", "batch-anthropic-output.jsonl"];
    for order in [files, [files[3], files[1], files[0], files[2]]] {
        let (memory, counts) = read_all(&order);
        let mut found = said(&memory.calls);
        found.sort();
        assert_eq!(found, pairs(&[("ticket 0", "team 0"), ("ticket 1", "team 1"), ("ticket 2", "team 2")]));
        let mut problems: Vec<_> = memory.rejects.iter().map(|reject| reject.problem.as_str()).collect();
        problems.sort_unstable();
        let expected = [
            "the answer of this name is in none of the files that were read",
            "the call failed: not done in time",
            "the call failed: too long",
            "the request of this name is in none of the files that were read",
        ];
        assert_eq!(problems, expected);
        assert_eq!(counts.formats["batch"].rejected, 4);
        assert!(memory.rejects.iter().all(|reject| reject.file.ends_with(".jsonl") && reject.line > 0));
    }
    let (memory, _) = read_all(&["batch-openai-input.jsonl", "batch-openai-input.jsonl", "batch-openai-output.jsonl"]);
    assert!(memory.rejects.iter().any(|reject| reject.problem.starts_with("several batches use this name")), "{:?}", problems(&memory));
}

#[test]
fn a_response_that_names_the_one_before_it_gets_its_history() {
    let (memory, _) = read(&fixture("responses-chain.jsonl"));
    let [one, two, three, four] = &memory.calls[..] else { panic!("four calls: {:?}", memory.rejects) };
    let spoken = |call: &Call| call.request.messages().map(|message| message.text().into_owned()).collect::<Vec<_>>();
    assert_eq!(spoken(one), ["Be kind.", "hello"]);
    assert_eq!(spoken(two), ["Sort.", "hello", "hi", "parcel lost"], "instructions do not carry over");
    assert_eq!(spoken(three), ["hello", "hi", "parcel lost", "where?", "Oslo"]);
    assert_eq!((two.step, three.step), (1, 2));
    assert!([two, three].iter().all(|call| call.conversation_id == one.conversation_id && !call.lossy.contains(&"history".to_owned())));
    assert_eq!((spoken(four).len(), four.lossy.contains(&"history".to_owned())), (1, true), "what was not read stays missing");
    assert_ne!(four.conversation_id, one.conversation_id);
}

#[test]
fn spans_of_opentelemetry() {
    let (memory, counts) = read_all(&["logs-genai.jsonl", "spans-genai.jsonl"]);
    let expected = [
        ("parcel lost", "shipping"),
        ("parcel lost", "shipping"),
        ("card declined", "payments"),
        ("bill twice", "billing"),
        ("open today?", "yes"),
    ];
    assert_eq!(said(&memory.calls), pairs(&expected));
    is_the_parcel(&memory.calls[0]);
    assert_eq!(memory.calls[0].source_id, memory.calls[1].source_id, "a gateway's span and an SDK's are one call");
    assert_eq!((memory.calls[0].conversation_id.as_str(), memory.calls[0].latency_ms), ("c9", Some(800.0)));
    assert_eq!((memory.calls[2].conversation_id.as_str(), memory.calls[2].request.system().as_str()), ("bb", "Sort."));
    assert_eq!(memory.calls[3].grade(), Some(1.0), "content and scores that stand in log records are found");
    assert_eq!(counts.formats["spans"].around, 3, "{counts:?}");
    let mut problems = problems(&memory);
    problems.sort();
    assert_eq!(problems, ["4 [input] the span holds no content", "5 [status] the call failed: rate limit"]);
    assert!(memory.rejects.iter().any(|reject| reject.cure.contains("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")));
}

#[test]
fn spans_of_other_conventions() {
    for (name, around, rejected) in
        [("spans-llmetry.jsonl", 1, 1), ("spans-openinference.jsonl", 1, 1), ("phoenix.jsonl", 1, 0), ("spans-vercel.jsonl", 1, 0)]
    {
        let (memory, counts) = read_all(&[name]);
        let problems = problems(&memory);
        assert_eq!((counts.formats["spans"].around, counts.rejected), (around, rejected), "{name}: {problems:?}");
        is_the_parcel(&memory.calls[0]);
        assert_eq!(memory.calls[0].conversation_id, "c9", "{name}");
        assert!(problems.iter().all(|problem| problem.ends_with("the span holds no content")), "{name}: {problems:?}");
    }
    let (memory, _) = read(&fixture("spans-vercel.jsonl"));
    assert_eq!(memory.calls[0].workload_id.as_deref(), Some("classify"));
    assert_eq!(said(&memory.calls)[1], ("bill twice".to_owned(), "route".to_owned()));
    assert_eq!(memory.calls[1].response.finish_reason(), Some("tool_calls"));
}

#[test]
fn a_recording_of_http_gives_calls_and_no_keys() {
    let (memory, counts) = read(&fixture("recording.har"));
    let expected = [("parcel lost", "shipping"), ("card declined", "payments"), ("bill twice", "billing")];
    assert_eq!(said(&memory.calls), pairs(&expected), "{:?}", problems(&memory));
    assert_eq!(memory.calls.iter().map(Call::model).collect::<Vec<_>>(), ["gpt-4o-2024-08-06", "my-gpt", "gemini-2.5-flash"]);
    assert_eq!((counts.formats["har"].around, problems(&memory)), (1, vec!["4 [response.status] the call failed: status 429".to_owned()]));
    let kept = format!("{} {}", serde_json::to_string(&memory.calls).expect("JSON"), serde_json::to_string(&memory.rejects).expect("JSON"));
    assert!(!kept.contains("PLANTED"), "{kept}");
}

#[test]
fn trajectories() {
    let (memory, _) = read(&fixture("atif.jsonl"));
    assert_eq!(
        said(&memory.calls),
        pairs(&[("parcel lost", "look"), ("parcel lost", "shipping")]),
        "copies and steps without a model are no calls"
    );
    let [one, two] = &memory.calls[..] else { panic!("two calls") };
    assert_eq!((one.conversation_id.as_str(), one.source_id.as_str(), one.cost_usd), ("s1", "s1/4", Some(0.001)));
    assert_eq!((one.request.tools().count(), one.request.model(), one.response.usage().prompt), (1, "gpt-4o", Some(20)));
    let roles: Vec<_> = two.request.messages().map(|message| message.role().to_owned()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant", "tool", "assistant"]);
}

#[test]
fn sessions_of_claude_code() {
    let (memory, counts) = read(&fixture("claude-code.jsonl"));
    assert_eq!(said(&memory.calls), pairs(&[("find the bug", "Read"), ("find the bug", "There is none.")]));
    let [one, two] = &memory.calls[..] else { panic!("two calls") };
    assert_eq!((one.source_id.as_str(), one.conversation_id.as_str(), one.response.text().as_str()), ("msg_1", "cs1", "Looking."));
    assert_eq!(one.response.usage().completion, Some(9), "the last usage counts");
    let roles: Vec<_> = two.request.messages().map(|message| message.role().to_owned()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"], "the lines of one answer are one message");
    assert_eq!((counts.rejected, one.lossy.contains(&"system".to_owned()) && one.lossy.contains(&"tools".to_owned())), (0, true));
}

/// Which format each fixture is of.
pub const FIXTURES: [(&str, &str); 26] = [
    ("atif.jsonl", "atif"),
    ("batch-anthropic-input.jsonl", "batch"),
    ("batch-anthropic-output.jsonl", "batch"),
    ("batch-openai-input.jsonl", "batch"),
    ("batch-openai-output.jsonl", "batch"),
    ("bedrock.jsonl", "bedrock"),
    ("braintrust.jsonl", "braintrust"),
    ("claude-code.jsonl", "claude-code"),
    ("helicone.jsonl", "helicone"),
    ("langfuse.jsonl", "langfuse"),
    ("langsmith.jsonl", "langsmith"),
    ("litellm.jsonl", "litellm"),
    ("logs-genai.jsonl", "spans"),
    ("openpipe.jsonl", "openpipe"),
    ("phoenix.jsonl", "spans"),
    ("plain.jsonl", "plain"),
    ("spans-genai.jsonl", "spans"),
    ("spans-llmetry.jsonl", "spans"),
    ("spans-openinference.jsonl", "spans"),
    ("spans-vercel.jsonl", "spans"),
    ("tensorzero.jsonl", "tensorzero"),
    ("responses-chain.jsonl", "responses"),
    ("openai.jsonl", "openai"),
    ("anthropic.jsonl", "anthropic"),
    ("gemini.jsonl", "gemini"),
    ("finetune.jsonl", "openai-finetune"),
];

#[test]
fn every_format_is_told_alone_and_among_all_others() {
    let (mut alone, mut mixed) = (BTreeMap::<String, (u64, u64)>::new(), Vec::new());
    let (mut calls, mut rejects) = (0, 0);
    for (name, format) in FIXTURES {
        let (memory, counts) = read_all(&[name]);
        let told: Vec<_> = counts.formats.keys().cloned().collect();
        assert_eq!(told, [format], "{name}: {:?}", problems(&memory));
        assert!(Format::ALL.iter().any(|known| known.name() == format));
        mixed.push(fixture(name));
    }
    let (step, mut memory) = (Collect::default(), Memory::default());
    let mut reader = step.reader();
    for (name, format) in FIXTURES {
        let counts = reader.read(name, &fixture(name)[..], &mut memory).expect("nothing here fails");
        (calls, rejects) = (calls + counts.calls, rejects + counts.rejected);
        assert!(counts.formats.keys().all(|told| told == format), "{name}: {counts:?}");
        let sum = alone.entry(format.to_owned()).or_default();
        *sum = (sum.0 + counts.calls, sum.1 + counts.rejected);
    }
    let last = reader.finish(&mut memory).expect("nothing here fails");
    let all = mixed.concat();
    let (memory, counts) = read(&all);
    assert_eq!((memory.calls.len() as u64, memory.rejects.len() as u64), (calls + last.calls, rejects + last.rejected));
    for (format, count) in &counts.formats {
        let end = last.formats.get(format).map_or((0, 0), |count| (count.calls, count.rejected));
        let (calls, rejected) = alone[format];
        assert_eq!((count.calls, count.rejected), (calls + end.0, rejected + end.1), "{format}");
    }
}
