//! `finetune --export`: each task's train calls and settings in the form of another trainer, a folder for each task and model.
use std::path::Path;
use std::process::ExitCode;

use finetune::{Files, HANDOVER, Manifest, Subject};
use model::gguf::Gguf;
use record::{Candidate, Task};
use serde::Serialize;
use store::Store;

use crate::aside::Aside;
use crate::cli::{DryRun, Trainer};
use crate::commands::finetune::{bases, examples, settings};
use crate::commands::gates::put;
use crate::context::Context;
use crate::error::hinted;
use crate::models::Base;
use crate::parts;

impl From<Trainer> for finetune::Trainer {
    fn from(trainer: Trainer) -> Self {
        match trainer {
            Trainer::Trl => Self::Trl,
            Trainer::Axolotl => Self::Axolotl,
            Trainer::Torchtune => Self::Torchtune,
        }
    }
}

/// What was written for one task and model.
#[derive(Serialize)]
struct Line {
    task: String,
    model: String,
    train: usize,
    validation: usize,
    unlike: usize,
    steps: u64,
    folder: String,
}

/// Writes `OUT/TASK/MODEL` for every task and every model ranked for it; with `--dry-run`, only says so.
///
/// # Errors
/// When a setting or a base model cannot be given away, a folder is another trainer's already, or the disk refuses.
pub fn write(
    context: &Context,
    store: &Store,
    tasks: &[Task],
    candidates: &[Candidate],
    (trainer, out, dry): (Trainer, &Path, DryRun),
) -> anyhow::Result<ExitCode> {
    let mut lines = Vec::new();
    for task in tasks {
        for base in bases(context, task, candidates)? {
            let folder = out.join(&task.name).join(&base.name);
            let Some((manifest, files)) = make(context, store, task, &base, trainer)? else { continue };
            if !dry.dry_run {
                leave(&folder, &manifest, &files)?;
                let train = parts::of_task(context, store, &task.task)?.train;
                store.note_made("dataset", &folder.to_string_lossy(), &task.task, parts::ids(&train))?;
            }
            let Manifest { name, model, train, validation, unlike, steps, .. } = manifest;
            lines.push(Line { task: name, model, train, validation, unlike, steps, folder: folder.display().to_string() });
        }
    }
    context.ui.rows("exports", &lines, &["task", "model", "train", "validation", "unlike", "steps", "folder"], |line| {
        let numbers = [line.train, line.validation, line.unlike].map(|number| number.to_string());
        [&[line.task.clone(), line.model.clone()][..], &numbers, &[line.steps.to_string(), line.folder.clone()]].concat()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn make(context: &Context, store: &Store, task: &Task, base: &Base, trainer: Trainer) -> anyhow::Result<Option<(Manifest, Files)>> {
    if base.place.as_deref().is_some_and(Gguf::is_called_so) {
        let problem = format!("`{}` is a GGUF file, which other trainers do not train", base.name);
        return Err(hinted(problem, "`--model DIR` names the folder in Hugging Face layout that it was made from"));
    }
    let parts = parts::of_task(context, store, &task.task)?;
    let settings = settings(context, &parts);
    // a task that nothing can be learnt of is skipped and named, as when it is trained here
    if examples(context, "export", &settings, &parts, task, base)?.is_none() {
        return Ok(None);
    }
    let place = base.place.as_deref().map(std::path::absolute).transpose()?;
    let place = place.map_or_else(|| base.name.clone(), |place| place.to_string_lossy().into_owned());
    let origin = base.weights()?.fingerprint()?;
    let weights = base.weight_files()?;
    let subject = Subject { task: &task.task, name: &task.name, model: &base.name, place: &place, weights: &weights, base: &origin };
    let given =
        settings.hand_over(trainer.into(), subject, &parts.train, &*parts::withheld(&settings, &parts), &base.chat()?, &base.config()?);
    let mut files = given.map_err(|error| match error {
        finetune::Error::Unbuilt { .. } => hinted(error.to_string(), "`--export trl` and `--export axolotl` train it"),
        other => other.into(),
    })?;
    let manifest = Manifest::parse(&files[HANDOVER])?;
    // the built-in model lies nowhere, so it goes along
    for (name, bytes) in base.built_in().unwrap_or_default() {
        files.insert(format!("{}/{name}", base.name), bytes);
    }
    Ok(Some((manifest, files)))
}

/// Writes the files, folder by folder, the one that holds the manifest last.
fn leave(folder: &Path, manifest: &Manifest, files: &Files) -> anyhow::Result<()> {
    let old = std::fs::read(folder.join(HANDOVER)).ok().and_then(|bytes| Manifest::parse(&bytes).ok());
    if old.is_some_and(|old| old.trainer != manifest.trainer) {
        let problem = format!("`{}` holds what was written for another trainer", folder.display());
        return Err(hinted(problem, "name another folder with `--out`, or remove that one"));
    }
    let mut folders: Vec<&str> = files.keys().map(|name| parent(name)).collect();
    folders.sort_unstable_by(|one, other| other.cmp(one));
    folders.dedup();
    for part in folders {
        let aside = Aside::new(&folder.join(part))?;
        for (name, bytes) in files.iter().filter(|(name, _)| parent(name) == part) {
            put(&aside.folder().join(name.rsplit('/').next().unwrap_or(name)), bytes, false)?;
        }
        aside.finish()?;
    }
    Ok(())
}

/// The folder of a name; empty where it has none.
fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}
