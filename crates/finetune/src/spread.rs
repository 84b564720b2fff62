//! An order of examples whose every beginning is a fair sample: one of each conversation, then a second of each.
//!
//! Under a budget the run learns from a beginning of this order. Shortest first would buy more examples and bend the
//! task towards its easy end; the order of the log would leave out the latest conversations.
use std::collections::BTreeMap;

use crate::examples::Example;

/// A number that depends on seed, purpose and id alone.
pub(crate) fn hash(purpose: &str, seed: u64, id: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(purpose.as_bytes()).update(&[0]).update(&seed.to_le_bytes()).update(id.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Sorts by turn (how many of the same conversation come before in a drawn order), then by hash of the conversation.
pub(crate) fn spread(mut examples: Vec<Example>, seed: u64) -> Vec<Example> {
    examples.sort_by_cached_key(|example| hash("turn", seed, &format!("{} {}", example.conversation, example.position)));
    let mut turns = BTreeMap::<String, u32>::new();
    let mut keyed: Vec<_> = examples
        .into_iter()
        .map(|example| {
            let turn = turns.entry(example.conversation.clone()).or_default();
            *turn += 1;
            ((*turn, hash("conversation", seed, &example.conversation)), example)
        })
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, example)| example).collect()
}
