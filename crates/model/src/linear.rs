//! Linear layers that only run forward, on the CPU, in f32. Knows matrices and their names, not what they are for.
use candle_core::{DType, Device};

use crate::lora::{Lora, Pair};
use crate::train::Precision;
use crate::train::kernels::add_bias;
use crate::train::matmul::{Mat, MatMut, Old, multiply};
use crate::train::tiles::{LEFT, Pieces, Tiles, pieces};
use crate::{Error, Weights};

/// A matrix in the layout in which a product needs no packing.
enum Matrix {
    /// (inputs, outputs)
    Plain(Vec<f32>),
    /// For the matrix unit.
    Tiles(Tiles),
}

/// What an adapter adds, `x · down · up`, by the side of weights that are exact in fewer than three pieces: merged into them they would be
/// so no more, and every product would take twice as long and read three times as much.
struct Addition {
    /// (inputs, ranks of all parts)
    down: Tiles,
    /// (ranks of all parts, outputs), the parts' on the diagonal, times the adapter's scale.
    up: Tiles,
    ranks: usize,
}

impl Addition {
    /// Of pairs, each with its first output; none where they add nothing.
    fn new(pairs: &[(usize, &Pair)], scale: f32, (inputs, outputs): (usize, usize)) -> Result<Option<Self>, Error> {
        let (mut down, mut up, mut ranks) = (Vec::new(), Vec::new(), 0);
        for (first, pair) in pairs {
            let rank = pair.down.dim(0)?;
            down.extend(pair.down.flatten_all()?.to_vec1::<f32>()?);
            up.resize((ranks + rank) * outputs, 0.0);
            for (output, row) in pair.up.flatten_all()?.to_vec1::<f32>()?.chunks_exact(rank).enumerate() {
                row.iter().enumerate().for_each(|(i, value)| up[(ranks + i) * outputs + first + output] = scale * value);
            }
            ranks += rank;
        }
        let Some((of_down, of_up)) = pieces(&down).zip(pieces(&up)) else { return Ok(None) };
        let down = Tiles::new(&down, of_down, (inputs, ranks), (1, inputs));
        Ok(Some(Self { down, up: Tiles::new(&up, of_up, (ranks, outputs), (outputs, 1)), ranks }))
    }
}

/// One or more linear layers over the same input, side by side.
pub(crate) struct Linear {
    weight: Matrix,
    addition: Option<Addition>,
    bias: Vec<f32>,
    inputs: usize,
    pub outputs: usize,
    /// Factor on the outputs.
    factor: f32,
}

impl Linear {
    /// Takes `parts` (name, outputs) from the weights, with what an adapter adds to them.
    pub fn take(weights: &Weights, lora: Option<&Lora>, parts: &[(String, usize)], inputs: usize, bias: bool) -> Result<Self, Error> {
        let outputs: usize = parts.iter().map(|(_, outputs)| outputs).sum();
        let (mut weight, mut biases) = (vec![0.0; inputs * outputs], Vec::new());
        let mut pairs = Vec::new();
        let mut first = 0;
        for (name, part) in parts {
            let rows = values(weights, &format!("{name}.weight"), &[*part, inputs])?;
            for (o, row) in rows.chunks_exact(inputs).enumerate() {
                for (i, value) in row.iter().enumerate() {
                    weight[i * outputs + first + o] = *value;
                }
            }
            if bias {
                biases.extend(values(weights, &format!("{name}.bias"), &[*part])?);
            }
            pairs.extend(lora.and_then(|lora| lora.pairs.get(name)).map(|pair| (first, pair)));
            first += part;
        }
        let scale = lora.map_or(1.0, |lora| lora.scale);
        let needed = pieces(&weight);
        #[expect(clippy::cast_possible_truncation, reason = "all is computed in f32")]
        let addition = match needed {
            Some(Pieces::One | Pieces::Two) => Addition::new(&pairs, scale as f32, (inputs, outputs))?,
            _ => {
                for (first, pair) in &pairs {
                    for (o, row) in pair.change(scale)?.to_vec2::<f32>()?.iter().enumerate() {
                        row.iter().enumerate().for_each(|(i, value)| weight[i * outputs + first + o] += value);
                    }
                }
                None
            }
        };
        let weight = match needed {
            Some(pieces) => Matrix::Tiles(Tiles::new(&weight, pieces, (inputs, outputs), (outputs, 1))),
            None => Matrix::Plain(weight),
        };
        Ok(Self { weight, addition, bias: biases, inputs, outputs, factor: 1.0 })
    }

    /// The same with a factor on the outputs.
    #[expect(clippy::cast_possible_truncation, reason = "all is computed in f32")]
    pub fn times(self, factor: f64) -> Self {
        Self { factor: factor as f32, ..self }
    }

