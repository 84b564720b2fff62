//! Calls of OpenAI's Responses API that name the one before them instead of repeating what was said: their history, put together from
//! the calls that were read before.
use std::collections::{HashMap, VecDeque};

use record::{Call, Request};
use serde_json::Value;

/// Text of messages that is remembered at most; what is older is forgotten first.
const REMEMBERED: usize = 256 << 20;

/// What a response added to its conversation.
struct Turn {
    /// The response before it.
    previous: Option<String>,
    /// What was asked and answered in it, system text aside: instructions do not carry over.
    messages: Vec<Value>,
    conversation: String,
    step: u32,
    bytes: usize,
}

/// The responses that were read.
#[derive(Default)]
pub struct Histories {
    turns: HashMap<String, Turn>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Histories {
    /// Puts before a call's messages what was said before, if that was read, and remembers what it adds.
    pub fn follow(&mut self, call: &mut Call) {
        let Some(id) = call.response.0["id"].as_str().filter(|id| id.starts_with("resp_")).map(ToOwned::to_owned) else { return };
        let previous = call.request.0["previous_response_id"].as_str().map(ToOwned::to_owned);
        let own = said(call);
        if let Some(previous) = &previous
            && let Some(before) = self.before(previous)
        {
            let last = &self.turns[previous];
            (call.conversation_id, call.step) = (last.conversation.clone(), last.step.saturating_add(1));
            continued(&mut call.request, before);
            call.lossy.retain(|what| what != "history" && what != "conversation");
        }
        self.remember(id, Turn { previous, bytes: own.1, messages: own.0, conversation: call.conversation_id.clone(), step: call.step });
    }

    /// All messages up to a response, oldest first; none if one of them was not read.
    fn before(&self, id: &str) -> Option<Vec<Value>> {
        let (mut turns, mut at) = (Vec::new(), Some(id));
        while let Some(id) = at {
            let turn = self.turns.get(id)?;
            // ids that name one another in a ring are a damaged log
            if turns.len() > self.turns.len() {
                return None;
            }
            turns.push(turn);
            at = turn.previous.as_deref();
        }
        Some(turns.iter().rev().flat_map(|turn| turn.messages.iter().cloned()).collect())
    }

    fn remember(&mut self, id: String, turn: Turn) {
        self.bytes += turn.bytes;
        self.order.push_back(id.clone());
        if let Some(old) = self.turns.insert(id, turn) {
            self.bytes -= old.bytes;
        }
        while self.bytes > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.turns.remove(&oldest).map_or(0, |turn| turn.bytes);
        }
    }
}

/// What a call adds to its conversation, and about how many bytes that is.
fn said(call: &Call) -> (Vec<Value>, usize) {
    let answer = call.response.message().map(|message| message.0.clone());
    let asked = call.request.messages().filter(|message| !is_system(message.role())).map(|message| message.0.clone());
    let messages: Vec<Value> = asked.chain(answer).collect();
    let bytes = messages.iter().map(|message| message.to_string().len()).sum();
    (messages, bytes)
}

fn is_system(role: &str) -> bool {
    matches!(role, "system" | "developer")
}

/// Puts messages behind the system text of a request.
fn continued(request: &mut Request, before: Vec<Value>) {
    let Some(Value::Array(messages)) = request.0.get_mut("messages") else { return };
    let system = messages.iter().take_while(|message| is_system(message["role"].as_str().unwrap_or_default())).count();
    let own = messages.split_off(system);
    messages.extend(before);
    messages.extend(own);
}
