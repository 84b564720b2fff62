//! Calls in, clean calls out: personal data and secrets are replaced, what the task needs stays.
//!
//! One conversation at a time. Values are found by shape, by check digits and by the JSON keys they stand under; then what was
//! found is replaced wherever it stands in that conversation, always by the same made-up value, so that an answer that
//! copied from its prompt still does. Rewriting happens inside the JSON text: types, keys and every other byte stay.
//! In the end every original value is searched in the output, and a call that still holds one is withheld.
//!
//! Knows no store, no other step and no other conversation. No neural model reads along: a name that nothing announces
//! and no key names is not found.
mod checksum;
mod class;
mod config;
mod conversation;
mod copies;
mod detect;
mod document;
mod error;
mod find;
mod keys;
mod logprobs;
mod names;
mod residual;
mod scrubber;
mod shapes;
mod surrogate;

pub use class::{Class, Method, Policy};
pub use config::Scrub;
pub use conversation::Scrubbed;
pub use detect::Span;
pub use error::Error;
pub use residual::Leak;
pub use scrubber::Scrubber;
