//! `adapter import`: what another trainer made of `finetune --export` becomes the task's newest adapter. Nothing is written before
//! all of it was checked.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use finetune::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Examples, Finetune, HANDOVER, Manifest, Origin, Progressed, TRAIN, TRAINER_STATE};
use record::{Fingerprint, Parts, Step as _, Task};
use store::Store;

use crate::cli::{AdapterArgs, AdapterCommand, ImportArgs};
use crate::commands::finetune::{Trained, learner, unit};
use crate::context::Context;
use crate::error::hinted;
use crate::models::{Base, MANIFEST};
use crate::tasks::find;
use crate::{parts, run, summary};

pub fn command(context: &Context, args: &AdapterArgs) -> anyhow::Result<ExitCode> {
    let AdapterCommand::Import(args) = &args.what;
    let store = context.open()?;
    let tasks: Vec<Task> = run::get(&store, None, "tasks")?;
    let task = find(&tasks, &args.task)?;
    let trained = import(context, &store, task, args).map_err(cured)?;
    let adapter = &trained.adapter;
    context.ui.rows("adapters", std::slice::from_ref(adapter), &["task", "model", "steps", "examples", "loss", "folder"], |adapter| {
        let loss = adapter.validation_loss.unwrap_or(adapter.train_loss);
        let [steps, examples] = [adapter.steps, adapter.examples].map(|number| number.to_string());
        vec![task.name.clone(), adapter.model.clone(), steps, examples, format!("{loss:.4}"), adapter.folder.clone()]
    })?;
    Ok(ExitCode::SUCCESS)
}

/// An error about what came back, with the cure it knows.
fn cured(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<finetune::Error>() {
        Some(finetune::Error::Returned { cure, .. }) => hinted(error.to_string(), *cure),
        _ => error,
    }
}

fn import(context: &Context, store: &Store, task: &Task, args: &ImportArgs) -> anyhow::Result<Trained> {
    let base = Base::named(context, &args.model).or_else(|_| Base::at(context, &args.model))?;
    let (around, bytes) = manifest_file(&args.folder)?;
    let manifest = Manifest::parse(&bytes)?;
    let weights = base.weights()?;
    let origin = weights.fingerprint()?;
    manifest.is_of(&task.task, &base.name, &origin)?;
    let parts = parts::of_task(context, store, &task.task)?;
    let examples = learnt(&parts, &base, &manifest.settings)?;
    manifest.learnt(&examples.fingerprint)?;
    if let Ok(rows) = std::fs::read(around.join(TRAIN)) {
        manifest.untouched(&rows)?;
    }
    let (config, matrices) = (file(&args.folder, ADAPTER_CONFIG)?, file(&args.folder, ADAPTER_WEIGHTS)?);
    let mut files = finetune::accept(&manifest, &base.config()?, &config, &matrices)?;
    let model = learner(context, &manifest.settings, &base, weights)?;
    finetune::load_adapter(&model, &files[ADAPTER_WEIGHTS])?;
    let progress = progress(&args.folder)?;
    let folder = format!("adapters/{}", Fingerprint::of_bytes(&matrices).short());
    let at = Origin { task: &task.task, model: &base.name, folder: &folder, base: &origin };
    let adapter = manifest.record(at, &matrices, &model, &examples, &progress)?;
    let metrics: Vec<String> = progress.rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    files.insert(MANIFEST.into(), serde_json::to_vec_pretty(&adapter)?);
    files.insert("metrics.jsonl".into(), metrics.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect());
    let settings = manifest.settings;
    let unit = unit(&settings, task, &origin, &examples);
    let trained = Trained {
        adapter,
        teachers: settings.teacher.clone(),
        metrics: progress.rows,
        on_policy: Vec::new(),
        sweep: None,
        elsewhere: Some(settings),
    };
    let run = run::current(context, store)?;
    store.write_artifact(&folder, &files)?;
    store.note_made("adapter", &folder, &task.task, parts::ids(&parts.train))?;
    // a run with the very settings that were handed over is finished by this
    store.finish_unit(&unit, Finetune::NAME, &task.name, &serde_json::to_value(&trained)?)?;
    summary::keep_trained(store, &run, std::slice::from_ref(&trained))?;
    Ok(trained)
}

/// The adapters of other trainers that are their tasks' newest, so that `evaluate` judges them and trains none instead. What learnt
/// from other calls than the train split now has is none of them: some may be held out by now.
///
/// # Errors
/// When the store refuses, or a base model is gone.
pub fn in_force(context: &Context, store: &Store, run: &str, tasks: &[Task]) -> anyhow::Result<Vec<Trained>> {
    let own = store.document(run, "trained")?;
    let Some(value) =
        own.map_or_else(|| store.latest_document("trained").map(|found| found.map(|(_, value)| value)), |own| Ok(Some(own)))?
    else {
        return Ok(Vec::new());
    };
    let all: Vec<Trained> = serde_json::from_value(value)?;
    let mut found = Vec::new();
    for one in all {
        let Some(task) = tasks.iter().find(|task| task.task == one.adapter.task) else { continue };
        let Some(settings) = &one.elsewhere else { continue };
        let base = Base::named(context, &one.adapter.model)?;
        if learnt(&parts::of_task(context, store, &task.task)?, &base, settings)?.fingerprint == one.adapter.data {
            found.push(one);
        }
    }
    Ok(found)
}

/// What the train split of a task teaches now, by the settings of the export.
fn learnt(parts: &Parts, base: &Base, settings: &Finetune) -> anyhow::Result<Examples> {
    Ok(settings.examples(&parts.train, &*parts::withheld(settings, parts), &base.chat()?, &base.config()?)?)
}

/// The folder that holds our manifest, this one or one of the two around it, and the manifest.
fn manifest_file(folder: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    // `..` of a link would be somewhere else
    let whole = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    match whole.ancestors().take(3).find(|folder| folder.join(HANDOVER).exists()) {
        Some(found) => Ok((found.to_owned(), file(found, HANDOVER)?)),
        None => {
            let problem = format!("there is no `{HANDOVER}` in `{}` or one of the two folders around it", folder.display());
            Err(hinted(problem, "copy the one that `slm-migrate finetune --export` wrote into the folder"))
        }
    }
}

fn file(folder: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(name);
    std::fs::read(&path).map_err(|error| {
        let hint = "name the PEFT folder that the trainer saved at its end; a folder of whole weights or of a sharded checkpoint is none";
        hinted(format!("cannot read `{}`: {error}", path.display()), hint)
    })
}

/// What the trainer noted of its run, where it left that: in the folder, or in that of its last checkpoint.
fn progress(folder: &Path) -> anyhow::Result<Progressed> {
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let last = entries.flatten().map(|entry| entry.path()).filter(|path| step(path).is_some()).max_by_key(|path| step(path));
    let found = [Some(folder.to_owned()), last].into_iter().flatten().map(|folder| folder.join(TRAINER_STATE)).find(|path| path.exists());
    let Some(path) = found else { return Ok(Progressed::default()) };
    let noted = Progressed::parse(&std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?)?;
    // a checkpoint that is imported by itself holds the weights of its own step
    Ok(Progressed { best_step: step(folder).or(noted.best_step), ..noted })
}
