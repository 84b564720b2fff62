//! The catalogue of small models: facts with their sources, and models that lie on disk.
//!
//! Unknown stays unknown: every figure that no source gave is absent, never zero and never guessed. Knows no task.
use serde::{Deserialize, Serialize};

use crate::Error;

/// A figure and where it was read (a key of [`Catalogue::sources`], or an address).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The figure.
    pub value: T,
    /// Where it was read.
    pub source: Option<String>,
}

/// Whether a licence allows a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allowed {
    /// Without conditions that matter here.
    Yes,
    /// Under conditions (size of the company, use policy, attribution) that a person must read.
    Conditional,
    /// Not at all.
    No,
    /// No source read.
    Unknown,
}

/// A model's licence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Licence {
    /// SPDX identifier, `LicenseRef-…` for a licence without one.
    pub spdx: Option<String>,
    /// Whether commercial use is allowed.
    pub commercial: Allowed,
    /// Where it was read.
    pub source: Option<String>,
}

/// Dimensions of a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Layers.
    pub layers: Option<u64>,
    /// Width of the residual stream.
    pub hidden: Option<u64>,
    /// Query heads.
    pub heads: Option<u64>,
    /// Key and value heads.
    pub kv_heads: Option<u64>,
    /// Width of a head.
    pub head_dim: Option<u64>,
    /// Width of the feed-forward layer.
    pub ffn: Option<u64>,
    /// Entries of the vocabulary.
    pub vocab: Option<u64>,
}

impl Shape {
    /// Bytes of a LoRA adapter of this rank on the seven linear layers of a gated decoder, in bfloat16: `2·r·Σ(in + out)`.
    #[must_use]
    pub fn adapter_bytes(&self, rank: u64) -> Option<u64> {
        let (hidden, ffn, head) = (self.hidden?, self.ffn?, self.head_dim?);
        let (query, key) = (self.heads? * head, self.kv_heads? * head);
        let attention = (hidden + query) + 2 * (hidden + key) + (query + hidden);
        Some(2 * rank * self.layers? * (attention + 3 * (hidden + ffn)))
    }
}

/// One row of a Berkeley function-calling board, in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bfcl {
    /// Version and date of the board.
    pub board: String,
    /// Name of the row there.
    pub row: String,
    /// Synthetic calls, by syntax tree.
    pub non_live_ast: f64,
    /// Calls written by users.
    pub live: Option<f64>,
    /// Prompts that no tool fits.
    pub irrelevance: Option<f64>,
}

impl Bfcl {
    /// Mean of the three columns, 0 to 1; none where one is missing or the row is a failure of the board's handler
    /// (nothing called ever, so that every irrelevant prompt counts as a success).
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        let (live, irrelevance) = (self.live?, self.irrelevance?);
        let failed = self.non_live_ast == 0.0 && irrelevance >= 100.0;
        (!failed).then_some((self.non_live_ast + live + irrelevance) / 300.0)
    }
}

/// A published figure of one benchmark, in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// `base` or `instruct`.
    pub variant: Option<String>,
    /// How it was measured.
    pub metric: Option<String>,
    /// Where it was read.
    pub source: Option<String>,
}

/// One small model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name in the catalogue.
    pub id: String,
    /// Repository on the Hugging Face hub, or a folder's name.
    pub repository: Option<String>,
    /// Models of one maker and generation.
    pub family: String,
    /// `instruct`, `base`, `research` (no public weights known) or `local`.
    pub kind: String,
    /// Parameters.
    pub parameters: Option<Sourced<u64>>,
    /// Tokens of context.
    pub context: Option<Sourced<u64>>,
    /// Licence.
    pub licence: Licence,
    /// Whether it was trained to call tools.
    pub tools: Option<Sourced<bool>>,
    /// Dimensions.
    pub shape: Option<Shape>,
    /// Where the dimensions were read.
    #[serde(default)]
    pub shape_source: Option<String>,
    /// Bytes of bfloat16 key-value cache per token.
    pub kv_bytes_per_token: Option<u64>,
    /// Rows of function-calling boards.
    pub bfcl: Vec<Bfcl>,
    /// Instruction following.
    pub ifeval: Vec<Figure>,
    /// Grade-school mathematics.
    pub gsm8k: Vec<Figure>,
    /// Local folder with the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// All models considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Version of this layout.
    pub schema_version: u32,
    /// Day the facts were gathered.
    pub date: String,
    /// Sources by key.
    pub sources: std::collections::BTreeMap<String, String>,
    /// The models.
    pub models: Vec<Model>,
}

impl Catalogue {
    /// The catalogue that comes with the program.
    #[must_use]
    pub fn built_in() -> Self {
        serde_json::from_str(include_str!("../catalogue.json")).expect("the file that comes along is well formed, which a test holds")
    }

