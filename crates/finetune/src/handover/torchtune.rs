//! torchtune's format: tokens and labels, a module of our own that reads them, and a configuration of its LoRA recipes.
//!
//! As in torchtune 0.6.1, `recipes/lora_finetune_distributed.py`: a dataset is whatever class the configuration names, and gives rows
//! of `tokens` and `labels`. Its messages carry no tools, its tokenizers render by templates of their own, and its epochs drop what
//! does not fill a step; so rows are tokens already, and one epoch is as long as the run. Knows no other trainer.
use model::{Activation, Config, Llama3Rope, RopeScaling};
use serde_json::json;

use super::{Given, RESULT, Row, TRAIN, lines, list, quoted};
use crate::{Error, Files};

/// The configuration.
pub(super) const CONFIG: &str = "torchtune.yaml";
/// The module beside it.
const MODULE: &str = "slm_migrate_rows";
/// What of the run's folder holds the adapter: its only epoch.
pub(super) const EPOCH: &str = "epoch_0";

/// The files, if torchtune can build the model of `config`.
///
/// # Errors
/// [`Error::Unbuilt`] says what of the model it knows no builder for.
pub(super) fn files(given: &Given<'_>, config: &Config) -> Result<Files, Error> {
    let built = model(given, config)?;
    Ok(Files::from([
        (CONFIG.to_owned(), text(given, &built).into_bytes()),
        (format!("{MODULE}.py"), include_bytes!("torchtune.py").to_vec()),
        (TRAIN.to_owned(), lines(&given.train, line)),
    ]))
}

fn line(row: &Row) -> serde_json::Value {
    let (tokens, prompt) = &row.tokens;
    let labels: Vec<i64> = tokens.iter().enumerate().map(|(at, token)| if at < *prompt { -100 } else { i64::from(*token) }).collect();
    json!({"tokens": tokens, "labels": labels})
}

/// A model as torchtune builds it.
struct Built {
    /// Family that its checkpointer reads and writes.
    family: &'static str,
    builder: &'static str,
    /// What the builder is told besides the adapter's settings.
    arguments: String,
}

/// The builder that computes what `config` says: Qwen2's where queries, keys and values have a bias, else that of Llama 3.2, which serves
/// whatever computes as Llama does.
fn model(given: &Given<'_>, config: &Config) -> Result<Built, Error> {
    let refuse = |cause| Err(Error::Unbuilt { model: given.subject.model.to_owned(), cause });
    if let Some(cause) = unknown(config, given.longest()) {
        return refuse(cause);
    }
    let rope = &config.ropes[0];
    let stretch = match &rope.scaling {
        RopeScaling::Plain if config.qkv_bias => String::new(),
        RopeScaling::Plain => "  scale_factor: 1\n".to_owned(),
        RopeScaling::Llama3(llama) if !config.qkv_bias && *llama == (Llama3Rope { factor: llama.factor, ..LLAMA }) => {
            format!("  scale_factor: {}\n", llama.factor)
        }
        _ => return refuse("its builders stretch rope as Llama 3.1 does, or not at all"),
    };
    let numbers = [
        ("vocab_size", config.vocab_size),
        ("num_layers", config.num_hidden_layers),
        ("num_heads", config.num_attention_heads),
        ("num_kv_heads", config.num_key_value_heads),
        ("embed_dim", config.hidden_size),
        ("intermediate_dim", config.intermediate_size),
        ("max_seq_len", given.longest()),
    ];
    let mut arguments: String = numbers.iter().map(|(key, number)| format!("  {key}: {number}\n")).collect();
    let (epsilon, theta, tied) = (config.rms_norm_eps, rope.theta, config.tie_word_embeddings);
    arguments += &format!("  norm_eps: {epsilon}\n  rope_base: {theta}\n{stretch}  tie_word_embeddings: {tied}\n");
    let (family, builder) = if config.qkv_bias { ("QWEN2", "qwen2.lora_qwen2") } else { ("LLAMA3", "llama3_2.lora_llama3_2") };
    Ok(Built { family, builder, arguments })
}

/// The constants of `Llama3ScaledRoPE`.
const LLAMA: Llama3Rope = Llama3Rope { factor: 1.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192 };

