//! Rotary positions: the frequencies that heads are turned by, and how configurations state them. Knows no layer and no head.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// Rotary positions of some layers. Su et al. 2021, arXiv 2104.09864.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Dimensions of each head that are turned, from its first on; even.
    pub width: usize,
    /// How the frequencies are stretched.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched for contexts longer than those a model was first trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Plain,
    /// All are divided by a factor.
    Linear(f64),
    /// As Llama 3.1 and later do.
    Llama3(Llama3Rope),
    /// Each by a factor of its own.
    Long(LongRope),
}

/// The `llama3` rope scaling: low frequencies are slowed by `factor`, high ones left, those between blended.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Llama3Rope {
    /// How much the longest waves are stretched.
    pub factor: f64,
    /// Waves longer than the original context over this are stretched in full.
    pub low_freq_factor: f64,
    /// Waves shorter than the original context over this are left alone.
    pub high_freq_factor: f64,
    /// Context of the model before it was stretched.
    pub original_max_position_embeddings: usize,
}

/// The `longrope` scaling: one set of factors for sequences within the original context, another for longer ones, and for both a
/// factor on cosines and sines. Ding et al. 2024, arXiv 2402.13753.
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// What each frequency is divided by in sequences within the original context.
    pub short_factor: Vec<f64>,
    /// The same in longer ones.
    pub long_factor: Vec<f64>,
    /// Context of the model before it was stretched.
    pub original_max_position_embeddings: usize,
    /// Factor on cosines and sines.
    pub attention_factor: f64,
}

impl LongRope {
    /// The factor on cosines and sines of a context that became so many times longer.
    #[expect(clippy::cast_precision_loss, reason = "contexts are far below 2^53")]
    pub(super) fn usual_attention_factor(stretch: f64, original: usize) -> f64 {
        if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() }
    }
}

impl Rope {
    /// Frequency of each pair of turned dimensions in a sequence of `length` tokens, in radians a position; `width / 2` of them.
    ///
    /// Dimension `i` is paired with `i + width / 2` (the half-split layout of Hugging Face weights).
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "dimensions and contexts are far below 2^53")]
    pub fn inverse_frequencies(&self, length: usize) -> Vec<f64> {
        let plain = (0..self.width / 2).map(|i| self.theta.powf(-((2 * i) as f64) / self.width as f64));
        match &self.scaling {
            RopeScaling::Plain => plain.collect(),
            RopeScaling::Linear(factor) => plain.map(|frequency| frequency / factor).collect(),
            RopeScaling::Llama3(scaling) => plain.map(|frequency| scaling.stretch(frequency)).collect(),
            RopeScaling::Long(scaling) => {
                let long = length > scaling.original_max_position_embeddings;
                let factors = if long { &scaling.long_factor } else { &scaling.short_factor };
                plain.zip(factors).map(|(frequency, factor)| frequency / factor).collect()
            }
        }
    }

    /// Factor on cosines and sines.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        if let RopeScaling::Long(scaling) = &self.scaling { scaling.attention_factor } else { 1.0 }
    }

    /// The longest sequence that is turned by other frequencies than longer ones.
    #[must_use]
    pub fn switch(&self) -> Option<usize> {
        if let RopeScaling::Long(scaling) = &self.scaling { Some(scaling.original_max_position_embeddings) } else { None }
    }
}

impl Llama3Rope {
    #[expect(clippy::cast_precision_loss, reason = "contexts are far below 2^53")]
    fn stretch(&self, frequency: f64) -> f64 {
        let turns = self.original_max_position_embeddings as f64 * frequency / std::f64::consts::TAU;
        let blend = ((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)).clamp(0.0, 1.0);
        (1.0 - blend) * frequency / self.factor + blend * frequency
    }
}

