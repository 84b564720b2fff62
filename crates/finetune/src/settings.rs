//! The step's configuration, and what follows from it alone.
use model::Config;
use model::train::{Precision, Trainable};
use serde::{Deserialize, Serialize};

use crate::{Error, Feedback};

/// What of the base model learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Low-rank additions to all linear layers; the base stays as it is.
    #[default]
    Lora,
    /// Every weight.
    Full,
}

/// How calls become batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// Calls of a conversation come together, several conversations to a batch; what calls have in common is computed once.
    #[default]
    Tree,
    /// Every call stands alone, in a drawn order, as other trainers do it.
    Independent,
}

/// What of a prompt is learnt from, judged by and served with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptMode {
    /// All of it.
    #[default]
    Keep,
    /// What is left without the head that the task's prompts have in common.
    DropShared,
}

/// Settings of fine-tuning. The defaults follow *LoRA Without Regret* (2025) where it speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Finetune {
    /// What learns.
    pub mode: Mode,
    /// Rank of the additions.
    pub rank: usize,
    /// Scale of the additions times their rank.
    pub alpha: f64,
    /// Peak learning rate; none takes the rule for the model's width.
    pub learning_rate: Option<f64>,
    /// Whether it is chosen first among 0.3, 1 and 3 times that rate, by short runs.
    pub sweep: bool,
    /// Times each example is seen, unless something else ends the run before.
    pub epochs: f64,
    /// Most optimiser steps.
    pub max_steps: Option<u64>,
    /// Most minutes, turned into steps once by the measured throughput.
    pub train_minutes: Option<f64>,
    /// Answers an optimiser step learns from.
    pub batch_size: usize,
    /// Most tokens that go through the model at once.
    pub micro_tokens: usize,
    /// Share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Decoupled decay of the trained matrices.
    pub weight_decay: f64,
    /// Bound on the gradients' norm; 0 for none.
    pub clip: f64,
    /// Looks at the validation part in a row whose weights are not kept before the run stops.
    pub patience: u32,
    /// Looks at the validation part in a whole run.
    pub validations_per_run: u64,
    /// Share of the train split's conversations that only validate; 0 for none.
    pub validation_share: f64,
    /// Optimiser steps between checkpoints.
    pub checkpoint_every: u64,
    /// Longest prompt that is trained on, in the model's tokens.
    pub max_prompt_tokens: usize,
    /// What of a prompt the model is shown, in training and ever after: `keep` or `drop-shared`.
    pub prompt: PromptMode,
    /// Of equal calls, those that count at most.
    pub max_duplicates: u64,
    /// How alike a prompt must be to one held out or calibrated on for its call to be left out, as a Jaccard similarity up to 1, which only
    /// copies have; 0 leaves none out.
    pub near_duplicates: f64,
    /// How calls become batches.
    pub batching: Batching,
    /// What products on a matrix unit of 16 bits keep of their factors: `f32` all of it, `bf16` what fits. Without such a unit all is f32.
    pub precision: Precision,
    /// Whether examples are shuffled. Without, calls go through in the order of the log, one sequence each.
    pub shuffle: bool,
    /// Seed of everything drawn.
    pub seed: u64,
    /// Folder of an adapter to start from.
    pub init_adapter: Option<String>,
    /// Models whose answers are learnt from; empty for all.
    pub teacher: Vec<String>,
    /// How much of what the teacher expected counts where the log has its log-probabilities; the rest is the logged token. 0 for none.
    pub soft_weight: f64,
    /// What becomes of the rewards, ratings and thumbs of the log.
    pub feedback: Feedback,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            mode: Mode::Lora,
            rank: 16,
            alpha: 32.0,
            learning_rate: None,
            sweep: false,
            epochs: 3.0,
            max_steps: None,
            train_minutes: None,
            batch_size: 16,
            micro_tokens: 32_768,
            warmup: 0.05,
            weight_decay: 0.0,
            clip: 1.0,
            patience: 5,
            validations_per_run: 10,
            validation_share: 0.1,
            checkpoint_every: 50,
            max_prompt_tokens: 4_096,
            prompt: PromptMode::Keep,
            max_duplicates: 64,
            near_duplicates: 0.8,
            batching: Batching::Tree,
            precision: Precision::F32,
            shuffle: true,
            seed: 7,
            init_adapter: None,
            teacher: Vec::new(),
            soft_weight: 0.5,
            feedback: Feedback::PreferSuccess,
        }
    }
}

