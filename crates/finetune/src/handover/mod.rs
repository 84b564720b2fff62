//! A task for another trainer, where one machine is too small: dataset, configuration, launch lines and our manifest, and the way
//! back of what it trained.
//!
//! Knows which calls are learnt and what of them carries loss; each trainer's format is a room of its own. Touches no disk.
mod axolotl;
mod readme;
mod returned;
mod torchtune;
mod trl;

use model::{Chat, ChatTemplate, Config, linears};
use record::{Fingerprint, Part, TaskId, Train, Withheld};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use returned::{Progressed, TRAINER_STATE, accept};

use crate::examples::Example;
use crate::export;
use crate::{Batching, Error, Examples, Files, Finetune, Mode, Plan};

/// Our manifest beside what a trainer is given.
pub const HANDOVER: &str = "handover.json";
/// Raised when the manifest's fields change.
const SCHEMA: u32 = 2;
/// The rows that are learnt from, beside the manifest.
pub const TRAIN: &str = "data/train.jsonl";
/// The rows that validate.
const VALIDATION: &str = "data/validation.jsonl";
/// Folder that the trainer is told to leave the adapter in.
const RESULT: &str = "adapter";
/// GPUs that the launch lines are written for, where the batch can be shared out so.
const GPUS: usize = 8;

/// A trainer that a task can be given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trainer {
    /// Hugging Face TRL: `trl.scripts.sft`.
    Trl,
    /// Axolotl.
    Axolotl,
    /// torchtune: `lora_finetune_distributed`.
    Torchtune,
}

impl Trainer {
    /// The folder that its adapter is in at the end.
    fn result(self) -> String {
        match self {
            Self::Trl | Self::Axolotl => RESULT.to_owned(),
            Self::Torchtune => format!("{RESULT}/{}", torchtune::EPOCH),
        }
    }
}

/// Whose task, on which model.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The task.
    pub task: &'a TaskId,
    /// Its name.
    pub name: &'a str,
    /// Name of the base model.
    pub model: &'a str,
    /// Where the trainer finds it: a folder in Hugging Face layout.
    pub place: &'a str,
    /// Names of the files of its weights there.
    pub weights: &'a [String],
    /// Fingerprint of its weights.
    pub base: &'a Fingerprint,
}

/// What was handed over, so that what comes back can be told from anything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of these fields.
    pub schema: u32,
    /// The trainer.
    pub trainer: Trainer,
    /// The task.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Name of the base model.
    pub model: String,
    /// Fingerprint of the base weights.
    pub base: Fingerprint,
    /// Fingerprint of the training conversations, as a run here would have recorded it.
    pub data: Fingerprint,
    /// Fingerprint of the file of rows that are learnt from.
    pub rows: Fingerprint,
    /// Our settings.
    pub settings: Finetune,
    /// Optimiser steps of the run.
    pub steps: u64,
    /// Calls that are learnt from.
    pub train: usize,
    /// Calls that validate.
    pub validation: usize,
    /// Calls of which the trainer would learn other tokens than a run here; they are in the data all the same.
    pub unlike: usize,
    /// Calls left out, by reason.
    pub left_out: Vec<(String, u64)>,
}

/// One call as trainers get it.
struct Row {
    /// Messages of the prompt, as templates take them.
    messages: Vec<Value>,
    /// Tools offered.
    tools: Vec<Value>,
    /// The assistant's message.
    answer: Value,
    /// The prompt as text, up to where the answer begins.
    before: String,
    /// The answer as text, the end of the turn included.
    after: String,
    /// Tokens of both, and how many of them are the prompt's: the rest is learnt.
    tokens: (Vec<u32>, usize),
}

/// All that the rooms of the trainers write from.
struct Given<'a> {
    settings: &'a Finetune,
    subject: Subject<'a>,
    plan: Plan,
    /// Mean tokens of a prompt with the head that is dropped and without, if one is.
    prompt_tokens: Option<[f64; 2]>,
    targets: Vec<String>,
    train: Vec<Row>,
    validation: Vec<Row>,
}

