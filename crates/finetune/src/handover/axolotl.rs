//! Axolotl's format: `input_output`, segments of text that are learnt or not, and a configuration of `axolotl train`.
//!
//! As in Axolotl 0.19, `axolotl/prompt_strategies/input_output.py`: each segment is tokenized by itself, without special tokens, and
//! `label` says whether it is learnt. Its `chat_template` type finds turns by rendering and cannot place tool calls for every
//! template. Knows no other trainer.
use model::Chat;
use serde_json::json;

use super::{Given, Row, TRAIN, VALIDATION, lines, quoted};
use crate::{Error, Files};

/// The configuration.
pub(super) const CONFIG: &str = "axolotl.yaml";

pub(super) fn files(given: &Given<'_>) -> Files {
    let line = |row: &Row| json!({"segments": [{"label": false, "text": row.before}, {"label": true, "text": row.after}]});
    let mut files = Files::from([(CONFIG.to_owned(), config(given).into_bytes()), (TRAIN.to_owned(), lines(&given.train, line))]);
    if !given.validation.is_empty() {
        files.insert(VALIDATION.to_owned(), lines(&given.validation, line));
    }
    files
}

/// Tokens that Axolotl makes of a row, and the first that it learns.
pub(super) fn learns(row: &Row, chat: &Chat) -> Result<(Vec<u32>, usize), Error> {
    let mut tokens = chat.tokenizer().encode(&row.before, false)?;
    let prompt = tokens.len();
    tokens.extend(chat.tokenizer().encode(&row.after, false)?);
    Ok((tokens, prompt))
}

fn config(given: &Given<'_>) -> String {
    let data = |part: &str| format!("  - path: {part:?}\n    ds_type: \"json\"\n    type: \"input_output\"\n    split: \"train\"\n");
    let mut text = format!(
        "# `{name}` on `{model}`, for `axolotl train`. Paths are relative to this folder.\n\
         base_model: {place}\n\
         datasets:\n{train}\
         train_on_inputs: false\n\
         # the longest call; nothing is cut off\n\
         sequence_len: {longest}\n\
         sample_packing: false\n\
         adapter: \"lora\"\n\
         micro_batch_size: 1\n\
         lr_scheduler: \"cosine\"\n\
         cosine_min_lr_ratio: 0.1\n\
         optimizer: \"adamw_torch\"\n\
         bf16: \"auto\"\n\
         {settings}",
        name = given.subject.name,
        model = given.subject.model,
        place = quoted(given.subject.place),
        train = data(TRAIN),
        longest = given.longest(),
        settings = given.settings(),
    );
    if !given.validation.is_empty() {
        let (validation, patience) = (data(VALIDATION), given.settings.patience);
        text += &format!("test_datasets:\n{validation}{}early_stopping_patience: {patience}\n", given.looks());
    }
    text
}
