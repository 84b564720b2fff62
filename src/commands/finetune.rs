//! `finetune`: an adapter for each task and each ranked model at hand.
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use finetune::{Batching, CheckpointSink, Examples, Finetune, Origin, Plan, SinkError};
use model::Weights;
use model::train::TrainModel;
use record::{Adapter, Candidate, Fingerprint, Parts, Step as _, Task};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Store;

use crate::cli::FinetuneArgs;
use crate::context::Context;
use crate::models::Base;
use crate::tasks::choose;
use crate::{memory, parts, run, summary, teacher};

/// What is kept of a trained task besides the adapter folder.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trained {
    /// The manifest.
    pub adapter: Adapter,
    /// The large models whose answers were learnt; empty where all were.
    pub teachers: Vec<String>,
    /// Every step: `metrics.jsonl`.
    pub metrics: Vec<finetune::Row>,
}

pub fn command(context: &Context, args: &FinetuneArgs) -> anyhow::Result<ExitCode> {
    let store = context.open()?;
    let run = run::current(context, &store)?;
    let tasks: Vec<Task> = run::get(&store, Some(&run), "tasks")?;
    let candidates: Vec<Candidate> = run::get(&store, Some(&run), "candidates")?;
    let chosen: Vec<Task> = choose(&tasks, &args.task)?.into_iter().cloned().collect();
    if args.dry.dry_run {
        return dry_run(context, &store, &chosen, &candidates);
    }
    let trained = step(context, &store, &chosen, &candidates)?;
    summary::keep_trained(&store, &run, &trained)?;
    let adapters: Vec<_> = trained.into_iter().map(|t| t.adapter).collect();
    context.ui.rows("adapters", &adapters, &["task", "model", "steps", "examples", "loss", "folder"], |adapter| {
        let loss = adapter.validation_loss.unwrap_or(adapter.train_loss);
        let task = chosen.iter().find(|t| t.task == adapter.task).map_or_else(String::new, |t| t.name.clone());
        vec![
            task,
            adapter.model.clone(),
            adapter.steps.to_string(),
            adapter.examples.to_string(),
            format!("{loss:.4}"),
            adapter.folder.clone(),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Trains every ranked candidate with a local folder, each a unit of its own.
///
/// # Errors
/// When a model cannot be loaded or training fails; units finished before stay finished.
pub fn step(context: &Context, store: &Store, tasks: &[Task], candidates: &[Candidate]) -> anyhow::Result<Vec<Trained>> {
    let mut trained = Vec::new();
    for task in tasks {
        for base in bases(context, task, candidates)? {
            let name = format!("`{}` on `{}`", task.name, base.name);
            if let Some(one) = train(context, store, task, &base).with_context(|| format!("cannot train {name}"))? {
                context.ui.status(&format!("finetune  {name}: {}", told(&one.adapter)));
                trained.push(one);
            }
        }
    }
    Ok(trained)
}

fn told(adapter: &Adapter) -> String {
    let right =
        adapter.validation_right.map_or_else(String::new, |right| format!(", {:.0} % of the validation answers right", 100.0 * right));
    format!("{} examples, best at step {}{right}", adapter.examples, adapter.best_step)
}

/// The models at hand that were ranked for a task, best first.
///
/// # Errors
/// When a folder does not exist any more.
pub fn bases(context: &Context, task: &Task, candidates: &[Candidate]) -> anyhow::Result<Vec<Base>> {
    let mut ranked: Vec<_> = candidates.iter().filter(|c| c.task == task.task && c.rank.is_some() && c.path.is_some()).collect();
    ranked.sort_by_key(|candidate| candidate.rank);
    ranked.iter().map(|candidate| Base::at(context, candidate.path.as_deref().unwrap_or_default())).collect()
}

/// Settings for one task: its teacher, where none was named.
pub fn settings(context: &Context, parts: &Parts) -> Finetune {
    Finetune { teacher: teacher::of(context, parts), ..context.config.finetune.clone() }
}

fn train(context: &Context, store: &Store, task: &Task, base: &Base) -> anyhow::Result<Option<Trained>> {
    let parts = parts::of_task(context, store, &task.task)?;
    let settings = settings(context, &parts);
    let config = base.config()?;
    let Some(examples) = examples(context, "finetune", &settings, &parts, task, base)? else { return Ok(None) };
    let weights = base.weights()?;
    let origin = weights.fingerprint()?;
    let unit = Fingerprint::of(&settings, &[&origin, &examples.fingerprint, &Fingerprint::of_bytes(task.task.0.as_bytes())]);
    if let Some(value) = store.unit_value(&unit)? {
        return Ok(Some(serde_json::from_value(value)?));
    }
    let learner = learner(context, &settings, base, weights)?;
    if let Some(folder) = &settings.init_adapter {
        let path = std::path::Path::new(folder).join(finetune::ADAPTER_WEIGHTS);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        finetune::load_adapter(&learner, &bytes)?;
    }
    let mut sink = Checkpoints { store, unit: &unit };
    let plan = plan(&settings, &learner, &examples, &config, &mut sink)?;
    let outcome = settings.train(&learner, &examples, &plan, &mut sink, &context.ui)?;
    let folder = format!("adapters/{}", unit.short());
    let mut files = match settings.mode {
        finetune::Mode::Lora => finetune::adapter(&learner, &base.name)?,
        finetune::Mode::Full => base.files(&Weights { tensors: learner.merged()? })?,
    };
    let at = Origin { task: &task.task, model: &base.name, folder: &folder, base: &origin };
    let adapter = settings.manifest(at, &examples, &plan, &outcome);
    files.insert("manifest.json".into(), serde_json::to_vec_pretty(&adapter)?);
    files.insert("metrics.jsonl".into(), outcome.metrics().into_bytes());
    store.write_artifact(&folder, &files)?;
    let trained = Trained { adapter, teachers: settings.teacher.clone(), metrics: outcome.rows };
    store.finish_unit(&unit, Finetune::NAME, &task.name, &serde_json::to_value(&trained)?)?;
    Ok(Some(trained))
}

/// What a task's train split teaches a model; none, and `step` says why, where no call of it can be learnt from.
pub fn examples(
    context: &Context,
    step: &str,
    settings: &Finetune,
    parts: &Parts,
    task: &Task,
    base: &Base,
) -> anyhow::Result<Option<Examples>> {
    match settings.examples(&parts.train, &base.chat()?, &base.config()?) {
        Ok(examples) => Ok(Some(examples)),
        Err(error @ finetune::Error::NoExamples { .. }) => {
            context.ui.status(&format!("{step:<9} `{}` on `{}`: skipped, {error}", task.name, base.name));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The model that learns, on its device.
pub fn learner(context: &Context, settings: &Finetune, base: &Base, weights: Weights) -> anyhow::Result<TrainModel> {
    let model = TrainModel::new(&base.config()?, weights.to_device(&base.device)?, settings.trainable(), settings.seed)?;
    Ok(model.sharing(settings.batching == Batching::Tree).within(memory::limit(context)?))
}

/// The plan the run began with, else a new one; minutes are turned into steps here, once.
fn plan(
    settings: &Finetune,
    learner: &TrainModel,
    examples: &Examples,
    config: &model::Config,
    sink: &mut Checkpoints<'_>,
) -> anyhow::Result<Plan> {
    if let Some(plan) = Plan::recorded(sink)? {
        return Ok(plan);
    }
    if settings.train_minutes.is_none() {
        return Ok(settings.plan(examples, config, None)?);
    }
    let start = Instant::now();
    let rate = |used| finetune::throughput(learner, examples, used, settings, &mut || start.elapsed().as_secs_f64());
    let first = settings.plan(examples, config, Some(rate(examples.train.len())?))?;
    Ok(settings.plan(examples, config, Some(rate(first.examples)?))?)
}

/// Checkpoints of one unit, in the store.
struct Checkpoints<'a> {
    store: &'a Store,
    unit: &'a Fingerprint,
}

impl CheckpointSink for Checkpoints<'_> {
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        Ok(self.store.save_checkpoint(self.unit, name, bytes)?)
    }

    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, SinkError> {
        Ok(self.store.load_checkpoint(self.unit, name)?)
    }
}

fn dry_run(context: &Context, store: &Store, tasks: &[Task], candidates: &[Candidate]) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for task in tasks {
        for base in bases(context, task, candidates)? {
            let parts = parts::of_task(context, store, &task.task)?;
            let settings = settings(context, &parts);
            let examples = settings.examples(&parts.train, &base.chat()?, &base.config()?)?;
            let tokens: usize = examples.train.iter().map(|e| e.sequence.tokens.len()).sum();
            rows.push(serde_json::json!({
                "task": task.name, "model": base.name, "teacher": settings.teacher.join(", "), "examples": examples.train.len(), "tokens": tokens,
                "validation": examples.validation.len(), "left_out": examples.left_out,
            }));
        }
    }
    let cell = |row: &Value, key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
    let columns = ["task", "model", "teacher", "examples", "tokens", "validation"];
    context.ui.rows("training", &rows, &columns, |row| columns.iter().map(|column| cell(row, column)).collect())?;
    Ok(ExitCode::SUCCESS)
}
