//! The training pass against a slow decoder composed of candle operations, against finite differences, and against itself
//! at other numbers of threads.
mod checks;

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};
use checks::{batch, difference, long, model, norm_of, one_by_one, same_bits, tree};
use model::train::{Precision, Sequence, Soft, TrainModel, Trainable, kernel};
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
                let logs = logs.narrow(0, row, 1)?;
                let log = match sequence.soft.get(&row) {
                    Some(soft) => slow_soft(&logs, soft)?,
                    None => logs.narrow(1, *target as usize, 1)?.sum_all()?,
                };
                sum = (sum - (log * f64::from(sequence.weight))?)?;
            }
        }
    }
    Ok(sum)
}

/// What a teacher expected, by the logarithms of one row's probabilities.
fn slow_soft(logs: &Tensor, soft: &Soft) -> candle_core::Result<Tensor> {
    let width = logs.dim(1)?;
    let (mut named, mut others) = (vec![0.0_f64; width], vec![1.0_f64; width]);
    for (token, probability) in soft.tokens() {
        (named[*token as usize], others[*token as usize]) = (f64::from(*probability), 0.0);
    }
    let row = |values| Tensor::from_vec(values, (1, width), &Device::Cpu);
    let left = (logs.exp()? * row(others)?)?.sum_all()?.log()?;
    (logs * row(named)?)?.sum_all()? + (left * soft.rest())?
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
    let frequencies = config.ropes[0].inverse_frequencies(rows);
    let angles: Vec<f64> = (0..rows).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f)).collect();
    let angles = Tensor::from_vec(angles, (1, rows, width / 2), &Device::Cpu)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let (a, b) = (x.narrow(2, 0, width / 2)?, x.narrow(2, width / 2, width / 2)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 2)
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

#[test]
fn all_weights_agree_with_finite_differences() {
    difference(&config(RICH), Trainable::Full);
}

#[test]
fn adapters_agree_with_finite_differences() {
    difference(&config(PLAIN), Trainable::Lora { rank: 2, alpha: 4.0 });
}

#[test]
fn a_tree_gives_what_its_sequences_give_one_by_one() {
    for trainable in [Trainable::Full, Trainable::Lora { rank: 3, alpha: 5.0 }] {
        one_by_one(&config(RICH), trainable);
    }
}

#[test]
fn every_adapter_matrix_learns() {
    let config = config(PLAIN);
    let start = TrainModel::random(&config, 1, DType::F32, &Device::Cpu).expect("a small model");
    let weights = Weights { tensors: start.merged().expect("weights") };
    let model = TrainModel::new(&config, weights.clone(), Trainable::Lora { rank: 4, alpha: 8.0 }, 3).expect("a small model");
    let (first, gradients) = model.loss_and_gradients(&batch()).expect("a good batch");
    // frozen weights may be multiplied otherwise than weights that learn, but not otherwise beside another adapter
    let other = TrainModel::new(&config, weights.clone(), Trainable::Lora { rank: 2, alpha: 8.0 }, 4).expect("a small model");
    assert_eq!(first.sum.to_bits(), other.loss(&batch()).expect("a good batch").sum.to_bits(), "the adapter begins at nothing");
    assert!((first.sum / start.loss(&batch()).expect("a good batch").sum - 1.0).abs() < 1e-6, "and the base model is what it was");
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

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    for trainable in [Trainable::Full, Trainable::Lora { rank: 2, alpha: 2.0 }] {
        same_bits(&config(PLAIN), trainable);
    }
}

#[test]
fn sixteen_bits_are_near_where_there_is_a_unit_and_nothing_where_there_is_none() {
    let config = config(RICH);
    for trainable in [Trainable::Full, Trainable::Lora { rank: 3, alpha: 5.0 }] {
        let exact = model(&config, trainable, DType::F32);
        let (right, gradients) = exact.loss_and_gradients(&tree()).expect("a good batch");
        let rounded = exact.in_precision(Precision::Bf16);
        let (loss, found) = rounded.loss_and_gradients(&tree()).expect("a good batch");
        let there = kernel(Precision::Bf16).contains("AMX");
        assert_eq!(there, loss.sum.to_bits() != right.sum.to_bits(), "only a unit rounds: {} and {}", loss.sum, right.sum);
        assert!((loss.sum / right.sum - 1.0).abs() < 2e-3, "{} for {}", loss.sum, right.sum);
        let whole = |of: &dyn Fn(&String) -> f64| gradients.keys().map(|name| of(name).powi(2)).sum::<f64>().sqrt();
        let off =
            whole(&|name| norm_of(&(&gradients[name] - &found[name]).expect("same shape"))) / whole(&|name| norm_of(&gradients[name]));
        assert!(off < 0.03, "the gradient is off by {off}");
        // rows know nothing of each other, however they are rounded
        let (alone, _) = rounded.sharing(false).loss_and_gradients(&tree()).expect("a good batch");
        assert!((alone.sum / loss.sum - 1.0).abs() < 1e-5, "{} one by one, {} as a tree", alone.sum, loss.sum);
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
    let bad = Sequence { tokens: vec![40], targets: vec![None], weight: 1.0, soft: BTreeMap::new() };
    assert!(model.loss(&[bad]).err().is_some_and(|e| e.to_string().contains("token 40 is beyond the vocabulary of 40")));
    let empty = model.loss_and_gradients(&[]).expect("nothing is no error");
    assert_eq!((empty.0.sum, empty.0.weight, empty.1.len()), (0.0, 0.0, model.parameters().len()));
}
