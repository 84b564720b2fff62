//! The store: remembers calls, clean calls, rejects, runs and artifacts, and keeps them sealed.
//!
//! One SQLite file and an artifact folder beside it. Bodies lie in segments (many calls compressed together, then
//! sealed with age recipients), so what a role may read is decided by the key files it holds. Columns that analysis
//! needs stay in the clear and hold nothing personal. This crate owns the disk; it knows no log format, no scrubbing
//! rule and no step.
//!
//! ```no_run
//! use record::{Call, Clean, Fingerprint, Time};
//! # fn scrub(calls: &[Call]) -> Vec<Clean<Call>> { Vec::new() }
//! # fn main() -> Result<(), store::Error> {
//! let keys = store::Keys::create("keys".as_ref())?;
//! let store = store::Store::create("slm-migrate.db".as_ref(), keys, || Time(0))?;
//! let configuration = Fingerprint::of_bytes(b"what the scrubber is configured to do");
//! for batch in store.raw_conversations(&configuration, 2_000)? {
//!     let batch = batch?;
//!     store.put_clean(&batch.id, &scrub(&batch.calls))?;
//! }
//! for calls in store.clean_calls()? {
//!     println!("{} clean calls", calls?.len());
//! }
//! # Ok(())
//! # }
//! ```
mod append;
mod artifacts;
mod bodies;
mod clean;
mod collector;
mod error;
mod forget;
mod frame;
mod keys;
mod ledger;
mod made;
mod overview;
mod people;
mod plan;
mod predictions;
mod raw;
mod rejects;
mod rekey;
mod retain;
mod schema;
mod seal;
mod squeeze;
mod store;
#[cfg(test)]
mod tests;
mod tombstone;
mod trail;
mod verify;

pub use append::Recorded;
pub use clean::CleanBatches;
pub use error::{Error, Result};
pub use forget::{Forgotten, Subject};
pub use frame::TaskStats;
pub use keys::{Keys, Role};
pub use ledger::{Run, Unit};
pub use made::Made;
pub use overview::Overview;
pub use polars::prelude::DataFrame;
pub use raw::{BatchId, RawBatch, RawBatches};
pub use rejects::Rejects;
pub use rekey::{KnownKey, Resealed};
pub use retain::{Expired, Merged};
pub use store::{Clock, Counts, Store};
pub use trail::TrailEntry;
pub use verify::Verified;
