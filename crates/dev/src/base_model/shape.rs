//! The shape of the model: a small Llama.
use serde_json::{Value, json};

/// Positions the configuration allows.
pub const CONTEXT: usize = 2048;

/// `config.json` of a model with the given width of its feed-forward layers and number of layers.
pub fn config(layers: usize) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": super::tokenizer::VOCABULARY,
        "hidden_size": 192,
        "intermediate_size": 448,
        "num_hidden_layers": layers,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": null,
        "attention_bias": false,
        "attention_dropout": 0.0,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "use_cache": true,
        "pretraining_tp": 1,
        "bos_token_id": null,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "bfloat16"
    })
}

/// `generation_config.json`.
pub fn generation() -> Value {
    json!({"do_sample": false, "eos_token_id": [2, 0], "pad_token_id": 0, "max_new_tokens": 256})
}
