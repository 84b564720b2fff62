//! Configurations of every family, as transformers 4 and 5 write them: read, refused, written.
use serde_json::{Value, json};

use super::{Activation, Config, Look, RopeScaling};

const SMALL: &str = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "eos_token_id": [1, 2],
    "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, "something_new": 3}"#;

fn refusal(text: &str) -> String {
    Config::from_json(text.as_bytes(), "config.json").err().map(|e| e.to_string()).unwrap_or_default()
}

/// A small configuration of a family with other keys set; null takes one away.
fn text(family: &str, others: Value) -> String {
    let mut value = json!({"model_type": family, "vocab_size": 8, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-6});
    let Value::Object(others) = others else { panic!("keys and values") };
    for (key, other) in others {
        value[key] = other;
    }
    value.to_string()
}

fn read(family: &str, others: Value) -> Config {
    let text = text(family, others);
    Config::from_json(text.as_bytes(), "x").unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_is_written_reads_back_the_same() {
    let config = Config::from_json(SMALL.as_bytes(), "x").expect("a good configuration");
    assert_eq!((config.head_dim, config.num_key_value_heads, config.ropes[0].theta), (4, 2, 500_000.0));
    assert_eq!(config.eos_token_ids, [1, 2]);
    let again = Config::from_json(config.to_json().as_bytes(), "x").expect("our own writing");
    assert_eq!(config, again);
}

/// The same model as transformers 4 writes it and as 5 does.
fn pairs() -> Vec<(&'static str, Value, Value)> {
    let linear = json!({"rope_type": "linear", "factor": 8.0});
    let long = json!({"type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 4.0, 8.0]});
    let long5 = json!({"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 4.0, 8.0], "rope_theta": 1e4,
        "partial_rotary_factor": 0.75, "original_max_position_embeddings": 32});
    let plain = |theta: f64| json!({"rope_type": "default", "rope_theta": theta});
    let types = |sliding: [bool; 4]| sliding.map(|sliding| if sliding { "sliding_attention" } else { "full_attention" });
    let gemma5 = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": plain(1e4)});
    vec![
        ("mistral", json!({"rope_theta": 1e6, "sliding_window": null}), json!({"rope_parameters": plain(1e6), "sliding_window": null})),
        ("mistral", json!({"sliding_window": 9}), json!({"rope_parameters": plain(1e4), "sliding_window": 9})),
        (
            "qwen2",
            json!({"rope_theta": 1e6, "use_sliding_window": false, "sliding_window": 99, "max_window_layers": 2}),
            json!({"rope_parameters": plain(1e6), "sliding_window": null, "layer_types": types([false; 4])}),
        ),
        (
            "qwen2",
            json!({"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 1}),
            json!({"use_sliding_window": true, "sliding_window": 9, "layer_types": types([false, true, true, true])}),
        ),
        (
            "qwen3",
            json!({"rope_theta": 1e6, "tie_word_embeddings": true}),
            json!({"rope_parameters": plain(1e6), "tie_word_embeddings": true}),
        ),
        (
            "smollm3",
            json!({"no_rope_layer_interval": 2, "rope_theta": 5e6}),
            json!({"no_rope_layers": [1, 0, 1, 0], "layer_types": types([false; 4]), "rope_parameters": plain(5e6)}),
        ),
        (
            "phi3",
            json!({"rope_scaling": long, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 32, "sliding_window": 200}),
            json!({"rope_parameters": long5, "original_max_position_embeddings": 32, "sliding_window": 200}),
        ),
        ("phi3", json!({"rope_scaling": null, "rope_theta": 2e4}), json!({"rope_parameters": plain(2e4), "sliding_window": null})),
        (
            "granite",
            json!({"embedding_multiplier": 12.0, "attention_multiplier": 0.015625, "residual_multiplier": 0.22, "logits_scaling": 8}),
            json!({"embedding_multiplier": 12, "attention_multiplier": 0.015625, "residual_multiplier": 0.22, "logits_scaling": 8.0,
                "rope_parameters": plain(1e4)}),
        ),
        (
            "gemma3_text",
            json!({"sliding_window": 5, "sliding_window_pattern": 2, "rope_scaling": linear, "query_pre_attn_scalar": 12}),
            json!({"sliding_window": 5, "layer_types": types([true, false, true, false]), "rope_parameters": gemma5,
                "query_pre_attn_scalar": 12}),
        ),
    ]
}

#[test]
fn both_forms_of_every_family_are_the_same_and_read_back() {
    for (family, four, five) in pairs() {
        let config = read(family, four);
        assert_eq!(config, read(family, five), "{family}");
        let again = Config::from_json(config.to_json().as_bytes(), "x").expect("our own writing");
        assert_eq!(config, again, "{}", config.to_json());
    }
}

#[test]
fn families_differ_in_what_their_keys_say() {
    let look = |window, rope| Look { window, rope };
    assert_eq!(read("mistral", json!({})).layers, [look(Some(4096), Some(0)); 4]);
    let qwen2 = read("qwen2", json!({}));
    assert_eq!((qwen2.qkv_bias, qwen2.out_bias, qwen2.layers[3]), (true, false, look(None, Some(0))));
    assert!(read("qwen3", json!({})).head_norms);
    let smollm3 = read("smollm3", json!({}));
    assert!(smollm3.tie_word_embeddings);
    assert_eq!(smollm3.layers.iter().map(|look| look.rope).collect::<Vec<_>>(), [Some(0), Some(0), Some(0), None]);
    let granite = read("granite", json!({"attention_multiplier": 0.5, "residual_multiplier": 0.25}));
    assert_eq!((granite.attention_scale, granite.residual_multiplier, granite.logits_divisor), (Some(0.5), 0.25, 1.0));
    let gemma = read("gemma3_text", json!({"num_hidden_layers": 7, "sliding_window": 5, "query_pre_attn_scalar": 16}));
    assert_eq!((gemma.attention_scale, gemma.embedding_multiplier, gemma.gain_offset), (Some(0.25), 4.0, 1.0));
    assert_eq!((gemma.activation, gemma.ropes[0].theta, gemma.ropes[1].theta), (Activation::GeluTanh, 1e6, 1e4));
    assert_eq!(gemma.layers[4..], [look(Some(5), Some(1)), look(None, Some(0)), look(Some(5), Some(1))]);
    let (_, four, _) = pairs().into_iter().find(|(family, ..)| *family == "phi3").expect("it is there");
    let phi3 = read("phi3", four);
    assert_eq!((phi3.fused_linears, phi3.ropes[0].width, phi3.rope_switch()), (true, 6, Some(32)));
    let RopeScaling::Long(long) = &phi3.ropes[0].scaling else { panic!("a long rope") };
    assert!((long.attention_factor - (1.0_f64 + 2.0_f64.ln() / 32.0_f64.ln()).sqrt()).abs() < 1e-15);
    let second = |length| phi3.ropes[0].inverse_frequencies(length)[1] / 1e4_f64.powf(-2.0 / 6.0);
    assert!((second(32) - 1.0 / 1.5).abs() < 1e-15 && (second(33) - 0.25).abs() < 1e-15);
}

#[test]
fn other_families_and_variants_are_refused_by_name() {
    for family in ["nemotron_h", "falcon_h1", "lfm2", "gemma3", "qwen3_moe"] {
        let text = format!(r#"{{"model_type": "{family}", "n_layer": 1}}"#);
        assert!(refusal(&text).starts_with(&format!("`{family}` cannot be loaded or trained here")), "{}", refusal(&text));
        assert!(pairs().iter().all(|(ours, ..)| refusal(&text).contains(&format!("`{ours}`"))), "it names all that can be");
    }
    assert!(refusal(&SMALL.replace("llama3", "yarn")).contains("`rope_scaling` = `yarn`"));
    assert!(refusal(&SMALL.replace("\"rms_norm_eps\": 1e-5, ", "")).contains("rms_norm_eps"));
}

#[test]
fn what_would_be_computed_wrongly_is_refused_by_its_key() {
    let flat = json!({"rope_type": "default", "rope_theta": 1e4});
    let long = json!({"type": "longrope", "short_factor": [1.0, 1.0, 1.0, 1.0], "long_factor": [1.0, 1.0, 1.0, 1.0]});
    let short = json!({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]});
    let cases = [
        ("llama", "hidden_act", json!("gelu")),
        ("llama", "mlp_bias", json!(true)),
        ("llama", "num_attention_heads", json!(0)),
        ("llama", "num_key_value_heads", json!(3)),
        ("llama", "head_dim", json!(7)),
        ("llama", "quantization_config", json!({"quant_method": "fp8"})),
        ("llama", "partial_rotary_factor", json!(0.5)),
        ("llama", "layer_types", json!(["full_attention", "full_attention", "full_attention", "sliding_attention"])),
        ("llama", "rope_parameters", json!({"full_attention": flat})),
        ("llama", "residual_multiplier", json!(0.5)),
        ("llama", "query_pre_attn_scalar", json!(8)),
        ("mistral", "attention_bias", json!(true)),
        ("mistral", "num_key_value_heads", json!(null)),
        ("mistral", "sliding_window", json!(0)),
        ("mistral", "layer_types", json!(["full_attention", "sliding_attention", "full_attention", "sliding_attention"])),
        ("qwen2", "layer_types", json!(["full_attention"])),
        ("qwen2", "layer_types", json!(["full_attention", "full_attention", "full_attention", "linear_attention"])),
        ("qwen2", "rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("qwen3", "rope_scaling", long.clone()),
        ("qwen3", "rope_scaling", json!({"type": "mrope"})),
        ("qwen3", "rope_scaling", json!({"type": "dynamic", "factor": 2.0})),
        ("qwen3", "head_dim", json!(null)),
        ("smollm3", "no_rope_layers", json!([1, 0])),
        ("phi3", "partial_rotary_factor", json!(0.4)),
        ("granite", "logits_scaling", json!(0.0)),
        ("gemma3_text", "final_logit_softcapping", json!(30.0)),
        ("gemma3_text", "attn_logit_softcapping", json!(50.0)),
        ("gemma3_text", "use_bidirectional_attention", json!(true)),
        ("gemma3_text", "hidden_activation", json!("gelu")),
        ("gemma3_text", "rope_parameters", flat),
        ("gemma3_text", "sliding_window", json!(null)),
    ];
    for (family, key, value) in cases {
        let found = refusal(&text(family, json!({ key: value })));
        assert!(found.contains(&format!("`{key}` = ")), "{family}, {key}: {found}");
    }
    let both = json!({"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"full_attention": {"rope_theta": 9.0}}});
    assert!(refusal(&text("gemma3_text", both)).contains("`rope_scaling` = `set`"));
    assert!(refusal(&text("phi3", json!({"rope_scaling": short}))).contains("1 factors for 4 pairs"));
    assert_eq!(refusal(&text("phi3", json!({"rope_scaling": long}))), "");
}

#[test]
fn long_waves_are_stretched_and_short_ones_left() {
    let mut rope = Config::from_json(SMALL.as_bytes(), "x").expect("a good configuration").ropes.remove(0);
    rope.width = 128;
    let scaled = rope.inverse_frequencies(1);
    rope.scaling = RopeScaling::Plain;
    let plain = rope.inverse_frequencies(1);
    assert!((scaled[0] - plain[0]).abs() < 1e-15);
    assert!((scaled[63] * 8.0 - plain[63]).abs() < 1e-15);
    rope.scaling = RopeScaling::Linear(4.0);
    assert!((rope.inverse_frequencies(1)[63] * 4.0 - plain[63]).abs() < 1e-15);
}
