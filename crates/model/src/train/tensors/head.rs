//! Output head and cross-entropy together as tensor operations, over the rows with a loss alone and a few rows at a time: the
//! logits of a whole pack never exist. The idea of Wijmans et al. 2024, arXiv 2411.09009. Knows rows and targets, no layers.
use candle_core::{D, DType, Device, Result, Tensor};

use super::Sums;
use super::linear::Value;
use crate::train::layout::{Scored, loss};
use crate::train::{Loss, Soft};

/// Loss of `rows` (one for each of `scored`, × hidden) under the head `matrix` (vocabulary × hidden).
/// With `sums` also the gradient of the rows, and that of the matrix is added there if it is trained. At most about `logits`
/// logits exist at once.
pub(super) fn cross_entropy(
    rows: &Tensor,
    matrix: &Value,
    scored: &[Scored],
    logits: usize,
    mut sums: Option<&mut Sums>,
) -> Result<(Loss, Option<Tensor>)> {
    let step = (logits / matrix.tensor.dim(0)?).clamp(16, 4096);
    let (mut sum, mut hits, mut drows) = (0.0, Vec::with_capacity(scored.len()), Vec::new());
    for (i, scored) in scored.chunks(step).enumerate() {
        let rows = rows.narrow(0, i * step, scored.len())?.contiguous()?;
        let (nll, slopes) = slopes(&rows.matmul(&matrix.tensor.t()?)?, scored, sums.is_some(), &mut hits)?;
        sum += nll;
        if let (Some(sums), Some(slopes)) = (&mut sums, slopes) {
            drows.push(slopes.matmul(&matrix.tensor)?);
            sums.add(matrix, || slopes.t()?.matmul(&rows))?;
        }
    }
    Ok((loss(scored, sum, &hits), if drows.is_empty() { None } else { Some(Tensor::cat(&drows, 0)?) }))
}

/// Σ weight · nll of rows of logits and, to go `back`, their gradients: weight · (softmax - one at the target, or what is said there
/// of a soft target). Each row adds to `hits` whether its target has the highest logit.
fn slopes(logits: &Tensor, scored: &[Scored], back: bool, hits: &mut Vec<bool>) -> Result<(f64, Option<Tensor>)> {
    let (count, device) = (scored.len(), logits.device());
    let targets = Tensor::from_vec(scored.iter().map(|s| s.target).collect::<Vec<_>>(), (count, 1), device)?;
    let weights = Tensor::from_vec(scored.iter().map(|s| s.weight).collect::<Vec<_>>(), (count, 1), device)?.to_dtype(logits.dtype())?;
    let top = logits.max_keepdim(D::Minus1)?;
    let right = (logits.gather(&targets, D::Minus1)? - &top)?;
    hits.extend(right.ge(0.0)?.flatten_all()?.to_vec1::<u8>()?.into_iter().map(|hit| hit == 1));
    let shares = logits.broadcast_sub(&top)?.exp()?;
    let total = shares.sum_keepdim(D::Minus1)?;
    let soft = Outcomes::of(logits, scored)?;
    // each row's loss is rounded to the logits' type, their sum is not
    let losses = match &soft {
        Some(soft) => soft.losses(&logits.broadcast_sub(&top)?, &shares, &total)?,
        None => (total.log()? - right)?,
    };
    let losses = losses.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let sum = losses.iter().zip(scored).map(|(loss, scored)| f64::from(scored.weight) * loss).sum();
    if !back {
        return Ok((sum, None));
    }
    let slopes = match &soft {
        Some(soft) => soft.slopes(&shares, &total)?.broadcast_mul(&weights)?,
        None => shares.broadcast_mul(&(&weights / total)?)?.scatter_add(&targets, &weights.neg()?, D::Minus1)?,
    };
    Ok((sum, Some(slopes)))
}

/// What is expected of rows some of which have soft targets, each a whole row of the vocabulary; a target alone is a soft one that is sure.
struct Outcomes {
    /// Probabilities of the named tokens, rows × vocabulary.
    named: Tensor,
    /// One where a token is not named, rows × vocabulary.
    others: Tensor,
    /// Mass of the named tokens and of all others together, rows × 1 each.
    masses: [Tensor; 2],
}

impl Outcomes {
    /// None where no row has a soft target.
    fn of(logits: &Tensor, scored: &[Scored]) -> Result<Option<Self>> {
        if scored.iter().all(|scored| scored.soft.is_none()) {
            return Ok(None);
        }
        let (count, vocabulary) = logits.dims2()?;
        let (mut named, mut others) = (vec![0.0_f64; count * vocabulary], vec![1.0_f64; count * vocabulary]);
        let (mut mass, mut rest) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (row, scored) in scored.iter().enumerate() {
            let alone = [(scored.target, 1.0)];
            let tokens = scored.soft.as_ref().map_or(&alone[..], Soft::tokens);
            for (token, probability) in tokens {
                let at = row * vocabulary + *token as usize;
                (named[at], others[at]) = (f64::from(*probability), 0.0);
            }
            mass.push(tokens.iter().map(|(_, probability)| f64::from(*probability)).sum::<f64>());
            rest.push(scored.soft.as_ref().map_or(0.0, Soft::rest));
        }
        let tensor =
            |values, width| Tensor::from_vec(values, (count, width), &Device::Cpu)?.to_dtype(logits.dtype())?.to_device(logits.device());
        let masses = [tensor(mass, 1)?, tensor(rest, 1)?];
        Ok(Some(Self { named: tensor(named, vocabulary)?, others: tensor(others, vocabulary)?, masses }))
    }

    /// Sum of the shares of tokens that are not named, above zero.
    fn left(&self, shares: &Tensor) -> Result<Tensor> {
        (shares * &self.others)?.sum_keepdim(D::Minus1)?.maximum(f64::from(f32::MIN_POSITIVE))
    }

    /// Cross-entropy of each row, from its logits less the greatest.
    fn losses(&self, below: &Tensor, shares: &Tensor, total: &Tensor) -> Result<Tensor> {
        let [mass, rest] = &self.masses;
        let named = (&self.named * below)?.sum_keepdim(D::Minus1)?;
        (((mass + rest)? * total.log()?)? - named)? - (rest * self.left(shares)?.log()?)?
    }

    /// Its gradient by the logits.
    fn slopes(&self, shares: &Tensor, total: &Tensor) -> Result<Tensor> {
        let [mass, rest] = &self.masses;
        let own = shares.broadcast_mul(&((mass + rest)? / total)?)?;
        let left = (shares * &self.others)?.broadcast_mul(&(rest / self.left(shares)?)?)?;
        (own - left)? - &self.named
    }
}
