//! Which sequences a step sees, and how they go through the model. Pure functions of seed and step.
use crate::Sequence;

/// Cuts a step's sequences into micro-batches of at most `micro_tokens` tokens (one sequence at least).
///
/// Neighbours share as long a prefix as can be, since a prefix shared within a micro-batch may be computed once;
/// the loss is summed over all of them, so the cut changes no result but rounding.
pub(crate) fn micro_batches(mut sequences: Vec<Sequence>, micro_tokens: usize) -> Vec<Vec<Sequence>> {
    sequences.sort_by(|one, other| one.tokens.cmp(&other.tokens));
    let total: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
    let parts = total.div_ceil(micro_tokens.max(1)).max(1);
    // even parts rather than full ones and a rest
    let share = total.div_ceil(parts);
    let mut batches: Vec<Vec<Sequence>> = Vec::new();
    let mut filled = usize::MAX;
    for sequence in sequences {
        let length = sequence.tokens.len();
        if filled >= share || filled + length > micro_tokens {
            batches.push(Vec::new());
            filled = 0;
        }
        filled += length;
        batches.last_mut().expect("one was just pushed if there was none").push(sequence);
    }
    batches
}
