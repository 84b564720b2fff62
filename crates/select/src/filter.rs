//! The hard filters: what a model must satisfy to be tried on a task at all.
//!
//! A filter rejects on what is known. Where a fact is missing it says so and lets the model pass, except for the
//! licence of a catalogue model: nobody may assume that a use is allowed.
use record::{Task, TaskKind};

use crate::catalogue::{Allowed, Model};
use crate::size::show_size;
use crate::{Precision, Select, Use};

/// Added to the memory counted: activations, fragmentation, the runtime itself.
const OVERHEAD_PERCENT: u64 = 15;

/// What the filters found: remarks on a model that passed, or the filter that rejected it and why.
pub(crate) type Outcome = Result<Vec<String>, (&'static str, String)>;

/// All filters in the order of their cost to a person: the first that rejects is named.
pub(crate) fn check(select: &Select, task: &Task, model: &Model) -> Outcome {
    let mut remarks = Vec::new();
    for filter in [weights, licence, tools, context, memory] {
        remarks.extend(filter(select, task, model)?);
    }
    Ok(remarks)
}

fn weights(_: &Select, _: &Task, model: &Model) -> Outcome {
    match (&model.path, model.kind.as_str()) {
        (Some(_), _) => Ok(Vec::new()),
        (None, "research") => Err(("weights", "no public weights are known".to_owned())),
        (None, "base") => Ok(vec!["base model, not tuned to follow instructions".to_owned(), no_folder(model)]),
        (None, _) => Ok(vec![no_folder(model)]),
    }
}

fn no_folder(model: &Model) -> String {
    format!("no local folder: download {} and name it with `--model` to tune it", model.repository.as_deref().unwrap_or(&model.id))
}

fn licence(select: &Select, _: &Task, model: &Model) -> Outcome {
    let name = model.licence.spdx.as_deref().unwrap_or("unknown");
    match (select.purpose, model.licence.commercial) {
        (Use::Research, Allowed::Unknown) => Ok(vec!["licence unknown".to_owned()]),
        (Use::Research, _) | (Use::Commercial, Allowed::Yes) => Ok(vec![format!("licence {name}")]),
        (Use::Commercial, Allowed::Conditional) => Ok(vec![format!("licence {name}: commercial use under conditions, read them")]),
        (Use::Commercial, Allowed::No) => Err(("licence", format!("{name} does not allow commercial use"))),
        (Use::Commercial, Allowed::Unknown) if model.kind == "local" => Ok(vec!["licence unknown: yours to check".to_owned()]),
        (Use::Commercial, Allowed::Unknown) => Err(("licence", "no source states whether commercial use is allowed".to_owned())),
    }
}

fn tools(_: &Select, task: &Task, model: &Model) -> Outcome {
    if task.kind != TaskKind::ToolCall {
        return Ok(Vec::new());
    }
    match model.tools.as_ref().map(|tools| tools.value) {
        Some(true) => Ok(vec!["trained to call tools".to_owned()]),
        Some(false) => Err(("tools", "its maker says that it was not trained to call tools".to_owned())),
        None => Ok(vec!["tool training unknown".to_owned()]),
    }
}

/// Tokens of context that the task needs of a small model.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "token counts")]
pub(crate) fn needed_context(select: &Select, task: &Task) -> u64 {
    ((task.prompt_tokens[1] + task.answer_tokens[1]) as f64 * select.context_margin).ceil() as u64
}

fn context(select: &Select, task: &Task, model: &Model) -> Outcome {
    let needed = needed_context(select, task);
    match model.context.as_ref().map(|context| context.value) {
        Some(has) if has < needed => Err(("context", format!("{has} tokens of context, {needed} needed"))),
        Some(has) => Ok(vec![format!("context {has} of {needed} needed")]),
        None => Ok(vec![format!("context unknown, {needed} needed")]),
    }
}

/// Bytes needed on the device, and what could not be counted.
pub(crate) fn memory_bytes(select: &Select, task: &Task, model: &Model) -> Option<(u64, Vec<&'static str>)> {
    let parameters = model.parameters.as_ref()?.value;
    let weights = match select.precision {
        Precision::Bf16 => 2 * parameters,
        Precision::Q8 => parameters * 106 / 100,
        Precision::Q4 => parameters * 61 / 100,
    };
    let mut unknown = Vec::new();
    let cache = model.kv_bytes_per_token.map(|bytes| bytes * needed_context(select, task) * select.concurrency);
    let adapter = model.shape.and_then(|shape| shape.adapter_bytes(select.rank));
    if cache.is_none() {
        unknown.push("cache");
    }
    if adapter.is_none() {
        unknown.push("adapter");
    }
    let bytes = weights + cache.unwrap_or_default() + adapter.unwrap_or_default();
    Some((bytes + bytes * OVERHEAD_PERCENT / 100, unknown))
}

fn memory(select: &Select, task: &Task, model: &Model) -> Outcome {
    let Some((bytes, unknown)) = memory_bytes(select, task, model) else { return Ok(vec!["memory unknown".to_owned()]) };
    let device = show_size(select.device_memory);
    if bytes > select.device_memory {
        return Err(("memory", format!("needs {}, the device has {device}", show_size(bytes))));
    }
    let beside = if unknown.is_empty() { String::new() } else { format!(" (size of {} unknown)", unknown.join(" and ")) };
    Ok(vec![format!("memory {} of {device}{beside}", show_size(bytes))])
}
