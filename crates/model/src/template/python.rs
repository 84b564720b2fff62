//! What Jinja in Python does and minijinja does not: JSON as Python writes it, and a few spellings.
use serde_json::Value;

/// Source with the spellings rewritten that minijinja does not take.
pub(super) fn rewrite(source: &str) -> String {
    let source = source.replace("[::-1]", "|reverse");
    let mut text = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(length) = rest.find("{%").and_then(|start| Some(start + rest[start..].find("%}")? + 2)) {
        let (part, after) = rest.split_at(length);
        let (before, tag) = part.split_at(part.find("{%").expect("found above"));
        text.push_str(before);
        // markers of the answer for training masks: they print nothing, but trim blanks as any block does
        match tag[2..tag.len() - 2].trim_matches(['-', '+', ' ', '\n', '\t']) {
            "generation" => text.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => text.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => text.push_str(tag),
        }
        rest = after;
    }
    text + rest
}

/// JSON as `json.dumps(value, ensure_ascii=False, indent=indent)` writes it.
pub(super) fn json(value: &Value, indent: Option<usize>) -> String {
    let mut text = String::new();
    write(value, indent, 0, &mut text);
    text
}

fn write(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) {
    match value {
        Value::Array(items) => {
            block(items.iter(), indent, depth, ['[', ']'], text, |item, text| write(item, indent, depth + 1, text));
        }
        Value::Object(fields) => block(fields.iter(), indent, depth, ['{', '}'], text, |(key, item), text| {
            text.push_str(&string(key));
            text.push_str(": ");
            write(item, indent, depth + 1, text);
        }),
        Value::Number(number) if number.is_f64() => text.push_str(&float(number.as_f64().unwrap_or_default())),
        Value::String(s) => text.push_str(&string(s)),
        other => text.push_str(&other.to_string()),
    }
}

/// Items between brackets, one a line where an indent is asked for.
fn block<T>(
    items: impl ExactSizeIterator<Item = T>,
    indent: Option<usize>,
    depth: usize,
    [open, close]: [char; 2],
    text: &mut String,
    mut item: impl FnMut(T, &mut String),
) {
    text.push(open);
    let empty = items.len() == 0;
    let newline = |depth: usize, text: &mut String| {
        if let Some(width) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    for (i, entry) in items.enumerate() {
        if i > 0 {
            text.push_str(if indent.is_some() { "," } else { ", " });
        }
        newline(depth + 1, text);
        item(entry, text);
    }
    if !empty {
        newline(depth, text);
    }
    text.push(close);
}

/// Python escapes exactly what serde_json does, save DEL, which both leave alone.
fn string(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

/// The shortest digits that read back the same, in Python's choice of notation: exponents below 1e-4 and from 1e16.
pub(super) fn float(value: f64) -> String {
    let short = format!("{value:e}");
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        if plain.contains('.') { plain } else { format!("{plain}.0") }
    } else {
        format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::{float, json};
    use serde_json::json;

    #[test]
    fn json_is_spaced_and_indented_as_python_does() {
        let value = json!({"a": [1, 2.0, "é\"\n"], "b": {}, "c": [], "d": null});
        assert_eq!(json(&value, None), r#"{"a": [1, 2.0, "é\"\n"], "b": {}, "c": [], "d": null}"#);
        assert_eq!(json(&json!({"a": [1], "b": {}}), Some(2)), "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (value, text) in [(1e16, "1e+16"), (1e15, "1000000000000000.0"), (0.0001, "0.0001"), (0.00001, "1e-05"), (-1.5e-7, "-1.5e-07")]
        {
            assert_eq!(float(value), text);
        }
    }
}
