//! Files that cannot be read or written, each refused by name.
use std::path::Path;

use model::gguf::{Gguf, Quant, write_adapter};
use model::{Lora, Weights};
use serde_json::json;

use super::{Model, bytes, cutting, fixtures};

/// What reading a file as a model says.
fn said(path: &Path) -> String {
    let read = || {
        let file = Gguf::open(path)?;
        file.config()?;
        file.chat()?;
        file.weights()
    };
    read().err().map(|error: model::Error| error.to_string()).unwrap_or_default()
}

/// The first place of `old` in the bytes becomes `new`.
fn patched(mut bytes: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let place = bytes.windows(old.len()).position(|window| window == old).expect("it is in the file");
    bytes[place..place + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    Model::tiny().write(&path, Quant::F32);
    let whole = bytes(&path);
    assert_eq!(said(&path), "");
    for (changed, expected) in [
        (whole[..whole.len() - 100].to_vec(), "tensor `"),
        (whole[..whole.len() / 20].to_vec(), "no usable GGUF file"),
        (whole[..3].to_vec(), "no usable GGUF file"),
        (b"not a model".to_vec(), "no usable GGUF file"),
        (patched(whole.clone(), b"general.architecture", b"general.architektura"), "it has no `general.architecture`"),
        (patched(whole.clone(), b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0rwkv7"), "`general.architecture` = `rwkv7`"),
        (patched(whole.clone(), b"llama.block_count", b"llama.block_kount"), "it has no `llama.block_count`"),
        (patched(whole.clone(), b"gpt2", b"bert"), "`tokenizer.ggml.model` = `bert`"),
        (patched(whole.clone(), b"gpt-2", b"gpt-9"), "`tokenizer.ggml.pre` = `gpt-9`"),
        (patched(whole.clone(), b"blk.0.attn_k.weight", b"blk.0.attn_z.weight"), "tensor `blk.0.attn_z.weight` has no place in `llama`"),
    ] {
        std::fs::write(&path, changed).expect("written");
        let text = said(&path);
        assert!(text.contains(expected), "{text} | {expected}");
        assert!(!text.contains('\n'), "{text}");
    }
    assert!(said(&folder.path().join("nowhere.gguf")).contains("cannot read"));
}

#[test]
fn a_tokenizer_that_cannot_be_rebuilt_is_taken_from_the_folder() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    let model = Model::tiny();
    model.write(&path, Quant::F32);
    std::fs::write(&path, patched(bytes(&path), b"gpt-2", b"gpt-9")).expect("written");
    std::fs::write(folder.path().join("tokenizer.json"), model.chat.tokenizer().to_json().expect("JSON")).expect("written");
    assert_eq!(said(&path), "");
}

#[test]
fn adapters_are_no_models_and_models_no_adapters() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("file.gguf");
    let model = Model::tiny();
    let lora = Lora::load(&fixtures().join("golden/infer/tiny-llama-lora")).expect("a golden adapter");
    let mut out = std::io::Cursor::new(Vec::new());
    write_adapter(&mut out, "lora", &model.config, &lora).expect("a plain adapter");
    std::fs::write(&path, out.get_ref()).expect("written");
    assert!(said(&path).contains("its `general.type` is `adapter`"), "{}", said(&path));
    let merged = |model: &Model| {
        let mut weights: Weights = model.weights.clone();
        weights.tune(&path, &model.config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(merged(&model), "");
    assert!(merged(&Model::nano()).contains("has shape"), "{}", merged(&Model::nano()));
    std::fs::write(&path, patched(out.get_ref().clone(), b"attn_q.weight.lora_b", b"attn_v.weight.lora_b")).expect("written");
    assert!(merged(&model).contains("lora_"), "{}", merged(&model));
    model.write(&path, Quant::F32);
    assert!(merged(&model).contains("it has no `adapter.type`"));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let refusal = |model: &Model| {
        let exported = model::gguf::Exported { name: "x", config: &model.config, weights: &model.weights, chat: &model.chat, samples: &[] };
        let written = model::gguf::write_model(&mut std::io::Cursor::new(Vec::new()), exported, Quant::F32);
        written.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let mut model = Model::nano();
    assert_eq!(refusal(&model), "");
    model.weights.tensors.insert("model.layers.0.mlp.experts.weight".to_owned(), model.weights.tensors["model.norm.weight"].clone());
    assert!(refusal(&model).contains("`model.layers.0.mlp.experts.weight`"));
    let model =
        Model { chat: cutting(&json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}), false), ..Model::nano() };
    assert!(refusal(&model).contains("only BPE of bytes or of scored pieces"), "{}", refusal(&model));
    // more tokens than embeddings
    let model = Model { chat: Model::nano().chat, ..Model::tiny() };
    assert!(refusal(&model).contains("beyond the model's 96 embeddings"), "{}", refusal(&model));
}
