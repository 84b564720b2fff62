//! Dimensions and constants of a decoder as keys of a GGUF file, both ways. Knows no tensors.
//!
//! Keys as in `ggml/docs/gguf.md` and llama.cpp's `gguf-py/gguf/constants.py`. The stretched rope of Llama 3 is no key but a
//! tensor of divisors, one a pair of dimensions.
use candle_core::quantized::gguf_file::Value;
use serde_json::json;

use super::file::Gguf;
use super::names::Architecture;
use crate::{Config, Error, Llama3Rope, Rope, RopeScaling};

/// The tensor that holds the divisors of the rotary frequencies.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";

/// The key of the context before the rope was stretched. llama.cpp's converter leaves it out.
const ORIGINAL: &str = "rope.scaling.original_context_length";
/// What Llama 3.1, 3.2 and 3.3 have: (low, high, original context). Only the greatest divisor differs between them.
const LLAMA3: (f64, f64, usize) = (1.0, 4.0, 8192);

/// The keys that say how large a model is.
///
/// # Errors
/// When a number does not fit the 32 bits that the format has for it.
pub(crate) fn keys(architecture: &Architecture, config: &Config) -> Result<Vec<(String, Value)>, Error> {
    let small = |key: &'static str, number: usize| {
        let fits = u32::try_from(number).map(Value::U32);
        fits.map_err(|_| Error::Unsupported { key, found: number.to_string(), expected: "a number of 32 bits" })
    };
    #[expect(clippy::cast_possible_truncation, reason = "the format has 32 bits for constants")]
    let real = |number: f64| Value::F32(number as f32);
    let keys = [
        ("vocab_size", small("vocab_size", config.vocab_size)?),
        ("context_length", small("max_position_embeddings", config.max_position_embeddings)?),
        ("embedding_length", small("hidden_size", config.hidden_size)?),
        ("block_count", small("num_hidden_layers", config.num_hidden_layers)?),
        ("feed_forward_length", small("intermediate_size", config.intermediate_size)?),
        ("attention.head_count", small("num_attention_heads", config.num_attention_heads)?),
        ("attention.head_count_kv", small("num_key_value_heads", config.num_key_value_heads)?),
        ("attention.key_length", small("head_dim", config.head_dim)?),
        ("attention.value_length", small("head_dim", config.head_dim)?),
        ("attention.layer_norm_rms_epsilon", real(config.rms_norm_eps)),
        ("rope.dimension_count", small("head_dim", config.head_dim)?),
        ("rope.freq_base", real(rope(config)?.theta)),
    ];
    let stretched = match &rope(config)?.scaling {
        RopeScaling::Llama3(rope) => Some((ORIGINAL, small("original_max_position_embeddings", rope.original_max_position_embeddings)?)),
        _ => None,
    };
    Ok(keys.into_iter().chain(stretched).map(|(key, value)| (format!("{}.{key}", architecture.gguf), value)).collect())
}

/// The one rope of all layers, which attend to all that lies before them: what the keys here can say.
fn rope(config: &Config) -> Result<&Rope, Error> {
    let refuse = |key, found: &str, expected| Err(Error::Unsupported { key, found: found.to_owned(), expected });
    if config.layers.iter().any(|look| look.window.is_some()) {
        return refuse("sliding_window", "set", "only layers that see all that lies before, in a GGUF file; `export merged` takes them");
    }
    match config.ropes.as_slice() {
        [rope] if config.layers.iter().all(|look| look.rope == Some(0)) => match rope.scaling {
            RopeScaling::Plain | RopeScaling::Llama3(_) => Ok(rope),
            _ => refuse("rope_scaling", "another", "only `default` and `llama3` in a GGUF file; `export merged` takes it"),
        },
        _ => refuse("rope_parameters", "several", "one rope for all layers in a GGUF file; `export merged` takes them"),
    }
}

/// The divisors of a stretched rope, one a pair of dimensions; none for a plain one.
pub(crate) fn divisors(config: &Config) -> Option<Vec<f32>> {
    divisors_of(config.ropes.first()?)
}

fn divisors_of(rope: &Rope) -> Option<Vec<f32>> {
    let RopeScaling::Llama3(_) = rope.scaling else { return None };
    let (plain, stretched) = (Rope { scaling: RopeScaling::Plain, ..rope.clone() }, rope);
    let pairs = plain.inverse_frequencies(0).into_iter().zip(stretched.inverse_frequencies(0));
    #[expect(clippy::cast_possible_truncation, reason = "the format keeps them in 32 bits")]
    Some(pairs.map(|(plain, stretched)| (plain / stretched) as f32).collect())
}

