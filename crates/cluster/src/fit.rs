//! From a summary to tasks: vocabulary, signatures, clusters, free text, identity.
//!
//! Partitions (tool set × schema × workload) are worked on in parallel and joined in the order of their keys.
use std::collections::{BTreeMap, BTreeSet};

use model::Embedder;
use rayon::prelude::*;
use record::Progress;

use crate::action::{Action, Key};
use crate::leader::{self, Signature};
use crate::sparse::{self, Sparse};
use crate::summary::{Head, Partition, Summary};
use crate::tasks::{self, Place};
use crate::{Cluster, Error, Segment, Tasks, identity, intents, kind, slots, stability};

/// A segment is template if it occurs in at least so many calls …
const TEMPLATE_CALLS: u64 = 5;
/// … of at least so many conversations (or all, where there are fewer): history repeats within one.
const TEMPLATE_CONVERSATIONS: usize = 3;
/// Share of the squared weight of a text that template must cover.
const COVERAGE: f32 = 0.2;
/// Share of all calls that bare free text must reach to be a task of its own and not a few stray calls.
const FREE_SHARE: f64 = 0.05;
/// No task reaches further than this.
const WIDEST: f32 = 0.5;

/// A cluster on its way to become a task.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) key: Key,
    pub(crate) fields: Vec<String>,
    pub(crate) place: Place,
    /// Share of its calls that hold each segment.
    pub(crate) shares: Vec<(u64, f64)>,
    /// Segments of system text and user message in the order of the most frequent prompt.
    pub(crate) order: (Vec<u64>, Vec<u64>),
    pub(crate) calls: u64,
    pub(crate) actions: BTreeMap<Action, u64>,
    pub(crate) turns: BTreeMap<String, BTreeMap<Action, u64>>,
    pub(crate) turn: Option<String>,
    pub(crate) stability: Option<f64>,
    pub(crate) times: Option<(record::Time, record::Time)>,
    pub(crate) excerpts: Vec<String>,
    pub(crate) kind: record::TaskKind,
}

/// Weights of the segments that are template.
type Vocabulary = BTreeMap<u64, f32>;

/// Fits tasks; see [`Cluster::fit`].
pub(crate) fn fit(
    config: &Cluster,
    summary: &Summary,
    embedder: &dyn Embedder,
    known: Option<&Tasks>,
    progress: &dyn Progress,
) -> Result<Tasks, Error> {
    let vocabulary = vocabulary(summary);
    let partitions: Vec<_> = summary.partitions.values().collect();
    progress.begin("find tasks", partitions.len() as u64, "prompt kinds");
    let work = |partition: &&Partition| {
        let drafts = Work::new(config, summary, embedder, &vocabulary, partition).drafts();
        progress.advance(1);
        drafts
    };
    let drafts: Vec<Vec<Draft>> = partitions.par_iter().map(work).collect::<Result<_, _>>()?;
    progress.end();
    let mut drafts: Vec<Draft> = drafts.into_iter().flatten().collect();
    if config.by_turn {
        drafts = drafts.into_iter().flat_map(|draft| split_by_turn(draft, config.min_calls)).collect();
    }
    let mut tasks = identity::settle(drafts, summary, known, config.threshold);
    let free = tasks.iter().any(|task| matches!(task.place, Place::Embedding { .. }));
    tasks.sort_by(|a, b| b.train_calls.cmp(&a.train_calls).then_with(|| a.task.cmp(&b.task)));
    Ok(Tasks { schema_version: 1, dimension: if free { embedder.dimension() } else { 0 }, tasks })
}

/// The segments that occur in enough calls and conversations.
fn vocabulary(summary: &Summary) -> Vocabulary {
    let mut counts: BTreeMap<u64, (u64, BTreeSet<u64>)> = BTreeMap::new();
    let mut all: BTreeSet<u64> = BTreeSet::new();
    for head in summary.partitions.values().flat_map(Partition::heads) {
        all.extend(head.conversations.iter().take(TEMPLATE_CONVERSATIONS));
        let hashes: BTreeSet<_> = head.system.iter().chain(&head.user).collect();
        for hash in hashes {
            let (calls, conversations) = counts.entry(*hash).or_default();
            *calls += head.calls;
            if conversations.len() < TEMPLATE_CONVERSATIONS {
                conversations.extend(head.conversations.iter().take(TEMPLATE_CONVERSATIONS));
            }
        }
    }
    let enough = TEMPLATE_CONVERSATIONS.min(all.len());
    let template = counts.into_iter().filter(|(_, (calls, conversations))| *calls >= TEMPLATE_CALLS && conversations.len() >= enough);
    template.map(|(hash, _)| (hash, summary.texts.get(&hash).map_or(0.0, |text| Segment::weight(text)))).collect()
}

