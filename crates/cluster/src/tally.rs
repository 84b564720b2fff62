//! Counts of the whole log by task: every call is assigned, of whatever split, and added here.
//!
//! Mergeable and small: tokens go into buckets two percent wide, conversations into a set of hashes.
use std::collections::{BTreeMap, BTreeSet};

use record::{Call, Task, TaskId, TaskKind};

use crate::segment;
use crate::tasks::{Tasks, UNASSIGNED};

/// Relative width of a token bucket.
const WIDTH: f64 = 1.02;
/// Characters per token where the log counts none. An estimate, marked nowhere else.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// What the calls of each task amount to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    rows: BTreeMap<TaskId, Row>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    calls: u64,
    conversations: BTreeSet<u64>,
    /// In billionths of a dollar, so that the order of additions does not show.
    cost_nano_usd: i128,
    prompt: BTreeMap<u32, u64>,
    answer: BTreeMap<u32, u64>,
}

impl Tally {
    /// Adds a call to the bucket it was assigned to ([`Tasks::bucket`]). `cost_usd` is the call's price, logged or looked up.
    pub fn add(&mut self, bucket: &TaskId, call: &Call, cost_usd: Option<f64>) {
        let row = self.rows.entry(bucket.clone()).or_default();
        let usage = call.response.usage();
        row.calls += 1;
        row.conversations.insert(segment::hash(call.conversation_id.as_bytes()));
        #[expect(clippy::cast_possible_truncation, reason = "a price in billionths of a dollar")]
        let nano = (cost_usd.or(call.cost_usd).unwrap_or_default() * 1e9).round() as i128;
        row.cost_nano_usd += nano;
        let text = |value: &serde_json::Value| value.to_string().chars().count() as u64 / CHARACTERS_PER_TOKEN;
        let prompt = usage.prompt.unwrap_or_else(|| text(&call.request.0));
        let answer = usage.completion.unwrap_or_else(|| call.response.message().map_or(0, |message| text(message.0)));
        *row.prompt.entry(bucket_of(prompt)).or_default() += 1;
        *row.answer.entry(bucket_of(answer)).or_default() += 1;
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        for (task, theirs) in other.rows {
            let mine = self.rows.entry(task).or_default();
            mine.calls += theirs.calls;
            mine.conversations.extend(theirs.conversations);
            mine.cost_nano_usd += theirs.cost_nano_usd;
            theirs.prompt.into_iter().for_each(|(bucket, n)| *mine.prompt.entry(bucket).or_default() += n);
            theirs.answer.into_iter().for_each(|(bucket, n)| *mine.answer.entry(bucket).or_default() += n);
        }
    }

    /// The tasks with their counts, dearest first, then by calls and id; the bucket of unassigned calls last, if it holds any.
    #[must_use]
    pub fn tasks(&self, tasks: &Tasks) -> Vec<Task> {
        let empty = Row::default();
        let mut all: Vec<Task> = Vec::new();
        for fitted in tasks.describe() {
            let row = self.rows.get(&fitted.task).unwrap_or(&empty);
            all.push(Task {
                name: fitted.name.clone(),
                kind: fitted.kind,
                stability: fitted.stability,
                tools: fitted.key.tools.clone(),
                parent: fitted.parent.clone(),
                ..row.task(fitted.task.clone())
            });
        }
        all.sort_by(|a, b| b.cost_usd.total_cmp(&a.cost_usd).then(b.calls.cmp(&a.calls)).then_with(|| a.task.cmp(&b.task)));
        let stray = TaskId(UNASSIGNED.to_owned());
        all.extend(self.rows.get(&stray).map(|row| Task { noise: true, ..row.task(stray) }));
        all
    }
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "money is shown to the cent")]
    fn task(&self, task: TaskId) -> Task {
        Task {
            name: task.0.clone(),
            task,
            kind: TaskKind::Text,
            calls: self.calls,
            conversations: self.conversations.len() as u64,
            cost_usd: self.cost_nano_usd as f64 / 1e9,
            stability: None,
            prompt_tokens: [percentile(&self.prompt, 0.5), percentile(&self.prompt, 0.99)],
            answer_tokens: [percentile(&self.answer, 0.5), percentile(&self.answer, 0.99)],
            tools: Vec::new(),
            parent: None,
            noise: false,
        }
    }
}

/// Small counts exactly, larger ones to two percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "logarithms of token counts are small"
)]
fn bucket_of(tokens: u64) -> u32 {
    if tokens < 100 { tokens as u32 } else { 100 + ((tokens as f64 / 100.0).ln() / WIDTH.ln()).floor() as u32 }
}

/// The upper end of the bucket, so that a context that holds it holds every call of it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "token counts fit")]
fn top_of(bucket: u32) -> u64 {
    if bucket < 100 { u64::from(bucket) } else { (100.0 * WIDTH.powf(f64::from(bucket - 99))).ceil() as u64 }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "call counts stay below 2^53")]
fn percentile(buckets: &BTreeMap<u32, u64>, share: f64) -> u64 {
    let all: u64 = buckets.values().sum();
    let mut left = (share * all as f64).ceil() as u64;
    for (bucket, n) in buckets {
        if left <= *n {
            return top_of(*bucket);
        }
        left -= n;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{bucket_of, percentile, top_of};
    use std::collections::BTreeMap;

    #[test]
    fn percentiles_are_exact_when_small_and_close_when_large() {
        for tokens in [0, 1, 99, 100, 101, 5_000, 123_456] {
            let top = top_of(bucket_of(tokens));
            assert!(top >= tokens && top as f64 <= tokens as f64 * 1.021 + 1.0, "{tokens} {top}");
        }
        let buckets: BTreeMap<u32, u64> = (1..=50).map(|n| (n, 1)).collect();
        assert_eq!([percentile(&buckets, 0.5), percentile(&buckets, 0.99), percentile(&BTreeMap::new(), 0.5)], [25, 50, 0]);
    }
}
