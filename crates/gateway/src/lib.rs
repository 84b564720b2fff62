//! Sockets: the client of an OpenAI-compatible endpoint, as a [`record::Predictor`], and the proxy that records what passes.
//!
//! The only crate that opens a connection, and only to the address it is given. Knows no store: what the proxy saw waits in a [`Queue`].
mod endpoint;
mod proxy;

pub use endpoint::{Endpoint, Error};
pub use proxy::{Bodies, Exchange, Held, Metrics, Next, Proxy, ProxyError, Pseudonym, Queue, Reason, Rules, Settings, Stopper, Upstream};
