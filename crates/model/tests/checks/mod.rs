//! Batches, small models, and what every configuration's gradients are checked for. Knows no configuration.
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use model::train::{Gradients, Sequence, Soft, TrainModel, Trainable};
use model::{Config, Weights};

/// Sequences below and beyond a block of attention, with and without losses, of different weights.
pub fn batch() -> Vec<Sequence> {
    let sequence = |len: usize, seed: usize, weight| Sequence {
        tokens: (0..len).map(|i| ((i * i + 3 * i + seed) % 40) as u32).collect(),
        targets: (0..len).map(|i| (i % 3 != seed % 3).then_some(((i * 7 + seed) % 40) as u32)).collect(),
        weight,
        soft: BTreeMap::new(),
    };
    let mut batch = vec![sequence(5, 1, 1.0), sequence(130, 2, 0.25), sequence(1, 3, 2.0), sequence(70, 4, 1.0), sequence(3, 6, 0.0)];
    for sequence in &mut batch[1..4] {
        sequence.soft = soft(&sequence.targets);
    }
    batch
}

/// What a teacher expected at every second row with a target: the target, two other tokens, and a rest.
fn soft(targets: &[Option<u32>]) -> BTreeMap<usize, Soft> {
    let rows = targets.iter().enumerate().filter_map(|(row, target)| Some((row, (*target)?))).filter(|(row, _)| row % 2 == 0);
    let expected = |(row, target): (usize, u32)| {
        let tokens = [(target, 0.5), ((target + 1 + row as u32 % 5) % 40, 0.25), ((target + 17) % 40, 0.125)];
        (row, Soft::new(tokens).expect("good probabilities"))
    };
    rows.map(expected).collect()
}

/// One sequence, whose rows are taken in chunks side by side.
pub fn long() -> Vec<Sequence> {
    let tokens: Vec<u32> = (0..300).map(|i| ((i * i + 3 * i) % 40) as u32).collect();
    let targets: Vec<_> = tokens.iter().map(|token| (token % 3 != 0).then_some(token * 7 % 40)).collect();
    vec![Sequence { soft: soft(&targets), targets, tokens, weight: 0.5 }]
}

/// Calls of three conversations that begin alike: two branch off within a block of attention, one behind it and again within
/// its branch; one call is another's beginning, one comes twice with other weights.
pub fn tree() -> Vec<Sequence> {
    let tokens = |parts: &[(usize, usize)]| -> Vec<u32> {
        parts.iter().flat_map(|(seed, len)| (0..*len).map(move |i| ((i * i + seed * i + 5 * seed + 3) % 40) as u32)).collect()
    };
    let calls: [(&[(usize, usize)], f32); 7] = [
        (&[(1, 90), (2, 20)], 1.0),
        (&[(1, 90), (2, 70), (3, 9)], 0.5),
        (&[(1, 90), (2, 70), (4, 70)], 1.0),
        (&[(1, 90), (2, 70), (4, 70)], 3.0),
        (&[(1, 40), (5, 30)], 2.0),
        (&[(1, 90), (7, 100)], 1.0),
        (&[(8, 5)], 1.0),
    ];
    let sequence = |(parts, weight): &(&[(usize, usize)], f32)| {
        let tokens = tokens(parts);
        // every fourth token of the beginning and all of the end carry loss
        let target = |i: usize| (i.is_multiple_of(4) || i + 9 > tokens.len()).then_some(((i * 7 + tokens.len()) % 40) as u32);
        let targets: Vec<_> = (0..tokens.len()).map(target).collect();
        // calls that share a row expect different things there, or nothing
        let soft = if tokens.len() % 20 == 0 { BTreeMap::new() } else { soft(&targets) };
        Sequence { soft, targets, tokens, weight: *weight }
    };
    let mut calls: Vec<Sequence> = calls.iter().map(sequence).collect();
    calls.sort_by(|one, other| one.tokens.cmp(&other.tokens));
    calls
}

