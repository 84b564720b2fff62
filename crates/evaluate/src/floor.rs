//! The large model against itself: what agreement with the log can mean at all.
//!
//! Wherever a prompt repeats exactly, or one call logged several choices, the answers are compared
//! with each other as a contender's would be. Prompts that repeat are often the simple ones, so this
//! flatters the large model rather than the small one.
use std::collections::{BTreeMap, BTreeSet};

use record::{Call, Contender, Held, Metric, Parts, Response, Score, Task};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::baseline::canonical;
use crate::judge::{Judged, score};
use crate::metric::Scorer;
use crate::{Evaluate, Rules};

/// Fields of a request that do not change what is asked.
const IDLE: [&str; 10] =
    ["stream", "stream_options", "user", "metadata", "seed", "store", "service_tier", "prompt_cache_key", "safety_identifier", "timeout"];

/// Two answers of the large model to one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The call whose answer is the yardstick.
    pub one: String,
    /// The call whose answer is compared with it; the same one where it is another of its choices.
    pub other: String,
    /// How well they agree, as the gate counts.
    pub score: f64,
}

/// The large model's agreement with itself on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// As a contender's: `n` counts pairs of answers.
    pub score: Score,
    /// Prompts that were answered more than once: the independent units of the bounds.
    pub prompts: u64,
    /// The pairs, each answer in one at most.
    pub pairs: Vec<Pair>,
}

impl Evaluate {
    /// Measures the floor of a task, on held-out calls where enough prompts repeat there, else on the
    /// whole log (nothing is fitted on it). None where no prompt repeats.
    #[must_use]
    pub fn floor(&self, task: &Task, rules: &Rules, parts: &Parts) -> Option<Floor> {
        let held = repeats(parts.held.iter().map(|call| &**call));
        if held.len() as u64 >= self.floor_prompts {
            return self.measure(task, rules, &held);
        }
        let all = parts.held.iter().chain(parts.calibration.iter()).chain(parts.train.iter());
        self.measure(task, rules, &repeats(all.map(|call| &**call)))
    }

    fn measure(&self, task: &Task, rules: &Rules, repeats: &[Vec<Answer<'_>>]) -> Option<Floor> {
        let metric = self.metric(task);
        let mut scorer = Scorer::new(metric, rules);
        let mut groups = Vec::new();
        let mut pairs = Vec::new();
        for answers in repeats {
            let scores = answers.chunks_exact(2).map(|two| {
                let score = scorer.compare(&two[0].call.request, &two[0].response, &two[1].response).score;
                pairs.push(Pair { one: two[0].call.source_id.clone(), other: two[1].call.source_id.clone(), score });
                score
            });
            groups.push(scores.collect::<Vec<_>>());
        }
        let estimate = self.estimate(metric, &groups)?;
        let conversations: BTreeSet<_> = repeats.iter().flatten().map(|answer| &answer.call.conversation_id).collect();
        let prompts = groups.len() as u64;
        let beside = BTreeMap::from([("prompts".to_owned(), prompts as f64)]);
        let counts = (pairs.len() as u64, conversations.len() as u64);
        let score = score(task, ("large model again", Contender::Teacher), metric, counts, Some(estimate), beside);
        Some(Floor { score, prompts, pairs })
    }
}

impl Floor {
    /// Tango's lower bound, of level `1 - alpha`, of how much better the small model agrees with an
    /// answer than the large model's other answer to the same prompt does; with the number of
    /// prompts. None where no judged call is in a
    /// pair, and for graded scores.
    #[must_use]
    pub fn paired_lower(&self, judged: &Judged<Held>, alpha: f64) -> Option<(f64, u64)> {
        if matches!(self.score.metric, Metric::FieldF1 | Metric::RougeL) {
            return None;
        }
        let rows: BTreeMap<_, _> = judged.rows.iter().map(|row| (row.source_id.as_str(), row.score >= 0.5)).collect();
        let (mut worse, mut better, mut n) = (0, 0, 0);
        for pair in &self.pairs {
            let Some(small) = rows.get(pair.one.as_str()) else { continue };
            n += 1;
            match (*small, pair.score >= 0.5) {
                (false, true) => worse += 1,
                (true, false) => better += 1,
                _ => {}
            }
        }
        (n > 0).then(|| (stats::tango_lower(worse, better, n, alpha), n))
    }
}

struct Answer<'a> {
    call: &'a Call,
    response: Response,
}

/// Prompts with at least two answers, in an order that depends on nothing but the calls.
fn repeats<'a>(calls: impl Iterator<Item = &'a Call>) -> Vec<Vec<Answer<'a>>> {
    let mut prompts: BTreeMap<String, Vec<Answer<'a>>> = BTreeMap::new();
    for call in calls {
        let answers = prompts.entry(asked(call)).or_default();
        let choices = call.response.0.get("choices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let messages = choices.iter().filter_map(|choice| choice.get("message"));
        answers.extend(messages.map(|message| Answer { call, response: Response::from_message(message) }));
    }
    prompts.into_values().filter(|answers| answers.len() > 1).collect()
}

/// The request without what does not change the question, and the model that was asked.
fn asked(call: &Call) -> String {
    let mut request = call.request.0.clone();
    if let Some(members) = request.as_object_mut() {
        members.retain(|name, _| !IDLE.contains(&name.as_str()) && name != "model");
    }
    format!("{} {}", call.model(), canonical(&request))
}
