//! `config.json` as it is written: every key that decides what is computed. Unknown keys are no concern of ours.
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::ids::Ids;

/// The keys of all families. What is optional is left out where a family does not write it.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Raw {
    #[serde(default)]
    pub architectures: Vec<String>,
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_local_base_freq: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<Value>,
    // transformers 5 keeps all of the above here
    #[serde(skip_serializing_if = "Option::is_none", alias = "rope_params")]
    pub rope_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_rotary_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_rope_layers: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_rope_layer_interval: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub sliding_window: Option<Option<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_sliding_window: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_window_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window_pattern: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_pre_attn_scalar: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attn_logit_softcapping: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_logit_softcapping: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_bidirectional_attention: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_multiplier: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_multiplier: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual_multiplier: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits_scaling: Option<f64>,
    pub tie_word_embeddings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlp_bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_act: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_activation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<Value>,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<Ids>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub pad_token_id: Option<Option<u32>>,
}

/// Tells null from a key that is missing.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(source: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(source).map(Some)
}
