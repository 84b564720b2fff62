//! Gates: what a build is judged by.
use record::{Decision, TaskId, Verdict};
use serde::{Deserialize, Serialize};

use crate::case::{Case, standing};
use crate::compare::bar;
use crate::{Deployed, Sequence};

/// How a gate came out, or all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Shown to hold.
    Pass,
    /// Too little data to say.
    TooLittleData,
    /// Shown not to hold.
    Fail,
}

/// One gate of one task: a test case of a JUnit file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The task.
    pub task: TaskId,
    /// Name of the task for people.
    pub name: String,
    /// What is asked: `agreement`, `drift`.
    pub gate: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The figure that is held against the bar.
    pub bound: Option<f64>,
    /// Conversations or calls it rests on.
    pub n: u64,
    /// The bar.
    pub bar: f64,
    /// In one sentence.
    pub reason: String,
}

/// All gates together: a failed one fails all, else one without data leaves all open. No gate passes.
#[must_use]
pub fn outcome(gates: &[Gate]) -> Outcome {
    gates.iter().map(|gate| gate.outcome).max().unwrap_or(Outcome::Pass)
}

/// The gates of a single run: each task must be replaceable or routable.
#[must_use]
pub fn gates_of<'a>(verdicts: impl IntoIterator<Item = (&'a str, &'a Verdict)>) -> Vec<Gate> {
    let gate = |(name, verdict): (&str, &Verdict)| Gate {
        task: verdict.task.clone(),
        name: name.to_owned(),
        gate: "agreement".to_owned(),
        outcome: match verdict.decision {
            Decision::Replace | Decision::Route => Outcome::Pass,
            Decision::Keep => Outcome::Fail,
            Decision::Insufficient => Outcome::TooLittleData,
        },
        bound: verdict.score.as_ref().and_then(|score| if verdict.decision == Decision::Keep { score.upper } else { score.lower }),
        n: verdict.score.as_ref().map_or(0, |score| score.conversations),
        bar: verdict.bar,
        reason: verdict.reason.clone(),
    };
    verdicts.into_iter().map(gate).collect()
}

/// Bound, conversations, bar.
type Figures = (Option<f64>, u64, f64);

impl Case<'_> {
    /// Gates of a task that a small model serves; others gate nothing.
    pub(crate) fn gates(&self) -> Vec<Gate> {
        let Some(deployed) = &self.now.deployed else { return Vec::new() };
        let gate = |gate: &str, outcome, (bound, n, bar), reason| Gate {
            task: self.now.task.clone(),
            name: self.now.name.clone(),
            gate: gate.to_owned(),
            outcome,
            bound,
            n,
            bar,
            reason,
        };
        let sequence = self.of(&deployed.candidate);
        let agreement = match sequence.filter(|sequence| sequence.n > 0) {
            Some(s) if s.demotes(self.config.alpha) => gate("agreement", Outcome::Fail, rate(s), standing(sequence)),
            Some(s) if s.promotes(self.config.alpha) => gate("agreement", Outcome::Pass, rate(s), standing(sequence)),
            known => self.by_verdict(deployed).map_or_else(
                || gate("agreement", Outcome::TooLittleData, known.map_or((None, 0, bar(self.now)), rate), standing(sequence)),
                |(outcome, figures, reason)| gate("agreement", outcome, figures, reason),
            ),
        };
        let drift = self.drift.filter(|drift| drift.limit.is_finite()).map(|drift| {
            let outcome = if drift.alarms() { Outcome::Fail } else { Outcome::Pass };
            gate(
                "drift",
                outcome,
                (Some(drift.index), drift.n, drift.limit),
                format!("index {:.3}, tolerated {:.3}", drift.index, drift.limit),
            )
        });
        [Some(agreement), drift].into_iter().flatten().collect()
    }

    /// What this run's verdict on the deployed model says, if it was judged.
    fn by_verdict(&self, deployed: &Deployed) -> Option<(Outcome, Figures, String)> {
        let verdict = self.now.verdict.as_ref().filter(|verdict| verdict.candidate.as_ref() == Some(&deployed.candidate))?;
        let gate = gates_of([(self.now.name.as_str(), verdict)]).pop()?;
        Some((gate.outcome, (gate.bound, gate.n, gate.bar), gate.reason))
    }
}

/// Agreement so far, conversations, bar.
fn rate(sequence: &Sequence) -> Figures {
    let mean = if sequence.n == 0 { None } else { Some(sequence.successes as f64 / sequence.n as f64) };
    (mean, sequence.n, sequence.bar)
}
