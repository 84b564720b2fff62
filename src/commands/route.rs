//! `route`: the routing table and configuration files of model servers.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use record::{Adapter, Call, Clean, Parts, RoutingTable, Shared, Target, Task, TaskId, Verdict};
use route::{Export, Served};
use store::Store;

use crate::cli::{ExportKind, RouteArgs};
use crate::commands::gates::put;
use crate::context::Context;
use crate::models::Base;
use crate::{parts, run, teacher};

pub fn command(context: &Context, args: &RouteArgs) -> anyhow::Result<ExitCode> {
    let store = context.open()?;
    let run = run::current(context, &store)?;
    let table = step(context, &store, &run)?;
    run::put(&store, &run, "routes", &table)?;
    let Some(folder) = &args.out else {
        context.ui.rows("routes", &table.routes, &["task", "alias", "answered by", "else"], |route| {
            vec![route.task.to_string(), route.alias.clone(), words(&route.target), words(&route.fallback)]
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let root = std::path::absolute(store.artifact_root())?;
    let templates = templates(context, &table)?;
    for kind in &args.export {
        for (name, text) in context.config.route.export(&table, export(*kind), &root.to_string_lossy(), &templates)? {
            put(&folder.join(&name), &text, false)?;
            context.ui.status(&format!("wrote `{}`", folder.join(name).display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For each base model some of whose adapters are shown prompts without their head, its template with all of these heads.
fn templates(context: &Context, table: &RoutingTable) -> anyhow::Result<BTreeMap<String, String>> {
    let mut heads: BTreeMap<&str, Vec<(Option<&str>, &Shared)>> = BTreeMap::new();
    for line in &table.routes {
        // a model that was tuned whole has a template of its own in its folder
        if let Target::Small { model, rank: 1.., shared: Some(shared), .. } = &line.target {
            heads.entry(model).or_default().push((Some(&line.alias), shared));
        }
    }
    let template = |(model, heads): (&str, Vec<_>)| {
        let chat = Base::at(context, model)?.chat()?;
        Ok((model.to_owned(), model::trimming(chat.template().source(), &heads)))
    };
    heads.into_iter().map(template).collect()
}

const fn export(kind: ExportKind) -> Export {
    match kind {
        ExportKind::Table => Export::Table,
        ExportKind::Vllm => Export::Vllm,
        ExportKind::Litellm => Export::Litellm,
    }
}

fn words(target: &Target) -> String {
    match target {
        Target::Large { model } => model.clone(),
        Target::Small { adapter: Some(whole), rank: 0, .. } => whole.clone(),
        Target::Small { model, adapter: Some(adapter), .. } => format!("{model} + {adapter}"),
        Target::Small { model, adapter: None, .. } => model.clone(),
    }
}

/// The routing table of a run.
///
/// # Errors
/// When there are no tasks yet, or the store refuses.
pub fn step(context: &Context, store: &Store, run: &str) -> anyhow::Result<RoutingTable> {
    let tasks: Vec<Task> = run::get(store, Some(run), "tasks")?;
    let verdicts: Vec<Verdict> = run::get(store, Some(run), "verdicts")?;
    let adapters: Vec<Adapter> = run::get(store, Some(run), "adapters")?;
    let mut served: BTreeMap<TaskId, Served> = BTreeMap::new();
    for task in tasks.iter().filter(|task| !task.noise) {
        let verdict = verdicts.iter().find(|v| v.task == task.task);
        let named =
            |adapter: &&Adapter| verdict.and_then(|v| v.candidate.as_ref()).is_some_and(|name| name.contains(adapter.fingerprint.short()));
        let adapter = adapters.iter().filter(|a| a.task == task.task).find(named);
        let small = adapter.map(|adapter| small(context, store, adapter)).transpose()?;
        let calls = parts::of_task(context, store, &task.task)?;
        served.insert(task.task.clone(), Served { small, large: large(context, &calls) });
    }
    Ok(context.config.route.table(&tasks, &verdicts, &served))
}

/// The folder that a server will load: the built-in model is written to the artifacts for it.
fn small(context: &Context, store: &Store, adapter: &Adapter) -> anyhow::Result<Target> {
    let base = Base::named(context, &adapter.model)?;
    let folder = match (&base.place, base.built_in()) {
        (Some(folder), _) => std::path::absolute(folder)?,
        (None, files) => model_folder(store, &base.name, &files.unwrap_or_default())?,
    };
    let model = folder.to_string_lossy().into_owned();
    let shared = adapter.dropped.as_ref().map(|dropped| dropped.shared.clone());
    Ok(Target::Small { model, adapter: Some(adapter.folder.clone()), rank: adapter.rank, shared })
}

fn model_folder(store: &Store, name: &str, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<std::path::PathBuf> {
    let name = format!("models/{name}");
    let folder = store.artifact_folder(&name)?;
    let whole = |folder: &Path| files.iter().all(|(name, bytes)| std::fs::read(folder.join(name)).is_ok_and(|found| found == *bytes));
    if !whole(&folder) {
        store.write_artifact(&name, files)?;
    }
    Ok(std::path::absolute(folder)?)
}

/// The large model of a task: its teacher, else the one that answered most.
fn large(context: &Context, calls: &Parts) -> String {
    if let Some(teacher) = teacher::of(context, calls).into_iter().next() {
        return teacher;
    }
    let mut models: BTreeMap<&str, u64> = BTreeMap::new();
    let all = calls.train.iter().chain(calls.calibration.iter()).chain(calls.held.iter());
    for call in all.map(|call: &Clean<Call>| &**call) {
        *models.entry(call.model()).or_default() += 1;
    }
    models.into_iter().max_by_key(|(_, calls)| *calls).map(|(model, _)| model.to_owned()).unwrap_or_default()
}
