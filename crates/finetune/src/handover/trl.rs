//! TRL's format: conversational prompt and completion with `completion_only_loss`, and a configuration of `trl.scripts.sft`.
//!
//! As in TRL 1.16, `trl/trainer/sft_trainer.py` (`_prepare_dataset`): a row is rendered and tokenized with and without its completion,
//! and what lies behind the common beginning is learnt. Knows no other trainer.
use model::{Chat, ChatTemplate};
use serde_json::json;

use super::{Given, Row, TRAIN, VALIDATION, lines, quoted};
use crate::{Error, Files};

/// The configuration.
pub(super) const CONFIG: &str = "sft.yaml";
/// The template that the rows are rendered by.
pub(super) const TEMPLATE: &str = "template.jinja";

/// The model's own template, but for blanks behind the last turn: TRL learns whatever the template writes there, and no model is
/// asked to produce it.
pub(super) fn template(source: &str) -> String {
    format!("{{% set whole %}}{source}{{% endset %}}{{{{ whole if add_generation_prompt else whole.rstrip() }}}}")
}

pub(super) fn files(given: &Given<'_>, template: &str) -> Files {
    let mut files = Files::from([
        (CONFIG.to_owned(), config(given).into_bytes()),
        (TEMPLATE.to_owned(), template.as_bytes().to_vec()),
        (TRAIN.to_owned(), lines(&given.train, line)),
    ]);
    if !given.validation.is_empty() {
        files.insert(VALIDATION.to_owned(), lines(&given.validation, line));
    }
    files
}

/// Tools go as JSON text, which TRL parses: as a column, the fields of one tool would turn up in all others as nulls.
fn line(row: &Row) -> serde_json::Value {
    let mut line = json!({"prompt": row.messages, "completion": [row.answer]});
    if !row.tools.is_empty() {
        line["tools"] = serde_json::Value::from(json!(row.tools).to_string());
    }
    line
}

/// Tokens that TRL makes of a row, and the first that it learns.
pub(super) fn learns(row: &Row, chat: &Chat, template: &str) -> Result<(Vec<u32>, usize), Error> {
    let template = ChatTemplate::new(template, chat.template().specials().clone())?;
    let encode = |text: &str| chat.tokenizer().encode(text, false);
    let prompt = encode(&template.render(&row.messages, &row.tools, true)?)?;
    let messages: Vec<_> = row.messages.iter().chain([&row.answer]).cloned().collect();
    let whole = encode(&template.render(&messages, &row.tools, false)?)?;
    let common = prompt.iter().zip(&whole).take_while(|(one, other)| one == other).count();
    Ok((whole, common))
}

fn config(given: &Given<'_>) -> String {
    let looks = match given.validation.is_empty() {
        true => "eval_strategy: \"no\"\nsave_strategy: \"no\"\n".to_owned(),
        false => format!("dataset_test_split: \"validation\"\n{}", given.looks()),
    };
    format!(
        "# `{name}` on `{model}`, for `trl.scripts.sft`. Paths are relative to this folder.\n\
         model_name_or_path: {place}\n\
         dtype: \"auto\"\n\
         dataset_name: \"data\"\n\
         dataset_train_split: \"train\"\n\
         chat_template_path: {TEMPLATE:?}\n\
         completion_only_loss: true\n\
         # the longest call; nothing is cut off\n\
         max_length: {longest}\n\
         packing: false\n\
         use_peft: true\n\
         per_device_train_batch_size: 1\n\
         per_device_eval_batch_size: 1\n\
         lr_scheduler_type: \"cosine_with_min_lr\"\n\
         lr_scheduler_kwargs: {{\"min_lr_rate\": 0.1}}\n\
         optim: \"adamw_torch\"\n\
         report_to: \"none\"\n\
         {settings}{looks}",
        name = given.subject.name,
        model = given.subject.model,
        place = quoted(given.subject.place),
        longest = given.longest(),
        settings = given.settings(),
    )
}
