//! The trained model as the files of a Hugging Face folder, weights in bf16.
use std::collections::HashMap;

use anyhow::Result;
use candle_core::DType;
use half::bf16;
use model::train::TrainModel;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::folder::Folder;
use super::{shape, tokenizer};

/// Writes all files of the model.
pub fn write(folder: &Folder, model: &TrainModel, words: &Tokenizer, config: &Value) -> Result<()> {
    folder.put("model.safetensors", &weights(model)?)?;
    folder.put("tokenizer.json", words.to_string(false).map_err(anyhow::Error::msg)?.as_bytes())?;
    for (name, value) in
        [("config.json", config), ("generation_config.json", &shape::generation()), ("tokenizer_config.json", &tokenizer::config())]
    {
        folder.put(name, format!("{value:#}\n").as_bytes())?;
    }
    Ok(())
}

/// The weights as safetensors; the tied output layer is left out.
fn weights(model: &TrainModel) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for (name, tensor) in model.merged()? {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
        tensors.push((name, tensor.dims().to_vec(), bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::BF16, shape.clone(), bytes)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize(views, Some(HashMap::from([("format".to_owned(), "pt".to_owned())])))?)
}
