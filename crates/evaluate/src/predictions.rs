//! A predictions file: answers made elsewhere, judged like any other contender's. Takes text, reads no disk.
use std::collections::BTreeMap;

use record::{PredictError, Prediction, Predictor, Progress, Prompt, Reject, Response};
use serde::Deserialize;
use serde_json::Value;

/// Answers by `source_id`.
#[derive(Clone, Debug, Default)]
pub struct PredictionsFile {
    name: String,
    answers: BTreeMap<String, Prediction>,
    /// Models that the lines name.
    pub models: Vec<String>,
}

/// One line: `response` is an OpenAI message, a completion, or plain text.
#[derive(Deserialize)]
struct Line {
    source_id: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    response: Value,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    latency_ms: Option<f64>,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    error: Option<String>,
}

impl PredictionsFile {
    /// Reads JSONL `{source_id, model, response, usage, latency_ms}`, with `confidence` and `error` if
    /// present. A bad line, or a second one for the same call, is a reject; the others count.
    #[must_use]
    pub fn parse(file: &str, text: &str) -> (Self, Vec<Reject>) {
        let mut predictions = Self { name: file.to_owned(), ..Self::default() };
        let mut rejects = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            if let Err((field, problem, cure)) = predictions.read(text) {
                rejects.push(Reject {
                    file: file.to_owned(),
                    line,
                    field: field.to_owned(),
                    problem,
                    cure: cure.to_owned(),
                    row: Some(text.to_owned()),
                });
            }
        }
        predictions.models.sort_unstable();
        predictions.models.dedup();
        (predictions, rejects)
    }

    fn read(&mut self, text: &str) -> Result<(), (&'static str, String, &'static str)> {
        let line: Line = serde_json::from_str(text)
            .map_err(|error| ("", error.to_string(), "write one object a line: {source_id, model, response, usage, latency_ms}"))?;
        let response = match &line.response {
            Value::Null => None,
            Value::String(text) => Some(Response::from_message(&serde_json::json!({"role": "assistant", "content": text}))),
            Value::Object(members) if members.contains_key("choices") => Some(Response(line.response.clone())),
            Value::Object(members) if members.contains_key("content") || members.contains_key("tool_calls") => {
                Some(Response::from_message(&line.response))
            }
            _ => return Err(("response", "no message and no completion".to_owned(), "give an OpenAI message or chat completion")),
        };
        if self.answers.contains_key(&line.source_id) {
            return Err(("source_id", format!("`{}` has an answer already", line.source_id), "keep one line for each call"));
        }
        let usage = line.usage.as_ref().or_else(|| line.response.get("usage"));
        let count = |name| usage.and_then(|usage| usage.get(name)).and_then(Value::as_u64);
        let error = line.error.or_else(|| response.is_none().then(|| "the predictions file has no response here".to_owned()));
        self.models.extend(line.model);
        let tokens = count("prompt_tokens").zip(count("completion_tokens"));
        let prediction = Prediction { response, error, confidence: line.confidence, latency_ms: line.latency_ms, tokens };
        self.answers.insert(line.source_id, prediction);
        Ok(())
    }

    /// Number of answers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there is no answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

impl Predictor for PredictionsFile {
    fn name(&self) -> String {
        if self.models.len() == 1 { format!("{} ({})", self.models[0], self.name) } else { self.name.clone() }
    }

    fn predict(&mut self, prompts: &[Prompt<'_>], _: &dyn Progress) -> Result<Vec<Prediction>, PredictError> {
        let missing = || Prediction { error: Some(format!("`{}` has no line for this call", self.name)), ..Prediction::default() };
        Ok(prompts.iter().map(|prompt| self.answers.get(prompt.source_id()).cloned().unwrap_or_else(missing)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::PredictionsFile;

    #[test]
    fn messages_completions_and_texts_are_read_and_bad_lines_kept() {
        let text = r#"{"source_id": "a", "model": "m", "response": {"role": "assistant", "content": "x"}, "usage": {"prompt_tokens": 3, "completion_tokens": 1}, "latency_ms": 4}

{"source_id": "b", "model": "m", "response": {"choices": [{"message": {"content": "y"}}]}}
{"source_id": "a", "response": "again"}
{"source_id": "c", "response": 7}
{"source_id": "d", "response": null}
broken
{"source_id": "e", "response": "z", "confidence": 0.5}"#;
        let (file, rejects) = PredictionsFile::parse("p.jsonl", text);
        assert_eq!(file.len(), 4);
        let at: Vec<_> = rejects.iter().map(|reject| (reject.line, reject.field.as_str())).collect();
        assert_eq!(at, [(4, "source_id"), (5, "response"), (7, "")]);
        assert_eq!(file.answers["a"].tokens, Some((3, 1)));
        assert_eq!(file.answers["b"].response.as_ref().map(record::Response::text), Some("y".to_owned()));
        assert!(file.answers["d"].error.is_some());
        assert_eq!(record::Predictor::name(&file), "m (p.jsonl)");
    }
}
