//! A trained adapter and where it came from.
use serde::{Deserialize, Serialize};

use crate::{Dropped, Fingerprint, TaskId, TooLong, Unseen};

/// What `finetune` leaves: a PEFT folder, or of a full fine-tune a model folder, and this manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// Identity: step, configuration, base weights and training data.
    pub fingerprint: Fingerprint,
    /// The task it was trained for.
    pub task: TaskId,
    /// Name of the base model.
    pub model: String,
    /// That folder, relative to the artifact folder.
    pub folder: String,
    /// LoRA rank; 0 for a full fine-tune.
    pub rank: usize,
    /// LoRA alpha.
    pub alpha: f64,
    /// Optimiser steps taken.
    pub steps: u64,
    /// Step whose weights were kept.
    pub best_step: u64,
    /// Mean training loss per answer token at the end, in nats.
    pub train_loss: f64,
    /// Validation loss per answer token of the weights kept, in nats; none without a validation part.
    pub validation_loss: Option<f64>,
    /// Share of the validation answers that they write to the last token; none without a validation part.
    pub validation_right: Option<f64>,
    /// Share of the answers' tokens that learnt what the teacher expected, and not the logged token alone; none where the log does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_targets: Option<f64>,
    /// Training examples used.
    pub examples: u64,
    /// Training examples left out (too long, over the budget), and why.
    pub left_out: Vec<(String, u64)>,
    /// The tail of those that were too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub too_long: Option<TooLong>,
    /// What the run was too short to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_budget: Option<Unseen>,
    /// Training examples used though they nearly repeat a held-out prompt, since most of the task's do; 0 where such were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Fingerprint of the base weights.
    pub base: Fingerprint,
    /// Fingerprint of the training conversations.
    pub data: Fingerprint,
    /// The head of the prompts that it was trained without, and is to be judged and served without; none where prompts are whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Dropped>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}
