//! Models as tensors: configuration, weights, tokenizer, chat template, generation, embeddings, LoRA training.
//!
//! Knows no step and no store. Maps weight files read only and owns devices; prints nothing, asks no clock.
mod config;
mod device;
mod error;
mod weights;

pub use config::{Config, Llama3Rope};
pub use device::device;
pub use error::Error;
pub use weights::Weights;
