//! First values of parameters, drawn from a seed. Knows names and shapes, no arithmetic of the model.
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::parameters::Entry;
use crate::Error;

/// A (the names with `lora_A`) uniform in ±1/√inputs, B zero.
pub(super) fn adapters(entries: &[Entry], seed: u64, dtype: DType, device: &Device) -> Result<BTreeMap<String, Var>, Error> {
    let mut source = ChaCha8Rng::seed_from_u64(seed);
    let draw = |entry: &Entry| -> Result<_, Error> {
        let bound = if entry.name.contains(".lora_A.") { 1.0 / (entry.shape[1] as f64).sqrt() } else { 0.0 };
        let values = tensor(entry, dtype, device, || bound * (2.0 * source.random::<f64>() - 1.0))?;
        Ok((entry.name.clone(), Var::from_tensor(&values)?))
    };
    entries.iter().map(draw).collect()
}

/// Matrices normal, gains 1, biases 0.
pub(super) fn weights(
    entries: &[Entry],
    layers: usize,
    seed: u64,
    dtype: DType,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, Error> {
    let mut source = ChaCha8Rng::seed_from_u64(seed);
    let draw = |entry: &Entry| -> Result<_, Error> {
        let residual = entry.name.contains("o_proj") || entry.name.contains("down_proj");
        let deviation = if residual { 0.02 / (2.0 * layers as f64).sqrt() } else { 0.02 };
        let values = match (entry.shape.len(), entry.name.ends_with("bias")) {
            (_, true) => tensor(entry, dtype, device, || 0.0),
            (1, false) => tensor(entry, dtype, device, || 1.0 - entry.offset),
            _ => tensor(entry, dtype, device, || deviation * normal(&mut source)),
        }?;
        Ok((entry.name.clone(), values))
    };
    entries.iter().map(draw).collect()
}

fn tensor(entry: &Entry, dtype: DType, device: &Device, mut draw: impl FnMut() -> f64) -> Result<Tensor, Error> {
    let values: Vec<f64> = (0..entry.shape.iter().product()).map(|_| draw()).collect();
    Ok(Tensor::from_vec(values, entry.shape.as_slice(), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

/// Box and Muller 1958.
fn normal(source: &mut ChaCha8Rng) -> f64 {
    let (u, v) = (1.0 - source.random::<f64>(), source.random::<f64>());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
