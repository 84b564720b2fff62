//! How one answer is compared with the logged one. Knows a request and two answers, no statistics.
mod fault;
#[cfg(test)]
mod golden;
mod json;
mod matching;
mod mode;
mod schema;
mod text;
mod tool_call;
mod value;

use std::collections::BTreeMap;

use jsonschema::Validator;
use record::{Metric, Request, Response};
use serde_json::Value;

pub use fault::Fault;
pub(crate) use fault::Found;
pub(crate) use json::{inside_fence, macro_f1};
pub use mode::{Mode, ModeError};
pub(crate) use schema::Schema;
pub(crate) use text::{folded, standard};
pub(crate) use value::pointer;

use crate::Rules;

/// What the comparison of one answer gives.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    /// What the gate counts, 0 to 1.
    pub score: f64,
    /// Whether the answer is the logged one in the strictest sense the task has.
    pub exact: bool,
    /// Why not.
    pub fault: Option<Fault>,
    /// Where: a JSON pointer.
    pub place: String,
    /// Whether the answer satisfies the schema; none where the request states none.
    pub valid: Option<bool>,
    /// Reported beside the score.
    pub beside: Vec<(&'static str, f64)>,
}

impl Compared {
    /// 1 without a fault, else 0.
    pub(crate) fn exactly(found: Option<Found>) -> Self {
        let exact = found.is_none();
        let (fault, place) = found.map_or((None, String::new()), |found| (Some(found.fault), found.place));
        Self { score: f64::from(u8::from(exact)), exact, fault, place, valid: None, beside: Vec::new() }
    }

    pub(crate) fn beside(&mut self, name: &'static str, value: f64) {
        self.beside.push((name, value));
    }
}

/// Compares the answers of one task.
pub(crate) struct Scorer<'a> {
    metric: Metric,
    rules: &'a Rules,
    /// Compiled schemas by their text; none where a schema itself is broken.
    validators: BTreeMap<String, Option<Validator>>,
}

impl<'a> Scorer<'a> {
    pub(crate) const fn new(metric: Metric, rules: &'a Rules) -> Self {
        Self { metric, rules, validators: BTreeMap::new() }
    }

    /// Compares an answer with the logged one.
    pub(crate) fn compare(&mut self, request: &Request, expected: &Response, got: &Response) -> Compared {
        let (logged, given) = (expected.tool_calls(), got.tool_calls());
        if !logged.is_empty() || !given.is_empty() {
            let mut compared = tool_call::compare(self.rules, request, &logged, &given);
            if logged.is_empty() {
                compared.beside("wrong_call_rate", 1.0);
            } else if self.metric == Metric::ToolCall {
                compared.beside("missed_call_rate", f64::from(u8::from(given.is_empty())));
            }
            compared.valid = self.calls_valid(request, &given);
            return Self::mark_invalid(compared);
        }
        match self.metric {
            Metric::ToolCall => self.no_call(expected, got),
            Metric::JsonExact | Metric::FieldF1 => self.json(request, expected, got),
            Metric::Label => self.label(expected, got),
            Metric::TextExact | Metric::RougeL => self.text(expected, got),
        }
    }

    /// Neither side calls a tool. What is said instead is compared, lest free text pass unread.
    fn no_call(&self, expected: &Response, got: &Response) -> Compared {
        let same = self.rules.ignore_text || text::same_short(&expected.text(), &got.text());
        let mut compared = Compared::exactly((!same).then(|| Found::at(Fault::WrongText, "")));
        compared.beside("wrong_call_rate", 0.0);
        compared
    }

    fn json(&mut self, request: &Request, expected: &Response, got: &Response) -> Compared {
        let (logged, given) = (expected.text(), got.text());
        let fenced = inside_fence(&logged).is_some();
        let Some(expected) = json::parse(&logged, fenced) else {
            // The large model itself broke the form: only the same text agrees with it.
            let same = standard(&logged) == standard(&given);
            let mut compared = Compared::exactly((!same).then(|| Found::at(Fault::WrongText, "")));
            compared.beside("logged_no_json", 1.0);
            return compared;
        };
        let schema = request.schema().unwrap_or(&Value::Null);
        let mut compared = match json::parse(&given, fenced) {
            Some(got) => {
                let mut compared = json::compare(self.rules, schema, &expected, &got);
                compared.valid = self.valid(schema, &got);
                compared
            }
            None => {
                let mut compared = json::unreadable();
                compared.valid = Some(false);
                compared
            }
        };
        if self.metric == Metric::FieldF1 {
            compared.score = compared.beside.iter().find(|(name, _)| *name == "field_f1").map_or(0.0, |(_, f1)| *f1);
        }
        compared.beside("exact", f64::from(u8::from(compared.exact)));
        Self::mark_invalid(compared)
    }

    fn label(&self, expected: &Response, got: &Response) -> Compared {
        let (logged, given) = (standard(&expected.text()), standard(&got.text()));
        let known = self.rules.labels.is_empty() || self.rules.labels.contains(&given);
        let fault = if known { Fault::WrongLabel } else { Fault::UnknownLabel };
        let mut compared = Compared::exactly((logged != given).then(|| Found::at(fault, "")));
        compared.beside("unknown_label_rate", f64::from(u8::from(!known)));
        compared
    }

    fn text(&self, expected: &Response, got: &Response) -> Compared {
        let (logged, given) = (expected.text(), got.text());
        let mut compared = Compared::exactly((!text::same_short(&logged, &given)).then(|| Found::at(Fault::WrongText, "")));
        compared.beside("rouge_l", text::rouge_l(&logged, &given));
        compared.beside("chrf2", text::chrf(&logged, &given));
        compared.beside("exact", f64::from(u8::from(compared.exact)));
        if !logged.is_empty() {
            compared.beside("length_ratio", given.chars().count() as f64 / logged.chars().count() as f64);
        }
        if self.metric == Metric::RougeL {
            compared.score = text::rouge_l(&logged, &given);
        }
        compared
    }

    /// Whether every call names an offered tool and its arguments satisfy that tool's schema. None
    /// where the request offers no tools.
    fn calls_valid(&mut self, request: &Request, calls: &[record::ToolCall]) -> Option<bool> {
        request.tools().next()?;
        let offered = |name: &str| request.tools().any(|tool| tool.name() == name);
        let mut valid = |call: &record::ToolCall| {
            offered(&call.name) && self.valid(tool_call::parameters(request, &call.name), &call.arguments) != Some(false)
        };
        Some(calls.iter().all(&mut valid))
    }

    fn valid(&mut self, schema: &Value, value: &Value) -> Option<bool> {
        if schema.is_null() {
            return None;
        }
        let validator = self.validators.entry(schema.to_string()).or_insert_with(|| jsonschema::validator_for(schema).ok());
        validator.as_ref().map(|validator| validator.is_valid(value))
    }

    /// A difference that also breaks the schema is named so: it is the graver fault.
    fn mark_invalid(mut compared: Compared) -> Compared {
        if compared.valid == Some(false) && matches!(compared.fault, Some(Fault::ValueError)) {
            compared.fault = Some(Fault::SchemaViolation);
        }
        compared
    }
}
