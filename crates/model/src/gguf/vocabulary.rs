//! Tokenizer and chat template as keys of a GGUF file, both ways: byte-level BPE, `tokenizer.ggml.*`. Knows no weights.
use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, json};

use super::file::Gguf;
use super::pre::{ALL, Pre};
use crate::{Chat, ChatTemplate, Config, Error, Tokenizer};

/// Tokens that llama.cpp lets end an answer wherever it meets them in a vocabulary.
const ENDS: [&str; 12] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "<|end_of_text|>",
    "<end_of_utterance>",
];

/// Types of tokens (`enum llama_token_type`).
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Keys of tokenizer and template, and how far llama.cpp's tokenizer is this one.
pub(crate) struct Vocabulary {
    /// What is written.
    pub keys: Vec<(String, Value)>,
    /// The name under `tokenizer.ggml.pre`.
    pub pre: &'static str,
    /// Whether it cuts texts just as this tokenizer does. If not, it is the one that cuts most of the samples so.
    pub exact: bool,
}

/// The keys of a model's tokenizer and template. Where llama.cpp cuts no text as this tokenizer does, `samples` decide.
///
/// # Errors
/// When the tokenizer is no byte-level BPE, or has more tokens than the model embeddings.
pub(crate) fn keys(chat: &Chat, config: &Config, samples: &[String]) -> Result<Vocabulary, Error> {
    let tokenizer: serde_json::Value = serde_json::from_str(&chat.tokenizer().to_json()?).expect("a tokenizer writes JSON");
    check(&tokenizer)?;
    let exact = Pre::of(&tokenizer);
    let (tokens, types) = tokens(&tokenizer, config.vocab_size)?;
    let merges: Vec<_> = pairs(&tokenizer["model"]["merges"]).map(|(left, right)| format!("{left} {right}")).collect();
    let texts = |texts: &[String]| Value::Array(texts.iter().cloned().map(Value::String).collect());
    let mut keys = vec![
        ("model", Value::String("gpt2".to_owned())),
        ("tokens", texts(&tokens)),
        ("token_type", Value::Array(types.iter().copied().map(Value::I32).collect())),
        ("merges", texts(&merges)),
    ];
    keys.extend(special(chat)?);
    let pre = match exact {
        Some(pre) => pre,
        None => nearest(chat.tokenizer(), &tokens, &types, &merges, samples)?,
    };
    keys.push(("pre", Value::String(pre.names[0].to_owned())));
    let mut keys: Vec<_> = keys.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    keys.push(("tokenizer.chat_template".to_owned(), Value::String(chat.template().source().to_owned())));
    Ok(Vocabulary { keys, pre: pre.names[0], exact: exact.is_some() })
}

/// Refuses what llama.cpp's byte-level BPE would tokenize otherwise.
fn check(tokenizer: &serde_json::Value) -> Result<(), Error> {
    let model = &tokenizer["model"];
    let kind = model["type"].as_str().unwrap_or_default();
    let refuse = |found: &str| {
        let expected = "only byte-level BPE can be written into a GGUF file";
        Err(Error::Unsupported { key: "tokenizer.json", found: found.to_owned(), expected })
    };
    match kind {
        "BPE" if model["byte_fallback"] == true => refuse("BPE with byte_fallback"),
        "BPE" if model["continuing_subword_prefix"].is_string() || model["end_of_word_suffix"].is_string() => refuse("BPE of words"),
        "BPE" if !tokenizer["pre_tokenizer"].to_string().contains("ByteLevel") => refuse("BPE of characters"),
        "BPE" if !tokenizer["normalizer"].is_null() && tokenizer["normalizer"]["type"] != "NFC" => refuse("BPE with a normalizer"),
        // an empty list has no type in the file, and llama.cpp insists on one of texts
        "BPE" if model["merges"].as_array().is_none_or(Vec::is_empty) => refuse("BPE without merges"),
        "BPE" => Ok(()),
        other => refuse(other),
    }
}

