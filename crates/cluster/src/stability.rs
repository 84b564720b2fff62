//! How well a cluster is found again when a part of the prompts is left out.
//!
//! Hennig 2007, *Cluster-wise assessment of cluster stability*: the mean Jaccard index of a cluster and its best
//! counterpart over resamples. Above .75 a cluster is held stable, above .85 highly so.
use std::collections::{BTreeMap, BTreeSet};

use crate::leader::{self, Signature};
use crate::segment;
use crate::sparse::Sparse;
use crate::summary::Head;

const ROUNDS: u32 = 4;

/// The signatures of one resample, with their calls and labels.
pub(crate) type Sample = Vec<(Vec<u64>, u64, usize)>;

fn bytes(vector: &Sparse) -> Vec<u64> {
    vector.iter().map(|(hash, _)| *hash).collect()
}

/// Resamples that leave out half of the prompts seen in one conversation only, and clusters each. (A prompt of
/// several conversations would be in any half of them.)
pub(crate) fn samples(all: &[Signature], heads: &[&Head], threshold: f32) -> Vec<Sample> {
    let round = |round: u32| {
        let keep = |at: usize| {
            let head = heads[at];
            let bytes: Vec<u8> = head.system.iter().chain(&head.user).flat_map(|hash| hash.to_le_bytes()).collect();
            head.conversations.len() > 1 || (segment::hash(&bytes) >> round) & 1 == 0
        };
        let kept = |signature: &Signature| -> u64 { signature.heads.iter().filter(|at| keep(**at)).map(|at| heads[*at].calls).sum() };
        let reduced = all.iter().map(|signature| Signature { calls: kept(signature), ..signature.clone() });
        let mut sample: Vec<_> = reduced.filter(|signature| signature.calls > 0).collect();
        leader::sort(&mut sample);
        let labels = leader::leaders(&sample, threshold);
        sample.iter().zip(labels).map(|(s, label)| (bytes(&s.vector), s.calls, label)).collect()
    };
    (0..ROUNDS).map(round).collect()
}

/// Mean Jaccard index, by calls, of the cluster with these members.
#[expect(clippy::cast_precision_loss, reason = "shares of calls")]
pub(crate) fn of(members: &[&Signature], samples: &[Sample]) -> f64 {
    let mine: BTreeSet<Vec<u64>> = members.iter().map(|s| bytes(&s.vector)).collect();
    let jaccard = |sample: &Sample| {
        let mut clusters: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        let mut own = 0;
        for (signature, calls, label) in sample {
            let both = if mine.contains(signature) { *calls } else { 0 };
            own += both;
            let (together, size) = clusters.get(label).copied().unwrap_or_default();
            clusters.insert(*label, (together + both, size + calls));
        }
        clusters.values().map(|(both, size)| *both as f64 / (own + size - both).max(1) as f64).fold(0.0, f64::max)
    };
    samples.iter().map(jaccard).sum::<f64>() / samples.len().max(1) as f64
}
