//! `show`: prints what the store knows.
use std::process::ExitCode;

use evaluate::Divergent;
use record::{Candidate, Score, Task, Verdict};
use report::{money, number};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{ShowArgs, Shown};
use crate::context::Context;
use crate::run;
use crate::tasks::find;

pub fn command(context: &Context, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    match args.what {
        Shown::Tasks if args.members => members(context, args)?,
        Shown::Tasks => tasks(context, args)?,
        Shown::Candidates => candidates(context, args)?,
        Shown::Scores => scores(context, args)?,
        Shown::Answers => answers(context, args)?,
        Shown::Rejects => rejects(context, args)?,
        Shown::Plan => plan(context)?,
        Shown::Runs => runs(context)?,
        Shown::Trail => trail(context)?,
        Shown::Config => context.ui.print(&toml::to_string_pretty(&context.config)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn limited<T>(rows: impl IntoIterator<Item = T>, args: &ShowArgs) -> Vec<T> {
    rows.into_iter().take(args.limit.unwrap_or(usize::MAX)).collect()
}

fn short(text: &str, longest: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= longest { text } else { text.chars().take(longest - 1).chain(['…']).collect() }
}

fn tasks(context: &Context, args: &ShowArgs) -> anyhow::Result<()> {
    let tasks: Vec<Task> = run::get(&context.read()?, None, "tasks")?;
    let columns = ["task", "name", "kind", "calls", "conversations", "cost", "prompt p50/p99", "stability"];
    context.ui.rows("tasks", &limited(tasks, args), &columns, |task| {
        let kind = serde_json::to_value(task.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        let stability = task.stability.map_or_else(|| "–".into(), |s| format!("{s:.2}"));
        let prompt = format!("{}/{}", task.prompt_tokens[0], task.prompt_tokens[1]);
        let (calls, conversations) = (number(task.calls), number(task.conversations));
        vec![task.task.to_string(), task.name.clone(), kind, calls, conversations, money(task.cost_usd), prompt, stability]
    })
}

fn members(context: &Context, args: &ShowArgs) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Member {
        source_id: String,
        task: Option<String>,
    }
    let store = context.read()?;
    let mut rows = Vec::new();
    for batch in store.clean_calls()? {
        for call in batch? {
            let task = store.task_of(&call.source_id)?.map(|task| task.0);
            rows.push(Member { source_id: call.source_id.clone(), task });
        }
        if args.limit.is_some_and(|limit| rows.len() >= limit) {
            break;
        }
    }
    context.ui.rows("members", &limited(rows, args), &["source_id", "task"], |m| {
        vec![m.source_id.clone(), m.task.clone().unwrap_or_else(|| "–".into())]
    })
}

fn candidates(context: &Context, args: &ShowArgs) -> anyhow::Result<()> {
    let store = context.read()?;
    let tasks: Vec<Task> = run::get(&store, None, "tasks")?;
    let wanted = args.task.as_ref().map(|name| find(&tasks, name)).transpose()?;
    let all: Vec<Candidate> = run::get(&store, None, "candidates")?;
    let rows = limited(all.into_iter().filter(|c| wanted.is_none_or(|task| task.task == c.task)), args);
    context.ui.rows("candidates", &rows, &["task", "model", "rank", "score", "why"], |candidate| {
        let figure = |value: Option<String>| value.unwrap_or_else(|| "–".into());
        let why =
            candidate.rejected_by.as_ref().map_or_else(String::new, |by| format!("rejected ({by}): ")) + &candidate.reasons.join("; ");
        let (rank, score) = (candidate.rank.map(|r| r.to_string()), candidate.score.map(|s| format!("{s:.2}")));
        vec![name(&tasks, &candidate.task), candidate.model.clone(), figure(rank), figure(score), short(&why, 90)]
    })
}

fn name(tasks: &[Task], id: &record::TaskId) -> String {
    tasks.iter().find(|task| task.task == *id).map_or_else(|| id.to_string(), |task| task.name.clone())
}

/// A score with the decision that rests on it.
#[derive(Serialize)]
struct Scored {
    #[serde(flatten)]
    score: Score,
    verdict: Option<record::Decision>,
    needed: Option<u64>,
    reason: Option<String>,
}

fn scores(context: &Context, args: &ShowArgs) -> anyhow::Result<()> {
    let store = context.read()?;
    let tasks: Vec<Task> = run::get(&store, None, "tasks")?;
    let wanted = args.task.as_ref().map(|name| find(&tasks, name)).transpose()?;
    let scores: Vec<Score> = run::get(&store, None, "scores")?;
    let verdicts: Vec<Verdict> = run::get(&store, None, "verdicts")?;
    let rows = scores.into_iter().filter(|score| wanted.is_none_or(|task| task.task == score.task)).map(|score| {
        let verdict = verdicts.iter().find(|v| v.task == score.task && v.candidate.as_ref() == Some(&score.candidate));
        let (decision, needed, reason) = (verdict.map(|v| v.decision), verdict.and_then(|v| v.needed), verdict.map(|v| v.reason.clone()));
        Scored { score, verdict: decision, needed, reason }
    });
    let columns = ["task", "candidate", "n", "conversations", "score", "lower", "upper", "verdict", "needed"];
    context.ui.rows("scores", &limited(rows, args), &columns, |row| {
        let figure = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| format!("{v:.3}"));
        let verdict = row.verdict.map_or_else(|| "–".into(), |v| v.to_string());
        let needed = row.needed.map_or_else(|| "–".into(), number);
        let score = &row.score;
        let counts = [number(score.n), number(score.conversations)];
        let figures = [figure(score.score), figure(score.lower), figure(score.upper)];
        [vec![name(&tasks, &score.task), score.candidate.clone()], counts.to_vec(), figures.to_vec(), vec![verdict, needed]].concat()
    })
}

fn answers(context: &Context, args: &ShowArgs) -> anyhow::Result<()> {
    #[derive(Serialize, serde::Deserialize)]
    struct OfTask {
        task: record::TaskId,
        rows: Vec<Divergent>,
    }
    let store = context.read()?;
    let tasks: Vec<Task> = run::get(&store, None, "tasks")?;
    let wanted = args.task.as_ref().map(|name| find(&tasks, name)).transpose()?;
    let all: Vec<OfTask> = run::get(&store, None, "answers")?;
    let rows = all.into_iter().filter(|of| wanted.is_none_or(|task| task.task == of.task)).flat_map(|of| of.rows);
    let rows = limited(rows.filter(|row| !args.divergent || row.fault.is_some()), args);
    context.ui.rows("answers", &rows, &["source_id", "asked", "large model", "small model", "why"], |row| {
        let fault = row.fault.as_ref().and_then(|fault| serde_json::to_value(fault).ok()).and_then(|v| v.as_str().map(str::to_owned));
        let why = [fault.unwrap_or_default(), row.detail.clone()].join(" ");
        vec![row.source_id.clone(), short(&row.asked, 40), short(&row.expected, 48), short(&row.got, 48), short(&why, 32)]
    })
}

fn rejects(context: &Context, args: &ShowArgs) -> anyhow::Result<()> {
    let store = context.read()?;
    let mut rows = Vec::new();
    for reject in store.rejects()? {
        rows.push(reject?);
    }
    let columns = ["file", "line", "field", "problem", "cure"];
    context.ui.rows("rejects", &limited(rows, args), &columns, |r| {
        vec![r.file.clone(), r.line.to_string(), r.field.clone(), short(&r.problem, 60), short(&r.cure, 60)]
    })
}

fn plan(context: &Context) -> anyhow::Result<()> {
    let plan: Value = run::get(&context.read()?, None, "plan")?;
    context.ui.print(&(serde_json::to_string_pretty(&plan)? + "\n"))?;
    Ok(())
}

fn runs(context: &Context) -> anyhow::Result<()> {
    let runs = context.read()?.runs()?;
    context.ui.rows("runs", &runs, &["run", "parent", "begun", "version"], |run| {
        vec![run.id.clone(), run.parent.clone().unwrap_or_else(|| "–".into()), run.started.to_string(), run.version.clone()]
    })
}

fn trail(context: &Context) -> anyhow::Result<()> {
    let entries = context.read()?.trail()?;
    let rows: Vec<_> = entries.into_iter().map(|(time, entry)| (time.to_string(), entry)).collect();
    context
        .ui
        .rows("trail", &rows, &["time", "entry"], |(time, entry)| vec![time.clone(), serde_json::to_string(entry).unwrap_or_default()])
}
