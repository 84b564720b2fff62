//! `cluster`: tasks are fitted on the train split, then every call is placed by its prompt.
use std::collections::BTreeMap;
use std::process::ExitCode;

use cluster::{Cluster, Fitted, Tasks, UNASSIGNED};
use model::{BertEmbedder, Embedder, HashEmbedder};
use rayon::prelude::*;
use record::{Assigner as _, Fingerprint, Progress as _, Step as _, Task, TaskId, TaskKind, split};
use report::{money, number};
use serde::{Deserialize, Serialize};
use store::{Store, TaskStats};

use crate::cli::DryRun;
use crate::context::Context;
use crate::{costs, run};

/// What clustering leaves: the fitted value and the tasks with their counts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Clustered {
    /// What places a new call.
    pub clusters: Tasks,
    /// Tasks with counts over the whole log, costliest first.
    pub tasks: Vec<Task>,
}

pub fn command(context: &Context, args: DryRun) -> anyhow::Result<ExitCode> {
    let store = if args.dry_run { context.read()? } else { context.open()? };
    if args.dry_run {
        let tasks = fit(context, &store, None)?;
        return print(context, tasks.describe());
    }
    let run = run::current(context, &store)?;
    let clustered = step(context, &store)?;
    keep(&store, &run, &clustered)?;
    context.ui.rows("tasks", &clustered.tasks, &["task", "name", "calls", "conversations", "cost"], |task| {
        let (calls, conversations) = (number(task.calls), number(task.conversations));
        vec![task.task.to_string(), task.name.clone(), calls, conversations, money(task.cost_usd)]
    })?;
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, fitted: &[Fitted]) -> anyhow::Result<ExitCode> {
    context.ui.rows("tasks", fitted, &["task", "name"], |task| vec![task.task.to_string(), task.name.clone()])?;
    Ok(ExitCode::SUCCESS)
}

/// Keeps the documents of a run.
///
/// # Errors
/// When the store refuses.
pub fn keep(store: &Store, run: &str, clustered: &Clustered) -> anyhow::Result<()> {
    run::put(store, run, "clusters", &clustered.clusters)?;
    run::put(store, run, "tasks", &clustered.tasks)
}

/// Fits the tasks, places every call and counts. Tasks known from an earlier run keep id and name.
///
/// # Errors
/// When there is nothing clean to fit on, or the store refuses.
pub fn step(context: &Context, store: &Store) -> anyhow::Result<Clustered> {
    let known: Option<Tasks> = store.latest_document("clusters")?.map(|(_, value)| serde_json::from_value(value)).transpose()?;
    let clean = store.clean_fingerprint()?;
    let seed = Fingerprint::of_bytes(format!("{} {:?}", context.config.seed, context.config.split).as_bytes());
    let unit = Fingerprint::of(&context.config.cluster, &[&clean, &seed]);
    if let Some(value) = store.unit_value(&unit)? {
        return Ok(serde_json::from_value(value)?);
    }
    let clusters = fit(context, store, known.as_ref())?;
    let placed = place(context, store, &clusters)?;
    let tasks = describe(&clusters, &store.task_stats()?, &placed.costs);
    let clustered = Clustered { clusters, tasks };
    store.finish_unit(&unit, Cluster::NAME, "tasks", &serde_json::to_value(&clustered)?)?;
    let stray = clustered.tasks.iter().filter(|task| task.noise).map(|task| task.calls).sum::<u64>();
    let found = clustered.tasks.iter().filter(|task| !task.noise).count();
    context.ui.status(&format!("cluster   {found} tasks in {} calls, {} calls of no task", number(placed.calls), number(stray)));
    Ok(clustered)
}

/// The embedder of the configuration.
///
/// # Errors
/// When its folder cannot be loaded.
pub fn embedder(context: &Context) -> anyhow::Result<Box<dyn Embedder>> {
    Ok(match &context.config.embedder {
        Some(folder) => Box::new(BertEmbedder::load(folder, &model::device(&context.config.device.0)?)?),
        None => Box::new(HashEmbedder::default()),
    })
}

fn fit(context: &Context, store: &Store, known: Option<&Tasks>) -> anyhow::Result<Tasks> {
    let step = &context.config.cluster;
    let mut summary = step.summary();
    let batches = store.clean_calls()?;
    context.ui.begin("cluster", batches.remaining(), "calls");
    for batch in batches {
        let batch = batch?;
        let count = batch.len() as u64;
        summary.observe(&split(batch, context.config.seed, context.config.split).train);
        context.ui.advance(count);
    }
    context.ui.end();
    Ok(step.fit(&summary, embedder(context)?.as_ref(), known, &context.ui)?)
}

/// What placing every call counted.
#[derive(Default)]
struct Placed {
    calls: u64,
    costs: BTreeMap<TaskId, f64>,
}

/// Notes the task of every call, whatever its split, from its prompt alone.
fn place(context: &Context, store: &Store, clusters: &Tasks) -> anyhow::Result<Placed> {
    let (embedder, prices) = (embedder(context)?, costs::prices(context)?);
    let placer = clusters.with(embedder.as_ref());
    store.clear_tasks()?;
    let batches = store.clean_calls()?;
    let mut placed = Placed::default();
    context.ui.begin("assign", batches.remaining(), "calls");
    for batch in batches {
        let batch = batch?;
        let tasks: Vec<TaskId> = batch.par_iter().map(|call| Tasks::bucket(&placer.assign(call.prompt()))).collect();
        let rows = batch.iter().zip(&tasks).map(|(call, task)| (call.source_id.as_str(), Some(task)));
        placed.calls += store.assign_tasks(rows)?;
        for (call, task) in batch.iter().zip(tasks) {
            *placed.costs.entry(task).or_default() += costs::of_call(&prices, call).unwrap_or(0.0);
        }
        context.ui.advance(batch.len() as u64);
    }
    context.ui.end();
    Ok(placed)
}

/// The fitted tasks with their counts, costliest first; calls of no task come last.
fn describe(clusters: &Tasks, stats: &[TaskStats], costs: &BTreeMap<TaskId, f64>) -> Vec<Task> {
    let mut tasks: Vec<Task> = stats
        .iter()
        .filter_map(|stat| {
            let id = stat.task.clone()?;
            let fitted = clusters.find(&id);
            Some(Task {
                task: TaskId(id.clone()),
                name: fitted.map_or_else(|| "no task".to_owned(), |f| f.name.clone()),
                kind: fitted.map_or(TaskKind::Text, |f| f.kind),
                calls: stat.calls,
                conversations: stat.conversations,
                cost_usd: costs.get(&TaskId(id.clone())).copied().unwrap_or(0.0),
                stability: fitted.and_then(|f| f.stability),
                prompt_tokens: stat.prompt_tokens,
                answer_tokens: stat.answer_tokens,
                tools: fitted.map(|f| f.key.tools.clone()).unwrap_or_default(),
                parent: fitted.and_then(|f| f.parent.clone()),
                noise: id == UNASSIGNED,
            })
        })
        .collect();
    tasks.sort_by(|a, b| {
        a.noise.cmp(&b.noise).then(b.cost_usd.total_cmp(&a.cost_usd)).then(b.calls.cmp(&a.calls)).then(a.task.cmp(&b.task))
    });
    tasks
}
