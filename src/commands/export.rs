//! `export`: a task's dataset, or its fine-tune in a form that other programs load. What was fine-tuned is read back from what was
//! written and compared with the model in memory before success is said.
mod check;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use finetune::Tolerance;
use model::gguf::{self, Gguf, Quant, Written};
use model::{Chat, Config, Lora, Weights};
use record::{Adapter, Call, Clean, Parts, Task};
use store::Store;

use crate::aside::Aside;
use crate::cli::{ExportArgs, Exported, Quantisation};
use crate::commands::gates::put;
use crate::context::Context;
use crate::error::hinted;
use crate::models::{Base, MANIFEST, TEMPLATE};
use crate::tasks::find;
use crate::{parts, run};
use check::Check;

pub fn command(context: &Context, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let store = context.read()?;
    let tasks: Vec<Task> = run::get(&store, None, "tasks")?;
    let task = find(&tasks, &args.task)?;
    if args.quant.is_some() && args.what != Exported::Gguf {
        return Err(hinted("only a merged GGUF file is quantised", "leave `--quant` out, or `export gguf`"));
    }
    let aside = Aside::new(&args.out)?;
    if args.what == Exported::Dataset {
        let parts = parts::of_task(context, &store, &task.task)?;
        dataset(&parts, aside.folder())?;
        let ids = parts::ids(&parts.train).chain(parts::ids(&parts.calibration)).chain(parts::ids(&parts.held));
        store.note_made("dataset", &args.out.to_string_lossy(), &task.task, ids)?;
    } else {
        let tuned = Tuned::load(context, &store, task)?;
        let check = Check::new(context, &store, &tuned)?;
        match args.what {
            Exported::Adapter => tuned.adapter(&aside, &check)?,
            Exported::Merged => tuned.merged(&aside, &check)?,
            Exported::GgufLora => tuned.gguf_lora(&aside, &check)?,
            Exported::Gguf => tuned.gguf(&aside, &check, args.quant.unwrap_or_default())?,
            Exported::Dataset => {}
        }
        if tuned.chat.shared().is_some() {
            let line = "export    prompts are shown without their constant beginning: the chat template drops it of whole requests. A server that takes \
                        no template (Ollama) has to be sent what is left";
            context.ui.status(line);
        }
    }
    aside.finish()?;
    context.ui.status(&format!("wrote `{}`", args.out.display()));
    Ok(ExitCode::SUCCESS)
}

/// One file a split. The held-out calls are exported too, for people to judge; whoever trains on them
/// has no test left.
fn dataset(parts: &Parts, folder: &Path) -> anyhow::Result<()> {
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

/// The fine-tune of a task, in memory.
struct Tuned<'a> {
    context: &'a Context,
    task: &'a Task,
    base: Base,
    manifest: Adapter,
    /// Where the store keeps it.
    folder: PathBuf,
    config: Config,
    /// The base model's weights with what was learnt.
    weights: Weights,
    /// Tokenizer and template, with what prompts are shown without.
    chat: Chat,
}

impl<'a> Tuned<'a> {
    fn load(context: &'a Context, store: &Store, task: &'a Task) -> anyhow::Result<Self> {
        let adapters: Vec<Adapter> = run::get(store, None, "adapters")?;
        let found = adapters.into_iter().rfind(|adapter| adapter.task == task.task);
        let manifest = found.ok_or_else(|| hinted(format!("`{}` has no adapter", task.name), "`slm-migrate finetune` trains one"))?;
        let base = Base::named(context, &manifest.model)?;
        let folder = store.artifact_folder(&manifest.folder)?;
        let (config, weights) = (base.config()?, base.merged(&folder)?);
        let chat = base.chat()?.without(manifest.dropped.as_ref().map(|dropped| dropped.shared.clone()));
        Ok(Self { context, task, base, manifest, folder, config, weights, chat })
    }

