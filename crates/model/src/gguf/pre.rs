//! How a text is cut before byte pairs are merged: the cuts that llama.cpp has built in, by name, and as a tokenizer's own JSON
//! says them. A GGUF file can only name one of these. Knows no vocabulary.
//!
//! Patterns as in llama.cpp's `src/llama-vocab.cpp` (`llm_tokenizer_bpe`), written as the tokenizers of Hugging Face have them.
use serde_json::{Value, json};

/// A built-in way of cutting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pre {
    /// Names that mean it in `tokenizer.ggml.pre`; the first is written.
    pub names: &'static [&'static str],
    /// Each pattern cuts the pieces that the one before left.
    patterns: &'static [&'static str],
    /// Whether a piece that is a token as it stands is taken whole.
    pub ignore_merges: bool,
    /// Whether a text begins with the begin token where the file does not say.
    pub add_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// All that are known here.
pub(crate) const ALL: [Pre; 5] = [
    Pre { names: &["gpt-2"], patterns: &[GPT2], ignore_merges: false, add_bos: false },
    Pre {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"],
        patterns: &[DIGIT, GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    Pre { names: &["llama-bpe", "llama-v3", "llama3"], patterns: &[LLAMA3], ignore_merges: true, add_bos: true },
    Pre { names: &["dbrx"], patterns: &[LLAMA3], ignore_merges: false, add_bos: false },
    Pre { names: &["qwen2", "deepseek-r1-qwen"], patterns: &[QWEN2], ignore_merges: false, add_bos: false },
];

impl Pre {
    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|pre| pre.names.contains(&name))
    }

    /// The one that a `tokenizer.json` asks for, to the letter; none if llama.cpp has none like it.
    pub(crate) fn of(tokenizer: &Value) -> Option<&'static Self> {
        let mut patterns = Vec::new();
        collect(&tokenizer["pre_tokenizer"], &mut patterns)?;
        let merges = tokenizer["model"]["ignore_merges"].as_bool().unwrap_or(false);
        ALL.iter().find(|pre| pre.patterns == patterns && pre.ignore_merges == merges)
    }

    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub(crate) fn to_json(&self) -> Value {
        let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        json!({"type": "Sequence", "pretokenizers": self.patterns.iter().map(split).chain([bytes]).collect::<Vec<_>>()})
    }
}

/// Appends the patterns of a `pre_tokenizer`; none if it does anything that is no pattern.
fn collect(pre: &Value, patterns: &mut Vec<String>) -> Option<()> {
    match pre["type"].as_str()? {
        "Sequence" => pre["pretokenizers"].as_array()?.iter().try_for_each(|part| collect(part, patterns))?,
        "Split" if pre["behavior"] == "Isolated" && pre["invert"] == false => patterns.push(pre["pattern"]["Regex"].as_str()?.to_owned()),
        "Digits" if pre["individual_digits"] == true => patterns.push(DIGIT.to_owned()),
        "ByteLevel" if pre["add_prefix_space"] == false => {
            if pre["use_regex"].as_bool().unwrap_or(true) {
                patterns.push(GPT2.to_owned());
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ALL, Pre};

    #[test]
    fn what_is_written_is_recognised_and_so_are_the_families_own_files() {
        for pre in &ALL {
            let tokenizer = json!({"pre_tokenizer": pre.to_json(), "model": {"ignore_merges": pre.ignore_merges}});
            assert_eq!(Pre::of(&tokenizer), Some(pre));
        }
        let smollm = json!({"model": {}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}});
        assert_eq!(Pre::of(&smollm), Pre::named("smollm"));
        let other = json!({"model": {}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}});
        assert_eq!(Pre::of(&other), None);
    }
}
