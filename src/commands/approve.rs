//! `approve`: who accepted a test set or a promotion. Nothing is promoted by itself.
use std::process::ExitCode;

use record::Time;
use serde::{Deserialize, Serialize};

use crate::cli::{ApproveArgs, Approved};
use crate::context::{Context, now};
use crate::run;
use crate::tasks::find;

/// One acceptance.
#[derive(Serialize, Deserialize)]
struct Approval {
    task: record::TaskId,
    what: String,
    by: String,
    remark: String,
    at: Time,
}

pub fn command(context: &Context, args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let store = context.open()?;
    let tasks: Vec<record::Task> = run::get(&store, None, "tasks")?;
    let task = find(&tasks, &args.task)?.clone();
    let latest = store.latest_document("approvals")?;
    let run = match &latest {
        Some((run, _)) => run.clone(),
        None => run::current(context, &store)?,
    };
    let mut approvals: Vec<Approval> = latest.map(|(_, value)| serde_json::from_value(value)).transpose()?.unwrap_or_default();
    let what = match args.what {
        Approved::TestSet => "test-set",
        Approved::Promotion => "promotion",
    };
    approvals.push(Approval { task: task.task, what: what.into(), by: args.by.clone(), remark: args.remark.clone(), at: now() });
    run::put(&store, &run, "approvals", &approvals)?;
    context.ui.status(&format!("noted: {} accepts the {what} of `{}`", args.by, task.name));
    Ok(ExitCode::SUCCESS)
}
