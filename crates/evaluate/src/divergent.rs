//! The calls on which small and large model differ, side by side, for a person to judge.
use record::{Part, Prediction, Response};
use serde::{Deserialize, Serialize};

use crate::judge::Judged;
use crate::metric::Fault;

/// One call on which the two differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Divergent {
    /// The call.
    pub source_id: String,
    /// Its conversation.
    pub conversation: String,
    /// The last thing the user said.
    pub asked: String,
    /// The logged answer: its text, or its tool calls as JSON.
    pub expected: String,
    /// The contender's answer; empty where it gave none.
    pub got: String,
    /// Why they do not agree.
    pub fault: Option<Fault>,
    /// Where: a JSON pointer, or why there is no answer.
    pub detail: String,
    /// How sure the contender was.
    pub confidence: Option<f64>,
}

/// The divergent calls of a judged part, surest first: a mistake made with confidence is the one that
/// no threshold catches.
#[must_use]
pub fn divergent<S>(part: &Part<S>, predictions: &[Prediction], judged: &Judged<S>) -> Vec<Divergent> {
    let together = part.iter().zip(predictions).zip(&judged.rows);
    let mut found: Vec<_> = together
        .filter(|(_, row)| !row.exact)
        .map(|((call, prediction), row)| Divergent {
            source_id: row.source_id.clone(),
            conversation: row.conversation.clone(),
            asked: call.request.last_user(),
            expected: answer(&call.response),
            got: prediction.response.as_ref().map(answer).unwrap_or_default(),
            fault: row.fault,
            detail: row.detail.clone(),
            confidence: row.confidence,
        })
        .collect();
    found.sort_by(|a, b| b.confidence.unwrap_or(0.0).total_cmp(&a.confidence.unwrap_or(0.0)));
    found
}

/// An answer as one text.
fn answer(response: &Response) -> String {
    let calls = response.tool_calls();
    if calls.is_empty() {
        return response.text();
    }
    let plain: Vec<_> = calls.iter().map(|call| serde_json::json!({"name": call.name, "arguments": call.arguments})).collect();
    serde_json::Value::Array(plain).to_string()
}
