//! What was exported, read back and compared with the model in memory on prompts of the task. No held-out call is looked at.
use finetune::{Agreement, Tolerance};
use model::gguf::{Gguf, Quant, Written};
use model::{Config, Decoder, Weights};
use record::{Call, Clean, Request};
use serde_json::json;
use store::Store;

use super::Tuned;
use crate::aside::Aside;
use crate::commands::gates::put;
use crate::context::Context;
use crate::error::hinted;
use crate::parts;

/// Prompts that an export is compared on.
const PROMPTS: usize = 8;

/// The model in memory, and prompts to compare others on.
pub struct Check<'a> {
    context: &'a Context,
    tuned: &'a Tuned<'a>,
    decoder: Decoder,
    /// The prompts as text and as tokens.
    texts: Vec<String>,
    tokens: Vec<Vec<u32>>,
}

impl<'a> Check<'a> {
    /// Takes prompts of the calibration split, or of the train split where that has too few.
    pub fn new(context: &'a Context, store: &Store, tuned: &'a Tuned<'a>) -> anyhow::Result<Self> {
        let parts = parts::of_task(context, store, &tuned.task.task)?;
        let (chat, exported) = (&tuned.chat, tuned.chat.exported()?);
        let room = tuned.config.max_position_embeddings;
        let mut prompts: Vec<(String, Vec<u32>)> = Vec::new();
        let mut take = |request: &Request| {
            let text = chat.template().render_request(&*chat.shown(request)?, None)?;
            // what goes along has to make the same prompt of the whole request
            if exported.template().render_request(request, None)? != text {
                return Ok(Err(request.first_user()));
            }
            let tokens = chat.tokenizer().encode(&text, false)?;
            if tokens.len() < room && !prompts.iter().any(|(_, others)| *others == tokens) {
                prompts.push((text, tokens));
            }
            Ok::<_, model::Error>(Ok(prompts.len() == PROMPTS))
        };
        let calls = spread(&parts.calibration).chain(spread(&parts.train));
        for call in calls {
            // a request that the template refuses is no reason to refuse the export
            match take(&call.request).unwrap_or(Ok(false)) {
                Ok(true) => break,
                Ok(false) => {}
                Err(asked) => anyhow::bail!("the template that drops the constant prompt does not do so before `{asked}`: report this"),
            }
        }
        let (texts, tokens) = prompts.into_iter().unzip();
        Ok(Self { context, tuned, decoder: Decoder::new(&tuned.config, &tuned.weights)?, texts, tokens })
    }

    /// The prompts as text.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Compares weights that were read back.
    pub fn weights(&self, aside: &Aside, name: &str, weights: &Weights, tolerance: Tolerance) -> anyhow::Result<()> {
        let agreement = self.measure(name, &self.tuned.config, weights, tolerance)?;
        self.report(aside, name, &agreement, &json!({}))
    }

    /// Compares a GGUF file: weights, configuration and tokenizer are all its own.
    pub fn file(&self, aside: &Aside, name: &str, file: &Gguf, quant: Quant, written: &Written) -> anyhow::Result<()> {
        let tolerance = match quant {
            Quant::F32 => Tolerance::Exact,
            Quant::F16 => Tolerance::Rounded,
            _ => Tolerance::Quantised,
        };
        let agreement = self.measure(name, &file.config()?, &file.weights()?, tolerance)?;
        let theirs = file.chat()?;
        let mut alike = 0;
        for (text, tokens) in self.texts.iter().zip(&self.tokens) {
            alike += usize::from(theirs.tokenizer().encode(text, false)? == *tokens);
        }
        self.tokens(written, alike);
        let more = json!({
            "quant": quant.name(),
            "fallbacks": written.fallbacks.iter().map(|(wanted, used, count)| json!({"wanted": wanted, "used": used, "tensors": count}))
                .collect::<Vec<_>>(),
            "tokenizer": {"pre": written.pre, "exact": written.pre_exact, "prompts_alike": alike},
        });
        self.report(aside, name, &agreement, &more)
    }

    /// Says where llama.cpp's tokenizer is not this model's.
    fn tokens(&self, written: &Written, alike: usize) {
        let (pre, prompts) = (written.pre, self.texts.len());
        let line = match written.pre_exact {
            true => return,
            false if alike == prompts => {
                format!("llama.cpp's tokenizer (`{pre}`) gives all {prompts} prompts the same tokens, but is not the same")
            }
            false => format!(
                "llama.cpp has no tokenizer like this one; the nearest, `{pre}`, gives {alike} of {prompts} prompts the same tokens: send it token \
                 ids, or judge the file as it is with `evaluate --model`"
            ),
        };
        self.context.ui.status(&format!("export    {line}"));
    }

    fn measure(&self, name: &str, config: &Config, weights: &Weights, tolerance: Tolerance) -> anyhow::Result<Agreement> {
        let agreement = Agreement::measure(&self.decoder, &Decoder::new(config, weights)?, &self.tokens, self.tuned.chat.ends())?;
        let accepted = agreement.accept(tolerance);
        accepted.map_err(|error| hinted(format!("`{name}`: {error}"), "nothing was written; another `--quant` may do, or report this"))?;
        Ok(agreement)
    }

    /// One line, and a file beside the export.
    fn report(&self, aside: &Aside, name: &str, agreement: &Agreement, more: &serde_json::Value) -> anyhow::Result<()> {
        let Agreement { prompts, same_answers, places, same_next_token, divergence, .. } = agreement;
        self.context.ui.status(&format!(
            "export    `{name}` read back: {same_answers} of {prompts} answers and {:.1} % of {places} next tokens as in memory, divergence \
             {divergence:.2e} nats",
            100.0 * same_next_token
        ));
        let mut value = json!({
            "schema_version": 1, "export": name, "task": self.tuned.task.name, "model": self.tuned.base.name,
            "fine_tune": self.tuned.manifest.fingerprint, "agreement": agreement,
        });
        for (key, entry) in more.as_object().into_iter().flatten() {
            value[key] = entry.clone();
        }
        put(&aside.folder().join(format!("{name}.check.json")), &(serde_json::to_string_pretty(&value)? + "\n"), false)
    }
}

/// Calls from all over a part, so that neighbours that resemble each other do not fill the eight places.
fn spread(calls: &[Clean<Call>]) -> impl Iterator<Item = &Clean<Call>> {
    let step = (calls.len() / PROMPTS).max(1);
    (0..step).flat_map(move |start| calls.iter().skip(start).step_by(step))
}
