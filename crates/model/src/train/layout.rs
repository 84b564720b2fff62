//! How a batch is cut: sequences into packs that are computed together without padding, packs into shards that are
//! computed side by side. Depends on the batch alone, never on the number of threads.
use super::attention::Segment;
use super::{Loss, Sequence};
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
    /// Whether an answer begins with it.
    pub first: bool,
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
        let first = |i: usize| i == 0 || sequence.targets[i - 1].is_none();
        let scored = |(i, target): (usize, &Option<u32>)| {
            Some(Scored { row: start + i, target: (*target)?, weight: sequence.weight, first: first(i) })
        };
        self.scored.extend(sequence.targets.iter().enumerate().filter_map(scored));
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
    use super::{Pack, Sequence, check, loss, plan};

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
    fn an_answer_is_right_to_its_last_token_or_not_at_all() {
        let targets = |marks: &str| marks.chars().map(|mark| (mark == 'x').then_some(2)).collect::<Vec<_>>();
        let mut pack = Pack::default();
        for (marks, weight) in [("xx..xxx", 1.0), ("x.x", 2.0)] {
            pack.push(&Sequence { tokens: vec![1; marks.len()], targets: targets(marks), weight });
        }
        let loss = loss(&pack.scored, 3.0, &[true, true, true, false, true, true, false]);
        assert_eq!((loss.sum, loss.weight, loss.answers, loss.right), (3.0, 9.0, 6.0, 3.0));
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
