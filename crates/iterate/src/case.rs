//! One task of a run against the same task of its parent: what is to be done.
use std::collections::BTreeMap;

use record::Decision;

use crate::compare::{Drift, action};
use crate::{Action, Change, Deployed, Iterate, RunView, Sequence, TaskView};

/// A task in both runs, and what is known of its models.
pub(crate) struct Case<'a> {
    pub config: &'a Iterate,
    pub before: Option<&'a TaskView>,
    pub now: &'a TaskView,
    pub sequences: Option<&'a BTreeMap<String, Sequence>>,
    pub drift: Option<Drift>,
}

impl Case<'_> {
    pub(crate) fn action(&self, parent: &RunView) -> Action {
        let candidate = || self.now.verdict.as_ref().and_then(|verdict| verdict.candidate.clone());
        let (change, candidate, reason) = match (&self.now.deployed, self.before) {
            (Some(deployed), _) => self.in_service(deployed),
            (None, None) => self.newcomer(parent),
            (None, Some(before)) => {
                let (change, reason) = self.not_in_service(before);
                (change, if change == Change::Promote { candidate() } else { None }, reason)
            }
        };
        action(self.now, change, candidate, reason, self.numbers())
    }

    /// A task that no small model serves and the parent run did not know.
    fn newcomer(&self, parent: &RunView) -> (Change, Option<String>, String) {
        let old = self.now.parent.as_ref().and_then(|id| parent.task(id));
        if let Some(decided) = self.promotion() {
            return (Change::Promote, self.now.verdict.as_ref().and_then(|v| v.candidate.clone()), decided);
        }
        match old {
            Some(old) => {
                let from = old.deployed.as_ref().map(|deployed| deployed.candidate.clone());
                let reason = format!(
                    "the prompt of `{}` has changed: {} calls under the new one; train from the old adapter",
                    old.name, self.now.calls
                );
                (Change::Retrain, from, reason)
            }
            None => (
                Change::NewTask,
                None,
                format!(
                    "a task the parent run did not have: {} calls, {} conversations to train on",
                    self.now.calls, self.now.train_conversations
                ),
            ),
        }
    }

    /// A task that a small model serves.
    fn in_service(&self, deployed: &Deployed) -> (Change, Option<String>, String) {
        let sequence = self.of(&deployed.candidate);
        if let Some(sequence) = sequence.filter(|sequence| sequence.demotes(self.config.alpha)) {
            let reason = format!(
                "`{}` has fallen: {} of {} new held-out conversations right, below {:.3} with e = {:.1} (alarm at {:.0})",
                deployed.candidate,
                sequence.successes,
                sequence.n,
                sequence.bar - self.config.slack,
                sequence.log_e_demote.exp(),
                1.0 / self.config.alpha
            );
            return (Change::RollBack, deployed.previous.clone(), reason);
        }
        let verdict = self.now.verdict.as_ref();
        let same = verdict.is_some_and(|verdict| verdict.candidate.as_ref() == Some(&deployed.candidate));
        if let Some(verdict) = verdict.filter(|verdict| same && verdict.decision == Decision::Keep) {
            return (
                Change::RollBack,
                deployed.previous.clone(),
                format!("`{}` no longer qualifies: {}", deployed.candidate, verdict.reason),
            );
        }
        if let Some(reason) = self.promotion().filter(|_| !same) {
            return (Change::Promote, verdict.and_then(|verdict| verdict.candidate.clone()), reason);
        }
        let stay = Some(deployed.candidate.clone());
        if let Some(drift) = self.drift.filter(|drift| drift.alarms()) {
            let reason =
                format!("its prompts have drifted (index {:.3}, tolerated {:.3}); the model still holds", drift.index, drift.limit);
            return (Change::Retrain, stay, reason);
        }
        if let Some(reason) = self.grown(deployed.train_conversations) {
            return (Change::Retrain, stay, reason);
        }
        (Change::Keep, None, format!("`{}` serves it; {}", deployed.candidate, standing(sequence)))
    }

    /// A known task that the large model serves.
    fn not_in_service(&self, before: &TaskView) -> (Change, String) {
        if let Some(reason) = self.promotion() {
            return (Change::Promote, reason);
        }
        let Some(verdict) = &self.now.verdict else { return (Change::Keep, "not judged in this run".to_owned()) };
        let failed = |task: &TaskView| task.verdict.as_ref().is_some_and(|verdict| verdict.decision == Decision::Keep);
        match verdict.decision {
            Decision::Keep if failed(before) => match self.grown(before.train_conversations) {
                Some(reason) => (Change::Retrain, reason),
                None if verdict.candidate.is_some() => {
                    (Change::Reselect, format!("no small model of two runs reaches the bar and the data has not grown: {}", verdict.reason))
                }
                None => (Change::Keep, verdict.reason.clone()),
            },
            Decision::Insufficient => match self.grown(before.train_conversations) {
                Some(reason) => (Change::Retrain, reason),
                None => (Change::Keep, verdict.reason.clone()),
            },
            _ => {
                let known = verdict.candidate.as_deref().and_then(|candidate| self.of(candidate));
                (Change::Keep, format!("{}; {}", verdict.reason, standing(known)))
            }
        }
    }

    /// Why the model judged in this run may take over: its verdict where this is the first look at
    /// it, its e-value where it was looked at before. A fixed bound checked night after night passes
    /// a model that does not deserve it in the end.
    fn promotion(&self) -> Option<String> {
        let verdict = self.now.verdict.as_ref().filter(|v| matches!(v.decision, Decision::Replace | Decision::Route))?;
        match verdict.candidate.as_deref().and_then(|candidate| self.of(candidate)) {
            Some(sequence) if sequence.looks > 1 && verdict.decision == Decision::Replace => {
                sequence.promotes(self.config.alpha).then(|| {
                    let e = sequence.log_e_promote.exp();
                    format!(
                        "{} of {} right over {} looks, e = {e:.1} against the bar {:.3}",
                        sequence.successes, sequence.n, sequence.looks, sequence.bar
                    )
                })
            }
            _ => Some(verdict.reason.clone()),
        }
    }

    fn grown(&self, before: u64) -> Option<String> {
        let (before, now) = (before.max(1), self.now.train_conversations);
        let times = now as f64 / before as f64;
        (times >= self.config.growth).then(|| format!("its conversations to train on grew {times:.1} times, from {before} to {now}"))
    }

    /// What is known of a model so far.
    pub(crate) fn of(&self, candidate: &str) -> Option<&Sequence> {
        self.sequences?.get(candidate)
    }

    /// The model that the numbers are about: the one in service, else the one judged.
    fn subject(&self) -> Option<&Sequence> {
        let judged = self.now.verdict.as_ref().and_then(|verdict| verdict.candidate.as_deref());
        self.of(self.now.deployed.as_ref().map(|deployed| deployed.candidate.as_str()).or(judged)?)
    }

    fn numbers(&self) -> BTreeMap<String, f64> {
        let mut numbers = BTreeMap::from([
            ("calls".to_owned(), self.now.calls as f64),
            ("calls_before".to_owned(), self.before.map_or(0.0, |before| before.calls as f64)),
            ("train_conversations".to_owned(), self.now.train_conversations as f64),
        ]);
        if let Some(drift) = self.drift {
            numbers.insert("drift".to_owned(), drift.index);
        }
        if let Some(sequence) = self.subject() {
            let values = [
                ("n", sequence.n as f64),
                ("successes", sequence.successes as f64),
                ("log_e_promote", sequence.log_e_promote),
                ("log_e_demote", sequence.log_e_demote),
            ];
            numbers.extend(values.map(|(name, value)| (name.to_owned(), value)));
        }
        numbers
    }
}

/// Where a sequence stands, in words.
pub(crate) fn standing(sequence: Option<&Sequence>) -> String {
    let Some(s) = sequence.filter(|sequence| sequence.n > 0) else { return "no new held-out conversations were judged".to_owned() };
    let (proof, alarm) = (s.log_e_promote.exp(), s.log_e_demote.exp());
    format!("{} of {} right over {} looks (e = {proof:.2} for the bar, {alarm:.2} for an alarm)", s.successes, s.n, s.looks)
}
