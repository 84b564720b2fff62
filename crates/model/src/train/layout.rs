//! How a batch is cut: sequences into packs that are computed together without padding, packs into shards that are
//! computed side by side. Within a pack, what a sequence begins with that the one before it began with too has its rows once:
//! the pack is a tree. Depends on the batch alone, never on the number of threads.
use super::attention::{Segment, Span};
use super::{Loss, Sequence, Soft};
use crate::Error;

/// A row that must predict a token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scored {
    /// Row of the pack.
    pub row: usize,
    /// The token to predict.
    pub target: u32,
    /// How much its loss counts.
    pub weight: f32,
    /// Whether an answer begins with it.
    pub first: bool,
    /// What a teacher expected in its place.
    pub soft: Option<Soft>,
}

/// The loss of scored rows of which `sum` is Σ weight · nll and `hits` says which targets had the highest logit.
pub(super) fn loss(scored: &[Scored], sum: f64, hits: &[bool]) -> Loss {
    let (mut loss, mut at) = (Loss { sum, ..Loss::default() }, 0);
    for answer in scored.chunk_by(|_, next| !next.first) {
        let weight = f64::from(answer[0].weight);
        let right = hits[at..at + answer.len()].iter().all(|hit| *hit);
        at += answer.len();
        let right = if right { weight } else { 0.0 };
        loss += Loss { sum: 0.0, weight: weight * answer.len() as f64, right, answers: weight };
    }
    loss
}

/// The rows of some sequences. Whatever sequences have in common from their beginning on has the same keys, values and results
/// in each of them, because attention is causal; so it may stand once, and its gradient is the sum of theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pack {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<usize>,
    /// Which rows attend to which.
    pub segments: Vec<Segment>,
    /// The rows with a loss, sequence after sequence; a row that sequences share is there for each that scores it.
    pub scored: Vec<Scored>,
    /// The rows of the last sequence, in order.
    path: Vec<Span>,
}

impl Pack {
    /// The rows with a loss, in order, each once.
    pub fn asked(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = self.scored.iter().map(|scored| scored.row).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Adds a sequence whose first `shared` tokens are those of the last one.
    fn push(&mut self, sequence: &Sequence, shared: usize) {
        let own = Span { start: self.tokens.len(), len: sequence.tokens.len() - shared };
        self.tokens.extend(&sequence.tokens[shared..]);
        self.positions.extend(shared..sequence.tokens.len());
        cut(&mut self.path, shared);
        if own.len > 0 {
            self.segments.push(Segment { own, before: self.path.clone() });
            match self.path.last_mut() {
                Some(last) if last.start + last.len == own.start => last.len += own.len,
                _ => self.path.push(own),
            }
        }
        let first = |i: usize| i == 0 || sequence.targets[i - 1].is_none();
        let rows = self.path.iter().flat_map(|span| span.start..span.start + span.len);
        let scored = |(i, (row, target)): (usize, (usize, &Option<u32>))| {
            Some(Scored { row, target: (*target)?, weight: sequence.weight, first: first(i), soft: sequence.soft.get(&i).cloned() })
        };
        self.scored.extend(rows.zip(&sequence.targets).enumerate().filter_map(scored));
    }
}

/// Leaves the first `rows` rows of a path.
fn cut(path: &mut Vec<Span>, mut rows: usize) {
    for span in path.iter_mut() {
        span.len = span.len.min(rows);
        rows -= span.len;
    }
    path.retain(|span| span.len > 0);
}

/// What bounds a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most shards.
    pub shards: usize,
    /// Rows of a pack, unless one sequence alone has more or a longer beginning would have to be computed again.
    pub rows: usize,
    /// Whether common beginnings have their rows once.
    pub share: bool,
}

/// A beginning is computed again, for another shard or pack, where it adds less than one row to so many.
const AGAIN: usize = 8;