/// A model away from its start, so that no gradient is zero by symmetry.
pub fn model(config: &Config, trainable: Trainable, dtype: DType) -> TrainModel {
    let start = TrainModel::random(config, 5, dtype, &Device::Cpu).expect("a small model");
    let shaken = start.merged().expect("weights").into_iter().map(|(name, w)| {
        let shake = wave(w.dims(), name.len()).to_dtype(dtype).expect("a cast");
        (name, (w + (shake * 0.2).expect("scaled")).expect("same shapes"))
    });
    let model = TrainModel::new(config, Weights { tensors: shaken.collect() }, trainable, 7).expect("a small model");
    for (name, variable) in model.parameters().iter().filter(|(name, _)| name.contains("lora_B")) {
        let values = (wave(variable.dims(), name.len()) * 0.1).expect("scaled").to_dtype(dtype).expect("a cast");
        variable.set(&values).expect("same shape");
    }
    model
}

fn wave(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| ((i * 37 + seed * 11) as f64).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values")
}

pub fn norm_of(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).and_then(|x| x.sqr()?.sum_all()?.to_scalar::<f64>()).expect("a float tensor").sqrt()
}

/// Two entries of one parameter of every kind, in two layers, by central differences.
pub fn difference(config: &Config, trainable: Trainable) {
    let model = model(config, trainable, DType::F64);
    let (_, gradients) = model.loss_and_gradients(&batch()).expect("a good batch");
    for (name, variable) in model.parameters().iter().filter(|(name, _)| !name.contains("layers.1")) {
        let values = variable.flatten_all().and_then(|v| v.to_vec1::<f64>()).expect("f64");
        let found = gradients[name].flatten_all().and_then(|v| v.to_vec1::<f64>()).expect("f64");
        let size = norm_of(&gradients[name]);
        for at in [values.len() / 3, values.len() - 1] {
            let loss = |step: f64| {
                let mut moved = values.clone();
                moved[at] += step;
                variable.set(&Tensor::from_vec(moved, variable.shape(), &Device::Cpu).expect("as many")).expect("same shape");
                model.loss(&batch()).expect("a good batch").sum
            };
            let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
            loss(0.0);
            assert!((slope - found[at]).abs() < 1e-6 * size, "{name}[{at}]: {slope} by difference, {} found", found[at]);
        }
    }
}

/// Loss and gradients of a tree against the sums over its sequences one by one.
pub fn one_by_one(config: &Config, trainable: Trainable) {
    let model = model(config, trainable, DType::F64);
    let (loss, together) = model.loss_and_gradients(&tree()).expect("a good batch");
    let alone: Vec<_> = tree().iter().map(|s| model.loss_and_gradients(std::slice::from_ref(s)).expect("a good batch")).collect();
    let right: model::train::Loss = alone.iter().map(|(loss, _)| *loss).sum();
    assert!((loss.sum / right.sum - 1.0).abs() < 1e-13, "{} is not {}", loss.sum, right.sum);
    assert_eq!((loss.weight, loss.answers, loss.right), (right.weight, right.answers, right.right));
    assert_eq!(model.loss(&tree()).expect("a good batch"), loss);
    for (name, gradient) in &together {
        let parts: Vec<&Tensor> = alone.iter().map(|(_, gradients)| &gradients[name]).collect();
        let sum = Tensor::stack(&parts, 0).and_then(|all| all.sum(0)).expect("same shapes");
        let off = norm_of(&(gradient - &sum).expect("same shape"));
        assert!(off <= 1e-12 * norm_of(&sum), "{name} is off by {off}, of {}", norm_of(&sum));
    }
    let unshared = model.sharing(false).loss(&tree()).expect("a good batch");
    assert!((loss.sum / unshared.sum - 1.0).abs() < 1e-13, "{} is not {}", loss.sum, unshared.sum);
}

/// The bits of loss and gradients at several numbers of threads.
pub fn same_bits(config: &Config, trainable: Trainable) {
    let model = model(config, trainable, DType::F32);
    for batch in [batch(), tree(), long()] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| model.loss_and_gradients(&batch)).expect("a good batch")
        };
        let (loss, gradients) = run(1);
        for threads in [2, 3, 7] {
            let (again, others) = run(threads);
            assert_eq!(again, loss);
            assert_eq!(bits(&others), bits(&gradients));
        }
    }
}

fn bits(gradients: &Gradients) -> Vec<u32> {
    let values = gradients.values().flat_map(|g| g.flatten_all().and_then(|g| g.to_vec1::<f32>()).expect("f32"));
    values.map(f32::to_bits).collect()
}
