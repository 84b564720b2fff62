//! Sentence vectors of a local BERT-family folder (MiniLM and kin), mean-pooled, on the CPU or any candle device.
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};
use serde::Deserialize;

use super::{Embedder, normalise};
use crate::error::read;
use crate::{Error, Tokenizer, Weights};

/// The keys of a BERT `config.json` that decide what is computed.
#[derive(Deserialize)]
struct BertConfig {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    vocab_size: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "small")]
    layer_norm_eps: f64,
    #[serde(default = "gelu")]
    hidden_act: String,
}

const fn two() -> usize {
    2
}
const fn small() -> f64 {
    1e-12
}
fn gelu() -> String {
    "gelu".to_owned()
}

/// Texts that go through the model together; of one length, so that nothing is padded.
const BATCH: usize = 64;

/// A BERT encoder whose token vectors are averaged.
pub struct BertEmbedder {
    config: BertConfig,
    tokenizer: Tokenizer,
    words: Tensor,
    positions: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    /// Tokens of a text that are read, its begin and end among them.
    longest: usize,
    device: Device,
}

impl std::fmt::Debug for BertEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BertEmbedder").field("dimension", &self.config.hidden_size).finish_non_exhaustive()
    }
}

struct Norm {
    gain: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(x, &self.gain, &self.bias, self.eps)
    }
}

/// `x · weight + bias`, the weight already transposed.
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm: Norm,
    up: Linear,
    down: Linear,
    last: Norm,
}

/// Reads named parts of the weights, with or without the `bert.` that some files put before every name.
struct Reader<'a> {
    weights: &'a Weights,
    prefix: &'static str,
    eps: f32,
}

impl Reader<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        self.weights.get(&format!("{}{name}", self.prefix), shape).cloned()
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, Error> {
        let part = |part| self.tensor(&format!("{name}.{part}"), &[width]);
        Ok(Norm { gain: part("weight")?, bias: part("bias")?, eps: self.eps })
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, Error> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?.t()?.contiguous()?;
        Ok(Linear { weight, bias: self.tensor(&format!("{name}.bias"), &[outputs])? })
    }

    fn layer(&self, config: &BertConfig, index: usize) -> Result<Layer, Error> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let linear = |part: &str, inputs, outputs| self.linear(&name(part), inputs, outputs);
        Ok(Layer {
            query: linear("attention.self.query", hidden, hidden)?,
            key: linear("attention.self.key", hidden, hidden)?,
            value: linear("attention.self.value", hidden, hidden)?,
            out: linear("attention.output.dense", hidden, hidden)?,
            norm: self.norm(&name("attention.output.LayerNorm"), hidden)?,
            up: linear("intermediate.dense", hidden, inner)?,
            down: linear("output.dense", inner, hidden)?,
            last: self.norm(&name("output.LayerNorm"), hidden)?,
        })
    }
}

impl BertEmbedder {
    /// Loads a folder in the layout of sentence-transformers: `config.json`, `tokenizer.json`, `model.safetensors`, and
    /// `1_Pooling/config.json`, which must ask for the mean where it is present.
    ///
    /// # Errors
    /// When a file is missing or damaged, or the model is no BERT with mean pooling.
    #[expect(clippy::cast_possible_truncation, reason = "the constant is used in f32, as the weights are")]
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let config: BertConfig = json(&folder.join("config.json"))?;
        let unsupported = |key, found: &str, expected| Err(Error::Unsupported { key, found: found.to_owned(), expected });
        if config.model_type != "bert" {
            return unsupported("model_type", &config.model_type, "only `bert` as an embedder");
        }
        if config.hidden_act != "gelu" {
            return unsupported("hidden_act", &config.hidden_act, "only `gelu`");
        }
        let longest = limits(folder, &config)?;
        let weights = Weights::load(folder, DType::F32, device)?;
        let prefix = if weights.tensors.contains_key("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let reader = Reader { weights: &weights, prefix, eps: config.layer_norm_eps as f32 };
        let table = |name: &str, rows| reader.tensor(&format!("embeddings.{name}_embeddings.weight"), &[rows, config.hidden_size]);
        // a sentence alone is all of the first type: its vector can be added to every position once
        let kind = table("token_type", config.type_vocab_size)?.get(0)?;
        let positions = table("position", config.max_position_embeddings)?.broadcast_add(&kind)?;
        let layers = (0..config.num_hidden_layers).map(|index| reader.layer(&config, index)).collect::<Result<_, _>>()?;
        let (words, embedding_norm) = (table("word", config.vocab_size)?, reader.norm("embeddings.LayerNorm", config.hidden_size)?);
        let tokenizer = Tokenizer::load(folder)?;
        Ok(Self { tokenizer, words, positions, embedding_norm, layers, longest, device: device.clone(), config })
    }

