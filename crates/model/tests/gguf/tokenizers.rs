//! A tokenizer survives the way into a GGUF file and back.
use std::collections::{BTreeMap, BTreeSet};

use model::gguf::{Gguf, Quant};
use model::{Chat, ChatFiles};
use serde_json::{Value, json};

use super::{Model, cutting};

/// Ways of cutting that llama.cpp has, as the families' own files write them: name, `pre_tokenizer`, `ignore_merges`.
pub fn known() -> Vec<(&'static str, Value, bool)> {
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let split = |digits: &str| {
        let pattern = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
    };
    let sequence = |first: Value, last: Value| json!({"type": "Sequence", "pretokenizers": [first, last]});
    vec![
        ("gpt-2", bytes(true), false),
        ("smollm", sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true)), false),
        ("llama-bpe", sequence(split(r"\p{N}{1,3}"), bytes(false)), true),
        ("dbrx", sequence(split(r"\p{N}{1,3}"), bytes(false)), false),
        ("qwen2", sequence(split(r"\p{N}"), bytes(false)), false),
    ]
}

/// Texts in which ways of cutting differ.
pub const TEXTS: [&str; 8] = [
    "Hello, world! It's 12345 o'clock, we'LL see.",
    "<|im_start|>user\nSend 3 parcels to ann.lee@quillbox.test by 2026-11-28<|im_end|>\n<|im_start|>assistant\n",
    "{\"name\": \"look_up\", \"arguments\": {\"id\": 4711, \"deep\": [1, 2.5, null]}}",
    "  leading, trailing and   inner   blanks   ",
    "tabs\tand\r\nlines\n\n\nof   code:\n    if x_1 != y2: return 0x1F\n",
    "Größe, naïve, Ærøskøbing, Привет мир, 你好世界, 안녕하세요",
    "<tool_call>{\"a\":1}</tool_call> and <tools> in the middle",
    "½ Ⅷ ٣ 😀 👩‍🚀 … — “quotes”",
];

/// A tokenizer of scored pieces learnt from the texts, as Llama 2 and Mistral have it (`prefix`) or Gemma.
pub fn scored(prefix: bool) -> Chat {
    let blank = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = match prefix {
        true => json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, blank]}),
        false => blank,
    };
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    // a blank begins a piece; signs that are rare stay bytes
    let mut words: Vec<Vec<String>> = TEXTS[..5]
        .iter()
        .flat_map(|text| text.split_inclusive(|c: char| !c.is_alphanumeric()))
        .map(|word| format!("▁{}", word.trim()).chars().map(String::from).collect())
        .collect();
    tokens.extend(words.iter().flatten().cloned().collect::<BTreeSet<_>>());
    let mut merged = Vec::new();
    for _ in 0..120 {
        let mut pairs = BTreeMap::<(String, String), usize>::new();
        words.iter().flat_map(|word| word.windows(2)).for_each(|pair| *pairs.entry((pair[0].clone(), pair[1].clone())).or_default() += 1);
        let Some(((left, right), _)) = pairs.into_iter().max_by_key(|(_, count)| *count) else { break };
        let piece = format!("{left}{right}");
        for word in &mut words {
            while let Some(at) = word.windows(2).position(|pair| pair[0] == left && pair[1] == right) {
                word.splice(at..at + 2, [piece.clone()]);
            }
        }
        tokens.push(piece.clone());
        merged.push(piece);
    }
    // every pair of tokens that makes a piece, the longest first half first, as transformers lists them
    let merges = merged.iter().flat_map(|piece| {
        let splits = piece.char_indices().rev().map(|(at, _)| piece.split_at(at)).filter(|(left, _)| !left.is_empty());
        splits.filter(|(left, right)| tokens.iter().any(|t| t == left) && tokens.iter().any(|t| t == right)).collect::<Vec<_>>()
    });
    let merges: Vec<_> = merges.collect();
    let mut added = vec![("<unk>", 0, true), ("<s>", 1, true), ("</s>", 2, true)];
    added.extend([("<|user|>", tokens.len(), true), ("<tools>", tokens.len() + 1, false)]);
    let added = added.into_iter().map(|(text, id, special)| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special})
    });
    let vocabulary: serde_json::Map<_, _> = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocabulary,
            "merges": merges}})
    .to_string();
    let settings = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": "{{ messages[0].content }}"});
    let settings = settings.to_string();
    let files =
        ChatFiles { tokenizer: tokenizer.as_bytes(), tokenizer_config: settings.as_bytes(), template: None, generation_config: None };
    Chat::from_bytes(&files, &Model::nano().config).expect("a good tokenizer")
}

/// Texts for them: special tokens within, and signs that have no piece.
pub const PIECES: [&str; 4] = [
    "<s><|user|>Send 3 parcels to ann.lee@quillbox.test</s><|user|> and  <tools>\n",
    " It's 12345 o'clock, we'LL see. ",
    "Größe, 你好 😀",
    "returning the leading parcels",
];

#[test]
fn a_tokenizer_of_pieces_is_rebuilt_from_its_scores() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    for prefix in [true, false] {
        let model = Model { chat: scored(prefix), ..Model::nano() };
        let written = model.write(&path, Quant::Q8_0);
        assert_eq!((written.pre, written.pre_exact), ("default", true), "{prefix}");
        let chat = Gguf::open(&path).and_then(|file| file.chat()).expect("our own file");
        for text in TEXTS.iter().chain(&PIECES) {
            let ours = model.chat.tokenizer().encode(text, false).expect("any text");
            assert_eq!(ours, chat.tokenizer().encode(text, false).expect("any text"), "{prefix}: {text}");
        }
        assert_eq!(chat.tokenizer().specials(), model.chat.tokenizer().specials());
        assert_eq!(chat.ends(), [2]);
    }
}

#[test]
fn a_tokenizer_is_rebuilt_from_the_keys_that_are_written() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    for (name, pre, ignore_merges) in known() {
        let model = Model { chat: cutting(&pre, ignore_merges), ..Model::nano() };
        let written = model.write(&path, Quant::Q8_0);
        assert_eq!((written.pre, written.pre_exact), (name, true));
        let chat = Gguf::open(&path).and_then(|file| file.chat()).expect("our own file");
        for text in TEXTS {
            let ours = model.chat.tokenizer().encode(text, false).expect("any text");
            let theirs = chat.tokenizer().encode(text, false).expect("any text");
            assert_eq!(ours, theirs, "{name}: {text}");
            let back = |chat: &Chat| chat.tokenizer().decode(&ours).expect("any tokens");
            assert_eq!(back(&model.chat), back(&chat), "{name}");
        }
        assert_eq!(chat.tokenizer().specials(), model.chat.tokenizer().specials());
    }
}

#[test]
fn where_llama_cpp_cuts_otherwise_the_nearest_is_written_and_the_file_is_read_as_llama_cpp_reads_it() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    let model = Model::nano();
    let written = model.write(&path, Quant::Q8_0);
    assert!(!written.pre_exact);
    // a tokenizer beside the file does not hide that
    std::fs::write(folder.path().join("tokenizer.json"), model.chat.tokenizer().to_json().expect("JSON")).expect("written");
    let chat = Gguf::open(&path).and_then(|file| file.chat()).expect("our own file");
    let tokens = |chat: &Chat, text: &str| chat.tokenizer().encode(text, false).expect("any text");
    assert!(TEXTS.iter().any(|text| tokens(&chat, text) != tokens(&model.chat, text)));
    assert!(TEXTS.iter().any(|text| tokens(&chat, text) == tokens(&model.chat, text)));
}
