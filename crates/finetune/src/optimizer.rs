//! AdamW with decoupled weight decay (arXiv 1711.05101), state in f32 on the host, the same bytes at any thread count.
//!
//! It is written out rather than composed of tensor operations so that its state can be saved and taken up
//! again bit by bit, and so that one pass over memory does an update. It does not know what it trains.
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;

use crate::clip::Flat;
use crate::{Error, Parameters};

/// Elements updated by one thread at a time.
const CHUNK: usize = 16 * 1024;

/// Constants of AdamW other than the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Constants {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// Share of a matrix that decays per step and unit of learning rate. Vectors (norms, biases) never decay.
    pub weight_decay: f32,
}

/// First and second moment of one parameter.
#[derive(Clone, Debug, PartialEq)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// The optimiser: constants, updates done, moments by parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdamW {
    constants: Constants,
    updates: i32,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    pub(crate) fn new(constants: Constants, parameters: &Parameters) -> Self {
        let zeros = |var: &Var| Moments { first: vec![0.0; var.elem_count()], second: vec![0.0; var.elem_count()] };
        Self { constants, updates: 0, moments: parameters.iter().map(|(name, var)| (name.clone(), zeros(var))).collect() }
    }

    /// One update. Each gradient is first multiplied with `scale` (one over the loss weight, times the clip factor).
    pub(crate) fn step(&mut self, parameters: &Parameters, gradients: &Flat, scale: f64, learning_rate: f64) -> Result<(), Error> {
        self.updates += 1;
        for (name, var) in parameters {
            let (Some(gradient), Some(moments)) = (gradients.get(name), self.moments.get_mut(name)) else { continue };
            let decays = var.rank() > 1;
            let rule = Rule::new(self.constants, self.updates, decays, scale, learning_rate);
            let mut values = flat(var)?;
            let chunks = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
            let chunks = chunks.zip(moments.first.par_chunks_mut(CHUNK)).zip(moments.second.par_chunks_mut(CHUNK));
            chunks.for_each(|(((w, g), m), v)| rule.apply(w, g, m, v));
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
        }
        Ok(())
    }

    /// The state as named tensors, `first.<parameter>` and `second.<parameter>`.
    pub(crate) fn tensors(&self) -> BTreeMap<String, Vec<f32>> {
        let both = self.moments.iter().flat_map(|(name, moments)| {
            [(format!("first.{name}"), moments.first.clone()), (format!("second.{name}"), moments.second.clone())]
        });
        both.collect()
    }

    /// Takes up a saved state.
    pub(crate) fn restore(&mut self, updates: u64, mut take: impl FnMut(&str) -> Result<Vec<f32>, Error>) -> Result<(), Error> {
        self.updates = i32::try_from(updates).unwrap_or(i32::MAX);
        for (name, moments) in &mut self.moments {
            moments.first = take(&format!("first.{name}"))?;
            moments.second = take(&format!("second.{name}"))?;
        }
        Ok(())
    }
}

/// Everything of one update that is the same for all elements of a parameter.
struct Rule {
    constants: Constants,
    keep: f32,
    rate: f32,
    scale: f32,
    root_correction: f32,
}

impl Rule {
    #[expect(clippy::cast_possible_truncation, reason = "the update is in f32; only its constants are worked out in f64")]
    fn new(constants: Constants, updates: i32, decays: bool, scale: f64, learning_rate: f64) -> Self {
        let decay = if decays { f64::from(constants.weight_decay) } else { 0.0 };
        let first = 1.0 - f64::from(constants.beta1).powi(updates);
        let second = 1.0 - f64::from(constants.beta2).powi(updates);
        Self {
            constants,
            keep: (1.0 - learning_rate * decay) as f32,
            rate: (learning_rate / first) as f32,
            scale: scale as f32,
            root_correction: second.sqrt() as f32,
        }
    }

    fn apply(&self, values: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let Constants { beta1, beta2, epsilon, .. } = self.constants;
        for (((w, g), m), v) in values.iter_mut().zip(gradients).zip(first).zip(second) {
            let g = g * self.scale;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *w = *w * self.keep - self.rate * *m / (v.sqrt() / self.root_correction + epsilon);
        }
    }
}

/// Values of a tensor in row-major order, in f32 on the host.
pub(crate) fn flat(tensor: &Tensor) -> Result<Vec<f32>, Error> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Refuses parameters that would lose small updates: they are trained in f32, whatever the frozen weights are in.
pub(crate) fn require_f32(parameters: &Parameters) -> Result<(), Error> {
    match parameters.iter().find(|(_, var)| var.dtype() != DType::F32) {
        None => Ok(()),
        Some((name, var)) => {
            Err(Error::Setting { key: "dtype", found: format!("{name}: {:?}", var.dtype()), expected: "parameters are trained in f32" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamW, Constants, flat};
    use candle_core::{Device, Var};

    /// Expected by PyTorch 2: `p = tensor([[1., -2.]]); o = AdamW([p], lr=0.1, weight_decay=0.5); p.grad = tensor([[.3, -.1]])`
    /// and three `o.step()`: Adam moves by the rate while the gradient stays, decay shrinks by 5 % before each.
    #[test]
    fn three_steps_come_out_as_in_pytorch() {
        let var = Var::from_vec(vec![1.0_f32, -2.0], (1, 2), &Device::Cpu).expect("a small tensor");
        let parameters = [("w".to_owned(), var.clone())].into();
        let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.5 };
        let mut optimizer = AdamW::new(constants, &parameters);
        let gradients = [("w".to_owned(), vec![0.3, -0.1])].into();
        for _ in 0..3 {
            optimizer.step(&parameters, &gradients, 1.0, 0.1).expect("plain numbers");
        }
        let expected = |mut w: f64, sign: f64| {
            for _ in 0..3 {
                w = w * 0.95 - sign * 0.1;
            }
            w
        };
        let values = flat(&var).expect("on the host");
        assert!((f64::from(values[0]) - expected(1.0, 1.0)).abs() < 1e-5, "{values:?}");
        assert!((f64::from(values[1]) - expected(-2.0, -1.0)).abs() < 1e-5, "{values:?}");
    }

    #[test]
    fn a_restored_state_goes_on_bit_by_bit() {
        let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let var = Var::from_vec(vec![1.0_f32, -2.0, 0.25], 3, &Device::Cpu).expect("a small tensor");
        let parameters = [("w".to_owned(), var)].into();
        let mut optimizer = AdamW::new(constants, &parameters);
        optimizer.step(&parameters, &[("w".to_owned(), vec![0.3, -0.1, 1e-20])].into(), 0.7, 0.1).expect("plain numbers");
        let saved = optimizer.tensors();
        let mut again = AdamW::new(constants, &parameters);
        again.restore(1, |name| Ok(saved[name].clone())).expect("all there");
        assert_eq!(again, optimizer);
    }
}
