//! Attributes as one tree: `llm.input_messages.0.message.role` is what other writers nest. Knows keys, no meaning of them.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A tree on its way: a value of its own and branches, of which an attribute may have both.
#[derive(Default)]
struct Node {
    value: Option<Value>,
    branches: BTreeMap<String, Node>,
}

/// Steps of a key that become branches; what is deeper stays one.
const DEEPEST: usize = 64;

/// Flat and nested attributes alike. Where a key has a value of its own and branches too, the branches win.
pub fn tree(attributes: &Map<String, Value>) -> Value {
    let mut root = Node::default();
    attributes.iter().for_each(|(key, value)| plant(&mut root, key, value));
    grown(root)
}

fn plant(node: &mut Node, key: &str, value: &Value) {
    let leaf = key.splitn(DEEPEST, '.').fold(node, |node, step| node.branches.entry(step.to_owned()).or_default());
    match value {
        Value::Object(fields) if !fields.is_empty() => fields.iter().for_each(|(key, value)| plant(leaf, key, value)),
        other => leaf.value = Some(other.clone()),
    }
}

/// Branches that are all numbers are a list, in the order of the numbers, whatever is missing between them.
fn grown(node: Node) -> Value {
    if node.branches.is_empty() {
        return node.value.unwrap_or_default();
    }
    let numbers: Option<Vec<u64>> = node.branches.keys().map(|key| key.parse().ok()).collect();
    match numbers {
        Some(numbers) => {
            let mut items: Vec<_> = numbers.into_iter().zip(node.branches.into_values()).collect();
            items.sort_by_key(|(number, _)| *number);
            items.into_iter().map(|(_, node)| grown(node)).collect()
        }
        None => Value::Object(node.branches.into_iter().map(|(key, node)| (key, grown(node))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::tree;
    use serde_json::json;

    #[test]
    fn flat_and_nested_attributes_are_the_same() {
        let flat = json!({"a.b.10.c": 1, "a.b.2.c": 2, "a.d": "x", "a.e.0": true, "n": {"m": {"0": 3}}});
        assert_eq!(
            tree(flat.as_object().expect("an object")),
            json!({"a": {"b": [{"c": 2}, {"c": 1}], "d": "x", "e": [true]}, "n": {"m": [3]}})
        );
        let both = json!({"gen_ai.prompt": "text", "gen_ai.prompt.0.role": "user", "empty": {}});
        assert_eq!(tree(both.as_object().expect("an object")), json!({"gen_ai": {"prompt": [{"role": "user"}]}, "empty": {}}));
    }
}