impl record::Step for Finetune {
    const NAME: &'static str = "finetune";
    const REVISION: u32 = 7;
}

impl Finetune {
    /// What to ask of the model.
    #[must_use]
    pub const fn trainable(&self) -> Trainable {
        match self.mode {
            Mode::Lora => Trainable::Lora { rank: self.rank, alpha: self.alpha },
            Mode::Full => Trainable::Full,
        }
    }

    /// Whether equal calls become one and the calls of a conversation one sequence where they can.
    pub(crate) fn merges(&self) -> bool {
        self.shuffle && self.batching == Batching::Tree
    }

    /// Of so many steps, those over which the learning rate rises.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the steps")]
    pub(crate) fn warmup_steps(&self, steps: u64) -> u64 {
        (steps as f64 * self.warmup).ceil() as u64
    }

    /// The peak learning rate: as set, else `5e-5 · (2000 / hidden)^0.781` for all weights and ten times that for
    /// LoRA, the rule that the authors of *LoRA Without Regret* fitted to models of the Llama family.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a model's width is far below 2^53")]
    pub fn peak(&self, config: &Config) -> f64 {
        let full = 5e-5 * (2_000.0 / config.hidden_size as f64).powf(0.781);
        let rule = match self.mode {
            Mode::Lora => 10.0 * full,
            Mode::Full => full,
        };
        self.learning_rate.unwrap_or(rule)
    }

    /// Refuses settings that nothing can be trained with.
    ///
    /// # Errors
    /// Names the first such setting.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |key, found: String, expected| Err(Error::Setting { key, found, expected });
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if self.batch_size == 0 {
            return refuse("batch_size", "0".to_owned(), "at least one answer a step");
        }
        if self.mode == Mode::Lora && (self.rank == 0 || !positive(self.alpha)) {
            return refuse("rank", format!("{} with alpha {}", self.rank, self.alpha), "a rank and an alpha above 0");
        }
        if !positive(self.epochs) {
            return refuse("epochs", self.epochs.to_string(), "more than 0");
        }
        if !(0.0..=0.5).contains(&self.validation_share) {
            return refuse("validation_share", self.validation_share.to_string(), "a share from 0 to 0.5");
        }
        if self.max_duplicates == 0 {
            return refuse("max_duplicates", "0".to_owned(), "1 or more: 1 counts every call once, however often it occurs");
        }
        if !(0.0..=1.0).contains(&self.near_duplicates) {
            return refuse("near_duplicates", self.near_duplicates.to_string(), "a similarity up to 1, or 0 for none");
        }
        if self.sweep && self.validation_share == 0.0 {
            return refuse("sweep", "true".to_owned(), "a `validation_share` above 0, to choose by");
        }
        if !(0.0..=1.0).contains(&self.soft_weight) {
            return refuse("soft_weight", self.soft_weight.to_string(), "a share from 0 to 1");
        }
        if !(0.0..1.0).contains(&self.warmup) {
            return refuse("warmup", self.warmup.to_string(), "a share from 0 up to 1");
        }
        if self.max_steps == Some(0) {
            return refuse("max_steps", "0".to_owned(), "at least one step");
        }
        for (key, value) in [("learning_rate", self.learning_rate), ("train_minutes", self.train_minutes)] {
            if let Some(value) = value.filter(|value| !positive(*value)) {
                return refuse(key, value.to_string(), "more than 0");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Finetune, Mode};

    #[test]
    fn the_published_rule_gives_the_published_rates() {
        let config = |hidden| {
            model::Config::from_json(format!(r#"{{"model_type": "llama", "vocab_size": 8, "hidden_size": {hidden},
            "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5}}"#).as_bytes(), "c").expect("a good one")
        };
        let settings = Finetune::default();
        assert!((settings.peak(&config(576)) - 1.3e-3).abs() < 5e-5);
        assert!((settings.peak(&config(2048)) - 4.9e-4).abs() < 5e-6);
        let full = Finetune { mode: Mode::Full, ..Finetune::default() };
        assert!((full.peak(&config(2048)) - 4.9e-5).abs() < 5e-7);
    }

    #[test]
    fn useless_settings_are_named() {
        assert!(Finetune::default().check().is_ok());
        let refused = Finetune { batch_size: 0, ..Finetune::default() }.check().err().map(|e| e.to_string());
        assert!(refused.is_some_and(|text| text.contains("`batch_size` = `0`")));
    }
}
