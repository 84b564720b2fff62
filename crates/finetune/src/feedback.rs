//! What the log says of calls and conversations becomes what they count. Knows examples and rewards, no token.
use std::collections::BTreeMap;

use record::{Call, Part, Train};
use serde::{Deserialize, Serialize};

use crate::examples::Example;

/// What becomes of the rewards, ratings and thumbs of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Nothing: every call counts alike.
    Ignore,
    /// Conversations whose last stated reward is 0 or less are left out while enough others remain.
    #[default]
    PreferSuccess,
    /// A call counts its conversation's last stated reward times its own rating, each as a share of the highest in the log if that is
    /// above 1, and the mean of all where nothing is said. What would count nothing is left out while enough others remain, and counts
    /// a tenth otherwise.
    Weigh,
}

/// Examples that must remain for others to be left out: this many, and a quarter of what there is.
const ENOUGH: usize = 64;

/// What counts nothing counts where it cannot be left out.
const LEAST: f64 = 0.1;

impl Feedback {
    /// Weighs or drops examples of `part`. Says how many were dropped.
    pub(crate) fn apply(self, examples: &mut Vec<Example>, part: &Part<Train>) -> u64 {
        match self {
            Self::Ignore => 0,
            Self::PreferSuccess => {
                let rewards = last(part, Call::reward);
                without(examples, |example| rewards.get(example.conversation.as_str()).is_some_and(|reward| *reward <= 0.0))
            }
            Self::Weigh => weigh(examples, part),
        }
    }
}

/// What is stated last in each conversation.
fn last(part: &Part<Train>, stated: impl Fn(&Call) -> Option<f64>) -> BTreeMap<&str, f64> {
    part.iter().filter_map(|call| Some((call.conversation_id.as_str(), stated(call)?))).collect()
}

/// Drops the examples that `failed` if enough others remain. Says how many.
fn without(examples: &mut Vec<Example>, failed: impl Fn(&Example) -> bool) -> u64 {
    let failures = examples.iter().filter(|example| failed(example)).count();
    let rest = examples.len() - failures;
    if failures == 0 || rest < ENOUGH || rest * 4 < examples.len() {
        return 0;
    }
    examples.retain(|example| !failed(example));
    failures as u64
}

fn weigh(examples: &mut Vec<Example>, part: &Part<Train>) -> u64 {
    let outcomes = last(part, Call::outcome);
    let of_conversation = shares(examples.iter().map(|example| outcomes.get(example.conversation.as_str()).copied()).collect());
    let of_call = shares(examples.iter().map(|example| part[example.position].grade()).collect());
    for (example, (outcome, grade)) in examples.iter_mut().zip(of_conversation.into_iter().zip(of_call)) {
        #[expect(clippy::cast_possible_truncation, reason = "a share of one")]
        let weight = (outcome * grade) as f32;
        example.sequence.weight = weight;
    }
    let dropped = without(examples, |example| example.sequence.weight <= 0.0);
    for example in examples.iter_mut().filter(|example| example.sequence.weight <= 0.0) {
        #[expect(clippy::cast_possible_truncation, reason = "a share of one")]
        let least = LEAST as f32;
        example.sequence.weight = least;
    }
    dropped
}

/// Statements as shares of one: of the highest, if that is above 1; the mean where there is none, 1 where there are none at all.
#[expect(clippy::cast_precision_loss, reason = "a count of calls")]
fn shares(stated: Vec<Option<f64>>) -> Vec<f64> {
    let highest = stated.iter().flatten().copied().fold(1.0, f64::max);
    let share = |value: f64| (value / highest).clamp(0.0, 1.0);
    let known: Vec<f64> = stated.iter().flatten().map(|value| share(*value)).collect();
    let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    stated.into_iter().map(|value| value.map_or(mean, share)).collect()
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn ratings_are_shares_of_the_highest_and_silence_is_the_mean() {
        assert_eq!(shares(vec![Some(4.0), None, Some(2.0), Some(-1.0)]), [1.0, 0.5, 0.5, 0.0]);
        assert_eq!(shares(vec![Some(0.5), Some(0.25)]), [0.5, 0.25]);
        assert_eq!(shares(vec![None, None]), [1.0, 1.0]);
    }
}
