//! Speed of greedy generation with random weights, rounded to 16 bits as files hold them: prompts with a common beginning.
//!
//! `cargo run --release -p model --example infer_speed -- nano 1000 250 120 30`, or `smollm 256 1500 1200 64` for the shape of
//! SmolLM2-135M: prompts, tokens of each, tokens that they share, new tokens.
#![expect(clippy::print_stdout, reason = "a program for a person to read")]
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use model::{Config, Decoder, Limits, Weights};
use rand::{Rng, SeedableRng};
use record::Silent;

fn config(name: &str) -> Result<Config, Box<dyn std::error::Error>> {
    let (vocabulary, hidden, inner, layers, heads, keys, head) = match name {
        "nano" => (2048, 192, 512, 6, 6, 2, 32),
        "smollm" => (49152, 576, 1536, 30, 9, 3, 64),
        other => return Err(format!("`{other}` is neither `nano` nor `smollm`").into()),
    };
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": {vocabulary}, "hidden_size": {hidden}, "intermediate_size": {inner},
        "num_hidden_layers": {layers}, "num_attention_heads": {heads}, "num_key_value_heads": {keys}, "head_dim": {head},
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": true}}"#
    );
    Ok(Config::from_json(text.as_bytes(), name)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).map_or(Ok(default), |text| text.parse());
    let (count, length, shared, new) = (number(1, 1000)?, number(2, 250)?, number(3, 120)?, number(4, 30)?);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let config = config(arguments.first().map_or("nano", String::as_str))?;
    let weights = weights(&config, &mut random)?.cast(DType::BF16)?.cast(DType::F32)?;
    let decoder = Decoder::new(&config, &weights)?;
    let limits = Limits { max_new_tokens: new, batch: 32, ends: &[] };
    let mut draw = |count: usize| (0..count).map(|_| random.random_range(3..2048)).collect::<Vec<u32>>();
    let prefix = draw(shared);
    let prompts: Vec<_> = (0..count).map(|_| [prefix.clone(), draw(length - shared)].concat()).collect();
    let started = Instant::now();
    decoder.generate(&prompts, Limits { max_new_tokens: 1, ..limits }, &Silent)?;
    let read = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let answers = decoder.generate(&prompts, limits, &Silent)?;
    let whole = started.elapsed().as_secs_f64();
    let tokens: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
    let (decoded, prefill) = ((tokens - count) as f64 / (whole - read), (count * length) as f64 / read);
    println!(
        "{count} prompts of {length} tokens, {shared} shared, {new} new ones each: {whole:.2} s; {prefill:.0} prompt tokens/s, {decoded:.0} decoded tokens/s"
    );
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