/// One partition at work.
struct Work<'a> {
    config: &'a Cluster,
    summary: &'a Summary,
    embedder: &'a dyn Embedder,
    /// Template segments of the log, without the values of this partition's slots.
    vocabulary: Vocabulary,
    partition: &'a Partition,
}

impl<'a> Work<'a> {
    fn new(
        config: &'a Cluster,
        summary: &'a Summary,
        embedder: &'a dyn Embedder,
        vocabulary: &Vocabulary,
        partition: &'a Partition,
    ) -> Self {
        let heads: Vec<&Head> = partition.heads().collect();
        let slots = slots::find(&heads, vocabulary, &summary.texts);
        let here: BTreeSet<u64> = heads.iter().flat_map(|head| head.system.iter().chain(&head.user)).copied().collect();
        let kept = here.into_iter().filter(|hash| !slots.contains(hash)).filter_map(|hash| Some((hash, *vocabulary.get(&hash)?)));
        Self { config, summary, embedder, vocabulary: kept.collect(), partition }
    }

    fn drafts(&self) -> Result<Vec<Draft>, Error> {
        let heads: Vec<&Head> = self.partition.heads().collect();
        let (mut signatures, pool) = self.signatures(&heads);
        leader::sort(&mut signatures);
        let samples = stability::samples(&signatures, &heads, self.thresholds()[1]);
        let mut drafts = Vec::new();
        for members in self.absorb(self.clusters(&signatures)?) {
            let stability = Some(stability::of(&members, &samples));
            drafts.push(Draft { stability, ..self.template_draft(&heads, &members) });
        }
        for system in [true, false] {
            let free: Vec<&Head> = pool.iter().map(|at| heads[*at]).filter(|head| head.system.is_empty() != system).collect();
            drafts.extend(self.free_drafts(free, system)?);
        }
        Ok(drafts)
    }

