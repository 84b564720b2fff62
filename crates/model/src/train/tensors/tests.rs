//! The engine of tensor operations against the one on slices: the same loss and gradients, whatever the limits.
use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};

use super::{LIMITS, Limits};
use crate::train::{Engine, Gradients, Loss, Sequence, Soft, TrainModel, Trainable};
use crate::{Config, Error, Weights};

const TIED: &str = r#", "tie_word_embeddings": true"#;
const RICH: &str = r#", "attention_bias": true, "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#;
const LORA: Trainable = Trainable::Lora { rank: 3, alpha: 5.0 };

/// The other families, with windows and a switch of the rope that some sequences of the batch cross.
const FAMILIES: [(&str, &str); 7] = [
    ("mistral", r#", "sliding_window": 30"#),
    ("qwen2", r#", "use_sliding_window": true, "sliding_window": 7, "max_window_layers": 1"#),
    ("qwen3", r#", "tie_word_embeddings": true"#),
    ("smollm3", r#", "no_rope_layer_interval": 2"#),
    (
        "phi3",
        r#", "partial_rotary_factor": 0.7, "original_max_position_embeddings": 60, "sliding_window": 50, "tie_word_embeddings": true,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 5.0]}"#,
    ),
    (
        "granite",
        r#", "embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 0.7,
        "attention_bias": true, "tie_word_embeddings": true"#,
    ),
    (
        "gemma3_text",
        r#", "sliding_window": 9, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8, "rope_local_base_freq": 10.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0}"#,
    ),
];

fn config(extra: &str) -> Config {
    of_family("llama", extra)
}

fn of_family(family: &str, extra: &str) -> Config {
    let text = format!(
        r#"{{"model_type": "{family}", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "rope_theta": 100.0{extra}}}"#
    );
    Config::from_json(text.as_bytes(), "test").expect("a good configuration")
}

/// Sequences of different lengths and weights, two of one length, one without a loss.
fn batch() -> Vec<Sequence> {
    let sequence = |len: usize, seed: usize, weight| Sequence {
        tokens: (0..len).map(|i| ((i * i + 3 * i + seed) % 40) as u32).collect(),
        targets: (0..len).map(|i| (i % 3 != seed % 3).then_some(((i * 7 + seed) % 40) as u32)).collect(),
        weight,
        soft: BTreeMap::new(),
    };
    let silent = Sequence { targets: vec![None; 9], ..sequence(9, 5, 1.0) };
    let mut batch =
        vec![sequence(5, 1, 1.0), sequence(97, 2, 0.25), silent, sequence(1, 3, 2.0), sequence(40, 4, 1.0), sequence(40, 7, 0.5)];
    for sequence in &mut batch[1..5] {
        // a teacher at every second row with a target: two tokens, and a rest
        let rows = sequence.targets.iter().enumerate().filter_map(|(row, target)| Some((row, (*target)?)));
        let expected = |target: u32| Soft::new([(target, 0.5), ((target + 11) % 40, 0.25)]).expect("good probabilities");
        sequence.soft = rows.filter(|(row, _)| row % 2 == 0).map(|(row, target)| (row, expected(target))).collect();
    }
    batch
}

fn wave(shape: &[usize], seed: usize, dtype: DType) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| ((i * 37 + seed * 11) as f64).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// A model away from its start, so that no gradient is zero by symmetry: on slices, which is on the CPU, or by tensors.
fn model(config: &Config, trainable: Trainable, dtype: DType, device: &Device, slices: bool) -> std::result::Result<TrainModel, Error> {
    let start = TrainModel::random(config, 5, dtype, &Device::Cpu)?;
    let shake = |(name, w): (String, Tensor)| -> Result<_> {
        let shaken = (&w + (wave(w.dims(), name.len(), dtype)? * 0.2)?)?;
        Ok((name, shaken.to_device(device)?))
    };
    let weights = Weights { tensors: start.merged()?.into_iter().map(shake).collect::<Result<_>>()? };
    let model = TrainModel::with_engine(config, weights, trainable, 7, slices)?;
    for (name, variable) in model.parameters().iter().filter(|(name, _)| name.contains("lora_B")) {
        variable.set(&(wave(variable.dims(), name.len(), dtype)? * 0.1)?.to_device(device)?)?;
    }
    Ok(model)
}

/// Euclidean norm in f64 on the host.
fn norm(x: &Tensor) -> f64 {
    let values = x.to_device(&Device::Cpu).and_then(|x| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>());
    values.expect("a float tensor").iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// How far `found` is from `right` at worst, relative to the right loss or the norm of the right gradient.
fn distance((loss, found): &(Loss, Gradients), (right_loss, right): &(Loss, Gradients)) -> f64 {
    assert_eq!(loss.weight.to_bits(), right_loss.weight.to_bits());
    assert_eq!(found.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    let gradients = right.iter().map(|(name, right)| {
        let found = &found[name];
        assert_eq!((found.dims(), found.dtype()), (right.dims(), right.dtype()), "{name}");
        assert!(norm(right) > 1e-3, "{name} has hardly a gradient to compare: {}", norm(right));
        let off = (found.to_device(&Device::Cpu).and_then(|found| found - right)).expect("the same shape");
        norm(&off) / norm(right)
    });
    gradients.fold((loss.sum / right_loss.sum - 1.0).abs(), f64::max)
}

/// Worst distance of the engine on `device` from the one on slices.
fn compare(device: &Device, dtype: DType) -> f64 {
    let llamas = [config(TIED), config(RICH)];
    let others = FAMILIES.map(|(family, extra)| of_family(family, extra));
    let mut worst = 0.0_f64;
    for (config, trainable) in llamas.iter().chain(&others).flat_map(|config| [(config, LORA), (config, Trainable::Full)]) {
        let slices = model(config, trainable, dtype, &Device::Cpu, true).expect("a small model");
        let tensors = model(config, trainable, dtype, device, false).expect("a small model");
        let right = slices.loss_and_gradients(&batch()).expect("a good batch");
        let found = tensors.loss_and_gradients(&batch()).expect("a good batch");
        assert!(found.1.values().all(|gradient| gradient.device().same_device(device)));
        let alone = tensors.loss(&batch()).expect("a good batch");
        assert_eq!(alone.sum.to_bits(), found.0.sum.to_bits(), "the loss alone is another");
        let off = distance(&found, &right);
        println!("{}, {trainable:?} in {dtype:?}: {off:.1e}", config.model_type);
        worst = worst.max(off);
    }
    println!("{dtype:?} on {:?}: worst relative distance {worst:.1e}", device.location());
    worst
}

#[test]
fn both_engines_agree() {
    assert!(compare(&Device::Cpu, DType::F64) < 1e-12);
    assert!(compare(&Device::Cpu, DType::F32) < 1e-4);
}

#[test]
fn limits_of_memory_change_nothing() {
    let gemma = FAMILIES.iter().find(|(family, _)| *family == "gemma3_text").expect("it is there");
    for (config, trainable) in [(config(TIED), LORA), (config(RICH), Trainable::Full), (of_family(gemma.0, gemma.1), Trainable::Full)] {
        let model = model(&config, trainable, DType::F64, &Device::Cpu, false).expect("a small model");
        let Engine::Tensors(base) = &model.engine else { panic!("slices were not asked for") };
        let run = |limits: Limits| {
            let pass = super::Pass { limits, ..model.tensors(base).expect("a small model") };
            (pass.loss_and_gradients(&batch()).expect("a good batch"), pass.loss(&batch()).expect("a good batch"))
        };
        let (right, _) = run(LIMITS);
        let (again, _) = run(Limits { kept_bytes: 0, ..LIMITS });
        assert_eq!(distance(&again, &right).to_bits(), 0, "what is computed again has other bits");
        // packs of a sequence or two, blocks of seven rows of the longest sequence, sixteen rows of logits
        let (small, alone) = run(Limits { rows: 50, kept_bytes: 0, scores: 7 * 6 * 97, logits: 1 });
        assert!(distance(&small, &right) < 1e-12);
        assert_eq!(alone.sum.to_bits(), small.0.sum.to_bits());
    }
}

#[test]
fn nothing_to_learn_is_no_error() {
    let model = model(&config(TIED), LORA, DType::F32, &Device::Cpu, false).expect("a small model");
    let silent = Sequence { tokens: vec![1, 2], targets: vec![None, None], weight: 1.0, soft: BTreeMap::new() };
    for batch in [vec![], vec![silent]] {
        let (loss, gradients) = model.loss_and_gradients(&batch).expect("an empty batch");
        assert_eq!((loss, gradients.len()), (Loss::default(), model.parameters().len()));
        assert!(gradients.iter().all(|(name, g)| g.shape() == model.parameters()[name].shape() && norm(g) == 0.0));
    }
    let bad = Sequence { tokens: vec![40], targets: vec![None], weight: 1.0, soft: BTreeMap::new() };
    assert!(model.loss(&[bad]).is_err_and(|e| e.to_string().contains("token 40 is beyond the vocabulary of 40")));
}

/// Steps downhill, the values set on the device of the parameters: what an optimiser does.
#[test]
fn a_trained_model_is_merged_as_it_was_computed() {
    let config = config(TIED);
    let model = model(&config, LORA, DType::F64, &Device::Cpu, false).expect("a small model");
    let (first, gradients) = model.loss_and_gradients(&batch()).expect("a good batch");
    for (name, variable) in model.parameters() {
        variable.set(&(variable.as_tensor() - (&gradients[name] * 1e-3).expect("scaled")).expect("same shape")).expect("same shape");
    }
    let second = model.loss(&batch()).expect("a good batch");
    assert!(second.sum < first.sum, "a step downhill raised the loss from {} to {}", first.sum, second.sum);
    let merged = TrainModel::new(&config, Weights { tensors: model.merged().expect("weights") }, Trainable::Full, 0);
    let third = merged.expect("a whole model").loss(&batch()).expect("a good batch");
    assert!((second.sum / third.sum - 1.0).abs() < 1e-12);
}

#[test]
#[ignore = "needs a CUDA device and the feature `cuda`"]
fn a_gpu_agrees_with_the_cpu() {
    let device = crate::device("cuda:0").expect("a CUDA device");
    assert!(compare(&device, DType::F64) < 1e-10);
    assert!(compare(&device, DType::F32) < 1e-3);
}
