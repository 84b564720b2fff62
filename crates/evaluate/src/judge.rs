//! Predictions for one task → one score with bounds over conversations, and a row for every call.
use std::collections::BTreeMap;
use std::marker::PhantomData;

use record::{Call, Contender, Metric, Part, Prediction, Score, Task, TaskKind};
use serde::{Deserialize, Serialize};
use stats::{Estimate, clopper_pearson, clustered_binary, clustered_graded, one_per_group};

use crate::metric::{Compared, Fault, Found, Scorer, macro_f1, standard};
use crate::{Error, Evaluate, JsonGate, Rules};

/// One judged call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The call.
    pub source_id: String,
    /// Its conversation.
    pub conversation: String,
    /// What the gate counts, 0 to 1. 0 where there is no answer.
    pub score: f64,
    /// Whether the answer is the logged one in the strictest sense the task has.
    pub exact: bool,
    /// Why not.
    pub fault: Option<Fault>,
    /// The place of the fault (a JSON pointer) or the predictor's own words; may be empty.
    pub detail: String,
    /// How sure the predictor was.
    pub confidence: Option<f64>,
}

/// A contender judged on one split: one of the calibration split cannot be given for one of the held.
#[derive(Clone, Debug)]
pub struct Judged<S> {
    /// The score.
    pub score: Score,
    /// Every call, in the order of the part.
    pub rows: Vec<Row>,
    split: PhantomData<S>,
}

impl Evaluate {
    /// How the answers of a task are compared.
    #[must_use]
    pub fn metric(&self, task: &Task) -> Metric {
        match (task.kind, self.json_gate) {
            (TaskKind::ToolCall, _) => Metric::ToolCall,
            (TaskKind::Json, JsonGate::Exact) => Metric::JsonExact,
            (TaskKind::Json, JsonGate::Fields) => Metric::FieldF1,
            (TaskKind::Label, _) => Metric::Label,
            (TaskKind::Text, _) if task.answer_tokens[1] <= self.short_text_tokens => Metric::TextExact,
            (TaskKind::Text, _) => Metric::RougeL,
        }
    }

    /// Judges the predictions for the calls of a task, which come in the order of the part. A call
    /// without an answer scores 0; none is dropped.
    ///
    /// # Errors
    /// When there are not as many predictions as calls.
    pub fn judge<S>(
        &self,
        task: &Task,
        rules: &Rules,
        part: &Part<S>,
        (name, contender): (&str, Contender),
        predictions: &[Prediction],
    ) -> Result<Judged<S>, Error> {
        if predictions.len() != part.len() {
            return Err(Error::Answers { name: name.to_owned(), expected: part.len(), got: predictions.len() });
        }
        let metric = self.metric(task);
        let mut scorer = Scorer::new(metric, rules);
        let compared: Vec<_> = part.iter().zip(predictions).map(|(call, prediction)| compare(&mut scorer, call, prediction)).collect();
        let rows: Vec<_> = part.iter().zip(predictions).zip(&compared).map(|((call, p), compared)| row(call, p, compared)).collect();
        let groups = groups(rows.iter().map(|row| (row.conversation.as_str(), row.score)));
        let estimate = self.estimate(metric, &groups);
        let mut beside = beside(&rows, &compared, predictions);
        if !rules.sentences.is_empty() {
            beside.insert("sentence_arguments".into(), rules.sentences.len() as f64);
        }
        let valid = rows.iter().zip(&compared).filter_map(|(row, c)| Some((row.conversation.as_str(), f64::from(u8::from(c.valid?)))));
        let (x, n) = one_per_group(&self::groups(valid), self.seed);
        if n > 0 {
            beside.insert("schema_validity_lower".into(), clopper_pearson(x, n, self.alpha).lower);
        }
        if metric == Metric::Label {
            beside.extend(label_f1(part, predictions).map(|f1| ("macro_f1".to_owned(), f1)));
        }
        beside.extend(estimate.map(|estimate| ("n_effective".to_owned(), estimate.n_effective)));
        let conversations = groups.len() as u64;
        let score = score(task, (name, contender), metric, (rows.len() as u64, conversations), estimate, beside);
        Ok(Judged { score, rows, split: PhantomData })
    }

