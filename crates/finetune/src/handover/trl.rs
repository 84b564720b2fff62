//! TRL's format: conversational prompt and completion with `completion_only_loss`, and a configuration of `trl.scripts.sft`.
//!
//! As in TRL 1.16, `trl/trainer/sft_trainer.py` (`_prepare_dataset`): a row is rendered and tokenized with and without its completion,
//! and what lies behind the common beginning is learnt. Knows no other trainer.
use model::{Chat, ChatTemplate};
use serde_json::json;

use super::{Given, RESULT, Row, lines, list, quoted};
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
        ("data/train.jsonl".to_owned(), lines(&given.train, line)),
    ]);
    if !given.validation.is_empty() {
        files.insert("data/validation.jsonl".to_owned(), lines(&given.validation, line));
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
    let (settings, plan) = (given.settings, &given.plan);
    let mut text = format!(
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
         lora_r: {rank}\n\
         lora_alpha: {alpha}\n\
         lora_dropout: 0.0\n\
         lora_target_modules: {targets}\n\
         learning_rate: {rate}\n\
         {length}\n\
         # times the accumulation, times the GPUs: {batch} answers a step\n\
         per_device_train_batch_size: 1\n\
         per_device_eval_batch_size: 1\n\
         gradient_accumulation_steps: {batch}\n\
         warmup_steps: {warmup}\n\
         lr_scheduler_type: \"cosine_with_min_lr\"\n\
         lr_scheduler_kwargs: {{\"min_lr_rate\": 0.1}}\n\
         optim: \"adamw_torch\"\n\
         adam_beta1: 0.9\n\
         adam_beta2: 0.999\n\
         weight_decay: {decay}\n\
         max_grad_norm: {clip}\n\
         seed: {seed}\n\
         logging_steps: 1\n\
         report_to: \"none\"\n\
         output_dir: {RESULT:?}\n",
        name = given.subject.name,
        model = given.subject.model,
        place = quoted(given.subject.place),
        longest = given.longest(),
        rank = settings.rank,
        alpha = settings.alpha,
        targets = list(&given.targets),
        rate = plan.learning_rate,
        length = given.length("num_train_epochs", "max_steps"),
        batch = settings.batch_size,
        warmup = given.warmup(),
        decay = settings.weight_decay,
        clip = settings.clip,
        seed = settings.seed,
    );
    text += &looks(given);
    text
}

/// When the trainer looks at the validation part, and that it keeps the best weights.
fn looks(given: &Given<'_>) -> String {
    if given.validation.is_empty() {
        return "eval_strategy: \"no\"\nsave_strategy: \"no\"\n".to_owned();
    }
    let every = given.plan.validate_every;
    format!(
        "dataset_test_split: \"validation\"\n\
         eval_strategy: \"steps\"\neval_steps: {every}\nsave_strategy: \"steps\"\nsave_steps: {every}\nsave_total_limit: 2\n\
         load_best_model_at_end: true\nmetric_for_best_model: \"eval_loss\"\ngreater_is_better: false\n"
    )
}
