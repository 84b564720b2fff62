//! JSON as text: where its strings and numbers stand, under which keys. Knows no personal data.
//!
//! Values are replaced inside the text, so that what is not replaced keeps its bytes: white space, escapes,
//! the writing of numbers.
use std::borrow::Cow;
use std::ops::Range;

/// A string or number in a document.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its bytes, without quotes.
    pub range: Range<usize>,
    /// Whether it is a string.
    pub string: bool,
    /// Index of the object it belongs to, through any arrays.
    pub object: usize,
    /// Index in the object's `keys`; none for a document that is only an array.
    pub key: Option<usize>,
}

/// An object of a document.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// The object around it and the key it stands under there.
    pub parent: Option<(usize, Option<usize>)>,
    /// Its keys as written, without quotes.
    pub keys: Vec<Range<usize>>,
}

/// A scanned document.
#[derive(Debug)]
pub struct Document<'t> {
    text: &'t str,
    /// Strings and numbers in order.
    pub leaves: Vec<Leaf>,
    /// Objects in order of their opening; the first is a frame round the whole document.
    pub objects: Vec<Object>,
}

impl<'t> Document<'t> {
    /// Scans a JSON object or array; none where the text is no JSON.
    pub fn scan(text: &'t str) -> Option<Self> {
        let start = text.trim_start();
        if !(start.starts_with('{') || start.starts_with('[')) || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
            return None;
        }
        Some(Self::scan_valid(text))
    }

    /// Scans text that is known to be JSON.
    pub fn scan_valid(text: &'t str) -> Self {
        let mut document = Self { text, leaves: Vec::new(), objects: vec![Object::default()] };
        let (bytes, mut at) = (text.as_bytes(), 0);
        // Open containers: object index, key waiting for its value, and whether it is an object.
        let mut open: Vec<(usize, Option<usize>, bool)> = vec![(0, None, false)];
        while at < bytes.len() {
            let (object, key, in_object) = *open.last().expect("the frame is never closed: the text is valid JSON");
            match bytes[at] {
                b'{' => {
                    document.objects.push(Object { parent: Some((object, key)), keys: Vec::new() });
                    open.push((document.objects.len() - 1, None, true));
                }
                b'[' => open.push((object, key, false)),
                b'}' | b']' => {
                    open.pop();
                }
                b',' if in_object => open.last_mut().expect("as above").1 = None,
                b'"' => {
                    let end = string_end(bytes, at + 1);
                    if in_object && key.is_none() {
                        document.objects[object].keys.push(at + 1..end);
                        open.last_mut().expect("as above").1 = Some(document.objects[object].keys.len() - 1);
                    } else {
                        document.leaves.push(Leaf { range: at + 1..end, string: true, object, key });
                    }
                    at = end;
                }
                b'-' | b'0'..=b'9' => {
                    let end = bytes[at..].iter().position(|b| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace());
                    let end = end.map_or(bytes.len(), |length| at + length);
                    document.leaves.push(Leaf { range: at..end, string: false, object, key });
                    at = end - 1;
                }
                _ => {}
            }
            at += 1;
        }
        document
    }

    /// A key as written, or an empty string.
    pub fn key(&self, object: usize, key: Option<usize>) -> &'t str {
        key.map_or("", |key| &self.text[self.objects[object].keys[key].clone()])
    }

    /// A leaf as written, without quotes.
    pub fn raw(&self, leaf: &Leaf) -> &'t str {
        &self.text[leaf.range.clone()]
    }

    /// The text with some leaves replaced (in order; for strings, decoded).
    pub fn splice(&self, changes: &[(usize, String)]) -> String {
        let mut text = String::with_capacity(self.text.len() + 64);
        let mut last = 0;
        for (index, new) in changes {
            let leaf = &self.leaves[*index];
            text.push_str(&self.text[last..leaf.range.start]);
            if leaf.string {
                text.push_str(&encode(new, self.text[leaf.range.clone()].contains("\\u")));
            } else {
                text.push_str(new);
            }
            last = leaf.range.end;
        }
        text.push_str(&self.text[last..]);
        text
    }
}

/// Where a string ends whose first byte is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

/// What a JSON string literal (without quotes) says.
pub fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    // A lone surrogate is valid JSON to a lenient writer and no text: such a string stays as it is written.
    serde_json::from_str::<String>(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// Text as a JSON string literal without quotes; `ascii` writes everything else as `\u`.
pub fn encode(text: &str, ascii: bool) -> String {
    let quoted = serde_json::to_string(text).expect("a string always serialises");
    let inner = &quoted[1..quoted.len() - 1];
    if !ascii || inner.is_ascii() {
        return inner.to_owned();
    }
    let mut units = [0; 2];
    inner.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii() {
            out.push(c);
        } else {
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
        out
    })
}

/// For each byte of the decoded literal the byte of `raw` it comes from, and the end.
pub fn origins(raw: &str) -> Vec<usize> {
    let (mut map, mut at, bytes) = (Vec::with_capacity(raw.len() + 1), 0, raw.as_bytes());
    while at < bytes.len() {
        let length = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => {
                let high = raw.get(at + 2..at + 6).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or_default();
                if (0xd800..0xdc00).contains(&high) { 12 } else { 6 }
            }
            (b'\\', _) => 2,
            _ => raw[at..].chars().next().map_or(1, char::len_utf8),
        };
        let piece = raw.get(at..at + length).unwrap_or_default();
        let spread = if piece.starts_with('\\') { decode(piece).len() } else { length };
        map.extend((0..spread).map(|i| if spread == length { at + i } else { at }));
        at += length;
    }
    map.push(raw.len());
    map
}
