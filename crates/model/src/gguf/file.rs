//! A GGUF file that is read: its keys and tensors, by the names that are written in it. Knows no Hugging Face names.
//!
//! The format is read by candle (`ggml/docs/gguf.md`, versions 1 to 3).
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};

use super::names::Architecture;
use crate::Error;

/// An opened GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    content: Content,
}

impl Gguf {
    /// Reads the keys of a file and where its tensors lie.
    ///
    /// # Errors
    /// When it cannot be read, is no GGUF file, is cut off, or holds a tensor of a type that is not known.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let content = Content::read(&mut reader(path)?);
        let content = content.map_err(|cause| Error::malformed(path.display().to_string(), "GGUF file", bare(&cause)))?;
        Ok(Self { path: path.to_owned(), content })
    }

    /// Whether a path is called like a GGUF file.
    #[must_use]
    pub fn is_called_so(path: &Path) -> bool {
        path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its path, for errors.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The architecture of the model, or of the model that an adapter is for.
    pub(crate) fn architecture(&self) -> Result<&'static Architecture, Error> {
        let key = "general.architecture";
        Architecture::named(self.text(key).ok_or_else(|| self.lacks(key))?)
    }

    /// The error for a key or tensor that is not there.
    pub(crate) fn lacks(&self, name: &str) -> Error {
        Error::malformed(self.name(), "GGUF file", format!("it has no `{name}`"))
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.content.metadata.get(key)?.to_string().ok().map(String::as_str)
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        whole(self.content.metadata.get(key)?)
    }

    /// A constant; one of 32 bits becomes the decimal number it was written as.
    pub(crate) fn real(&self, key: &str) -> Option<f64> {
        match self.content.metadata.get(key)? {
            Value::F64(value) => Some(*value),
            Value::F32(value) => value.to_string().parse().ok(),
            other => whole(other).and_then(|value| u32::try_from(value).ok()).map(f64::from),
        }
    }

    /// Yes or no.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.content.metadata.get(key)?.to_bool().ok()
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Option<Vec<&str>> {
        let values = self.content.metadata.get(key)?.to_vec().ok()?;
        values.iter().map(|value| value.to_string().ok().map(String::as_str)).collect()
    }

    /// A list of whole numbers.
    pub(crate) fn numbers(&self, key: &str) -> Option<Vec<u64>> {
        self.content.metadata.get(key)?.to_vec().ok()?.iter().map(whole).collect()
    }

    /// A list of numbers of 32 bits.
    pub(crate) fn reals(&self, key: &str) -> Option<Vec<f32>> {
        self.content.metadata.get(key)?.to_vec().ok()?.iter().map(|value| value.to_f32().ok()).collect()
    }

    /// Names of the tensors, in order.
    pub(crate) fn tensors(&self) -> BTreeSet<&str> {
        self.content.tensor_infos.keys().map(String::as_str).collect()
    }

    /// Shape of a tensor, rows first; none if it is not there.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.content.tensor_infos.get(name).map(|info| info.shape.dims())
    }

    /// Numbers of a tensor of one dimension; none if it is not there.
    pub(crate) fn values(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        if self.shape(name).is_none() {
            return Ok(None);
        }
        Ok(Some(self.read([name])?.remove(0).flatten_all()?.to_vec1()?))
    }

    /// Tensors in f32 on the CPU, whatever they are kept in.
    ///
    /// # Errors
    /// When the file is cut off.
    pub(crate) fn read<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Tensor>, Error> {
        let mut reader = reader(&self.path)?;
        let tensors = names.into_iter().map(|name| {
            let tensor = self.content.tensor(&mut reader, name, &Device::Cpu).and_then(|tensor| tensor.dequantize(&Device::Cpu));
            tensor.map_err(|cause| Error::malformed(self.name(), "GGUF file", format!("tensor `{name}`: {}", bare(&cause))))
        });
        tensors.collect()
    }
}

fn reader(path: &Path) -> Result<BufReader<File>, Error> {
    let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(BufReader::new(file))
}

/// The first line of candle's error: a backtrace, which may follow, tells a user nothing.
fn bare(cause: &candle_core::Error) -> String {
    cause.to_string().lines().next().unwrap_or_default().to_owned()
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::I8(value) => u64::try_from(*value).ok(),
        Value::I16(value) => u64::try_from(*value).ok(),
        Value::I32(value) => u64::try_from(*value).ok(),
        Value::I64(value) => u64::try_from(*value).ok(),
        other => other.to_u64().ok(),
    }
}
