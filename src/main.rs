//! `slm-migrate`: moves the tasks of an LLM agent to small language models, with proof.
//!
//! This file only starts and ends the process; `cli` says what can be asked, `commands` does it.
mod aside;
mod capture;
mod cli;
mod commands;
mod config;
mod context;
mod costs;
mod error;
mod flags;
mod left_out;
mod memory;
mod models;
mod parts;
mod pipeline;
mod run;
mod summary;
mod tasks;
mod teacher;
mod ui;
mod view;

use std::process::ExitCode;

use clap::Parser;

/// Logs become many small values, which this allocator hands out and takes back faster than the system's (docs/decisions).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => error::report(&error),
    }
}
