//! `detect`: what scrubbing would replace, as spans.
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::InputArgs;
use crate::context::Context;
use crate::error::hinted;

pub fn command(context: &Context, args: &InputArgs) -> anyhow::Result<ExitCode> {
    let scrubber = context.config.scrub.compile()?;
    for (number, line) in BufReader::new(open(&args.file)?).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let bad = |problem: String| {
            hinted(format!("line {}: {problem}", number + 1), "give one JSON object a line: `{id, text}` or a call record")
        };
        let row: Value = serde_json::from_str(&line).map_err(|error| bad(error.to_string()))?;
        let id = row.get("id").or_else(|| row.get("source_id")).cloned().unwrap_or(Value::Null);
        let document = match row.get("text").and_then(Value::as_str) {
            Some(text) => json!({"id": id, "spans": scrubber.detect(text)}),
            // A record is a JSON document: its keys are evidence, and the offsets are those of its line.
            None if row.get("request").is_some() => json!({"id": id, "spans": scrubber.detect(&line)}),
            None => return Err(bad("neither `text` nor `request`".into())),
        };
        context.ui.print(&(document.to_string() + "\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file, or standard input for `-`.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(path: &std::path::Path) -> anyhow::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(stdin()));
    }
    Ok(Box::new(File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?))
}