impl Finetune {
    /// The files of a folder for `trainer`: the calls of the train split, those that validate apart, the configuration with these
    /// settings, launch lines, and our manifest. Names may have parts (`data/train.jsonl`).
    ///
    /// # Errors
    /// When a setting cannot be expressed there, the trainer cannot build the model, or no call is left.
    pub fn hand_over(
        &self,
        trainer: Trainer,
        subject: Subject<'_>,
        part: &Part<Train>,
        withheld: &dyn Withheld,
        chat: &Chat,
        config: &Config,
    ) -> Result<Files, Error> {
        self.can_leave(trainer)?;
        let whole = self.examples(part, withheld, chat, config)?;
        // a row for each call: no other trainer shares what calls have in common
        let alone = Self { batching: Batching::Independent, train_minutes: None, ..self.clone() };
        let Examples { train, validation, left_out, too_long, repeats, dropped, .. } = alone.examples(part, withheld, chat, config)?;
        let chat = &chat.clone().without(dropped.as_ref().map(|dropped| dropped.shared.clone()));
        let rows = |examples: &[Example]| examples.iter().map(|example| Row::new(example, part, chat)).collect::<Result<Vec<_>, _>>();
        let (train_rows, validation_rows) = (rows(&train)?, rows(&validation)?);
        let examples = Examples { train, validation, left_out, too_long, repeats, dropped, ..whole };
        let plan = alone.plan(&examples, config, None)?;
        let prompt_tokens = examples.dropped.as_ref().map(|dropped| dropped.prompt_tokens);
        let given = Given {
            settings: self,
            subject,
            plan,
            prompt_tokens,
            targets: targets(config),
            train: train_rows,
            validation: validation_rows,
        };
        let template = trl::template(chat.template().source());
        let mut files = match trainer {
            Trainer::Trl => trl::files(&given, &template),
            Trainer::Axolotl => axolotl::files(&given),
            Trainer::Torchtune => torchtune::files(&given, config)?,
        };
        let unlike = given.unlike(|row| match trainer {
            Trainer::Trl => trl::learns(row, chat, &template),
            Trainer::Axolotl => axolotl::learns(row, chat),
            // its rows are our tokens
            Trainer::Torchtune => Ok(row.tokens.clone()),
        })?;
        let manifest = given.manifest(trainer, &examples, Fingerprint::of_bytes(&files[TRAIN]), unlike);
        files.insert("README.md".into(), readme::text(&manifest, &given, chat.template().source()).into_bytes());
        files.insert(HANDOVER.into(), serde_json::to_vec_pretty(&manifest).expect("plain data always serialises"));
        Ok(files)
    }

    /// Refuses what other trainers are not told here.
    fn can_leave(&self, trainer: Trainer) -> Result<(), Error> {
        let refuse = |key, found, expected| Err(Error::Setting { key, found, expected });
        if self.mode == Mode::Full {
            return refuse("mode", "full".to_owned(), "`lora`: only adapters come back from another trainer");
        }
        if let Some(folder) = &self.init_adapter {
            return refuse("init_adapter", folder.clone(), "none: another trainer begins with an adapter of its own");
        }
        if trainer != Trainer::Torchtune && self.alpha.fract() != 0.0 {
            return refuse("alpha", self.alpha.to_string(), "a whole number: this trainer's `lora_alpha` is one");
        }
        Ok(())
    }
}

impl Row {
    fn new(example: &Example, part: &Part<Train>, chat: &Chat) -> Result<Self, Error> {
        let call = &part[example.position];
        let answer = call.response.message().expect("a call without an answer is no example");
        let request = chat.shown(&call.request)?;
        let (before, whole) = (chat.template().render_request(&request, None)?, chat.template().render_request(&request, Some(answer.0))?);
        let sequence = &example.sequence;
        let prompt = 1 + sequence.targets.iter().take_while(|target| target.is_none()).count();
        let last = sequence.targets.last().copied().flatten().expect("the last token of an example is learnt");
        let mut after = whole.strip_prefix(before.as_str()).expect("examples begin with their prompts").trim_end().to_owned();
        let end = chat.tokenizer().specials().get(&last).cloned().unwrap_or_default();
        if !after.ends_with(&end) {
            after += &end;
        }
        Ok(Self {
            messages: request.messages().map(|message| ChatTemplate::message(message.0)).collect(),
            tools: request.tools().map(|tool| tool.0.clone()).collect(),
            answer: ChatTemplate::message(answer.0),
            before,
            after,
            tokens: (sequence.tokens.iter().copied().chain([last]).collect(), prompt),
        })
    }
}