    /// Tokens of a text, cut to the model's length with its last token (the separator) kept.
    fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut tokens = self.tokenizer.encode(text, true)?;
        if tokens.len() > self.longest {
            let last = tokens.last().copied();
            tokens.truncate(self.longest - 1);
            tokens.extend(last);
        }
        Ok(tokens)
    }

    /// Mean token vectors of texts that all have `length` tokens.
    fn forward(&self, tokens: Vec<u32>, length: usize) -> Result<Vec<Vec<f32>>, Error> {
        let (count, hidden) = (tokens.len() / length, self.config.hidden_size);
        let ids = Tensor::from_vec(tokens, count * length, &self.device)?;
        let words = self.words.index_select(&ids, 0)?.reshape((count, length, hidden))?;
        let x = words.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let mut x = self.embedding_norm.apply(&x)?.reshape((count * length, hidden))?;
        for layer in &self.layers {
            x = self.layer(layer, &x, count, length)?;
        }
        Ok(x.reshape((count, length, hidden))?.mean(1)?.to_vec2()?)
    }

    #[expect(clippy::cast_precision_loss, reason = "the width of a head is a small number")]
    fn layer(&self, layer: &Layer, x: &Tensor, count: usize, length: usize) -> candle_core::Result<Tensor> {
        let heads = self.config.num_attention_heads;
        let width = self.config.hidden_size / heads;
        let split = |linear: &Linear| linear.apply(x)?.reshape((count, length, heads, width))?.transpose(1, 2)?.contiguous();
        let scores = (split(&layer.query)?.matmul(&split(&layer.key)?.t()?)? / (width as f64).sqrt())?;
        let mixed = softmax_last_dim(&scores)?.matmul(&split(&layer.value)?)?;
        let mixed = mixed.transpose(1, 2)?.contiguous()?.reshape(x.dims())?;
        let x = layer.norm.apply(&(layer.out.apply(&mixed)? + x)?)?;
        let inner = layer.up.apply(&x)?.gelu_erf()?;
        layer.last.apply(&(layer.down.apply(&inner)? + &x)?)
    }
}

/// Reads a JSON file.
fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    serde_json::from_slice(&read(path)?).map_err(|cause| Error::malformed(path.display().to_string(), "JSON configuration", cause))
}

/// Most tokens of a text, after a look at what sentence-transformers says of pooling and length.
fn limits(folder: &Path, config: &BertConfig) -> Result<usize, Error> {
    let pooling = folder.join("1_Pooling/config.json");
    if pooling.exists() {
        let pooling: serde_json::Value = json(&pooling)?;
        if pooling.get("pooling_mode_mean_tokens").and_then(serde_json::Value::as_bool) == Some(false) {
            let key = "pooling_mode_mean_tokens";
            return Err(Error::Unsupported { key, found: "false".to_owned(), expected: "only the mean of token vectors" });
        }
    }
    let file = folder.join("sentence_bert_config.json");
    let stated =
        if file.exists() { json::<serde_json::Value>(&file)?.get("max_seq_length").and_then(serde_json::Value::as_u64) } else { None };
    let stated = stated.and_then(|n| usize::try_from(n).ok()).unwrap_or(config.max_position_embeddings);
    Ok(stated.clamp(2, config.max_position_embeddings))
}

impl Embedder for BertEmbedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let tokens = texts.iter().map(|text| self.tokens(text)).collect::<Result<Vec<_>, _>>()?;
        let mut order: Vec<_> = (0..texts.len()).filter(|&i| !tokens[i].is_empty()).collect();
        order.sort_by_key(|&i| tokens[i].len());
        let mut vectors = vec![vec![0.0; self.dimension()]; texts.len()];
        for same in order.chunk_by(|&a, &b| tokens[a].len() == tokens[b].len()) {
            for batch in same.chunks(BATCH) {
                let joined = batch.iter().flat_map(|&i| tokens[i].iter().copied()).collect();
                for (&i, mut vector) in batch.iter().zip(self.forward(joined, tokens[batch[0]].len())?) {
                    normalise(&mut vector);
                    vectors[i] = vector;
                }
            }
        }
        Ok(vectors)
    }

    fn dimension(&self) -> usize {
        self.config.hidden_size
    }
}