    /// `out = factor · (x · weight + bias)`, added to what `out` holds where `old` says so.
    pub fn apply(&self, x: &[f32], out: &mut [f32], old: Old) {
        let rows = x.len() / self.inputs;
        if rows == 0 {
            return;
        }
        match (&self.weight, &self.addition) {
            (Matrix::Tiles(tiles), None) => tiles.multiply(x, out, old, self.factor, Precision::F32),
            (Matrix::Tiles(tiles), Some(Addition { down, up, ranks })) => {
                // a few rows at a time, so that what is added to is still near
                let mut low = vec![0.0; rows.min(LEFT) * ranks];
                for (x, out) in x.chunks(LEFT * self.inputs).zip(out.chunks_mut(LEFT * self.outputs)) {
                    let low = &mut low[..x.len() / self.inputs * ranks];
                    tiles.multiply(x, out, old, self.factor, Precision::F32);
                    down.multiply(x, low, Old::Drop, 1.0, Precision::F32);
                    up.multiply(low, out, Old::Add, self.factor, Precision::F32);
                }
            }
            (Matrix::Plain(weight), _) => {
                let (x, weight) = (Mat::new(x, rows, self.inputs), Mat::new(weight, self.inputs, self.outputs));
                multiply(MatMut::new(out, rows, self.outputs), old, self.factor, x, weight);
            }
        }
        if !self.bias.is_empty() {
            add_bias(out, &self.bias, self.factor);
        }
    }
}

/// Values of a tensor as f32.
pub(crate) fn values(weights: &Weights, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
    let tensor = weights.get(name, shape)?;
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{DType, Device, Tensor};

    use super::{Linear, Lora, Old, Pair, Weights};

    const INPUTS: usize = 40;
    const PARTS: [usize; 2] = [33, 20];
    const RANK: usize = 3;

    fn wave(rows: usize, columns: usize, seed: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 37 + seed * 11) as f32).sin()).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).expect("as many values")
    }

    /// `2 · (x Wᵀ + bias)` added to ones, in f64, with weights that have the adapter in them.
    fn right(weights: &Weights, x: &Tensor) -> Vec<f64> {
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).expect("a cast");
        let part = |name: &str| {
            let product = wide(x).matmul(&wide(&weights.tensors[&format!("{name}.weight")]).t()?)?;
            (product.broadcast_add(&wide(&weights.tensors[&format!("{name}.bias")]))? * 2.0)? + 1.0
        };
        let whole = Tensor::cat(&[part("a").expect("sums"), part("b").expect("sums")], 1);
        whole.and_then(|whole| whole.flatten_all()?.to_vec1()).expect("one matrix")
    }

    #[test]
    fn an_adapter_by_the_side_of_the_weights_is_one_within_them() {
        let x = wave(5, INPUTS, 1);
        let pair = |outputs, seed| Pair { down: wave(RANK, INPUTS, seed), up: wave(outputs, RANK, seed + 1) };
        let lora = |pairs: &[(&str, Pair)]| Lora {
            scale: 0.5,
            pairs: pairs.iter().map(|(name, pair)| ((*name).to_owned(), pair.clone())).collect(),
        };
        let both = [("a", pair(PARTS[0], 4)), ("b", pair(PARTS[1], 6))];
        for dtype in [DType::BF16, DType::F32] {
            let rounded = |tensor: Tensor| tensor.to_dtype(dtype).and_then(|tensor| tensor.to_dtype(DType::F32)).expect("a cast");
            let mut tensors = BTreeMap::new();
            for (name, outputs, seed) in [("a", PARTS[0], 2), ("b", PARTS[1], 3)] {
                tensors.insert(format!("{name}.weight"), rounded(wave(outputs, INPUTS, seed)));
                tensors.insert(format!("{name}.bias"), wave(1, outputs, seed).squeeze(0).expect("one row"));
            }
            let weights = Weights { tensors };
            for lora in [lora(&both), lora(&both[1..]), lora(&[])] {
                let mut merged = weights.clone();
                merged.merge(&lora).expect("it fits");
                let parts = [("a".to_owned(), PARTS[0]), ("b".to_owned(), PARTS[1])];
                let linear = Linear::take(&weights, Some(&lora), &parts, INPUTS, true).expect("all is there").times(2.0);
                let mut found = vec![1.0; 5 * linear.outputs];
                linear.apply(&x.flatten_all().and_then(|x| x.to_vec1()).expect("f32"), &mut found, Old::Add);
                for (found, right) in found.iter().zip(right(&merged, &x)) {
                    assert!((f64::from(*found) - right).abs() < 2e-5, "{found} is not {right} ({dtype:?})");
                }
            }
        }
    }

    #[test]
    fn an_adapter_of_another_shape_is_refused() {
        let tensors = BTreeMap::from([("a.weight".to_owned(), wave(PARTS[0], INPUTS, 1))]);
        let weights = Weights { tensors };
        let lora = |name: &str, outputs| Lora {
            scale: 1.0,
            pairs: BTreeMap::from([(name.to_owned(), Pair { down: wave(RANK, INPUTS, 1), up: wave(outputs, RANK, 1) })]),
        };
        assert!(lora("a", PARTS[0]).check(&weights).is_ok());
        assert!(lora("a", 7).check(&weights).is_err() && lora("c", PARTS[0]).check(&weights).is_err());
    }
}