/// What a `rope_scaling` or `rope_parameters` value is read with.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Base where the value states none.
    pub theta: f64,
    pub head_dim: usize,
    /// Context of the model.
    pub context: usize,
    /// `original_max_position_embeddings` beside the value.
    pub original: Option<usize>,
    /// `partial_rotary_factor` beside the value.
    pub partial: Option<f64>,
    /// Whether the family may turn a part of each head, and by a long rope.
    pub long: bool,
}

impl Reading {
    /// The rope that a value states; the plain one without a value.
    pub fn rope(self, value: Option<&Value>) -> Result<Rope, Error> {
        let number = |key: &str| value.and_then(|value| value.get(key)).and_then(Value::as_f64);
        let partial = number("partial_rotary_factor").or(self.partial).unwrap_or(1.0);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a width is a small number"
        )]
        let width = (self.head_dim as f64 * partial) as usize;
        if width == 0 || width % 2 == 1 || width > self.head_dim || (width < self.head_dim && !self.long) {
            let expected = "an even part of each head in the `phi3` family, else whole heads";
            return Err(Error::Unsupported { key: "partial_rotary_factor", found: partial.to_string(), expected });
        }
        let (theta, scaling) = (number("rope_theta").unwrap_or(self.theta), self.scaling(value, width / 2)?);
        Ok(Rope { theta, width, scaling })
    }

    fn scaling(self, value: Option<&Value>, pairs: usize) -> Result<RopeScaling, Error> {
        let Some(value) = value else { return Ok(RopeScaling::Plain) };
        let kind = value.get("rope_type").or_else(|| value.get("type")).and_then(Value::as_str).unwrap_or("default");
        let malformed = |what, cause: &dyn std::fmt::Display| Err(Error::malformed("config.json", what, cause));
        match kind {
            "default" => Ok(RopeScaling::Plain),
            "linear" => match value.get("factor").and_then(Value::as_f64) {
                Some(factor) if factor > 0.0 => Ok(RopeScaling::Linear(factor)),
                _ => malformed("linear rope scaling", &"it states no `factor`"),
            },
            "llama3" => {
                let mut value = value.clone();
                if let Some(original) = self.original.or(value.get(ORIGINAL).is_none().then_some(self.context)) {
                    value[ORIGINAL] = original.into();
                }
                Llama3Rope::deserialize(value).map(RopeScaling::Llama3).or_else(|cause| malformed("llama3 rope scaling", &cause))
            }
            "longrope" | "su" if self.long => self.long(value, pairs).map(RopeScaling::Long),
            other => Err(Error::Unsupported {
                key: "rope_scaling",
                found: other.to_owned(),
                expected: "only `default`, `linear`, `llama3`, and `longrope` in the `phi3` family",
            }),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "contexts are far below 2^53")]
    fn long(self, value: &Value, pairs: usize) -> Result<LongRope, Error> {
        #[derive(Deserialize)]
        struct Stated {
            short_factor: Vec<f64>,
            long_factor: Vec<f64>,
            factor: Option<f64>,
            attention_factor: Option<f64>,
            original_max_position_embeddings: Option<usize>,
        }
        let fail = |cause: &dyn std::fmt::Display| Error::malformed("config.json", "longrope scaling", cause);
        let stated = Stated::deserialize(value).map_err(|cause| fail(&cause))?;
        let original = self.original.or(stated.original_max_position_embeddings).unwrap_or(self.context);
        for factors in [&stated.short_factor, &stated.long_factor] {
            if factors.len() != pairs || factors.iter().any(|factor| *factor <= 0.0) {
                return Err(fail(&format!("{} factors for {pairs} pairs of dimensions, or one that is not positive", factors.len())));
            }
        }
        let stretch = stated.factor.unwrap_or(self.context as f64 / original as f64);
        let usual = LongRope::usual_attention_factor(stretch, original);
        Ok(LongRope {
            short_factor: stated.short_factor,
            long_factor: stated.long_factor,
            original_max_position_embeddings: original,
            attention_factor: stated.attention_factor.unwrap_or(usual),
        })
    }
}

const ORIGINAL: &str = "original_max_position_embeddings";
