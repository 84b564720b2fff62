//! The small models at hand: the built-in nano model, local folders in Hugging Face layout, GGUF files.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::gguf::Gguf;
use model::{Chat, ChatFiles, Config, DType, Device, LocalModel, Settings, Weights};
use record::{Dropped, Shared};
use serde::Deserialize;

use crate::context::Context;
use crate::error::hinted;

/// Name of the built-in model.
pub const NANO: &str = "nano";

const CONFIG: &[u8] = include_bytes!("../fixtures/nano/config.json");
const WEIGHTS: &[u8] = include_bytes!("../fixtures/nano/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../fixtures/nano/tokenizer.json");
const TOKENIZER_CONFIG: &[u8] = include_bytes!("../fixtures/nano/tokenizer_config.json");
const GENERATION_CONFIG: &[u8] = include_bytes!("../fixtures/nano/generation_config.json");

/// What an adapter's folder says of it (`record::Adapter`).
pub const MANIFEST: &str = "manifest.json";

/// Where a folder keeps its template, if not in the tokenizer's configuration.
pub const TEMPLATE: &str = "chat_template.jinja";

/// Files of a model folder besides the weights and the configuration.
const BESIDE: [&str; 5] = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", TEMPLATE, "special_tokens_map.json"];

/// A base model.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its name in tables and manifests.
    pub name: String,
    /// Where it lies, a folder or a GGUF file; none for the built-in one.
    pub place: Option<PathBuf>,
    /// Where it is trained. It answers on the CPU.
    pub device: Device,
}

impl Base {
    /// All models that may be tuned: those configured, else the built-in one.
    ///
    /// # Errors
    /// When a folder does not exist or the device is unknown.
    pub fn all(context: &Context) -> anyhow::Result<Vec<Self>> {
        let models = &context.config.models;
        if models.is_empty() {
            return Ok(vec![Self::at(context, NANO)?]);
        }
        models.iter().map(|model| Self::at(context, model)).collect()
    }

    /// The model of that name (or folder).
    ///
    /// # Errors
    /// When it is not among the configured ones.
    pub fn named(context: &Context, name: &str) -> anyhow::Result<Self> {
        let found = Self::all(context)?.into_iter().find(|base| base.name == name);
        if found.is_some() || name == NANO {
            return found.map_or_else(|| Self::at(context, NANO), Ok);
        }
        Err(hinted(format!("no folder is known for the model `{name}`"), "`--model DIR` names it"))
    }

