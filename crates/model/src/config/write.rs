//! From the fields of a configuration back to the keys of a `config.json`, in the form of transformers 4, which 5 reads too.
use serde_json::{Value, json};

use super::family::{Biases, Family, Windows, find};
use super::ids::Ids;
use super::raw::Raw;
use super::rope::{LongRope, Rope, RopeScaling};
use super::{Activation, Config};

impl From<Config> for Raw {
    fn from(config: Config) -> Self {
        let family = find(&config.model_type).expect("a configuration is of a family that was read");
        let activation = Some(match config.activation {
            Activation::Silu => "silu".to_owned(),
            Activation::GeluTanh => "gelu_pytorch_tanh".to_owned(),
        });
        let mut raw = Self {
            architectures: vec![family.architecture.to_owned()],
            model_type: config.model_type.clone(),
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: Some(config.num_key_value_heads),
            head_dim: Some(config.head_dim),
            max_position_embeddings: config.max_position_embeddings,
            rms_norm_eps: config.rms_norm_eps,
            tie_word_embeddings: Some(config.tie_word_embeddings),
            attention_bias: (family.biases == Biases::Stated).then_some(config.out_bias),
            mlp_bias: (family.name == "llama").then_some(false),
            bos_token_id: config.bos_token_id,
            eos_token_id: Ids::of(config.eos_token_ids.clone()),
            // where it is missing, some families take one that may lie beyond the vocabulary
            pad_token_id: (family.name != "llama" || config.pad_token_id.is_some()).then_some(config.pad_token_id),
            ..Self::default()
        };
        if family.sandwich {
            raw.hidden_activation = activation;
        } else {
            raw.hidden_act = activation;
        }
        ropes(&config, family, &mut raw);
        windows(&config, family, &mut raw);
        factors(&config, family, &mut raw);
        raw
    }
}

fn ropes(config: &Config, family: &Family, raw: &mut Raw) {
    let rope = &config.ropes[0];
    raw.rope_theta = Some(rope.theta);
    raw.rope_scaling = scaling(rope, config.max_position_embeddings);
    if family.sandwich {
        let local = &config.ropes[1];
        raw.rope_local_base_freq = Some(local.theta);
        if local.scaling != RopeScaling::Plain {
            // only transformers 5 has a place for this
            let parameters = |rope: &Rope| {
                let mut value = scaling(rope, config.max_position_embeddings).unwrap_or_else(|| json!({"rope_type": "default"}));
                value["rope_theta"] = rope.theta.into();
                value
            };
            raw.rope_parameters = Some(json!({"full_attention": parameters(rope), "sliding_attention": parameters(local)}));
            raw.rope_scaling = None;
        }
    }
    if family.fused {
        raw.partial_rotary_factor = (rope.width != config.head_dim).then(|| part(rope.width, config.head_dim));
        raw.original_max_position_embeddings = rope.switch();
    }
}

/// The part of `whole` that comes to `width` when it is cut to a whole number.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "widths are small numbers")]
fn part(width: usize, whole: usize) -> f64 {
    let part = width as f64 / whole as f64;
    if (whole as f64 * part) as usize == width { part } else { (width as f64 + 0.5) / whole as f64 }
}

#[expect(clippy::cast_precision_loss, reason = "contexts are far below 2^53")]
fn scaling(rope: &Rope, context: usize) -> Option<Value> {
    match &rope.scaling {
        RopeScaling::Plain => None,
        RopeScaling::Linear(factor) => Some(json!({"rope_type": "linear", "factor": factor})),
        RopeScaling::Llama3(scaling) => {
            let mut value = serde_json::to_value(scaling).expect("plain data always serialises");
            value["rope_type"] = Value::from("llama3");
            Some(value)
        }
        RopeScaling::Long(scaling) => {
            // transformers 4 takes these three keys alone
            let mut value = json!({"type": "longrope", "short_factor": scaling.short_factor, "long_factor": scaling.long_factor});
            let original = scaling.original_max_position_embeddings;
            if LongRope::usual_attention_factor(context as f64 / original as f64, original).to_bits() != scaling.attention_factor.to_bits()
            {
                value["attention_factor"] = scaling.attention_factor.into();
            }
            Some(value)
        }
    }
}

fn windows(config: &Config, family: &Family, raw: &mut Raw) {
    let window = config.layers.iter().find_map(|look| look.window);
    raw.sliding_window = match family.windows {
        Windows::Never => None,
        // the number must be there even if no layer uses it
        Windows::Pattern(missing) => Some(window.or(Some(missing))),
        Windows::All(_) | Windows::Chosen => Some(window),
    };
    if matches!(family.windows, Windows::Chosen | Windows::Pattern(_)) {
        let kind = |slides: bool| if slides { "sliding_attention" } else { "full_attention" }.to_owned();
        // in a family with two ropes the rope says which kind a layer is of
        let slides = config.layers.iter().map(|look| if family.sandwich { look.rope == Some(1) } else { look.window.is_some() });
        raw.layer_types = Some(slides.map(kind).collect());
    }
    if family.windows == Windows::Chosen {
        raw.use_sliding_window = Some(window.is_some());
    }
    if family.windows == Windows::Chosen && !family.no_rope_layers {
        raw.max_window_layers = Some(config.layers.iter().position(|look| look.window.is_some()).unwrap_or(config.num_hidden_layers));
    }
    if family.no_rope_layers {
        raw.no_rope_layers = Some(config.layers.iter().map(|look| u8::from(look.rope.is_some())).collect());
    }
}

fn factors(config: &Config, family: &Family, raw: &mut Raw) {
    if family.multipliers {
        raw.embedding_multiplier = Some(config.embedding_multiplier);
        raw.attention_multiplier = config.attention_scale;
        raw.residual_multiplier = Some(config.residual_multiplier);
        raw.logits_scaling = Some(config.logits_divisor);
    }
    if family.sandwich {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was read as a whole number")]
        let scalar = config.attention_scale.map(|scale| scale.powi(-2).round() as u32);
        raw.query_pre_attn_scalar = scalar;
    }
}
