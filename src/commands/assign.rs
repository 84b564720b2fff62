//! `assign`: where requests belong, from their prompts alone.
use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use cluster::Tasks;
use record::{Assigner, Call};
use serde_json::{Value, json};

use crate::cli::InputArgs;
use crate::commands::{cluster::embedder, detect::open};
use crate::context::Context;
use crate::error::hinted;
use crate::run;

pub fn command(context: &Context, args: &InputArgs) -> anyhow::Result<ExitCode> {
    let tasks: Tasks = run::get(&context.read()?, None, "clusters")?;
    let (scrubber, embedder) = (context.config.scrub.compile()?, embedder(context)?);
    let placer = tasks.with(embedder.as_ref());
    for (number, line) in BufReader::new(open(&args.file)?).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let call = request(&line, number + 1)?;
        let id = call.source_id.clone();
        for clean in scrubber.conversation(vec![call])?.calls {
            let found = placer.assign(clean.prompt());
            let row = json!({"id": id, "task": found.task, "distance": found.distance, "known": found.known});
            context.ui.print(&(row.to_string() + "\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A call without an answer, from a call record, `{id, request}` or a bare chat body.
fn request(line: &str, number: usize) -> anyhow::Result<Call> {
    let bad = |problem: String| {
        hinted(format!("line {number}: {problem}"), "give one JSON object a line: a chat body, `{id, request}` or a call record")
    };
    let row: Value = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
    let text = |key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
    let id = text("id").or_else(|| text("source_id")).unwrap_or_else(|| number.to_string());
    let request = row.get("request").unwrap_or(&row);
    if request.get("messages").is_none() {
        return Err(bad("no `messages`".into()));
    }
    let call = json!({"source_id": id, "conversation_id": id, "workload_id": row.get("workload_id"), "request": request, "response": {}});
    serde_json::from_value(call).map_err(|error| bad(error.to_string()))
}
