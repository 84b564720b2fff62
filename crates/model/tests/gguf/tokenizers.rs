//! A tokenizer survives the way into a GGUF file and back.
use model::gguf::{Gguf, Quant};
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
            let back = |chat: &model::Chat| chat.tokenizer().decode(&ours).expect("any tokens");
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
    let tokens = |chat: &model::Chat, text: &str| chat.tokenizer().encode(text, false).expect("any text");
    assert!(TEXTS.iter().any(|text| tokens(&chat, text) != tokens(&model.chat, text)));
    assert!(TEXTS.iter().any(|text| tokens(&chat, text) == tokens(&model.chat, text)));
}
