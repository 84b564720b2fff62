//! Chores of the repository, by name: what makes the fixtures.
mod base_model;
mod demo_log;

use clap::{Parser, Subcommand};

/// Chores of the repository.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Makes the nano base model: corpus, tokenizer, pre-training, export.
    BaseModel(base_model::BaseModel),
    /// Makes the synthetic logs of the demo.
    DemoLog(demo_log::DemoLog),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::BaseModel(chore) => chore.run(),
        Chore::DemoLog(chore) => chore.run(),
    }
}