    /// Bounds over conversations for scores of a metric.
    pub(crate) fn estimate(&self, metric: Metric, groups: &[Vec<f64>]) -> Option<Estimate> {
        match metric {
            Metric::FieldF1 | Metric::RougeL => clustered_graded(groups, self.alpha),
            _ => clustered_binary(groups, self.alpha, self.seed),
        }
    }
}

impl<S> Judged<S> {
    /// Successes and trials with one call of each conversation, chosen by `seed`: independent
    /// evidence for a test that adds up over time.
    #[must_use]
    pub fn per_conversation(&self, seed: u64) -> (u64, u64) {
        one_per_group(&groups(self.rows.iter().map(|row| (row.conversation.as_str(), f64::from(u8::from(row.exact))))), seed)
    }
}

/// Scores by conversation, conversations in order of their ids: the same at any order of the rows'
/// conversations.
pub(crate) fn groups<'a>(rows: impl Iterator<Item = (&'a str, f64)>) -> Vec<Vec<f64>> {
    let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    rows.for_each(|(conversation, score)| groups.entry(conversation).or_default().push(score));
    groups.into_values().collect()
}

pub(crate) fn score(
    task: &Task,
    (name, contender): (&str, Contender),
    metric: Metric,
    (n, conversations): (u64, u64),
    estimate: Option<Estimate>,
    beside: BTreeMap<String, f64>,
) -> Score {
    Score {
        task: task.task.clone(),
        candidate: name.to_owned(),
        contender,
        metric,
        n,
        conversations,
        score: estimate.map(|e| e.mean),
        lower: estimate.map(|e| e.bounds.lower),
        upper: estimate.map(|e| e.bounds.upper),
        method: estimate.map_or("none", |e| e.method).to_owned(),
        beside,
    }
}

fn compare(scorer: &mut Scorer<'_>, call: &Call, prediction: &Prediction) -> Compared {
    match &prediction.response {
        Some(response) if prediction.error.is_none() => scorer.compare(&call.request, &call.response, response),
        _ => Compared::exactly(Some(Found { fault: Fault::NoAnswer, place: prediction.error.clone().unwrap_or_default() })),
    }
}

fn row(call: &Call, prediction: &Prediction, compared: &Compared) -> Row {
    Row {
        source_id: call.source_id.clone(),
        conversation: call.conversation_id.clone(),
        score: compared.score,
        exact: compared.exact,
        fault: compared.fault,
        detail: compared.place.clone(),
        confidence: prediction.confidence,
    }
}

/// Means of what was measured beside the score, counts of faults, and what answering took.
fn beside(rows: &[Row], compared: &[Compared], predictions: &[Prediction]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut add = |name, value| {
        let (sum, n) = sums.entry(name).or_default();
        *sum += value;
        *n += 1.0;
    };
    for compared in compared {
        compared.beside.iter().for_each(|(name, value)| add(name, *value));
        compared.valid.iter().for_each(|valid| add("schema_validity", f64::from(u8::from(*valid))));
    }
    for prediction in predictions {
        prediction.confidence.iter().for_each(|confidence| add("confidence", *confidence));
        if let Some((prompt, answer)) = prediction.tokens {
            add("prompt_tokens", prompt as f64);
            add("answer_tokens", answer as f64);
        }
    }
    let mut beside: BTreeMap<_, _> = sums.into_iter().map(|(name, (sum, n))| (name.to_owned(), sum / n)).collect();
    for fault in rows.iter().filter_map(|row| row.fault) {
        *beside.entry(format!("fault.{fault}")).or_default() += 1.0;
    }
    let mut latencies: Vec<_> = predictions.iter().filter_map(|prediction| prediction.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    if !latencies.is_empty() {
        beside.insert("latency_ms_p50".into(), stats::quantile(&latencies, 0.5));
        beside.insert("latency_ms_p95".into(), stats::quantile(&latencies, 0.95));
    }
    beside
}

fn label_f1<S>(part: &Part<S>, predictions: &[Prediction]) -> Option<f64> {
    let given = |prediction: &Prediction| prediction.response.as_ref().map(|response| standard(&response.text())).unwrap_or_default();
    let pairs: Vec<_> = part.iter().zip(predictions).map(|(call, p)| (standard(&call.response.text()), given(p))).collect();
    macro_f1(&pairs)
}
