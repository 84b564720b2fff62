//! Configurations for `vllm serve --config`: one file for each base model, its adapters as LoRA modules, and one for each
//! model that was tuned whole.
use std::collections::BTreeMap;

use record::{RoutingTable, Shared, Target};

use crate::{Error, Route, quoted};

/// Ranks that vLLM accepts for `max-lora-rank`.
const RANKS: [usize; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];

struct Module {
    alias: String,
    path: String,
    rank: usize,
}

/// One file for each base model that serves a task.
pub fn files(
    route: &Route,
    table: &RoutingTable,
    folder: &str,
    templates: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, Error> {
    let mut bases: BTreeMap<&str, Vec<Module>> = BTreeMap::new();
    let mut whole = Vec::new();
    for line in &table.routes {
        match &line.target {
            Target::Small { adapter: Some(model), rank: 0, .. } => {
                let file = format!("vllm-{}.yaml", line.alias);
                let served = format!("served-model-name: {}\n", quoted(&line.alias));
                whole.push((file.clone(), text(route, &file, &format!("{folder}/{model}"), &[]) + &served));
            }
            Target::Small { model, adapter, rank, .. } => {
                let modules = bases.entry(model).or_default();
                if let Some(adapter) = adapter {
                    modules.push(Module { alias: line.alias.clone(), path: format!("{folder}/{adapter}"), rank: *rank });
                }
            }
            Target::Large { .. } => {}
        }
    }
    if bases.is_empty() && whole.is_empty() {
        return Err(Error::NothingSmall("vLLM"));
    }
    let mut files = Vec::new();
    for (model, modules) in &bases {
        let file = format!("{}.yaml", name(model));
        let mut config = text(route, &file, model, modules);
        if let Some(template) = templates.get(*model) {
            let beside = format!("{}.jinja", name(model));
            config += &dropping(table, model, &beside);
            files.push((beside, template.clone()));
        }
        files.push((file, config));
    }
    Ok(files.into_iter().chain(whole).collect())
}

fn name(model: &str) -> String {
    let last = model.rsplit('/').next().unwrap_or(model);
    format!("vllm-{last}")
}

/// The template that drops the constant head of prompts, and what the requests have to say to it.
fn dropping(table: &RoutingTable, model: &str, template: &str) -> String {
    let of = |line: &&record::Route| matches!(&line.target, Target::Small { model: base, rank, shared: Some(_), .. } if base == model && *rank > 0);
    let aliases: Vec<_> = table.routes.iter().filter(of).map(|line| line.alias.as_str()).collect();
    format!(
        "# {} answer prompts without their constant beginning: send whole requests, this template drops it. With\n\
         # \"chat_template_kwargs\": {{{}: MODEL}} in its body a request that does not begin with it is refused (litellm.yaml does that, and the\n\
         # large model answers); without, it is answered as it is, which was not judged.\n\
         chat-template: {}\n",
        aliases.join(", "),
        quoted(Shared::TASK),
        quoted(template),
    )
}

fn text(route: &Route, file: &str, model: &str, modules: &[Module]) -> String {
    let mut text = format!("# vllm serve --config {file}\nmodel: {}\n", quoted(model));
    if let Some(length) = route.max_model_len {
        text += &format!("max-model-len: {length}\n");
    }
    let widest = modules.iter().map(|module| module.rank).max().unwrap_or(0);
    if widest > 0 {
        let rank = RANKS.into_iter().find(|rank| *rank >= widest).unwrap_or(widest);
        text += &format!("enable-lora: true\nmax-loras: {}\nmax-lora-rank: {rank}\nlora-modules:\n", modules.len());
        for module in modules {
            let entry = serde_json::json!({"name": module.alias, "path": module.path, "base_model_name": model});
            text += &format!("  - {}\n", quoted(&entry.to_string()));
        }
    }
    text += "enable-auto-tool-choice: true\ntool-call-parser: hermes\n";
    text
}
