//! What can go wrong. No message ever holds a value.
use crate::Class;

/// A scrubber cannot be made, or a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the configuration has two meanings.
    #[error("key `{key}` is in `scrub.keep_keys` and has class `{class}` in `scrub.keys`")]
    Contradiction {
        /// The key.
        key: String,
        /// Its class.
        class: Class,
    },
    /// The calls handed over are not of one conversation.
    #[error("record `{source_id}` is of conversation `{found}`, not `{expected}`: scrub takes one conversation at a time")]
    Mixed {
        /// The record.
        source_id: String,
        /// The conversation of the first call.
        expected: String,
        /// The conversation of this one.
        found: String,
    },
    /// A rewritten record is no JSON of the same shape. A defect of this crate.
    #[error("record `{source_id}`: rewriting broke its JSON: {cause}")]
    Broken {
        /// The record.
        source_id: String,
        /// What the parser said (place only).
        cause: String,
    },
}
