//! How a batch is cut: sequences into packs that are computed together without padding, packs into shards that are
//! computed side by side. Depends on the batch alone, never on the number of threads.
use super::Sequence;
use super::attention::Segment;
use crate::Error;

/// A row that must predict a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scored {
    /// Row of the pack.
    pub row: usize,
    /// The token to predict.
    pub target: u32,
    /// How much its loss counts.
    pub weight: f32,
}

/// Sequences one behind the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pack {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<usize>,
    /// Which rows attend to one another.
    pub segments: Vec<Segment>,
    /// The rows with a loss, in order.
    pub scored: Vec<Scored>,
}

impl Pack {
    fn push(&mut self, sequence: &Sequence) {
        let start = self.tokens.len();
        let targets = sequence.targets.iter().enumerate();
        self.scored.extend(targets.filter_map(|(i, target)| Some(Scored { row: start + i, target: (*target)?, weight: sequence.weight })));
        self.tokens.extend(&sequence.tokens);
        self.positions.extend(0..sequence.tokens.len());
        self.segments.push(Segment { start, len: sequence.tokens.len() });
    }
}

/// Cuts a batch, in its order, into at most `shards` lists of packs of about equal numbers of tokens. A pack has at most `rows`
/// rows, unless one sequence alone has more.
pub(super) fn plan(batch: &[Sequence], shards: usize, rows: usize) -> Vec<Vec<Pack>> {
    let total: usize = batch.iter().map(|s| s.tokens.len()).sum();
    let mut plan: Vec<Vec<Pack>> = vec![Vec::new(); shards];
    let mut before = 0;
    for sequence in batch {
        // the shard in which the middle of the sequence falls
        let middle = before + sequence.tokens.len() / 2;
        let shard = &mut plan[(middle * shards / total.max(1)).min(shards - 1)];
        match shard.last_mut() {
            Some(pack) if pack.tokens.len() + sequence.tokens.len() <= rows => pack.push(sequence),
            _ => {
                let mut pack = Pack::default();
                pack.push(sequence);
                shard.push(pack);
            }
        }
        before += sequence.tokens.len();
    }
    plan.retain(|shard| !shard.is_empty());
    plan
}

/// Refuses sequences that cannot be computed.
pub(super) fn check(batch: &[Sequence], vocabulary: usize) -> Result<(), Error> {
    for (i, sequence) in batch.iter().enumerate() {
        let (tokens, targets) = (sequence.tokens.len(), sequence.targets.len());
        let unknown = sequence.tokens.iter().chain(sequence.targets.iter().flatten()).find(|id| **id as usize >= vocabulary);
        let cause = if tokens == 0 {
            "it is empty".to_owned()
        } else if tokens != targets {
            format!("its {tokens} tokens have {targets} targets")
        } else if let Some(id) = unknown {
            format!("token {id} is beyond the vocabulary of {vocabulary}")
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
    use super::{Sequence, check, plan};

    fn sequence(len: usize) -> Sequence {
        Sequence { tokens: vec![1; len], targets: (0..len).map(|i| (i % 2 == 1).then_some(2)).collect(), weight: 0.5 }
    }

    #[test]
    fn every_row_lands_in_exactly_one_pack() {
        let batch: Vec<_> = [5, 700, 400, 1, 3000, 20, 30].map(sequence).into();
        for shards in [1, 2, 8] {
            let plan = plan(&batch, shards, 1024);
            let packs: Vec<_> = plan.iter().flatten().collect();
            assert!(plan.len() <= shards);
            assert_eq!(packs.iter().map(|p| p.tokens.len()).sum::<usize>(), 4156);
            assert_eq!(packs.iter().flat_map(|p| &p.segments).map(|s| s.len).collect::<Vec<_>>(), [5, 700, 400, 1, 3000, 20, 30]);
            assert_eq!(packs.iter().map(|p| p.scored.len()).sum::<usize>(), 2 + 350 + 200 + 1500 + 10 + 15);
            for pack in packs {
                assert!(pack.scored.iter().all(|s| pack.positions[s.row] % 2 == 1));
            }
        }
    }

    #[test]
    fn bad_sequences_are_named() {
        let text = |s: Sequence| check(&[sequence(3), s], 3).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(text(sequence(4)), "");
        assert!(text(sequence(0)).contains("`sequence 1` is no usable training sequence: it is empty"));
        assert!(text(Sequence { tokens: vec![3], targets: vec![None], weight: 1.0 }).contains("token 3 is beyond"));
        assert!(text(Sequence { tokens: vec![1], targets: vec![], weight: 1.0 }).contains("1 tokens have 0 targets"));
    }
}
