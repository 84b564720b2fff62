//! The six steps on one page: each line calls one step and hands on what it made.
//!
//! Every step finds by fingerprint what of its work is finished, so a pipeline that was stopped goes on
//! where it was, and one that changed nothing does nothing.
use report::Report;
use store::Store;

use crate::commands::{cluster, evaluate, finetune, route, scrub, select};
use crate::context::Context;
use crate::{run, summary, view};

/// All steps after `collect`; gives the report.
///
/// # Errors
/// When a step fails; what it finished before stays finished.
pub fn run(context: &Context, store: &Store) -> anyhow::Result<Report> {
    scrub::step(context, store)?;
    let run = run::current(context, store)?;

    let clustered = cluster::step(context, store)?;
    cluster::keep(store, &run, &clustered)?;
    let tasks: Vec<_> = clustered.tasks.iter().filter(|task| !task.noise).cloned().collect();

    let candidates = select::step(context, &tasks)?;
    run::put(store, &run, "candidates", &candidates)?;

    let trained = finetune::step(context, store, &tasks, &candidates)?;
    summary::keep_trained(store, &run, &trained)?;

    let evaluated = evaluate::step(context, store, &tasks, &candidates, &trained)?;
    evaluate::keep(store, &run, &evaluated)?;

    let routes = route::step(context, store, &run)?;
    run::put(store, &run, "routes", &routes)?;
    run::put(store, &run, "view", &view::of(context, store, &run)?)?;

    let report = summary::report(context, store, &run)?;
    run::put(store, &run, "report", &report)?;
    Ok(report)
}
