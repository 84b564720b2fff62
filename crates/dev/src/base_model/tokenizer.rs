//! The tokenizer: byte-level BPE, cut so that what is copied has the same tokens wherever it stands.
//!
//! Digits and capitals begin tokens of their own and never take a leading blank; only lower-case words do.
//! So an id or a name is one and the same row of tokens in a sentence and between the quotes of JSON.
use anyhow::Result;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, SplitDelimiterBehavior, Tokenizer, TokenizerImpl};

use super::corpus::Corpus;
use super::document::{TOOLS_INTRO, TOOLS_OUTRO};

/// Tokens, specials and bytes included.
pub const VOCABULARY: usize = 2048;
/// Tokens that mark structure; the first three are special, the tags are text that happens to be one token.
pub const SPECIALS: [&str; 7] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tools>", "</tools>"];
/// Stream of the corpus that the merges are learned from; no training step has it.
const STREAM: u64 = 1 << 40;

/// Where a text is cut before the merges: a lower-case word with its blank unless an id or address goes on there,
/// part of a snake-case name, a capitalised word, other letters, one digit, the punctuation of JSON, lines, blanks,
/// any other sign alone.
const CUT: &str = r#" \p{Ll}+(?![\p{L}\p{N}@_/-]|\.\p{L})|_?\p{Ll}+|\p{Lu}\p{Ll}*|\p{L}|\p{N}| ?[{}":,]+|\n+| +|[^\s]|\s"#;

type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Learns the merges from `documents` documents.
pub fn train(corpus: &Corpus, documents: usize) -> Result<Tokenizer> {
    let cut = Split::new(SplitPattern::Regex(CUT.to_string()), SplitDelimiterBehavior::Isolated, false).map_err(anyhow::Error::msg)?;
    let bytes = ByteLevel::new(false, true, false);
    let mut bpe = Bpe::new(BPE::default());
    bpe.with_pre_tokenizer(Some(Sequence::new(vec![cut.into(), bytes.into()])));
    bpe.with_decoder(Some(bytes));
    let specials = SPECIALS.iter().enumerate().map(|(i, text)| AddedToken::from(*text, i < 3).normalized(false));
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(specials.collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let texts: Vec<String> = corpus.stream(STREAM, documents, 1.0).iter().map(|sample| plain(&sample.document.text())).collect();
    bpe.train(&mut trainer, texts.iter()).map_err(anyhow::Error::msg)?;
    let text = bpe.to_string(true).map_err(anyhow::Error::msg)?;
    text.parse().map_err(anyhow::Error::msg)
}

/// The text without structure, so that no merge is spent on tags.
fn plain(text: &str) -> String {
    SPECIALS.iter().fold(text.to_string(), |text, special| text.replace(special, ""))
}

/// The chat template: ChatML; tools stand in the system message, calls in tags.
pub fn chat_template() -> String {
    let intro = jinja_string(TOOLS_INTRO);
    let outro = jinja_string(TOOLS_OUTRO);
    let mut template = String::new();
    template += "{%- set first = messages[0] if messages and messages[0].role == 'system' else none -%}\n";
    template += "{%- if first or tools -%}\n{{- '<|im_start|>system\\n' -}}\n";
    template += "{%- if first -%}{{- first.content -}}{%- endif -%}\n";
    template += "{%- if tools -%}\n{%- if first and first.content -%}{{- '\\n\\n' -}}{%- endif -%}\n";
    template += &format!("{{{{- {intro} + '\\n<tools>' -}}}}\n");
    template += "{%- for tool in tools -%}{{- '\\n' + tool | tojson -}}{%- endfor -%}\n";
    template += &format!("{{{{- '\\n</tools>\\n' + {outro} -}}}}\n{{%- endif -%}}\n");
    template += "{{- '<|im_end|>\\n' -}}\n{%- endif -%}\n";
    template += "{%- for message in messages -%}\n{%- if not (loop.first and message.role == 'system') -%}\n";
    template += "{{- '<|im_start|>' + message.role + '\\n' -}}\n";
    template += "{%- if message.content -%}{{- message.content -}}{%- endif -%}\n";
    template += "{%- for call in message.tool_calls or [] -%}\n";
    template += "{%- set function = call.function or call -%}\n";
    template += "{%- if message.content or not loop.first -%}{{- '\\n' -}}{%- endif -%}\n";
    template += "{{- '<tool_call>{\"name\": ' + function.name | tojson + ', \"arguments\": ' -}}\n";
    template +=
        "{%- if function.arguments is string -%}{{- function.arguments -}}{%- else -%}{{- function.arguments | tojson -}}{%- endif -%}\n";
    template += "{{- '}</tool_call>' -}}\n{%- endfor -%}\n{{- '<|im_end|>\\n' -}}\n{%- endif -%}\n{%- endfor -%}\n";
    template += "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";
    template
}

fn jinja_string(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What stands in `tokenizer_config.json`.
pub fn config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": null,
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": super::shape::CONTEXT,
        "chat_template": chat_template(),
    })
}
