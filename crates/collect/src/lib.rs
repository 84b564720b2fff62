//! Foreign log formats into call records.
//!
//! Takes a name and anything that can be read, finds out how it is compressed and which format each row has, and
//! hands batches of [`record::Call`]s and [`record::Reject`]s to a [`record::Recorder`]. A row it cannot take becomes
//! a reject that names line, field and cure. It opens no file, knows no store, and holds one batch in memory.
//!
//! One file a format: [`Format`] lists them; adding one is a `Shape` of its own and a line there.
mod anthropic;
mod chat;
mod converse;
mod fault;
mod finetune;
mod format;
mod gemini;
mod openai;
mod pair;
mod read;
mod record_row;
mod responses;
mod row;
mod source;
mod stream;

pub use format::Format;
pub use read::{Collect, Collected, Error, FormatCount};
