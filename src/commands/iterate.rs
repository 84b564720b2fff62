//! `iterate`: new logs against the run before, a plan, and carrying one out.
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use iterate::{Change, Fresh, Gate, Outcome, Plan};
use record::{Adapter, Candidate, Decision, Fingerprint, Score, Task, TaskId, Verdict};
use report::GateCase;
use store::Store;

use crate::cli::{GateFlags, IterateArgs};
use crate::commands::evaluate::{Judge, keep};
use crate::commands::finetune::Trained;
use crate::commands::{cluster, collect, finetune, gates, report as pages, route, scrub, select};
use crate::context::Context;
use crate::error::hinted;
use crate::view::{self, Snapshot};
use crate::{commands, run, summary};

pub fn command(context: &Context, args: &IterateArgs) -> anyhow::Result<ExitCode> {
    let mut store = context.open()?;
    if let Some(path) = &args.apply {
        return apply(context, &store, path);
    }
    let (parent_run, parent) = parent(&store)?;
    if !args.new.is_empty() {
        collect::step(context, &mut store, &args.new, None)?;
    }
    scrub::step(context, &store)?;
    let run = run::current(context, &store)?;
    if run == parent_run {
        context.ui.status("nothing is new since the last run");
    }
    let clustered = cluster::step(context, &store)?;
    cluster::keep(&store, &run, &clustered)?;
    let plan = plan(context, &store, &run, &parent)?;
    run::put(&store, &run, "plan", &plan)?;
    let path = args.plan.clone().unwrap_or_else(|| store.artifact_root().join("plan.json"));
    gates::put(&path, &(serde_json::to_string_pretty(&plan)? + "\n"), false)?;
    context.ui.value(&plan, || words(&plan))?;
    context.ui.status(&format!("plan: {} (carry it out with `slm-migrate iterate --apply {0}`)", path.display()));
    finish(context, &args.gates, &plan)
}

/// The last finished run and what it left for its successor.
fn parent(store: &Store) -> anyhow::Result<(String, Snapshot)> {
    let found = store.latest_document("view")?;
    let (run, value) = found.ok_or_else(|| hinted("there is no finished run to compare with", "`slm-migrate run LOGS` makes the first"))?;
    Ok((run, serde_json::from_value(value)?))
}

fn plan(context: &Context, store: &Store, run: &str, parent: &Snapshot) -> anyhow::Result<Plan> {
    let mut child = view::view(context, store, run, parent.calls)?;
    let mut before = parent.view.clone();
    if let Some((_, plan)) = store.latest_document("plan")? {
        before.sequences = serde_json::from_value::<Plan>(plan)?.sequences;
    }
    let tasks: Vec<Task> = run::get(store, Some(run), "tasks")?;
    let adapters: Vec<Adapter> = run::get(store, None, "adapters")?;
    for task in child.tasks.iter_mut().filter(|task| task.deployed.is_some()) {
        let described = tasks.iter().find(|t| t.task == task.task);
        let candidate = task.deployed.as_ref().map(|d| d.candidate.clone()).unwrap_or_default();
        let adapter = adapters.iter().find(|a| a.task == task.task && candidate.contains(a.fingerprint.short()));
        if let (Some(described), Some(adapter)) = (described, adapter) {
            task.fresh.push(fresh(context, store, described, adapter, &candidate, parent.calls)?);
        }
        task.verdict = before.tasks.iter().find(|t| t.task == task.task).and_then(|t| t.verdict.clone());
    }
    Ok(context.config.iterate.plan(&before, &child))
}

/// A deployed model on held-out conversations that no earlier run has seen.
fn fresh(context: &Context, store: &Store, task: &Task, adapter: &Adapter, candidate: &str, since: u64) -> anyhow::Result<Fresh> {
    let judge = Judge::new(context, store, task)?;
    let (successes, n) = judge.fresh(adapter, since)?;
    let hashes = iterate::Hashes {
        model: adapter.base.0.clone(),
        adapter: adapter.fingerprint.0.clone(),
        prompt: task.task.0.clone(),
        catalogue: Fingerprint::of(&context.config.select, &[]).0,
    };
    Ok(Fresh { candidate: candidate.to_owned(), hashes, evidence: iterate::Evidence { n, successes, ..iterate::Evidence::default() } })
}

fn words(plan: &Plan) -> String {
    let rows: Vec<_> =
        plan.actions.iter().map(|action| vec![action.name.clone(), action.change.to_string(), action.reason.clone()]).collect();
    let notes = plan.notes.iter().map(|note| format!("{note}\n")).collect::<String>();
    crate::ui::table(&["task", "plan", "why"], &rows) + &notes
}

