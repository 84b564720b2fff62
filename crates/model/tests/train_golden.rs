//! Losses and gradients against transformers and PEFT: the golden numbers of `fixtures/golden/train`.
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use model::train::{Sequence, TrainModel, Trainable};
use model::{Config, Weights};
use serde_json::Value;

/// Models of every family, and two Llamas.
const NAMES: [&str; 9] = ["smollm", "llama3", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "granite", "gemma3"];

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures/golden/train", name].iter().collect()
}

fn json(name: &str, file: &str) -> Value {
    let text = std::fs::read(folder(name).join(file)).expect("a fixture");
    serde_json::from_slice(&text).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn first_batch(name: &str) -> Vec<Sequence> {
    let id = |v: &Value| v.as_u64().map(|id| id as u32);
    let ids = |v: &Value| v.as_array().expect("a list").iter().map(id).collect::<Vec<_>>();
    let sequence = |v: &Value| Sequence {
        tokens: ids(&v["tokens"]).into_iter().flatten().collect(),
        targets: ids(&v["targets"]),
        weight: number(&v["weight"]) as f32,
        soft: std::collections::BTreeMap::new(),
    };
    json(name, "batches.json")[0].as_array().expect("a list").iter().map(sequence).collect()
}

fn tensors(name: &str, file: &str, dtype: DType) -> Weights {
    Weights::load_file(&folder(name).join(file), dtype, &Device::Cpu).expect("a fixture")
}

fn model(name: &str, trainable: Trainable, dtype: DType) -> TrainModel {
    let config = Config::load(&folder(name)).expect("a fixture");
    let model = TrainModel::new(&config, tensors(name, "model.safetensors", dtype), trainable, 0).expect("a small model");
    let (start, warm) = (tensors(name, "adapter.safetensors", dtype), tensors(name, "warm_b.safetensors", dtype));
    for (name, variable) in model.parameters().iter().filter(|(name, _)| name.contains("lora_")) {
        let values = warm.tensors.get(name).unwrap_or_else(|| &start.tensors[name]);
        variable.set(values).expect("PEFT's shape");
    }
    model
}

fn size(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).and_then(|x| x.sqr()?.sum_all()?.to_scalar::<f64>()).expect("a float tensor").sqrt()
}

fn lora(name: &str) -> Trainable {
    let golden = json(name, "golden.json");
    Trainable::Lora { rank: number(&golden["rank"]) as usize, alpha: number(&golden["alpha"]) }
}

#[test]
fn adapter_gradients_are_those_of_peft() {
    for name in NAMES {
        let golden = json(name, "golden.json");
        let right = tensors(name, "gradients.safetensors", DType::F64).tensors;
        for (dtype, tolerance) in [(DType::F64, 1e-8_f64), (DType::F32, 1e-4)] {
            let model = model(name, lora(name), dtype);
            let (loss, found) = model.loss_and_gradients(&first_batch(name)).expect("a good batch");
            assert!((loss.sum / number(&golden["lora"]["loss"]) - 1.0).abs() < tolerance.min(1e-5), "{name}: loss {}", loss.sum);
            assert_eq!(loss.weight, number(&golden["weight"]));
            assert_eq!(found.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
            let mut worst = 0.0_f64;
            for (key, right) in &right {
                let off = size(&(found[key].to_dtype(DType::F64).expect("a float") - right).expect("PEFT's shape"));
                worst = worst.max(off / size(right));
                assert!(off < tolerance * size(right), "{name}, {key}: off by {off} of {}", size(right));
            }
            eprintln!("{name} in {dtype:?}: gradients within {worst:.1e}");
        }
    }
}

#[test]
fn gradients_of_all_weights_are_those_of_transformers() {
    for name in NAMES {
        let golden = &json(name, "golden.json")["full"];
        let (loss, found) = model(name, Trainable::Full, DType::F64).loss_and_gradients(&first_batch(name)).expect("a good batch");
        assert!((loss.sum / number(&golden["loss"]) - 1.0).abs() < 1e-10, "{name}: loss {}", loss.sum);
        let right = golden["gradients"].as_object().expect("an object");
        assert_eq!(found.len(), right.len());
        for (key, right) in right {
            let (norm, found) = (number(&right["norm"]), &found[key]);
            assert!((size(found) / norm - 1.0).abs() < 1e-8, "{name}, {key}: norm {} is not {norm}", size(found));
            let values = found.flatten_all().and_then(|f| f.to_vec1::<f64>()).expect("f64");
            for (at, value) in right["at"].as_array().expect("a list").iter().zip(right["values"].as_array().expect("a list")) {
                let found = values[at.as_u64().expect("an index") as usize];
                assert!((found - number(value)).abs() < 1e-8 * norm, "{name}, {key}[{at}]: {found} is not {value}");
            }
        }
    }
}
