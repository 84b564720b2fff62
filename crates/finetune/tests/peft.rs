//! What is exported, loaded by PEFT and transformers. Wants Python with both: `PEFT_PYTHON` names the interpreter.
//!
//! `PEFT_PYTHON=python cargo test --release -p finetune --test all -- peft --ignored --nocapture`
#![expect(clippy::disallowed_methods, reason = "a test that leaves files for another program and is told where that is")]
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device};
use finetune::{Files, InMemory, Pretrain, Sequence, adapter, pretrain};
use model::train::{TrainModel, Trainable};
use model::{Config, Decoder, Weights};
use record::Silent;

fn golden() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures/golden/train"].iter().collect()
}

fn write(folder: &Path, files: Files) {
    std::fs::create_dir_all(folder).expect("a writable temporary folder");
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("a writable temporary folder");
    }
}

fn weights(folder: &Path) -> Weights {
    Weights::load(folder, DType::F32, &Device::Cpu).expect("weights")
}

/// Trains an adapter on `base` until it says something else than the base does.
fn trained(base: &Path, config: &Config) -> TrainModel {
    let model = TrainModel::new(config, weights(base), Trainable::Lora { rank: 8, alpha: 16.0 }, 3).expect("a small model");
    let mut source = |step: u64| {
        let tokens: Vec<u32> = (0..40).map(|i| u32::try_from((step * 31 + i * i * 7) % 60 + 3).expect("small")).collect();
        let targets = tokens.iter().map(|token| Some((token * 3) % 60 + 3)).collect();
        vec![Sequence { tokens, targets, weight: 1.0, soft: std::collections::BTreeMap::new() }]
    };
    let settings = Pretrain { learning_rate: 5e-3, weight_decay: 0.0, ..Pretrain::new(15) };
    pretrain(&model, &mut source, &[], &settings, &mut InMemory::default(), &Silent).expect("a healthy run");
    model
}

/// The whole model with what it learnt, as transformers loads it.
fn merged(model: &TrainModel) -> Files {
    let weights = Weights { tensors: model.merged().expect("weights") }.to_safetensors().expect("a file");
    Files::from([("config.json".to_owned(), model.config().to_json().into_bytes()), ("model.safetensors".to_owned(), weights)])
}

#[test]
#[ignore = "needs Python with peft and transformers: set PEFT_PYTHON to the interpreter"]
fn peft_and_transformers_agree_with_us() {
    let python = std::env::var("PEFT_PYTHON").expect("PEFT_PYTHON names an interpreter that has peft and transformers");
    for name in ["smollm", "llama3", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "granite", "gemma3"] {
        let base = golden().join(name);
        let config = Config::load(&base).expect("a fixture");
        let model = trained(&base, &config);
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(&folder.path().join("adapter"), adapter(&model, name).expect("an adapter"));
        write(&folder.path().join("merged"), merged(&model));
        let tokens: Vec<u32> = (0..40).map(|i| (i * i * 5) % 60 + 3).collect();
        let mut ours = weights(&base);
        ours.merge_adapter(&folder.path().join("adapter")).expect("our own export");
        let logits = Decoder::new(&config, &ours).and_then(|decoder| decoder.logits(&tokens)).expect("logits");
        let ours = serde_json::json!({"tokens": tokens, "logits": logits});
        std::fs::write(folder.path().join("ours.json"), ours.to_string()).expect("a writable temporary folder");
        let done = Command::new(&python).arg(golden().join("check_export.py")).arg(&base).arg(folder.path()).output();
        let done = done.expect("the interpreter starts");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        eprintln!("{name}: {}", said(&done.stdout).trim());
        assert!(done.status.success(), "{name}: {}", said(&done.stderr));
    }
}
