//! The synthetic log of the demo: one support agent of an online shop, seven tasks, planted personal data, a teacher who slips.
//!
//! Deterministic from a seed. Knows nothing of the base model's corpus and shares no word list with it.
mod ask;
mod grammar;
mod log;
mod plan;
mod planted;
mod ticket;
mod words;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use log::generate;

/// Writes the demo logs.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoLog {
    /// Where the log goes (zstd-compressed call records, one a line).
    #[arg(long, default_value = "fixtures/demo.jsonl.zst")]
    out: PathBuf,
    /// Write the log of the next night: a changed prompt, a drifted task, a new one.
    #[arg(long)]
    next: bool,
    /// Also write what was planted (`{conversation_id, class, value}`; class `keep` has to stay).
    #[arg(long)]
    planted: Option<PathBuf>,
    /// Seed of everything in it.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

impl DemoLog {
    /// Generates and writes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(&self) -> Result<()> {
        let log = generate(self.seed, self.next);
        write(&self.out, &log.calls)?;
        self.planted.as_ref().map_or(Ok(()), |path| write(path, &log.planted))
    }
}

fn write<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let mut out = zstd::Encoder::new(file, 19)?;
    for row in rows {
        serde_json::to_writer(&mut out, row)?;
        out.write_all(b"\n")?;
    }
    out.finish()?.sync_all()?;
    Ok(())
}
