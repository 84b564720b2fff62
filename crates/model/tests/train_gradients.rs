//! The training pass against a slow decoder composed of candle operations, against finite differences, and against itself
//! at other numbers of threads.
use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};
use model::train::{Gradients, Sequence, TrainModel, Trainable};
use model::{Config, Error, Weights};

type Tensors = BTreeMap<String, Tensor>;

fn config(extra: &str) -> Config {
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "rope_theta": 100.0{extra}}}"#
    );
    Config::from_json(text.as_bytes(), "test").expect("a good configuration")
}

const PLAIN: &str = r#", "tie_word_embeddings": true"#;
const RICH: &str = r#", "attention_bias": true, "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#;

/// Sequences below and beyond a block of attention, with and without losses, of different weights.
fn batch() -> Vec<Sequence> {
    let sequence = |len: usize, seed: usize, weight| Sequence {
        tokens: (0..len).map(|i| ((i * i + 3 * i + seed) % 40) as u32).collect(),
        targets: (0..len).map(|i| (i % 3 != seed % 3).then_some(((i * 7 + seed) % 40) as u32)).collect(),
        weight,
    };
    vec![sequence(5, 1, 1.0), sequence(130, 2, 0.25), sequence(1, 3, 2.0), sequence(70, 4, 1.0), sequence(3, 6, 0.0)]
}

/// One sequence, whose rows are taken in chunks side by side.
fn long() -> Vec<Sequence> {
    let tokens: Vec<u32> = (0..300).map(|i| ((i * i + 3 * i) % 40) as u32).collect();
    vec![Sequence { targets: tokens.iter().map(|token| (token % 3 != 0).then_some(token * 7 % 40)).collect(), tokens, weight: 0.5 }]
}

/// A model away from its start, so that no gradient is zero by symmetry.
fn model(config: &Config, trainable: Trainable, dtype: DType) -> TrainModel {
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

/// Σ weight · nll out of candle's own differentiable operations.
fn slow(config: &Config, w: &Tensors, batch: &[Sequence]) -> candle_core::Result<Tensor> {
    let mut sum = Tensor::zeros((), DType::F64, &Device::Cpu)?;
    for sequence in batch {
        let mut x = w["model.embed_tokens.weight"].index_select(&Tensor::new(sequence.tokens.as_slice(), &Device::Cpu)?, 0)?;
        for layer in 0..config.num_hidden_layers {
            x = slow_layer(config, w, &format!("model.layers.{layer}"), &x)?;
        }
        let x = norm(config, &x, &w["model.norm.weight"])?;
        let head = w.get("lm_head.weight").unwrap_or(&w["model.embed_tokens.weight"]);
        let logs = candle_nn::ops::log_softmax(&x.matmul(&head.t()?)?, D::Minus1)?;
        for (row, target) in sequence.targets.iter().enumerate() {
            if let Some(target) = target {
                let log = logs.narrow(0, row, 1)?.narrow(1, *target as usize, 1)?.sum_all()?;
                sum = (sum - (log * f64::from(sequence.weight))?)?;
            }
        }
    }
    Ok(sum)
}

fn slow_layer(config: &Config, w: &Tensors, prefix: &str, x: &Tensor) -> candle_core::Result<Tensor> {
    let rows = x.dim(0)?;
    let linear = |name: &str, x: &Tensor| {
        let y = x.matmul(&w[&format!("{prefix}.{name}.weight")].t()?)?;
        w.get(&format!("{prefix}.{name}.bias")).map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
    };
    let split = |x: &Tensor, heads: usize| x.reshape((rows, heads, config.head_dim))?.transpose(0, 1)?.contiguous();
    let groups = config.num_attention_heads / config.num_key_value_heads;
    let repeat = |x: &Tensor| -> candle_core::Result<Tensor> {
        let shape = (config.num_key_value_heads, groups, rows, config.head_dim);
        x.unsqueeze(1)?.broadcast_as(shape)?.contiguous()?.reshape((config.num_attention_heads, rows, config.head_dim))
    };
    let normed = norm(config, x, &w[&format!("{prefix}.input_layernorm.weight")])?;
    let q = rope(config, &split(&linear("self_attn.q_proj", &normed)?, config.num_attention_heads)?)?;
    let k = repeat(&rope(config, &split(&linear("self_attn.k_proj", &normed)?, config.num_key_value_heads)?)?)?;
    let v = repeat(&split(&linear("self_attn.v_proj", &normed)?, config.num_key_value_heads)?)?;
    let hidden: Vec<f64> = (0..rows * rows).map(|i| if i % rows > i / rows { f64::NEG_INFINITY } else { 0.0 }).collect();
    let mask = Tensor::from_vec(hidden, (rows, rows), &Device::Cpu)?;
    let scores = (q.matmul(&k.t()?)? / (config.head_dim as f64).sqrt())?.broadcast_add(&mask)?;
    let mixed = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?.transpose(0, 1)?.contiguous()?.reshape((rows, ()))?;
    let x = (x + linear("self_attn.o_proj", &mixed)?)?;
    let normed = norm(config, &x, &w[&format!("{prefix}.post_attention_layernorm.weight")])?;
    let inner = (linear("mlp.gate_proj", &normed)?.silu()? * linear("mlp.up_proj", &normed)?)?;
    &x + linear("mlp.down_proj", &inner)?
}

fn norm(config: &Config, x: &Tensor, gain: &Tensor) -> candle_core::Result<Tensor> {
    let root = (x.sqr()?.mean_keepdim(D::Minus1)? + config.rms_norm_eps)?.sqrt()?;
    x.broadcast_div(&root)?.broadcast_mul(gain)
}

fn rope(config: &Config, x: &Tensor) -> candle_core::Result<Tensor> {
    let (_, rows, width) = x.dims3()?;
    let frequencies = config.inverse_frequencies();
    let angles: Vec<f64> = (0..rows).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f)).collect();
    let angles = Tensor::from_vec(angles, (1, rows, width / 2), &Device::Cpu)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let (a, b) = (x.narrow(2, 0, width / 2)?, x.narrow(2, width / 2, width / 2)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 2)
}

