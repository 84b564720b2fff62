//! Vocabularies of pieces with scores (SentencePiece), the other kind that llama.cpp merges: as a `tokenizer.json` has them, and as a
//! GGUF file has them. Knows no files.
//!
//! llama.cpp's `llm_tokenizer_spm` joins the two neighbours whose union scores best; Hugging Face joins the pair that comes first in
//! a list of merges, which its converters make from the scores (transformers, `generate_merges`). So scores are made from that
//! list here, and the list again from the scores.
use std::collections::HashMap;

use serde_json::{Value, json};

/// What stands for a blank.
const BLANK: &str = "▁";

/// Whether a blank is put before a text, and before what follows a special token, as a `tokenizer.json` says it; none if it says
/// neither always nor never.
pub(crate) fn prefix(tokenizer: &Value) -> Option<bool> {
    let (normalizer, pre) = (&tokenizer["normalizer"], &tokenizer["pre_tokenizer"]);
    let parts = normalizer["normalizers"].as_array().map_or_else(|| vec![normalizer], |parts| parts.iter().collect());
    let kinds: Vec<_> = parts.iter().filter_map(|part| part["type"].as_str()).collect();
    match (&kinds[..], pre["type"].as_str()) {
        (["Prepend", "Replace"], None) => Some(true),
        // a text has no blanks left to split at
        (["Replace"], None | Some("Split")) => Some(false),
        ([], Some("Metaspace")) if pre["split"] == false => match pre["prepend_scheme"].as_str() {
            Some("always") => Some(true),
            Some("never") => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Scores of all tokens: the better, the earlier a merge makes it. What no merge makes comes last.
#[expect(clippy::cast_precision_loss, reason = "the format has 32 bits for scores; ranks beyond 2^24 would be equal")]
pub(crate) fn scores<'a>(tokens: &[String], merges: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    let mut count = 0;
    for (left, right) in merges {
        ranks.entry(format!("{left}{right}")).or_insert(count);
        count += 1;
    }
    tokens.iter().map(|token| -(ranks.get(token).copied().unwrap_or(count) as f32)).collect()
}

/// The merges that scores stand for, best first.
pub(crate) fn merges<'a>(tokens: &[&'a str], scores: &[f32]) -> Vec<(&'a str, &'a str)> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                merges.push((*score, *l, *r, (left, right)));
            }
        }
    }
    merges.sort_by(|a, b| {
        let lengths = |merge: &(f32, usize, usize, (&str, &str))| (merge.3.0.chars().count(), merge.3.1.chars().count());
        b.0.total_cmp(&a.0).then_with(|| lengths(b).cmp(&lengths(a))).then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    merges.into_iter().map(|(_, _, _, pair)| pair).collect()
}

/// The parts of a `tokenizer.json` around the vocabulary: normalizer, decoder.
pub(crate) fn around(prefix: bool) -> (Value, Value) {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK});
    let normalizer = match prefix {
        true => json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": BLANK}, replace]}),
        false => replace,
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    (normalizer, json!({"type": "Sequence", "decoders": decoders}))
}

/// Whether a token stands for a byte (`<0x0A>`).
pub(crate) fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_byte, merges, prefix, scores};

    #[test]
    fn merges_become_scores_and_scores_merges() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc", "x"].map(str::to_owned);
        let list = [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")];
        let scores = scores(&tokens, list.into_iter());
        assert_eq!(scores, [-4.0, -4.0, -4.0, -1.0, 0.0, -2.0, -4.0]);
        assert_eq!(merges(&tokens.each_ref().map(String::as_str), &scores), list);
        assert!(is_byte("<0xE2>") && !is_byte("<0xG2>") && !is_byte("<s>"));
    }

    #[test]
    fn the_blank_before_a_text_is_read_from_the_file() {
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let llama = json!({"normalizer": {"type": "Sequence", "normalizers": [prepend, replace]}, "pre_tokenizer": null});
        assert_eq!(prefix(&llama), Some(true));
        assert_eq!(prefix(&json!({"normalizer": replace, "pre_tokenizer": {"type": "Split"}})), Some(false));
        let metaspace =
            |scheme: &str| json!({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": scheme, "split": false}});
        assert_eq!(["always", "never", "first"].map(|scheme| prefix(&metaspace(scheme))), [Some(true), Some(false), None]);
    }
}
