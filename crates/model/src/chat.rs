//! Between requests and token ids: tokenizer and chat template of one model together.
//!
//! Knows what ends a turn. Does not truncate: callers see the lengths and decide.
use std::borrow::Cow;
use std::path::Path;

use record::{Request, Shared, Time};
use serde_json::Value;

use crate::config::Ids;
use crate::error::read;
use crate::{ChatTemplate, Config, Error, Tokenizer, answer, trimming};

/// Special tokens that stay in an answer's text because they carry its structure.
const STRUCTURE: [&str; 5] = ["<tool_call>", "</tool_call>", "<think>", "</think>", "<|python_tag|>"];

/// The files of a model folder as bytes, for a model compiled into a program.
#[derive(Clone, Copy, Debug)]
pub struct ChatFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`.
    pub tokenizer_config: &'a [u8],
    /// `chat_template.jinja`, where the template is not in the configuration.
    pub template: Option<&'a str>,
    /// `generation_config.json`, if there is one.
    pub generation_config: Option<&'a [u8]>,
}

/// One training example: the answer's tokens carry the loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Tokens of messages, tools and the head of the answer.
    pub prompt: Vec<u32>,
    /// Tokens of the answer, the end of the turn included.
    pub completion: Vec<u32>,
}

/// Turns requests into token ids and token ids into answers.
#[derive(Clone, Debug)]
pub struct Chat {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    ends: Vec<u32>,
    /// What of each request the model is not shown.
    shared: Option<Shared>,
}

impl Chat {
    /// Reads tokenizer, template and the tokens that end a turn from a model folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, there is no chat template, or nothing says what ends a turn.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("generation_config.json");
        let generation = path.exists().then(|| read(&path)).transpose()?;
        Self::new(Tokenizer::load(folder)?, ChatTemplate::load(folder)?, &Config::load(folder)?, generation.as_deref())
    }

    /// The same from bytes.
    ///
    /// # Errors
    /// As [`Chat::load`].
    pub fn from_bytes(files: &ChatFiles<'_>, config: &Config) -> Result<Self, Error> {
        let template = ChatTemplate::from_config(files.tokenizer_config, files.template)?;
        Self::new(Tokenizer::from_bytes(files.tokenizer)?, template, config, files.generation_config)
    }

    pub(crate) fn new(tokenizer: Tokenizer, template: ChatTemplate, config: &Config, generation: Option<&[u8]>) -> Result<Self, Error> {
        #[derive(serde::Deserialize)]
        struct Generation {
            eos_token_id: Option<Ids>,
        }
        let mut ends = config.eos_token_ids.clone();
        if let Some(bytes) = generation {
            let parsed: Generation =
                serde_json::from_slice(bytes).map_err(|cause| Error::malformed("generation_config.json", "JSON", cause))?;
            ends.extend(parsed.eos_token_id.map(Ids::into_vec).unwrap_or_default());
        }
        ends.extend(template.special("eos_token").and_then(|token| tokenizer.id(token)));
        ends.sort_unstable();
        ends.dedup();
        if ends.is_empty() {
            return Err(Error::Template("neither the configuration nor the tokenizer says which token ends a turn".to_owned()));
        }
        Ok(Self { tokenizer, template, ends, shared: None })
    }

    /// The same, for which it is now `time`.
    #[must_use]
    pub fn at(mut self, time: Time) -> Self {
        self.template = self.template.at(time);
        self
    }

    /// The same for a model that was trained without this head of its prompts.
    #[must_use]
    pub fn without(mut self, shared: Option<Shared>) -> Self {
        self.shared = shared.filter(|shared| !shared.is_empty());
        self
    }

    /// What of each request the model is not shown, if anything.
    #[must_use]
    pub const fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// What of a request the model is shown.
    ///
    /// # Errors
    /// When the request does not begin with the head that the model was trained without.
    pub fn shown<'a>(&self, request: &'a Request) -> Result<Cow<'a, Request>, Error> {
        let Some(shared) = &self.shared else { return Ok(Cow::Borrowed(request)) };
        shared.trim(request).map(Cow::Owned).ok_or(Error::Head)
    }

    /// The same with a template that drops the head itself, for files that others will load. Give it whole requests.
    ///
    /// # Errors
    /// When the template does not parse.
    pub fn exported(&self) -> Result<Self, Error> {
        let Some(shared) = &self.shared else { return Ok(self.clone()) };
        let source = trimming(self.template.source(), &[(None, shared)]);
        let template = ChatTemplate::new(&source, self.template.specials().clone())?;
        Ok(Self { template, shared: None, ..self.clone() })
    }

    /// The tokenizer.
    #[must_use]
    pub const fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The template.
    #[must_use]
    pub const fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// Tokens that end a turn, ascending.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Tokens of a request up to where the answer begins.
    ///
    /// # Errors
    /// When the template refuses the messages.
    pub fn prompt(&self, request: &Request) -> Result<Vec<u32>, Error> {
        self.tokenizer.encode(&self.template.render_request(&*self.shown(request)?, None)?, false)
    }

    /// Tokens of a request and of its logged answer (an OpenAI message), found by rendering with and without the answer.
    ///
    /// # Errors
    /// When the template refuses the messages, or renders the conversation differently once it is answered, so that there is no
    /// answer that could be trained on.
    pub fn example(&self, request: &Request, answer: &Value) -> Result<Example, Error> {
        let request = &*self.shown(request)?;
        let before = self.template.render_request(request, None)?;
        let whole = self.template.render_request(request, Some(answer))?;
        let Some(text) = whole.strip_prefix(before.as_str()) else {
            return Err(Error::Template(diverged(&before, &whole)));
        };
        let prompt = self.tokenizer.encode(&before, false)?;
        // the answer's first token may lean on the last of the prompt; where the two would merge, keep them apart as generation does
        let whole = self.tokenizer.encode(&whole, false)?;
        let mut completion = match whole.strip_prefix(prompt.as_slice()) {
            Some(rest) => rest.to_vec(),
            None => self.tokenizer.encode(text, false)?,
        };
        // templates write blanks after the end of the turn: no model is asked to produce them
        match completion.iter().rposition(|id| self.ends.contains(id)) {
            Some(last) => completion.truncate(last + 1),
            None => completion.push(self.end()),
        }
        Ok(Example { prompt, completion })
    }

    /// The end of a turn to add where the template writes none: what the tokenizer calls `eos_token`.
    fn end(&self) -> u32 {
        let named = self.template.special("eos_token").and_then(|token| self.tokenizer.id(token));
        named.or_else(|| self.ends.first().copied()).expect("`new` refuses a model without an end")
    }

    /// The assistant message that generated tokens are; `request` is the whole one, whose tools may have been called. Special tokens
    /// without meaning for the answer are dropped.
    ///
    /// # Errors
    /// When the decoder of the tokenizer fails.
    pub fn answer(&self, tokens: &[u32], request: &Request) -> Result<Value, Error> {
        let specials = self.tokenizer.specials();
        let kept = |id: &u32| specials.get(id).is_none_or(|text| STRUCTURE.contains(&text.as_str()));
        let tokens: Vec<_> = tokens.iter().copied().filter(kept).collect();
        Ok(answer::message(&self.tokenizer.decode(&tokens)?, request.tools()))
    }
}

/// Says where two renderings part.
fn diverged(before: &str, whole: &str) -> String {
    let same: usize = before.chars().zip(whole.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let tail = |text: &str| text[same..].chars().take(40).collect::<String>();
    format!("the prompt is rendered differently once it is answered: `{}` became `{}`", tail(before), tail(whole))
}
