//! Shape of a decoder: the `config.json` of a Hugging Face folder, Llama family.
//!
//! Reads what transformers 4 and 5 write, refuses what would be computed wrongly, and writes a file that both read.
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::error::read;

/// Dimensions and constants of a decoder.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Config {
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
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Stretched rotary frequencies of Llama 3.1 and later.
    pub rope_scaling: Option<Llama3Rope>,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Whether query, key, value and output projections have a bias.
    pub attention_bias: bool,
    /// Token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
}

/// The `llama3` rope scaling: low frequencies are slowed by `factor`, high ones left, those between blended.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Llama3Rope {
    /// How much the longest waves are stretched.
    pub factor: f64,
    /// Waves longer than the original context over this are stretched in full.
    pub low_freq_factor: f64,
    /// Waves shorter than the original context over this are left alone.
    pub high_freq_factor: f64,
    /// Context of the model before it was stretched.
    pub original_max_position_embeddings: usize,
}

impl Config {
    /// Parses the text of a `config.json`; `file` names it in errors.
    ///
    /// # Errors
    /// When the text is no configuration, or one of a family or variant that cannot be computed.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let raw: Raw = match serde_json::from_slice(bytes) {
            Ok(raw) => raw,
            // a configuration of another family may lack Llama's keys: name the family rather than the key
            Err(cause) => return Err(foreign(bytes).unwrap_or_else(|| Error::malformed(file, "model configuration", cause))),
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

    /// Rotary frequency of each pair of a head's dimensions, in radians a position; `head_dim / 2` of them.
    ///
    /// Llama pairs dimension `i` with `i + head_dim / 2` (the half-split layout of Hugging Face weights).
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "dimensions and contexts are far below 2^53")]
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        let pairs = self.head_dim / 2;
        let plain = (0..pairs).map(|i| self.rope_theta.powf(-((2 * i) as f64) / self.head_dim as f64));
        let Some(scaling) = &self.rope_scaling else { return plain.collect() };
        let context = scaling.original_max_position_embeddings as f64;
        plain
            .map(|frequency| {
                let turns = context * frequency / std::f64::consts::TAU;
                let blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
                let blend = blend.clamp(0.0, 1.0);
                (1.0 - blend) * frequency / scaling.factor + blend * frequency
            })
            .collect()
    }
}

/// The error for a configuration whose `model_type` is another family's.
fn foreign(bytes: &[u8]) -> Option<Error> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let found = value.get("model_type")?.as_str()?;
    (found != "llama").then(|| Error::Architecture { found: found.to_owned() })
}

/// One token id or several, as `eos_token_id` is written.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    pub(crate) fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// The file as it is written. Unknown keys are no concern of ours.
#[derive(Deserialize, Serialize)]
struct Raw {
    #[serde(default = "llama_architectures")]
    architectures: Vec<String>,
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rope_theta: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rope_scaling: Option<Value>,
    // transformers 5 keeps both of the above here
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "rope_params")]
    rope_parameters: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "silu")]
    hidden_act: String,
    #[serde(default)]
    bos_token_id: Option<u32>,
    #[serde(default)]
    eos_token_id: Option<Ids>,
}

fn llama_architectures() -> Vec<String> {
    vec!["LlamaForCausalLM".to_owned()]
}

fn silu() -> String {
    "silu".to_owned()
}

impl TryFrom<Raw> for Config {
    type Error = Error;
    fn try_from(raw: Raw) -> Result<Self, Error> {
        if raw.model_type != "llama" {
            return Err(Error::Architecture { found: raw.model_type });
        }
        let refuse = |key, found: &dyn std::fmt::Display, expected| Err(Error::Unsupported { key, found: found.to_string(), expected });
        if raw.hidden_act != "silu" {
            return refuse("hidden_act", &raw.hidden_act, "only `silu`");
        }
        if raw.mlp_bias {
            return refuse("mlp_bias", &true, "only feed-forward layers without bias");
        }
        if raw.num_attention_heads == 0 || raw.num_hidden_layers == 0 || raw.vocab_size == 0 {
            return refuse("num_attention_heads", &raw.num_attention_heads, "heads, layers and vocabulary of at least one");
        }
        let head_dim = raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads);
        if head_dim == 0 || head_dim % 2 == 1 {
            return refuse("head_dim", &head_dim, "heads of even width");
        }
        let kv_heads = raw.num_key_value_heads.unwrap_or(raw.num_attention_heads);
        if kv_heads == 0 || !raw.num_attention_heads.is_multiple_of(kv_heads) {
            return refuse("num_key_value_heads", &kv_heads, "a divisor of `num_attention_heads`");
        }
        let rope = raw.rope_parameters.as_ref();
        let nested_theta = || rope.and_then(|r| r.get("rope_theta")).and_then(Value::as_f64);
        let rope_theta = raw.rope_theta.or_else(nested_theta).unwrap_or(10_000.0);
        let rope_scaling = scaling(raw.rope_scaling.as_ref().filter(|v| !v.is_null()).or(rope))?;
        Ok(Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: raw.num_attention_heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: raw.max_position_embeddings,
            rms_norm_eps: raw.rms_norm_eps,
            rope_theta,
            rope_scaling,
            tie_word_embeddings: raw.tie_word_embeddings,
            attention_bias: raw.attention_bias,
            bos_token_id: raw.bos_token_id,
            eos_token_ids: raw.eos_token_id.map(Ids::into_vec).unwrap_or_default(),
        })
    }
}

