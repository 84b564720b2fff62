//! Recorded bodies of several vendors under `../shared`, which nothing was written for. Skips aloud without them.
#![expect(clippy::print_stderr, reason = "a test says what it measured and what it skips")]
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use collect::Collect;
use serde_json::Value;

use crate::{Memory, read_as};

#[test]
fn no_recorded_body_is_lost_or_misread() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/wire");
    let Ok(files) = std::fs::read_dir(&folder) else { return eprintln!("SKIPPED: {} is not here", folder.display()) };
    for path in files.map(|file| file.expect("the folder is read").path()) {
        let mut text = String::new();
        let mut decoder = zstd::Decoder::new(std::fs::File::open(&path).expect("the file opens")).expect("it is zstd");
        decoder.read_to_string(&mut text).expect("it is text");
        let (memory, counts) = read_as(&Collect::default(), text.as_bytes());
        eprintln!("{}: {} calls, {} rejected", path.display(), counts.calls, counts.rejected);
        say(&memory);
        assert_eq!(memory.calls.len() + memory.rejects.len(), text.lines().count(), "a row is one call or one reject");
        let answers: BTreeMap<_, _> = memory.calls.iter().map(|call| (call.source_id.as_str(), call.response.text())).collect();
        for row in text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row")) {
            let Some(answer) = answers.get(row["source_id"].as_str().expect("a name")) else { continue };
            assert!(!answer.contains(":message-type") && !answer.starts_with("data:") && !answer.starts_with("event:"), "{answer}");
            if let Some(said) = row["response"].as_str().filter(|text| text.contains("data:")).and_then(deltas) {
                assert_eq!(*answer, said, "{}", row["source_id"]);
            }
        }
    }
}

/// The texts of a stream's pieces, joined; none where there is none.
fn deltas(stream: &str) -> Option<String> {
    let events = stream.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok());
    let text = |event: Value| {
        let delta = match event["type"].as_str() {
            Some("response.output_text.delta") => event["delta"].clone(),
            Some("content_block_delta") => event["delta"]["text"].clone(),
            _ => {
                let first = event["choices"].as_array()?.iter().find(|choice| choice["index"] == 0)?;
                first["delta"]["content"].clone()
            }
        };
        delta.as_str().map(ToOwned::to_owned)
    };
    let texts: Vec<String> = events.filter_map(text).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

/// Why rows were rejected, and where each reason stands first.
fn say(memory: &Memory) {
    let mut reasons: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for reject in &memory.rejects {
        let reason = reject.problem.split(": ").next().unwrap_or_default();
        reasons.entry(format!("{}: {reason}", reject.field)).or_insert((0, reject.line)).0 += 1;
    }
    reasons.iter().for_each(|(reason, (count, line))| eprintln!("  {count} × {reason} (line {line})"));
}
