//! What the train split says about how a task's answers are to be compared.
use std::collections::{BTreeMap, BTreeSet};

use record::{Part, Task, TaskKind, Train};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metric::{Mode, Schema, pointer, standard};
use crate::{Evaluate, NoCallText};

/// Texts of more words than this on average are sentences, not identifiers.
const SENTENCE: f64 = 6.0;

/// How the answers of one task are compared. Fitted on the train split, so held-out answers never
/// shape the test they are judged by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Modes by place: a JSON pointer, for tool calls below the tool's name, array positions as `*`.
    pub modes: BTreeMap<String, Mode>,
    /// Mode of every other text.
    pub texts: Mode,
    /// Relative tolerance of numbers.
    pub tolerance: f64,
    /// Places whose logged texts are sentences: exact equality asks much of them. For review.
    pub sentences: Vec<String>,
    /// Labels seen, for a task of labels.
    pub labels: BTreeSet<String>,
    /// Whether the text of an answer without a tool call is left unread in a task of tool calls.
    pub ignore_text: bool,
}

impl Rules {
    /// The rules with one more mode.
    #[must_use]
    pub fn with(mut self, place: &str, mode: Mode) -> Self {
        self.modes.insert(place.to_owned(), mode);
        self
    }

    pub(crate) fn mode(&self, place: &str) -> &Mode {
        self.modes.get(place).unwrap_or(&self.texts)
    }
}

impl Evaluate {
    /// The rules of a task: configured modes first, then what the train split shows.
    #[must_use]
    pub fn rules(&self, task: &Task, train: &Part<Train>) -> Rules {
        let mut rules = Rules {
            modes: self.arguments.clone(),
            texts: self.texts.clone(),
            tolerance: self.number_tolerance,
            ignore_text: self.no_call_text == NoCallText::Ignore,
            ..Rules::default()
        };
        match task.kind {
            TaskKind::Label => rules.labels = train.iter().map(|call| standard(&call.response.text())).collect(),
            TaskKind::ToolCall | TaskKind::Json => {
                rules.sentences = sentences(train);
                for place in &rules.sentences {
                    rules.modes.entry(place.clone()).or_insert_with(|| self.sentences.clone());
                }
            }
            TaskKind::Text => {}
        }
        rules
    }
}

/// Places whose texts no schema bounds and that average over six words.
fn sentences(train: &Part<Train>) -> Vec<String> {
    let mut lengths: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for call in train.iter() {
        let calls = call.response.tool_calls();
        for made in &calls {
            let offered = call.request.tools().find(|tool| tool.name() == made.name);
            let schema = offered.map_or(&Value::Null, |tool| tool.parameters());
            measure(&made.arguments, Schema::of(schema), &pointer("", &made.name), &mut lengths);
        }
        if calls.is_empty()
            && let Ok(value) = serde_json::from_str::<Value>(&call.response.text())
        {
            measure(&value, Schema::of(call.request.schema().unwrap_or(&Value::Null)), "", &mut lengths);
        }
    }
    let long = |&(words, texts): &(usize, usize)| words as f64 > SENTENCE * texts as f64;
    lengths.into_iter().filter(|(_, length)| long(length)).map(|(place, _)| place).collect()
}

fn measure(value: &Value, schema: Schema<'_>, place: &str, lengths: &mut BTreeMap<String, (usize, usize)>) {
    match value {
        Value::String(text) if !schema.is_bounded() => {
            let (words, texts) = lengths.entry(place.to_owned()).or_default();
            *words += text.split_whitespace().count();
            *texts += 1;
        }
        Value::Array(items) => items.iter().for_each(|item| measure(item, schema.items(), &format!("{place}/*"), lengths)),
        Value::Object(members) => {
            members.iter().for_each(|(name, inner)| measure(inner, schema.property(name), &pointer(place, name), lengths));
        }
        _ => {}
    }
}
