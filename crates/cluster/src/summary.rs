//! What `fit` needs to know of a log, gathered batch by batch in bounded memory.
//!
//! A *head* is what all calls of one rendered prompt share: the system text and the first user message (later
//! messages would leak one conversation's history into the template). Calls of one head are counted, never kept.
//! Where there are more heads than the bound, those with the smallest hashes are kept: the same ones in whatever
//! order and grouping the batches come, with exact counts.
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use record::{Call, Clean, Part, Time, Train};

use crate::action::{self, Action, Key};
use crate::segment::{self, Segment};

/// Partitions (tool set × schema × workload) kept.
const PARTITIONS: usize = 4096;
/// Groups of heads kept per partition; a group begins with the same segment.
const GROUPS: usize = 4096;
/// Heads kept per group.
const HEADS: usize = 512;
/// Conversations remembered per head; enough to tell three from two.
const CONVERSATIONS: usize = 8;
/// Distinct (turn, answer shape) pairs counted per head.
const ACTIONS: usize = 256;
/// Characters of the first user message kept for the embedder.
const EXCERPT: usize = 400;

/// Inserts and drops the largest key above the bound.
fn insert_bounded<K: Ord + Clone, V: Default>(map: &mut BTreeMap<K, V>, key: K, bound: usize) -> Option<&mut V> {
    if map.len() >= bound && !map.contains_key(&key) {
        if map.last_key_value().is_none_or(|(last, _)| *last < key) {
            return None;
        }
        map.pop_last();
    }
    Some(map.entry(key).or_default())
}

/// One call, reduced to what clustering looks at.
#[derive(Debug)]
pub(crate) struct Observation {
    key: Key,
    fields: Vec<String>,
    pub(crate) prompt: PromptView,
    action: Action,
    conversation: u64,
    time: Option<Time>,
}

/// The part of an observation that a prompt alone decides.
#[derive(Debug)]
pub(crate) struct PromptView {
    pub(crate) system: Vec<Segment>,
    pub(crate) user: Vec<Segment>,
    pub(crate) excerpt: String,
    pub(crate) turn: String,
}

impl PromptView {
    pub(crate) fn of(request: &record::Request) -> Self {
        let user = request.first_user();
        let excerpt = user.chars().take(EXCERPT).collect();
        Self { system: segment::segments(&request.system()), user: segment::segments(&user), excerpt, turn: action::turn(request) }
    }

    fn head(&self) -> u64 {
        let mut bytes = Vec::with_capacity(8 * (self.system.len() + self.user.len()) + 9);
        for list in [&self.system, &self.user] {
            list.iter().for_each(|segment| bytes.extend_from_slice(&segment.hash.to_le_bytes()));
            bytes.push(0);
        }
        if self.system.is_empty() && self.user.is_empty() {
            bytes.extend_from_slice(self.excerpt.as_bytes());
        }
        segment::hash(&bytes)
    }

    /// The first segment of a head: constant for a template, whatever its slots hold.
    fn group(&self) -> u64 {
        self.system.first().or(self.user.first()).map_or(0, |segment| segment.hash)
    }
}

impl Observation {
    fn of(call: &Clean<Call>) -> Self {
        Self {
            key: Key::of(call.workload_id.as_deref(), &call.request),
            fields: action::fields(&call.request),
            prompt: PromptView::of(&call.request),
            action: Action::of(&call.response),
            conversation: segment::hash(call.conversation_id.as_bytes()),
            time: call.timestamp,
        }
    }
}

/// All calls of one rendered prompt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) system: Vec<u64>,
    pub(crate) user: Vec<u64>,
    pub(crate) excerpt: String,
    pub(crate) calls: u64,
    pub(crate) conversations: BTreeSet<u64>,
    pub(crate) actions: BTreeMap<(String, Action), u64>,
    pub(crate) times: Option<(Time, Time)>,
}

impl Head {
    fn count(&mut self, conversation: u64, time: Option<(Time, Time)>) {
        self.conversations.insert(conversation);
        if self.conversations.len() > CONVERSATIONS {
            self.conversations.pop_last();
        }
        self.times = match (self.times, time) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }

    fn add_action(&mut self, action: (String, Action), by: u64) {
        if let Some(count) = insert_bounded(&mut self.actions, action, ACTIONS) {
            *count += by;
        }
    }

    fn absorb(&mut self, other: Self) {
        if self.calls == 0 {
            (self.system, self.user) = (other.system, other.user);
            self.excerpt.clone_from(&other.excerpt);
        }
        // heads may differ in masked slots: the smallest text stands for all, so order does not matter
        if other.excerpt < self.excerpt {
            self.excerpt = other.excerpt;
        }
        self.calls += other.calls;
        other.conversations.into_iter().for_each(|conversation| self.count(conversation, other.times));
        for (action, by) in other.actions {
            self.add_action(action, by);
        }
    }
}

