//! A small model on this machine as a predictor: template, generation and answer in one. Knows no task and no score.
use std::path::Path;

use candle_core::{DType, Device};
use rayon::prelude::*;
use record::{PredictError, Prediction, Predictor, Progress, Prompt, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Chat, ChatFiles, Config, Decoder, Error, Generation, Limits, Lora, Weights};

/// How a local model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Tokens that an answer may have.
    pub max_new_tokens: usize,
    /// Most prompts that one thread decodes together.
    pub batch: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_new_tokens: 512, batch: 64 }
    }
}

/// The bytes of a model's files, for a model compiled into a program.
#[derive(Clone, Copy, Debug)]
pub struct ModelFiles<'a> {
    /// `config.json`.
    pub config: &'a [u8],
    /// `model.safetensors`.
    pub weights: &'a [u8],
    /// Tokenizer and template.
    pub chat: ChatFiles<'a>,
}

/// A small model that answers prompts.
#[derive(Debug)]
pub struct LocalModel {
    name: String,
    chat: Chat,
    decoder: Decoder,
    settings: Settings,
}

impl LocalModel {
    /// Loads a Hugging Face folder, with an adapter merged into it if given. `name` is for tables.
    ///
    /// # Errors
    /// When a file is missing, damaged or of a kind that cannot be computed, or the device is not the CPU.
    pub fn load(name: &str, folder: &Path, adapter: Option<&Path>, device: &Device, settings: Settings) -> Result<Self, Error> {
        let (config, chat) = (Config::load(folder)?, Chat::load(folder)?);
        Self::new(name, &config, Weights::load(folder, DType::F32, device)?, chat, adapter, device, settings)
    }

    /// The same from bytes.
    ///
    /// # Errors
    /// As [`LocalModel::load`].
    pub fn from_bytes(
        name: &str,
        files: &ModelFiles<'_>,
        adapter: Option<&Path>,
        device: &Device,
        settings: Settings,
    ) -> Result<Self, Error> {
        let config = Config::from_json(files.config, "config.json")?;
        let chat = Chat::from_bytes(&files.chat, &config)?;
        Self::new(name, &config, Weights::from_bytes(files.weights, DType::F32, device)?, chat, adapter, device, settings)
    }

    /// Puts loaded parts together.
    ///
    /// # Errors
    /// When the weights do not fit the configuration, the adapter does not fit the weights, or the device is not the CPU.
    pub fn new(
        name: &str,
        config: &Config,
        mut weights: Weights,
        chat: Chat,
        adapter: Option<&Path>,
        device: &Device,
        settings: Settings,
    ) -> Result<Self, Error> {
        if !device.is_cpu() {
            let cause = "generation runs on the CPU alone so far".to_owned();
            return Err(Error::Device { name: format!("{:?}", device.location()), cause });
        }
        let lora = adapter.map(|from| Lora::find(from, config)).transpose()?.flatten();
        if let (Some(whole), None) = (adapter, &lora) {
            weights.replace(whole)?;
        }
        let decoder = Decoder::tuned(config, &weights, lora.as_ref())?;
        Ok(Self { name: name.to_owned(), chat, decoder, settings })
    }

    /// Tokenizer and template of the model.
    #[must_use]
    pub const fn chat(&self) -> &Chat {
        &self.chat
    }

    /// The decoder.
    #[must_use]
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Answers requests in their order. What is wrong with one request is the error of its own prediction.
    ///
    /// # Errors
    /// When generation as a whole fails.
    pub fn answer(&self, requests: &[&Request], progress: &dyn Progress) -> Result<Vec<Prediction>, Error> {
        let prompts: Vec<_> = requests.par_iter().map(|request| self.tokens(request)).collect();
        let good: Vec<_> = prompts.iter().filter_map(|prompt| prompt.as_ref().ok().cloned()).collect();
        let Settings { max_new_tokens, batch } = self.settings;
        let limits = Limits { max_new_tokens, batch, ends: self.chat.ends() };
        let refused = (prompts.len() - good.len()) as u64;
        let mut generations = self.decoder.generate(&good, limits, progress)?.into_iter();
        if refused > 0 {
            progress.advance(refused);
        }
        let answers = requests.iter().zip(prompts).map(|(request, prompt)| match prompt {
            Err(error) => Ok(Prediction { error: Some(error), ..Prediction::default() }),
            Ok(prompt) => {
                let generation = generations.next().expect("one answer to each good prompt");
                self.prediction(request, prompt.len(), &generation)
            }
        });
        answers.collect()
    }

    /// Tokens of a request, or why there can be no answer to it.
    fn tokens(&self, request: &Request) -> Result<Vec<u32>, String> {
        let prompt = self.chat.prompt(request).map_err(|error| error.to_string())?;
        let context = self.decoder.config().max_position_embeddings;
        if prompt.len() >= context {
            return Err(format!("the prompt has {} tokens and the model's context only {context}", prompt.len()));
        }
        self.decoder.check(&prompt).map_err(|error| error.to_string())?;
        Ok(prompt)
    }

    fn prediction(&self, request: &Request, prompt: usize, generation: &Generation) -> Result<Prediction, Error> {
        let message = self.chat.answer(&generation.tokens, request)?;
        let reason = match (generation.ended, message.get("tool_calls")) {
            (false, _) => "length",
            (true, Some(_)) => "tool_calls",
            (true, None) => "stop",
        };
        let completion = generation.tokens.len() + usize::from(generation.ended);
        let mut response = Response::from_message(&message);
        response.0["model"] = json!(self.name);
        response.0["choices"][0]["finish_reason"] = json!(reason);
        response.0["usage"] = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion});
        Ok(Prediction {
            response: Some(response),
            error: None,
            confidence: Some(generation.confidence),
            latency_ms: None,
            tokens: Some((prompt as u64, completion as u64)),
        })
    }
}

impl Predictor for LocalModel {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn predict(&mut self, prompts: &[Prompt<'_>], progress: &dyn Progress) -> Result<Vec<Prediction>, PredictError> {
        let requests: Vec<_> = prompts.iter().map(Prompt::request).collect();
        progress.begin(&format!("answers of {}", self.name), requests.len() as u64, "prompts");
        let answers = self.answer(&requests, progress).map_err(|error| PredictError { name: self.name.clone(), cause: error.to_string() });
        progress.end();
        answers
    }
}
