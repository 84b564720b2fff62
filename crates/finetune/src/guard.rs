//! Refuses to go on with a run that cannot end well: hidden gradients, overflow, a loss that explodes.
//!
//! A tensor operation without a backward pass hides gradients without an error, and the run then "trains" nothing.
use std::collections::BTreeMap;

use crate::trainer::Row;
use crate::{Error, Parameters};

/// Steps whose mean loss is compared with that of the first ones.
const WINDOW: usize = 10;

/// Every parameter must have a gradient: a LoRA `B` from the first step, everything else from the second
/// (while `B` is zero, no gradient reaches `A`).
pub(crate) fn gradients_flow(parameters: &Parameters, norms: &BTreeMap<&str, f64>, step: u64) -> Result<(), Error> {
    if step > 2 {
        return Ok(());
    }
    let silent = |name: &&String| norms.get(name.as_str()).is_none_or(|norm| *norm == 0.0);
    let due = |name: &&String| step == 2 || name.contains("lora_B");
    match parameters.keys().filter(due).find(silent) {
        None => Ok(()),
        Some(name) => Err(Error::MissingGradient { name: name.clone(), step }),
    }
}

/// `value` must be a number.
pub(crate) fn finite(what: &'static str, value: f64, step: u64, learning_rate: f64) -> Result<(), Error> {
    if value.is_finite() { Ok(()) } else { Err(Error::NotFinite { what, value, step, learning_rate }) }
}

/// The mean loss of the last steps must not be far above that of the first: half as much again and a nat.
pub(crate) fn bounded(rows: &[Row], learning_rate: f64) -> Result<(), Error> {
    let (Some(first), Some(last)) = (rows.get(..WINDOW), rows.len().checked_sub(WINDOW).and_then(|from| rows.get(from..))) else {
        return Ok(());
    };
    #[expect(clippy::cast_precision_loss, reason = "a window of ten")]
    let mean = |rows: &[Row]| rows.iter().map(|row| row.loss).sum::<f64>() / rows.len() as f64;
    let (start, loss) = (mean(first), mean(last));
    let step = rows.last().map_or(0, |row| row.step);
    if loss > 1.5 * start + 1.0 { Err(Error::Exploded { start, loss, step, learning_rate }) } else { Ok(()) }
}
