//! What is written, loaded by llama.cpp. Wants Python with it: `LLAMA_PYTHON` names the interpreter (`pip install xllamacpp gguf`).
//!
//! `LLAMA_PYTHON=python cargo test --release -p model --test gguf -- llama_cpp --ignored --nocapture`
use std::fs::File;
use std::io::BufWriter;
use std::process::Command;

use candle_core::{Device, Tensor};
use model::gguf::{Quant, write_adapter};
use model::{Decoder, Limits, Lora, Weights};
use record::Silent;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::tokenizers::{PIECES, TEXTS, known, scored};
use super::{Model, cutting};

/// A PEFT adapter of random numbers on all linear layers, strong enough to change answers.
fn adapter(model: &Model, folder: &std::path::Path) -> Lora {
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8});
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).expect("written");
    let mut seed = 1_u32;
    let mut random = |count: usize, size: f32| -> Vec<u8> {
        let numbers = (0..count).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            size * ((seed >> 8) as f32 / 8_388_608.0 - 1.0)
        });
        numbers.flat_map(f32::to_le_bytes).collect()
    };
    let linear = model.weights.tensors.iter().filter(|(name, tensor)| name.ends_with("_proj.weight") && tensor.rank() == 2);
    let mut data = Vec::new();
    for (name, tensor) in linear {
        let module = name.trim_end_matches(".weight");
        let (outputs, inputs) = tensor.dims2().expect("a matrix");
        data.push((format!("base_model.model.{module}.lora_A.weight"), vec![4, inputs], random(4 * inputs, 0.1)));
        data.push((format!("base_model.model.{module}.lora_B.weight"), vec![outputs, 4], random(outputs * 4, 0.05)));
    }
    let views = data.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("whole numbers")));
    std::fs::write(folder.join("adapter_model.safetensors"), safetensors::serialize(views, None).expect("a file")).expect("written");
    Lora::load(folder).expect("a good adapter")
}

/// Prompts as token ids, our greedy answers, and how far the best logit led at each step.
fn cases(decoder: &Decoder, prompts: &[Vec<u32>]) -> Vec<Value> {
    let limits = Limits { max_new_tokens: 24, batch: 8, ends: &[] };
    let answers = decoder.generate(prompts, limits, &Silent).expect("answers");
    let cases = prompts.iter().zip(&answers).map(|(prompt, answer)| {
        let tokens: Vec<u32> = prompt.iter().chain(&answer.tokens).copied().collect();
        let logits = decoder.logits_from(prompt.len() - 1, &tokens[..tokens.len() - 1]).expect("logits");
        let leads = logits.chunks_exact(decoder.config().vocab_size).map(|logits| {
            let logits = Tensor::new(logits, &Device::Cpu).and_then(|t| t.sort_last_dim(false)).and_then(|(t, _)| t.to_vec1::<f32>());
            let logits = logits.expect("a row of numbers");
            logits[0] - logits[1]
        });
        json!({"prompt": prompt, "answer": answer.tokens, "leads": leads.collect::<Vec<_>>()})
    });
    cases.collect()
}

#[test]
#[ignore = "needs Python with llama.cpp: set LLAMA_PYTHON to the interpreter"]
fn llama_cpp_answers_as_we_do() {
    let python = std::env::var("LLAMA_PYTHON").expect("LLAMA_PYTHON names an interpreter that has xllamacpp and gguf");
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut checks = Vec::new();
    let families = ["mistral", "qwen2", "qwen3"].map(|family| (family, Model::of_family(family)));
    for (name, model) in [("nano", Model::nano()), ("tiny", Model::tiny()), ("wide", Model::wide())].into_iter().chain(families) {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).expect("a scratch folder");
        let lora = adapter(&model, &place);
        let count = u32::try_from(model.config.vocab_size).expect("small");
        let prompts: Vec<Vec<u32>> = match name {
            "nano" => TEXTS.iter().map(|text| model.chat.tokenizer().encode(text, false).expect("any text")).collect(),
            _ => (1..9).map(|k| (0..20 + 10 * k).map(|i| (i * i * 5 + k) % (count - 3) + 3).collect()).collect(),
        };
        let mut merged: Weights = model.weights.clone();
        merged.merge(&lora).expect("it fits");
        let tuned = Model { weights: merged, config: model.config.clone(), chat: model.chat.clone() };
        let file = |path: &str| place.join(path).display().to_string();
        write_adapter(&mut BufWriter::new(File::create(file("lora.gguf")).expect("a scratch file")), "lora", &model.config, &lora)
            .expect("a plain adapter");
        model.write(file("base.gguf").as_ref(), Quant::F16);
        for quant in [Quant::F32, Quant::F16, Quant::Q8_0, Quant::Q4_0, Quant::Q4KM] {
            let path = file(&format!("{}.gguf", quant.name()));
            tuned.write(path.as_ref(), quant);
            // what llama.cpp is held against is what the file holds, not what was there before it was rounded
            let read = model::gguf::Gguf::open(path.as_ref()).and_then(|file| file.weights()).expect("our own file");
            let decoder = Decoder::new(&tuned.config, &read).expect("a decoder");
            checks
                .push(json!({"name": format!("{name} {}", quant.name()), "model": path, "quant": quant.name(), "ends": model.chat.ends(),
                "cases": cases(&decoder, &prompts)}));
        }
        let mut served = model::gguf::Gguf::open(file("base.gguf").as_ref()).and_then(|file| file.weights()).expect("our own file");
        served.merge(&lora).expect("it fits");
        let decoder = Decoder::new(&tuned.config, &served).expect("a decoder");
        checks.push(json!({"name": format!("{name} F16 + lora"), "model": file("base.gguf"), "lora": file("lora.gguf"), "quant": "F16", "ends": model.chat.ends(),
            "cases": cases(&decoder, &prompts)}));
    }
    let mut tokenizers = Vec::new();
    let bytes = known().into_iter().map(|(name, pre, ignore_merges)| (name, cutting(&pre, ignore_merges)));
    for (name, chat) in bytes.chain([("pieces", scored(false)), ("pieces after a blank", scored(true))]) {
        let model = Model { chat, ..Model::nano() };
        let path = folder.path().join(format!("{name}.gguf"));
        model.write(&path, Quant::Q8_0);
        let texts = TEXTS
            .iter()
            .chain(&PIECES)
            .map(|text| json!({"text": text, "tokens": model.chat.tokenizer().encode(text, false).expect("any text")}));
        tokenizers.push(json!({"name": name, "model": path.display().to_string(), "texts": texts.collect::<Vec<_>>()}));
    }
    let model = Model::nano();
    let path = folder.path().join("nano.gguf").display().to_string();
    model.write(path.as_ref(), Quant::Q8_0);
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which one?"},
        {"role": "assistant", "content": "The “first”."}, {"role": "user", "content": "{\"why\": [1]}"}]);
    let text = model.chat.template().render(messages.as_array().expect("a list"), &[], true).expect("plain messages");
    let ours = json!({"models": checks, "tokenizers": tokenizers, "template": {"model": path, "messages": messages, "text": text}});
    let path = folder.path().join("ours.json");
    std::fs::write(&path, ours.to_string()).expect("written");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../dev/scripts/gguf_check.py");
    let done = Command::new(&python).arg(script).arg(&path).output().expect("the interpreter starts");
    eprintln!("{}", String::from_utf8_lossy(&done.stdout).trim());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
