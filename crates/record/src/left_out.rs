//! What of a task's train calls was not learnt from, beyond a reason and a count.
use serde::{Deserialize, Serialize};

/// Prompts that were too long to learn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooLong {
    /// Calls left out for their length.
    pub calls: u64,
    /// Train calls that were looked at.
    pub of: u64,
    /// Length that half of their prompts do not exceed, in the model's tokens.
    pub p50: u64,
    /// Length that nine tenths of them do not exceed.
    pub p90: u64,
    /// The longest.
    pub longest: u64,
}

impl TooLong {
    /// Of the lengths of the prompts left out, among `of` calls; none where no prompt was too long.
    #[must_use]
    pub fn of(mut lengths: Vec<u64>, of: u64) -> Option<Self> {
        lengths.sort_unstable();
        let at = |tenths: usize| lengths[(lengths.len() * tenths).div_ceil(10) - 1];
        let longest = *lengths.last()?;
        Some(Self { calls: lengths.len() as u64, of, p50: at(5), p90: at(9), longest })
    }
}

impl std::fmt::Display for TooLong {
    #[expect(clippy::cast_precision_loss, reason = "shown as a percentage")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calls, of, p50, p90, longest } = self;
        let share = 100.0 * *calls as f64 / (*of).max(1) as f64;
        write!(f, "{calls} of {of} calls ({share:.1} %) too long: half of their prompts up to {p50} tokens, nine tenths up to {p90}, ")?;
        write!(f, "the longest {longest}")
    }
}

/// What a run was too short to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unseen {
    /// Calls.
    pub calls: u64,
    /// Conversations of which no call was seen.
    pub conversations: u64,
    /// Tokens of the calls, prompt and answer, each call counted by itself.
    pub tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::TooLong;

    #[test]
    fn the_tail_is_that_of_the_lengths_left_out() {
        assert_eq!(TooLong::of(Vec::new(), 9), None);
        let one = TooLong { calls: 1, of: 9, p50: 7, p90: 7, longest: 7 };
        assert_eq!(TooLong::of(vec![7], 9), Some(one));
        let ten = TooLong::of((1..=10).rev().collect(), 40).expect("ten lengths");
        assert_eq!((ten.p50, ten.p90, ten.longest), (5, 9, 10));
        assert!(ten.to_string().starts_with("10 of 40 calls (25.0 %) too long"), "{ten}");
    }
}
