//! Adapters as named bytes, in the layout that PEFT, vLLM and llama.cpp read.
//!
//! Touches no disk: the store writes what is returned here.
use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Tensor};
use model::train::{TrainModel, Trainable};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;

use crate::Error;
use crate::checkpoint::numbers;
use crate::optimizer::flat;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What PEFT's loaders look for.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Weights of an adapter.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the module names of the base model.
pub(crate) const PREFIX: &str = "base_model.model.";

/// A PEFT folder: uniform rank, no variants, so that every reader of the format takes it. `base` names the base model.
///
/// # Errors
/// When the model has no adapter, or a tensor operation fails.
pub fn adapter(model: &TrainModel, base: &str) -> Result<Files, Error> {
    let Trainable::Lora { rank, alpha } = model.trainable() else {
        return Err(Error::Adapter("a full fine-tune has none: export the merged weights".to_owned()));
    };
    let tensors = model.parameters().iter().map(|(name, var)| (format!("{PREFIX}{name}"), var.as_detached_tensor()));
    let modules = model.parameters().keys().filter_map(|name| name.strip_suffix(".lora_A.weight"));
    folder((rank, alpha), base, &targets(modules), &tensors.collect())
}

/// The PEFT folder of an adapter: rank and alpha, the base model's name, the last parts of the modules' names, the matrices by PEFT's
/// names.
pub(crate) fn folder(
    (rank, alpha): (usize, f64),
    base: &str,
    targets: &[&str],
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Files, Error> {
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "revision": null, "inference_mode": true,
        "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": false, "use_rslora": false,
        "use_dora": false, "init_lora_weights": true, "target_modules": targets, "modules_to_save": null,
        "rank_pattern": {}, "alpha_pattern": {}, "layers_to_transform": null, "layers_pattern": null, "auto_mapping": null,
    });
    let text = serde_json::to_string_pretty(&config).expect("plain data always serialises");
    Ok(Files::from([(ADAPTER_CONFIG.to_owned(), (text + "\n").into_bytes()), (ADAPTER_WEIGHTS.to_owned(), tensors_to_bytes(tensors)?)]))
}

/// Sets the adapter of `model` to what an `adapter_model.safetensors` holds (f32, f16 or bf16). The scale stays the model's.
///
/// # Errors
/// When a matrix is missing, misshapen or one too many.
pub fn load_adapter(model: &TrainModel, bytes: &[u8]) -> Result<(), Error> {
    let file = SafeTensors::deserialize(bytes)?;
    let unknown = |name: &&str| name.strip_prefix(PREFIX).is_none_or(|name| !model.parameters().contains_key(name));
    if let Some(name) = file.names().into_iter().find(unknown) {
        return Err(Error::Adapter(format!("the model has no place for its tensor `{name}`")));
    }
    for (name, var) in model.parameters() {
        let view = file.tensor(&format!("{PREFIX}{name}")).map_err(|_| Error::Adapter(format!("it has no tensor `{PREFIX}{name}`")))?;
        if view.shape() != var.dims() {
            return Err(Error::Adapter(format!("`{name}` has shape {:?}, the model expects {:?}", view.shape(), var.dims())));
        }
        let dtype = DType::try_from(view.dtype())?;
        let values = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), var.device())?;
        var.set(&values.to_dtype(var.dtype())?)?;
    }
    Ok(())
}

/// Last parts of the names of modules, each once and in order, as PEFT's `target_modules`.
pub(crate) fn targets<'a>(modules: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut targets: Vec<_> = modules.map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// A safetensors file in f32, with the metadata that transformers insists on.
fn tensors_to_bytes(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, Error> {
    let data = tensors.iter().map(|(name, tensor)| Ok((name.as_str(), tensor.dims().to_vec(), numbers(&flat(tensor)?))));
    let data: Vec<_> = data.collect::<Result<_, Error>>()?;
    let views = data.iter().map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let views: Vec<_> = views.collect::<Result<_, Error>>()?;
    Ok(safetensors::serialize(views, Some(HashMap::from([("format".to_owned(), "pt".to_owned())])))?)
}
