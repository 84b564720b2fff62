//! What another trainer gives back: held against what it was given, and put into our own layout. Knows PEFT's layout and
//! transformers' `trainer_state.json`, no trainer.
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use model::{Config, linears};
use record::{Adapter, Fingerprint, TaskId};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{HANDOVER, Manifest, SCHEMA, TRAIN, targets};
use crate::export::{self, PREFIX, folder};
use crate::optimizer::flat;
use crate::trainer::loss;
use crate::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Error, Examples, Files, Learner, Origin, Row, Sequence};

/// What transformers' trainers note of a run, in the folder of each checkpoint.
pub const TRAINER_STATE: &str = "trainer_state.json";

const AGAIN: &str = "train with the configuration as it was written; plain LoRA of one rank is what comes back";
const ELSEWHERE: &str = "import the folder that this export's training left, or name the task and model that it was for";

/// Keys of an `adapter_config.json` that are looked at by themselves.
const CHECKED: [&str; 5] = ["peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path"];

/// Keys that say something and change nothing of what an adapter computes. Any other has to be empty or false: each new version of PEFT
/// knows more ways to compute.
const HARMLESS: [&str; 9] = [
    "auto_mapping",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// What a plain adapter says under keys that are neither.
const PLAIN: [(&str, &str); 2] = [("init_lora_weights", "true"), ("bias", "\"none\"")];

#[expect(clippy::needless_pass_by_value, reason = "what was found is mostly made for the message")]
fn refuse<T>(file: &'static str, field: &str, found: impl ToString, expected: impl Into<String>, cure: &'static str) -> Result<T, Error> {
    Err(Error::Returned { file, field: field.to_owned(), found: found.to_string(), expected: expected.into(), cure })
}

impl Manifest {
    /// Reads a `handover.json`.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        // another version has other fields
        if let Ok(Version { schema }) = serde_json::from_slice(bytes)
            && schema != SCHEMA
        {
            return refuse(HANDOVER, "schema", schema, SCHEMA.to_string(), "export again and train again, with one version");
        }
        let parsed: Result<Self, _> = serde_json::from_slice(bytes);
        let cure = "copy the file again from the folder that `slm-migrate finetune --export` wrote";
        parsed.or_else(|cause| refuse(HANDOVER, "the whole file", cause, "what `slm-migrate finetune --export` wrote", cure))
    }

    /// Refuses a manifest of another task, base model or weights.
    ///
    /// # Errors
    /// Names what is other.
    pub fn is_of(&self, task: &TaskId, model: &str, base: &Fingerprint) -> Result<(), Error> {
        if self.task != *task {
            return refuse(HANDOVER, "task", format!("`{}` ({})", self.task, self.name), format!("`{task}`"), ELSEWHERE);
        }
        if self.model != model {
            return refuse(HANDOVER, "model", format!("`{}`", self.model), format!("`{model}`"), ELSEWHERE);
        }
        if self.base != *base {
            let found = format!("`{}`", self.base.short());
            let cure = "name the folder of the very weights that were handed over, or export again";
            return refuse(HANDOVER, "base", found, format!("`{}`, the fingerprint of `{model}`", base.short()), cure);
        }
        Ok(())
    }

    /// Refuses a manifest of other calls than the train split of its task has.
    ///
    /// # Errors
    /// When they are other.
    pub fn learnt(&self, data: &Fingerprint) -> Result<(), Error> {
        if self.data == *data {
            return Ok(());
        }
        let cure = "the log, the seed or a setting of the data has changed since: export and train again";
        refuse(HANDOVER, "data", format!("`{}`", self.data.short()), format!("`{}`, the task's train calls now", data.short()), cure)
    }

    /// Refuses rows that were changed since they were handed over. `rows` are the bytes of [`TRAIN`].
    ///
    /// # Errors
    /// When they were.
    pub fn untouched(&self, rows: &[u8]) -> Result<(), Error> {
        let found = Fingerprint::of_bytes(rows);
        if self.rows == found {
            return Ok(());
        }
        let cure = "export again and train on the rows as they were written: what learnt from others may know held-out calls";
        refuse(TRAIN, "the whole file", format!("`{}`", found.short()), format!("`{}`, as it was written", self.rows.short()), cure)
    }

    /// The record of an adapter that came back, as [`crate::Finetune::manifest`] for one that was trained here. Losses are measured here:
    /// of the validation part, and of the first batch that was learnt. `weights` are the bytes that came back.
    ///
    /// # Errors
    /// When a tensor operation fails, or a loss is no number.
    pub fn record(
        &self,
        origin: Origin<'_>,
        weights: &[u8],
        learner: &dyn Learner,
        examples: &Examples,
        progress: &Progressed,
    ) -> Result<Adapter, Error> {
        // other trainers learn the logged answers alone
        let hard = |example: &crate::Example| Sequence { soft: BTreeMap::new(), ..example.sequence.clone() };
        let take = |examples: &[crate::Example], count: usize| examples.iter().take(count).map(hard).collect::<Vec<_>>();
        let measure = |sequences| loss(learner, sequences, self.settings.micro_tokens);
        let trained = measure(take(&examples.train, self.settings.batch_size))?;
        let validated = measure(take(&examples.validation, VALIDATED))?;
        let known = !examples.validation.is_empty();
        let mean = trained.sum / trained.weight;
        if !mean.is_finite() {
            return refuse(ADAPTER_WEIGHTS, "the loss with it", mean, "a number", AGAIN);
        }
        Ok(Adapter {
            fingerprint: Fingerprint::of(&self.settings, &[origin.base, &examples.fingerprint, &Fingerprint::of_bytes(weights)]),
            task: origin.task.clone(),
            model: origin.model.to_owned(),
            folder: origin.folder.to_owned(),
            rank: self.settings.rank,
            alpha: self.settings.alpha,
            steps: progress.steps.unwrap_or(self.steps),
            best_step: progress.best_step.or(progress.steps).unwrap_or(self.steps),
            train_loss: mean,
            validation_loss: known.then(|| validated.sum / validated.weight),
            validation_right: known.then(|| validated.right / validated.answers),
            soft_targets: None,
            examples: self.train as u64,
            left_out: self.left_out.clone(),
            too_long: examples.too_long.clone(),
            over_budget: None,
            repeats: examples.repeats,
            seed: self.settings.seed,
            base: origin.base.clone(),
            data: examples.fingerprint.clone(),
            dropped: examples.dropped.clone(),
        })
    }
}

