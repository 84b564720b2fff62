//! One conversation: look at all of it, then rewrite all of it.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use record::{Call, Clean, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::copies::Copies;
use crate::document::{Document, decode};
use crate::keys::{Frame, Keys, Role, plain};
use crate::logprobs::{self, Aside};
use crate::residual::{Leak, Residual};
use crate::surrogate::Vault;
use crate::{Class, Error, Method, Scrubber};

/// JSON inside strings inside JSON is followed this deep.
pub(crate) const DEPTH: usize = 4;

/// A conversation after scrubbing.
#[derive(Clone, Debug, Default)]
pub struct Scrubbed {
    /// The clean calls, in the order they came.
    pub calls: Vec<Clean<Call>>,
    /// Values replaced, by class and by how they were found.
    pub counts: BTreeMap<(Class, Method), u64>,
    /// Original values that the rewritten calls still held. Those calls are withheld: they are not in `calls`.
    pub residual: Vec<Leak>,
}

/// The parts of a call that hold text.
#[derive(Serialize, Deserialize)]
struct Body {
    request: Request,
    response: Response,
    feedback: Map<String, Value>,
    tags: Map<String, Value>,
}

#[derive(Default)]
struct Outcome {
    /// The new text, where something was replaced.
    new: Option<String>,
    counts: BTreeMap<(Class, Method), u64>,
}

/// One way over the conversation.
struct Pass<'a> {
    scrubber: &'a Scrubber,
    /// Set on the second way.
    rewriting: Option<(&'a Copies, Vault<'a>)>,
    found: BTreeSet<(Class, String)>,
    seen: HashMap<Role, HashMap<Box<str>, Rc<Outcome>>>,
}

impl Scrubber {
    /// Scrubs the calls of one conversation. Pure: the same calls and configuration give the same result.
    ///
    /// # Errors
    /// When the calls are of several conversations.
    #[expect(clippy::disallowed_methods, reason = "this is where clean calls are made (law 3)")]
    pub fn conversation(&self, calls: Vec<Call>) -> Result<Scrubbed, Error> {
        let Some(first) = calls.first().map(|call| call.conversation_id.clone()) else { return Ok(Scrubbed::default()) };
        if let Some(other) = calls.iter().find(|call| call.conversation_id != first) {
            let (source_id, found) = (other.source_id.clone(), other.conversation_id.clone());
            return Err(Error::Mixed { source_id, expected: first, found });
        }
        let mut keep = BTreeSet::new();
        let mut texts = Vec::with_capacity(calls.len());
        let mut pass = Pass { scrubber: self, rewriting: None, found: BTreeSet::new(), seen: HashMap::new() };
        let mut outlines: Vec<(Call, Body, Vec<Aside>)> = Vec::with_capacity(calls.len());
        for mut call in calls {
            let aside = logprobs::take(&mut call);
            choices(&call.request.0, false, &mut keep);
            let body = Body {
                request: std::mem::take(&mut call.request),
                response: std::mem::take(&mut call.response),
                feedback: std::mem::take(&mut call.feedback),
                tags: std::mem::take(&mut call.tags),
            };
            let text = serde_json::to_string(&body).expect("JSON values always serialise");
            pass.document(&text, Frame::Protocol, 0);
            texts.push(text);
            outlines.push((call, body, aside));
        }
        let found = pass.found;
        let taken = found.iter().flat_map(|(_, value)| std::iter::once(value.clone()).chain(value.split_whitespace().map(str::to_owned)));
        let vault = Vault::new(&self.scrub, &first, taken.collect());
        let residual = Residual::new(&found, &keep);
        let copies = Copies::new(&found, keep.clone());
        let mut pass = Pass { scrubber: self, rewriting: Some((&copies, vault)), found: BTreeSet::new(), seen: HashMap::new() };
        let mut scrubbed = Scrubbed::default();
        for ((mut call, body, aside), text) in outlines.into_iter().zip(texts) {
            let outcome = pass.document(&text, Frame::Protocol, 0);
            let leaks = residual.leaks(outcome.new.as_ref().unwrap_or(&text), &call.source_id, &self.keys);
            if !leaks.is_empty() {
                scrubbed.residual.extend(leaks);
                continue;
            }
            for (what, count) in &outcome.counts {
                *scrubbed.counts.entry(*what).or_default() += count;
            }
            restore(&mut call, body, outcome.new.as_deref())?;
            logprobs::restore(&mut call, aside, self, &found, &keep);
            call.client_id = call.client_id.map(|origin| self.origin(&origin));
            scrubbed.calls.push(Clean::vouch(call));
        }
        Ok(scrubbed)
    }

    /// A stand-in for who made the call, the same in every conversation.
    fn origin(&self, client: &str) -> String {
        let hashed = client.strip_prefix("client-").is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
        if hashed {
            return client.to_owned();
        }
        let mut hasher = blake3::Hasher::new_derive_key("slm-migrate scrub origin");
        hasher.update(&self.scrub.seed.to_le_bytes()).update(client.as_bytes());
        format!("client-{}", &hasher.finalize().to_hex()[..16])
    }
}

