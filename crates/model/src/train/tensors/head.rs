//! Output head and cross-entropy together as tensor operations, over the rows with a loss alone and a few rows at a time: the
//! logits of a whole pack never exist. The idea of Wijmans et al. 2024, arXiv 2411.09009. Knows rows and targets, no layers.
use candle_core::{D, Result, Tensor};

use super::Sums;
use super::linear::Value;
use crate::train::Loss;
use crate::train::layout::{Scored, loss};

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

/// Σ weight · nll of rows of logits and, to go `back`, their gradients: weight · (softmax - one at the target). Each row adds to
/// `hits` whether its target has the highest logit.
fn slopes(logits: &Tensor, scored: &[Scored], back: bool, hits: &mut Vec<bool>) -> Result<(f64, Option<Tensor>)> {
    let (count, device) = (scored.len(), logits.device());
    let targets = Tensor::from_vec(scored.iter().map(|s| s.target).collect::<Vec<_>>(), (count, 1), device)?;
    let weights = Tensor::from_vec(scored.iter().map(|s| s.weight).collect::<Vec<_>>(), (count, 1), device)?.to_dtype(logits.dtype())?;
    let top = logits.max_keepdim(D::Minus1)?;
    let right = (logits.gather(&targets, D::Minus1)? - &top)?;
    hits.extend(right.ge(0.0)?.flatten_all()?.to_vec1::<u8>()?.into_iter().map(|hit| hit == 1));
    let shares = logits.broadcast_sub(&top)?.exp()?;
    let total = shares.sum_keepdim(D::Minus1)?;
    // each row's loss is rounded to the logits' type, their sum is not
    let losses = (total.log()? - right)?.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let sum = losses.iter().zip(scored).map(|(loss, scored)| f64::from(scored.weight) * loss).sum();
    if !back {
        return Ok((sum, None));
    }
    let slopes = shares.broadcast_mul(&(&weights / total)?)?.scatter_add(&targets, &weights.neg()?, D::Minus1)?;
    Ok((sum, Some(slopes)))
}
