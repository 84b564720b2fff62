//! The gradients of every model family against finite differences, against its sequences one by one, and against themselves at other
//! numbers of threads. That they are those of transformers and PEFT is for `train_golden`.
mod checks;

use candle_core::{DType, Device};
use checks::{difference, long, model, norm_of, one_by_one, same_bits};
use model::Config;
use model::train::{TrainModel, Trainable};

const LORA: Trainable = Trainable::Lora { rank: 3, alpha: 5.0 };

/// Windows within a block of attention and beyond it, and a switch of the rope that some sequences of a batch cross.
const FAMILIES: [(&str, &str); 7] = [
    ("mistral", r#""sliding_window": 50"#),
    ("qwen2", r#""use_sliding_window": true, "sliding_window": 80, "max_window_layers": 1"#),
    ("qwen3", r#""tie_word_embeddings": true"#),
    ("smollm3", r#""no_rope_layer_interval": 2"#),
    (
        "phi3",
        r#""partial_rotary_factor": 0.7, "original_max_position_embeddings": 100, "sliding_window": 70, "tie_word_embeddings": true,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 5.0]}"#,
    ),
    (
        "granite",
        r#""embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 0.7,
        "attention_bias": true, "tie_word_embeddings": true"#,
    ),
    (
        "gemma3_text",
        r#""sliding_window": 9, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8, "rope_local_base_freq": 10.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0}"#,
    ),
];

fn configs() -> impl Iterator<Item = Config> {
    FAMILIES.into_iter().map(|(family, extra)| {
        let text = format!(
            r#"{{"model_type": "{family}", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
            "rope_theta": 100.0, {extra}}}"#
        );
        Config::from_json(text.as_bytes(), family).expect("a good configuration")
    })
}

#[test]
fn gradients_agree_with_finite_differences() {
    for config in configs() {
        for trainable in [Trainable::Full, LORA] {
            difference(&config, trainable);
        }
    }
}

#[test]
fn a_tree_gives_what_its_sequences_give_one_by_one() {
    for config in configs() {
        for trainable in [Trainable::Full, LORA] {
            one_by_one(&config, trainable);
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    for config in configs() {
        same_bits(&config, LORA);
    }
}

/// One sequence alone has its rows cut into chunks; two of them have not.
#[test]
fn chunks_of_rows_change_nothing() {
    for config in configs() {
        let model = model(&config, Trainable::Full, DType::F64);
        let (one, wide) = model.loss_and_gradients(&long()).expect("a good batch");
        let (two, narrow) = model.sharing(false).loss_and_gradients(&[long(), long()].concat()).expect("a good batch");
        assert!((two.sum / one.sum - 2.0).abs() < 1e-12);
        for (name, gradient) in wide {
            let off = norm_of(&((&gradient * 2.0).expect("scaled") - &narrow[&name]).expect("same shape"));
            assert!(off <= 1e-12 * norm_of(&gradient), "{}: {name} is off by {off}", config.model_type);
        }
    }
}

#[test]
fn gains_begin_at_one_whatever_is_stored() {
    for config in configs() {
        let model = TrainModel::random(&config, 1, DType::F32, &Device::Cpu).expect("a small model");
        let gain = model.parameters()["model.norm.weight"].to_vec1::<f32>().expect("a vector");
        assert!(gain.iter().all(|gain| (f64::from(*gain) + config.gain_offset - 1.0).abs() < 1e-12));
    }
}
