//! `status`: which steps are done, and what comes next.
use std::process::ExitCode;

use record::{Fingerprint, Verdict};
use serde::Serialize;
use serde_json::Value;
use store::Counts;

use crate::context::Context;

#[derive(Serialize)]
struct Line {
    step: &'static str,
    done: bool,
    what: String,
}

pub fn command(context: &Context) -> anyhow::Result<ExitCode> {
    let store = context.read()?;
    let counts = store.counts()?;
    let pending = store.pending(&Fingerprint::of(&context.config.scrub, &[]))?;
    let mut lines = vec![
        Line { step: "collect", done: counts.calls > 0, what: collected(&counts) },
        Line { step: "scrub", done: counts.calls > 0 && pending == 0, what: format!("{} clean, {pending} to do", counts.clean) },
    ];
    let length = |kind| -> anyhow::Result<Option<usize>> {
        let document = store.latest_document(kind)?;
        Ok(document.and_then(|(_, value)| value.as_array().map(Vec::len)))
    };
    for (step, kind, noun) in
        [("cluster", "tasks", "tasks"), ("select", "candidates", "models considered"), ("finetune", "adapters", "adapters")]
    {
        let count = length(kind)?;
        lines.push(Line { step, done: count.is_some(), what: count.map_or_else(|| "–".into(), |count| format!("{count} {noun}")) });
    }
    let verdicts: Option<Vec<Verdict>> = store.latest_document("verdicts")?.map(|(_, value)| serde_json::from_value(value)).transpose()?;
    let replaced = verdicts.as_ref().map(|all| format!("{} verdicts: {}", all.len(), tally(all)));
    lines.push(Line { step: "evaluate", done: replaced.is_some(), what: replaced.unwrap_or_else(|| "–".into()) });
    let routed = store.latest_document("routes")?.is_some_and(|(_, value)| value != Value::Null);
    lines.push(Line { step: "route", done: routed, what: if routed { "routing table".into() } else { "–".into() } });
    context.ui.rows("steps", &lines, &["step", "done", "what"], |line| {
        vec![line.step.into(), if line.done { "yes" } else { "no" }.into(), line.what.clone()]
    })?;
    let runs = store.runs()?;
    if let Some(last) = runs.last() {
        let parent = last.parent.as_deref().map_or_else(String::new, |parent| format!(", parent {parent}"));
        context.ui.status(&format!("run {}{parent}, begun {}", last.id, last.started));
    }
    if let Some(next) = lines.iter().find(|line| !line.done) {
        context.ui.status(&format!("next: `slm-migrate {}`", next.step));
    }
    Ok(ExitCode::SUCCESS)
}

fn collected(counts: &Counts) -> String {
    let mut text = format!("{} calls, {} rejects", counts.calls, counts.rejects);
    if counts.without_raw > 0 {
        text += &format!(", {} without raw text", counts.without_raw);
    }
    if counts.forgotten > 0 {
        text += &format!(", {} kept out as forgotten", counts.forgotten);
    }
    text
}

/// `3 replace, 1 keep`.
pub fn tally(verdicts: &[Verdict]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for verdict in verdicts {
        *counts.entry(verdict.decision).or_insert(0) += 1;
    }
    counts.iter().map(|(decision, count)| format!("{count} {decision}")).collect::<Vec<_>>().join(", ")
}