fn norm_of(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).and_then(|x| x.sqr()?.sum_all()?.to_scalar::<f64>()).expect("a float tensor").sqrt()
}

fn compare(config: &Config, trainable: Trainable, batch: &[Sequence]) {
    let model = model(config, trainable, DType::F64);
    let (loss, found) = model.loss_and_gradients(batch).expect("a good batch");
    let variables: BTreeMap<String, Var> = model.parameters().clone();
    let scale = if let Trainable::Lora { rank, alpha } = trainable { alpha / rank as f64 } else { 0.0 };
    let untouched = model.merged().expect("weights");
    let base = TrainModel::new(config, Weights { tensors: untouched.clone() }, Trainable::Full, 0).expect("the merged model");
    let tensors: Tensors = untouched
        .into_iter()
        .map(|(name, merged)| {
            let part = |kind: &str| variables.get(&format!("{}.{kind}.weight", name.trim_end_matches(".weight")));
            let tensor = match (variables.get(&name), part("lora_A"), part("lora_B")) {
                (Some(variable), ..) => variable.as_tensor().clone(),
                (None, Some(a), Some(b)) => {
                    let addition = (b.matmul(a).expect("ranks fit") * scale).expect("scaled");
                    ((merged - addition.detach()).expect("base") + addition).expect("tracked")
                }
                _ => merged,
            };
            (name, tensor)
        })
        .collect();
    let right = slow(config, &tensors, batch).expect("slow loss");
    let right_loss = right.to_scalar::<f64>().expect("a scalar");
    assert!((loss.sum / right_loss - 1.0).abs() < 1e-12, "{} is not {right_loss}", loss.sum);
    assert!((base.loss(batch).expect("a good batch").sum / right_loss - 1.0).abs() < 1e-12, "the merged model is another");
    assert_eq!(model.loss(batch).expect("a good batch"), loss);
    let gradients = right.backward().expect("a graph");
    assert_eq!(found.keys().collect::<Vec<_>>(), variables.keys().collect::<Vec<_>>());
    for (name, variable) in &variables {
        let right = gradients.get(variable).expect("every variable has a gradient");
        let off = norm_of(&(right - &found[name]).expect("same shape"));
        assert!(norm_of(right) > 1e-3, "{name} has hardly a gradient to compare: {}", norm_of(right));
        assert!(off <= 1e-10 * norm_of(right), "{name} is off by {off}, of {}", norm_of(right));
    }
}

#[test]
fn all_weights_agree_with_a_composed_decoder() {
    compare(&config(PLAIN), Trainable::Full, &batch());
    compare(&config(RICH), Trainable::Full, &batch());
    compare(&config(RICH), Trainable::Full, &long());
}

