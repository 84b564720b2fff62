//! Tokenizer and chat template as keys of a GGUF file, both ways: `tokenizer.ggml.*`. Knows no weights.
use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, json};

use super::file::Gguf;
use super::pieces;
use super::pre::Pre;
use super::scheme::{BYTE, CONTROL, Held, NORMAL, Scheme, UNKNOWN, UNUSED, USER_DEFINED, has_pieces, pairs};
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
/// When llama.cpp has no tokenizer of its kind, or it has more tokens than the model embeddings.
pub(crate) fn keys(chat: &Chat, config: &Config, samples: &[String]) -> Result<Vocabulary, Error> {
    let tokenizer: serde_json::Value = serde_json::from_str(&chat.tokenizer().to_json()?).expect("a tokenizer writes JSON");
    let (tokens, types) = tokens(&tokenizer, config.vocab_size)?;
    let scores = has_pieces(&tokenizer).then(|| pieces::scores(&tokens, pairs(&tokenizer["model"]["merges"])));
    let names: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let merges = match &scores {
        Some(scores) => pieces::merges(&names, scores),
        None => pairs(&tokenizer["model"]["merges"]).collect(),
    };
    let schemes = Scheme::of(&tokenizer, &merges)?;
    let unknown = tokenizer["model"]["unk_token"].as_str().and_then(|token| chat.tokenizer().id(token));
    let held = Held { tokens: names, types, merges, unknown: unknown.map(u64::from) };
    let scheme = Scheme::nearest(&schemes, chat.tokenizer(), &held, samples)?;
    let list = |texts: &mut dyn Iterator<Item = String>| Value::Array(texts.map(Value::String).collect());
    #[expect(clippy::cast_possible_truncation, reason = "six types")]
    let types = held.types.iter().map(|kind| Value::I32(*kind as i32));
    let mut keys = vec![
        ("pre", Value::String(scheme.name().to_owned())),
        ("tokens", list(&mut held.tokens.iter().map(|token| (*token).to_owned()))),
        ("token_type", Value::Array(types.collect())),
    ];
    match (scheme, scores) {
        (Scheme::Pieces { prefix }, Some(scores)) => keys.extend([
            ("model", Value::String("llama".to_owned())),
            ("scores", Value::Array(scores.into_iter().map(Value::F32).collect())),
            ("add_space_prefix", Value::Bool(prefix)),
        ]),
        _ => keys.extend([
            ("model", Value::String("gpt2".to_owned())),
            ("merges", list(&mut held.merges.iter().map(|(left, right)| format!("{left} {right}")))),
        ]),
    }
    keys.extend(special(chat, unknown)?);
    let mut keys: Vec<_> = keys.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    keys.push(("tokenizer.chat_template".to_owned(), Value::String(chat.template().source().to_owned())));
    Ok(Vocabulary { keys, pre: scheme.name(), exact: schemes.len() == 1 })
}

/// Texts and types of all tokens, as many as the model has embeddings.
fn tokens(tokenizer: &serde_json::Value, count: usize) -> Result<(Vec<String>, Vec<u64>), Error> {
    let (pieces, unknown) = (has_pieces(tokenizer), tokenizer["model"]["unk_token"].as_str());
    let mut all: Vec<_> = (0..count).map(|id| (format!("[PAD{id}]"), UNUSED)).collect();
    let mut put = |text: &str, id: u64, kind| {
        let place = usize::try_from(id).ok().and_then(|id| all.get_mut(id));
        *place.ok_or_else(|| Error::Tokenizer(format!("token `{text}` ({id}) is beyond the model's {count} embeddings")))? =
            (text.to_owned(), kind);
        Ok::<_, Error>(())
    };
    for (text, id) in tokenizer["model"]["vocab"].as_object().into_iter().flatten() {
        let kind = if pieces && pieces::is_byte(text) { BYTE } else { NORMAL };
        put(text, id.as_u64().unwrap_or(u64::MAX), kind)?;
    }
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let text = token["content"].as_str().unwrap_or_default();
        let kind = match token["special"] == true {
            true if pieces && unknown == Some(text) => UNKNOWN,
            true => CONTROL,
            false => USER_DEFINED,
        };
        put(text, token["id"].as_u64().unwrap_or(u64::MAX), kind)?;
    }
    Ok(all.into_iter().unzip())
}

/// The tokens that begin, end and fill a text.
fn special(chat: &Chat, unknown: Option<u32>) -> Result<Vec<(&'static str, Value)>, Error> {
    let (tokenizer, template) = (chat.tokenizer(), chat.template());
    let id = |name: &str| template.special(name).and_then(|token| tokenizer.id(token));
    let eos = id("eos_token").or_else(|| chat.ends().first().copied());
    // llama.cpp finds the usual ends itself; it has room for two more
    let known: Vec<_> = ENDS.iter().filter_map(|end| tokenizer.id(end)).chain(eos).collect();
    let mut others = chat.ends().iter().copied().filter(|end| !known.contains(end));
    let named = [
        ("bos_token_id", id("bos_token")),
        ("eos_token_id", eos),
        ("unknown_token_id", unknown.or_else(|| id("unk_token"))),
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

/// The tokenizer that a file's own keys describe.
///
/// # Errors
/// When it is of another kind, or cuts texts in a way that is not known here; the error names the key.
pub(crate) fn tokenizer(file: &Gguf) -> Result<Tokenizer, Error> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let texts = |name: &str| file.texts(&key(name)).ok_or_else(|| file.lacks(&key(name)));
    let (scheme, tokens) = (scheme(file)?, texts("tokens")?);
    let merges = match scheme {
        Scheme::Bytes(_) => texts("merges")?.into_iter().filter_map(|merge| merge.split_once(' ')).collect(),
        Scheme::Pieces { .. } => {
            let scores = file.reals(&key("scores")).filter(|scores| scores.len() == tokens.len());
            pieces::merges(&tokens, &scores.ok_or_else(|| file.lacks(&key("scores")))?)
        }
    };
    let add_bos = match scheme {
        Scheme::Bytes(pre) => pre.add_bos,
        Scheme::Pieces { .. } => true,
    };
    let add_bos = file.flag(&key("add_bos_token")).unwrap_or(add_bos);
    let bos = file.number(&key("bos_token_id")).filter(|_| add_bos);
    let types = file.numbers(&key("token_type")).unwrap_or_else(|| vec![NORMAL; tokens.len()]);
    let held = Held { tokens, types, merges, unknown: file.number(&key("unknown_token_id")) };
    Tokenizer::from_bytes(scheme.tokenizer(&held, bos).to_string().as_bytes())
}

/// How a file says that texts become tokens.
fn scheme(file: &Gguf) -> Result<Scheme, Error> {
    let key = "tokenizer.ggml.model";
    let refuse = |key, found: &str, expected| Err(Error::Unsupported { key, found: found.to_owned(), expected });
    match file.text(key).ok_or_else(|| file.lacks(key))? {
        "llama" => Ok(Scheme::Pieces { prefix: file.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true) }),
        "gpt2" => {
            let name = file.text("tokenizer.ggml.pre").unwrap_or("default");
            let expected = "only `gpt-2`, `smollm`, `llama-bpe`, `dbrx`, `qwen2` and their kin";
            Pre::named(name).map_or_else(|| refuse("tokenizer.ggml.pre", name, expected), |pre| Ok(Scheme::Bytes(pre)))
        }
        other => refuse(key, other, "only `gpt2` and `llama`"),
    }
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
