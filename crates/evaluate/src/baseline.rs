//! The answer that needs no model: the most frequent one of the train split.
use std::collections::BTreeMap;

use record::{Call, Part, PredictError, Prediction, Predictor, Progress, Prompt, Response, Train};
use serde_json::Value;

use crate::metric::folded;

/// Gives every prompt the same answer. A small model that is no better has learned nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Majority {
    answer: Option<Response>,
    /// Share of the train calls that have this answer.
    pub share: f64,
}

/// The most frequent answer of the train split; of equally frequent ones the first in canonical order.
#[must_use]
pub fn majority(train: &Part<Train>) -> Majority {
    let mut answers: BTreeMap<String, (u64, &Response)> = BTreeMap::new();
    for call in train.iter() {
        answers.entry(identity(call)).or_insert((0, &call.response)).0 += 1;
    }
    let most = answers.values().fold(None, |best: Option<&(u64, &Response)>, next| best.filter(|b| b.0 >= next.0).or(Some(next)));
    let share = most.map_or(0.0, |(count, _)| *count as f64 / train.len() as f64);
    Majority { answer: most.and_then(|(_, response)| response.message()).map(|message| Response::from_message(message.0)), share }
}

impl Predictor for Majority {
    fn name(&self) -> String {
        "majority answer".to_owned()
    }

    fn predict(&mut self, prompts: &[Prompt<'_>], _: &dyn Progress) -> Result<Vec<Prediction>, PredictError> {
        let error = self.answer.is_none().then(|| "the train split has no answer".to_owned());
        Ok(vec![Prediction { response: self.answer.clone(), error, ..Prediction::default() }; prompts.len()])
    }
}

/// What two answers share that say the same.
fn identity(call: &Call) -> String {
    let calls = call.response.tool_calls();
    if calls.is_empty() {
        let text = call.response.text();
        return serde_json::from_str(&text).map_or_else(|_| folded(&text), |value: Value| canonical(&value));
    }
    let mut calls: Vec<_> = calls.iter().map(|call| format!("{} {}", call.name, canonical(&call.arguments))).collect();
    calls.sort_unstable();
    calls.join("\n")
}

/// JSON text with the members of every object in order of their names.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let inside: Vec<_> =
                sorted.iter().map(|(name, inner)| format!("{}:{}", Value::from(name.as_str()), canonical(inner))).collect();
            format!("{{{}}}", inside.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}