#[test]
fn adapters_agree_with_a_composed_decoder() {
    compare(&config(PLAIN), Trainable::Lora { rank: 3, alpha: 5.0 }, &batch());
    compare(&config(RICH), Trainable::Lora { rank: 1, alpha: 1.0 }, &batch());
    compare(&config(PLAIN), Trainable::Lora { rank: 2, alpha: 1.0 }, &long());
}

/// Two entries of one parameter of every kind, in two layers, by central differences.
fn difference(config: &Config, trainable: Trainable) {
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

#[test]
fn all_weights_agree_with_finite_differences() {
    difference(&config(RICH), Trainable::Full);
}

#[test]
fn adapters_agree_with_finite_differences() {
    difference(&config(PLAIN), Trainable::Lora { rank: 2, alpha: 4.0 });
}

/// Calls of three conversations that begin alike: two branch off within a block of attention, one behind it and again within
/// its branch; one call is another's beginning, one comes twice with other weights.
fn tree() -> Vec<Sequence> {
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
        Sequence { targets: (0..tokens.len()).map(target).collect(), tokens, weight: *weight }
    };
    let mut calls: Vec<Sequence> = calls.iter().map(sequence).collect();
    calls.sort_by(|one, other| one.tokens.cmp(&other.tokens));
    calls
}

#[test]
fn a_tree_gives_what_its_sequences_give_one_by_one() {
    for trainable in [Trainable::Full, Trainable::Lora { rank: 3, alpha: 5.0 }] {
        let model = model(&config(RICH), trainable, DType::F64);
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
}

/// The guard against gradients that vanish in silence: B learns at the first step, A from the second on.
#[test]
fn every_adapter_matrix_learns() {
    let config = config(PLAIN);
    let start = TrainModel::random(&config, 1, DType::F32, &Device::Cpu).expect("a small model");
    let weights = Weights { tensors: start.merged().expect("weights") };
    let model = TrainModel::new(&config, weights.clone(), Trainable::Lora { rank: 4, alpha: 8.0 }, 3).expect("a small model");
    let (first, gradients) = model.loss_and_gradients(&batch()).expect("a good batch");
    assert_eq!(first.sum.to_bits(), start.loss(&batch()).expect("a good batch").sum.to_bits(), "the adapter begins at nothing");
    assert_eq!(gradients.len(), 3 * 7 * 2);
    for (name, gradient) in &gradients {
        assert_eq!(norm_of(gradient) > 0.0, name.contains("lora_B"), "{name} before the first step");
        let variable = &model.parameters()[name];
        variable.set(&(variable.as_tensor() - (gradient * 1e-3).expect("scaled")).expect("same shape")).expect("same shape");
    }
    let (second, gradients) = model.loss_and_gradients(&batch()).expect("a good batch");
    assert!(gradients.values().all(|gradient| norm_of(gradient) > 0.0), "a matrix has no gradient at the second step");
    assert!(second.sum < first.sum, "a step downhill raised the loss from {} to {}", first.sum, second.sum);
}

fn bits(gradients: &Gradients) -> Vec<u32> {
    let values = gradients.values().flat_map(|g| g.flatten_all().and_then(|g| g.to_vec1::<f32>()).expect("f32"));
    values.map(f32::to_bits).collect()
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let config = config(PLAIN);
    for trainable in [Trainable::Full, Trainable::Lora { rank: 2, alpha: 2.0 }] {
        let model = model(&config, trainable, DType::F32);
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
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let config = config(PLAIN);
    let weights = Weights { tensors: TrainModel::random(&config, 0, DType::F32, &Device::Cpu).and_then(|m| m.merged()).expect("weights") };
    let refused = |trainable| TrainModel::new(&config, weights.clone(), trainable, 0).err();
    assert!(matches!(refused(Trainable::Lora { rank: 0, alpha: 1.0 }), Some(Error::Unsupported { key: "rank", .. })));
    let mut half = weights.clone();
    half.tensors.remove("model.norm.weight");
    let missing = TrainModel::new(&config, half, Trainable::Full, 0).err();
    assert!(matches!(missing, Some(Error::MissingTensor { name }) if name == "model.norm.weight"));
    let model = TrainModel::new(&config, weights.clone(), Trainable::Full, 0).expect("a small model");
    let bad = Sequence { tokens: vec![40], targets: vec![None], weight: 1.0 };
    assert!(model.loss(&[bad]).err().is_some_and(|e| e.to_string().contains("token 40 is beyond the vocabulary of 40")));
    let empty = model.loss_and_gradients(&[]).expect("nothing is no error");
    assert_eq!((empty.0.sum, empty.0.weight, empty.1.len()), (0.0, 0.0, model.parameters().len()));
}