impl Given<'_> {
    /// Tokens of the longest call: nothing may be cut off.
    fn longest(&self) -> usize {
        self.train.iter().chain(&self.validation).map(|row| row.tokens.0.len()).max().unwrap_or(1)
    }

    /// GPUs of the launch lines: as many as share the batch out evenly.
    fn gpus(&self) -> usize {
        (1..=GPUS).rev().find(|gpus| self.settings.batch_size.is_multiple_of(*gpus)).unwrap_or(1)
    }

    /// The settings that trainers built on transformers call alike. The length is in steps: from epochs they would make another number of
    /// them, rounded up in each epoch.
    fn settings(&self) -> String {
        let (settings, plan) = (self.settings, &self.plan);
        format!(
            "lora_r: {rank}\n\
             lora_alpha: {alpha}\n\
             lora_dropout: 0.0\n\
             lora_target_modules: {targets}\n\
             learning_rate: {rate}\n\
             max_steps: {steps}\n\
             # times the accumulation, times the GPUs: {batch} answers a step\n\
             gradient_accumulation_steps: {batch}\n\
             warmup_steps: {warmup}\n\
             adam_beta1: 0.9\n\
             adam_beta2: 0.999\n\
             weight_decay: {decay}\n\
             max_grad_norm: {clip}\n\
             seed: {seed}\n\
             logging_steps: 1\n\
             output_dir: {RESULT:?}\n",
            rank = settings.rank,
            alpha = settings.alpha,
            targets = list(&self.targets),
            rate = plan.learning_rate,
            steps = plan.steps,
            batch = settings.batch_size,
            warmup = settings.warmup_steps(plan.steps),
            decay = settings.weight_decay,
            clip = settings.clip,
            seed = settings.seed,
        )
    }

    /// When they look at the validation part, and that they keep the best weights.
    fn looks(&self) -> String {
        let every = self.plan.validate_every;
        format!(
            "eval_strategy: \"steps\"\neval_steps: {every}\nsave_strategy: \"steps\"\nsave_steps: {every}\nsave_total_limit: 2\n\
             load_best_model_at_end: true\nmetric_for_best_model: \"eval_loss\"\ngreater_is_better: false\n"
        )
    }

    /// Rows of which `learns` says other tokens, or another place where the loss begins, than a run here has.
    fn unlike(&self, learns: impl Fn(&Row) -> Result<(Vec<u32>, usize), Error>) -> Result<usize, Error> {
        let mut unlike = 0;
        for row in self.train.iter().chain(&self.validation) {
            unlike += usize::from(learns(row)? != row.tokens);
        }
        Ok(unlike)
    }

    fn manifest(&self, trainer: Trainer, examples: &Examples, rows: Fingerprint, unlike: usize) -> Manifest {
        Manifest {
            schema: SCHEMA,
            trainer,
            task: self.subject.task.clone(),
            name: self.subject.name.to_owned(),
            model: self.subject.model.to_owned(),
            base: self.subject.base.clone(),
            data: examples.fingerprint.clone(),
            rows,
            settings: self.settings.clone(),
            steps: self.plan.steps,
            train: self.train.len(),
            validation: self.validation.len(),
            unlike,
            left_out: examples.left_out.clone(),
        }
    }
}

/// Last parts of the names of the modules that get an adapter.
fn targets(config: &Config) -> Vec<String> {
    let linears = linears(config);
    export::targets(linears.iter().map(|linear| linear.name.as_ref())).into_iter().map(str::to_owned).collect()
}

/// Rows as JSON lines.
fn lines(rows: &[Row], line: impl Fn(&Row) -> Value) -> Vec<u8> {
    rows.iter().flat_map(|row| (line(row).to_string() + "\n").into_bytes()).collect()
}

/// A JSON text is a YAML scalar (docs/decisions/0004).
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A list of texts in YAML.
fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}
