//! What the prompts of a task have in common, learnt from its train split alone.
use std::collections::BTreeMap;

use model::Chat;
use record::{Call, Clean, Dropped, Part, Request, Shared, Train, tool_identity};
use serde_json::Value;

/// Share of the train calls that must begin with a head for it to be dropped. A call that does not is none of the small model's: were
/// there more of them, they alone would cost the agreement that the usual bar asks for.
const SHARE: f64 = 0.95;
/// Calls that tokens are counted of.
const COUNTED: usize = 256;

/// The head of the prompts of a task: the system messages that come first, then the tools, each as far as nearly all calls have them.
/// None where there is nothing of the kind.
pub(crate) fn dropped(part: &Part<Train>, chat: &Chat) -> Option<Dropped> {
    let mut shared = Shared::default();
    loop {
        let at = shared.system.len();
        let next = |call: &Clean<Call>| {
            let message = call.request.messages().nth(at).filter(|message| matches!(message.role(), "system" | "developer"))?;
            Some((message.text().into_owned(), ()))
        };
        let Some((text, ())) = common(part, &shared, next) else { break };
        let longer = Shared { system: [shared.system.as_slice(), &[text]].concat(), ..shared.clone() };
        if share(part, &longer) < SHARE {
            break;
        }
        shared = longer;
    }
    let offered = |call: &Clean<Call>| {
        let tools: Vec<Value> = call.request.tools().map(|tool| tool.0.clone()).collect();
        let identity: Vec<_> = call.request.tools().map(tool_identity).collect();
        (!tools.is_empty()).then(|| (format!("{identity:?}"), tools))
    };
    if let Some((_, tools)) = common(part, &shared, offered) {
        let with_tools = Shared { tools, ..shared.clone() };
        if share(part, &with_tools) >= SHARE {
            shared = with_tools;
        }
    }
    let prompt_tokens = prompt_tokens(part, chat, &shared)?;
    Some(Dropped { share: share(part, &shared), shared, prompt_tokens })
}

/// What most calls have that begin with a head: the first of equally frequent ones in the order of the keys, with what the first call that
/// has it gave for it.
fn common<T>(part: &Part<Train>, shared: &Shared, of: impl Fn(&Clean<Call>) -> Option<(String, T)>) -> Option<(String, T)> {
    let mut counts: BTreeMap<String, (u64, T)> = BTreeMap::new();
    let begin = part.iter().filter(|call| shared.trim(&call.request).is_some());
    for (key, value) in begin.filter_map(of) {
        counts.entry(key).or_insert((0, value)).0 += 1;
    }
    let most = counts.values().map(|(count, _)| *count).max()?;
    counts.into_iter().find(|(_, (count, _))| *count == most).map(|(key, (_, value))| (key, value))
}

/// Share of all calls that begin with a head and go on after it.
#[expect(clippy::cast_precision_loss, reason = "calls of a log are far below 2^53")]
fn share(part: &Part<Train>, shared: &Shared) -> f64 {
    let begin = part.iter().filter(|call| shared.trim(&call.request).is_some()).count();
    begin as f64 / part.len().max(1) as f64
}

/// Mean tokens of a prompt with the head and without, of calls from all over the part; none where nothing is dropped.
#[expect(clippy::cast_precision_loss, reason = "a count of calls")]
fn prompt_tokens(part: &Part<Train>, chat: &Chat, shared: &Shared) -> Option<[f64; 2]> {
    if shared.is_empty() {
        return None;
    }
    let trimming = chat.clone().without(Some(shared.clone()));
    let tokens = |request: &Request| Some([chat.prompt(request).ok()?.len(), trimming.prompt(request).ok()?.len()]);
    let every = part.len().div_ceil(COUNTED).max(1);
    let counted: Vec<[usize; 2]> = part.iter().step_by(every).filter_map(|call| tokens(&call.request)).collect();
    let mean = |which: usize| counted.iter().map(|tokens| tokens[which] as f64).sum::<f64>() / counted.len() as f64;
    (!counted.is_empty()).then(|| [mean(0), mean(1)])
}
