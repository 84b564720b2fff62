//! Sockets: the client of an OpenAI-compatible endpoint, as a [`record::Predictor`].
//!
//! The only crate that opens a connection, and only to the address it is given. Knows no store.
mod endpoint;

pub use endpoint::{Endpoint, Error};