/// Validation examples that are looked at, at most.
const VALIDATED: usize = 256;

/// The adapter of a PEFT folder in our layout, in f32, if it is what `manifest` asked for on a model of `config`.
///
/// # Errors
/// [`Error::Returned`] names the first file and field that is not.
pub fn accept(manifest: &Manifest, config: &Config, adapter_config: &[u8], weights: &[u8]) -> Result<Files, Error> {
    let targets = targets(config);
    configured(manifest, &targets, adapter_config)?;
    let tensors = matrices(manifest, config, weights)?;
    let settings = &manifest.settings;
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    folder((settings.rank, settings.alpha), &manifest.model, &targets, &tensors)
}

/// Holds the keys of an `adapter_config.json` against what was asked for.
fn configured(manifest: &Manifest, targets: &[String], bytes: &[u8]) -> Result<(), Error> {
    let parsed: Result<Map<String, Value>, _> = serde_json::from_slice(bytes);
    let config = match parsed {
        Ok(config) => config,
        Err(cause) => return refuse(ADAPTER_CONFIG, "the whole file", cause, "a JSON object, as PEFT writes it", AGAIN),
    };
    let found = |key: &str| config.get(key).cloned().unwrap_or_default();
    if found("peft_type") != "LORA" {
        return refuse(ADAPTER_CONFIG, "peft_type", found("peft_type"), "\"LORA\"", AGAIN);
    }
    let settings = &manifest.settings;
    if found("r") != settings.rank {
        return refuse(ADAPTER_CONFIG, "r", found("r"), settings.rank.to_string(), AGAIN);
    }
    if found("lora_alpha").as_f64() != Some(settings.alpha) {
        return refuse(ADAPTER_CONFIG, "lora_alpha", found("lora_alpha"), settings.alpha.to_string(), AGAIN);
    }
    for (key, value) in config.iter().filter(|(key, _)| !CHECKED.contains(&key.as_str()) && !HARMLESS.contains(&key.as_str())) {
        let plain = PLAIN.iter().find(|(name, _)| name == key).map(|(_, plain)| *plain);
        if !says_nothing(value) && plain != Some(value.to_string().as_str()) {
            return refuse(ADAPTER_CONFIG, key, value, plain.unwrap_or("nothing: plain LoRA leaves it empty or false"), AGAIN);
        }
    }
    let named: Vec<String> = serde_json::from_value(found("target_modules")).unwrap_or_default();
    if export::targets(named.iter().map(String::as_str)) != targets {
        return refuse(ADAPTER_CONFIG, "target_modules", found("target_modules"), format!("{targets:?}"), AGAIN);
    }
    let base = found("base_model_name_or_path");
    if base.as_str().and_then(|name| name.trim_end_matches('/').rsplit('/').next()) != Some(manifest.model.as_str()) {
        let cure =
            "if it is the same model under another name, write the expected name there; else train on the model that was handed over";
        return refuse(ADAPTER_CONFIG, "base_model_name_or_path", base, format!("`{}`, in whatever folder", manifest.model), cure);
    }
    Ok(())
}

