//! The store from outside: what it keeps, from whom it keeps it, and what a crash leaves.
mod beside;
mod calls;
mod forget;
mod kill;
mod ledger;
mod migrate;
mod privacy;
mod rekey;
mod retain;
mod verify;

use std::path::Path;

use record::{Call, Fingerprint, Request, Response, Time};
use serde_json::json;
use store::{Keys, Store};

/// Call `at` of `conversation`.
fn call(conversation: &str, at: u32) -> Call {
    let response = json!({
        "object": "chat.completion", "model": "large-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": format!("answer {at}")}}],
        "usage": {"prompt_tokens": 10 + at, "completion_tokens": 2, "total_tokens": 12 + at}
    });
    let question = format!("question {at} of {conversation}, résumé 😀");
    Call {
        source_id: format!("{conversation}:{at}"),
        conversation_id: conversation.to_owned(),
        step: at,
        timestamp: Some(Time(1_760_000_000_000 + i64::from(at))),
        workload_id: Some("node".to_owned()),
        client_id: Some("tenant-of-planted-origin".to_owned()),
        request: Request(json!({"model": "large", "messages": [{"role": "user", "content": question}], "temperature": 0.1})),
        response: Response(response),
        latency_ms: Some(125.5),
        cost_usd: Some(0.25),
        feedback: json!({"reward": 1.0}).as_object().cloned().unwrap_or_default(),
        tags: serde_json::Map::new(),
        lossy: Vec::new(),
    }
}

fn fixed_clock() -> Time {
    Time(1_760_000_000_000)
}

fn keys_in(folder: &Path) -> Keys {
    let keys = folder.join("keys");
    if keys.exists() { Keys::load(&keys) } else { Keys::create(&keys) }.expect("keys")
}

fn new_store(folder: &Path) -> Store {
    Store::create(&folder.join("test.db"), keys_in(folder), fixed_clock).expect("a new store")
}

fn reopen(folder: &Path) -> Store {
    Store::open(&folder.join("test.db"), keys_in(folder), fixed_clock).expect("the store")
}

fn scrub_id(version: u8) -> Fingerprint {
    Fingerprint::of_bytes(&[version])
}
