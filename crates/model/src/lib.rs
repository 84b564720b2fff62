//! Models as tensors: configuration, weights, tokenizer, chat template, generation, embeddings, LoRA training.
//!
//! Knows no step and no store. Maps weight files read only and owns devices; prints nothing, asks no clock.
pub mod answer;
mod bytes;
mod cache;
mod chat;
mod config;
mod decoder;
mod device;
mod embed;
mod error;
mod expected;
mod generate;
pub mod gguf;
mod linear;
mod local;
mod lora;
mod names;
mod template;
mod tokenizer;
pub mod train;
mod weights;

pub use bytes::TokenBytes;
pub use candle_core::{DType, Device};
pub use chat::{Chat, ChatFiles, Example};
pub use config::{Activation, Config, Llama3Rope, LongRope, Look, Rope, RopeScaling};
pub use decoder::Decoder;
pub use device::device;
pub use embed::{BertEmbedder, Embedder, HashEmbedder};
pub use error::Error;
pub use generate::{Generation, Limits};
pub use local::{LocalModel, ModelFiles, Settings};
pub use lora::Lora;
pub use names::{Linear, linears};
pub use template::{ChatTemplate, trimming};
pub use tokenizer::Tokenizer;
pub use weights::Weights;