/// Whether a key is there for form's sake: null, false or empty.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || *value == false || value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// The matrices by PEFT's names: one pair for every linear layer, of the right shape, finite, not all nothing.
fn matrices(manifest: &Manifest, config: &Config, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, Error> {
    let file = match SafeTensors::deserialize(bytes) {
        Ok(file) => file,
        Err(cause) => return refuse(ADAPTER_WEIGHTS, "the whole file", cause, "a safetensors file", AGAIN),
    };
    let rank = manifest.settings.rank;
    let (mut tensors, mut learnt) = (BTreeMap::new(), false);
    for linear in linears(config) {
        for (kind, shape) in [("lora_A", [rank, linear.inputs]), ("lora_B", [linear.outputs, rank])] {
            let name = format!("{PREFIX}{}.{kind}.weight", linear.name);
            let Ok(view) = file.tensor(&name) else { return refuse(ADAPTER_WEIGHTS, &name, "missing", format!("{shape:?}"), AGAIN) };
            if view.shape() != shape {
                return refuse(ADAPTER_WEIGHTS, &name, format!("{:?}", view.shape()), format!("{shape:?}"), AGAIN);
            }
            let dtype = match view.dtype() {
                Dtype::F32 => DType::F32,
                Dtype::F16 => DType::F16,
                Dtype::BF16 => DType::BF16,
                other => return refuse(ADAPTER_WEIGHTS, &name, format!("{other:?}"), "F32, F16 or BF16", AGAIN),
            };
            let read = Tensor::from_raw_buffer(view.data(), dtype, &shape, &Device::Cpu)?;
            let tensor = read.to_dtype(DType::F32)?;
            let values = flat(&tensor)?;
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return refuse(ADAPTER_WEIGHTS, &name, value, "finite numbers", "train again with a lower `learning_rate`");
            }
            learnt |= kind == "lora_B" && values.iter().any(|value| *value != 0.0);
            tensors.insert(name, tensor);
        }
    }
    if let Some(name) = file.names().into_iter().find(|name| !tensors.contains_key(*name)) {
        return refuse(ADAPTER_WEIGHTS, name, "there", "only `lora_A` and `lora_B` of linear layers", AGAIN);
    }
    if !learnt {
        return refuse(ADAPTER_WEIGHTS, "lora_B", "0 everywhere", "what a run learnt", "look whether the run saved its adapter at the end");
    }
    Ok(tensors)
}

/// What is known of the run that another trainer made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progressed {
    /// Optimiser steps taken.
    pub steps: Option<u64>,
    /// Step whose weights were kept.
    pub best_step: Option<u64>,
    /// What it noted, step after step. Tokens are not known, and 0.
    pub rows: Vec<Row>,
}

impl Progressed {
    /// Reads a `trainer_state.json` of transformers.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct State {
            global_step: u64,
            #[serde(default)]
            best_global_step: Option<u64>,
            #[serde(default)]
            log_history: Vec<Value>,
        }
        let parsed: Result<State, _> = serde_json::from_slice(bytes);
        let state = match parsed {
            Ok(state) => state,
            Err(cause) => {
                return refuse(TRAINER_STATE, "the whole file", cause, "what transformers writes", "remove the file: it is not needed");
            }
        };
        let mut rows: Vec<Row> = Vec::new();
        for entry in &state.log_history {
            let number = |key: &str| entry.get(key).and_then(Value::as_f64);
            let Some(step) = entry.get("step").and_then(Value::as_u64) else { continue };
            match (number("loss"), number("eval_loss"), rows.last_mut()) {
                (Some(loss), ..) => {
                    let (lr, grad_norm) = (number("learning_rate").unwrap_or(0.0), number("grad_norm").unwrap_or(0.0));
                    rows.push(Row { step, loss, lr, grad_norm, tokens: 0, validation_loss: None, validation_right: None });
                }
                (None, Some(loss), Some(row)) if row.step == step => row.validation_loss = Some(loss),
                _ => {}
            }
        }
        Ok(Self { steps: Some(state.global_step), best_step: state.best_global_step, rows })
    }
}
