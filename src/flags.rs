//! Flags that settle how a step works. Each is the configuration key of its name; `config` merges them.
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Which models may be chosen.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct SelectFlags {
    /// Memory of the device the small model will run on, such as `8GiB`
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_memory: Option<String>,
    /// What the model will be used for; licences that forbid it are rejected
    #[arg(long = "use", value_enum, value_name = "USE")]
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
}

/// What a model will be used for.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A product or a service.
    Commercial,
    /// Research alone.
    Research,
}

/// Models and prices on disk.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct LocalFlags {
    /// A small model: a folder in Hugging Face layout, a GGUF file, or `nano` for the built-in one; may be repeated
    #[arg(long = "model", value_name = "PATH")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Prices: own TOML or a LiteLLM price map
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<PathBuf>,
    /// Large models whose answers are the reference; default: for each task the one that succeeds most
    #[arg(long = "teacher", num_args = 1.., value_name = "MODEL")]
    #[serde(rename = "teachers", skip_serializing_if = "Vec::is_empty")]
    pub teachers: Vec<String>,
}

/// What of this machine may be used.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct MachineFlags {
    /// Memory that training may take, such as `8GiB`; less is slower, not different [default: four fifths of what is free]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<String>,
}

/// How an adapter is trained.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct FinetuneFlags {
    /// Time to train each task, turned into steps once, before training starts
    #[arg(long, value_name = "M")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_minutes: Option<f64>,
    /// Optimiser steps at most
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// LoRA rank
    #[arg(long, value_name = "R")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Peak learning rate [default: the published rule for the model's size]
    #[arg(long, value_name = "LR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Chooses the rate first, among 0.3, 1 and 3 times that one, by short runs judged on the validation part: three fifths more work
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sweep: bool,
    /// Adapter to start from (PEFT folder)
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<PathBuf>,
    /// What of its prompts a task's model is shown, in training, judging and serving: all, or all but what they have in common at their
    /// beginning (system prompt, tools) [default: keep]
    #[arg(long, value_parser = ["keep", "drop-shared"], value_name = "WHAT", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Whether calls share what they have in common, or each stands alone as in other trainers [default: tree]
    #[arg(long, value_parser = ["tree", "independent"], value_name = "HOW", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching: Option<String>,
    /// Precision of products on a matrix unit (Intel AMX): `bf16` trains up to twice as fast, less exactly; without such a unit all is
    /// f32 [default: f32]
    #[arg(long, value_parser = ["f32", "bf16"], value_name = "TYPE", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Takes examples in the order of the log
    #[arg(long = "no-shuffle", action = clap::ArgAction::SetTrue)]
    #[serde(rename = "shuffle", serialize_with = "negated", skip_serializing_if = "std::ops::Not::not")]
    pub no_shuffle: bool,
}

/// Rounds in which the teacher is asked again where the student is wrong.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct OnPolicyFlags {
    /// Rounds after the first training: the small model answers what it learnt from, the teacher's endpoint is asked where it is wrong,
    /// and it is trained again with these answers beside the logged ones
    #[arg(long = "on-policy", value_name = "ROUNDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u32>,
    /// OpenAI-compatible server of the teacher (base URL before `/chat/completions`); gets scrubbed prompts and may cost money
    #[arg(long = "teacher-endpoint", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Model name to ask the teacher's endpoint for
    #[arg(long = "teacher-endpoint-model", value_name = "NAME")]
    #[serde(rename = "model", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// `--no-shuffle` is the key `shuffle = false`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn negated<S: serde::Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(!flag)
}

/// How a model is judged.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct EvaluateFlags {
    /// Agreement that the lower bound must reach
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bar: Option<f64>,
}

/// How the proxy passes on and records.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct ServeFlags {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Base URL of the OpenAI- or Anthropic-compatible API that everything is sent on to
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Certificates (PEM) of authorities to trust beside those of the web, for an upstream of your own
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ca: Option<PathBuf>,
    /// Records and routes nothing; required, as there is no routing yet
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub record_only: bool,
    /// Does not record calls with this header (and value), such as chats of people; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_header: Vec<String>,
    /// Does not record calls whose path begins so; may be repeated
    #[arg(long, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_path: Vec<String>,
    /// Longest time that an answered call waits to be written; a crash loses what waits, never a request [default: 5]
    #[arg(long, value_name = "S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_seconds: Option<f64>,
    /// Calls after which they are written earlier [default: 256]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_calls: Option<usize>,
    /// How long running requests may take after SIGTERM or SIGINT; a second signal ends them [default: 30]
    #[arg(long, value_name = "S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<f64>,
    /// Larger bodies pass and are not recorded [default: 32MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<String>,
    /// Calls that may wait to be written; where the store is behind, further ones pass and are not recorded [default: 4096]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_calls: Option<usize>,
    /// Memory for the bodies of calls that run, wait or are being written; the same holds [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<String>,
}

/// Gates for CI.
#[derive(Clone, Debug, Default, Args)]
pub struct GateFlags {
    /// Exit code 100 if a gate fails, 3 if there is too little data
    #[arg(long)]
    pub gate: bool,
    /// Counts too little data as passed
    #[arg(long, requires = "gate")]
    pub allow_insufficient: bool,
    /// Writes the gates as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Appends a Markdown summary to a file
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}
