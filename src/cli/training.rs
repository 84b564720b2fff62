//! Arguments of what trains, of what measures it, and of what gives its results away.
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{DryRun, FinetuneFlags, LocalFlags, MachineFlags, OnPolicyFlags};

/// Arguments of `finetune`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// Only this task (id or name); may be repeated
    #[arg(long, value_name = "TASK")]
    pub task: Vec<String>,
    /// How to train
    #[command(flatten)]
    pub flags: FinetuneFlags,
    /// Whether the teacher is asked again
    #[command(flatten)]
    pub on_policy: OnPolicyFlags,
    /// Models and prices on disk
    #[command(flatten)]
    pub local: LocalFlags,
    /// What of this machine may be used
    #[command(flatten)]
    pub machine: MachineFlags,
    /// Seed of the whole run
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Trains nothing here: writes the task's data and configuration for this trainer, for more machines than this one
    #[arg(long, value_enum, value_name = "TRAINER", requires = "out")]
    pub export: Option<Trainer>,
    /// Folder to write what `--export` makes to
    #[arg(long, value_name = "DIR", requires = "export")]
    pub out: Option<PathBuf>,
    /// Whether to write
    #[command(flatten)]
    pub dry: DryRun,
}

/// A trainer of other people's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Trainer {
    /// Hugging Face TRL (SFT)
    Trl,
    /// Axolotl
    Axolotl,
    /// torchtune (Llama and models that compute alike)
    Torchtune,
}

/// Arguments of `adapter`.
#[derive(Debug, Args)]
pub struct AdapterArgs {
    /// What to do with it
    #[command(subcommand)]
    pub what: AdapterCommand,
}

/// What can be done with an adapter.
#[derive(Debug, Subcommand)]
pub enum AdapterCommand {
    /// Takes an adapter that another trainer made of `finetune --export`, as if it had been trained here
    Import(ImportArgs),
}

/// Arguments of `adapter import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// PEFT folder; our `handover.json` lies in it or in one of the two folders around it
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The task (id or name)
    #[arg(long, value_name = "TASK")]
    pub task: String,
    /// The base model it was trained on: its name, its folder in Hugging Face layout, or `nano`
    #[arg(long, value_name = "MODEL")]
    pub model: String,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The step
    #[arg(value_enum)]
    pub step: BenchStep,
    /// Only this task (id or name); may be repeated
    #[arg(long, value_name = "TASK")]
    pub task: Vec<String>,
    /// Steps to measure, after one that is not counted
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// How to train
    #[command(flatten)]
    pub flags: FinetuneFlags,
    /// Models and prices on disk; of a folder without weights the shape is measured with random ones
    #[command(flatten)]
    pub local: LocalFlags,
    /// What of this machine may be used
    #[command(flatten)]
    pub machine: MachineFlags,
}

/// A step that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchStep {
    /// Optimiser steps on calls of the store
    Finetune,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to write
    #[arg(value_enum)]
    pub what: Exported,
    /// The task (id or name)
    #[arg(long, value_name = "TASK")]
    pub task: String,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How the weights of `gguf` are kept [default: f16]
    #[arg(long, value_enum, value_name = "QUANT")]
    pub quant: Option<Quantisation>,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Exported {
    /// Clean call records, one file a split
    Dataset,
    /// The adapter as a PEFT folder
    Adapter,
    /// The base model with the adapter merged into it, as a Hugging Face folder
    Merged,
    /// The adapter as a GGUF file, for llama.cpp with the base model as another
    GgufLora,
    /// The base model with the adapter merged into it as one GGUF file, for llama.cpp and Ollama
    Gguf,
}

/// How the weights of a GGUF file are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Quantisation {
    /// 32 bits a weight: nothing is lost
    F32,
    /// 16 bits
    #[default]
    F16,
    /// 8.5 bits
    #[value(name = "q8_0")]
    Q8_0,
    /// 4.5 bits
    #[value(name = "q4_0")]
    Q4_0,
    /// About 4.8 bits, more where it matters most
    #[value(name = "q4_k_m")]
    Q4KM,
}
