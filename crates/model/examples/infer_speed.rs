//! Speed of greedy generation with random weights of the nano shape: `cargo run --release -p model --example infer_speed [PROMPTS]`.
#![expect(clippy::print_stdout, reason = "a program for a person to read")]
use std::time::Instant;

use candle_core::{Device, Tensor};
use model::{Config, Decoder, Limits, Weights};
use rand::{Rng, SeedableRng};
use record::Silent;

const NANO: &str = r#"{"model_type": "llama", "vocab_size": 2048, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": true}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let config = Config::from_json(NANO.as_bytes(), "nano")?;
    let decoder = Decoder::new(&config, &weights(&config, &mut random)?)?;
    let limits = Limits { max_new_tokens: 30, batch: 32, ends: &[] };
    for (name, shared) in [("nothing shared", 0), ("120 of 250 tokens shared", 120)] {
        let prefix: Vec<u32> = (0..shared).map(|_| random.random_range(3..2048)).collect();
        let own = |random: &mut rand_chacha::ChaCha8Rng| (shared..250).map(|_| random.random_range(3..2048)).collect::<Vec<u32>>();
        let prompts: Vec<_> = (0..count).map(|_| [prefix.clone(), own(&mut random)].concat()).collect();
        let started = Instant::now();
        decoder.generate(&prompts, Limits { max_new_tokens: 1, ..limits }, &Silent)?;
        let read = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let answers = decoder.generate(&prompts, limits, &Silent)?;
        let whole = started.elapsed().as_secs_f64();
        let tokens: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
        let (per_second, decoded) = (f64::from(count) / whole, (tokens as f64 - f64::from(count)) / (whole - read));
        let prefill = f64::from(count) * 250.0 / read;
        println!(
            "{name}: {count} prompts in {whole:.2} s ({per_second:.0} prompts/s); {prefill:.0} prompt tok/s, {decoded:.0} decoded tok/s"
        );
    }
    Ok(())
}

fn weights(config: &Config, random: &mut rand_chacha::ChaCha8Rng) -> Result<Weights, Box<dyn std::error::Error>> {
    let (hidden, inner, width) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let (queries, keys) = (config.num_attention_heads * width, config.num_key_value_heads * width);
    let mut weights = Weights::default();
    let mut add = |name: String, shape: &[usize], scale: f32| -> Result<(), candle_core::Error> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.random_range(-scale..=scale)).collect();
        weights.tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        Ok(())
    };
    add("model.embed_tokens.weight".to_owned(), &[config.vocab_size, hidden], 1.0)?;
    add("model.norm.weight".to_owned(), &[hidden], 1.0)?;
    for layer in 0..config.num_hidden_layers {
        let linears = [("self_attn.q_proj", queries, hidden), ("self_attn.k_proj", keys, hidden), ("self_attn.v_proj", keys, hidden)];
        let rest = [("self_attn.o_proj", hidden, queries), ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden)];
        for (name, outputs, inputs) in linears.into_iter().chain(rest).chain([("mlp.down_proj", hidden, inner)]) {
            add(format!("model.layers.{layer}.{name}.weight"), &[outputs, inputs], 0.1)?;
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(format!("model.layers.{layer}.{norm}.weight"), &[hidden], 1.0)?;
        }
    }
    Ok(weights)
}
