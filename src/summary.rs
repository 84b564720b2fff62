//! The report of a run, put together from the documents its steps left.
use record::{Adapter, Candidate, Decision, Score, Task, Verdict};
use report::{Cost, Log, Point, Report, Scrubbed, Stage, TaskReport, number};
use store::Store;

use crate::commands::finetune::Trained;
use crate::context::Context;
use crate::left_out::LeftOut;
use crate::{costs, run};

/// Puts the report together. Steps that have not been done yet leave their part empty.
///
/// # Errors
/// When the store refuses.
pub fn report(context: &Context, store: &Store, run: &str) -> anyhow::Result<Report> {
    let tasks: Vec<Task> = run::get(store, Some(run), "tasks")?;
    let verdicts: Vec<Verdict> = run::own(store, run, "verdicts")?;
    let scores: Vec<Score> = run::own(store, run, "scores")?;
    let candidates: Vec<Candidate> = run::own(store, run, "candidates")?;
    let trained: Vec<Trained> = run::own(store, run, "trained")?;
    let reports: Vec<_> = tasks
        .iter()
        .filter(|task| !task.noise)
        .map(|task| {
            let verdict = verdicts.iter().find(|v| v.task == task.task).cloned();
            let of_task = trained.iter().filter(|t| t.adapter.task == task.task);
            let judged = |t: &&Trained| {
                verdict.as_ref().and_then(|v| v.candidate.as_ref()).is_some_and(|name| name.contains(t.adapter.fingerprint.short()))
            };
            let best = of_task.clone().find(judged).or_else(|| of_task.clone().next());
            TaskReport {
                task: task.clone(),
                teacher: best.map(|t| t.teachers.join(", ")).filter(|names| !names.is_empty()),
                verdict,
                scores: scores.iter().filter(|s| s.task == task.task).cloned().collect(),
                candidates: candidates.iter().filter(|c| c.task == task.task).cloned().collect(),
                adapter: best.map(|t| t.adapter.clone()),
                curve: best.map(|t| curve(&t.metrics)).unwrap_or_default(),
            }
        })
        .collect();
    let scrubbed: Vec<Scrubbed> = run::own(store, run, "scrub")?;
    Ok(Report {
        schema_version: crate::ui::SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").into(),
        seed: context.config.seed,
        log: log(store)?,
        funnel: funnel(store, &tasks, &reports, &scrubbed)?,
        scrubbed,
        cost: cost(context, store, &reports)?,
        notes: notes(&tasks, &trained),
        tasks: reports,
    })
}

/// At most some 200 points, so that the page stays small.
fn curve(rows: &[finetune::Row]) -> Vec<Point> {
    let every = rows.len().div_ceil(200).max(1);
    let kept = rows.iter().enumerate().filter(|(at, row)| at % every == 0 || row.validation_loss.is_some());
    kept.map(|(_, row)| Point { step: row.step, train: Some(row.loss), validation: row.validation_loss }).collect()
}

fn log(store: &Store) -> anyhow::Result<Log> {
    let counts = store.counts()?;
    let overview = store.overview()?;
    Ok(Log {
        calls: counts.calls,
        conversations: counts.conversations,
        models: overview.models,
        first: overview.first,
        last: overview.last,
    })
}

fn funnel(store: &Store, tasks: &[Task], reports: &[TaskReport], scrubbed: &[Scrubbed]) -> anyhow::Result<Vec<Stage>> {
    let counts = store.counts()?;
    let stage = |name: &str, calls: u64, note: String| Stage { name: name.into(), calls, note };
    let sum = |tasks: &mut dyn Iterator<Item = &Task>| tasks.map(|task| task.calls).sum::<u64>();
    let judged = |wanted: &[Decision]| sum(&mut reports.iter().filter(|r| wanted.contains(&r.decision())).map(|r| &r.task));
    let stray = sum(&mut tasks.iter().filter(|task| task.noise));
    let places: u64 = scrubbed.iter().map(|row| row.count).sum();
    Ok(vec![
        stage("collected", counts.calls, format!("{} rows rejected", number(counts.rejects))),
        stage("scrubbed", counts.clean, format!("{} places replaced", number(places))),
        stage(
            "of a task",
            sum(&mut tasks.iter().filter(|task| !task.noise)),
            format!("{} of no task stay with the large model", number(stray)),
        ),
        stage("of a task with a tuned model", sum(&mut reports.iter().filter(|r| r.adapter.is_some()).map(|r| &r.task)), String::new()),
        stage("may move", judged(&[Decision::Replace, Decision::Route]), "verdict replace or route".into()),
    ])
}

fn cost(context: &Context, store: &Store, reports: &[TaskReport]) -> anyhow::Result<Cost> {
    let verdicts = || reports.iter().map(|report| report.verdict.as_ref());
    let sum = |pick: fn(&Verdict) -> Option<f64>| verdicts().map(|v| v.and_then(pick)).sum::<Option<f64>>();
    let prices = costs::words(context, &store.overview()?.models)?;
    Ok(Cost { before_usd: sum(|v| v.cost_before_usd), after_usd: sum(|v| v.cost_after_usd), prices })
}

fn notes(tasks: &[Task], trained: &[Trained]) -> Vec<String> {
    let mut notes = Vec::new();
    for one in trained {
        let name = tasks.iter().find(|t| t.task == one.adapter.task).map_or_else(|| one.adapter.task.to_string(), |t| t.name.clone());
        if let Some(dropped) = &one.adapter.dropped {
            let [whole, left] = dropped.prompt_tokens;
            notes.push(format!(
                "{name}: the small model is shown prompts without what {:.1} % of them share at their beginning, {left:.1} tokens a call of {whole:.1}; its server has to drop it too.",
                100.0 * dropped.share
            ));
        }
        notes.extend(LeftOut::of(&one.adapter).words().iter().map(|words| format!("{name}: {words}.")));
    }
    notes
}

/// The adapters of a run, in the order they were trained.
///
/// # Errors
/// When the store refuses.
pub fn keep_trained(store: &Store, run: &str, trained: &[Trained]) -> anyhow::Result<()> {
    let mut all: Vec<Trained> = run::own(store, run, "trained")?;
    all.retain(|old| trained.iter().all(|new| new.adapter.task != old.adapter.task));
    let new = serde_json::to_value(trained)?;
    all.extend(serde_json::from_value::<Vec<Trained>>(new)?);
    run::put(store, run, "trained", &all)?;
    let adapters: Vec<&Adapter> = all.iter().map(|t| &t.adapter).collect();
    run::put(store, run, "adapters", &adapters)
}