/// The configuration that a file's keys and tensors say.
///
/// # Errors
/// When a key is missing, the architecture is unknown, or a variant would be computed wrongly.
pub(crate) fn config(file: &Gguf) -> Result<Config, Error> {
    let architecture = file.architecture()?;
    let key = |name: &str| format!("{}.{name}", architecture.gguf);
    let number = |name: &str| file.number(&key(name));
    let needed = |name: &str| number(name).ok_or_else(|| file.lacks(&key(name)));
    if number("expert_count").is_some_and(|experts| experts > 0) {
        return Err(Error::Unsupported { key: "expert_count", found: "set".into(), expected: "only models without experts" });
    }
    if let Some(kind) = file.text(&key("rope.scaling.type")).filter(|kind| *kind != "none") {
        return Err(Error::Unsupported { key: "rope.scaling.type", found: kind.to_owned(), expected: "only `none`" });
    }
    if let Some(kind) = file.text("general.type").filter(|kind| *kind != "model") {
        return Err(Error::malformed(file.name(), "model", format!("its `general.type` is `{kind}`")));
    }
    let embedding = file.shape("token_embd.weight").ok_or_else(|| file.lacks("token_embd.weight"))?;
    let (hidden, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
    let value = json!({
        "model_type": architecture.hugging_face,
        "vocab_size": embedding.first(),
        "hidden_size": hidden,
        "intermediate_size": needed("feed_forward_length")?,
        "num_hidden_layers": needed("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv").unwrap_or(heads),
        "head_dim": number("attention.key_length").unwrap_or(hidden / heads.max(1)),
        "max_position_embeddings": needed("context_length")?,
        "rms_norm_eps": file.real(&key("attention.layer_norm_rms_epsilon")).ok_or_else(|| file.lacks("attention.layer_norm_rms_epsilon"))?,
        "rope_theta": file.real(&key("rope.freq_base")).unwrap_or(10_000.0),
        "tie_word_embeddings": file.shape("output.weight").is_none(),
        "attention_bias": file.shape("blk.0.attn_q.bias").is_some(),
        "bos_token_id": file.number("tokenizer.ggml.bos_token_id"),
        "eos_token_id": super::vocabulary::ends(file),
    });
    let mut config = Config::from_json(value.to_string().as_bytes(), &file.name())?;
    if let Some(found) = file.values(ROPE_FREQS)? {
        let original = number(ORIGINAL).and_then(|original| usize::try_from(original).ok());
        let scaling = stretched(rope(&config)?, &found, original.unwrap_or(LLAMA3.2))?;
        config.ropes.iter_mut().for_each(|rope| rope.scaling = RopeScaling::Llama3(scaling.clone()));
    }
    Ok(config)
}

/// The `llama3` scaling of a plain rope that has these divisors.
fn stretched(plain: &Rope, found: &[f32], original_max_position_embeddings: usize) -> Result<Llama3Rope, Error> {
    let (low_freq_factor, high_freq_factor, _) = LLAMA3;
    let factor = found.iter().copied().fold(1.0_f32, f32::max);
    let scaling = Llama3Rope { factor: f64::from(factor), low_freq_factor, high_freq_factor, original_max_position_embeddings };
    let ours = divisors_of(&Rope { scaling: RopeScaling::Llama3(scaling.clone()), ..plain.clone() }).unwrap_or_default();
    let same = ours.len() == found.len() && ours.iter().zip(found).all(|(ours, found)| (ours - found).abs() <= 1e-4 * found.abs());
    if same {
        return Ok(scaling);
    }
    Err(Error::Unsupported { key: ROPE_FREQS, found: format!("{} divisors", found.len()), expected: "only those of Llama 3" })
}

#[cfg(test)]
mod tests {
    use super::{divisors, stretched};
    use crate::{Config, Llama3Rope, RopeScaling};

    #[test]
    fn the_stretched_rope_is_found_again_from_its_divisors() {
        let text = br#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 128, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 500000.0}"#;
        let mut config = Config::from_json(text, "x").expect("a good configuration");
        assert!(divisors(&config).is_none());
        let rope = Llama3Rope { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192 };
        let plain = config.ropes[0].clone();
        config.ropes[0].scaling = RopeScaling::Llama3(rope.clone());
        let mut found = divisors(&config).expect("a stretched rope");
        assert!((found[0] - 1.0).abs() < 1e-6 && (found[31] - 32.0).abs() < 1e-4);
        assert_eq!(stretched(&plain, &found, 8192).expect("llama 3"), rope);
        found[10] += 1.0;
        assert!(stretched(&plain, &found, 8192).is_err());
    }
}
