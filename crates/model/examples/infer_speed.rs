//! Speed of greedy generation with random weights, rounded to 16 bits as files hold them: prompts with a common beginning.
//!
//! `cargo run --release -p model --example infer_speed -- nano 1000 250 120 30`, or `smollm 256 1500 1200 64` for the shape of
//! SmolLM2-135M: prompts, tokens of each, tokens that they share, new tokens; then `lora` for an adapter of rank 16
//! on all linears, or `merged` for one within the weights.
#![expect(clippy::print_stdout, reason = "a program for a person to read")]
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use model::train::{TrainModel, Trainable};
use model::{Config, Decoder, Limits, Lora, Weights};
use rand::{Rng, SeedableRng};
use record::Silent;

mod shapes;

type Failure = Box<dyn std::error::Error>;

/// A random adapter as PEFT saves it.
#[expect(clippy::disallowed_methods, reason = "a scratch folder of this program alone")]
fn adapter(config: &Config, weights: &Weights) -> Result<Lora, Failure> {
    let model = TrainModel::new(config, weights.clone(), Trainable::Lora { rank: 16, alpha: 32.0 }, 1)?;
    let folder = tempfile::tempdir()?;
    let random = |(name, variable): (&String, &candle_core::Var)| {
        Ok((format!("base_model.model.{name}"), Tensor::randn(0_f32, 0.02, variable.shape(), &Device::Cpu)?))
    };
    let tensors = model.parameters().iter().map(random).collect::<Result<_, Failure>>()?;
    std::fs::write(folder.path().join("adapter_model.safetensors"), Weights { tensors }.to_safetensors()?)?;
    std::fs::write(folder.path().join("adapter_config.json"), r#"{"peft_type": "LORA", "r": 16, "lora_alpha": 32}"#)?;
    Ok(Lora::load(folder.path())?)
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).map_or(Ok(default), |text| text.parse());
    let (count, length, shared, new) = (number(1, 1000)?, number(2, 250)?, number(3, 120)?, number(4, 30)?);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let config = shapes::config(arguments.first().map_or("nano", String::as_str))?;
    let mut weights = model::train::random(&config, 1, DType::BF16, &Device::Cpu)?.cast(DType::F32)?;
    let mut lora = arguments.get(5).map(|_| adapter(&config, &weights)).transpose()?;
    if let Some(adapter) = lora.take_if(|_| arguments[5] == "merged") {
        weights.merge(&adapter)?;
    }
    let decoder = Decoder::tuned(&config, &weights, lora.as_ref())?;
    let limits = Limits { max_new_tokens: new, batch: 64, ends: &[] };
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
