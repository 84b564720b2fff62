//! What fine-tuning left, put into the weights it began from: a PEFT adapter is merged, `W + scale · B A`, whole weights take
//! their place. Knows names and shapes, no decoder.
use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::read;
use crate::gguf::Gguf;
use crate::{Config, Error, Weights};

/// The keys of an `adapter_config.json` that decide what is computed.
#[derive(Deserialize)]
struct AdapterConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    rank_pattern: Map<String, Value>,
    #[serde(default)]
    alpha_pattern: Map<String, Value>,
}

impl AdapterConfig {
    /// Refuses what would be merged wrongly.
    fn check(&self) -> Result<(), Error> {
        let unsupported = |key, found: &dyn ToString, expected| Err(Error::Unsupported { key, found: found.to_string(), expected });
        match self {
            Self { peft_type, .. } if peft_type != "LORA" => unsupported("peft_type", peft_type, "only `LORA`"),
            Self { use_dora: true, .. } => unsupported("use_dora", &true, "only plain LoRA"),
            Self { fan_in_fan_out: true, .. } => unsupported("fan_in_fan_out", &true, "only weights of (outputs, inputs)"),
            Self { rank_pattern, .. } if !rank_pattern.is_empty() => unsupported("rank_pattern", &"set", "only one rank"),
            Self { alpha_pattern, .. } if !alpha_pattern.is_empty() => unsupported("alpha_pattern", &"set", "only one alpha"),
            Self { r: 0, .. } => unsupported("r", &0, "a rank of at least 1"),
            _ => Ok(()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "ranks are small numbers")]
    fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// A LoRA adapter: `W + scale · up down` for each module.
#[derive(Clone, Debug)]
pub struct Lora {
    /// What the products are multiplied by.
    pub(crate) scale: f64,
    /// The matrices by the name of the module that they change, in f32 on the CPU.
    pub(crate) pairs: BTreeMap<String, Pair>,
}

/// The two matrices of a module.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// `A`: rank × inputs.
    pub down: Tensor,
    /// `B`: outputs × rank.
    pub up: Tensor,
}

impl Pair {
    /// What is added to the module's weight, in f32.
    pub fn change(&self, scale: f64) -> Result<Tensor, Error> {
        Ok((self.up.matmul(&self.down)? * scale)?)
    }
}

impl Lora {
    /// The adapter that a fine-tune left, as a PEFT folder or a GGUF file; none where it left a whole model. `config` is that of the model.
    ///
    /// # Errors
    /// As [`Lora::load`].
    pub fn find(from: &Path, config: &Config) -> Result<Option<Self>, Error> {
        if Gguf::is_called_so(from) {
            return Gguf::open(from)?.lora(config).map(Some);
        }
        if from.join("model.safetensors").exists() { Ok(None) } else { Self::load(from).map(Some) }
    }

    /// Refuses what changes a matrix that is missing or of another shape in `weights`.
    pub(crate) fn check(&self, weights: &Weights) -> Result<(), Error> {
        self.pairs
            .iter()
            .try_for_each(|(module, pair)| weights.get(&format!("{module}.weight"), &[pair.up.dim(0)?, pair.down.dim(1)?]).map(|_| ()))
    }

    /// Reads a PEFT folder (`adapter_config.json`, `adapter_model.safetensors`).
    ///
    /// # Errors
    /// When a file is missing or damaged, or the adapter is of a kind that cannot be merged.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("adapter_config.json");
        let config: AdapterConfig =
            serde_json::from_slice(&read(&path)?).map_err(|cause| Error::malformed(path.display().to_string(), "adapter", cause))?;
        config.check()?;
        let file = folder.join("adapter_model.safetensors");
        let mut adapter = Weights::load_file(&file, DType::F32, &Device::Cpu)?;
        let mut pairs = BTreeMap::new();
        while let Some((name, down)) = adapter.tensors.pop_first() {
            let module = name.strip_prefix("base_model.model.").and_then(|name| name.strip_suffix(".lora_A.weight"));
            let Some(module) = module else {
                return Err(Error::malformed(file.display().to_string(), "LoRA adapter", format!("`{name}` has no place in a plain one")));
            };
            let other = format!("base_model.model.{module}.lora_B.weight");
            let up = adapter.tensors.remove(&other).ok_or(Error::MissingTensor { name: other })?;
            pairs.insert(module.to_owned(), Pair { down, up });
        }
        Ok(Self { scale: config.scale(), pairs })
    }