/// Texts and types of all tokens, as many as the model has embeddings.
fn tokens(tokenizer: &serde_json::Value, count: usize) -> Result<(Vec<String>, Vec<i32>), Error> {
    let mut all: Vec<_> = (0..count).map(|id| (format!("[PAD{id}]"), UNUSED)).collect();
    let mut put = |text: &str, id: u64, kind| {
        let place = usize::try_from(id).ok().and_then(|id| all.get_mut(id));
        *place.ok_or_else(|| Error::Tokenizer(format!("token `{text}` ({id}) is beyond the model's {count} embeddings")))? =
            (text.to_owned(), kind);
        Ok::<_, Error>(())
    };
    for (text, id) in tokenizer["model"]["vocab"].as_object().into_iter().flatten() {
        put(text, id.as_u64().unwrap_or(u64::MAX), NORMAL)?;
    }
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
        put(token["content"].as_str().unwrap_or_default(), token["id"].as_u64().unwrap_or(u64::MAX), kind)?;
    }
    Ok(all.into_iter().unzip())
}

/// Merges as a `tokenizer.json` has them.
fn pairs(merges: &serde_json::Value) -> impl Iterator<Item = (&str, &str)> {
    merges.as_array().into_iter().flatten().filter_map(|merge| Some((merge[0].as_str()?, merge[1].as_str()?)))
}

/// The tokens that begin, end and fill a text.
fn special(chat: &Chat) -> Result<Vec<(&'static str, Value)>, Error> {
    let (tokenizer, template) = (chat.tokenizer(), chat.template());
    let id = |name: &str| template.special(name).and_then(|token| tokenizer.id(token));
    let eos = id("eos_token").or_else(|| chat.ends().first().copied());
    // llama.cpp finds the usual ends itself; it has room for two more
    let known: Vec<_> = ENDS.iter().filter_map(|end| tokenizer.id(end)).chain(eos).collect();
    let mut others = chat.ends().iter().copied().filter(|end| !known.contains(end));
    let named = [
        ("bos_token_id", id("bos_token")),
        ("eos_token_id", eos),
        ("unknown_token_id", id("unk_token")),
        ("padding_token_id", id("pad_token")),
        ("eot_token_id", others.next()),
        ("eom_token_id", others.next()),
    ];
    let mut keys: Vec<_> = named.into_iter().filter_map(|(key, id)| Some((key, Value::U32(id?)))).collect();
    let (plain, marked) = (tokenizer.encode("a", false)?, tokenizer.encode("a", true)?);
    keys.push(("add_bos_token", Value::Bool(marked.len() > plain.len() && marked.first().copied() == id("bos_token"))));
    keys.push(("add_eos_token", Value::Bool(marked.len() > plain.len() && marked.last().copied() == eos)));
    Ok(keys)
}

/// Of the ways llama.cpp has, the one that gives most samples the tokens they have here.
fn nearest(own: &Tokenizer, tokens: &[String], types: &[i32], merges: &[String], samples: &[String]) -> Result<&'static Pre, Error> {
    let (tokens, merges): (Vec<&str>, Vec<&str>) =
        (tokens.iter().map(String::as_str).collect(), merges.iter().map(String::as_str).collect());
    let types: Vec<_> = types.iter().map(|kind| u64::from(kind.unsigned_abs())).collect();
    let mut best = (0, &ALL[0]);
    for pre in &ALL {
        let theirs = Tokenizer::from_bytes(rebuilt(pre, &tokens, &types, &merges, None).to_string().as_bytes())?;
        let mut alike = 0;
        for sample in samples {
            alike += usize::from(own.encode(sample, false)? == theirs.encode(sample, false)?);
        }
        if alike > best.0 {
            best = (alike, pre);
        }
    }
    Ok(best.1)
}

