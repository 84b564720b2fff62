//! What can go wrong with a model's files and tensors. It knows no step and gives no advice on commands.
use std::path::PathBuf;

/// An error of this crate, with what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is there but is not what its name says.
    #[error("`{file}` is no usable {what}: {cause}")]
    Malformed {
        /// The file.
        file: String,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// A model family that this crate does not know.
    #[error(
        "`{found}` cannot be loaded or trained here: of the values of `model_type` only `llama`, `mistral`, `qwen2`, `qwen3`, \
         `smollm3`, `phi3`, `granite` and `gemma3_text` can; other models take another trainer, and an export of the examples for it"
    )]
    Architecture {
        /// The `model_type` of the configuration.
        found: String,
    },
    /// A variant within a known family that would be computed wrongly.
    #[error("`{key}` = `{found}` cannot be computed yet: {expected}")]
    Unsupported {
        /// Key of the configuration.
        key: &'static str,
        /// Its value.
        found: String,
        /// What can be computed.
        expected: &'static str,
    },
    /// A tensor that the configuration asks for is not among the weights.
    #[error("the weights hold no tensor `{name}`")]
    MissingTensor {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("tensor `{name}` has shape {found:?}, the configuration asks for {expected:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape of the tensor.
        found: Vec<usize>,
    },
    /// A device that does not exist or is not compiled in.
    #[error("device `{name}` cannot be used: {cause}")]
    Device {
        /// The device as asked for.
        name: String,
        /// Why not.
        cause: String,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// A request that begins otherwise than the prompts that the model was trained without the beginning of.
    #[error("the request does not begin with the constant prompt that the model was trained without")]
    Head,
    /// The chat template failed or is missing.
    #[error("the chat template failed: {0}")]
    Template(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// An [`Error::Malformed`] from any cause.
    pub(crate) fn malformed(file: impl Into<String>, what: &'static str, cause: impl std::fmt::Display) -> Self {
        Self::Malformed { file: file.into(), what, cause: cause.to_string() }
    }
}

/// Reads a whole file.
pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