/// Puts the parts back into their call, new where there is a new text.
fn restore(call: &mut Call, body: Body, new: Option<&str>) -> Result<(), Error> {
    let body = match new {
        None => body,
        Some(text) => {
            serde_json::from_str(text).map_err(|cause| Error::Broken { source_id: call.source_id.clone(), cause: cause.to_string() })?
        }
    };
    (call.request, call.response, call.feedback, call.tags) = (body.request, body.response, body.feedback, body.tags);
    Ok(())
}

/// Names of tools and the choices their schemas and the answer's schema allow: task vocabulary, whatever it looks like.
fn choices(value: &Value, inside: bool, keep: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("enum", Value::Array(values)) if inside => keep.extend(values.iter().filter_map(Value::as_str).map(str::to_owned)),
                    ("const" | "name", Value::String(text)) if inside => {
                        keep.insert(text.clone());
                    }
                    ("messages", _) if !inside => {}
                    _ => choices(inner, inside || matches!(key.as_str(), "tools" | "functions" | "response_format"), keep),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| choices(item, inside, keep)),
        _ => {}
    }
}

impl Pass<'_> {
    fn document(&mut self, text: &str, frame: Frame, depth: usize) -> Outcome {
        let document = Document::scan_valid(text);
        let frames = Keys::frames(&document, frame);
        let mut outcome = Outcome::default();
        let mut changes = Vec::new();
        for (index, leaf) in document.leaves.iter().enumerate() {
            let role = self.scrubber.keys.role(&document, &frames, index);
            let raw = &text[leaf.range.clone()];
            if role == Role::Skip || raw.is_empty() {
                continue;
            }
            if !leaf.string {
                changes.extend(self.number(role, raw, &mut outcome.counts).map(|new| (index, new)));
                continue;
            }
            let inner = self.leaf(role, &decode(raw), depth);
            for (what, count) in &inner.counts {
                *outcome.counts.entry(*what).or_default() += count;
            }
            changes.extend(inner.new.clone().map(|new| (index, new)));
        }
        if self.rewriting.is_none() {
            self.found.extend(pairs(&document).into_iter().map(|name| (Class::Name, name)));
        }
        outcome.new = (!changes.is_empty()).then(|| document.splice(&changes));
        outcome
    }

    /// A string, which may be a document itself.
    fn leaf(&mut self, role: Role, text: &str, depth: usize) -> Rc<Outcome> {
        if let Some(known) = self.seen.get(&role).and_then(|texts| texts.get(text)) {
            return Rc::clone(known);
        }
        let nested = depth < DEPTH && matches!(role, Role::Search(None)) && Document::scan(text).is_some();
        let outcome = Rc::new(if nested { self.document(text, Frame::Data, depth + 1) } else { self.text(role, text) });
        self.seen.entry(role).or_default().insert(text.into(), Rc::clone(&outcome));
        outcome
    }

    fn text(&mut self, role: Role, text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let copies = self.rewriting.as_ref().map(|(copies, _)| *copies);
        let found = self.scrubber.look(role, text, copies);
        let Some((_, vault)) = &mut self.rewriting else {
            self.found.extend(found.into_iter().map(|f| (f.class, text[f.range].to_owned())));
            return outcome;
        };
        let (mut new, mut last) = (String::new(), 0);
        for value in found {
            let old = &text[value.range.clone()];
            let put = vault.replacement(value.class, old);
            if put != old {
                new.push_str(&text[last..value.range.start]);
                new.push_str(&put);
                last = value.range.end;
                *outcome.counts.entry((value.class, value.method)).or_default() += 1;
            }
        }
        outcome.new = (last > 0).then(|| new + &text[last..]);
        outcome
    }

    /// A number under a key that names a class, or a copy of one: it stays a number of as many digits.
    fn number(&mut self, role: Role, raw: &str, counts: &mut BTreeMap<(Class, Method), u64>) -> Option<String> {
        if !raw.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let copies = self.rewriting.as_ref().map(|(copies, _)| *copies);
        let class = self.scrubber.numeric(role, raw, copies)?;
        let Some((_, vault)) = &mut self.rewriting else {
            self.found.insert((class, raw.to_owned()));
            return None;
        };
        let new = vault.number(class, raw);
        (new != raw).then(|| {
            *counts.entry((class, Method::Key)).or_default() += 1;
            new
        })
    }
}

/// First and last names that stand side by side under their keys, joined.
fn pairs(document: &Document<'_>) -> Vec<String> {
    let mut firsts: BTreeMap<usize, String> = BTreeMap::new();
    let mut joined = Vec::new();
    for leaf in document.leaves.iter().filter(|leaf| leaf.string) {
        let value = || decode(document.raw(leaf)).into_owned();
        match plain(document.key(leaf.object, leaf.key)).as_str() {
            "firstname" | "givenname" | "fname" => {
                firsts.insert(leaf.object, value());
            }
            "lastname" | "surname" | "familyname" | "lname" => {
                joined.extend(firsts.get(&leaf.object).map(|first| format!("{first} {}", value())));
            }
            _ => {}
        }
    }
    joined.retain(|name| crate::names::plausible(name));
    joined
}
