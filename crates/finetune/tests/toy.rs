//! A learner of a few numbers: a table of next-token scores that is the product of two thin matrices, as in LoRA.
use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor, Var};
use finetune::{Error, Gradients, Learner, Loss, Parameters, Sequence};

pub const VOCABULARY: usize = 24;
const RANK: usize = 6;

/// What the learner does wrong, if anything.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// No gradient for `table.lora_A.weight`, as when an operation has no backward pass.
    Hidden,
    /// The loss is no number from this call on.
    NotANumber(u32),
}

pub struct Toy {
    parameters: Parameters,
    fault: Fault,
    calls: std::cell::Cell<u32>,
}

impl Toy {
    pub fn new(fault: Fault) -> Self {
        let numbers = (0..RANK * VOCABULARY).map(|i| ((i * 7919 % 101) as f32 / 101.0 - 0.5) * 0.8).collect();
        let a = Var::from_vec(numbers, (RANK, VOCABULARY), &Device::Cpu).expect("a small matrix");
        let b = Var::from_vec(vec![0.0_f32; VOCABULARY * RANK], (VOCABULARY, RANK), &Device::Cpu).expect("a small matrix");
        let parameters = BTreeMap::from([("table.lora_A.weight".to_owned(), a), ("table.lora_B.weight".to_owned(), b)]);
        Self { parameters, fault, calls: std::cell::Cell::new(0) }
    }

    pub fn bits(&self) -> Vec<u32> {
        let values = self.parameters.values().flat_map(|var| var.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("on the host"));
        values.map(f32::to_bits).collect()
    }

    /// Sum of weighted losses as a tensor, and the sum of weights.
    fn total(&self, sequences: &[Sequence]) -> Result<(Tensor, f64), Error> {
        let mut sum = Tensor::new(0.0_f32, &Device::Cpu)?;
        let mut weight = 0.0;
        for sequence in sequences {
            let scored = sequence.tokens.iter().zip(&sequence.targets).filter_map(|(token, target)| Some((*token, (*target)?)));
            let (tokens, targets): (Vec<u32>, Vec<u32>) = scored.unzip();
            let rows = self.parameters["table.lora_A.weight"].index_select(&Tensor::new(tokens, &Device::Cpu)?, 1)?.t()?;
            let scores = rows.matmul(&self.parameters["table.lora_B.weight"].t()?)?;
            let normaliser = scores.exp()?.sum_keepdim(D::Minus1)?.log()?;
            let targets = Tensor::new(targets, &Device::Cpu)?.unsqueeze(1)?;
            let count = targets.elem_count() as f64;
            let loss = (normaliser - scores.gather(&targets, 1)?)?.sum_all()?;
            sum = (sum + (loss * f64::from(sequence.weight))?)?;
            weight += count * f64::from(sequence.weight);
        }
        Ok((sum, weight))
    }
}

impl Learner for Toy {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn loss_and_gradients(&self, sequences: &[Sequence]) -> Result<(Loss, Gradients), Error> {
        let (sum, weight) = self.total(sequences)?;
        let store = sum.backward()?;
        let gradient = |(name, var): (&String, &Var)| Some((name.clone(), store.get(var)?.clone()));
        let mut gradients: Gradients = self.parameters.iter().filter_map(gradient).collect();
        if self.fault == Fault::Hidden {
            gradients.remove("table.lora_A.weight");
        }
        self.calls.set(self.calls.get() + 1);
        let mut sum = f64::from(sum.to_scalar::<f32>()?);
        if matches!(self.fault, Fault::NotANumber(from) if self.calls.get() >= from) {
            sum = f64::NAN;
        }
        Ok((Loss { sum, weight, ..Loss::default() }, gradients))
    }

    fn loss(&self, sequences: &[Sequence]) -> Result<Loss, Error> {
        let (sum, weight) = self.total(sequences)?;
        Ok(Loss { sum: f64::from(sum.to_scalar::<f32>()?), weight, ..Loss::default() })
    }
}

/// A walk through the vocabulary that a table can learn: each token has one successor per `kind`.
pub fn walk(start: u32, length: usize) -> Sequence {
    let vocabulary = VOCABULARY as u32;
    let tokens: Vec<u32> = std::iter::successors(Some(start % vocabulary), |t| Some((t * 5 + 3) % vocabulary)).take(length + 1).collect();
    Sequence {
        tokens: tokens[..length].to_vec(),
        targets: tokens[1..].iter().map(|t| Some(*t)).collect(),
        weight: 1.0,
        soft: BTreeMap::new(),
    }
}
