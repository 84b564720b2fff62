//! One run against its parent, task by task.
use std::collections::{BTreeMap, BTreeSet};

use record::TaskId;
use stats::{psi, psi_by_chance};

use crate::case::Case;
use crate::{Action, Change, Iterate, Plan, RunView, SCHEMA_VERSION, Sequence, Sequences, TaskView, outcome};

/// What is asked where no verdict states a bar.
const BAR: f64 = 0.95;

impl Iterate {
    /// The plan that follows from a run and its parent.
    #[must_use]
    pub fn plan(&self, parent: &RunView, child: &RunView) -> Plan {
        let sequences = self.sequences(parent, child);
        let ids: BTreeSet<&TaskId> = parent.tasks.iter().chain(&child.tasks).map(|task| &task.task).collect();
        let mut actions = Vec::new();
        let mut gates = Vec::new();
        for id in ids {
            let Some(now) = child.task(id) else {
                actions.extend(parent.task(id).map(gone));
                continue;
            };
            let case =
                Case { config: self, before: parent.task(id), now, sequences: sequences.get(id), drift: self.drift(parent.task(id), now) };
            actions.push(case.action(parent));
            gates.extend(case.gates());
        }
        let outcome = outcome(&gates);
        let notes = self.notes(parent, child);
        Plan {
            schema_version: SCHEMA_VERSION,
            run: child.run.clone(),
            parent: parent.run.clone(),
            actions,
            notes,
            gates,
            outcome,
            sequences,
        }
    }

    /// The parent's sequences, continued where this run judged something new; those of other tasks
    /// are kept as they are.
    fn sequences(&self, parent: &RunView, child: &RunView) -> Sequences {
        let mut sequences = parent.sequences.clone();
        for task in &child.tasks {
            for fresh in &task.fresh {
                let known = sequences.entry(task.task.clone()).or_default();
                let next = Sequence::continued(known.get(&fresh.candidate), &fresh.hashes, bar(task), self.slack, fresh.evidence);
                known.insert(fresh.candidate.clone(), next);
            }
        }
        sequences
    }

    /// Drift of prompt lengths, if it is more than chance and more than tolerated.
    fn drift(&self, before: Option<&TaskView>, now: &TaskView) -> Option<Drift> {
        let (old, new) = before?.lengths.deciles(&now.lengths);
        Some(self.drift_of(&old, &new))
    }

    fn drift_of(&self, old: &[u64], new: &[u64]) -> Drift {
        let chance = psi_by_chance(old.len(), old.iter().sum(), new.iter().sum(), self.alpha);
        let index = psi(old, new);
        Drift { index, limit: chance.max(self.drift), n: new.iter().sum() }
    }

    fn notes(&self, parent: &RunView, child: &RunView) -> Vec<String> {
        let mut notes = Vec::new();
        let calls = child.calls();
        let share = if calls == 0 { 0.0 } else { child.unassigned as f64 / calls as f64 };
        if share >= self.unassigned {
            notes.push(format!("{} of {calls} calls ({:.1} %) belong to no task: cluster again (step 3)", child.unassigned, 100.0 * share));
        }
        let ids: BTreeSet<&TaskId> = parent.tasks.iter().chain(&child.tasks).map(|task| &task.task).collect();
        let shares = |run: &RunView| {
            let counts = ids.iter().map(|id| run.task(id).map_or(0, |task| task.calls));
            counts.chain([run.unassigned]).collect::<Vec<_>>()
        };
        let drift = self.drift_of(&shares(parent), &shares(child));
        if drift.alarms() {
            notes.push(format!("the mix of tasks has drifted: index {:.3}, tolerated {:.3}", drift.index, drift.limit));
        }
        notes
    }
}

/// How far a distribution has moved.
#[derive(Clone, Copy)]
pub(crate) struct Drift {
    pub index: f64,
    pub limit: f64,
    pub n: u64,
}

impl Drift {
    pub(crate) fn alarms(self) -> bool {
        self.limit.is_finite() && self.index > self.limit
    }
}

pub(crate) fn bar(task: &TaskView) -> f64 {
    task.verdict.as_ref().map_or(BAR, |verdict| verdict.bar)
}

fn gone(task: &TaskView) -> Action {
    let reason = format!("none of its calls came ({} in the parent run); nothing is judged and nothing changes", task.calls);
    action(task, Change::Keep, None, reason, BTreeMap::new())
}

pub(crate) fn action(task: &TaskView, change: Change, candidate: Option<String>, reason: String, numbers: BTreeMap<String, f64>) -> Action {
    Action { task: task.task.clone(), name: task.name.clone(), change, back_to: change.back_to(), candidate, reason, numbers }
}
