//! What llama.cpp calls the tensors of a Hugging Face model, and in which order it keeps their rows: one table for reading and
//! writing. Knows no files.
//!
//! Follows llama.cpp's `gguf-py/gguf/tensor_mapping.py`, `constants.py` and its converters' `permute`.
use candle_core::Tensor;

use crate::{Config, Error};

/// How the tensors of one architecture are called.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// `general.architecture` of a GGUF file.
    pub gguf: &'static str,
    /// `model_type` of a `config.json`.
    pub hugging_face: &'static str,
    /// Whether llama.cpp turns neighbouring dimensions of a head (the order of Meta's own weights) where Hugging Face turns
    /// dimension `i` with `i + width / 2`: rows of query and key projections are then kept in another order.
    interleaved: bool,
    /// Parts of a layer: Hugging Face's name, llama.cpp's.
    parts: &'static [(&'static str, &'static str)],
}

/// Whatever stands outside the layers is called alike in every architecture.
const OUTSIDE: [(&str, &str); 3] = [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// Parts of a layer of the Llama kind.
const LAYER: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The architectures that can be read and written; of two that share a name in GGUF, the first is read.
const ARCHITECTURES: [Architecture; 4] = [
    Architecture { gguf: "llama", hugging_face: "llama", interleaved: true, parts: &LAYER },
    Architecture { gguf: "llama", hugging_face: "mistral", interleaved: true, parts: &LAYER },
    Architecture { gguf: "qwen2", hugging_face: "qwen2", interleaved: false, parts: &LAYER },
    Architecture { gguf: "qwen3", hugging_face: "qwen3", interleaved: false, parts: &LAYER },
];

/// What is said of all others that are to be read.
const READ: &str = "as GGUF only `llama`, `qwen2` and `qwen3`; a folder in Hugging Face layout may be of more families";
/// What is said of all others that are to be written.
const WRITTEN: &str =
    "as GGUF only `llama`, `mistral`, `qwen2` and `qwen3`; `export merged` writes a folder, and llama.cpp's converter takes that";

impl Architecture {
    /// The architecture of a configuration.
    ///
    /// # Errors
    /// When it is not in the table.
    pub(crate) fn of(config: &Config) -> Result<&'static Self, Error> {
        let found = &config.model_type;
        let known = ARCHITECTURES.iter().find(|architecture| architecture.hugging_face == found);
        known.ok_or_else(|| Error::Unsupported { key: "model_type", found: found.clone(), expected: WRITTEN })
    }

    /// The architecture that a GGUF file names.
    ///
    /// # Errors
    /// When it is not in the table.
    pub(crate) fn named(found: &str) -> Result<&'static Self, Error> {
        let known = ARCHITECTURES.iter().find(|architecture| architecture.gguf == found);
        known.ok_or_else(|| Error::Unsupported { key: "general.architecture", found: found.to_owned(), expected: READ })
    }

    /// llama.cpp's name of a tensor (`model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`); none for one it has no name for.
    pub(crate) fn to_gguf(&self, name: &str) -> Option<String> {
        let (module, kind) = name.rsplit_once('.')?;
        if let Some((_, outside)) = OUTSIDE.iter().find(|(ours, _)| *ours == module) {
            return Some(format!("{outside}.{kind}"));
        }
        let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let (_, theirs) = self.parts.iter().find(|(ours, _)| *ours == part)?;
        Some(format!("blk.{layer}.{theirs}.{kind}"))
    }

    /// Hugging Face's name of a tensor; the other way round.
    pub(crate) fn to_hugging_face(&self, name: &str) -> Option<String> {
        let (module, kind) = name.rsplit_once('.')?;
        if let Some((ours, _)) = OUTSIDE.iter().find(|(_, theirs)| *theirs == module) {
            return Some(format!("{ours}.{kind}"));
        }
        let (layer, part) = module.strip_prefix("blk.")?.split_once('.')?;
        let (ours, _) = self.parts.iter().find(|(_, theirs)| *theirs == part)?;
        Some(format!("model.layers.{layer}.{ours}.{kind}"))
    }

    /// Rows (outputs, …) of the module or tensor `name` (Hugging Face's) from its order into llama.cpp's.
    pub(crate) fn rows_to_gguf(&self, name: &str, rows: &Tensor, config: &Config) -> Result<Tensor, Error> {
        self.heads(name, config).map_or_else(|| Ok(rows.clone()), |heads| turn(rows, heads, &[2, rows.dim(0)? / heads / 2]))
    }

    /// Rows from llama.cpp's order into Hugging Face's.
    pub(crate) fn rows_to_hugging_face(&self, name: &str, rows: &Tensor, config: &Config) -> Result<Tensor, Error> {
        self.heads(name, config).map_or_else(|| Ok(rows.clone()), |heads| turn(rows, heads, &[rows.dim(0)? / heads / 2, 2]))
    }

    /// Heads of a module whose rows are kept in another order; none for all others.
    fn heads(&self, name: &str, config: &Config) -> Option<usize> {
        match name {
            _ if !self.interleaved => None,
            _ if name.contains(".self_attn.q_proj") => Some(config.num_attention_heads),
            _ if name.contains(".self_attn.k_proj") => Some(config.num_key_value_heads),
            _ => None,
        }
    }
}

