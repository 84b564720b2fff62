//! Text to token ids and back: a `tokenizer.json`. Knows no chat template and no model.
use std::collections::BTreeMap;
use std::path::Path;

use crate::error::read;
use crate::{Error, TokenBytes};

/// A Hugging Face tokenizer, without the truncation and padding that its file may ask for.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    specials: BTreeMap<u32, String>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocabulary", &self.vocabulary()).finish()
    }
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// When they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse(bytes, "tokenizer.json")
    }

    /// Reads `tokenizer.json` of a folder.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tokenizer.json");
        Self::parse(&read(&path)?, &path.display().to_string())
    }

    fn parse(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|cause| Error::malformed(file, "tokenizer", cause))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|cause| Error::malformed(file, "tokenizer", cause))?;
        let added = inner.get_added_tokens_decoder();
        let specials = added.into_iter().filter(|(_, token)| token.special).map(|(id, token)| (id, token.content)).collect();
        Ok(Self { inner, specials })
    }

    /// Text of a `tokenizer.json` that says the same.
    ///
    /// # Errors
    /// When a part of it cannot be written.
    pub fn to_json(&self) -> Result<String, Error> {
        self.inner.to_string(false).map_err(|cause| Error::Tokenizer(cause.to_string()))
    }

    /// Token ids of a text. With `specials` the file's post-processor adds its begin and end tokens; a rendered chat has them already.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode(&self, text: &str, specials: bool) -> Result<Vec<u32>, Error> {
        let encoding = self.inner.encode_fast(text, specials).map_err(|cause| Error::Tokenizer(cause.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of token ids, special tokens included.
    ///
    /// # Errors
    /// When the decoder of the file fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.inner.decode(ids, false).map_err(|cause| Error::Tokenizer(cause.to_string()))
    }

    /// Bytes of every token. Made anew each time, from the whole vocabulary.
    #[must_use]
    pub fn token_bytes(&self) -> TokenBytes {
        let added = self.inner.get_added_tokens_decoder().into_iter().map(|(id, token)| (id, token.content)).collect();
        let decoder = self.inner.get_decoder().and_then(|decoder| serde_json::to_string(decoder).ok());
        let byte_level = decoder.is_some_and(|decoder| decoder.contains("ByteLevel"));
        TokenBytes::new(&self.inner.get_vocab(true), &added, byte_level)
    }

    /// Id of a token by its exact text.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The special tokens by id.
    #[must_use]
    pub const fn specials(&self) -> &BTreeMap<u32, String> {
        &self.specials
    }

    /// Entries of the vocabulary, added tokens included.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}