    /// The rank that all pairs of matrices have.
    ///
    /// # Errors
    /// When there is none, or two differ.
    pub(crate) fn rank(&self) -> Result<usize, Error> {
        let mut ranks = Vec::new();
        for Pair { down, up } in self.pairs.values() {
            ranks.extend([down.dim(0)?, up.dim(1)?]);
        }
        ranks.dedup();
        match ranks[..] {
            [rank] => Ok(rank),
            _ => Err(Error::Unsupported { key: "rank", found: format!("{ranks:?}"), expected: "one rank for all modules" }),
        }
    }
}

impl Weights {
    /// Puts what a fine-tune left in place: the weights of a whole model if the folder holds one, else a PEFT adapter; or the LoRA
    /// adapter of a GGUF file. `config` is that of the model.
    ///
    /// # Errors
    /// As [`Weights::merge`] and [`Lora::load`]; a whole model must have the same tensors.
    pub fn tune(&mut self, from: &Path, config: &Config) -> Result<(), Error> {
        match Lora::find(from, config)? {
            Some(adapter) => self.merge(&adapter),
            None => self.replace(from),
        }
    }

    /// Puts the weights of the whole model that a folder holds in place.
    ///
    /// # Errors
    /// When they cannot be read, or are other tensors than these.
    pub(crate) fn replace(&mut self, from: &Path) -> Result<(), Error> {
        let mut whole = Self::load_file(&from.join("model.safetensors"), DType::F32, &Device::Cpu)?;
        for (name, old) in &mut self.tensors {
            let new = whole.get(name, old.dims())?.to_dtype(old.dtype())?.to_device(old.device())?;
            *old = new;
            whole.tensors.remove(name);
        }
        match whole.tensors.pop_first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::malformed(from.display().to_string(), "fine-tune of this model", format!("`{name}` is not in it")))
            }
        }
    }

    /// Merges an adapter. Products are computed in f32.
    ///
    /// # Errors
    /// When it changes a tensor that is missing or of another shape here.
    pub fn merge(&mut self, adapter: &Lora) -> Result<(), Error> {
        adapter.check(self)?;
        let mut merged = BTreeMap::new();
        for (module, pair) in &adapter.pairs {
            let target = format!("{module}.weight");
            let weight = &self.tensors[&target];
            let sum = (weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)? + pair.change(adapter.scale)?)?;
            merged.insert(target, sum.to_dtype(weight.dtype())?.to_device(weight.device())?);
        }
        self.tensors.extend(merged);
        Ok(())
    }

    /// Merges the adapter of a PEFT folder.
    ///
    /// # Errors
    /// As [`Lora::load`] and [`Weights::merge`].
    pub fn merge_adapter(&mut self, folder: &Path) -> Result<(), Error> {
        self.merge(&Lora::load(folder)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::Weights;
    use crate::Config;

    fn config() -> Config {
        let text = br#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5}"#;
        Config::from_json(text, "x").expect("a good configuration")
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a scratch folder of this test alone")]
    fn whole_weights_take_their_place_only_if_they_are_of_the_same_model() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let weights = |names: &[&str], value: f32| Weights {
            tensors: names.iter().map(|name| ((*name).to_owned(), Tensor::new(&[value], &Device::Cpu).expect("one number"))).collect(),
        };
        std::fs::write(folder.path().join("model.safetensors"), weights(&["a", "b"], 2.0).to_safetensors().expect("a small file"))
            .expect("written");
        let mut base = weights(&["a", "b"], 1.0);
        base.tensors.insert("b".to_owned(), base.tensors["b"].to_dtype(DType::BF16).expect("a type"));
        base.tune(folder.path(), &config()).expect("the same tensors");
        assert_eq!(base.fingerprint().expect("cpu"), weights(&["a", "b"], 2.0).fingerprint().expect("cpu"));
        assert_eq!(base.tensors["b"].dtype(), DType::BF16);
        let refused = |names| weights(names, 1.0).tune(folder.path(), &config()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused(&["a"]).contains("`b` is not in it") && refused(&["a", "b", "c"]).contains("`c`"));
    }
}