    /// A model by its folder, or the built-in one.
    ///
    /// # Errors
    /// When the folder holds no model, or the device is unknown.
    pub fn at(context: &Context, place: &str) -> anyhow::Result<Self> {
        let device = model::device(&context.config.device.0)?;
        if place == NANO {
            return Ok(Self { name: NANO.into(), place: None, device });
        }
        let path = PathBuf::from(place);
        if Gguf::is_called_so(&path) {
            std::fs::metadata(&path).with_context(|| format!("cannot read the model `{place}`"))?;
        } else if !path.join("config.json").exists() {
            let problem = format!("`{place}` is no model folder: it has no `config.json`");
            return Err(hinted(problem, "name a folder in Hugging Face layout, a GGUF file, or `nano` for the built-in model"));
        }
        let name = path.file_name().map_or_else(|| place.to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, place: Some(path), device })
    }

    /// Whether its folder holds weights; what is only measured does without.
    pub fn has_weights(&self) -> bool {
        self.place.as_ref().is_none_or(|place| Gguf::is_called_so(place) || Weights::lie_in(place))
    }

    /// Its file, where it is one.
    ///
    /// # Errors
    /// When the file is damaged; the hint says what may cure it.
    fn gguf(&self) -> anyhow::Result<Option<Gguf>> {
        let Some(place) = self.place.as_ref().filter(|place| Gguf::is_called_so(place)) else { return Ok(None) };
        Gguf::open(place).map(Some).map_err(|error| damaged(&error))
    }

    /// Dimensions.
    ///
    /// # Errors
    /// When the file is missing or of an architecture that cannot be loaded.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(match (self.gguf()?, &self.place) {
            (Some(file), _) => file.config().map_err(|error| damaged(&error))?,
            (None, Some(folder)) => Config::load(folder)?,
            (None, None) => Config::from_json(CONFIG, "nano/config.json")?,
        })
    }

    /// Tokenizer and chat template.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn chat(&self) -> anyhow::Result<Chat> {
        Ok(match (self.gguf()?, &self.place) {
            (Some(file), _) => file.chat().map_err(|error| {
                hinted(error.to_string(), "put the `tokenizer.json` and `tokenizer_config.json` of the model it was made from beside it")
            })?,
            (None, Some(folder)) => Chat::load(folder)?,
            (None, None) => Chat::from_bytes(&nano_chat(), &self.config()?)?,
        })
    }

    /// Weights in f32, on the CPU.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn weights(&self) -> anyhow::Result<Weights> {
        let loaded = match (self.gguf()?, &self.place) {
            (Some(file), _) => return file.weights().map_err(|error| damaged(&error)),
            (None, Some(folder)) => Weights::load(folder, DType::F32, &Device::Cpu),
            (None, None) => Weights::from_bytes(WEIGHTS, DType::F32, &Device::Cpu),
        };
        loaded.with_context(|| format!("cannot load the model `{}`", self.name))
    }

    /// Names of the files of its weights, in its folder.
    ///
    /// # Errors
    /// When the list of them is missing or damaged.
    pub fn weight_files(&self) -> anyhow::Result<Vec<String>> {
        let Some(folder) = &self.place else { return Ok(vec!["model.safetensors".to_owned()]) };
        let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Weights::files(folder)?.iter().filter_map(name).collect())
    }

    /// The model as a predictor on the CPU, with the adapter or whole weights of a folder if one is given. Prompts are shown to it as
    /// the manifest of that folder says.
    ///
    /// # Errors
    /// When a file is missing, damaged, or the adapter is of another model.
    pub fn predictor(&self, adapter: Option<&Path>, settings: Settings) -> anyhow::Result<LocalModel> {
        let name = if adapter.is_some() { format!("{} tuned", self.name) } else { self.name.clone() };
        let chat = self.chat()?.without(adapter.map(shared).transpose()?.flatten());
        Ok(LocalModel::new(&name, &self.config()?, self.weights()?, chat, adapter, &Device::Cpu, settings)?)
    }

    /// The weights with an adapter folder merged into them, or replaced by those of a full fine-tune.
    ///
    /// # Errors
    /// When the adapter cannot be read or is of another model.
    pub fn merged(&self, adapter: &Path) -> anyhow::Result<Weights> {
        let mut weights = self.weights()?;
        weights.tune(adapter, &self.config()?)?;
        Ok(weights)
    }

    /// The files of a model folder with other weights, ready to be written, and with a template that drops `shared`, if it is given.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn tuned_files(&self, weights: &Weights, shared: Option<&Shared>) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let mut files = self.files(weights)?;
        if let Some(shared) = shared {
            let chat = self.chat()?.without(Some(shared.clone())).exported()?;
            // one template, so that no reader takes another
            if let Some(bytes) = files.get_mut("tokenizer_config.json") {
                let mut settings: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)?;
                settings.shift_remove("chat_template");
                *bytes = serde_json::to_vec_pretty(&settings)?;
            }
            files.insert(TEMPLATE.into(), chat.template().source().as_bytes().to_vec());
        }
        Ok(files)
    }

    /// The files of a model folder with other weights.
    fn files(&self, weights: &Weights) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::from([("model.safetensors".to_owned(), weights.to_safetensors()?)]);
        match &self.place {
            Some(place) if Gguf::is_called_so(place) => {
                let chat = self.chat()?;
                let mut settings = chat.template().specials().clone();
                settings.insert("chat_template".into(), chat.template().source().into());
                files.insert("config.json".into(), self.config()?.to_json().into_bytes());
                files.insert("tokenizer.json".into(), chat.tokenizer().to_json()?.into_bytes());
                files.insert("tokenizer_config.json".into(), serde_json::to_vec_pretty(&settings)?);
            }
            None => {
                files.insert("config.json".into(), CONFIG.to_vec());
                files.insert("tokenizer.json".into(), TOKENIZER.to_vec());
                files.insert("tokenizer_config.json".into(), TOKENIZER_CONFIG.to_vec());
                files.insert("generation_config.json".into(), GENERATION_CONFIG.to_vec());
            }
            Some(folder) => {
                for name in BESIDE.into_iter().chain(["config.json"]).filter(|name| folder.join(name).exists()) {
                    files.insert(name.into(), std::fs::read(folder.join(name))?);
                }
            }
        }
        Ok(files)
    }

    /// The built-in model's files as they are compiled in; none for one that lies on disk already.
    pub fn built_in(&self) -> Option<BTreeMap<String, Vec<u8>>> {
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        self.place.is_none().then(|| {
            BTreeMap::from([
                file("config.json", CONFIG),
                file("model.safetensors", WEIGHTS),
                file("tokenizer.json", TOKENIZER),
                file("tokenizer_config.json", TOKENIZER_CONFIG),
                file("generation_config.json", GENERATION_CONFIG),
            ])
        })
    }
}

/// What the fine-tune of a folder (or of a file in it) was trained without, if our manifest lies there and says so.
fn shared(place: &Path) -> anyhow::Result<Option<Shared>> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        dropped: Option<Dropped>,
    }
    let folder = if place.is_file() { place.parent().unwrap_or(place) } else { place };
    let path = folder.join(MANIFEST);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).with_context(|| format!("`{}` is no manifest of an adapter", path.display()))?;
    Ok(manifest.dropped.map(|dropped| dropped.shared))
}

/// What is wrong with a GGUF file, and what may cure it.
fn damaged(error: &model::Error) -> anyhow::Error {
    let hint =
        "copy or convert the file again; models of the Llama family in F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K and their kin can be read";
    hinted(error.to_string(), hint)
}

fn nano_chat() -> ChatFiles<'static> {
    ChatFiles { tokenizer: TOKENIZER, tokenizer_config: TOKENIZER_CONFIG, template: None, generation_config: Some(GENERATION_CONFIG) }
}
