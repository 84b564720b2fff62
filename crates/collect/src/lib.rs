//! Foreign log formats into call records.
//!
//! Takes a name and anything that can be read, finds out how it is compressed and which format each row has, and
//! hands batches of [`record::Call`]s and [`record::Reject`]s to a [`record::Recorder`]. A row it cannot take becomes
//! a reject that names line, field and cure. It opens no file, knows no store, and holds two batches in memory, and
//! what waits for its other parts.
//!
//! One file a format: [`Format`] lists them; adding one is a `Shape` of its own and a line there. `api` knows the bodies of
//! APIs, `export` what tools write around them, `span` traces.
mod api;
mod atif;
mod batch;
mod claude_code;
mod credentials;
mod document;
mod export;
mod fault;
mod finetune;
mod format;
mod har;
mod history;
mod join;
mod lacks;
mod line;
mod pair;
mod plain;
mod read;
mod record_row;
mod row;
mod source;
mod span;

pub use format::Format;
pub use lacks::Lack;
pub use read::{Collect, Collected, Error, FormatCount, Reader};
