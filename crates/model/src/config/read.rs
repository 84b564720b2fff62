//! From the keys of a `config.json` to the fields of a configuration. A key that is missing means what transformers takes it to mean;
//! what would be computed wrongly is refused by its key.
use std::fmt::Display;

use serde_json::Value;

use super::family::{Biases, Family, Windows, find};
use super::ids::Ids;
use super::raw::Raw;
use super::rope::{Reading, Rope};
use super::{Activation, Config, Look};
use crate::Error;

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

fn refuse<T>(key: &'static str, found: &dyn Display, expected: &'static str) -> Result<T, Error> {
    Err(Error::Unsupported { key, found: found.to_string(), expected })
}

impl TryFrom<Raw> for Config {
    type Error = Error;
    fn try_from(raw: Raw) -> Result<Self, Error> {
        let family = find(&raw.model_type)?;
        check(&raw, family)?;
        let (head_dim, kv_heads) = heads(&raw, family)?;
        let (qkv_bias, out_bias) = biases(&raw, family)?;
        let ropes = ropes(&raw, family, head_dim)?;
        let layers = looks(&raw, family)?;
        let stated = |value: Option<f64>| value.unwrap_or(1.0);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "transformers keeps this root in f32")]
        let root = (raw.hidden_size as f64).sqrt() as f32;
        let attention_scale = if family.sandwich {
            Some(f64::from(raw.query_pre_attn_scalar.unwrap_or(256)).sqrt().recip())
        } else {
            family.multipliers.then(|| stated(raw.attention_multiplier))
        };
        Ok(Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: raw.num_attention_heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: raw.max_position_embeddings,
            rms_norm_eps: raw.rms_norm_eps,
            gain_offset: if family.sandwich { 1.0 } else { 0.0 },
            head_norms: family.head_norms,
            branch_norms: family.sandwich,
            activation: activation(&raw, family)?,
            qkv_bias,
            out_bias,
            fused_linears: family.fused,
            attention_scale,
            embedding_multiplier: if family.sandwich { f64::from(root) } else { stated(raw.embedding_multiplier) },
            residual_multiplier: stated(raw.residual_multiplier),
            logits_divisor: stated(raw.logits_scaling),
            ropes,
            layers,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(family.tied),
            bos_token_id: raw.bos_token_id,
            eos_token_ids: raw.eos_token_id.map(Ids::into_vec).unwrap_or_default(),
            pad_token_id: raw.pad_token_id.flatten(),
            model_type: raw.model_type,
        })
    }
}

/// Refuses what no family here computes, and keys of one family in a file of another.
fn check(raw: &Raw, family: &Family) -> Result<(), Error> {
    if raw.mlp_bias == Some(true) {
        return refuse("mlp_bias", &true, "only feed-forward layers without bias");
    }
    if raw.num_attention_heads == 0 || raw.num_hidden_layers == 0 || raw.vocab_size == 0 {
        return refuse("num_attention_heads", &raw.num_attention_heads, "heads, layers and vocabulary of at least one");
    }
    if raw.quantization_config.as_ref().is_some_and(|value| !value.is_null()) {
        return refuse("quantization_config", &"set", "only weights in bf16, f16 or f32");
    }
    if raw.use_bidirectional_attention == Some(true) {
        return refuse("use_bidirectional_attention", &true, "only attention to what stands before");
    }
    let others = "only in the family that defines it";
    let multipliers = [
        ("embedding_multiplier", raw.embedding_multiplier),
        ("attention_multiplier", raw.attention_multiplier),
        ("residual_multiplier", raw.residual_multiplier),
        ("logits_scaling", raw.logits_scaling),
    ];
    for (key, value) in multipliers {
        match value {
            Some(value) if !family.multipliers => return refuse(key, &value, others),
            Some(value) if !(value.is_finite() && value != 0.0) => return refuse(key, &value, "a number other than 0"),
            _ => {}
        }
    }
    let capped = [("attn_logit_softcapping", raw.attn_logit_softcapping), ("final_logit_softcapping", raw.final_logit_softcapping)];
    for (key, value) in capped {
        if let Some(value) = value {
            return refuse(key, &value, "only logits without a cap");
        }
    }
    if let (Some(scalar), false) = (raw.query_pre_attn_scalar, family.sandwich && raw.query_pre_attn_scalar != Some(0)) {
        return refuse("query_pre_attn_scalar", &scalar, others);
    }
    Ok(())
}

/// Width of a head, and how many keys and values have.
fn heads(raw: &Raw, family: &Family) -> Result<(usize, usize), Error> {
    if raw.head_dim.is_none() && family.head_dim_stated {
        return refuse("head_dim", &"missing", "it must be stated in this family");
    }
    if raw.num_key_value_heads.is_none() && family.key_heads_stated {
        return refuse("num_key_value_heads", &"missing", "it must be stated in this family");
    }
    let head_dim = raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads);
    if head_dim == 0 || head_dim % 2 == 1 {
        return refuse("head_dim", &head_dim, "heads of even width");
    }
    let kv_heads = raw.num_key_value_heads.unwrap_or(raw.num_attention_heads);
    if kv_heads == 0 || !raw.num_attention_heads.is_multiple_of(kv_heads) {
        return refuse("num_key_value_heads", &kv_heads, "a divisor of `num_attention_heads`");
    }
    Ok((head_dim, kv_heads))
}