/// Cuts a batch, in its order, into lists of packs of about equal numbers of rows. Only neighbours share, so a batch that is
/// sorted by its tokens shares most.
pub(super) fn plan(batch: &[Sequence], limits: Limits) -> Vec<Vec<Pack>> {
    let mut shared = vec![0; batch.len()];
    if limits.share {
        batch.windows(2).zip(shared.iter_mut().skip(1)).for_each(|(pair, shared)| *shared = pair[0].common(&pair[1]));
    }
    let new: Vec<usize> = batch.iter().zip(&shared).map(|(sequence, shared)| sequence.tokens.len() - shared).collect();
    let total: usize = new.iter().sum();
    let (mut shards, mut places) = (limits.shards, spread(&new, limits.shards));
    let again = |places: &[usize]| -> usize { (1..batch.len()).filter(|i| places[*i] != places[i - 1]).map(|i| shared[i]).sum() };
    // halved, so that they come out even on as many threads
    while shards > 1 && again(&places) * AGAIN > total {
        shards /= 2;
        places = spread(&new, shards);
    }
    let mut plan: Vec<Vec<Pack>> = vec![Vec::new(); limits.shards];
    for (i, sequence) in batch.iter().enumerate() {
        let shard = &mut plan[places[i]];
        match shard.last_mut() {
            Some(pack) if pack.tokens.len() + new[i] <= limits.rows || shared[i] * AGAIN > new[i] => pack.push(sequence, shared[i]),
            _ => {
                let mut pack = Pack::default();
                pack.push(sequence, 0);
                shard.push(pack);
            }
        }
    }
    plan.retain(|shard| !shard.is_empty());
    plan
}

/// The shard of each sequence: the one in which the middle of its `new` rows falls.
fn spread(new: &[usize], shards: usize) -> Vec<usize> {
    let total = new.iter().sum::<usize>().max(1);
    let middles = new.iter().scan(0, |before, new| {
        *before += new;
        Some(*before - new.div_ceil(2))
    });
    middles.map(|middle| (middle * shards / total).min(shards - 1)).collect()
}

