//! What llama.cpp does with a text before and while it merges tokens: what a `tokenizer.json` asks for, and a `tokenizer.json` that
//! does what a GGUF file asks for. Knows no files.
use serde_json::{Map, Value, json};

use super::pieces;
use super::pre::{ALL, Pre};
use crate::{Error, Tokenizer};

/// Types of tokens (`enum llama_token_type`).
pub(crate) const NORMAL: u64 = 1;
pub(crate) const UNKNOWN: u64 = 2;
pub(crate) const CONTROL: u64 = 3;
pub(crate) const USER_DEFINED: u64 = 4;
pub(crate) const UNUSED: u64 = 5;
pub(crate) const BYTE: u64 = 6;

/// A way from text to tokens that llama.cpp has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Bytes, merged by a list within what is cut (`tokenizer.ggml.model` = `gpt2`).
    Bytes(&'static Pre),
    /// Characters, merged by the scores of the pieces they make (`llama`); `prefix`: a blank is put before a text.
    Pieces {
        /// Whether it is.
        prefix: bool,
    },
}

/// A vocabulary as a GGUF file holds it.
pub(crate) struct Held<'a> {
    pub tokens: Vec<&'a str>,
    pub types: Vec<u64>,
    pub merges: Vec<(&'a str, &'a str)>,
    pub unknown: Option<u64>,
}

impl Scheme {
    /// What a `tokenizer.json` may mean: one scheme to the letter, or all of its kind. `merges`: what is left of its merges once they
    /// went through scores.
    ///
    /// # Errors
    /// When llama.cpp has nothing of its kind.
    pub(crate) fn of(tokenizer: &Value, merges: &[(&str, &str)]) -> Result<Vec<Self>, Error> {
        if let Some(found) = foreign(tokenizer) {
            let expected = "only BPE of bytes or of scored pieces can be written into a GGUF file";
            return Err(Error::Unsupported { key: "tokenizer.json", found: found.to_owned(), expected });
        }
        if has_pieces(tokenizer) {
            let same = pairs(&tokenizer["model"]["merges"]).eq(merges.iter().copied());
            return Ok(match pieces::prefix(tokenizer).filter(|_| same) {
                Some(prefix) => vec![Self::Pieces { prefix }],
                None => vec![Self::Pieces { prefix: false }, Self::Pieces { prefix: true }],
            });
        }
        Ok(Pre::of(tokenizer).map_or_else(|| ALL.iter().map(Self::Bytes).collect(), |pre| vec![Self::Bytes(pre)]))
    }

    /// What is written under `tokenizer.ggml.pre`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bytes(pre) => pre.names[0],
            Self::Pieces { .. } => "default",
        }
    }

    /// Of several schemes the one that gives most samples the tokens they have; the first of equals.
    pub(crate) fn nearest(schemes: &[Self], own: &Tokenizer, held: &Held<'_>, samples: &[String]) -> Result<Self, Error> {
        let mut best = (0, schemes[0]);
        for scheme in schemes.iter().filter(|_| schemes.len() > 1) {
            let theirs = Tokenizer::from_bytes(scheme.tokenizer(held, None).to_string().as_bytes())?;
            let mut alike = 0;
            for sample in samples {
                alike += usize::from(own.encode(sample, false)? == theirs.encode(sample, false)?);
            }
            if alike > best.0 {
                best = (alike, *scheme);
            }
        }
        Ok(best.1)
    }

    /// A `tokenizer.json` that does the same; with `bos`, texts may be given that begin token.
    pub(crate) fn tokenizer(self, held: &Held<'_>, bos: Option<u64>) -> Value {
        let Held { tokens, types, merges, unknown } = held;
        let vocab: Map<_, _> = tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
        let merges: Vec<_> = merges.iter().map(|(left, right)| json!([left, right])).collect();
        let added = tokens.iter().zip(types).enumerate().filter(|(_, (_, kind))| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind));
        let added = added.map(|(id, (token, kind))| {
            json!({"id": id, "content": token, "special": *kind != USER_DEFINED, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false})
        });
        let (pre, (normalizer, decoder)) = match self {
            Self::Bytes(pre) => {
                let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
                (pre.to_json(), (Value::Null, bytes))
            }
            Self::Pieces { prefix } => (Value::Null, pieces::around(prefix)),
        };
        let unknown = unknown.and_then(|id| tokens.get(usize::try_from(id).ok()?)).filter(|_| matches!(self, Self::Pieces { .. }));
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": normalizer, "added_tokens": added.collect::<Vec<_>>(),
            "pre_tokenizer": pre, "decoder": decoder, "post_processor": bos.map(|id| begin(id, tokens)),
            "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": unknown.is_some(), "byte_fallback": matches!(self, Self::Pieces { .. }),
                "ignore_merges": matches!(self, Self::Bytes(pre) if pre.ignore_merges), "vocab": vocab, "merges": merges},
        })
    }
}

/// Whether a `tokenizer.json` merges characters and falls back to bytes.
pub(crate) fn has_pieces(tokenizer: &Value) -> bool {
    tokenizer["model"]["byte_fallback"] == true
}

/// Merges as a `tokenizer.json` has them.
pub(crate) fn pairs(merges: &Value) -> impl Iterator<Item = (&str, &str)> {
    merges.as_array().into_iter().flatten().filter_map(|merge| Some((merge[0].as_str()?, merge[1].as_str()?)))
}

/// What llama.cpp has nothing like; none where it has.
fn foreign(tokenizer: &Value) -> Option<&str> {
    let model = &tokenizer["model"];
    let kind = model["type"].as_str().unwrap_or_default();
    match kind {
        "BPE" if model["continuing_subword_prefix"].is_string() || model["end_of_word_suffix"].is_string() => Some("BPE of words"),
        // an empty list has no type in the file, and llama.cpp insists on one of texts
        "BPE" if model["merges"].as_array().is_none_or(Vec::is_empty) => Some("BPE without merges"),
        "BPE" if has_pieces(tokenizer) => None,
        "BPE" if !tokenizer["pre_tokenizer"].to_string().contains("ByteLevel") => Some("BPE of characters"),
        "BPE" if !tokenizer["normalizer"].is_null() && tokenizer["normalizer"]["type"] != "NFC" => Some("BPE with a normalizer"),
        "BPE" => None,
        other => Some(other),
    }
}

/// The post-processor that puts the begin token first.
fn begin(id: u64, tokens: &[&str]) -> Value {
    let token = usize::try_from(id).ok().and_then(|id| tokens.get(id)).copied().unwrap_or_default();
    let (special, text) = (json!({"SpecialToken": {"id": token, "type_id": 0}}), |id: &str| json!({"Sequence": {"id": id, "type_id": 0}}));
    json!({"type": "TemplateProcessing", "single": [special, text("A")], "pair": [special, text("A"), text("B")],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}})
}
