//! What a decoder expects after the last tokens of a sequence, without the logits of all others. Knows token ids, no text.
use crate::cache::{Cache, Path};
use crate::decoder::{Phase, Row, Scratch};
use crate::{Decoder, Error};

impl Decoder {
    /// Logits after each token from position `first` on: (tokens − `first`) × vocabulary.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn logits_from(&self, first: usize, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.check(tokens)?;
        let mut path = Path::default();
        path.push(0..tokens.len());
        let rows = tokens.iter().enumerate();
        let rows: Vec<_> = rows.map(|(position, &token)| Row { token, position, path: &path, wanted: position >= first }).collect();
        let turns = self.rotations(tokens.len(), tokens.len());
        let (mut cache, mut scratch, mut last) = (Cache::new(self.config(), tokens.len()), Scratch::default(), Vec::new());
        self.read(Phase::Prefill, &rows, &turns, &mut cache, &mut scratch, &mut last);
        Ok(self.head(&last))
    }
}
