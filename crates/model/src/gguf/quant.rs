//! In which type each tensor of a model is kept: llama.cpp's own recipes. Knows names and shapes, no values.
//!
//! Follows `llama_tensor_get_type` and `tensor_type_fallback` of llama.cpp's `src/llama-quant.cpp` for dense models without an
//! importance matrix.
use candle_core::quantized::GgmlDType;

/// How a model is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// 32 bits: exactly the weights in memory.
    F32,
    /// 16 bits.
    F16,
    /// 8.5 bits.
    Q8_0,
    /// 4.5 bits.
    Q4_0,
    /// 4.8 bits or so: Q4_K, and Q6_K where it matters most.
    Q4KM,
}

impl Quant {
    /// llama.cpp's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4KM => "Q4_K_M",
        }
    }

    /// Whether nothing but rounding to a shorter float is lost.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16)
    }

    /// `general.file_type` (`enum llama_ftype`).
    pub(crate) const fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
        }
    }

    /// The type of a tensor, and of one whose width is no multiple of its block. `name` is llama.cpp's, `layers` how many there
    /// are, `tied` whether the embedding is the output head too.
    pub(crate) fn of(self, name: &str, shape: &[usize], layers: usize, tied: bool) -> Kept {
        if shape.len() < 2 {
            return Kept { wanted: GgmlDType::F32, used: GgmlDType::F32 };
        }
        let wanted = self.wanted(name, layers, tied);
        let width = shape[shape.len() - 1];
        let mut used = wanted;
        while !width.is_multiple_of(used.block_size()) {
            used = fallback(used);
        }
        Kept { wanted, used }
    }

    fn wanted(self, name: &str, layers: usize, tied: bool) -> GgmlDType {
        let head = name == "output.weight" || (tied && name == "token_embd.weight");
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4_0 | Self::Q4KM if head => GgmlDType::Q6K,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4KM if favoured(name, layers) => GgmlDType::Q6K,
            Self::Q4KM => GgmlDType::Q4K,
        }
    }
}

/// A tensor's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// By the recipe.
    pub wanted: GgmlDType,
    /// What its width allows.
    pub used: GgmlDType,
}

/// What llama.cpp takes where a width is no multiple of the block: the next larger type with blocks of 32, at last 16 bits.
const fn fallback(of: GgmlDType) -> GgmlDType {
    match of {
        GgmlDType::Q4K => GgmlDType::Q5_0,
        GgmlDType::Q6K => GgmlDType::Q8_0,
        _ => GgmlDType::F16,
    }
}

/// llama.cpp's name of a type.
pub(crate) fn name(of: GgmlDType) -> String {
    let name = format!("{of:?}");
    if let Some(bits) = name.strip_suffix('K') { format!("{bits}_K") } else { name }
}

/// Values and down projections of the first and last eighth of the layers and of every third between (`use_more_bits`).
fn favoured(name: &str, layers: usize) -> bool {
    let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else { return false };
    let Ok(layer) = layer.parse::<usize>() else { return false };
    let more = layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
    more && matches!(part, "attn_v.weight" | "ffn_down.weight")
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlDType::{F16, F32, Q4_0, Q4K, Q5_0, Q6K, Q8_0};

    use super::Quant;

    #[test]
    fn types_are_those_of_llama_cpp() {
        let of = |quant: Quant, name: &str, width: usize| quant.of(name, &[8, width], 16, true).used;
        assert_eq!(of(Quant::Q4KM, "token_embd.weight", 2048), Q6K);
        assert_eq!(Quant::Q4KM.of("token_embd.weight", &[8, 2048], 16, false).used, Q4K);
        let layers = [0, 1, 2, 4, 7, 13, 14, 15].map(|layer| of(Quant::Q4KM, &format!("blk.{layer}.attn_v.weight"), 2048));
        assert_eq!(layers, [Q6K, Q6K, Q4K, Q6K, Q6K, Q6K, Q6K, Q6K]);
        assert_eq!(of(Quant::Q4KM, "blk.3.ffn_down.weight", 2048), Q4K);
        assert_eq!(of(Quant::Q4_0, "blk.0.ffn_down.weight", 2048), Q4_0);
        assert_eq!(of(Quant::Q4_0, "output.weight", 2048), Q6K);
        assert_eq!(of(Quant::Q8_0, "token_embd.weight", 576), Q8_0);
        assert_eq!(Quant::Q4_0.of("blk.0.attn_norm.weight", &[64], 16, true).used, F32);
    }

    #[test]
    fn widths_that_do_not_fit_fall_back_as_in_llama_cpp() {
        let of = |quant: Quant, name: &str, width: usize| quant.of(name, &[8, width], 5, true).used;
        assert_eq!(of(Quant::Q4KM, "blk.0.attn_q.weight", 192), Q5_0);
        assert_eq!(of(Quant::Q4KM, "token_embd.weight", 192), Q8_0);
        assert_eq!(of(Quant::Q4_0, "blk.0.attn_q.weight", 40), F16);
        assert_eq!(of(Quant::Q8_0, "blk.0.attn_q.weight", 40), F16);
        assert_eq!(of(Quant::F16, "blk.0.attn_q.weight", 40), F16);
    }
}