    /// The clusters that are large enough for a task. The members of the others join the nearest of them, if near enough to
    /// be placed there, so that the fit counts what assignment will find.
    fn absorb<'s>(&self, clusters: Vec<Vec<&'s Signature>>) -> Vec<Vec<&'s Signature>> {
        let large = |members: &Vec<&Signature>| members.iter().map(|s| s.calls).sum::<u64>() >= self.config.min_calls;
        let (mut kept, small): (Vec<_>, Vec<_>) = clusters.into_iter().partition(large);
        let centres: Vec<Sparse> = kept.iter().map(|members| centre(members)).collect();
        for signature in small.into_iter().flatten() {
            let near = centres.iter().map(|centre| sparse::cosine(centre, &signature.vector)).enumerate();
            let best = near.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            if let Some((at, _)) = best.filter(|(_, cosine)| *cosine >= self.thresholds()[1]) {
                kept[at].push(signature);
            }
        }
        kept
    }

    /// Heads with the same template segments together, and the heads that show no template.
    fn signatures(&self, heads: &[&Head]) -> (Vec<Signature>, Vec<usize>) {
        let mut groups: BTreeMap<Vec<u64>, Signature> = BTreeMap::new();
        let mut pool = Vec::new();
        for (at, head) in heads.iter().enumerate() {
            let Some(vector) = self.template_of(head) else {
                pool.push(at);
                continue;
            };
            let signature = groups.entry(vector.iter().map(|(hash, _)| *hash).collect()).or_default();
            signature.vector = vector;
            signature.calls += head.calls;
            signature.heads.push(at);
            head.actions.iter().for_each(|((_, action), n)| *signature.actions.entry(action.clone()).or_default() += n);
        }
        (groups.into_values().collect(), pool)
    }

    /// The template part of a head, if it covers enough of the system text or of the user message.
    fn template_of(&self, head: &Head) -> Option<Sparse> {
        let part = |hashes: &[u64]| {
            let entries: Sparse = hashes.iter().filter_map(|hash| Some((*hash, *self.vocabulary.get(hash)?))).collect();
            let all: f32 = hashes.iter().map(|hash| self.weight(*hash).powi(2)).sum();
            let covered = all > 0.0 && sparse::square(&entries) >= COVERAGE * all;
            (entries, covered)
        };
        let ((system, in_system), (user, in_user)) = (part(&head.system), part(&head.user));
        (in_system || in_user).then(|| tasks::join(system, user))
    }

    fn weight(&self, hash: u64) -> f32 {
        self.summary.texts.get(&hash).map_or(0.0, |text| Segment::weight(text))
    }

    fn thresholds(&self) -> [f32; 3] {
        // a declared agent node is one task unless its prompts share less than half
        let usual = if self.partition.key.workload.is_some() { self.config.threshold - 0.2 } else { self.config.threshold };
        [usual - 0.1, usual, (usual + 0.1).min(0.95)]
    }

    fn clusters<'s>(&self, signatures: &'s [Signature]) -> Result<Vec<Vec<&'s Signature>>, Error> {
        let texts: Vec<String> = signatures.iter().map(|signature| self.representative(signature)).collect();
        let embedded = if signatures.len() < 2 { Vec::new() } else { self.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>())? };
        let (labels, _) = leader::cluster(signatures, &embedded, self.thresholds())?;
        let mut clusters: BTreeMap<usize, Vec<&Signature>> = BTreeMap::new();
        for (signature, label) in signatures.iter().zip(labels) {
            clusters.entry(label).or_default().push(signature);
        }
        Ok(clusters.into_values().collect())
    }

    /// The template's longest segments as one text for the embedder.
    fn representative(&self, signature: &Signature) -> String {
        let mut longest = signature.vector.clone();
        longest.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let texts = longest.iter().take(8).filter_map(|(hash, _)| self.summary.texts.get(hash));
        texts.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let vectors = self.embedder.embed(texts).map_err(|cause| Error::Embed { texts: texts.len(), cause })?;
        if vectors.len() == texts.len() { Ok(vectors) } else { Err(Error::EmbedShape { expected: texts.len(), got: vectors.len() }) }
    }

    fn template_draft(&self, heads: &[&Head], members: &[&Signature]) -> Draft {
        let segments = centre(members);
        let inside: Vec<&Head> = members.iter().flat_map(|s| &s.heads).map(|at| heads[*at]).collect();
        let strange = |head: &&Head| -> f32 {
            let unknown = head.system.iter().filter(|hash| segments.binary_search_by_key(*hash, |s| s.0).is_err());
            unknown.map(|hash| self.weight(*hash).powi(2)).sum()
        };
        let slack = inside.iter().map(strange).fold(0.0, f32::max);
        let furthest = members.iter().map(|s| 1.0 - sparse::cosine(&s.vector, &segments)).fold(0.0, f32::max);
        let radius = (furthest + 1e-4).max(1.0 - self.thresholds()[1]).min(WIDEST);
        let place = Place::Template { segments, slack: slack + 1e-3, radius };
        self.draft(place, &inside)
    }

    /// Calls without a template: one task, or stable intents, or a few stray calls that belong nowhere.
    fn free_drafts(&self, mut heads: Vec<&Head>, system: bool) -> Result<Vec<Draft>, Error> {
        let calls: u64 = heads.iter().map(|head| head.calls).sum();
        #[expect(clippy::cast_precision_loss, reason = "a share of calls")]
        let few =
            calls < self.config.min_calls || (self.partition.key.is_bare() && (calls as f64) < FREE_SHARE * self.summary.calls as f64);
        if few {
            return Ok(Vec::new());
        }
        heads.sort_by_key(|head| (crate::segment::hash(head.excerpt.as_bytes()), head.system.clone(), head.user.clone()));
        heads.truncate(intents::ROWS);
        let vectors = self.embed(&heads.iter().map(|head| head.excerpt.as_str()).collect::<Vec<_>>())?;
        let actions: Vec<BTreeMap<Action, u64>> = heads.iter().map(|head| sum_actions(&[*head])).collect();
        let found = intents::find(&vectors, &actions.iter().collect::<Vec<_>>(), self.config.max_intents, self.config.seed)?;
        let labels = found.as_ref().map_or_else(|| vec![0; heads.len()], |found| found.labels.clone());
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        labels.iter().enumerate().for_each(|(row, label)| groups.entry(*label).or_default().push(row));
        let draft = |rows: Vec<usize>| {
            let inside: Vec<&Head> = rows.iter().map(|row| heads[*row]).collect();
            let centroid = centroid(rows.iter().map(|row| vectors[*row].as_slice()));
            let furthest = rows.iter().map(|row| tasks::distance(&vectors[*row], &centroid)).fold(0.0, f32::max);
            // held-out texts lie a little further out than those the centroid was fitted on
            let mut draft = self.draft(Place::Embedding { centroid, radius: (furthest + 0.05).min(1.0), system }, &inside);
            draft.stability = found.as_ref().map(|found| found.stability);
            draft
        };
        Ok(groups.into_values().map(draft).filter(|draft| draft.calls >= self.config.min_calls).collect())
    }

    fn draft(&self, place: Place, heads: &[&Head]) -> Draft {
        let calls: u64 = heads.iter().map(|head| head.calls).sum();
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for head in heads {
            let hashes: BTreeSet<_> = head.system.iter().chain(&head.user).collect();
            hashes
                .into_iter()
                .filter(|hash| self.vocabulary.contains_key(hash))
                .for_each(|hash| *counts.entry(*hash).or_default() += head.calls);
        }
        let mut turns: BTreeMap<String, BTreeMap<Action, u64>> = BTreeMap::new();
        for ((turn, action), n) in heads.iter().flat_map(|head| &head.actions) {
            *turns.entry(turn.clone()).or_default().entry(action.clone()).or_default() += n;
        }
        let actions = sum_actions(heads);
        let times = heads.iter().filter_map(|head| head.times);
        let mut excerpts: Vec<String> = heads.iter().map(|head| head.excerpt.clone()).collect();
        excerpts.sort_unstable();
        excerpts.dedup();
        excerpts.truncate(256);
        Draft {
            key: self.partition.key.clone(),
            fields: self.partition.fields.clone(),
            place,
            #[expect(clippy::cast_precision_loss, reason = "a share of calls")]
            shares: counts.into_iter().map(|(hash, n)| (hash, n as f64 / calls.max(1) as f64)).collect(),
            order: heads
                .iter()
                .min_by_key(|head| (std::cmp::Reverse(head.calls), &head.system, &head.user))
                .map(|head| (head.system.clone(), head.user.clone()))
                .unwrap_or_default(),
            calls,
            kind: kind::of(&actions),
            actions,
            turns,
            turn: None,
            stability: None,
            times: times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
            excerpts,
        }
    }
}

