//! `finetune`: an adapter for each task and each ranked model at hand.
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use finetune::{Batching, CheckpointSink, Examples, Finetune, InMemory, Origin, Plan, PromptMode, SinkError, Sweep, Trial};
use model::Weights;
use model::train::{Memory, TrainModel};
use record::{Adapter, Candidate, Fingerprint, Part, Parts, Step as _, Task, TooLong, Train, Unseen};
use serde::{Deserialize, Serialize};
use store::Store;

use crate::cli::FinetuneArgs;
use crate::commands::handover;
use crate::commands::on_policy::{self, Round};
use crate::context::Context;
use crate::error::hinted;
use crate::left_out::LeftOut;
use crate::models::{Base, MANIFEST};
use crate::tasks::choose;
use crate::{memory, parts, run, summary, teacher};

/// What is kept of a trained task besides the adapter folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trained {
    /// The manifest.
    pub adapter: Adapter,
    /// The large models whose answers were learnt; empty where all were.
    pub teachers: Vec<String>,
    /// Every step: `metrics.jsonl`.
    pub metrics: Vec<finetune::Row>,
    /// The settings that another trainer was given; none for what was trained here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Finetune>,
    /// What on-policy rounds came to; empty where there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_policy: Vec<Round>,
    /// The learning rates that were tried; none where none was to be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
}

pub fn command(context: &Context, args: &FinetuneArgs) -> anyhow::Result<ExitCode> {
    let store = context.open()?;
    let run = run::current(context, &store)?;
    let tasks: Vec<Task> = run::get(&store, Some(&run), "tasks")?;
    let candidates: Vec<Candidate> = run::get(&store, Some(&run), "candidates")?;
    let chosen: Vec<Task> = choose(&tasks, &args.task)?.into_iter().cloned().collect();
    if let (Some(trainer), Some(out)) = (args.export, &args.out) {
        return handover::write(context, &store, &chosen, &candidates, (trainer, out, args.dry));
    }
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
            let cannot = || format!("cannot train {name}");
            if let Some(one) = train(context, store, task, &base, &Part::default()).with_context(cannot)? {
                context.ui.status(&format!("finetune  {name}: {}{}", told(&one), prompts(context, &one)));
                LeftOut::of(&one.adapter).words().iter().for_each(|words| context.ui.status(&format!("          {words}")));
                trained.push(on_policy::rounds(context, store, (task, &base), one).with_context(cannot)?);
            }
        }
    }
    Ok(trained)
}

fn told(Trained { adapter, sweep, .. }: &Trained) -> String {
    let rates = sweep.as_ref().map_or_else(String::new, rates);
    let soft = adapter.soft_targets.map_or_else(String::new, |share| format!(", {:.0} % of the answer tokens soft", 100.0 * share));
    format!("{} examples, best at step {}{soft}{}{rates}", adapter.examples, adapter.best_step, validated(adapter.validation_right))
}

/// Share of the validation answers that are right, as the end of a line.
pub fn validated(right: Option<f64>) -> String {
    right.map_or_else(String::new, |right| format!(", {:.0} % of the validation answers right", 100.0 * right))
}

/// What prompts are shown without, where anything was to be dropped.
fn prompts(context: &Context, trained: &Trained) -> String {
    let asked = trained.elsewhere.as_ref().unwrap_or(&context.config.finetune).prompt == PromptMode::DropShared;
    match &trained.adapter.dropped {
        Some(dropped) => {
            let [whole, left] = dropped.prompt_tokens;
            format!(", prompts without what {:.1} % of them share: {left:.0} tokens of {whole:.0}", 100.0 * dropped.share)
        }
        None if asked => ", prompts whole: they share no beginning".to_owned(),
        None => String::new(),
    }
}