/// All calls of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    pub(crate) key: Key,
    pub(crate) calls: u64,
    pub(crate) fields: Vec<String>,
    groups: BTreeMap<u64, BTreeMap<u64, Head>>,
}

impl Partition {
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Head> {
        self.groups.values().flat_map(BTreeMap::values)
    }

    fn add(&mut self, group: u64, hash: u64, head: Head) {
        let Some(heads) = insert_bounded(&mut self.groups, group, GROUPS) else { return };
        if let Some(slot) = insert_bounded(heads, hash, HEADS) {
            slot.absorb(head);
        }
    }
}

/// A mergeable summary of the train split.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub(crate) partitions: BTreeMap<u64, Partition>,
    pub(crate) texts: BTreeMap<u64, String>,
    pub(crate) calls: u64,
}

impl Summary {
    /// Calls seen.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// Takes in a batch. What the batches are and in which order they come does not change the summary.
    pub fn observe(&mut self, calls: &Part<Train>) {
        for chunk in calls.chunks(1024) {
            let seen: Vec<_> = chunk.par_iter().map(Observation::of).collect();
            seen.into_iter().for_each(|one| self.add(one));
        }
        self.forget_unused_texts();
    }

    fn add(&mut self, one: Observation) {
        self.calls += 1;
        let (head_hash, group) = (one.prompt.head(), one.prompt.group());
        let Some(partition) = insert_bounded(&mut self.partitions, one.key.hash(), PARTITIONS) else { return };
        if partition.calls == 0 {
            partition.key = one.key;
            partition.fields = one.fields;
        } else if one.fields < partition.fields {
            // the schema hash ignores the order of fields: take the smallest listing, whichever came first
            partition.fields = one.fields;
        }
        partition.calls += 1;
        let hashes = |list: &[Segment]| list.iter().map(|segment| segment.hash).collect();
        let time = one.time.map(|time| (time, time));
        let head = Head {
            system: hashes(&one.prompt.system),
            user: hashes(&one.prompt.user),
            excerpt: one.prompt.excerpt,
            calls: 1,
            conversations: BTreeSet::from([one.conversation]),
            actions: BTreeMap::from([((one.prompt.turn, one.action), 1)]),
            times: time,
        };
        partition.add(group, head_hash, head);
        for segment in one.prompt.system.into_iter().chain(one.prompt.user) {
            self.texts.entry(segment.hash).or_insert(segment.text);
        }
    }

    /// Adds what another summary saw, on this machine or another.
    pub fn merge(&mut self, other: Self) {
        self.calls += other.calls;
        for (hash, theirs) in other.partitions {
            let Some(mine) = insert_bounded(&mut self.partitions, hash, PARTITIONS) else { continue };
            if mine.calls == 0 {
                *mine = theirs;
                continue;
            }
            mine.calls += theirs.calls;
            mine.fields = mine.fields.clone().min(theirs.fields);
            for (group, heads) in theirs.groups {
                heads.into_iter().for_each(|(hash, head)| mine.add(group, hash, head));
            }
        }
        self.texts.extend(other.texts);
        self.forget_unused_texts();
    }

    /// Drops the texts of heads that the bounds dropped, once they are many.
    fn forget_unused_texts(&mut self) {
        if self.texts.len() < 1 << 18 {
            return;
        }
        let heads = self.partitions.values().flat_map(Partition::heads);
        let used: BTreeSet<u64> = heads.flat_map(|head| head.system.iter().chain(&head.user)).copied().collect();
        self.texts.retain(|hash, _| used.contains(hash));
    }
}

#[cfg(test)]
mod tests {
    use super::insert_bounded;
    use std::collections::BTreeMap;

    #[test]
    fn the_bound_keeps_the_smallest_with_exact_counts_in_any_order() {
        let count = |keys: &[u64]| {
            let mut map: BTreeMap<u64, u64> = BTreeMap::new();
            for key in keys {
                if let Some(slot) = insert_bounded(&mut map, *key, 3) {
                    *slot += 1;
                }
            }
            map
        };
        let one = count(&[5, 1, 9, 1, 3, 2, 9, 2, 7]);
        assert_eq!(one, count(&[9, 9, 7, 5, 3, 2, 2, 1, 1]));
        assert_eq!(one, BTreeMap::from([(1, 2), (2, 2), (3, 1)]));
    }
}