    /// The adapter, where there is one.
    fn lora(&self) -> anyhow::Result<Lora> {
        if self.manifest.rank == 0 {
            let hint = "`slm-migrate export merged` and `export gguf` write the model";
            return Err(hinted(format!("`{}` was tuned whole and has no adapter", self.task.name), hint));
        }
        Ok(Lora::load(&self.folder)?)
    }

    /// Beside an adapter that is shown prompts without their head: the template that drops it, and the manifest that says so.
    fn template(&self, aside: &Aside) -> anyhow::Result<()> {
        if self.chat.shared().is_none() {
            return Ok(());
        }
        put(&aside.folder().join(TEMPLATE), self.chat.exported()?.template().source(), false)?;
        put(&aside.folder().join(MANIFEST), &serde_json::to_string_pretty(&self.manifest)?, false)
    }

    fn adapter(&self, aside: &Aside, check: &Check<'_>) -> anyhow::Result<()> {
        self.lora()?;
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            std::fs::copy(entry.path(), aside.folder().join(entry.file_name()))?;
        }
        self.template(aside)?;
        check.weights(aside, "adapter", &self.base.merged(aside.folder())?, Tolerance::Exact)
    }

    fn merged(&self, aside: &Aside, check: &Check<'_>) -> anyhow::Result<()> {
        for (name, bytes) in self.base.tuned_files(&self.weights, self.chat.shared())? {
            put(&aside.folder().join(name), &bytes, false)?;
        }
        check.weights(aside, "merged", &Base::at(self.context, &aside.folder().to_string_lossy())?.weights()?, Tolerance::Exact)
    }

    fn gguf_lora(&self, aside: &Aside, check: &Check<'_>) -> anyhow::Result<()> {
        let name = format!("{}-lora", self.task.name);
        let file = format!("{name}.gguf");
        let mut out = aside.create(&file)?;
        gguf::write_adapter(&mut out, &self.task.name, &self.config, &self.lora()?)?;
        out.flush()?;
        drop(out);
        self.template(aside)?;
        check.weights(aside, &name, &self.base.merged(&aside.folder().join(&file))?, Tolerance::Exact)
    }

    fn gguf(&self, aside: &Aside, check: &Check<'_>, quant: Quantisation) -> anyhow::Result<()> {
        let quant = Quant::from(quant);
        let name = format!("{}-{}", self.task.name, quant.name());
        let file = format!("{name}.gguf");
        let model = gguf::Exported {
            name: &self.task.name,
            config: &self.config,
            weights: &self.weights,
            chat: &self.chat.exported()?,
            samples: check.texts(),
        };
        let mut out = aside.create(&file)?;
        let written = gguf::write_model(&mut out, model, quant)?;
        out.flush()?;
        drop(out);
        self.say(&written, quant);
        check.file(aside, &name, &Gguf::open(&aside.folder().join(&file))?, quant, &written)
    }

    /// Where the file is not all that was asked for.
    fn say(&self, written: &Written, quant: Quant) {
        for (wanted, used, count) in &written.fallbacks {
            let tensors = if *count == 1 { "1 tensor is".to_owned() } else { format!("{count} tensors are") };
            let line = format!("export    {tensors} kept in {used}, not in {wanted}: the width is no multiple of that block");
            self.context.ui.status(&line);
        }
        if self.base.place.as_deref().is_some_and(Gguf::is_called_so) && !quant.is_float() {
            let line = "export    the base was quantised already; with `export gguf-lora` it serves what was trained, with no second loss";
            self.context.ui.status(line);
        }
    }
}

impl From<Quantisation> for Quant {
    fn from(quant: Quantisation) -> Self {
        match quant {
            Quantisation::F32 => Self::F32,
            Quantisation::F16 => Self::F16,
            Quantisation::Q8_0 => Self::Q8_0,
            Quantisation::Q4_0 => Self::Q4_0,
            Quantisation::Q4KM => Self::Q4KM,
        }
    }
}
