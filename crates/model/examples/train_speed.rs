//! Speed of training on this machine: tokens a second, and the share of what a large matrix product reaches.
//!
//! `cargo run --release -p model --example train_speed -- nano full`, or `smollm lora`; then sequences, length, rounds, device
//! (`cuda:0` with `--features cuda`) and `bf16`.
#![expect(clippy::print_stdout, reason = "its purpose is to print")]
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use model::train::{Precision, Sequence, TrainModel, Trainable};
use model::{Config, Weights};

mod shapes;

type Failure = Box<dyn std::error::Error>;

/// Multiplications and additions of a training token, two for each pair: forward 2, input gradient 2, weight gradient 2 where
/// it is trained; attention 2 forward and 5 back, over half the length.
fn work(c: &Config, full: bool, length: usize) -> f64 {
    let (queries, keys) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
    let layer = c.hidden_size * (2 * queries + 2 * keys + 3 * c.intermediate_size);
    let linear = c.num_hidden_layers * layer + c.vocab_size * c.hidden_size;
    let attention = c.num_hidden_layers * queries * length / 2;
    (linear * if full { 6 } else { 4 } + attention * 14) as f64
}

/// Rate of a square product on the device, on as many threads as training uses, in multiplications and additions a second.
fn peak(device: &Device) -> Result<f64, Failure> {
    let a = Tensor::ones((1024, 1024), DType::F32, device)?;
    drop(a.matmul(&a)?);
    device.synchronize()?;
    let begin = Instant::now();
    for _ in 0..20 {
        drop(a.matmul(&a)?);
    }
    device.synchronize()?;
    Ok(20.0 * 2.0 * 1024_f64.powi(3) / begin.elapsed().as_secs_f64())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).map_or(Ok(default), |text| text.parse());
    let name = arguments.first().map_or("nano", String::as_str);
    let full = arguments.get(1).is_none_or(|kind| kind == "full");
    let (count, length, rounds) = (number(2, 16)?, number(3, 512)?, number(4, 5)?);
    let device = model::device(arguments.get(5).map_or("cpu", String::as_str))?;
    let config = shapes::config(name)?;
    let mut model = TrainModel::random(&config, 0, DType::F32, &device)?;
    if !full {
        // in 16 bits, as files hold them
        let weights = Weights { tensors: model.merged()? }.cast(DType::BF16)?.cast(DType::F32)?;
        model = TrainModel::new(&config, weights, Trainable::Lora { rank: 16, alpha: 32.0 }, 0)?;
    }
    if arguments.get(6).is_some_and(|precision| precision == "bf16") {
        model = model.in_precision(Precision::Bf16);
    }
    let token = |i: usize| (i * 7919 % config.vocab_size) as u32;
    let sequence = |s: usize| Sequence {
        tokens: (0..length).map(|i| token(i + s * length)).collect(),
        targets: (0..length).map(|i| Some(token(i + 1 + s * length))).collect(),
        weight: 1.0,
        soft: std::collections::BTreeMap::new(),
    };
    let batch: Vec<_> = (0..count).map(sequence).collect();
    let (loss, gradients) = model.loss_and_gradients(&batch)?;
    let values: usize = gradients.values().map(Tensor::elem_count).sum();
    println!("{name}: {values} trained values, first loss {:.4} nats a token", loss.sum / loss.weight);
    let begin = Instant::now();
    for _ in 0..rounds {
        model.loss_and_gradients(&batch)?;
    }
    let rate = (count * length * rounds) as f64 / begin.elapsed().as_secs_f64();
    let (reached, peak) = (rate * work(&config, full, length), peak(&device)?);
    println!("{rate:.0} tokens/s, {:.1} GFLOP/s of {:.1}: {:.0} %", reached / 1e9, peak / 1e9, 100.0 * reached / peak);
    Ok(())
}
