//! Clean calls of a task in their three splits.
use std::collections::BTreeSet;

use evaluate::HeldPrompts;
use finetune::Finetune;
use record::{Call, Clean, Fingerprint, Part, Parts, TaskId, Withheld, split};
use store::Store;

use crate::context::Context;

/// The calls of one task, shared out by conversation.
///
/// # Errors
/// Without the trainer key, or when the store refuses.
pub fn of_task(context: &Context, store: &Store, task: &TaskId) -> anyhow::Result<Parts> {
    let mut calls: Vec<Clean<Call>> = Vec::new();
    for batch in store.clean_calls_of(task)? {
        calls.extend(batch?);
    }
    Ok(split(calls, context.config.seed, context.config.split))
}

/// What training must not learn from: prompts that nearly repeat one that is held out or calibrated on.
pub fn withheld(settings: &Finetune, parts: &Parts) -> Box<dyn Withheld> {
    if settings.near_duplicates > 0.0 { Box::new(HeldPrompts::of(parts, settings.near_duplicates)) } else { Box::new(()) }
}

/// Identity of the calls that are judged and calibrated on.
pub fn fingerprint(parts: &Parts) -> Fingerprint {
    let marks = [fingerprint_of(&parts.train), fingerprint_of(&parts.calibration), fingerprint_of(&parts.held)];
    Fingerprint::of_bytes(marks.map(|mark| mark.0).join(" ").as_bytes())
}

/// Identity of one part: its calls in order.
pub fn fingerprint_of<S>(part: &Part<S>) -> Fingerprint {
    let hashes = part.iter().map(|call| {
        let bytes = serde_json::to_vec(call).expect("a call is plain JSON, which always serialises");
        Fingerprint::of_bytes(&bytes).0
    });
    Fingerprint::of_bytes(hashes.collect::<String>().as_bytes())
}

/// Source ids of the calls of a part.
pub fn ids<S>(part: &Part<S>) -> impl Iterator<Item = &str> {
    part.iter().map(|call| call.source_id.as_str())
}

/// Number of conversations in a part.
pub fn conversations<S>(part: &Part<S>) -> u64 {
    part.iter().map(|call| call.conversation_id.as_str()).collect::<BTreeSet<_>>().len() as u64
}
