//! From a prompt to the hashes of its runs of three words. Knows one prompt at a time.
use record::Prompt;
use serde_json::Value;

/// Words of a shingle. Collections of web pages are compared by five; what varies in a prompt is often below fifty words, and one
/// other word among them should not spoil a tenth of the shingles on either side.
const WORDS: usize = 3;

/// Keys whose values tell a copy from its original and say nothing.
const NAMES: [&str; 4] = ["id", "tool_call_id", "role", "type"];

/// Hashes of the shingles of a prompt (messages, tools, answer format), sorted, each once. A text of fewer words is one shingle.
pub(super) fn shingles(prompt: Prompt<'_>) -> Vec<u64> {
    let mut found = Vec::new();
    for key in ["messages", "tools", "response_format"] {
        prompt.request().0.get(key).into_iter().for_each(|value| walk(value, &mut found));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn walk(value: &Value, found: &mut Vec<u64>) {
    match value {
        Value::String(text) => cut(text, found),
        Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !NAMES.contains(&key.as_str())) {
                if !value.is_string() {
                    cut(key, found);
                }
                walk(value, found);
            }
        }
        Value::Number(number) => cut(&number.to_string(), found),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Adds the shingles of one text: whatever is neither letter nor digit parts words, case does not count.
fn cut(text: &str, found: &mut Vec<u64>) {
    let mut last = [0; WORDS];
    let mut count = 0;
    let mut word = 0;
    let mut end = |word: &mut u64, last: &mut [u64; WORDS]| {
        if *word != 0 {
            last.rotate_left(1);
            last[WORDS - 1] = std::mem::take(word);
            count += 1;
            if count >= WORDS {
                found.push(join(last));
            }
        }
    };
    for c in text.chars() {
        if !c.is_alphanumeric() {
            end(&mut word, &mut last);
        } else if is_word(c) {
            end(&mut word, &mut last);
            word = mix(u64::from(c));
            end(&mut word, &mut last);
        } else if c.is_ascii() {
            word = mix(word ^ u64::from(c.to_ascii_lowercase()));
        } else {
            c.to_lowercase().for_each(|c| word = mix(word ^ u64::from(c)));
        }
    }
    end(&mut word, &mut last);
    if (1..WORDS).contains(&count) {
        found.push(join(&last));
    }
}

fn join(words: &[u64; WORDS]) -> u64 {
    words.iter().fold(0, |hash, word| mix(hash ^ word))
}

/// Characters of scripts that put no blanks between words: each counts as one.
fn is_word(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..)
}

/// The finaliser of `SplitMix64` (Steele et al. 2014): every bit of the result depends on every bit given.
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::cut;

    fn of(text: &str) -> Vec<u64> {
        let mut found = Vec::new();
        cut(text, &mut found);
        found
    }

    #[test]
    fn words_are_what_counts() {
        assert_eq!(of("One two, THREE four!"), of("one  two three\nfour"));
        assert_eq!(of("one two three four").len(), 2);
        assert_eq!((of("yes").len(), of("").len(), of("?!").len()), (1, 0, 0));
        assert_ne!(of("yes"), of("no"));
        assert_ne!(of("a b c"), of("c b a"));
        assert_eq!(of("我想订票").len(), 2, "a script without blanks is cut into characters");
    }
}
