//! The free-text channel: calls that share no template, told apart by an embedding.
//!
//! Embedding and answer shape are fused and clustered by `linfa` k-means; the number of intents is the smallest whose
//! silhouette comes near the best. Unless other seeds find the same intents, there are none, and the calls stay one
//! task: a split that does not repeat would send the same question to different models.
use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::action::Action;
use crate::leader::{column, kmeans, shares, silhouette};
use crate::{Error, adjusted_rand, segment};

/// Rows used to find intents; above it the rows with the smallest texts' hashes stand for all.
pub(crate) const ROWS: usize = 2048;
const ACTION_COLUMNS: usize = 16;
const ACTIONS: f32 = 0.5;
const NEAR_BEST: f32 = 0.97;
/// Agreement of three seeds below which there are no intents (adjusted Rand index).
const STABLE: f64 = 0.8;
/// Silhouette below which there is no structure to speak of.
const STRUCTURE: f32 = 0.1;
/// Fewer rows than this per intent say nothing.
const PER_INTENT: usize = 10;

/// Intents found among rows.
#[derive(Clone, Debug)]
pub(crate) struct Intents {
    /// Label of each row.
    pub(crate) labels: Vec<usize>,
    /// Mean agreement of three seeds.
    pub(crate) stability: f64,
}

/// Finds at most `most` intents; `None` where there are no stable ones. Rows come in an order that does not depend on the log's.
pub(crate) fn find(embedded: &[Vec<f32>], actions: &[&BTreeMap<Action, u64>], most: usize, seed: u64) -> Result<Option<Intents>, Error> {
    let most = most.min(embedded.len() / PER_INTENT);
    if most < 2 {
        return Ok(None);
    }
    let rows = fuse(embedded, actions);
    let run = |k: usize, seed: u64| kmeans(&rows, plus_plus(&rows, k, seed), 20);
    let mut tried = Vec::new();
    for k in [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256].into_iter().filter(|k| *k <= most) {
        let labels = run(k, seed)?;
        tried.push((silhouette(&rows, &labels), k, labels));
    }
    let best = tried.iter().map(|t| t.0).fold(f32::MIN, f32::max);
    let Some((score, k, labels)) = tried.into_iter().find(|t| t.0 >= NEAR_BEST * best) else { return Ok(None) };
    if score < STRUCTURE {
        return Ok(None);
    }
    let (two, three) = (run(k, seed ^ 0x5eed)?, run(k, seed ^ 0xfeed)?);
    let stability = (adjusted_rand(&labels, &two) + adjusted_rand(&labels, &three) + adjusted_rand(&two, &three)) / 3.0;
    Ok((stability >= STABLE).then_some(Intents { labels, stability }))
}

fn fuse(embedded: &[Vec<f32>], actions: &[&BTreeMap<Action, u64>]) -> Array2<f32> {
    let wide = embedded.first().map_or(0, Vec::len);
    let mut rows = Array2::zeros((embedded.len(), wide + ACTION_COLUMNS));
    for ((mut row, vector), actions) in rows.axis_iter_mut(Axis(0)).zip(embedded).zip(actions) {
        vector.iter().enumerate().for_each(|(at, value)| row[at] = *value);
        for (word, share) in shares(actions) {
            let (at, sign) = column(segment::hash(word.as_bytes()), ACTION_COLUMNS);
            row[wide + at] += sign * ACTIONS * share;
        }
    }
    rows
}

/// k-means++ starts (Arthur and Vassilvitskii 2007), with each row's distance to its nearest start kept.
fn plus_plus(rows: &Array2<f32>, k: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = vec![rng.random_range(0..rows.nrows())];
    let mut nearest = vec![f32::MAX; rows.nrows()];
    while chosen.len() < k {
        let last = rows.row(chosen[chosen.len() - 1]);
        for (row, near) in rows.axis_iter(Axis(0)).zip(&mut nearest) {
            *near = near.min(square_distance(row, last));
        }
        let mut point = rng.random::<f32>() * nearest.iter().sum::<f32>();
        let hit = nearest.iter().position(|near| {
            point -= near;
            point < 0.0
        });
        chosen.push(hit.unwrap_or(rows.nrows() - 1));
    }
    rows.select(Axis(0), &chosen)
}

fn square_distance(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

#[cfg(test)]
mod tests {
    use super::find;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeMap;

    fn blobs(centres: usize, spread: f32) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let row = |i: usize, rng: &mut ChaCha8Rng| {
            (0..12).map(|d| f32::from(u8::from(d == i % centres)) + spread * (rng.random::<f32>() - 0.5)).collect()
        };
        (0..240).map(|i| row(i, &mut rng)).collect()
    }

    #[test]
    fn clear_intents_are_found_and_noise_is_not_split() {
        let none = BTreeMap::new();
        let actions = vec![&none; 240];
        let found = find(&blobs(6, 0.2), &actions, 32, 1).expect("240 rows cluster").expect("six blobs are clear");
        let truth: Vec<_> = (0..240).map(|i| i % 6).collect();
        assert!(crate::adjusted_rand(&found.labels, &truth) > 0.99);
        assert!(find(&blobs(1, 2.0), &actions, 32, 1).expect("240 rows cluster").is_none());
    }
}
