//! How many train calls of a task nearly repeat a held-out prompt, at several similarities, and how long it takes to tell. Call records
//! of one task come on stdin.
//!
//! `zstd -dc fixtures/demo.jsonl.zst | grep 'mood of a customer' | cargo run --release -p evaluate --example near`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a chore for a terminal, over calls that its caller vouches for")]
use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use evaluate::HeldPrompts;
use rayon::prelude::*;
use record::{Call, Clean, Shares, Withheld as _, split};

fn main() -> Result<(), Box<dyn Error>> {
    let lines = std::io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let calls = lines.par_iter().map(|line| serde_json::from_str::<Call>(line)).collect::<Result<Vec<_>, _>>()?;
    let parts = split(calls.into_iter().map(Clean::vouch), 0, Shares::default());
    for similarity in [0.7, 0.8, 0.9, 1.0] {
        let start = Instant::now();
        let held = HeldPrompts::of(&parts, similarity);
        let made = start.elapsed().as_secs_f64();
        let near: Vec<_> = parts.train.par_iter().filter(|call| held.near(call.prompt())).collect();
        let (train, others) = (parts.train.len(), parts.held.len() + parts.calibration.len());
        let seconds = start.elapsed().as_secs_f64();
        println!("{similarity}: {} of {train} train calls against {others}, {made:.2} s to make, {seconds:.2} s in all", near.len());
        if std::env::args().len() > 1 {
            near.iter().take(3).for_each(|call| println!("  {}: {:.300}", call.source_id, call.request.last_user()));
        }
    }
    Ok(())
}
