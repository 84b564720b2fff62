//! Models as tensors: configuration, weights, tokenizer, chat template, generation, embeddings, LoRA training.
//!
//! Knows no step and no store. Maps weight files read only and owns devices; prints nothing, asks no clock.
pub mod answer;
mod chat;
mod config;
mod device;
mod error;
mod template;
mod tokenizer;
mod weights;

pub use chat::{Chat, ChatFiles, Example};
pub use config::{Config, Llama3Rope};
pub use device::device;
pub use error::Error;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
pub use weights::Weights;