/// What of a model neither builder computes.
fn unknown(config: &Config, longest: usize) -> Option<&'static str> {
    let factors = [config.embedding_multiplier, config.residual_multiplier, config.logits_divisor];
    let alike = config.ropes.len() == 1 && config.layers.iter().all(|look| look.rope == Some(0));
    let seen = config.layers.iter().all(|look| look.window.is_none_or(|window| longest <= window));
    let known = [
        (!config.fused_linears, "adapters of fused linear layers are not saved in PEFT's layout"),
        (!config.head_norms && !config.branch_norms && config.gain_offset == 0.0, "its builders know no norms of heads or branches"),
        (config.activation == Activation::Silu, "its builders' gate is SiLU"),
        (!config.out_bias, "its builders know no bias of attention's output"),
        (factors == [1.0; 3] && config.attention_scale.is_none(), "its builders know no multipliers"),
        (config.head_dim * config.num_attention_heads == config.hidden_size, "its builders' heads are together as wide as the model"),
        (alike, "its builders turn all layers alike"),
        (seen, "its builders know no sliding windows, and a call is longer than one"),
    ];
    known.into_iter().find(|(known, _)| !known).map(|(_, cause)| cause)
}

fn text(given: &Given<'_>, built: &Built) -> String {
    let (settings, plan, subject) = (given.settings, &given.plan, &given.subject);
    format!(
        "# `{name}` on `{model}`, for torchtune's `lora_finetune_distributed`. Paths are relative to this folder.\n\
         output_dir: {RESULT:?}\n\
         model:\n  _component_: torchtune.models.{builder}\n\
         \x20 lora_attn_modules: [\"q_proj\", \"k_proj\", \"v_proj\", \"output_proj\"]\n  apply_lora_to_mlp: true\n\
         \x20 lora_rank: {rank}\n  lora_alpha: {alpha}\n  lora_dropout: 0.0\n{arguments}\
         tokenizer:\n  _component_: {MODULE}.Tokenizer\n\
         checkpointer:\n  _component_: {MODULE}.Checkpointer\n  base: {base}\n  checkpoint_dir: {place}\n\
         \x20 checkpoint_files: {weights}\n  recipe_checkpoint: null\n  output_dir: ${{output_dir}}\n  model_type: {family}\n\
         resume_from_checkpoint: false\n\
         save_adapter_weights_only: true\n\
         # the rows of all {steps} steps, in their order\n\
         dataset:\n  _component_: {MODULE}.Rows\n  path: {TRAIN:?}\n  draws: {draws}\n  seed: {seed}\n  shuffle: {shuffle}\n\
         shuffle: false\n\
         seed: {seed}\n\
         epochs: 1\n\
         max_steps_per_epoch: null\n\
         batch_size: 1\n\
         # times the GPUs: {batch} answers a step\n\
         gradient_accumulation_steps: {batch}\n\
         optimizer:\n  _component_: torch.optim.AdamW\n  lr: {rate}\n  betas: [0.9, 0.999]\n  eps: 0.00000001\n  weight_decay: {decay}\n\
         lr_scheduler:\n  _component_: {MODULE}.cosine\n  num_warmup_steps: {warmup}\n\
         clip_grad_norm: {clip}\n\
         loss:\n  _component_: torchtune.modules.loss.CEWithChunkedOutputLoss\n\
         metric_logger:\n  _component_: torchtune.training.metric_logging.DiskLogger\n  log_dir: ${{output_dir}}/logs\n\
         log_every_n_steps: 1\n\
         log_peak_memory_stats: false\n\
         device: cuda\n\
         dtype: bf16\n\
         compile: false\n\
         enable_activation_checkpointing: false\n\
         enable_activation_offloading: false\n",
        name = subject.name,
        model = subject.model,
        base = quoted(subject.model),
        family = built.family,
        builder = built.builder,
        arguments = built.arguments,
        rank = settings.rank,
        alpha = settings.alpha,
        place = quoted(subject.place),
        weights = list(subject.weights),
        steps = plan.steps,
        draws = plan.steps * settings.batch_size as u64,
        seed = settings.seed,
        shuffle = settings.shuffle,
        batch = settings.batch_size,
        rate = plan.learning_rate,
        decay = settings.weight_decay,
        warmup = settings.warmup_steps(plan.steps),
        clip = if settings.clip > 0.0 { settings.clip.to_string() } else { "null".to_owned() },
    )
}
