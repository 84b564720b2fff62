//! A LoRA adapter as keys and tensors of a GGUF file, both ways. Knows no PEFT names.
//!
//! Follows llama.cpp's `src/llama-adapter.cpp`: the change is `scale · alpha / rank · B A`, and an alpha of 0 means 1. Rows of `B`
//! lie as the rows of the tensor that is changed.
use std::collections::BTreeMap;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};

use super::file::Gguf;
use super::names::Architecture;
use crate::lora::{Lora, Pair};
use crate::{Config, Error};

/// Keys and tensors of a file.
type Parts = (Vec<(String, Value)>, Vec<(String, QTensor)>);

/// What a file of this adapter holds.
pub(crate) fn parts(name: &str, config: &Config, lora: &Lora) -> Result<Parts, Error> {
    let architecture = Architecture::of(config)?;
    let rank = lora.rank()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the format has 32 bits for it; ranks are small")]
    let alpha = (lora.scale * rank as f64) as f32;
    if alpha == 0.0 {
        return Err(Error::Unsupported { key: "lora_alpha", found: "0".into(), expected: "an alpha that is not 0, which GGUF reads as 1" });
    }
    let text = |text: &str| Value::String(text.to_owned());
    let keys = vec![
        ("general.architecture".to_owned(), text(architecture.gguf)),
        ("general.type".to_owned(), text("adapter")),
        ("general.name".to_owned(), text(name)),
        ("adapter.type".to_owned(), text("lora")),
        ("adapter.lora.alpha".to_owned(), Value::F32(alpha)),
    ];
    let mut tensors = Vec::new();
    for (module, Pair { down, up }) in &lora.pairs {
        let weight = format!("{module}.weight");
        let theirs = architecture.to_gguf(&weight).ok_or_else(|| Error::Unsupported {
            key: "adapted module",
            found: module.clone(),
            expected: "only modules that llama.cpp has a name for",
        })?;
        let up = architecture.rows_to_gguf(&weight, up, config)?;
        tensors.push((format!("{theirs}.lora_a"), QTensor::quantize(down, GgmlDType::F32)?));
        tensors.push((format!("{theirs}.lora_b"), QTensor::quantize(&up, GgmlDType::F32)?));
    }
    Ok((keys, tensors))
}

impl Gguf {
    /// The adapter that the file holds, for a base model of that configuration.
    ///
    /// # Errors
    /// When it is no LoRA adapter, is for another architecture, or one of its matrices has no partner.
    pub(crate) fn lora(&self, config: &Config) -> Result<Lora, Error> {
        let key = "adapter.type";
        let found = self.text(key).ok_or_else(|| self.lacks(key))?;
        if found != "lora" {
            return Err(Error::Unsupported { key, found: found.to_owned(), expected: "only `lora`" });
        }
        let architecture = self.architecture()?;
        if architecture.gguf != Architecture::of(config)?.gguf {
            return Err(Error::Architecture { found: architecture.gguf.to_owned() });
        }
        let alpha = self.real("adapter.lora.alpha").ok_or_else(|| self.lacks("adapter.lora.alpha"))?;
        let mut pairs = BTreeMap::new();
        let mut rank = 1;
        for name in self.tensors() {
            let theirs = name.strip_suffix(".lora_a").or_else(|| name.strip_suffix(".lora_b"));
            let ours = theirs.and_then(|theirs| architecture.to_hugging_face(theirs));
            let (Some(theirs), Some(ours)) = (theirs, ours) else {
                return Err(Error::malformed(self.name(), "LoRA adapter", format!("tensor `{name}` has no place in a plain one")));
            };
            let other = [format!("{theirs}.lora_a"), format!("{theirs}.lora_b")];
            if let Some(missing) = other.iter().find(|part| self.shape(part).is_none()) {
                return Err(self.lacks(missing));
            }
            if name.ends_with("lora_b") {
                continue;
            }
            let mut both = self.read(other.iter().map(String::as_str))?;
            let up = architecture.rows_to_hugging_face(&ours, &both.remove(1), config)?;
            let down = both.remove(0);
            rank = down.dim(0)?;
            pairs.insert(ours.trim_end_matches(".weight").to_owned(), Pair { down, up });
        }
        #[expect(clippy::cast_precision_loss, reason = "ranks are small numbers")]
        let scale = if alpha == 0.0 { 1.0 } else { alpha / rank as f64 };
        let lora = Lora { scale, pairs };
        lora.rank()?;
        Ok(lora)
    }
}
