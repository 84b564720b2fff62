//! A model or an adapter as a GGUF file. The caller says where the bytes go. Knows no step.
use std::io::{Seek, Write};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::adapter;
use super::names::Architecture;
use super::quant::{self, Quant};
use super::shape::{self, ROPE_FREQS};
use super::vocabulary;
use crate::lora::Lora;
use crate::{Chat, Config, Error, Weights};

/// A model that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Exported<'a> {
    /// `general.name`.
    pub name: &'a str,
    /// Its dimensions.
    pub config: &'a Config,
    /// Its weights, in f32 if nothing shall be lost before they are rounded once.
    pub weights: &'a Weights,
    /// Its tokenizer and template.
    pub chat: &'a Chat,
    /// Texts of the kind that it will read: where llama.cpp cuts no text as this tokenizer does, they choose the nearest.
    pub samples: &'a [String],
}

/// What a file became, where that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The name under `tokenizer.ggml.pre`.
    pub pre: &'static str,
    /// Whether llama.cpp cuts texts under that name as the model's own tokenizer does.
    pub pre_exact: bool,
    /// Types that widths did not allow: what was wanted, what was taken, for how many tensors.
    pub fallbacks: Vec<(String, String, usize)>,
}

/// Writes a whole model.
///
/// # Errors
/// When the architecture has no place in the format, the tokenizer cannot be written, or `out` refuses.
pub fn write_model<W: Write + Seek>(out: &mut W, model: Exported<'_>, quant: Quant) -> Result<Written, Error> {
    let architecture = Architecture::of(model.config)?;
    let vocabulary = vocabulary::keys(model.chat, model.config, model.samples)?;
    let text = |text: &str| Value::String(text.to_owned());
    let mut keys = vec![
        ("general.architecture".to_owned(), text(architecture.gguf)),
        ("general.type".to_owned(), text("model")),
        ("general.name".to_owned(), text(model.name)),
        ("general.file_type".to_owned(), Value::U32(quant.file_type())),
        ("general.quantization_version".to_owned(), Value::U32(2)),
    ];
    keys.extend(shape::keys(architecture, model.config)?);
    keys.extend(vocabulary.keys);
    let mut written = Written { pre: vocabulary.pre, pre_exact: vocabulary.exact, fallbacks: Vec::new() };
    let mut tensors = Vec::new();
    if let Some(divisors) = shape::divisors(model.config) {
        tensors.push((ROPE_FREQS.to_owned(), QTensor::quantize(&Tensor::new(divisors, &Device::Cpu)?, GgmlDType::F32)?));
    }
    for (ours, tensor) in &model.weights.tensors {
        if model.config.tie_word_embeddings && ours == "lm_head.weight" {
            continue; // some folders keep the embedding twice
        }
        let theirs = architecture.to_gguf(ours).ok_or_else(|| Error::Unsupported {
            key: "tensor",
            found: ours.clone(),
            expected: "only tensors that llama.cpp has a name for",
        })?;
        let rows = architecture.rows_to_gguf(ours, &tensor.to_device(&Device::Cpu)?, model.config)?;
        let kept = quant.of(&theirs, rows.dims(), model.config.num_hidden_layers, model.config.tie_word_embeddings);
        if kept.used != kept.wanted {
            count(&mut written.fallbacks, kept.wanted, kept.used);
        }
        tensors.push((theirs, QTensor::quantize(&rows, kept.used)?));
    }
    put(out, &keys, &tensors)?;
    Ok(written)
}

/// Writes an adapter for the base model of that configuration.
///
/// # Errors
/// When the adapter changes a module that llama.cpp has no name for, scales by 0, or `out` refuses.
pub fn write_adapter<W: Write + Seek>(out: &mut W, name: &str, config: &Config, lora: &Lora) -> Result<(), Error> {
    let (keys, tensors) = adapter::parts(name, config, lora)?;
    put(out, &keys, &tensors)
}

fn put<W: Write + Seek>(out: &mut W, keys: &[(String, Value)], tensors: &[(String, QTensor)]) -> Result<(), Error> {
    let keys: Vec<_> = keys.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    Ok(gguf_file::write(out, &keys, &tensors)?)
}

/// Counts one more tensor that was kept in `used` where `wanted` did not fit.
fn count(fallbacks: &mut Vec<(String, String, usize)>, wanted: GgmlDType, used: GgmlDType) {
    let (wanted, used) = (quant::name(wanted), quant::name(used));
    match fallbacks.iter_mut().find(|(from, to, _)| *from == wanted && *to == used) {
        Some((_, _, count)) => *count += 1,
        None => fallbacks.push((wanted, used, 1)),
    }
}
