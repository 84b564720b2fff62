//! Which task a cluster is: an old one, a new version of an old one, or a new one; and what it is called.
//!
//! An id is derived from what the calls share when the task is born and is kept from then on, however the
//! cluster's content drifts. A task that is not seen in a run is kept: a quiet night is no end of a task.
use std::collections::{BTreeMap, BTreeSet};

use record::TaskId;

use crate::fit::Draft;
use crate::summary::Summary;
use crate::tasks::{self, Fitted, Place, Tasks};
use crate::{leader, name, segment, sparse, verbs};

/// Share of content words in common (cosine) from which a new task is held to be a new version of an old one: a prompt
/// written anew shares hardly a sentence with the old one, but still speaks of the same things.
const VERSION: f64 = 0.5;
/// Segments that go into an id.
const NAMING_SEGMENTS: usize = 3;

/// Turns drafts into tasks.
pub(crate) fn settle(mut drafts: Vec<Draft>, summary: &Summary, known: Option<&Tasks>, threshold: f32) -> Vec<Fitted> {
    drafts.sort_by_cached_key(|draft| (std::cmp::Reverse(draft.calls), birth_bytes(draft, usize::MAX)));
    let old = known.map_or(&[][..], Tasks::describe);
    let names = name::propose(&drafts, summary);
    let mut used: BTreeSet<&TaskId> = BTreeSet::new();
    let mut taken: BTreeSet<String> = old.iter().flat_map(|task| [task.task.0.clone(), task.name.clone()]).collect();
    taken.insert(tasks::UNASSIGNED.to_owned());
    let mut settled: Vec<(Fitted, usize)> = Vec::new();
    for (at, (draft, names)) in drafts.iter().zip(names).enumerate() {
        let same = old.iter().filter(|task| !used.contains(&task.task) && task.key == draft.key && task.turn == draft.turn);
        let best =
            same.map(|task| (similarity(&task.place, &draft.place), task)).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.task.cmp(&a.1.task)));
        if let Some((_, task)) = best.filter(|(near, _)| *near >= threshold) {
            used.insert(&task.task);
            settled.push((continued(task, draft, summary), at));
            continue;
        }
        let task = new_id(draft, &taken);
        taken.insert(task.0.clone());
        let name = names.into_iter().find(|name| !taken.contains(name)).expect("the proposals never end");
        taken.insert(name.clone());
        let shown = template(draft, summary);
        let parent = old
            .iter()
            .filter_map(|task| Some((kinship(task, draft, &shown)?, &task.task)))
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)));
        settled.push((born(task, name, parent.map(|p| p.1.clone()), draft, summary), at));
    }
    parents_within(&mut settled, &drafts);
    let mut all: Vec<Fitted> = settled.into_iter().map(|(task, _)| task).collect();
    all.extend(old.iter().filter(|task| !used.contains(&task.task)).cloned());
    all
}

fn born(task: TaskId, name: String, parent: Option<TaskId>, draft: &Draft, summary: &Summary) -> Fitted {
    Fitted {
        task,
        name,
        kind: draft.kind,
        parent,
        stability: draft.stability,
        train_calls: draft.calls,
        key: draft.key.clone(),
        turn: draft.turn.clone(),
        template: template(draft, summary),
        answers: answers(draft),
        place: draft.place.clone(),
    }
}

/// An old task that was seen again: id, name, kind and birth stay, the place follows.
fn continued(old: &Fitted, draft: &Draft, summary: &Summary) -> Fitted {
    #[expect(clippy::cast_precision_loss, reason = "weights, not counts")]
    let (was, is) = (old.train_calls as f32, draft.calls as f32);
    let total = (was + is).max(1.0);
    let place = match (&old.place, &draft.place) {
        (Place::Template { segments, slack, radius }, Place::Template { segments: new, slack: wider, radius: further }) => {
            Place::Template {
                segments: sparse::blend(segments, was / total, new, is / total),
                slack: slack.max(*wider),
                radius: radius.max(*further),
            }
        }
        (Place::Embedding { centroid, radius, system }, Place::Embedding { centroid: new, radius: further, .. }) => Place::Embedding {
            centroid: centroid.iter().zip(new).map(|(a, b)| (a * was + b * is) / total).collect(),
            radius: radius.max(*further),
            system: *system,
        },
        (_, new) => new.clone(),
    };
    Fitted {
        stability: draft.stability,
        train_calls: old.train_calls + draft.calls,
        template: template(draft, summary),
        answers: answers(draft),
        place,
        ..old.clone()
    }
}

