//! Names a person recognises, made offline: what the template tells the model to do, to what.
//!
//! Segments that many tasks share are left out first, since a common preamble would name them all alike. Names are
//! proposed in order of preference and without end; whoever hands them out keeps them unique.
use std::collections::BTreeMap;

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
    let held = |draft: &Draft| draft.shares.iter().filter(|(_, share)| *share >= 0.3).map(|(hash, _)| *hash).collect::<Vec<_>>();
    drafts.iter().flat_map(held).for_each(|hash| *tasks.entry(hash).or_default() += 1.0);
    #[expect(clippy::cast_precision_loss, reason = "tasks are few")]
    let common = if drafts.len() < 4 { f64::MAX } else { (COMMON * drafts.len() as f64).max(1.0) };
    drafts.iter().map(|draft| proposals(draft, summary, &tasks, common)).collect()
}

fn proposals(draft: &Draft, summary: &Summary, tasks: &BTreeMap<u64, f64>, common: f64) -> Box<dyn Iterator<Item = String>> {
    let share: BTreeMap<u64, f64> = draft.shares.iter().copied().collect();
    let spread = |hash: &u64| tasks.get(hash).copied().unwrap_or(1.0);
    let own = draft.order.iter().filter(|hash| spread(hash) <= common && share.get(hash).is_some_and(|share| *share >= 0.3));
    let sentences: Vec<(&str, f64)> =
        own.take(SENTENCES).filter_map(|hash| Some((summary.texts.get(hash)?.as_str(), share[hash] / spread(hash).sqrt()))).collect();
    let mut bases: Vec<String> = draft.key.workload.iter().map(|workload| slug(workload)).collect();
    bases.extend(verbs::phrases(&sentences).into_iter().map(|phrase| slug(&phrase)).take(2));
    bases.extend(by_answer(draft));
    bases.extend(by_words(&sentences));
    bases.push(format!("free-text-{}", words(draft, 1).first().map_or("task", String::as_str)));
    bases.retain(|base| !base.is_empty());
    if let Some(turn) = &draft.turn {
        bases.iter_mut().for_each(|base| *base = slug(&format!("{base} {turn}")));
    }
    let fields = draft.fields.clone().into_iter().filter(|field| !matches!(field.as_str(), "thinking" | "reasoning" | "output"));
    let first = bases[0].clone();
    let longer = first.clone();
    let with_field = fields.map(move |field| slug(&format!("{longer} {field}")));
    let plain = std::iter::once(first.clone());
    let others: Vec<String> = bases.into_iter().skip(1).collect();
    Box::new(plain.chain(with_field).chain(others).chain((2..).map(move |n| format!("{first}-{n}"))))
}

/// A name from the tool most called, or from what the answers are.
fn by_answer(draft: &Draft) -> Vec<String> {
    let mut shares = leader::shares(&draft.actions);
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let tool = shares.iter().find(|(word, _)| draft.key.tools.contains(word)).map(|(word, _)| slug(word));
    let code = shares.first().filter(|(word, share)| word == "code" && *share > 0.5).map(|_| "write-query".to_owned());
    tool.into_iter().chain(code).collect()
}

/// A name from the content words of the task's own first sentence.
fn by_words(sentences: &[(&str, f64)]) -> Option<String> {
    let (sentence, _) = sentences.iter().max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(a.0)))?;
    let words: Vec<_> = verbs::content(sentence).into_iter().take(3).collect();
    (!words.is_empty()).then(|| slug(&words.join(" ")))
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
fn slug(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let cut = out.chars().count() + word.chars().count() + 1 > LONGEST;
        if cut && !out.is_empty() {
            break;
        }
        if !out.is_empty() {
            out.push('-');
        }
        out.extend(word.chars().take(LONGEST).flat_map(char::to_lowercase));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs_are_short_and_plain() {
        assert_eq!(slug("Route_Ticket (v2)"), "route-ticket-v2");
        assert_eq!(slug("a very long name that goes on and on and on and on"), "a-very-long-name-that-goes-on-and-on-and");
        assert_eq!(slug("…"), "");
    }
}
