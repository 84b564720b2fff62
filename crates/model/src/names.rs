//! What the parameters of a decoder are called in Hugging Face folders, and their shapes. Knows configurations, no values.
use crate::Config;

/// The fused linears of a layer: each is one product, however many the files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fused {
    Qkv,
    Out,
    GateUp,
    Down,
}

/// All of them, in order.
pub(crate) const FUSED: [Fused; 4] = [Fused::Qkv, Fused::Out, Fused::GateUp, Fused::Down];

/// The norms of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norm {
    /// Before attention.
    In,
    /// Of each head of queries.
    Query,
    /// Of each head of keys.
    Key,
    /// Behind attention, before its result is added.
    Out,
    /// Before the feed-forward part.
    Mid,
    /// Behind the feed-forward part, before its result is added.
    Down,
}

/// The norms that the layers of a configuration have: name within the layer, width.
pub(crate) fn norms(config: &Config) -> Vec<(Norm, &'static str, usize)> {
    let (hidden, head) = (config.hidden_size, config.head_dim);
    let mut norms = vec![(Norm::In, "input_layernorm", hidden)];
    if config.branch_norms {
        norms.push((Norm::Out, "post_attention_layernorm", hidden));
        norms.push((Norm::Mid, "pre_feedforward_layernorm", hidden));
        norms.push((Norm::Down, "post_feedforward_layernorm", hidden));
    } else {
        norms.push((Norm::Mid, "post_attention_layernorm", hidden));
    }
    if config.head_norms {
        norms.push((Norm::Query, "self_attn.q_norm", head));
        norms.push((Norm::Key, "self_attn.k_norm", head));
    }
    norms
}

/// Inputs and outputs of the fused linears of a configuration, and the parts that they have in the files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    /// Residual stream.
    pub hidden: usize,
    /// All query heads.
    pub queries: usize,
    /// All key heads.
    pub keys: usize,
    /// Feed-forward.
    pub inner: usize,
    /// Whether query, key and value are one part, and gate and up too.
    whole: bool,
}

impl Widths {
    pub fn of(config: &Config) -> Self {
        let head = config.head_dim;
        let (queries, keys) = (config.num_attention_heads * head, config.num_key_value_heads * head);
        Self { hidden: config.hidden_size, queries, keys, inner: config.intermediate_size, whole: config.fused_linears }
    }

    /// The parts of a fused linear: name within the layer.
    pub fn parts(self, fused: Fused) -> &'static [&'static str] {
        match fused {
            Fused::Qkv if self.whole => &["self_attn.qkv_proj"],
            Fused::Qkv => &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            Fused::Out => &["self_attn.o_proj"],
            Fused::GateUp if self.whole => &["mlp.gate_up_proj"],
            Fused::GateUp => &["mlp.gate_proj", "mlp.up_proj"],
            Fused::Down => &["mlp.down_proj"],
        }
    }

    /// Outputs of each part, and how many of the three places are parts.
    pub fn outputs(self, fused: Fused) -> ([usize; 3], usize) {
        match fused {
            Fused::Qkv if self.whole => ([self.queries + 2 * self.keys, 0, 0], 1),
            Fused::Qkv => ([self.queries, self.keys, self.keys], 3),
            Fused::Out | Fused::Down => ([self.hidden, 0, 0], 1),
            Fused::GateUp if self.whole => ([2 * self.inner, 0, 0], 1),
            Fused::GateUp => ([self.inner, self.inner, 0], 2),
        }
    }

    /// Inputs.
    pub fn inputs(self, fused: Fused) -> usize {
        match fused {
            Fused::Qkv | Fused::GateUp => self.hidden,
            Fused::Out => self.queries,
            Fused::Down => self.inner,
        }
    }
}

/// A linear layer of a decoder, as its files name it: what an adapter changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Such as `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Rows of its weight.
    pub outputs: usize,
    /// Columns of its weight.
    pub inputs: usize,
}

/// All linear layers of the blocks of a configuration; neither embedding nor head.
#[must_use]
pub fn linears(config: &Config) -> Vec<Linear> {
    let widths = Widths::of(config);
    let of = |layer: usize, fused: Fused| {
        let parts = widths.parts(fused).iter().zip(widths.outputs(fused).0);
        parts.map(move |(part, outputs)| Linear { name: format!("model.layers.{layer}.{part}"), outputs, inputs: widths.inputs(fused) })
    };
    (0..config.num_hidden_layers).flat_map(|layer| FUSED.into_iter().flat_map(move |fused| of(layer, fused))).collect()
}

/// Whether a fused linear has a bias.
pub(crate) fn biased(config: &Config, fused: Fused) -> bool {
    match fused {
        Fused::Qkv => config.qkv_bias,
        Fused::Out => config.out_bias,
        Fused::GateUp | Fused::Down => false,
    }
}
