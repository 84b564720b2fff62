//! What may be fitted before the verdict: which candidate goes to it, and from which confidence on a
//! small model may answer. Sees the calibration split alone.
use std::collections::BTreeMap;

use record::{Calibration, Held};
use serde::{Deserialize, Serialize};
use stats::{Limits, binomial_tail, certify, holm, pick_per_group};

use crate::Evaluate;
use crate::judge::{Judged, Row};

/// A confidence from which the small model's error is certified to stay within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The small model answers from this confidence on.
    pub threshold: f64,
    /// Share of calibration conversations that it then answers.
    pub share: f64,
    /// Conversations it answers.
    pub accepted: u64,
    /// Of which wrong.
    pub errors: u64,
    /// Conversations looked at, one call of each.
    pub conversations: u64,
    /// The certified error rate.
    pub limit: f64,
    /// p-value of "the error rate is above the limit".
    pub p_value: f64,
}

impl Evaluate {
    /// The candidate with the best mean score on the calibration split; the first of equals, and of
    /// those that have no calibration calls. One winner goes to the held-out calls, so its bound needs
    /// no correction. None without candidates.
    #[must_use]
    pub fn choose(&self, candidates: &[Judged<Calibration>]) -> Option<usize> {
        let scores = candidates.iter().enumerate().map(|(place, judged)| (place, judged.score.score.unwrap_or(-1.0)));
        scores.fold(None, |best: Option<(usize, f64)>, next| best.filter(|b| b.1 >= next.1).or(Some(next))).map(|(place, _)| place)
    }

    /// Where several candidates were judged on the held-out calls after all: which of them pass the
    /// bar when the tests are corrected by Holm. One call of each conversation.
    #[must_use]
    pub fn holm(&self, candidates: &[Judged<Held>]) -> Vec<bool> {
        let p_values = candidates.iter().map(|judged| {
            let (x, n) = judged.per_conversation(self.seed);
            binomial_tail(x, n, self.bar)
        });
        holm(&p_values.collect::<Vec<_>>(), self.alpha)
    }

    /// The lowest confidence from which the answers are certified to err at most `1 - bar` of the
    /// time (learn then test). One call of each conversation; an answer is right only if it is
    /// exactly the logged one, whatever the metric. None without confidences or without proof.
    #[must_use]
    pub fn certify(&self, judged: &Judged<Calibration>) -> Option<Certificate> {
        let mut conversations: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        judged.rows.iter().for_each(|row| conversations.entry(&row.conversation).or_default().push(row));
        let rows: Vec<_> = conversations.into_values().collect();
        let sizes: Vec<_> = rows.iter().map(Vec::len).collect();
        let picked = rows.iter().zip(pick_per_group(&sizes, self.seed)).filter_map(|(rows, place)| rows.get(place?));
        let points: Vec<_> = picked.map(|row| (row.confidence.unwrap_or(f64::NAN), row.exact)).collect();
        let limit = 1.0 - self.bar;
        let found = certify(&points, Limits { error: limit, alpha: self.alpha, ..Limits::default() })?;
        Some(Certificate {
            threshold: found.threshold,
            share: found.share(),
            accepted: found.accepted,
            errors: found.errors,
            conversations: found.rows,
            limit,
            p_value: found.p_value,
        })
    }
}
