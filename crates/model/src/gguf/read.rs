//! A GGUF file as a model: configuration, tokenizer and template, weights in f32. Knows no training.
//!
//! Weights are exactly what llama.cpp computes with: dequantised, not rounded again.
use std::collections::BTreeMap;

use super::file::Gguf;
use super::shape::{ROPE_FREQS, config};
use super::vocabulary;
use crate::{Chat, ChatTemplate, Config, Error, Tokenizer, Weights};

impl Gguf {
    /// The configuration that the file's keys say.
    ///
    /// # Errors
    /// When a key is missing, or the architecture or a variant of it cannot be computed.
    pub fn config(&self) -> Result<Config, Error> {
        config(self)
    }

    /// Tokenizer and chat template: the file's own, as llama.cpp would use them; where they cannot be rebuilt, `tokenizer.json` and
    /// the template of the folder that the file lies in.
    ///
    /// # Errors
    /// When neither can be read; the error is about the file's own keys.
    pub fn chat(&self) -> Result<Chat, Error> {
        let folder = self.path().parent().filter(|folder| folder.join("tokenizer.json").exists());
        let tokenizer = match (vocabulary::tokenizer(self), folder) {
            (Err(Error::Unsupported { .. } | Error::Malformed { .. }), Some(folder)) => Tokenizer::load(folder)?,
            (own, _) => own?,
        };
        let template = match (vocabulary::template(self), folder) {
            (Err(_), Some(folder)) => ChatTemplate::load(folder)?,
            (own, _) => own?,
        };
        Chat::new(tokenizer, template, &self.config()?, None)
    }

    /// All weights by their Hugging Face names, in f32 on the CPU.
    ///
    /// # Errors
    /// When the file is cut off, or holds a tensor that has no place in its architecture.
    pub fn weights(&self) -> Result<Weights, Error> {
        let (architecture, config) = (self.architecture()?, self.config()?);
        let mut tensors = BTreeMap::new();
        for theirs in self.tensors().into_iter().filter(|name| *name != ROPE_FREQS) {
            let Some(ours) = architecture.to_hugging_face(theirs) else {
                return Err(Error::malformed(self.name(), "model", format!("tensor `{theirs}` has no place in `{}`", architecture.gguf)));
            };
            let tensor = self.read([theirs])?.remove(0);
            tensors.insert(ours.clone(), architecture.rows_to_hugging_face(&ours, &tensor, &config)?);
        }
        Ok(Weights { tensors })
    }
}
