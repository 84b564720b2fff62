//! `export`: a task's dataset, its adapter, or the base model with the adapter merged in.
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use record::{Adapter, Call, Clean, Task};
use store::Store;

use crate::cli::{ExportArgs, Exported};
use crate::commands::gates::put;
use crate::context::Context;
use crate::error::hinted;
use crate::models::Base;
use crate::tasks::find;
use crate::{parts, run};

pub fn command(context: &Context, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let store = context.read()?;
    let tasks: Vec<Task> = run::get(&store, None, "tasks")?;
    let task = find(&tasks, &args.task)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make `{}`", args.out.display()))?;
    match args.what {
        Exported::Dataset => dataset(context, &store, task, &args.out)?,
        Exported::Adapter => adapter(&store, task, &args.out)?,
        Exported::Merged => merged(context, &store, task, &args.out)?,
    }
    context.ui.status(&format!("wrote `{}`", args.out.display()));
    Ok(ExitCode::SUCCESS)
}

/// One file a split. The held-out calls are exported too, for people to judge; whoever trains on them
/// has no test left.
fn dataset(context: &Context, store: &Store, task: &Task, folder: &Path) -> anyhow::Result<()> {
    let parts = parts::of_task(context, store, &task.task)?;
    let lines = |calls: &[Clean<Call>]| -> anyhow::Result<String> {
        let mut text = String::new();
        for call in calls {
            writeln!(text, "{}", serde_json::to_string(call)?)?;
        }
        Ok(text)
    };
    put(&folder.join("train.jsonl"), &lines(&parts.train)?, false)?;
    put(&folder.join("calibration.jsonl"), &lines(&parts.calibration)?, false)?;
    put(&folder.join("held.jsonl"), &lines(&parts.held)?, false)
}

fn latest(store: &Store, task: &Task) -> anyhow::Result<Adapter> {
    let adapters: Vec<Adapter> = run::get(store, None, "adapters")?;
    let found = adapters.into_iter().rfind(|adapter| adapter.task == task.task);
    found.ok_or_else(|| hinted(format!("`{}` has no adapter", task.name), "`slm-migrate finetune` trains one"))
}

fn adapter(store: &Store, task: &Task, folder: &Path) -> anyhow::Result<()> {
    let adapter = latest(store, task)?;
    if adapter.rank == 0 {
        return Err(hinted(format!("`{}` was tuned whole and has no adapter", task.name), "`slm-migrate export merged` writes the model"));
    }
    let from = store.artifact_folder(&adapter.folder)?;
    for entry in std::fs::read_dir(&from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}

fn merged(context: &Context, store: &Store, task: &Task, folder: &Path) -> anyhow::Result<()> {
    let adapter = latest(store, task)?;
    let base = Base::named(context, &adapter.model)?;
    let weights = base.merged(&store.artifact_folder(&adapter.folder)?)?;
    for (name, bytes) in base.files(&weights)? {
        put(&folder.join(&name), &bytes, false)?;
    }
    Ok(())
}