/// The rate that was chosen, and the validation loss of each that was tried.
fn rates(sweep: &Sweep) -> String {
    let rate = sweep.learning_rate.unwrap_or(sweep.plan.learning_rate);
    if sweep.trials.is_empty() {
        return format!(", learning rate {rate:.1e} as nothing validates");
    }
    let loss = |trial: &Trial| trial.validation_loss.map_or_else(|| "diverged".to_owned(), |loss| format!("{loss:.3}"));
    let tried: Vec<_> = sweep.trials.iter().map(|trial| format!("{:.1e}: {}", trial.learning_rate, loss(trial))).collect();
    format!(", learning rate {rate:.1e} of {}", tried.join(", "))
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

/// Trains, or finds what was trained. `corrections` are answers that the teacher gave later, beside the logged ones.
///
/// # Errors
/// When the model cannot be loaded or training fails.
pub fn train(context: &Context, store: &Store, task: &Task, base: &Base, corrections: &Part<Train>) -> anyhow::Result<Option<Trained>> {
    let mut parts = parts::of_task(context, store, &task.task)?;
    let mut settings = settings(context, &parts);
    if !settings.teacher.is_empty() {
        settings.teacher.extend(corrections.first().map(|call| call.model().to_owned()));
    }
    parts.train.append(corrections.clone());
    let config = base.config()?;
    let Some(examples) = examples(context, "finetune", &settings, &parts, task, base)? else { return Ok(None) };
    let weights = base.weights()?;
    let origin = weights.fingerprint()?;
    let unit = unit(&settings, task, &origin, &examples);
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
    fits(context, settings.demand(&learner, &examples, &plan).memory)?;
    let sweep = settings.sweep.then(|| settings.choose_rate(&learner, &examples, &plan, &mut sink, &context.ui)).transpose()?;
    let (settings, plan) = sweep.as_ref().map_or((settings.clone(), plan), |sweep| sweep.settled(&settings));
    let outcome = settings.train(&learner, &examples, &plan, &mut sink, &context.ui)?;
    let folder = format!("adapters/{}", unit.short());
    let mut files = match settings.mode {
        finetune::Mode::Lora => finetune::adapter(&learner, &base.name)?,
        finetune::Mode::Full => {
            base.tuned_files(&Weights { tensors: learner.merged()? }, examples.dropped.as_ref().map(|dropped| &dropped.shared))?
        }
    };
    let at = Origin { task: &task.task, model: &base.name, folder: &folder, base: &origin };
    let adapter = settings.manifest(at, &examples, &plan, &outcome);
    files.insert(MANIFEST.into(), serde_json::to_vec_pretty(&adapter)?);
    files.insert(finetune::METRICS.into(), outcome.metrics().into_bytes());
    files.insert(finetune::EVENTS.into(), outcome.events());
    files.extend(sweep.iter().map(|sweep| (finetune::SWEEP.into(), sweep.to_json())));
    store.write_artifact(&folder, &files)?;
    store.note_made("adapter", &folder, &task.task, parts::ids(&parts.train))?;
    let trained =
        Trained { adapter, teachers: settings.teacher.clone(), metrics: outcome.rows, on_policy: Vec::new(), sweep, elsewhere: None };
    store.finish_unit(&unit, Finetune::NAME, &task.name, &serde_json::to_value(&trained)?)?;
    Ok(Some(trained))
}

/// What a finished run is known by.
pub fn unit(settings: &Finetune, task: &Task, origin: &Fingerprint, examples: &Examples) -> Fingerprint {
    Fingerprint::of(settings, &[origin, &examples.fingerprint, &Fingerprint::of_bytes(task.task.0.as_bytes())])
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
    match settings.examples(&parts.train, &*parts::withheld(settings, parts), &base.chat()?, &base.config()?) {
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
    let model = model.sharing(settings.batching == Batching::Tree).in_precision(settings.precision);
    Ok(model.within(memory::limit(context)?))
}

/// The plan the run began with, else a new one; minutes are turned into steps here, once.
fn plan(
    settings: &Finetune,
    learner: &TrainModel,
    examples: &Examples,
    config: &model::Config,
    sink: &mut dyn CheckpointSink,
) -> anyhow::Result<Plan> {
    // a sweep's plan has the rate that the trials go out from, the one of the run after it the chosen one
    if let Some(plan) = Sweep::recorded(sink)?.map(|sweep| sweep.plan).or(Plan::recorded(sink)?) {
        return Ok(plan);
    }
    if settings.train_minutes.is_none() {
        return Ok(settings.plan(examples, config, None)?);
    }
    let start = Instant::now();
    let rate = |used: usize| finetune::throughput(learner, &examples.train[..used], settings, &mut || start.elapsed().as_secs_f64());
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

/// Refuses a run whose largest step does not fit into the memory that it may take.
fn fits(context: &Context, memory: Option<Memory>) -> anyhow::Result<()> {
    let limit = memory::limit(context)?;
    let Some(least) = memory.map(|memory| memory.least).filter(|least| *least > limit) else { return Ok(()) };
    let problem = format!("a step takes {} at least, training may take {}", select::show_size(least), select::show_size(limit));
    Err(hinted(problem, "`--set finetune.micro_tokens=8192` computes fewer tokens at once; `--max-memory` allows more"))
}

/// What a task's run would be, and what it would take: from a few steps of which nothing is learnt.
#[derive(Serialize)]
struct Preview {
    task: String,
    model: String,
    teacher: String,
    examples: usize,
    /// Tokens of the examples.
    tokens: usize,
    validation: usize,
    /// Share of the answers' tokens with a soft target; none where the log has no log-probabilities.
    soft_targets: Option<f64>,
    left_out: Vec<(String, u64)>,
    /// What on-policy rounds may ask the teacher at most; none where there are no rounds.
    #[serde(flatten)]
    teacher_asked: Option<on_policy::Bound>,
    /// The tail of those that were too long.
    too_long: Option<TooLong>,
    over_budget: Unseen,
    /// Examples that nearly repeat a held-out prompt, where most do.
    repeats: u64,
    steps: u64,
    /// At the speed of the steps that were measured.
    seconds: f64,
    /// Of the whole process; none where another device trains.
    memory_bytes: Option<u64>,
}

/// Steps that a preview measures at least, and seconds that they should take together; short steps vary.
const MEASURED: (u64, f64) = (2, 1.5);

fn dry_run(context: &Context, store: &Store, tasks: &[Task], candidates: &[Candidate]) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    for task in tasks {
        for base in bases(context, task, candidates)? {
            rows.extend(preview(context, store, task, &base)?);
        }
    }
    let columns = ["task", "model", "examples", "tokens", "steps", "minutes", "memory", "teacher asked", "USD"];
    context.ui.rows("training", &rows, &columns, |row| {
        vec![
            row.task.clone(),
            row.model.clone(),
            row.examples.to_string(),
            row.tokens.to_string(),
            row.steps.to_string(),
            format!("{:.1}", row.seconds / 60.0),
            row.memory_bytes.map_or_else(|| "–".to_owned(), select::show_size),
            row.teacher_asked.as_ref().map_or_else(|| "–".to_owned(), |bound| format!("≤ {}", bound.teacher_calls)),
            on_policy::usd(row.teacher_asked.as_ref().and_then(|bound| bound.teacher_usd)),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

fn preview(context: &Context, store: &Store, task: &Task, base: &Base) -> anyhow::Result<Option<Preview>> {
    let parts = parts::of_task(context, store, &task.task)?;
    let settings = settings(context, &parts);
    let Some(examples) = examples(context, "finetune", &settings, &parts, task, base)? else { return Ok(None) };
    let (before, limit) = (memory::resident().unwrap_or(0), memory::limit(context)?);
    let model = learner(context, &settings, base, base.weights()?)?;
    let plan = plan(&settings, &model, &examples, &base.config()?, &mut InMemory::default())?;
    let demand = settings.demand(&model, &examples, &plan);
    fits(context, demand.memory)?;
    let start = Instant::now();
    let used = &examples.train[..plan.examples];
    let measure = |steps| finetune::bench(&model, used, &settings, steps, &mut || start.elapsed().as_secs_f64());
    let seconds = |measured: &[finetune::Measured]| measured.iter().map(|step| step.seconds).sum::<f64>();
    let mut measured = measure(MEASURED.0)?;
    while seconds(&measured) < MEASURED.1 {
        measured = measure(2 * measured.len() as u64)?;
    }
    for words in LeftOut::planned(&examples, &plan).words() {
        context.ui.status(&format!("finetune  `{}` on `{}`: {words}", task.name, base.name));
    }
    let rate = measured.iter().map(|step| step.flops).sum::<f64>() / seconds(&measured);
    Ok(Some(Preview {
        task: task.name.clone(),
        model: base.name.clone(),
        teacher: settings.teacher.join(", "),
        examples: examples.train.len(),
        tokens: examples.train.iter().map(|example| example.sequence.tokens.len()).sum(),
        validation: examples.validation.len(),
        soft_targets: examples.softened.known(),
        teacher_asked: on_policy::bound(context, store, task, base)?,
        left_out: examples.left_out,
        too_long: examples.too_long,
        over_budget: plan.over_budget,
        repeats: examples.repeats,
        steps: plan.steps,
        seconds: demand.flops / rate,
        memory_bytes: demand.memory.map(|Memory { least, most }| before + most.min(limit).max(least)),
    }))
}
