//! GGUF, the file of llama.cpp and Ollama, read and written: names, order of rows, keys, types. Knows no step.
//!
//! candle knows the bytes of the format; what a model's tensors are called there, and how its rows lie, is known here, once for
//! both directions.
mod adapter;
mod file;
mod names;
mod pieces;
mod pre;
mod quant;
mod read;
mod scheme;
mod shape;
mod vocabulary;
mod write;

pub use file::Gguf;
pub use quant::Quant;
pub use write::{Exported, Written, write_adapter, write_model};
