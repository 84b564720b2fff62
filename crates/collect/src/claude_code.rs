//! Session files of Claude Code: a tree of lines, of which each answer's blocks stand on lines of their own.
//!
//! Source: descriptions by community tools; the vendor calls the form internal. No system prompt and no tool schemas are on disk.
use std::collections::HashMap;

use record::Call;
use serde_json::{Map, Value, json};

use crate::export::Known;
use crate::fault::Fault;
use crate::format::{Part, Shape};

pub struct ClaudeCode;

impl Shape for ClaudeCode {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let has = |key: &str| row.contains_key(key);
        has("sessionId") && ((has("uuid") && has("parentUuid")) || has("leafUuid"))
    }

    /// A line alone is no call: its file tells what came before it.
    fn part(&self, row: &Map<String, Value>) -> Option<Part> {
        Some(Part { key: row.get("sessionId")?.as_str()?.to_owned(), file_alone: true })
    }

    fn is_whole(&self, _: &mut dyn Iterator<Item = &Map<String, Value>>) -> bool {
        false
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        self.join(vec![row])
    }

    fn join(&self, lines: Vec<Map<String, Value>>) -> Result<Vec<Call>, Fault> {
        let by_uuid: HashMap<&str, &Map<String, Value>> =
            lines.iter().filter_map(|line| Some((line.get("uuid")?.as_str()?, line))).collect();
        let mut answers: Vec<(&str, Vec<&Map<String, Value>>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for line in lines.iter().filter(|line| is_answer(line)) {
            let id = line["message"]["id"].as_str().or_else(|| line.get("requestId")?.as_str());
            let id = id.or_else(|| line.get("uuid")?.as_str()).unwrap_or_default();
            let place = *places.entry(id).or_insert(answers.len());
            if place == answers.len() {
                answers.push((id, Vec::new()));
            }
            answers[place].1.push(line);
        }
        let mut calls = Vec::new();
        for (id, lines) in answers {
            let before = history(lines[0], &by_uuid);
            if before.is_empty() {
                continue;
            }
            calls.extend(call(id, &lines, &before)?);
        }
        Ok(calls)
    }
}

/// Whether a line is from the model; errors that the program writes in its place are not.
fn is_answer(line: &Map<String, Value>) -> bool {
    let kind = line.get("type").and_then(Value::as_str);
    let message = line.get("message").unwrap_or(&Value::Null);
    kind == Some("assistant")
        && message.is_object()
        && message["model"] != "<synthetic>"
        && line.get("isApiErrorMessage") != Some(&Value::Bool(true))
}

/// The messages before a line, oldest first; lines of one answer are one message.
fn history(line: &Map<String, Value>, by_uuid: &HashMap<&str, &Map<String, Value>>) -> Vec<Value> {
    let mut path: Vec<&Map<String, Value>> = Vec::new();
    let parent = |line: &Map<String, Value>| {
        let id = ["parentUuid", "logicalParentUuid"].iter().find_map(|key| line.get(*key)?.as_str());
        id.and_then(|id| by_uuid.get(id).copied())
    };
    let mut at = parent(line);
    while let Some(line) = at.filter(|_| path.len() < by_uuid.len()) {
        path.push(line);
        at = parent(line);
    }
    let mut messages: Vec<Value> = Vec::new();
    let mut last = None;
    for line in path.into_iter().rev() {
        let Some(message) = line.get("message").filter(|message| message["role"].is_string() && !message["content"].is_null()) else {
            continue;
        };
        let id = message["id"].as_str();
        if let (Some(Value::Array(known)), Value::Array(more)) = (messages.last_mut().map(|last| &mut last["content"]), &message["content"])
            && id.is_some()
            && id == last
        {
            known.extend(more.iter().cloned());
        } else {
            messages.push(json!({"role": message["role"], "content": message["content"]}));
        }
        last = id;
    }
    messages
}

fn call(id: &str, lines: &[&Map<String, Value>], before: &[Value]) -> Result<Vec<Call>, Fault> {
    let last = lines[lines.len() - 1];
    let blocks: Vec<Value> = lines.iter().filter_map(|line| line["message"]["content"].as_array()).flatten().cloned().collect();
    let said = |block: &Value| block["type"] == "text" || block["type"] == "tool_use";
    if !blocks.iter().any(said) {
        return Ok(Vec::new());
    }
    let mut message = last["message"].clone();
    message["type"] = "message".into();
    message["content"] = blocks.into();
    if message["stop_reason"].is_null() {
        message["stop_reason"] =
            if message["content"].as_array().is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_use")) {
                "tool_use".into()
            } else {
                "end_turn".into()
            };
    }
    let request = json!({"model": message["model"], "max_tokens": null, "messages": before});
    Known::new(request, message)
        .with("source_id", (!id.is_empty()).then_some(id))
        .with("conversation_id", last.get("sessionId").cloned())
        .with("timestamp", lines[0].get("timestamp").cloned())
        .with("lossy", Some(json!(["system", "tools"])))
        .tagged(last, &["requestId", "cwd", "gitBranch", "version", "isSidechain"])
        .read()
}
