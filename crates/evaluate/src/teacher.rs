//! Which large model's answers are the reference where several answered one task.
use std::collections::BTreeMap;

use record::{Call, Clean, Part, Train};
use stats::wilson;

/// Conversations with a stated outcome below which success says nothing about a model.
const OUTCOMES: u64 = 20;

/// What is known of one large model.
#[derive(Default)]
struct Model<'a> {
    calls: u64,
    /// Last stated outcome of each conversation.
    outcomes: BTreeMap<&'a str, bool>,
}

impl Model<'_> {
    /// Lower bound of the share of conversations that succeeded; none with too few outcomes.
    fn success(&self, alpha: f64) -> Option<f64> {
        let conversations = self.outcomes.len() as u64;
        let successes = self.outcomes.values().filter(|good| **good).count() as u64;
        (conversations >= OUTCOMES).then(|| wilson(successes, conversations, alpha).lower)
    }
}

/// The large model that succeeds most in a task's train split: by the lower bound of the share of its
/// conversations with a reward above 0, so that a model seen twice does not win by luck; without
/// outcomes, the one with most calls. None where only one model answered.
#[must_use]
pub fn teacher(train: &Part<Train>, alpha: f64) -> Option<String> {
    let mut models: BTreeMap<&str, Model<'_>> = BTreeMap::new();
    for call in train.iter().map(|call: &Clean<Call>| &**call) {
        let model = models.entry(call.model()).or_default();
        model.calls += 1;
        if let Some(reward) = call.reward() {
            model.outcomes.insert(&call.conversation_id, reward > 0.0);
        }
    }
    if models.len() < 2 {
        return None;
    }
    let rank = |model: &Model<'_>| (model.success(alpha).unwrap_or(0.0), model.calls);
    let best = models.iter().max_by(|a, b| {
        let ((one, one_calls), (two, two_calls)) = (rank(a.1), rank(b.1));
        one.total_cmp(&two).then(one_calls.cmp(&two_calls)).then(b.0.cmp(a.0))
    });
    best.map(|(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::teacher;
    use record::{Call, Clean, Shares, split};
    use serde_json::json;

    /// `calls` conversations of `model`, of which `good` succeed; no outcome at all where `good` is none.
    fn log(model: &str, calls: usize, good: Option<usize>) -> Vec<Clean<Call>> {
        let call = |i: usize| {
            let feedback = good.map_or_else(|| json!({}), |good| json!({"reward": f64::from(u8::from(i < good))}));
            let row = json!({"source_id": format!("{model}{i}"), "conversation_id": format!("{model}{i}"), "feedback": feedback,
                "request": {"model": model}, "response": {}});
            let call = serde_json::from_value(row).expect("the record has every required field");
            #[expect(clippy::disallowed_methods, reason = "a test log holds nothing personal")]
            Clean::vouch(call)
        };
        (0..calls).map(call).collect()
    }

    fn chosen(log: Vec<Clean<Call>>) -> Option<String> {
        teacher(&split(log, 0, Shares { calibration: 0.0, held: 0.0 }).train, 0.05)
    }

    #[test]
    fn success_beats_number_and_a_lucky_few_do_not_win() {
        assert_eq!(chosen([log("big", 100, Some(50)), log("good", 60, Some(55))].concat()).as_deref(), Some("good"));
        assert_eq!(chosen([log("lucky", 5, Some(5)), log("sound", 100, Some(80))].concat()).as_deref(), Some("sound"));
        assert_eq!(chosen([log("few", 5, None), log("many", 9, None)].concat()).as_deref(), Some("many"));
        assert_eq!(chosen(log("alone", 9, None)), None);
    }
}
