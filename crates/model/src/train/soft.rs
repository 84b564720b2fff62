//! Soft targets: what a teacher expected at a row, as far as it said so. Knows probabilities and one row of logits.
//!
//! A teacher names its likeliest tokens only. What is left of its mass stands for all other tokens together, as one outcome: nothing
//! is claimed about how it falls among them. The loss is then the cross-entropy of these outcomes (Hinton et al. 2015, arXiv
//! 1503.02531, over a coarser partition), which is the teacher's entropy above the divergence and has its gradient.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::float::{Float, exponentiate, sum};

/// Probabilities of some tokens; the rest to one belongs to all others together.
#[derive(Clone, Debug, PartialEq)]
pub struct Soft(Arc<[(u32, f32)]>);

impl Soft {
    /// From probabilities by token; those of a token named twice are added. What is a little more than one by rounding is scaled to one.
    /// None where nothing is named, or a probability is no number from 0 to 1.
    #[must_use]
    pub fn new(probabilities: impl IntoIterator<Item = (u32, f64)>) -> Option<Self> {
        let mut named = BTreeMap::<u32, f64>::new();
        for (token, probability) in probabilities {
            if !(0.0..=1.0).contains(&probability) {
                return None;
            }
            *named.entry(token).or_default() += probability;
        }
        let scale = named.values().sum::<f64>().max(1.0);
        #[expect(clippy::cast_possible_truncation, reason = "a probability needs no more digits")]
        let tokens = named.into_iter().map(|(token, probability)| (token, (probability / scale) as f32));
        let tokens: Arc<[_]> = tokens.collect();
        (!tokens.is_empty()).then_some(Self(tokens))
    }

    /// The named tokens, ascending, with their probabilities.
    #[must_use]
    pub fn tokens(&self) -> &[(u32, f32)] {
        &self.0
    }

    /// The mass of all tokens that are not named.
    #[must_use]
    pub fn rest(&self) -> f64 {
        (1.0 - self.named()).max(0.0)
    }

    fn named(&self) -> f64 {
        self.0.iter().map(|(_, probability)| f64::from(*probability)).sum()
    }

    /// Cross-entropy of a row of logits whose greatest is `top`. To go `back`, the row becomes its gradient times a weight: softmax less
    /// the teacher's distribution, in which the rest of the mass falls among the others as the softmax does.
    #[inline(always)]
    pub(super) fn slopes<F: Float>(&self, row: &mut [F], top: F, weight: f64, back: bool) -> f64 {
        let each = || self.0.iter().map(|(token, probability)| (*token as usize, f64::from(*probability)));
        let below: f64 = each().map(|(token, probability)| probability * (top - row[token]).to_f64()).sum();
        let total = exponentiate(row, top).to_f64();
        // taken out rather than subtracted: all others together may have less than the rounding of the total
        let shares: Vec<F> = each().map(|(token, _)| std::mem::replace(&mut row[token], F::ZERO)).collect();
        let others = sum(row).to_f64().max(f64::MIN_POSITIVE);
        let (named, rest) = (self.named(), self.rest());
        if back {
            let factor = weight * (named + rest) / total;
            let of_others = F::from_f64(factor - weight * rest / others);
            row.iter_mut().for_each(|share| *share *= of_others);
            for ((token, probability), share) in each().zip(shares) {
                row[token] = F::from_f64(share.to_f64() * factor - weight * probability);
            }
        }
        below + (named + rest) * total.ln() - rest * others.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::Soft;
    use crate::train::differences::{agree, wave};

    #[test]
    fn the_loss_is_the_written_out_one_and_has_its_gradient() {
        let logits = wave(9, 4);
        for pairs in [vec![(2, 0.5), (7, 0.3)], vec![(0, 0.25), (8, 0.75)], vec![(3, 0.0)], vec![(5, 1.0)]] {
            let soft = Soft::new(pairs.clone()).expect("good probabilities");
            let top = logits.iter().copied().fold(f64::MIN, f64::max);
            let loss = |logits: &[f64]| vec![soft.slopes(&mut logits.to_vec(), top, 1.0, false)];
            let total: f64 = logits.iter().map(|x| x.exp()).sum();
            let share = |token: usize| logits[token].exp() / total;
            let others: f64 = (0..9).filter(|t| pairs.iter().all(|(named, _)| *named as usize != *t)).map(share).sum();
            let rest = 1.0 - pairs.iter().map(|(_, q)| f64::from(*q as f32)).sum::<f64>();
            let named: f64 = pairs.iter().map(|(token, q)| -f64::from(*q as f32) * share(*token as usize).ln()).sum();
            assert!((loss(&logits)[0] - (named - rest * others.ln())).abs() < 1e-12, "{pairs:?}");
            let mut gradient = logits.clone();
            soft.slopes(&mut gradient, top, 2.5, true);
            assert!(gradient.iter().sum::<f64>().abs() < 1e-12, "a constant added to all logits changes nothing");
            agree(&logits, &gradient, &[2.5], loss);
        }
    }

    #[test]
    fn a_sure_student_and_a_teacher_with_a_rest_stay_finite() {
        let soft = Soft::new([(0, 0.999)]).expect("good probabilities");
        let mut row = vec![-90.0_f32; 100];
        row[0] = 60.0;
        let loss = soft.slopes(&mut row, 60.0, 1.0, true);
        // exp stops at -87, where a hundred others have e^(-87 + ln 99)
        assert!((loss - 0.001 * (87.0 - 99_f64.ln())).abs() < 1e-3, "{loss}");
        assert!(row.iter().all(|x| x.is_finite()) && (row[0] - 0.001).abs() < 1e-6, "{}", row[0]);
    }

    #[test]
    fn probabilities_are_checked_added_and_scaled() {
        assert_eq!(Soft::new([]), None);
        assert!(Soft::new([(1, f64::NAN)]).is_none() && Soft::new([(1, 1.5)]).is_none());
        let soft = Soft::new([(4, 0.5), (1, 0.25), (4, 0.5)]).expect("a little too much");
        assert_eq!((soft.tokens(), soft.rest()), (&[(1, 0.2), (4, 0.8)][..], 0.0));
    }
}
