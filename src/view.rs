//! A run as its successor will look back at it.
use std::collections::{BTreeMap, BTreeSet};

use iterate::{Deployed, Fresh, RunView, TaskView};
use record::{Adapter, RoutingTable, Split, Target, Task, TaskId, Verdict};
use serde::{Deserialize, Serialize};
use store::Store;

use crate::context::Context;
use crate::run;

/// A run's view and where its log ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// What the successor compares itself with.
    pub view: RunView,
    /// Position of the last call stored when the run was made; what is stored at a higher position is new.
    pub calls: u64,
}

/// What is counted of a task's calls.
#[derive(Default)]
struct Count {
    calls: u64,
    train: BTreeSet<String>,
    lengths: iterate::Lengths,
}

/// The snapshot of a finished run over the whole store.
///
/// # Errors
/// When the store refuses.
pub fn of(context: &Context, store: &Store, run: &str) -> anyhow::Result<Snapshot> {
    let verdicts: Vec<Verdict> = run::own(store, run, "verdicts")?;
    let mut view = view(context, store, run, 0)?;
    for task in &mut view.tasks {
        task.verdict = verdicts.iter().find(|v| v.task == task.task).cloned();
    }
    Ok(Snapshot { view, calls: store.last_position()? })
}

/// The tasks of a run as the calls stored after position `since` show them. `fresh` and `verdict` are
/// left to whoever judges.
///
/// # Errors
/// When the store refuses.
pub fn view(context: &Context, store: &Store, run: &str, since: u64) -> anyhow::Result<RunView> {
    let tasks: Vec<Task> = run::get(store, Some(run), "tasks")?;
    let counts = count(context, store, since)?;
    let unassigned = tasks.iter().filter(|task| task.noise).filter_map(|task| counts.get(&task.task)).map(|count| count.calls).sum();
    let named = tasks.iter().filter(|task| !task.noise).filter_map(|task| Some((task, counts.get(&task.task)?)));
    let deployed = deployed(store, &counts)?;
    let tasks = named.map(|(task, count)| TaskView {
        task: task.task.clone(),
        name: task.name.clone(),
        kind: task.kind,
        parent: task.parent.clone(),
        calls: count.calls,
        train_conversations: count.train.len() as u64,
        lengths: count.lengths.clone(),
        verdict: None,
        deployed: deployed.get(&task.task).cloned(),
        fresh: Vec::<Fresh>::new(),
    });
    Ok(RunView { run: run.to_owned(), tasks: tasks.collect(), unassigned, sequences: BTreeMap::new() })
}

/// Calls and prompt lengths after `since`, train conversations over the whole store.
fn count(context: &Context, store: &Store, since: u64) -> anyhow::Result<BTreeMap<TaskId, Count>> {
    let mut counts: BTreeMap<TaskId, Count> = BTreeMap::new();
    for batch in store.clean_calls()? {
        for call in batch? {
            let Some(task) = store.task_of(&call.source_id)? else { continue };
            let count = counts.entry(task).or_default();
            if Split::of(&call.conversation_id, context.config.seed, context.config.split) == Split::Train {
                count.train.insert(call.conversation_id.clone());
            }
            if store.position_of(&call.source_id)?.is_some_and(|position| position > since) {
                count.calls += 1;
                count.lengths.add(call.request.messages().map(|message| message.text().len() as u64).sum());
            }
        }
    }
    Ok(counts)
}

/// The small models in service by the latest routing table.
fn deployed(store: &Store, counts: &BTreeMap<TaskId, Count>) -> anyhow::Result<BTreeMap<TaskId, Deployed>> {
    let Some((run, table)) = store.latest_document("routes")? else { return Ok(BTreeMap::new()) };
    let table: RoutingTable = serde_json::from_value(table)?;
    let adapters: Vec<Adapter> = run::own(store, &run, "adapters")?;
    let verdicts: Vec<Verdict> = run::own(store, &run, "verdicts")?;
    let mut deployed = BTreeMap::new();
    for route in &table.routes {
        let Target::Small { adapter: Some(folder), .. } = &route.target else { continue };
        let Some(adapter) = adapters.iter().find(|a| a.folder == *folder) else { continue };
        let candidate = verdicts.iter().find(|v| v.task == route.task).and_then(|v| v.candidate.clone());
        let Target::Large { model } = &route.fallback else { continue };
        let trained = counts.get(&adapter.task).map_or(0, |count| count.train.len() as u64);
        deployed.insert(
            route.task.clone(),
            Deployed {
                candidate: candidate.unwrap_or_else(|| adapter.model.clone()),
                train_conversations: trained,
                previous: Some(model.clone()),
            },
        );
    }
    Ok(deployed)
}