/// Mean template vector of signatures by calls, of length one.
fn centre(members: &[&Signature]) -> Sparse {
    #[expect(clippy::cast_precision_loss, reason = "a weight, not a count")]
    let sum = members.iter().fold(Sparse::new(), |sum, s| sparse::blend(&sum, 1.0, &s.vector, s.calls as f32));
    let size = sparse::square(&sum).sqrt().max(f32::MIN_POSITIVE);
    sum.into_iter().map(|(hash, weight)| (hash, weight / size)).collect()
}

fn sum_actions(heads: &[&Head]) -> BTreeMap<Action, u64> {
    let mut sum = BTreeMap::new();
    heads.iter().flat_map(|head| &head.actions).for_each(|((_, action), n)| *sum.entry(action.clone()).or_default() += n);
    sum
}

fn centroid<'v>(vectors: impl Iterator<Item = &'v [f32]>) -> Vec<f32> {
    let mut sum: Vec<f32> = Vec::new();
    for vector in vectors {
        sum.resize(vector.len(), 0.0);
        sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
    }
    let size = sum.iter().map(|s| s * s).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    sum.iter().map(|s| s / size).collect()
}

/// One draft per turn of the conversation, which the prompt tells; turns too rare to learn from belong to no task.
fn split_by_turn(draft: Draft, min_calls: u64) -> Vec<Draft> {
    let big: Vec<_> = draft.turns.iter().filter(|(_, actions)| actions.values().sum::<u64>() >= min_calls).collect();
    if big.len() < 2 {
        return vec![draft];
    }
    let part = |(turn, actions): (&String, &BTreeMap<Action, u64>)| Draft {
        calls: actions.values().sum(),
        kind: kind::of(actions),
        actions: actions.clone(),
        turns: BTreeMap::from([(turn.clone(), actions.clone())]),
        turn: Some(turn.clone()),
        ..draft.clone()
    };
    big.into_iter().map(part).collect()
}
