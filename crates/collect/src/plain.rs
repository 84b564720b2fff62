//! Pairs without any body: `{prompt, completion}`, `{instruction, input?, output}` and the like, and rows of preferences, of which the
//! answer that was preferred is the one to learn from.
//!
//! Source: OpenAI `FineTunePreferenceRequestInput`; Together's and Bedrock's dataset pages.
use record::Call;
use serde_json::{Map, Value, json};

use crate::export::{Known, request};
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{is_nothing, kind};

pub struct Plain;

/// Fields that hold what was asked, and those that hold the answer to it.
const PAIRS: [(&str, &str); 8] = [
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "output"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("input", "preferred_output"),
    ("input", "preferred_completion"),
];

fn pair(row: &Map<String, Value>) -> Option<(&'static str, &'static str)> {
    PAIRS.into_iter().find(|(asked, answered)| row.contains_key(*asked) && row.contains_key(*answered))
}

impl Shape for Plain {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        pair(row).is_some()
    }

    fn read(&self, mut row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let Some((asked, answered)) = pair(&row) else {
            return Err(Fault::new("", "there is no pair of a prompt and its answer", "write rows `{\"prompt\": …, \"completion\": …}`"));
        };
        let mut take = |key: &str| row.shift_remove(key).unwrap_or_default();
        let (mut question, answer) = (take(asked), take(answered));
        for (field, value) in [(asked, &question), (answered, &answer)] {
            if is_nothing(value) {
                return Err(Fault::new(field, "it is empty", "drop rows without a prompt or an answer"));
            }
            if !value.is_string() && !value.is_array() && !value.is_object() {
                return Err(Fault::new(field, format!("it is {}, expected text", kind(value)), format!("write `{field}` as text")));
            }
        }
        let system = ["system", "system_prompt"].iter().map(|key| take(key)).find(Value::is_string);
        if asked == "instruction"
            && let (Some(task), Value::String(more)) = (question.as_str(), take("input"))
            && !more.is_empty()
        {
            question = format!("{task}\n\n{more}").into();
        }
        let question = match (question, system) {
            (Value::String(text), Some(system)) => json!([{"role": "system", "content": system}, {"role": "user", "content": text}]),
            (question, _) => question,
        };
        // what was not preferred is no answer to learn from, but worth keeping
        let others = ["non_preferred_output", "non_preferred_completion", "id", "category", "source"];
        Known::new(request(question, row.get("model"), None), answer)
            .with("timestamp", row.get("timestamp").cloned())
            .with("workload_id", ["task", "workload_id"].iter().find_map(|key| row.get(*key).cloned()))
            .tagged(&row, &others)
            .read()
    }
}
