//! A configuration for the LiteLLM proxy (`litellm --config litellm.yaml`).
//!
//! LiteLLM falls back on errors only, never on a bad answer, so a task whose verdict is `route` (the
//! small model answers where it is sure) cannot be expressed; it is left with the large model and the
//! file says so. A request that a small model's server refuses because it does not begin with the constant prompt is an error, so the
//! large model answers it.
use std::collections::BTreeSet;

use record::{RoutingTable, Shared, Target};

use serde_json::json;

use crate::{Route, quoted};

/// Text of the configuration.
pub fn config(route: &Route, table: &RoutingTable) -> String {
    let mut text = String::from("# litellm --config litellm.yaml\nmodel_list:\n");
    let mut fallbacks = Vec::new();
    let dropping = table.routes.iter().filter_map(|line| served(&line.target)?.1.then_some(served(&line.target)?.0));
    let dropping: BTreeSet<&str> = dropping.collect();
    for line in &table.routes {
        let large = match &line.fallback {
            Target::Large { model } | Target::Small { model, .. } => format!("{}/{model}", route.large_provider),
        };
        let key = format!("os.environ/{}", route.large_key_variable);
        let small = match &line.target {
            Target::Small { model, adapter, .. } if line.threshold.is_none() => {
                Some(if adapter.is_some() { line.alias.clone() } else { model.clone() })
            }
            Target::Small { .. } => {
                text += &format!("  # {}: answered by the small model only where it is sure, which LiteLLM cannot decide\n", line.alias);
                None
            }
            Target::Large { .. } => None,
        };
        if let Some(small) = small {
            let backup = format!("{}-large", line.alias);
            entry(&mut text, &line.alias, &format!("hosted_vllm/{small}"), &[("api_base", &route.small_api_base)]);
            if let Some((_, drops)) = served(&line.target).filter(|(server, _)| dropping.contains(server)) {
                // a name that is no task drops nothing: other models of the same server keep their prompts
                let body = json!({"chat_template_kwargs": {Shared::TASK: if drops { line.alias.as_str() } else { "" }}});
                text += &format!("      extra_body: {body}\n");
            }
            entry(&mut text, &backup, &large, &[("api_key", &key)]);
            fallbacks.push(format!("{{{}: [{}]}}", quoted(&line.alias), quoted(&backup)));
        } else {
            entry(&mut text, &line.alias, &large, &[("api_key", &key)]);
        }
    }
    text += "router_settings:\n  routing_strategy: simple-shuffle\n  enable_pre_call_checks: true\n";
    text += &format!("  fallbacks: [{0}]\n  context_window_fallbacks: [{0}]\n", fallbacks.join(", "));
    text += "litellm_settings:\n  num_retries: 2\n  request_timeout: 30\n";
    text
}

/// What tells the servers of small models apart (the model they load), and whether prompts of this target are shown without their head.
fn served(target: &Target) -> Option<(&str, bool)> {
    match target {
        Target::Small { adapter: Some(whole), rank: 0, shared, .. } => Some((whole, shared.is_some())),
        Target::Small { model, shared, .. } => Some((model, shared.is_some())),
        Target::Large { .. } => None,
    }
}

fn entry(text: &mut String, name: &str, model: &str, parameters: &[(&str, &str)]) {
    *text += &format!("  - model_name: {}\n    litellm_params:\n      model: {}\n", quoted(name), quoted(model));
    for (key, value) in parameters {
        *text += &format!("      {key}: {}\n", quoted(value));
    }
}
