//! The template channel: leader clustering over distinct signatures, refined by `linfa` k-means over fused vectors.
//!
//! Leaders need no number of clusters, and taken in the order (count, bytes) need no seed either. They give k-means
//! its start, so it has neither random initialisation nor repeated runs; among a few leader thresholds, the number
//! of clusters is chosen by the silhouette of the fused vectors. Knows signatures, not calls.
use std::collections::BTreeMap;

use linfa::DatasetBase;
use linfa::metrics::SilhouetteScore;
use linfa::traits::{Fit, Predict};
use linfa_clustering::{KMeans, KMeansInit};
use ndarray::{Array1, Array2, ArrayView1, Axis};

use crate::action::Action;
use crate::sparse::{self, Sparse};
use crate::{Error, segment};

/// Columns that template segments are hashed into.
const TEMPLATE_COLUMNS: usize = 192;
/// Columns that answer shapes are hashed into.
const ACTION_COLUMNS: usize = 32;
/// Weight of answer shapes and of the embedding beside the template's 1.
const BESIDE: f32 = 0.3;
/// Signatures used for the silhouette, which costs the square of them.
const SILHOUETTE_ROWS: usize = 400;
/// A coarser clustering wins if its silhouette reaches this share of the best.
const NEAR_BEST: f32 = 0.97;

/// All heads whose template segments are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signature {
    pub(crate) vector: Sparse,
    pub(crate) calls: u64,
    /// Indices of the heads in their partition.
    pub(crate) heads: Vec<usize>,
    pub(crate) actions: BTreeMap<Action, u64>,
}

/// The order in which signatures lead: by count, then by bytes, so that the order of rows has no say.
pub(crate) fn sort(signatures: &mut [Signature]) {
    signatures.sort_by(|a, b| {
        let bytes = |s: &Signature| s.vector.iter().map(|(hash, _)| *hash).collect::<Vec<_>>();
        b.calls.cmp(&a.calls).then_with(|| bytes(a).cmp(&bytes(b)))
    });
}

/// Labels of sorted signatures: each joins the nearest leader within `threshold` (cosine), or leads itself.
pub(crate) fn leaders(signatures: &[Signature], threshold: f32) -> Vec<usize> {
    let mut centroids: Vec<Sparse> = Vec::new();
    let label = |signature: &Signature| {
        let near = centroids.iter().map(|centroid| sparse::cosine(centroid, &signature.vector)).enumerate();
        let best = near.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).filter(|(_, cosine)| *cosine >= threshold);
        #[expect(clippy::cast_precision_loss, reason = "a weight, not a count")]
        let weight = signature.calls as f32;
        match best {
            Some((at, _)) => {
                centroids[at] = sparse::blend(&centroids[at], 1.0, &signature.vector, weight);
                at
            }
            None => {
                centroids.push(sparse::blend(&signature.vector, weight, &[], 0.0));
                centroids.len() - 1
            }
        }
    };
    signatures.iter().map(label).collect()
}

/// Chooses among `thresholds` (the middle one is the usual one) and returns the labels and the threshold taken.
pub(crate) fn cluster(signatures: &[Signature], embedded: &[Vec<f32>], thresholds: [f32; 3]) -> Result<(Vec<usize>, f32), Error> {
    let usual = leaders(signatures, thresholds[1]);
    if count(&usual) < 2 {
        return Ok((usual, thresholds[1]));
    }
    let fused = fuse(signatures, embedded);
    let mut tried: Vec<(f32, Vec<usize>, f32)> = Vec::new();
    for threshold in thresholds {
        let labels = refine(&fused, &leaders(signatures, threshold))?;
        let score = silhouette(&fused, &labels);
        tried.push((score, labels, threshold));
    }
    let best = tried.iter().map(|t| t.0).fold(f32::MIN, f32::max);
    let good = tried.into_iter().filter(|t| t.0 >= NEAR_BEST * best);
    let chosen = good.min_by_key(|t| count(&t.1));
    Ok(chosen.map_or((usual, thresholds[1]), |t| (t.1, t.2)))
}

fn count(labels: &[usize]) -> usize {
    labels.iter().collect::<std::collections::BTreeSet<_>>().len()
}

