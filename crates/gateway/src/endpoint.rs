//! Asks an OpenAI-compatible server (`POST BASE/chat/completions`), one request after the other.
use std::time::{Duration, Instant};

use record::{PredictError, Prediction, Predictor, Progress, Prompt, Response};
use serde_json::{Value, json};

/// Settings of the client.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Base URL that ends before `/chat/completions`.
    pub url: String,
    /// Model name to ask for.
    pub model: String,
    /// Bearer token, if the server wants one. Never written anywhere.
    pub key: Option<String>,
    /// Longest answer in tokens.
    pub max_tokens: u64,
    /// How long to wait for one answer.
    pub timeout: Duration,
    /// Likeliest tokens whose log-probabilities are asked for at each token of the answer; 0 for none. A server that refuses is asked
    /// without.
    pub top_logprobs: u8,
    /// How often a request is tried again after a transport error, 429 or 5xx.
    pub retries: u32,
}

/// One request failed for good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, a time-out, or a broken answer.
    #[error("`{url}` did not answer: {cause}")]
    Transport {
        /// The full URL.
        url: String,
        /// What the transport said.
        cause: String,
    },
    /// The server refused.
    #[error("`{url}` answered with status {status}: {body}")]
    Status {
        /// The full URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// The first 200 characters of the body.
        body: String,
    },
}

impl Endpoint {
    fn agent(&self) -> ureq::Agent {
        ureq::Agent::config_builder().timeout_global(Some(self.timeout)).http_status_as_error(false).build().into()
    }

    fn body(&self, prompt: Prompt<'_>) -> Value {
        let mut body = prompt.request().0.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("model".into(), self.model.clone().into());
            fields.insert("temperature".into(), json!(0));
            fields.insert("max_tokens".into(), self.max_tokens.into());
            fields.remove("stream");
            fields.remove("stream_options");
            if self.top_logprobs > 0 {
                fields.insert("logprobs".into(), true.into());
                fields.insert("top_logprobs".into(), self.top_logprobs.into());
            }
        }
        body
    }

    fn ask(&self, agent: &ureq::Agent, prompt: Prompt<'_>) -> Result<Value, Error> {
        let url = format!("{}/chat/completions", self.url.trim_end_matches('/'));
        let body = self.body(prompt);
        let mut attempt = 0;
        loop {
            let result = self.send(agent, &url, &body);
            let passing = match &result {
                Err(Error::Transport { .. }) => true,
                Err(Error::Status { status, .. }) => *status == 429 || *status >= 500,
                Ok(_) => false,
            };
            if !passing || attempt == self.retries {
                return result;
            }
            std::thread::sleep(Duration::from_millis(250 << attempt.min(6)));
            attempt += 1;
        }
    }

    /// One prompt's answer, or why there is none.
    fn one(&mut self, agent: &ureq::Agent, prompt: Prompt<'_>) -> Prediction {
        let start = Instant::now();
        let mut answer = self.ask(agent, prompt);
        if self.top_logprobs > 0 && matches!(answer, Err(Error::Status { status: 400 | 422, .. })) {
            let asked = std::mem::take(&mut self.top_logprobs);
            answer = self.ask(agent, prompt);
            if answer.is_err() {
                self.top_logprobs = asked;
            }
        }
        match answer {
            Ok(response) => {
                let response = Response(response);
                let usage = response.usage();
                Prediction {
                    latency_ms: Some(start.elapsed().as_secs_f64() * 1e3),
                    tokens: usage.prompt.zip(usage.completion),
                    response: Some(response),
                    ..Prediction::default()
                }
            }
            Err(error) => Prediction { error: Some(error.to_string()), ..Prediction::default() },
        }
    }

    /// Asks for each prompt in turn, and hands every answer on before it asks for the next.
    ///
    /// A single failure is that call's error; when the first five all fail the endpoint as a whole is given up.
    ///
    /// # Errors
    /// When it is.
    pub fn each(
        &mut self,
        prompts: &[Prompt<'_>],
        progress: &dyn Progress,
        take: &mut dyn FnMut(usize, Prediction),
    ) -> Result<(), PredictError> {
        let agent = self.agent();
        progress.begin("predict", prompts.len() as u64, "calls");
        let mut answered = false;
        for (place, prompt) in prompts.iter().enumerate() {
            let prediction = self.one(&agent, *prompt);
            progress.advance(1);
            answered |= prediction.response.is_some();
            if !answered && place + 1 >= prompts.len().min(5) {
                progress.end();
                return Err(PredictError { name: self.name(), cause: prediction.error.unwrap_or_default() });
            }
            take(place, prediction);
        }
        progress.end();
        Ok(())
    }

    fn send(&self, agent: &ureq::Agent, url: &str, body: &Value) -> Result<Value, Error> {
        let transport = |cause: ureq::Error| Error::Transport { url: url.into(), cause: cause.to_string() };
        let mut request = agent.post(url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send_json(body).map_err(transport)?;
        let status = response.status().as_u16();
        if status >= 400 {
            let text = response.body_mut().read_to_string().unwrap_or_default();
            return Err(Error::Status { url: url.into(), status, body: text.chars().take(200).collect() });
        }
        response.body_mut().read_json().map_err(transport)
    }
}

impl Predictor for Endpoint {
    fn name(&self) -> String {
        format!("{} at {}", self.model, self.url)
    }

    /// As [`Endpoint::each`].
    fn predict(&mut self, prompts: &[Prompt<'_>], progress: &dyn Progress) -> Result<Vec<Prediction>, PredictError> {
        let mut predictions = Vec::with_capacity(prompts.len());
        self.each(prompts, progress, &mut |_, prediction| predictions.push(prediction))?;
        Ok(predictions)
    }
}
