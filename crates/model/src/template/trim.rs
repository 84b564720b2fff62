//! A chat template that drops the constant head of a task's prompts itself, for servers that are told nothing else.
//!
//! The caller then sends whole requests, so that a server still knows the tools when it reads calls out of an answer. Written for
//! Jinja of Python, minijinja and llama.cpp alike: no loops, no namespaces, no filters but `length` and `tojson`, and `map` and
//! `join` for content that is a list of parts.
use std::fmt::Write as _;

use record::{Shared, Tool, tool_identity};
use serde_json::Value;

/// What [`super::python`] and others rewrite for engines without negative steps.
const REVERSED: &str = "[::-1]";

/// The template `source` behind a prelude. Without [`Shared::TASK`] the prelude drops whichever head a request begins with, and leaves any other
/// request as it is; with the name of a task it drops that task's head or refuses the request; with a name that is none of them, nothing.
/// A task without a name, for a template of one task, goes by any name but the empty one.
#[must_use]
pub fn trimming(source: &str, tasks: &[(Option<&str>, &Shared)]) -> String {
    let mut tasks: Vec<_> = tasks.iter().filter(|(_, shared)| !shared.is_empty()).collect();
    if tasks.is_empty() {
        return source.to_owned();
    }
    // where one head is the beginning of another, the longer one is meant
    tasks.sort_by_key(|(name, shared)| (std::cmp::Reverse((shared.system.len(), shared.tools.len())), *name));
    let mut text = format!("{{%- set drop_shared_of = {0} if {0} is defined else none %}}\n", Shared::TASK);
    let mut branch = "if";
    for (name, shared) in &tasks {
        let _ = writeln!(text, "{{%- {branch} (drop_shared_of is none or {}) and {} %}}", named(*name), begins(shared));
        if !shared.system.is_empty() {
            let _ = writeln!(text, "{{%- set messages = messages[{}:] %}}", shared.system.len());
        }
        if !shared.tools.is_empty() {
            text += "{%- set tools = none %}\n";
        }
        branch = "elif";
    }
    let names: Vec<_> = tasks.iter().map(|(name, _)| named(*name)).collect();
    let _ = writeln!(text, "{{%- elif drop_shared_of is not none and ({}) %}}", names.join(" or "));
    text += "{{- raise_exception('the request does not begin with the constant prompt that the model was trained without') }}\n";
    // a line of its own, so that blocks at the beginning of the source are trimmed as they always are
    text + "{%- endif %}\n" + source
}

fn named(name: Option<&str>) -> String {
    name.map_or_else(|| "drop_shared_of".to_owned(), |name| format!("drop_shared_of == {}", text(name)))
}

/// Whether `messages` and `tools` begin with the head, and a message is left.
fn begins(shared: &Shared) -> String {
    let mut all = vec![format!("messages | length > {}", shared.system.len())];
    for (i, expected) in shared.system.iter().enumerate() {
        let content = format!("(messages[{i}].content or '')");
        all.push(format!("messages[{i}].role in ['system', 'developer']"));
        all.push(format!("({content} if {content} is string else {content} | map(attribute='text') | join('\\n')) == {}", text(expected)));
    }
    if !shared.tools.is_empty() {
        all.push(format!("tools is defined and tools and tools | length == {}", shared.tools.len()));
    }
    for (i, tool) in shared.tools.iter().enumerate() {
        let (name, description, parameters) = tool_identity(Tool(tool));
        let function = format!("(tools[{i}].function or tools[{i}])");
        all.push(format!("{function}.name == {}", text(name)));
        all.push(format!("({function}.description or '') == {}", text(description)));
        let (given, expected) = (format!("({function}.parameters or none)"), literal(parameters));
        // llama.cpp does not find objects within objects equal; as text they are, if their keys are in the same order
        all.push(format!("({given} == {expected} or ({given} | tojson) == ({expected} | tojson))"));
    }
    all.join(" and ")
}

/// A text as a literal. llama.cpp takes no escape by number, so that all but these characters stand as they are.
fn text(text: &str) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '\\' | '"' => literal.extend(['\\', c]),
            '\n' => literal += "\\n",
            '\r' => literal += "\\r",
            '\t' => literal += "\\t",
            plain => literal.push(plain),
        }
    }
    literal.push('"');
    // readers of templates rewrite this spelling wherever it stands
    match literal.contains(REVERSED) {
        true => format!("({})", literal.replace(REVERSED, "[\" + \"::-1]")),
        false => literal,
    }
}

/// A JSON value as a literal.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(string) => text(string),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            format!("{{{}}}", fields.iter().map(|(key, value)| format!("{}: {}", text(key), literal(value))).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