    /// Reads a catalogue; `name` stands in errors.
    ///
    /// # Errors
    /// When the text is no catalogue.
    pub fn from_json(text: &str, name: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|cause| Error::Catalogue { name: name.to_owned(), cause })
    }

    /// Adds a model that lies on disk. Where its folder's name or its dimensions are those of one model of the
    /// catalogue, that model gets the path (and keeps its licence and scores); else it is a new one whose licence is for
    /// the user to know. Returns the name it goes by.
    pub fn add_local(&mut self, folder: &str, config: &model::Config) -> String {
        let name = folder.trim_end_matches('/').rsplit('/').next().unwrap_or(folder).to_owned();
        let local = Model::local(&name, folder, config);
        let named = |m: &Model| {
            let last = m.repository.as_deref().and_then(|repository| repository.rsplit('/').next());
            m.id.eq_ignore_ascii_case(&name) || last.is_some_and(|last| last.eq_ignore_ascii_case(&name))
        };
        let fits = |m: &Model| m.shape.is_none_or(|shape| Some(shape) == local.shape);
        if let Some(known) = self.models.iter_mut().find(|m| named(m) && fits(m)) {
            known.path = Some(folder.to_owned());
            return known.id.clone();
        }
        self.models.retain(|m| m.kind != "local" || m.id != local.id);
        let id = local.id.clone();
        self.models.push(local);
        id
    }
}

impl Model {
    fn local(name: &str, folder: &str, config: &model::Config) -> Self {
        let parameters = parameters(config);
        Self {
            id: name.to_owned(),
            repository: None,
            family: name.to_owned(),
            kind: "local".to_owned(),
            parameters: Some(Sourced { value: parameters, source: Some("config.json".to_owned()) }),
            context: Some(Sourced { value: config.max_position_embeddings as u64, source: Some("config.json".to_owned()) }),
            licence: Licence { spdx: None, commercial: Allowed::Unknown, source: None },
            tools: None,
            shape: Some(shape(config)),
            shape_source: Some("config.json".to_owned()),
            kv_bytes_per_token: Some(4 * (config.num_hidden_layers * config.num_key_value_heads * config.head_dim) as u64),
            bfcl: Vec::new(),
            ifeval: Vec::new(),
            gsm8k: Vec::new(),
            path: Some(folder.to_owned()),
        }
    }
}

const fn shape(config: &model::Config) -> Shape {
    Shape {
        layers: Some(config.num_hidden_layers as u64),
        hidden: Some(config.hidden_size as u64),
        heads: Some(config.num_attention_heads as u64),
        kv_heads: Some(config.num_key_value_heads as u64),
        head_dim: Some(config.head_dim as u64),
        ffn: Some(config.intermediate_size as u64),
        vocab: Some(config.vocab_size as u64),
    }
}

/// Parameters of a gated decoder with these dimensions; biases of projections are left out (below a thousandth).
fn parameters(config: &model::Config) -> u64 {
    let (hidden, head) = (config.hidden_size, config.head_dim);
    let attention = 2 * hidden * config.num_attention_heads * head + 2 * hidden * config.num_key_value_heads * head;
    let layer = attention + 3 * hidden * config.intermediate_size + 2 * hidden;
    let embeddings = config.vocab_size * hidden * if config.tie_word_embeddings { 1 } else { 2 };
    (config.num_hidden_layers * layer + embeddings + hidden) as u64
}

#[cfg(test)]
mod tests {
    use super::{Allowed, Catalogue};

    fn config(vocab: usize, context: usize) -> model::Config {
        let text = format!(
            r#"{{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": {vocab}, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": {context},
            "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "tie_word_embeddings": true, "hidden_act": "silu"}}"#
        );
        model::Config::from_json(text.as_bytes(), "config.json").expect("a Llama configuration")
    }

    #[test]
    fn the_built_in_catalogue_is_whole() {
        let catalogue = Catalogue::built_in();
        assert_eq!(catalogue.models.len(), 52);
        let smollm = catalogue.models.iter().find(|m| m.id == "smollm2-135m").expect("it is in there");
        assert_eq!(smollm.kv_bytes_per_token, Some(23_040));
        assert_eq!(smollm.licence.commercial, Allowed::Yes);
        let shape = smollm.shape.expect("its dimensions are known");
        // by hand: 30 layers × 2 bytes × 8 × ((576+576) + 2·(576+192) + (576+576) + 3·(576+1536))
        assert_eq!(shape.adapter_bytes(8), Some(30 * 2 * 8 * (1152 + 1536 + 1152 + 6336)));
        for model in &catalogue.models {
            let figures = model.ifeval.iter().chain(&model.gsm8k);
            assert!(figures.clone().all(|f| f.source.is_some() && f.value > 0.0), "{}", model.id);
            for row in &model.bfcl {
                assert!(catalogue.sources.contains_key(&format!("bfcl_{}", row.board)), "{}", row.board);
            }
        }
    }

    #[test]
    fn a_local_folder_is_recognised_by_its_name_and_dimensions() {
        let mut catalogue = Catalogue::built_in();
        assert_eq!(catalogue.add_local("models/SmolLM2-135M-Instruct", &config(49_152, 8192)), "smollm2-135m");
        assert_eq!(catalogue.models.len(), 52);
        assert_eq!(catalogue.add_local("models/nano", &config(1024, 2048)), "nano");
        let nano = catalogue.models.last().expect("it was added");
        assert_eq!((nano.licence.commercial, nano.kv_bytes_per_token), (Allowed::Unknown, Some(23_040)));
        // SmolLM2-135M has 134,515,008 parameters with 49,152 entries of 576
        assert_eq!(nano.parameters.as_ref().map(|p| p.value), Some(134_515_008 - (49_152 - 1024) * 576));
        // the right name on the wrong dimensions is another model
        assert_eq!(catalogue.add_local("models/smollm2-360m", &config(1024, 2048)), "smollm2-360m");
        assert!(catalogue.models.iter().any(|m| m.kind == "local" && m.id == "smollm2-360m"));
    }
}
