//! The model families whose configurations are read and written: what each of them means by which key. This is the only place that
//! knows a family by name.
use serde_json::Value;

use crate::Error;

/// Where a family's attention biases are stated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Biases {
    /// By `attention_bias`, for all four projections.
    Stated,
    /// Nowhere: query, key and value have them.
    Qkv,
    /// Nowhere: there are none.
    Never,
}

/// Which layers have a sliding window, and where that is stated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// No layer.
    Never,
    /// All, where `sliding_window` is not null; the number is meant where the key is missing.
    All(Option<usize>),
    /// Those of `layer_types`, where `use_sliding_window` is set.
    Chosen,
    /// Those of `layer_types`, or all but each sixth; the number is meant where the key is missing.
    Pattern(usize),
}

/// A model family.
pub(super) struct Family {
    /// `model_type`.
    pub name: &'static str,
    /// The class of transformers.
    pub architecture: &'static str,
    /// `rope_theta` where it is missing.
    pub theta: f64,
    /// `tie_word_embeddings` where it is missing.
    pub tied: bool,
    pub biases: Biases,
    pub windows: Windows,
    /// Whether `head_dim` must be stated: transformers would take a number of its own.
    pub head_dim_stated: bool,
    /// The same of `num_key_value_heads`.
    pub key_heads_stated: bool,
    pub head_norms: bool,
    /// Some layers are not turned: `no_rope_layers`.
    pub no_rope_layers: bool,
    /// Fused linears, a part of each head turned, long rope.
    pub fused: bool,
    /// `embedding_multiplier` and its like.
    pub multipliers: bool,
    /// Gains around 1, norms behind the branches, scaled embeddings, `hidden_activation`, `query_pre_attn_scalar`, a rope for
    /// layers with a window and another for those without.
    pub sandwich: bool,
}

const LLAMA: Family = Family {
    name: "llama",
    architecture: "LlamaForCausalLM",
    theta: 10_000.0,
    tied: false,
    biases: Biases::Stated,
    windows: Windows::Never,
    head_dim_stated: false,
    key_heads_stated: false,
    head_norms: false,
    no_rope_layers: false,
    fused: false,
    multipliers: false,
    sandwich: false,
};

const FAMILIES: [Family; 8] = [
    LLAMA,
    Family {
        name: "mistral",
        architecture: "MistralForCausalLM",
        biases: Biases::Never,
        windows: Windows::All(Some(4096)),
        key_heads_stated: true,
        ..LLAMA
    },
    Family {
        name: "qwen2",
        architecture: "Qwen2ForCausalLM",
        biases: Biases::Qkv,
        windows: Windows::Chosen,
        key_heads_stated: true,
        ..LLAMA
    },
    Family {
        name: "qwen3",
        architecture: "Qwen3ForCausalLM",
        windows: Windows::Chosen,
        head_dim_stated: true,
        key_heads_stated: true,
        head_norms: true,
        ..LLAMA
    },
    Family {
        name: "smollm3",
        architecture: "SmolLM3ForCausalLM",
        theta: 2_000_000.0,
        tied: true,
        windows: Windows::Chosen,
        key_heads_stated: true,
        no_rope_layers: true,
        ..LLAMA
    },
    Family { name: "phi3", architecture: "Phi3ForCausalLM", biases: Biases::Never, windows: Windows::All(None), fused: true, ..LLAMA },
    Family { name: "granite", architecture: "GraniteForCausalLM", multipliers: true, ..LLAMA },
    Family {
        name: "gemma3_text",
        architecture: "Gemma3ForCausalLM",
        theta: 1_000_000.0,
        tied: true,
        windows: Windows::Pattern(4096),
        head_dim_stated: true,
        key_heads_stated: true,
        head_norms: true,
        sandwich: true,
        ..LLAMA
    },
];

/// The family of a `model_type`.
pub(super) fn find(name: &str) -> Result<&'static Family, Error> {
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| Error::Architecture { found: name.to_owned() })
}

/// The error for a configuration whose `model_type` is none of ours.
pub(super) fn foreign(bytes: &[u8]) -> Option<Error> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    find(value.get("model_type")?.as_str()?).err()
}