/// Rows: template (unit length, hashed with signs), answer shapes and embedding (each of length [`BESIDE`]).
fn fuse(signatures: &[Signature], embedded: &[Vec<f32>]) -> Array2<f32> {
    let wide = embedded.first().map_or(0, Vec::len);
    let mut fused = Array2::zeros((signatures.len(), TEMPLATE_COLUMNS + ACTION_COLUMNS + wide));
    for (at, (signature, mut row)) in signatures.iter().zip(fused.axis_iter_mut(Axis(0))).enumerate() {
        let size = sparse::square(&signature.vector).sqrt().max(f32::MIN_POSITIVE);
        for (hash, weight) in &signature.vector {
            let (column, sign) = column(*hash, TEMPLATE_COLUMNS);
            row[column] += sign * weight / size;
        }
        for (action, share) in shares(&signature.actions) {
            let (column, sign) = column(segment::hash(action.as_bytes()), ACTION_COLUMNS);
            row[TEMPLATE_COLUMNS + column] += sign * BESIDE * share;
        }
        for (column, value) in embedded.get(at).into_iter().flatten().enumerate() {
            row[TEMPLATE_COLUMNS + ACTION_COLUMNS + column] = BESIDE * value;
        }
    }
    fused
}

/// Answer shapes as shares; labels count as one shape.
pub(crate) fn shares(actions: &BTreeMap<Action, u64>) -> Vec<(String, f32)> {
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    actions.iter().for_each(|(action, n)| *words.entry(action.word()).or_default() += n);
    let total: u64 = words.values().sum();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    words.into_iter().map(|(word, n)| (word, n as f32 / total.max(1) as f32)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of columns")]
pub(crate) const fn column(hash: u64, columns: usize) -> (usize, f32) {
    let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
    ((hash % columns as u64) as usize, sign)
}

/// K-means from the given labels' centroids.
fn refine(rows: &Array2<f32>, labels: &[usize]) -> Result<Vec<usize>, Error> {
    let clusters = labels.iter().max().map_or(0, |max| max + 1);
    kmeans(rows, means(rows, labels, clusters), 25)
}

/// Mean row of each label.
pub(crate) fn means(rows: &Array2<f32>, labels: &[usize], clusters: usize) -> Array2<f32> {
    let mut sums = Array2::zeros((clusters, rows.ncols()));
    let mut sizes = vec![0.0_f32; clusters];
    for (row, label) in rows.axis_iter(Axis(0)).zip(labels) {
        let mut sum = sums.row_mut(*label);
        sum += &row;
        sizes[*label] += 1.0;
    }
    for (mut sum, size) in sums.axis_iter_mut(Axis(0)).zip(sizes) {
        sum /= size.max(1.0);
    }
    sums
}

/// One `linfa` run from given centroids: its k-means++ costs the square of the clusters and its default is ten runs.
pub(crate) fn kmeans(rows: &Array2<f32>, start: Array2<f32>, iterations: u64) -> Result<Vec<usize>, Error> {
    let clusters = start.nrows();
    let data = DatasetBase::from(rows.view());
    let parameters = KMeans::params(clusters).init_method(KMeansInit::Precomputed(start)).n_runs(1).max_n_iterations(iterations);
    let failed = |cause: String| Error::KMeans { rows: rows.nrows(), clusters, cause };
    let model = parameters.tolerance(1e-4).fit(&data).map_err(|cause| failed(cause.to_string()))?;
    Ok(model.predict(rows).to_vec())
}

/// Mean silhouette of the first rows; −1 with fewer than two clusters among them.
pub(crate) fn silhouette(rows: &Array2<f32>, labels: &[usize]) -> f32 {
    let take = rows.nrows().min(SILHOUETTE_ROWS);
    let labels: Array1<usize> = ArrayView1::from(&labels[..take]).to_owned();
    if count(labels.as_slice().unwrap_or_default()) < 2 {
        return -1.0;
    }
    let data = DatasetBase::new(rows.slice(ndarray::s![..take, ..]), labels);
    data.silhouette_score().unwrap_or(-1.0)
}

#[cfg(test)]
mod tests {
    use super::{Signature, cluster, leaders, sort};

    fn signature(segments: &[u64], calls: u64) -> Signature {
        Signature { vector: segments.iter().map(|hash| (*hash, 5.0)).collect(), calls, ..Default::default() }
    }

    #[test]
    fn variants_join_their_template_and_others_do_not() {
        let mut all = vec![
            signature(&[1, 2, 3, 4, 5], 100),
            signature(&[1, 2, 3, 4, 6], 20),
            signature(&[1, 2, 3, 4], 3),
            signature(&[10, 11, 12], 50),
            signature(&[10, 11, 12, 13], 5),
        ];
        sort(&mut all);
        let labels = leaders(&all, 0.7);
        assert_eq!(labels, [0, 1, 0, 1, 0]);
        let (refined, _) = cluster(&all, &[], [0.6, 0.7, 0.8]).expect("five rows cluster");
        assert_eq!(crate::adjusted_rand(&refined, &labels), 1.0);
    }
}