fn finish(context: &Context, flags: &GateFlags, plan: &Plan) -> anyhow::Result<ExitCode> {
    if let Some(path) = &flags.junit {
        gates::put(path, &report::junit(&plan.gates.iter().map(case).collect::<Vec<_>>()), false)?;
    }
    if let Some(path) = &flags.summary {
        let mut text = String::from("# What changed since the last run\n\n| task | plan | why |\n| --- | --- | --- |\n");
        for action in &plan.actions {
            text += &format!("| {} | {} | {} |\n", action.name, action.change, action.reason.replace('|', "\\|"));
        }
        gates::put(path, &text, true)?;
    }
    if !flags.gate {
        return Ok(ExitCode::SUCCESS);
    }
    let undecided = plan.outcome == Outcome::TooLittleData && !flags.allow_insufficient;
    let code = gates::code(plan.outcome == Outcome::Fail, undecided);
    context.ui.status(&format!("gate: exit {code}"));
    Ok(ExitCode::from(code))
}

fn case(gate: &Gate) -> GateCase {
    GateCase {
        task: gate.name.clone(),
        gate: gate.gate.clone(),
        passed: match gate.outcome {
            Outcome::Pass => Some(true),
            Outcome::Fail => Some(false),
            Outcome::TooLittleData => None,
        },
        reason: gate.reason.clone(),
        figures: [("bound", gate.bound), ("bar", Some(gate.bar))]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
        n: gate.n,
    }
}

/// Carries a plan out: trains and judges what it says, takes back what it says, and leaves the rest as
/// it was.
fn apply(context: &Context, store: &Store, path: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the plan `{}`", path.display()))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| format!("`{}` is no plan of `iterate`", path.display()))?;
    let run = run::current(context, store)?;
    if run != plan.run {
        return Err(hinted(
            format!("the plan is of run {}, the store is at {run}", plan.run),
            "make a new plan with `slm-migrate iterate`",
        ));
    }
    let tasks: Vec<Task> = run::get(store, Some(&run), "tasks")?;
    let due = |task: &TaskId| {
        plan.actions
            .iter()
            .find(|a| a.task == *task)
            .is_some_and(|a| matches!(a.change, Change::Retrain | Change::Reselect | Change::NewTask))
    };
    let redo: Vec<Task> = tasks.iter().filter(|task| !task.noise && due(&task.task)).cloned().collect();
    carry_over(store, &run, &plan.parent, &redo)?;
    let all: Vec<Task> = tasks.iter().filter(|task| !task.noise).cloned().collect();
    let candidates: Vec<Candidate> = select::step(context, &all)?;
    run::put(store, &run, "candidates", &candidates)?;
    let trained = finetune::step(context, store, &redo, &candidates)?;
    summary::keep_trained(store, &run, &trained)?;
    let evaluated = commands::evaluate::step(context, store, &redo, &candidates, &trained)?;
    keep(store, &run, &evaluated)?;
    roll_back(store, &run, &plan)?;
    let routes = route::step(context, store, &run)?;
    run::put(store, &run, "routes", &routes)?;
    run::put(store, &run, "view", &view::of(context, store, &run)?)?;
    let report = summary::report(context, store, &run)?;
    run::put(store, &run, "report", &report)?;
    let page = pages::write(store, &report)?;
    context.ui.value(&report, || crate::ui::table(&report::Report::COLUMNS, &report.rows()))?;
    context.ui.status(&format!("report: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}

/// What the parent found out about tasks that are not done again stays true.
fn carry_over(store: &Store, run: &str, parent: &str, redo: &[Task]) -> anyhow::Result<()> {
    let stays = |task: &TaskId| redo.iter().all(|again| again.task != *task);
    let mut scores: Vec<Score> = run::own(store, parent, "scores")?;
    scores.retain(|score| stays(&score.task));
    run::put(store, run, "scores", &scores)?;
    let mut verdicts: Vec<Verdict> = run::own(store, parent, "verdicts")?;
    verdicts.retain(|verdict| stays(&verdict.task));
    run::put(store, run, "verdicts", &verdicts)?;
    let mut trained: Vec<Trained> = run::own(store, parent, "trained")?;
    trained.retain(|one| stays(&one.adapter.task));
    summary::keep_trained(store, run, &trained)
}

/// A task that the plan takes back is kept by the large model, whatever was decided before.
fn roll_back(store: &Store, run: &str, plan: &Plan) -> anyhow::Result<()> {
    let mut verdicts: Vec<Verdict> = run::own(store, run, "verdicts")?;
    for action in plan.actions.iter().filter(|action| action.change == Change::RollBack) {
        for verdict in verdicts.iter_mut().filter(|verdict| verdict.task == action.task) {
            verdict.decision = Decision::Keep;
            verdict.reason.clone_from(&action.reason);
            (verdict.small_share, verdict.threshold, verdict.cost_after_usd) = (0.0, None, verdict.cost_before_usd);
        }
    }
    run::put(store, run, "verdicts", &verdicts)
}
