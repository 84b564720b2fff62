//! Twenty AdamW steps against PEFT in PyTorch: the golden numbers of `fixtures/golden/train` (see its README).
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use finetune::{InMemory, Pretrain, Schedule, Sequence, pretrain};
use model::train::{TrainModel, Trainable};
use model::{Config, Weights};
use record::Silent;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures/golden/train", name].iter().collect()
}

fn json(name: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(name).join(file)).expect("a fixture")).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[expect(clippy::cast_possible_truncation, reason = "token ids and weights of a fixture")]
fn batches(name: &str) -> Vec<Vec<Sequence>> {
    let ids = |v: &Value| v.as_array().expect("a list").iter().map(|id| id.as_u64().map(|id| id as u32)).collect::<Vec<_>>();
    let sequence = |v: &Value| Sequence {
        tokens: ids(&v["tokens"]).into_iter().flatten().collect(),
        targets: ids(&v["targets"]),
        weight: number(&v["weight"]) as f32,
        soft: std::collections::BTreeMap::new(),
    };
    let batch = |v: &Value| v.as_array().expect("a list").iter().map(sequence).collect();
    json(name, "batches.json").as_array().expect("a list").iter().map(batch).collect()
}

fn tensors(name: &str, file: &str) -> Weights {
    Weights::load_file(&folder(name).join(file), DType::F32, &Device::Cpu).expect("a fixture")
}

fn norm(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).and_then(|x| x.sqr()?.sum_all()?.to_scalar::<f64>()).expect("a float tensor").sqrt()
}

/// Worst loss difference, and the worst relative Frobenius error of what the matrices of each kind changed by.
fn distances(name: &str) -> (f64, [f64; 2]) {
    let golden = json(name, "golden.json");
    let steps = &golden["steps"];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    let trainable = Trainable::Lora { rank: number(&golden["rank"]) as usize, alpha: number(&golden["alpha"]) };
    let config = Config::load(&folder(name)).expect("a fixture");
    let model = TrainModel::new(&config, tensors(name, "model.safetensors"), trainable, 0).expect("a small model");
    let (before, after) = (tensors(name, "adapter.safetensors").tensors, tensors(name, "adapter_after.safetensors").tensors);
    for (name, variable) in model.parameters() {
        variable.set(&before[name]).expect("PEFT's shape");
    }
    let batches = batches(name);
    let settings = Pretrain {
        learning_rate: number(&steps["lr"]),
        schedule: Schedule::WarmupStableDecay { warmup: 0, decay_from: 20, steps: 20 },
        weight_decay: number(&steps["weight_decay"]),
        beta2: number(&steps["betas"][1]),
        clip: 0.0,
        ..Pretrain::new(20)
    };
    let mut source = |step: u64| batches[usize::try_from(step - 1).expect("one of twenty")].clone();
    let outcome = pretrain(&model, &mut source, &[], &settings, &mut InMemory::default(), &Silent).expect("a healthy run");
    let right = steps["losses"].as_array().expect("a list");
    let loss = outcome.rows.iter().zip(right).map(|(row, right)| (row.loss - number(right)).abs()).fold(0.0, f64::max);
    let change = ["lora_A", "lora_B"].map(|kind| {
        let of_kind = model.parameters().iter().filter(|(name, _)| name.contains(kind));
        let errors = of_kind.map(|(name, variable)| {
            let off = norm(&(variable.as_tensor() - &after[name]).expect("PEFT's shape"));
            off / norm(&(&after[name] - &before[name]).expect("PEFT's shape"))
        });
        errors.fold(0.0, f64::max)
    });
    assert_eq!((outcome.rows.len(), right.len()), (20, 20));
    (loss, change)
}

#[test]
fn twenty_steps_are_those_of_peft() {
    for name in ["smollm", "llama3", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "granite", "gemma3"] {
        let (loss, [a, b]) = distances(name);
        eprintln!("{name}: losses within {loss:.1e}, change of A within {a:.1e}, of B within {b:.1e}");
        assert!(loss < 1e-4, "{name}: losses differ by {loss}");
        assert!(a < 1e-3 && b < 1e-3, "{name}: A changed otherwise by {a}, B by {b}");
    }
}