/// Refuses sequences that cannot be computed.
pub(super) fn check(batch: &[Sequence], vocabulary: usize) -> Result<(), Error> {
    for (i, sequence) in batch.iter().enumerate() {
        let (tokens, targets) = (sequence.tokens.len(), sequence.targets.len());
        let soft = sequence.soft.values().flat_map(Soft::tokens).map(|(token, _)| token);
        let unknown = sequence.tokens.iter().chain(sequence.targets.iter().flatten()).chain(soft).find(|id| **id as usize >= vocabulary);
        let aimless = sequence.soft.keys().find(|row| sequence.targets.get(**row).copied().flatten().is_none());
        let cause = if tokens == 0 {
            "it is empty".to_owned()
        } else if tokens != targets {
            format!("its {tokens} tokens have {targets} targets")
        } else if let Some(id) = unknown {
            format!("token {id} is beyond the vocabulary of {vocabulary}")
        } else if let Some(row) = aimless {
            format!("row {row} has a soft target and no target")
        } else if !sequence.weight.is_finite() {
            format!("its weight is {}", sequence.weight)
        } else {
            continue;
        };
        return Err(Error::malformed(format!("sequence {i}"), "training sequence", cause));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Limits, Pack, Sequence, Soft, check, loss, plan};

    fn sequence(len: usize) -> Sequence {
        Sequence {
            tokens: vec![1; len],
            targets: (0..len).map(|i| (i % 2 == 1).then_some(2)).collect(),
            weight: 0.5,
            soft: BTreeMap::new(),
        }
    }

    #[test]
    fn every_row_lands_in_exactly_one_pack() {
        let batch: Vec<_> = [5, 700, 400, 1, 3000, 20, 30].map(sequence).into();
        for shards in [1, 2, 8] {
            let plan = plan(&batch, Limits { shards, rows: 1024, share: false });
            let packs: Vec<_> = plan.iter().flatten().collect();
            assert!(plan.len() <= shards);
            assert_eq!(packs.iter().map(|p| p.tokens.len()).sum::<usize>(), 4156);
            assert_eq!(packs.iter().flat_map(|p| &p.segments).map(|s| s.own.len).collect::<Vec<_>>(), [5, 700, 400, 1, 3000, 20, 30]);
            assert_eq!(packs.iter().map(|p| p.scored.len()).sum::<usize>(), 2 + 350 + 200 + 1500 + 10 + 15);
            for pack in packs {
                assert!(pack.scored.iter().all(|s| pack.positions[s.row] % 2 == 1));
            }
        }
    }

    #[test]
    fn a_common_beginning_has_its_rows_once_and_each_sequence_finds_its_path() {
        let sequence = |tokens: &[u32]| Sequence {
            tokens: tokens.to_vec(),
            targets: tokens.iter().copied().map(Some).collect(),
            weight: 1.0,
            soft: BTreeMap::new(),
        };
        let batch: Vec<_> =
            [&[1, 2][..], &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &[1, 2, 3, 6], &[1, 2, 3, 6, 7], &[1, 8], &[9]].map(sequence).into();
        let plan = plan(&batch, Limits { shards: 1, rows: 1024, share: true });
        let [pack] = plan[0].as_slice() else { panic!("one pack is enough") };
        assert_eq!(pack.tokens, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(pack.positions, [0, 1, 2, 3, 4, 3, 4, 1, 0]);
        // every row is scored with its own token, so the scored rows spell the sequences
        let spelt: Vec<u32> = pack.scored.iter().map(|scored| pack.tokens[scored.row]).collect();
        assert_eq!(spelt, batch.iter().flat_map(|s| s.tokens.clone()).collect::<Vec<_>>());
        for segment in &pack.segments {
            let seen: Vec<usize> = segment.before.iter().flat_map(|span| span.start..span.start + span.len).collect();
            assert_eq!(seen.len(), pack.positions[segment.own.start], "a branch sees all that lies before it");
            assert!(seen.iter().enumerate().all(|(position, row)| pack.positions[*row] == position));
        }
    }

    #[test]
    fn a_long_common_beginning_is_not_cut_for_the_sake_of_shards() {
        let sequence = |first: u32, shared: u32| Sequence {
            tokens: (0..shared).chain([1000 + first; 40]).collect(),
            targets: vec![Some(1); shared as usize + 40],
            weight: 1.0,
            soft: BTreeMap::new(),
        };
        let rows = |shared: u32| -> (usize, usize) {
            let batch: Vec<_> = (0..16).map(|i| sequence(i, shared)).collect();
            let plan = plan(&batch, Limits { shards: 8, rows: 1024, share: true });
            (plan.len(), plan.iter().flatten().map(|pack| pack.tokens.len()).sum())
        };
        assert_eq!(rows(5000), (1, 5000 + 16 * 40));
        assert_eq!(rows(10), (8, 8 * 10 + 16 * 40));
    }

    #[test]
    fn an_answer_is_right_to_its_last_token_or_not_at_all() {
        let targets = |marks: &str| marks.chars().map(|mark| (mark == 'x').then_some(2)).collect::<Vec<_>>();
        let mut pack = Pack::default();
        for (marks, weight) in [("xx..xxx", 1.0), ("x.x", 2.0)] {
            pack.push(&Sequence { tokens: vec![1; marks.len()], targets: targets(marks), weight, soft: BTreeMap::new() }, 0);
        }
        let loss = loss(&pack.scored, 3.0, &[true, true, true, false, true, true, false]);
        assert_eq!((loss.sum, loss.weight, loss.answers, loss.right), (3.0, 9.0, 6.0, 3.0));
    }

    #[test]
    fn bad_sequences_are_named() {
        let text = |s: Sequence| check(&[sequence(3), s], 3).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(text(sequence(4)), "");
        assert!(text(sequence(0)).contains("`sequence 1` is no usable training sequence: it is empty"));
        assert!(text(Sequence { tokens: vec![3], targets: vec![None], ..sequence(1) }).contains("token 3 is beyond"));
        let soft = |row, token| BTreeMap::from([(row, Soft::new([(token, 0.5)]).expect("a good probability"))]);
        assert_eq!(text(Sequence { soft: soft(1, 2), ..sequence(4) }), "");
        assert!(text(Sequence { soft: soft(1, 3), ..sequence(4) }).contains("token 3 is beyond"));
        assert!(text(Sequence { soft: soft(2, 2), ..sequence(4) }).contains("row 2 has a soft target and no target"));
        assert!(text(Sequence { tokens: vec![1], targets: vec![], ..sequence(1) }).contains("1 tokens have 0 targets"));
    }
}
