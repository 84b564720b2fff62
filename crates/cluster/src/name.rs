//! Names a person recognises, made offline: what the template tells the model to do, to what.
//!
//! Segments that many tasks share are left out first, since a common preamble would name them all alike. Names are
//! proposed in order of preference and without end; whoever hands them out keeps them unique.
use std::collections::BTreeMap;

use record::TaskKind;

use crate::fit::Draft;
use crate::summary::Summary;
use crate::{leader, verbs};

/// A segment in more than this share of the tasks names none of them.
const COMMON: f64 = 0.3;
/// Longest name in characters.
const LONGEST: usize = 40;
/// Sentences of the template that are read.
const SENTENCES: usize = 24;

/// For each draft an endless list of names, best first.
pub(crate) fn propose(drafts: &[Draft], summary: &Summary) -> Vec<Box<dyn Iterator<Item = String>>> {
    let mut tasks: BTreeMap<u64, f64> = BTreeMap::new();
    let mut apart: Vec<&Draft> = Vec::new();
    for draft in drafts {
        // the turns of one template count once: what they share is theirs
        if draft.turn.is_none() || !apart.iter().any(|other| other.place == draft.place) {
            apart.push(draft);
        }
    }
    let held = |draft: &&Draft| draft.shares.iter().filter(|(_, share)| *share >= 0.3).map(|(hash, _)| *hash).collect::<Vec<_>>();
    apart.iter().flat_map(held).for_each(|hash| *tasks.entry(hash).or_default() += 1.0);
    #[expect(clippy::cast_precision_loss, reason = "tasks are few")]
    let common = if apart.len() < 4 { f64::MAX } else { (COMMON * apart.len() as f64).max(1.0) };
    drafts.iter().map(|draft| proposals(draft, summary, &tasks, common)).collect()
}

fn proposals(draft: &Draft, summary: &Summary, tasks: &BTreeMap<u64, f64>, common: f64) -> Box<dyn Iterator<Item = String>> {
    let sentences = sentences(draft, summary, tasks, common);
    let mut bases: Vec<String> = draft.key.workload.iter().map(|workload| slug(workload, LONGEST)).collect();
    let phrases = verbs::phrases(&sentences).into_iter().take(2).map(|phrase| slug(&phrase, LONGEST));
    let roles = sentences.iter().find_map(|(sentence, _)| verbs::role(sentence)).map(|role| slug(&role, LONGEST));
    // an agent with tools is known by what it is, a single call by what it does
    if draft.kind == TaskKind::ToolCall {
        bases.extend(roles);
        bases.extend(phrases);
    } else {
        bases.extend(phrases);
        bases.extend(roles);
    }
    bases.extend(by_answer(draft));
    bases.extend(by_words(&sentences));
    bases.push(slug(&format!("free text {}", words(draft, 1).first().map_or("task", String::as_str)), LONGEST));
    bases.retain(|base| !base.is_empty());
    if let Some(turn) = &draft.turn {
        bases.iter_mut().for_each(|base| *base = slug(&format!("{base} {turn}"), 2 * LONGEST));
    }
    let fields = draft.fields.clone().into_iter().filter(|field| !matches!(field.as_str(), "thinking" | "reasoning" | "output"));
    let first = bases[0].clone();
    let longer = first.clone();
    let with_field = fields.map(move |field| slug(&format!("{longer} {field}"), 2 * LONGEST));
    let others: Vec<String> = bases.into_iter().skip(1).collect();
    Box::new(std::iter::once(first.clone()).chain(with_field).chain(others).chain((2..).map(move |n| format!("{first}-{n}"))))
}

/// The template's own sentences in order, with their weights: of the system text, or of the user message where there is none.
fn sentences<'a>(draft: &Draft, summary: &'a Summary, tasks: &BTreeMap<u64, f64>, common: f64) -> Vec<(&'a str, f64)> {
    let share: BTreeMap<u64, f64> = draft.shares.iter().copied().collect();
    let spread = |hash: &u64| tasks.get(hash).copied().unwrap_or(1.0);
    let read = |hashes: &[u64]| -> Vec<(&'a str, f64)> {
        let own = hashes.iter().filter(|hash| spread(hash) <= common && share.get(hash).is_some_and(|share| *share >= 0.3));
        own.take(SENTENCES).filter_map(|hash| Some((summary.texts.get(hash)?.as_str(), share[hash] / spread(hash).sqrt()))).collect()
    };
    let system = read(&draft.order.0);
    if system.is_empty() { read(&draft.order.1) } else { system }
}

/// A name from the tool most called, or from what the answers are.
fn by_answer(draft: &Draft) -> Vec<String> {
    let mut shares = leader::shares(&draft.actions);
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let tool = shares.iter().find(|(word, _)| draft.key.tools.contains(word)).map(|(word, _)| slug(word, LONGEST));
    let code = shares.first().filter(|(word, share)| word == "code" && *share > 0.5).map(|_| "write-query".to_owned());
    tool.into_iter().chain(code).collect()
}

/// A name from the content words of the task's own sentence, or from the keys of its JSON.
fn by_words(sentences: &[(&str, f64)]) -> Option<String> {
    let keys: Vec<_> =
        sentences.iter().filter_map(|(sentence, _)| sentence.strip_prefix("json.")).filter(|key| !key.contains('.')).take(2).collect();
    if !keys.is_empty() {
        return Some(slug(&keys.join(" "), LONGEST));
    }
    let (sentence, _) = sentences.iter().max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(a.0)))?;
    let words: Vec<_> = verbs::content(sentence).into_iter().take(3).collect();
    (!words.is_empty()).then(|| slug(&words.join(" "), LONGEST))
}

/// The most frequent content words of the first user messages.
pub(crate) fn words(draft: &Draft, most: usize) -> Vec<String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for excerpt in &draft.excerpts {
        let distinct: std::collections::BTreeSet<_> = verbs::content(&excerpt.to_lowercase()).into_iter().collect();
        distinct.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().take(most).map(|(word, _)| word).collect()
}

/// Lower-case words joined by hyphens, cut at a word.
fn slug(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let cut = out.chars().count() + word.chars().count() + 1 > longest;
        if cut && !out.is_empty() {
            break;
        }
        if !out.is_empty() {
            out.push('-');
        }
        out.extend(word.chars().take(longest).flat_map(char::to_lowercase));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs_are_short_and_plain() {
        assert_eq!(slug("Route_Ticket (v2)", 40), "route-ticket-v2");
        assert_eq!(slug("a very long name that goes on and on and on and on", 40), "a-very-long-name-that-goes-on-and-on-and");
        assert_eq!(slug("…", 40), "");
    }
}
