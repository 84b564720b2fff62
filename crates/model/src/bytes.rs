//! What each token of a vocabulary stands for in bytes, so that the tokens of two tokenizers can be laid side by side. Knows no text.
use std::collections::{BTreeMap, HashMap};

/// Bytes of tokens, and tokens by their bytes.
#[derive(Clone, Debug)]
pub struct TokenBytes {
    of: HashMap<u32, Vec<u8>>,
    tokens: HashMap<Vec<u8>, u32>,
}

impl TokenBytes {
    /// From the entries of a vocabulary and the added tokens, which are written as they are; other entries are written in the letters of
    /// byte-level BPE (Radford et al. 2019), or else as pieces of SentencePiece. An entry that is neither stands for nothing.
    pub(crate) fn new(vocabulary: &HashMap<String, u32>, added: &BTreeMap<u32, String>, byte_level: bool) -> Self {
        let letters = letters();
        let read = |entry: &str| if byte_level { entry.chars().map(|c| letters.get(&c).copied()).collect() } else { Some(piece(entry)) };
        let mut sorted: Vec<_> = vocabulary.iter().filter(|(_, id)| !added.contains_key(id)).collect();
        sorted.sort_unstable_by_key(|(_, id)| **id);
        let (mut of, mut tokens) = (HashMap::new(), HashMap::new());
        for (id, bytes) in sorted.into_iter().filter_map(|(entry, id)| Some((*id, read(entry)?))) {
            tokens.entry(bytes.clone()).or_insert(id);
            of.insert(id, bytes);
        }
        of.extend(added.iter().map(|(id, text)| (*id, text.as_bytes().to_vec())));
        Self { of, tokens }
    }

    /// Bytes of a token.
    #[must_use]
    pub fn of(&self, token: u32) -> Option<&[u8]> {
        self.of.get(&token).map(Vec::as_slice)
    }

    /// The token of these bytes, added tokens aside; where several have them, the first.
    #[must_use]
    pub fn token(&self, bytes: &[u8]) -> Option<u32> {
        self.tokens.get(bytes).copied()
    }
}

/// The byte that each letter of byte-level BPE stands for: printable ones for themselves, the others from U+0100 on in order.
fn letters() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=u8::MAX).filter(|byte| !printable(*byte));
    let others = others.zip('\u{100}'..).map(|(byte, letter)| (letter, byte));
    (0..=u8::MAX).filter(|byte| printable(*byte)).map(|byte| (char::from(byte), byte)).chain(others).collect()
}

/// A SentencePiece: `▁` is a blank, `<0x0A>` a byte.
fn piece(entry: &str) -> Vec<u8> {
    let byte = entry.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|hex| hex.len() == 2);
    match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => vec![byte],
        None => entry.replace('▁', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::TokenBytes;

    #[test]
    fn byte_level_letters_and_pieces_are_read() {
        let vocabulary = |entries: &[&str]| entries.iter().enumerate().map(|(id, entry)| ((*entry).to_owned(), id as u32)).collect();
        let added = [(3, "<|end|>".to_owned())].into();
        let bpe = TokenBytes::new(&vocabulary(&["Ġa", "Ċ", "Ã©", "<|end|>", "日"]), &added, true);
        let of = |id| bpe.of(id).map(<[u8]>::to_vec);
        assert_eq!([of(0), of(1), of(2)], [Some(b" a".to_vec()), Some(b"\n".to_vec()), Some("é".as_bytes().to_vec())]);
        assert_eq!((of(3), of(4)), (Some(b"<|end|>".to_vec()), None));
        assert_eq!((bpe.token(b" a"), bpe.token(b"<|end|>")), (Some(0), None));
        let spm = TokenBytes::new(&vocabulary(&["▁a", "<0x0A>", "日", "<|end|>"]), &added, false);
        assert_eq!((spm.of(0), spm.of(1), spm.of(2)), (Some(&b" a"[..]), Some(&b"\n"[..]), Some("日".as_bytes())));
        assert_eq!(spm.token("日".as_bytes()), Some(2));
    }
}
