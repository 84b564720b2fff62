//! What a JSON schema says about one place of a value. Knows the few keywords that decide equality;
//! validation is `jsonschema`'s.
use serde_json::Value;

/// A place in a schema, references resolved.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'a> {
    root: &'a Value,
    node: &'a Value,
    default: Option<&'a Value>,
}

impl<'a> Schema<'a> {
    /// The whole schema; `Value::Null` where there is none.
    pub(crate) fn of(root: &'a Value) -> Self {
        Self::resolve(root, root)
    }

    fn resolve(root: &'a Value, mut node: &'a Value) -> Self {
        let mut default = None;
        // Eight hops are more than any sane schema has, and end a loop of references.
        for _ in 0..8 {
            default = default.or_else(|| node.get("default"));
            if let Some(target) = node.get("$ref").and_then(Value::as_str).and_then(|r| root.pointer(r.strip_prefix('#')?)) {
                node = target;
                continue;
            }
            let branches = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| node.get(*key)?.as_array());
            let mut real = branches.into_iter().flatten().filter(|b| b.get("type").and_then(Value::as_str) != Some("null"));
            match (real.next(), real.next()) {
                (Some(only), None) => node = only,
                _ => break,
            }
        }
        Self { root, node, default }
    }

    pub(crate) fn property(self, name: &str) -> Self {
        let found = self.node.get("properties").and_then(|p| p.get(name)).or_else(|| self.node.get("additionalProperties"));
        Self::resolve(self.root, found.unwrap_or(&Value::Null))
    }

    pub(crate) fn items(self) -> Self {
        Self::resolve(self.root, self.node.get("items").unwrap_or(&Value::Null))
    }

    pub(crate) fn requires(self, name: &str) -> bool {
        self.node.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|n| n == name))
    }

    /// The value that leaving the place out stands for; null counts as left out.
    pub(crate) fn default(self) -> &'a Value {
        self.default.unwrap_or(&Value::Null)
    }

    /// Whether the place takes whole numbers and no others.
    pub(crate) fn is_integer(self) -> bool {
        self.types(&|t| t == "integer") && !self.types(&|t| t == "number")
    }

    /// Whether the text there is a moment.
    pub(crate) fn is_moment(self) -> bool {
        self.node.get("format").and_then(Value::as_str) == Some("date-time")
    }

    /// Whether the schema names the values or their form, so that they are no free text.
    pub(crate) fn is_bounded(self) -> bool {
        ["enum", "const", "format", "pattern"].iter().any(|key| self.node.get(*key).is_some())
    }

    fn types(self, is: &dyn Fn(&str) -> bool) -> bool {
        match self.node.get("type") {
            Some(Value::String(name)) => is(name),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(is),
            _ => false,
        }
    }
}