/// The scaling a `rope_scaling` or `rope_parameters` value states; none for the plain rope.
fn scaling(value: Option<&Value>) -> Result<Option<Llama3Rope>, Error> {
    let Some(value) = value else { return Ok(None) };
    let kind = value.get("rope_type").or_else(|| value.get("type")).and_then(Value::as_str).unwrap_or("default");
    match kind {
        "default" => Ok(None),
        "llama3" => {
            let parsed = Llama3Rope::deserialize(value).map_err(|cause| Error::malformed("config.json", "llama3 rope scaling", cause))?;
            Ok(Some(parsed))
        }
        other => Err(Error::Unsupported { key: "rope_scaling", found: other.to_owned(), expected: "only `default` and `llama3`" }),
    }
}

impl From<Config> for Raw {
    fn from(config: Config) -> Self {
        let rope_scaling = config.rope_scaling.map(|scaling| {
            let mut value = serde_json::to_value(scaling).expect("plain data always serialises");
            value["rope_type"] = Value::from("llama3");
            value
        });
        let mut eos = config.eos_token_ids;
        Self {
            architectures: llama_architectures(),
            model_type: "llama".to_owned(),
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: Some(config.num_key_value_heads),
            head_dim: Some(config.head_dim),
            max_position_embeddings: config.max_position_embeddings,
            rms_norm_eps: config.rms_norm_eps,
            rope_theta: Some(config.rope_theta),
            rope_scaling,
            rope_parameters: None,
            tie_word_embeddings: config.tie_word_embeddings,
            attention_bias: config.attention_bias,
            mlp_bias: false,
            hidden_act: silu(),
            bos_token_id: config.bos_token_id,
            eos_token_id: match eos.len() {
                0 => None,
                1 => eos.pop().map(Ids::One),
                _ => Some(Ids::Many(eos)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    const SMALL: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "eos_token_id": [1, 2],
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, "something_new": 3}"#;

    fn refusal(text: &str) -> String {
        Config::from_json(text.as_bytes(), "config.json").err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let config = Config::from_json(SMALL.as_bytes(), "x").expect("a good configuration");
        assert_eq!((config.head_dim, config.num_key_value_heads, config.rope_theta), (4, 2, 500_000.0));
        assert_eq!(config.eos_token_ids, [1, 2]);
        let again = Config::from_json(config.to_json().as_bytes(), "x").expect("our own writing");
        assert_eq!(config, again);
    }

    #[test]
    fn other_families_and_variants_are_refused_by_name() {
        assert!(refusal(r#"{"model_type": "qwen3", "n_layer": 1}"#).starts_with("`qwen3` cannot be loaded yet"));
        assert!(refusal(&SMALL.replace("llama3", "yarn")).contains("`rope_scaling` = `yarn`"));
        assert!(refusal(&SMALL.replace("\"rms_norm_eps\": 1e-5, ", "")).contains("rms_norm_eps"));
    }

    #[test]
    fn long_waves_are_stretched_and_short_ones_left() {
        let mut config = Config::from_json(SMALL.as_bytes(), "x").expect("a good configuration");
        config.head_dim = 128;
        let scaled = config.inverse_frequencies();
        config.rope_scaling = None;
        let plain = config.inverse_frequencies();
        assert!((scaled[0] - plain[0]).abs() < 1e-15);
        assert!((scaled[63] * 8.0 - plain[63]).abs() < 1e-15);
    }
}