/// Closeness of two places of one key: cosine; 0 between a template and free text.
fn similarity(one: &Place, two: &Place) -> f32 {
    match (one, two) {
        (Place::Template { segments: a, .. }, Place::Template { segments: b, .. }) => sparse::cosine(a, b),
        (Place::Embedding { centroid: a, system: s, .. }, Place::Embedding { centroid: b, system: t, .. }) if s == t => {
            1.0 - tasks::distance(a, b)
        }
        _ => 0.0,
    }
}

/// How likely a draft is a new version of an old task: a changed prompt, or the same prompt with changed tools or schema.
fn kinship(old: &Fitted, draft: &Draft, template: &[String]) -> Option<f64> {
    if old.template.is_empty() || template.is_empty() || old.turn != draft.turn {
        return None;
    }
    let tools: BTreeSet<_> = old.key.tools.iter().collect();
    let shared = draft.key.tools.iter().filter(|tool| tools.contains(tool)).count();
    let related = old.key.workload == draft.key.workload && 2 * shared >= tools.len().max(draft.key.tools.len());
    let words = |template: &[String]| template.iter().flat_map(|text| verbs::content(text)).collect::<BTreeSet<_>>();
    let (one, two) = (words(&old.template), words(template));
    #[expect(clippy::cast_precision_loss, reason = "a few hundred words")]
    let near = one.intersection(&two).count() as f64 / ((one.len() * two.len()) as f64).sqrt().max(1.0);
    (related && near >= VERSION).then_some(near)
}

/// Within one log: a task whose calls begin where a similar one's end is its next version.
fn parents_within(settled: &mut [(Fitted, usize)], drafts: &[Draft]) {
    let ids: Vec<TaskId> = settled.iter().map(|(task, _)| task.task.clone()).collect();
    let found: Vec<Option<TaskId>> = settled
        .iter()
        .map(|(task, at)| {
            let (start, _) = drafts[*at].times?;
            let earlier = settled.iter().zip(&ids).filter(|((_, other), _)| drafts[*other].times.is_some_and(|(_, end)| end < start));
            let near = earlier.filter_map(|((other, _), id)| Some((kinship(other, &drafts[*at], &task.template)?, id)));
            let best = near.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)));
            best.map(|(_, id)| id.clone()).filter(|id| *id != task.task)
        })
        .collect();
    for ((task, _), parent) in settled.iter_mut().zip(found) {
        task.parent = task.parent.take().or(parent);
    }
}

/// What an id is derived from: key, turn and the weightiest segments that at least half of the calls share.
fn birth_bytes(draft: &Draft, segments: usize) -> Vec<u8> {
    let key = &draft.key;
    let mut bytes = format!("{:?}\0{:?}\0{}\0{:?}\0", key.workload, key.tools, key.output_schema, draft.turn).into_bytes();
    match &draft.place {
        Place::Template { segments: weights, .. } => {
            let shared: BTreeMap<u64, f64> = draft.shares.iter().filter(|(_, share)| *share >= 0.5).copied().collect();
            let mut top: Vec<_> = weights.iter().filter(|(hash, _)| shared.contains_key(hash)).collect();
            top.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let mut top: Vec<u64> = top.into_iter().take(segments).map(|(hash, _)| *hash).collect();
            top.sort_unstable();
            top.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
        }
        Place::Embedding { system, .. } => bytes.extend_from_slice(format!("free {system} {:?}", name::words(draft, 4)).as_bytes()),
    }
    bytes
}

/// The first free id: three segments tell most tasks apart, else all do, else a count.
fn new_id(draft: &Draft, taken: &BTreeSet<String>) -> TaskId {
    let of = |segments: usize, count: u64| {
        let mut bytes = birth_bytes(draft, segments);
        bytes.extend_from_slice(&count.to_le_bytes());
        format!("t-{:010x}", segment::hash(&bytes) >> 24)
    };
    let more = (0..).map(|count| of(usize::MAX, count));
    let id = std::iter::once(of(NAMING_SEGMENTS, 0)).chain(more).find(|id| !taken.contains(id));
    TaskId(id.expect("the candidates never end"))
}

fn template(draft: &Draft, summary: &Summary) -> Vec<String> {
    let Place::Template { .. } = draft.place else { return Vec::new() };
    let texts = draft.shares.iter().filter_map(|(hash, share)| Some((*share, summary.texts.get(hash)?)));
    let mut texts: Vec<_> = texts.filter(|(share, _)| *share >= 0.5).collect();
    texts.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.len().cmp(&a.1.len())).then(a.1.cmp(b.1)));
    texts.into_iter().take(12).map(|(_, text)| text.chars().take(200).collect()).collect()
}

fn answers(draft: &Draft) -> Vec<(String, f64)> {
    let mut shares: Vec<_> = leader::shares(&draft.actions).into_iter().map(|(word, share)| (word, f64::from(share))).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    shares.truncate(24);
    shares
}
