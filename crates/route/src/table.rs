//! The routing table: one line a task, the large model wherever nothing better is proven.
use std::collections::{BTreeMap, BTreeSet};

use record::{Decision, RoutingTable, Target, Task, TaskId, Verdict};

use crate::Route;

/// Who could serve a task: the judged small model, and the large model the log came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// The small model that was judged, if any.
    pub small: Option<Target>,
    /// Name of the large model.
    pub large: String,
}

impl Route {
    /// The routes of all tasks, in the order of `tasks`. The noise bucket and every task without a
    /// verdict stay with the large model.
    #[must_use]
    pub fn table(&self, tasks: &[Task], verdicts: &[Verdict], served: &BTreeMap<TaskId, Served>) -> RoutingTable {
        let mut taken = BTreeSet::new();
        let routes = tasks.iter().filter(|task| !task.noise).map(|task| {
            let verdict = verdicts.iter().find(|verdict| verdict.task == task.task);
            let who = served.get(&task.task);
            let large = Target::Large { model: who.map(|w| w.large.clone()).unwrap_or_default() };
            let decision = verdict.map_or(Decision::Insufficient, |v| v.decision);
            let small = who.and_then(|w| w.small.clone()).filter(|_| matches!(decision, Decision::Replace | Decision::Route));
            record::Route {
                task: task.task.clone(),
                alias: alias(&task.name, &mut taken),
                target: small.unwrap_or_else(|| large.clone()),
                threshold: verdict.and_then(|v| v.threshold),
                fallback: large,
            }
        });
        RoutingTable { schema_version: 1, routes: routes.collect() }
    }
}

/// A name that servers take as a model name: lower case, digits and dashes, unique in the table.
fn alias(name: &str, taken: &mut BTreeSet<String>) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let base = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-");
    let base = if base.is_empty() { "task".to_owned() } else { base };
    let mut alias = base.clone();
    for number in 2.. {
        if taken.insert(alias.clone()) {
            break;
        }
        alias = format!("{base}-{number}");
    }
    alias
}
