//! What is known of one model on one task, added up night by night.
use record::Time;
use serde::{Deserialize, Serialize};
use stats::{log_e_above, log_e_below};

/// What a sequence of judgements is about. Any change starts a new sequence: evidence for one version
/// says nothing about another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// Weights of the base model.
    pub model: String,
    /// Adapter; empty without one.
    pub adapter: String,
    /// System prompt and tools of the task.
    pub prompt: String,
    /// Catalogue the model came from.
    pub catalogue: String,
}

/// New independent judgements: one call of each conversation that no earlier run has judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Conversations judged.
    pub n: u64,
    /// Of which right.
    pub successes: u64,
    /// Time of the first call.
    #[serde(default)]
    pub first: Option<Time>,
    /// Time of the last call.
    #[serde(default)]
    pub last: Option<Time>,
}

/// Running totals and their e-values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// What it is about.
    pub hashes: Hashes,
    /// The bar it tests.
    pub bar: f64,
    /// Conversations judged so far.
    pub n: u64,
    /// Of which right.
    pub successes: u64,
    /// Number of times new judgements were added.
    pub looks: u64,
    /// Logarithm of the e-value against "agreement is at the bar or below": promote where it is high.
    pub log_e_promote: f64,
    /// Logarithm of the e-value against "agreement is at the bar less the slack, or above": roll back where it is high.
    pub log_e_demote: f64,
    /// Time of the first call judged.
    pub first: Option<Time>,
    /// Time of the last call judged.
    pub last: Option<Time>,
}

impl Sequence {
    /// The sequence with new judgements: a new one where what is judged, or the bar, has changed.
    #[must_use]
    pub fn continued(before: Option<&Self>, hashes: &Hashes, bar: f64, slack: f64, new: Evidence) -> Self {
        let same = before.filter(|before| before.hashes == *hashes && before.bar == bar);
        let mut next = same.cloned().unwrap_or_else(|| Self { hashes: hashes.clone(), bar, ..Self::default() });
        if new.n > 0 {
            next.n += new.n;
            next.successes += new.successes.min(new.n);
            next.looks += 1;
            next.first = [next.first, new.first].into_iter().flatten().min();
            next.last = [next.last, new.last].into_iter().flatten().max();
        }
        // The mixtures need a rate strictly between 0 and 1.
        let within = |rate: f64| rate.clamp(1e-6, 1.0 - 1e-6);
        next.log_e_promote = log_e_above(next.successes, next.n, within(bar));
        next.log_e_demote = log_e_below(next.successes, next.n, within(bar - slack));
        next
    }

    /// Whether the agreement is shown to be above the bar.
    #[must_use]
    pub fn promotes(&self, alpha: f64) -> bool {
        self.log_e_promote >= -alpha.ln()
    }

    /// Whether the agreement is shown to have fallen below what is tolerated.
    #[must_use]
    pub fn demotes(&self, alpha: f64) -> bool {
        self.log_e_demote >= -alpha.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::{Evidence, Hashes, Sequence};

    fn night(n: u64, successes: u64) -> Evidence {
        Evidence { n, successes, ..Evidence::default() }
    }

    fn after(nights: &[Evidence], hashes: &Hashes) -> Sequence {
        nights.iter().fold(Sequence::default(), |before, new| Sequence::continued(Some(&before), hashes, 0.95, 0.02, *new))
    }

    #[test]
    fn nights_add_up_whatever_their_order() {
        let hashes = Hashes { model: "m".into(), ..Hashes::default() };
        let (one, two) = (after(&[night(40, 40), night(48, 48)], &hashes), after(&[night(88, 88)], &hashes));
        assert_eq!((one.n, one.log_e_promote, one.looks), (88, two.log_e_promote, 2));
        assert!(one.promotes(0.05) && !one.demotes(0.05));
        assert!(!after(&[night(87, 87)], &hashes).promotes(0.05));
        assert_eq!(after(&[night(88, 88), night(0, 0)], &hashes).looks, 1);
    }

    #[test]
    fn a_new_adapter_starts_anew_and_a_fallen_one_is_noticed() {
        let (old, new) = (Hashes::default(), Hashes { adapter: "b".into(), ..Hashes::default() });
        let before = after(&[night(500, 498)], &old);
        let next = Sequence::continued(Some(&before), &new, 0.95, 0.02, night(10, 10));
        assert_eq!((next.n, next.looks), (10, 1));
        assert!(after(&[night(60, 45)], &old).demotes(0.05));
        assert!(!after(&[night(60, 56)], &old).demotes(0.05));
    }
}