/// A `tokenizer.json` from what a GGUF file holds.
fn rebuilt(pre: &Pre, tokens: &[&str], types: &[u64], merges: &[&str], bos: Option<u64>) -> serde_json::Value {
    let vocab: Map<_, _> = tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let merges: Vec<_> = merges.iter().filter_map(|merge| merge.split_once(' ')).map(|(left, right)| json!([left, right])).collect();
    let added = tokens.iter().zip(types).enumerate().filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].map(|k| k as u64).contains(kind));
    let added = added.map(|(id, (token, kind))| {
        json!({"id": id, "content": token, "special": *kind == CONTROL as u64, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false})
    });
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": pre.to_json(), "decoder": byte_level, "post_processor": bos.map(|id| begin(id, tokens)),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": pre.ignore_merges, "vocab": vocab, "merges": merges},
    })
}

/// The post-processor that puts the begin token first.
fn begin(id: u64, tokens: &[&str]) -> serde_json::Value {
    let token = usize::try_from(id).ok().and_then(|id| tokens.get(id)).copied().unwrap_or_default();
    let (special, text) = (json!({"SpecialToken": {"id": token, "type_id": 0}}), |id: &str| json!({"Sequence": {"id": id, "type_id": 0}}));
    json!({"type": "TemplateProcessing", "single": [special, text("A")], "pair": [special, text("A"), text("B")],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}})
}

/// The tokenizer that a file's own keys describe.
///
/// # Errors
/// When it is not byte-level BPE with one of the cuts known here; the error names the key.
pub(crate) fn tokenizer(file: &Gguf) -> Result<Tokenizer, Error> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let model = file.text(&key("model")).ok_or_else(|| file.lacks("tokenizer.ggml.model"))?;
    if model != "gpt2" {
        return Err(Error::Unsupported { key: "tokenizer.ggml.model", found: model.to_owned(), expected: "only `gpt2`" });
    }
    let name = file.text(&key("pre")).unwrap_or("default");
    let Some(pre) = Pre::named(name) else {
        let expected = "only `gpt-2`, `smollm`, `llama-bpe`, `dbrx`, `qwen2` and their kin";
        return Err(Error::Unsupported { key: "tokenizer.ggml.pre", found: name.to_owned(), expected });
    };
    let texts = |name: &str| file.texts(&key(name)).ok_or_else(|| file.lacks(&key(name)));
    let (tokens, merges) = (texts("tokens")?, texts("merges")?);
    let types = file.numbers(&key("token_type")).unwrap_or_else(|| vec![1; tokens.len()]);
    let add_bos = file.flag(&key("add_bos_token")).unwrap_or(pre.add_bos);
    let bos = file.number(&key("bos_token_id")).filter(|_| add_bos);
    Tokenizer::from_bytes(rebuilt(pre, &tokens, &types, &merges, bos).to_string().as_bytes())
}

/// The chat template of a file, with the special tokens that it may name.
///
/// # Errors
/// When the file has none, or it does not parse.
pub(crate) fn template(file: &Gguf) -> Result<ChatTemplate, Error> {
    let source = file.text("tokenizer.chat_template").ok_or_else(|| file.lacks("tokenizer.chat_template"))?;
    ChatTemplate::new(source, specials(file))
}

/// Special tokens by the names that templates have for them.
fn specials(file: &Gguf) -> Map<String, serde_json::Value> {
    let tokens = file.texts("tokenizer.ggml.tokens").unwrap_or_default();
    let names = [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];
    let found = names.into_iter().filter_map(|(name, key)| {
        let id = file.number(&format!("tokenizer.ggml.{key}_token_id"))?;
        Some((name.to_owned(), json!(tokens.get(usize::try_from(id).ok()?)?)))
    });
    found.collect()
}

/// The tokens that end an answer: those the file names and those llama.cpp looks for.
pub(crate) fn ends(file: &Gguf) -> Vec<u64> {
    let named = ["eos", "eot", "eom"].iter().filter_map(|kind| file.number(&format!("tokenizer.ggml.{kind}_token_id")));
    let tokens = file.texts("tokenizer.ggml.tokens").unwrap_or_default();
    let usual = tokens.iter().zip(0..).filter(|(token, _)| ENDS.contains(token)).map(|(_, id)| id);
    let mut ends: Vec<_> = named.chain(usual).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}
