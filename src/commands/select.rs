//! `select`: small models for each task, ranked, each rejection with its reason.
use std::process::ExitCode;

use record::{Candidate, Task};
use select::Catalogue;

use crate::cli::DryRun;
use crate::context::Context;
use crate::models::Base;
use crate::run;

pub fn command(context: &Context, args: DryRun) -> anyhow::Result<ExitCode> {
    let store = if args.dry_run { context.read()? } else { context.open()? };
    let tasks: Vec<Task> = run::get(&store, None, "tasks")?;
    let candidates = step(context, &tasks)?;
    if !args.dry_run {
        run::put(&store, &run::current(context, &store)?, "candidates", &candidates)?;
    }
    let ranked: Vec<_> = candidates.iter().filter(|candidate| candidate.rank.is_some()).collect();
    context.ui.rows("candidates", &ranked, &["task", "rank", "model", "at hand", "why"], |candidate| {
        let name = tasks.iter().find(|task| task.task == candidate.task).map_or_else(String::new, |task| task.name.clone());
        let rank = candidate.rank.map_or_else(String::new, |rank| rank.to_string());
        let hand = if candidate.path.is_some() { "yes" } else { "no" };
        vec![name, rank, candidate.model.clone(), hand.into(), candidate.reasons.first().cloned().unwrap_or_default()]
    })?;
    context.ui.status(&format!("{} rejected: `slm-migrate show candidates` says why", candidates.len() - ranked.len()));
    Ok(ExitCode::SUCCESS)
}

/// Ranks the catalogue and the models at hand for each task.
///
/// # Errors
/// When a model folder cannot be read or a setting is out of range.
pub fn step(context: &Context, tasks: &[Task]) -> anyhow::Result<Vec<Candidate>> {
    let mut catalogue = Catalogue::built_in();
    for base in Base::all(context)? {
        let place = base.place.as_ref().map_or_else(|| base.name.clone(), |place| place.to_string_lossy().into_owned());
        catalogue.add_local(&place, &base.config()?);
    }
    let candidates = context.config.select.run(tasks, &catalogue)?;
    let ranked = candidates.iter().filter(|candidate| candidate.rank.is_some()).count();
    let local = candidates.iter().filter(|candidate| candidate.rank.is_some() && candidate.path.is_some()).count();
    let rejected = candidates.len() - ranked;
    context.ui.status(&format!("select    {ranked} candidates for {} tasks ({local} at hand), {rejected} rejected", tasks.len()));
    Ok(candidates)
}
