//! A model's tensors by name, from a folder or from bytes, and back to bytes.
//!
//! Knows safetensors and nothing of what the tensors mean. Weight files are mapped read only.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load, MmapedFile};
use candle_core::{DType, Device, Tensor};
use record::Fingerprint;
use safetensors::SafeTensors;

use crate::Error;
use crate::error::read;

/// The tensors of a model, by their Hugging Face names.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// Name to tensor, all on one device and of one type.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Reads `model.safetensors`, or the shards that `model.safetensors.index.json` lists, from a folder.
    /// Stored bf16, f16 and f32 become `dtype` on `device`.
    ///
    /// # Errors
    /// When there is no such file, or one is damaged.
    pub fn load(folder: &Path, dtype: DType, device: &Device) -> Result<Self, Error> {
        let mut weights = Self::default();
        for file in Self::files(folder)? {
            weights.tensors.append(&mut Self::load_file(&file, dtype, device)?.tensors);
        }
        Ok(weights)
    }

    /// The files that [`Weights::load`] reads.
    ///
    /// # Errors
    /// When there is none, or the list of several is damaged.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let single = folder.join(WHOLE);
        if single.exists() { Ok(vec![single]) } else { shards(folder) }
    }

    /// Whether a folder holds what [`Weights::load`] reads.
    #[must_use]
    pub fn lie_in(folder: &Path) -> bool {
        [WHOLE, INDEX].iter().any(|name| folder.join(name).exists())
    }

    /// Reads one safetensors file.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load_file(file: &Path, dtype: DType, device: &Device) -> Result<Self, Error> {
        let name = file.display().to_string();
        std::fs::File::open(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
        #[expect(unsafe_code, reason = "a memory map is sound while nobody truncates the file, and it lives only through this function")]
        let mapped = unsafe { MmapedFile::new(file) }.map_err(|cause| Error::malformed(&name, "safetensors file", cause))?;
        let views = mapped.deserialize().map_err(|cause| Error::malformed(&name, "safetensors file", cause))?;
        Self::from_views(&views, dtype, device)
    }

    /// Reads the bytes of one safetensors file, such as weights compiled into a program.
    ///
    /// # Errors
    /// When the bytes are no safetensors file.
    pub fn from_bytes(bytes: &[u8], dtype: DType, device: &Device) -> Result<Self, Error> {
        let views = SafeTensors::deserialize(bytes).map_err(|cause| Error::malformed("embedded weights", "safetensors file", cause))?;
        Self::from_views(&views, dtype, device)
    }

    fn from_views(views: &SafeTensors<'_>, dtype: DType, device: &Device) -> Result<Self, Error> {
        let tensors = views.iter().map(|(name, view)| Ok((name.to_owned(), view.load(device)?.to_dtype(dtype)?)));
        Ok(Self { tensors: tensors.collect::<Result<_, Error>>()? })
    }

    /// The tensor `name`, which must have `shape`.
    ///
    /// # Errors
    /// When it is missing or has another shape; the error names it.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<&Tensor, Error> {
        let tensor = self.tensors.get(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?;
        if tensor.dims() != shape {
            return Err(Error::Shape { name: name.to_owned(), expected: shape.to_vec(), found: tensor.dims().to_vec() });
        }
        Ok(tensor)
    }

    /// The same rounded to another type.
    ///
    /// # Errors
    /// When the device fails.
    pub fn cast(self, dtype: DType) -> Result<Self, Error> {
        let cast = self.tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?)));
        Ok(Self { tensors: cast.collect::<Result<_, Error>>()? })
    }

    /// The same tensors on another device; those that lie there already are shared.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub fn to_device(self, device: &Device) -> Result<Self, Error> {
        let tensors = self.tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(device)?)));
        Ok(Self { tensors: tensors.collect::<Result<_, Error>>()? })
    }

    /// Identity of the weights: a hash of names, shapes and values. The same model stored as f32, or as bf16 or f16
    /// that the f32 values came from, has the same one.
    ///
    /// # Errors
    /// When a tensor cannot be copied from its device.
    pub fn fingerprint(&self) -> Result<Fingerprint, Error> {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for (name, tensor) in &self.tensors {
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            hasher.update(&(tensor.dims().len() as u64).to_le_bytes());
            for dimension in tensor.dims() {
                hasher.update(&(*dimension as u64).to_le_bytes());
            }
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            for part in values.chunks(1 << 14) {
                bytes.clear();
                bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
                hasher.update(&bytes);
            }
        }
        Ok(Fingerprint(hasher.finalize().to_hex().to_string()))
    }

    /// Bytes of a `model.safetensors` with these tensors in their own type.
    ///
    /// # Errors
    /// When a tensor cannot be copied from its device.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, Error> {
        // transformers refuses a file that does not say for which framework it was written
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(&self.tensors, Some(metadata)).map_err(|cause| Error::malformed("weights", "safetensors file", cause))
    }
}

/// Weights in one file.
const WHOLE: &str = "model.safetensors";
/// The list of files of weights in several.
const INDEX: &str = "model.safetensors.index.json";

/// The distinct files of a sharded checkpoint, in order of name.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = folder.join(INDEX);
    if !path.exists() {
        let file = folder.display().to_string();
        return Err(Error::malformed(file, "model folder", "it holds neither `model.safetensors` nor `model.safetensors.index.json`"));
    }
    let index: Index =
        serde_json::from_slice(&read(&path)?).map_err(|cause| Error::malformed(path.display().to_string(), "weight index", cause))?;
    let names: BTreeSet<_> = index.weight_map.into_values().collect();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::Weights;
    use candle_core::{DType, Device, Tensor};

    fn two() -> Weights {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).expect("a small tensor");
        Weights { tensors: [("a".to_owned(), tensor(&[1.0, 2.5])), ("b".to_owned(), tensor(&[-3.0]))].into() }
    }

    #[test]
    fn bytes_read_back_and_the_fingerprint_follows_values_not_types() {
        let weights = two();
        let bytes = weights.to_safetensors().expect("plain tensors");
        let again = Weights::from_bytes(&bytes, DType::BF16, &Device::Cpu).expect("our own bytes");
        let print = |w: &Weights| w.fingerprint().expect("cpu tensors");
        assert_eq!(print(&weights), print(&again));
        let mut other = weights.clone();
        other.tensors.remove("b");
        assert_ne!(print(&weights), print(&other));
        assert!(String::from_utf8_lossy(&bytes[..80]).contains(r#""format":"pt""#));
    }

    #[test]
    fn missing_and_misshapen_tensors_are_named() {
        let weights = two();
        let text = |name, shape: &[usize]| weights.get(name, shape).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(text("c", &[1]), "the weights hold no tensor `c`");
        assert_eq!(text("a", &[3]), "tensor `a` has shape [2], the configuration asks for [3]");
        assert_eq!(text("a", &[2]), "");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a scratch folder of this test alone")]
    fn shards_are_gathered_from_the_index() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let whole = two();
        let mut map = serde_json::Map::new();
        for (i, (name, tensor)) in whole.tensors.iter().enumerate() {
            let part = Weights { tensors: [(name.clone(), tensor.clone())].into() };
            let file = format!("model-{i}.safetensors");
            std::fs::write(folder.path().join(&file), part.to_safetensors().expect("a small file")).expect("written");
            map.insert(name.clone(), file.into());
        }
        let index = serde_json::json!({"weight_map": map}).to_string();
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("written");
        let read = Weights::load(folder.path(), DType::F32, &Device::Cpu).expect("two shards");
        assert_eq!(read.fingerprint().expect("cpu"), whole.fingerprint().expect("cpu"));
    }
}
