//! Shape of a decoder: the `config.json` of a Hugging Face folder, told in plain fields.
//!
//! What differs between model families is said by fields, so that whoever computes knows no family. Reads what transformers 4 and 5
//! write, refuses what would be computed wrongly, and writes a file that both read.
mod family;
mod ids;
mod raw;
mod read;
mod rope;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::read;
pub(crate) use ids::Ids;
use raw::Raw;
pub use rope::{Llama3Rope, LongRope, Rope, RopeScaling};

/// Dimensions and constants of a decoder, and what it does in which order.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Config {
    /// `model_type` of the file. Only what reads and writes configurations looks at it.
    pub model_type: String,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Positions the model was made for.
    pub max_position_embeddings: usize,
    /// Constant under the root of the norms.
    pub rms_norm_eps: f64,
    /// What is added to the stored gains of all norms: 0, or 1 where they are stored as what they differ from 1 by.
    pub gain_offset: f64,
    /// Whether each head of queries and keys is normed before it is turned, all with one gain (Henry et al. 2020, arXiv 2010.04245).
    pub head_norms: bool,
    /// Whether what attention and feed-forward part make is normed too, before it is added to the residual stream.
    pub branch_norms: bool,
    /// What the gate of the feed-forward part goes through.
    pub activation: Activation,
    /// Whether query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub out_bias: bool,
    /// Whether query, key and value are one linear layer in the files, and gate and up another: one adapter serves all parts.
    pub fused_linears: bool,
    /// Factor on the scores of attention; 1 / √`head_dim` if none.
    pub attention_scale: Option<f64>,
    /// Factor on the embeddings of tokens (not on the head that shares them).
    pub embedding_multiplier: f64,
    /// Factor on what attention and feed-forward part add to the residual stream.
    pub residual_multiplier: f64,
    /// What the logits are divided by.
    pub logits_divisor: f64,
    /// The ways in which heads are turned by their position.
    pub ropes: Vec<Rope>,
    /// How each layer attends, in order.
    pub layers: Vec<Look>,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills batches elsewhere; here nothing is padded.
    pub pad_token_id: Option<u32>,
}

/// How a layer attends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Positions that a token sees, its own among them; all up to its own if none (Beltagy et al. 2020, arXiv 2004.05150).
    pub window: Option<usize>,
    /// Which of [`Config::ropes`] turns queries and keys; they stay as they are if none (Kazemnejad et al. 2023, arXiv 2305.19466).
    pub rope: Option<usize>,
}

/// A gate's function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// x · σ(x).
    #[default]
    Silu,
    /// x · Φ(x) with the normal distribution by its tanh formula (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    GeluTanh,
}

impl Config {
    /// Parses the text of a `config.json`; `file` names it in errors.
    ///
    /// # Errors
    /// When the text is no configuration, or one of a family or variant that cannot be computed.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let raw: Raw = match serde_json::from_slice(bytes) {
            Ok(raw) => raw,
            // a configuration of another family may lack the keys of ours: name the family rather than the key
            Err(cause) => return Err(family::foreign(bytes).unwrap_or_else(|| Error::malformed(file, "model configuration", cause))),
        };
        raw.try_into()
    }

    /// Reads `config.json` of a folder.
    ///
    /// # Errors
    /// As [`Config::from_json`], or when the file cannot be read.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("config.json");
        Self::from_json(&read(&path)?, &path.display().to_string())
    }

    /// Text of a `config.json` that transformers, vLLM and llama.cpp read.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data always serialises")
    }

    /// The longest sequence that is turned by the short factors of a long rope; none where all sequences are turned alike.
    #[must_use]
    pub fn rope_switch(&self) -> Option<usize> {
        self.ropes.iter().find_map(Rope::switch)
    }
}