/// Within each head, rows counted by (`parts[0]`, `parts[1]`) are counted by (`parts[1]`, `parts[0]`).
fn turn(rows: &Tensor, heads: usize, parts: &[usize; 2]) -> Result<Tensor, Error> {
    let shape = rows.shape().clone();
    let rest = shape.elem_count() / shape.dims()[0].max(1);
    let turned = rows.reshape((heads, parts[0], parts[1], rest))?.transpose(1, 2)?.contiguous()?;
    Ok(turned.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{ARCHITECTURES, Architecture};
    use crate::Config;

    fn config() -> Config {
        let text = br#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 32, "rms_norm_eps": 1e-5}"#;
        Config::from_json(text, "x").expect("a good configuration")
    }

    #[test]
    fn names_go_both_ways() {
        let architecture = Architecture::of(&config()).expect("llama is in the table");
        for (ours, theirs) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("lm_head.weight", "output.weight"),
            ("model.layers.12.self_attn.q_proj.bias", "blk.12.attn_q.bias"),
            ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
        ] {
            assert_eq!(architecture.to_gguf(ours).as_deref(), Some(theirs));
            assert_eq!(architecture.to_hugging_face(theirs).as_deref(), Some(ours));
        }
        assert_eq!(architecture.to_gguf("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
        assert_eq!(architecture.to_hugging_face("blk.0.attn_q"), None);
        assert!(Architecture::named("rwkv7").is_err());
    }

    #[test]
    fn halves_of_a_head_become_neighbours_in_queries_and_keys_alone() {
        let architecture = &ARCHITECTURES[0];
        let rows = |values: &[f32]| Tensor::new(values, &Device::Cpu).expect("a small tensor");
        let values = |tensor: &Tensor| tensor.to_vec1::<f32>().expect("one dimension");
        // two heads of four rows: Hugging Face turns 0 with 2 and 1 with 3, llama.cpp turns neighbours
        let queries = rows(&[0., 1., 2., 3., 10., 11., 12., 13.]);
        let name = "model.layers.0.self_attn.q_proj.weight";
        let turned = architecture.rows_to_gguf(name, &queries, &config()).expect("whole heads");
        assert_eq!(values(&turned), [0., 2., 1., 3., 10., 12., 11., 13.]);
        let back = architecture.rows_to_hugging_face(name, &turned, &config()).expect("whole heads");
        assert_eq!(values(&back), values(&queries));
        // one key head of six rows and two columns
        let keys = Tensor::new(&[[0_f32, 0.5], [1., 1.5], [2., 2.5], [3., 3.5], [4., 4.5], [5., 5.5]], &Device::Cpu).expect("small");
        let turned = architecture.rows_to_gguf("model.layers.0.self_attn.k_proj.weight", &keys, &config()).expect("whole heads");
        assert_eq!(values(&turned.flatten_all().expect("small")), [0., 0.5, 3., 3.5, 1., 1.5, 4., 4.5, 2., 2.5, 5., 5.5]);
        let others = architecture.rows_to_gguf("model.layers.0.self_attn.v_proj.weight", &queries, &config()).expect("untouched");
        assert_eq!(values(&others), values(&queries));
    }
}
