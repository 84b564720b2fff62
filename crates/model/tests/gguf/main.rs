//! GGUF files, written and read back; and read by llama.cpp itself, where there is one.
#![expect(clippy::disallowed_methods, reason = "tests leave files in scratch folders and are told where Python is")]
mod llama_cpp;
mod refusals;
mod round_trip;
mod tokenizers;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use model::gguf::{Exported, Quant, Written, write_model};
use model::{Chat, ChatFiles, Config, Weights};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures"].iter().collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a committed file")
}

/// A model with what it needs to be written.
struct Model {
    config: Config,
    weights: Weights,
    chat: Chat,
}

impl Model {
    /// The nano model.
    fn nano() -> Self {
        let folder = fixtures().join("nano");
        let config = Config::load(&folder).expect("a configuration");
        let weights = Weights::load(&folder, DType::F32, &Device::Cpu).expect("weights");
        Self { config, weights, chat: Chat::load(&folder).expect("a tokenizer") }
    }

    /// A random model with all that a Llama may have: biases, a stretched rope, an untied head, heads wider than the model, three
    /// query heads to a key head.
    fn tiny() -> Self {
        let folder = fixtures().join("golden/infer/tiny-llama");
        let config = Config::load(&folder).expect("a configuration");
        let weights = Weights::load(&folder, DType::F32, &Device::Cpu).expect("weights");
        Self { chat: letters(&config), config, weights }
    }

    /// A random model whose widths are multiples of 256.
    fn wide() -> Self {
        Self::of_family("llama")
    }

    /// The same of another family, with all that sets it apart: biases, norms of heads.
    fn of_family(model_type: &str) -> Self {
        let text = json!({"model_type": model_type, "vocab_size": 96, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
            "bos_token_id": 1, "eos_token_id": 2, "rope_theta": 50000.0, "tie_word_embeddings": true, "sliding_window": null});
        let config = Config::from_json(text.to_string().as_bytes(), "x").expect("a good configuration");
        let random = model::train::random(&config, 3, DType::F32, &Device::Cpu).expect("a small model");
        // fresh matrices are so small that one answer is as good as another, and biases are zero
        let lively = |(name, tensor): (String, Tensor)| {
            let wave =
                Tensor::arange(0_f32, tensor.elem_count() as f32, &Device::Cpu).and_then(|places| places.sin()?.reshape(tensor.shape()));
            let tensor = match tensor.rank() {
                2 => tensor * 4.0,
                _ => tensor + (wave.expect("plain numbers") * 0.3).expect("plain numbers"),
            };
            (name, tensor.expect("plain numbers"))
        };
        Self { chat: letters(&config), weights: Weights { tensors: random.tensors.into_iter().map(lively).collect() }, config }
    }

    fn write(&self, path: &Path, quant: Quant) -> Written {
        let out = BufWriter::new(File::create(path).expect("a scratch folder"));
        let samples = ["one text".to_owned()];
        let model = Exported { name: "test", config: &self.config, weights: &self.weights, chat: &self.chat, samples: &samples };
        write_model(&mut { out }, model, quant).expect("a good model")
    }
}

/// The nano model's tokenizer with another way of cutting texts.
fn cutting(pre: &Value, ignore_merges: bool) -> Chat {
    let folder = fixtures().join("nano");
    let mut tokenizer: Value = serde_json::from_slice(&bytes(&folder.join("tokenizer.json"))).expect("JSON");
    tokenizer["pre_tokenizer"] = pre.clone();
    tokenizer["model"]["ignore_merges"] = ignore_merges.into();
    let (tokenizer, config) = (tokenizer.to_string(), bytes(&folder.join("tokenizer_config.json")));
    let files = ChatFiles { tokenizer: tokenizer.as_bytes(), tokenizer_config: &config, template: None, generation_config: None };
    Chat::from_bytes(&files, &Config::load(&folder).expect("a configuration")).expect("a good tokenizer")
}

/// A byte-level tokenizer of three marks, a line feed, a blank and the ASCII letters, of which it merges the first two.
fn letters(config: &Config) -> Chat {
    let mut vocabulary: serde_json::Map<_, _> =
        ["<pad>", "<begin>", "<end>", "Ċ", "Ġ"].iter().enumerate().map(|(id, text)| ((*text).to_owned(), json!(id))).collect();
    for letter in ('a'..='z').chain('A'..='Z') {
        vocabulary.insert(letter.to_string(), json!(vocabulary.len()));
    }
    vocabulary.insert("ab".to_owned(), json!(vocabulary.len()));
    let added = ["<pad>", "<begin>", "<end>"].iter().enumerate().map(|(id, text)| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
    });
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]]}});
    let settings = json!({"bos_token": "<begin>", "eos_token": "<end>", "chat_template": "{{ bos_token }}{{ messages[0].content }}"});
    let (tokenizer, settings) = (tokenizer.to_string(), settings.to_string());
    let files =
        ChatFiles { tokenizer: tokenizer.as_bytes(), tokenizer_config: settings.as_bytes(), template: None, generation_config: None };
    Chat::from_bytes(&files, config).expect("a good tokenizer")
}

/// All numbers of a tensor.
fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("a tensor on the CPU")
}
