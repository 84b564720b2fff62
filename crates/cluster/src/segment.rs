//! Cuts a prompt into segments and masks what varies, so that a template shows as repeated segments.
//!
//! A template is mined by lines and sentences and not by whole messages: a slot of any length then spoils one
//! segment and not the prompt. Knows one text at a time; what repeats is for [`crate::fit`] to find.
use serde_json::Value;

/// Shorter segments say too little, unless they are a heading or a tag.
const SHORTEST: usize = 12;
/// Segments kept of one text; the rest of a pasted document adds nothing about the task.
const MOST: usize = 256;
/// A quotation of up to this many characters is taken for a slot.
const QUOTATION: usize = 80;
/// Depth to which the keys of a JSON text are segments.
const DEPTH: usize = 3;

/// One masked line, sentence or JSON key path.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Stable 64-bit hash of the masked text.
    pub hash: u64,
    /// The masked text, lower case.
    pub text: String,
}

impl Segment {
    fn new(text: String) -> Self {
        Self { hash: hash(text.as_bytes()), text }
    }

    /// Square root of the length: long sentences say more, though not in proportion.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a segment is a few thousand characters at most")]
    pub fn weight(text: &str) -> f32 {
        (text.chars().count() as f32).sqrt()
    }
}

/// A 64-bit hash that is the same on every machine and in every version.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(eight)
}

/// The distinct segments of a text in order.
#[must_use]
pub fn segments(text: &str) -> Vec<Segment> {
    let mut found = Vec::new();
    if !json(text, &mut found) {
        for line in text.lines() {
            if !json(line, &mut found) {
                sentences(line.trim(), &mut found);
            }
            if found.len() >= MOST {
                break;
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|segment| seen.insert(segment.hash));
    found.truncate(MOST);
    found
}

/// Takes a text that is a JSON object or list as its key paths: the keys are template, the values slots.
fn json(text: &str, found: &mut Vec<Segment>) -> bool {
    let text = text.trim();
    if !(text.starts_with('{') || text.starts_with('[')) {
        return false;
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    paths(&value, "json", DEPTH, found);
    true
}

fn paths(value: &Value, path: &str, depth: usize, found: &mut Vec<Segment>) {
    match value {
        Value::Object(map) if depth > 0 => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                found.push(Segment::new(path.clone()));
                paths(value, &path, depth - 1, found);
            }
        }
        Value::Array(list) => list.iter().take(1).for_each(|value| paths(value, path, depth, found)),
        _ => {}
    }
}

/// Cuts a line behind sentence ends and colons that a blank follows.
fn sentences(line: &str, found: &mut Vec<Segment>) {
    let mut start = 0;
    for (at, mark) in line.match_indices(['.', '!', '?', ':', ';']) {
        let end = at + mark.len();
        if end - start >= SHORTEST && line[end..].starts_with(' ') {
            push(&line[start..end], found);
            start = end;
        }
    }
    push(&line[start..], found);
}

fn push(piece: &str, found: &mut Vec<Segment>) {
    let masked = mask(piece);
    if masked.len() >= SHORTEST || masked.starts_with('<') || masked.starts_with('#') {
        found.push(Segment::new(masked));
    }
}

/// Replaces numbers, codes, addresses and short quotations, joins words by one blank, in lower case.
fn mask(piece: &str) -> String {
    let piece = quotations(piece);
    let mut out = String::with_capacity(piece.len());
    for word in piece.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        if word.contains("://") || word.contains('@') {
            out.push('@');
        } else if word.chars().any(|c| c.is_ascii_digit()) {
            out.push('0');
        } else {
            out.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    out
}

/// Empties short quotations, except JSON keys, which a colon follows.
fn quotations(piece: &str) -> String {
    let mut out = String::with_capacity(piece.len());
    let mut rest = piece;
    while let Some(open) = rest.find('"') {
        let inside = &rest[open + 1..];
        let Some(close) = inside.find('"') else { break };
        let after = &inside[close + 1..];
        let slot = close <= QUOTATION && !after.trim_start().starts_with(':');
        out.push_str(&rest[..=open]);
        out.push_str(if slot { "" } else { &inside[..close] });
        out.push('"');
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::segments;

    fn texts(text: &str) -> Vec<String> {
        segments(text).into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn slots_do_not_change_the_segments_around_them() {
        let one = texts("You answer tickets. The customer is \"Ann Lee\".\nReply by 2024-03-01 to a@b.org please.");
        let two = texts("You answer tickets. The customer is \"Bo\".\nReply by 2025-11-30 to long.name@example.com please.");
        assert_eq!(one, two);
        assert_eq!(one.len(), 3);
    }

    #[test]
    fn a_json_text_is_its_keys() {
        assert_eq!(texts("<data>\n{\"a\": {\"b\": \"x\"}, \"c\": [1]}"), ["<data>", "json.a", "json.a.b", "json.c"]);
        assert_eq!(texts("    \"person\": [\"x\", \"y\"],"), ["\"person\": [\"\", \"\"],"]);
    }

    #[test]
    fn a_label_before_a_slot_stands_alone() {
        let one = texts("Classify the mood of this review: it was lovely and warm");
        assert_eq!(one[0], "classify the mood of this review:");
    }

    #[test]
    fn short_and_repeated_pieces_are_left_out() {
        assert_eq!(texts("yes\n# Input\nthis is a longer line\nthis is a longer line"), ["# input", "this is a longer line"]);
    }
}
