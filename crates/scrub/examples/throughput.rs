//! How fast one core scrubs a log: `cargo run --release -p scrub --example throughput -- ../shared/data/logs/airline-agent.jsonl.zst`.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

use record::Call;
use scrub::Scrub;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a log of call records (.jsonl.zst)")?;
    let mut decoder = zstd::Decoder::new(std::fs::File::open(path)?)?;
    decoder.window_log_max(27)?;
    let (mut bytes, mut conversations) = (0, BTreeMap::<String, Vec<Call>>::new());
    for line in BufReader::new(decoder).lines() {
        let line = line?;
        bytes += line.len();
        let call: Call = serde_json::from_str(&line)?;
        conversations.entry(call.conversation_id.clone()).or_default().push(call);
    }
    let scrubber = Scrub::default().compile()?;
    let (mut counts, mut leaks, mut calls) = (BTreeMap::new(), BTreeMap::new(), 0);
    let start = Instant::now();
    for conversation in conversations.into_values() {
        let done = scrubber.conversation(conversation)?;
        calls += done.calls.len();
        for (what, count) in done.counts {
            *counts.entry(what).or_insert(0) += count;
        }
        for leak in done.residual {
            *leaks.entry((leak.class, leak.form)).or_insert(0) += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{calls} calls, {bytes} bytes in {seconds:.2} s: {:.1} MB/s", bytes as f64 / 1e6 / seconds)?;
    for ((class, method), count) in counts {
        writeln!(out, "{class} by {method}: {count}")?;
    }
    writeln!(out, "left: {leaks:?}")?;
    Ok(())
}