/// Whether queries, keys and values have biases, and whether the output has.
fn biases(raw: &Raw, family: &Family) -> Result<(bool, bool), Error> {
    match (family.biases, raw.attention_bias.unwrap_or(false)) {
        (Biases::Stated, stated) => Ok((stated, stated)),
        (Biases::Qkv, _) => Ok((true, false)),
        (Biases::Never, false) => Ok((false, false)),
        (Biases::Never, true) => refuse("attention_bias", &true, "no bias in this family"),
    }
}

fn activation(raw: &Raw, family: &Family) -> Result<Activation, Error> {
    let (key, stated, usual) = if family.sandwich {
        ("hidden_activation", &raw.hidden_activation, "gelu_pytorch_tanh")
    } else {
        ("hidden_act", &raw.hidden_act, "silu")
    };
    match stated.as_deref().unwrap_or(usual) {
        "silu" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => refuse(key, &other, "only `silu` and `gelu_pytorch_tanh`"),
    }
}

/// The ropes of a file: one, or in a family with layers of two kinds that of whole attention and that of windows.
fn ropes(raw: &Raw, family: &Family, head_dim: usize) -> Result<Vec<Rope>, Error> {
    let set = |value: &&Value| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty());
    let scaling = raw.rope_scaling.as_ref().filter(set);
    let parameters = raw.rope_parameters.as_ref().filter(set);
    let of_kind = |kind: &str| parameters.and_then(|value| value.get(kind)).filter(set);
    let reading = Reading {
        theta: raw.rope_theta.unwrap_or(family.theta),
        head_dim,
        context: raw.max_position_embeddings,
        // the class of transformers has this number, and prefers it to the one beside the factors
        original: raw.original_max_position_embeddings.or(family.fused.then_some(4096)),
        partial: raw.partial_rotary_factor,
        long: family.fused,
    };
    let nested = of_kind(FULL).is_some() || of_kind(SLIDING).is_some();
    if parameters.is_some() && nested != family.sandwich {
        let expected = "one set, or in the `gemma3_text` family one for each type of layer";
        return refuse("rope_parameters", &if nested { "nested" } else { "one set" }, expected);
    }
    if !family.sandwich {
        return Ok(vec![reading.rope(scaling.or(parameters))?]);
    }
    if scaling.is_some() && parameters.is_some() {
        return refuse("rope_scaling", &"set", "either this or `rope_parameters`");
    }
    let local = Reading { theta: raw.rope_local_base_freq.unwrap_or(10_000.0), ..reading };
    Ok(vec![reading.rope(scaling.or(of_kind(FULL)))?, local.rope(of_kind(SLIDING))?])
}

/// How each layer attends.
fn looks(raw: &Raw, family: &Family) -> Result<Vec<Look>, Error> {
    let count = raw.num_hidden_layers;
    if raw.layer_types.as_ref().is_some_and(|types| types.len() != count) {
        return refuse("layer_types", &"a list of another length", "one for each layer");
    }
    let stated = |missing: Option<usize>| raw.sliding_window.unwrap_or(missing);
    let window = match family.windows {
        Windows::Never => None,
        Windows::All(missing) => stated(missing),
        Windows::Chosen if raw.use_sliding_window != Some(true) => None,
        Windows::Chosen if family.no_rope_layers => stated(None),
        Windows::Chosen => stated(Some(4096)),
        Windows::Pattern(missing) => stated(Some(missing)),
    };
    if window == Some(0) {
        return refuse("sliding_window", &0, "a window of at least one position");
    }
    if window.is_none() && matches!(family.windows, Windows::Pattern(_)) {
        return refuse("sliding_window", &"null", "a number in this family");
    }
    let turned = turned(raw, family)?;
    let look = |layer: usize| {
        let slides = match raw.layer_types.as_ref().map(|types| types[layer].as_str()) {
            Some(FULL) if window.is_some() && matches!(family.windows, Windows::All(_)) => {
                return refuse("layer_types", &FULL, "a window in every layer of this family where `sliding_window` is set");
            }
            Some(SLIDING) if window.is_none() => {
                return refuse("layer_types", &SLIDING, "windows only where `sliding_window` is in use");
            }
            Some(FULL) => false,
            Some(SLIDING) => true,
            Some(other) => return refuse("layer_types", &other, "only `full_attention` and `sliding_attention`"),
            None => slides(raw, family, &turned, layer),
        };
        // the second rope is that of windows
        let rope = turned[layer].then_some(usize::from(family.sandwich && slides));
        Ok(Look { window: window.filter(|_| slides), rope })
    };
    (0..count).map(look).collect()
}

/// Which layers have a window where `layer_types` does not say so.
fn slides(raw: &Raw, family: &Family, turned: &[bool], layer: usize) -> bool {
    match family.windows {
        Windows::Never => false,
        Windows::All(_) => true,
        Windows::Chosen if family.no_rope_layers => !turned[layer],
        Windows::Chosen => layer >= raw.max_window_layers.unwrap_or(28),
        Windows::Pattern(_) => !(layer + 1).is_multiple_of(raw.sliding_window_pattern.unwrap_or(6).max(1)),
    }
}

/// Which layers turn queries and keys.
fn turned(raw: &Raw, family: &Family) -> Result<Vec<bool>, Error> {
    let count = raw.num_hidden_layers;
    if !family.no_rope_layers {
        return Ok(vec![true; count]);
    }
    match &raw.no_rope_layers {
        Some(list) if list.len() < count => refuse("no_rope_layers", &"a list that is too short", "one number for each layer"),
        Some(list) => Ok(list.iter().take(count).map(|turned| *turned != 0).collect()),
        None => {
            let interval = raw.no_rope_layer_interval.unwrap_or(4).max(1);
            Ok((1..=count).map(|layer| !layer.is_multiple_of(interval)).collect())
        }
    }
}
