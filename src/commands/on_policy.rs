//! On-policy rounds of `finetune`: the student answers what it learnt from, the teacher is asked again where the student is wrong, and
//! what it says joins the training data. The aggregation of Ross, Gordon and Bagnell 2011 (DAgger, arXiv 1011.0686), by whole answers,
//! because an endpoint gives no logits for a student's tokens (docs/decisions/0013).
use std::collections::BTreeSet;
use std::time::Duration;

use finetune::{Batching, Finetune};
use gateway::Endpoint;
use record::{Call, Clean, Fingerprint, Part, Prediction, Response, Step, Task, Train, split};
use scrub::Scrubber;
use serde::{Deserialize, Serialize};
use store::Store;

use crate::commands::evaluate::{Judge, endpoint_key};
use crate::commands::finetune::{Trained, examples, settings, train, validated};
use crate::context::Context;
use crate::error::hinted;
use crate::models::Base;
use crate::{costs, parts};

/// Settings of the rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnPolicy {
    /// Rounds after the first training; 0 for none.
    pub rounds: u32,
    /// Base URL of the teacher's server, before `/chat/completions`.
    pub endpoint: Option<String>,
    /// Model name to ask it for.
    pub model: Option<String>,
    /// Calls that an answer of the teacher counts as, in each round it is learnt from, beside the logged call.
    pub weight: usize,
    /// Calls that the teacher is asked about, for a task and a round.
    pub max_calls: usize,
    /// Likeliest tokens to ask log-probabilities for; 0 for none. A server that refuses is asked without.
    pub top_logprobs: u8,
}

impl Default for OnPolicy {
    fn default() -> Self {
        Self { rounds: 0, endpoint: None, model: None, weight: 3, max_calls: 500, top_logprobs: 20 }
    }
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// Different prompts that the student answered.
    pub answered: usize,
    /// Those that it answered otherwise than the log.
    pub wrong: usize,
    /// Requests that were sent for them.
    pub asked: usize,
    /// Answers of the teacher that were kept from before.
    pub known: usize,
    /// Requests without an answer; they are sent again when the command is.
    pub failed: usize,
    /// Answers that the scrubber withheld.
    pub withheld: usize,
    /// Answers that are what the log has: nothing new, but what the student got wrong counts more.
    pub repeated: usize,
    /// Other answers.
    pub corrected: usize,
    /// Price of the requests, in US dollars; none where it is not known.
    pub usd: Option<f64>,
    /// Share of the validation answers that the model trained after it writes to the last token.
    pub validation_right: Option<f64>,
}

/// What may be asked.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// Requests at most.
    pub teacher_calls: usize,
    /// Their price, were all of them sent and answered as in the log; none where it is not known.
    pub teacher_usd: Option<f64>,
}

/// A sum of money for a table.
pub fn usd(sum: Option<f64>) -> String {
    sum.map_or_else(|| "–".to_owned(), |usd| format!("{usd:.4}"))
}

/// Trains on in rounds, and gives what answers the validation part best: the first model or one of a round.
///
/// # Errors
/// When no endpoint is named or it answers nothing, a model cannot be loaded, or the store refuses. What was asked stays known.
pub fn rounds(context: &Context, store: &Store, (task, base): (&Task, &Base), first: Trained) -> anyhow::Result<Trained> {
    let config = &context.config.on_policy;
    if config.rounds == 0 {
        return Ok(first);
    }
    let mut teacher = Teacher::new(context, store)?;
    let judge = Judge::new(context, store, task)?;
    let Some(prompts) = prompts(context, store, task, base)? else { return Ok(first) };
    let (mut student, mut best, mut done, mut corrections) = (first.clone(), first, Vec::new(), Part::<Train>::default());
    for round in 1..=config.rounds {
        let wrong = judge.mistakes(&student.adapter, &prompts)?;
        let mut row = Round::new(round, prompts.len(), wrong.len());
        let asked = few(&wrong, config.max_calls, context.config.seed);
        let (answered, predictions) = teacher.answers(&asked, &mut row)?;
        row.corrected = judge.unlike(&answered, &predictions)?.len();
        row.repeated = answered.len() - row.corrected;
        if answered.is_empty() {
            context.ui.status(&format!("on-policy `{}` on `{}`: {}", task.name, base.name, row.told()));
            done.push(row);
            break;
        }
        let calls =
            answered.iter().zip(&predictions).filter_map(|(call, prediction)| teacher.corrected(call, prediction.response.clone()?));
        let calls: Vec<_> = calls.collect();
        let again = (0..config.weight).flat_map(|_| calls.iter().cloned());
        corrections.append(split(again, context.config.seed, context.config.split).train);
        let Some(next) = train(context, store, task, base, &corrections)? else { break };
        row.validation_right = next.adapter.validation_right;
        context.ui.status(&format!("on-policy `{}` on `{}`: {}", task.name, base.name, row.told()));
        done.push(row);
        student = next;
        if student.adapter.validation_right >= best.adapter.validation_right {
            best = student.clone();
        }
    }
    best.on_policy = done;
    Ok(best)
}

/// What the rounds may ask at most, of prompts that were not asked before.
///
/// # Errors
/// When a price list or the model cannot be read, or the store refuses.
pub fn bound(context: &Context, store: &Store, task: &Task, base: &Base) -> anyhow::Result<Option<Bound>> {
    let config = &context.config.on_policy;
    if config.rounds == 0 {
        return Ok(None);
    }
    let teacher = Teacher::new(context, store)?;
    let mut new = Vec::new();
    for call in prompts(context, store, task, base)?.unwrap_or_default().iter() {
        if store.predictions(&teacher.unit(call))?.is_none() {
            new.push(call.response.usage());
        }
    }
    let prices = costs::prices(context)?;
    let price = prices.lookup(&teacher.ask.model);
    let each: Option<Vec<f64>> = price.and_then(|price| new.iter().map(|usage| price.cost(*usage)).collect());
    let most = config.max_calls.saturating_mul(config.rounds as usize).min(new.len());
    let teacher_usd = each.map(|mut each| {
        each.sort_unstable_by(|one, other| other.total_cmp(one));
        each[..most].iter().sum()
    });
    Ok(Some(Bound { teacher_calls: most, teacher_usd }))
}

impl Round {
    const fn new(round: u32, answered: usize, wrong: usize) -> Self {
        Self {
            round,
            answered,
            wrong,
            asked: 0,
            known: 0,
            failed: 0,
            withheld: 0,
            repeated: 0,
            corrected: 0,
            usd: None,
            validation_right: None,
        }
    }

    fn told(&self) -> String {
        let Self { round, answered, wrong, asked, known, failed, withheld, repeated, corrected, .. } = self;
        format!(
            "round {round}, {wrong} of {answered} prompts answered otherwise; {asked} asked for {} USD, {known} known, {failed} failed, \
             {withheld} withheld; {repeated} as logged, {corrected} otherwise{}",
            usd(self.usd),
            validated(self.validation_right)
        )
    }
}

/// The calls that a model learns from, of each prompt the first; what validates is not among them.
fn prompts(context: &Context, store: &Store, task: &Task, base: &Base) -> anyhow::Result<Option<Part<Train>>> {
    let parts = parts::of_task(context, store, &task.task)?;
    // each call by itself, so that every one that is learnt from has a place
    let settings = Finetune { batching: Batching::Independent, ..settings(context, &parts) };
    let Some(examples) = examples(context, "on-policy", &settings, &parts, task, base)? else { return Ok(None) };
    let learnt: BTreeSet<usize> = examples.train.iter().map(|example| example.position).collect();
    let (mut seen, mut place) = (BTreeSet::new(), 0);
    Ok(Some(parts.train.filter(|call| {
        place += 1;
        learnt.contains(&(place - 1)) && seen.insert(asked(call))
    })))
}

/// Identity of what is asked.
fn asked(call: &Call) -> Fingerprint {
    Fingerprint::of_bytes(call.request.0.to_string().as_bytes())
}

/// At most so many calls, spread over the part.
fn few(part: &Part<Train>, most: usize, seed: u64) -> Part<Train> {
    let mark = |call: &Call| Fingerprint::of_bytes(format!("{seed} {}", call.source_id).as_bytes());
    let mut marks: Vec<Fingerprint> = part.iter().map(|call| mark(call)).collect();
    marks.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    match marks.get(most) {
        Some(first_left_out) => part.filter(|call| mark(call).0 < first_left_out.0),
        None => part.clone(),
    }
}

/// What an answer of the teacher depends on besides the prompt.
#[derive(Serialize)]
struct Ask {
    url: String,
    model: String,
    max_tokens: u64,
    top_logprobs: u8,
}

impl Step for Ask {
    const NAME: &'static str = "ask";
    const REVISION: u32 = 1;
}

/// The teacher's endpoint, with all it ever answered.
struct Teacher<'a> {
    context: &'a Context,
    store: &'a Store,
    endpoint: Endpoint,
    scrubber: Scrubber,
    ask: Ask,
}

/// Why an answer is not used.
const WITHHELD: &str = "withheld by the scrubber";

impl<'a> Teacher<'a> {
    fn new(context: &'a Context, store: &'a Store) -> anyhow::Result<Self> {
        let OnPolicy { endpoint, model, top_logprobs, .. } = context.config.on_policy.clone();
        let (Some(url), Some(model)) = (endpoint, model) else {
            return Err(hinted(
                "on-policy rounds ask the teacher, and no endpoint of it is named",
                "`--teacher-endpoint URL --teacher-endpoint-model NAME` names it",
            ));
        };
        let (max_tokens, timeout) = (1024, Duration::from_secs(120));
        let endpoint =
            Endpoint { url: url.clone(), model: model.clone(), key: endpoint_key(), max_tokens, top_logprobs, timeout, retries: 3 };
        let ask = Ask { url, model, max_tokens, top_logprobs };
        Ok(Self { context, store, endpoint, scrubber: context.config.scrub.compile()?, ask })
    }

    fn unit(&self, call: &Call) -> Fingerprint {
        Fingerprint::of(&self.ask, &[&asked(call)])
    }

    /// The calls that the teacher answered, with its answers, scrubbed. Each answer is kept before the next is asked for, so that no
    /// prompt is paid for twice.
    fn answers(&mut self, part: &Part<Train>, row: &mut Round) -> anyhow::Result<(Part<Train>, Vec<Prediction>)> {
        let units: Vec<Fingerprint> = part.iter().map(|call| self.unit(call)).collect();
        let kept = |store: &Store| -> anyhow::Result<Vec<Option<Prediction>>> {
            let one = |unit| Ok(store.predictions(unit)?.and_then(|mut kept| kept.pop()).map(|(_, prediction)| prediction));
            units.iter().map(one).collect()
        };
        let before = kept(self.store)?;
        let missing: Vec<usize> = (0..part.len()).filter(|place| before[*place].is_none()).collect();
        let prompts: Vec<_> = missing.iter().map(|place| part[*place].prompt()).collect();
        let price = costs::prices(self.context)?.lookup(&self.ask.model).cloned();
        let (mut spent, mut trouble) = (price.as_ref().map(|_| 0.0), Ok(()));
        let mut endpoint = self.endpoint.clone();
        endpoint
            .each(&prompts, &self.context.ui, &mut |place, prediction| {
                let Some(response) = prediction.response else {
                    row.failed += 1;
                    return;
                };
                spent = spent.zip(price.as_ref().and_then(|price| price.cost(response.usage()))).map(|(sum, cost)| sum + cost);
                let call = &part[missing[place]];
                let clean = self.corrected(call, response);
                let error = clean.is_none().then(|| WITHHELD.to_owned());
                let prediction = Prediction { response: clean.map(|call| call.response.clone()), error, latency_ms: None, ..prediction };
                let written = self.store.put_predictions(&units[missing[place]], &[(call.source_id.clone(), prediction)]);
                if trouble.is_ok() {
                    trouble = written;
                }
            })
            .map_err(|error| {
                let hint = "what it answered is kept, the same command goes on; `SLM_MIGRATE_ENDPOINT_KEY` holds the bearer token";
                hinted(error.to_string(), hint)
            })?;
        self.endpoint = endpoint;
        trouble?;
        (row.asked, row.known, row.usd) = (missing.len(), part.len() - missing.len(), spent);
        let all = kept(self.store)?;
        row.withheld = all.iter().flatten().filter(|prediction| prediction.response.is_none()).count();
        let mut usable = all.iter().map(|prediction| prediction.as_ref().is_some_and(|prediction| prediction.response.is_some()));
        let answered = part.filter(|_| usable.next().unwrap_or(false));
        Ok((answered, all.into_iter().flatten().filter(|prediction| prediction.response.is_some()).collect()))
    }

    /// A call with an answer of the teacher in place of the logged one; none where personal data could not be taken out of it.
    fn corrected(&self, call: &Clean<Call>, response: Response) -> Option<Clean<Call>> {
        correct(&self.scrubber, call, response, &self.ask.model)
    }
}

/// As [`Teacher::corrected`], by the teacher of that name. A call that was clean before stays as it was but for the answer.
fn correct(scrubber: &Scrubber, call: &Clean<Call>, mut response: Response, model: &str) -> Option<Clean<Call>> {
    response.message()?;
    response.0["model"] = model.into();
    let mut answered = Call { response, latency_ms: None, cost_usd: None, ..call.clone().into_inner() };
    answered.feedback.clear();
    scrubber.conversation(vec![answered]).ok()?.calls.pop()
}

#[cfg(test)]
mod tests {
    use super::{correct, few};
    use record::{Call, Clean, Response, Shares, split};
    use scrub::Scrub;
    use serde_json::json;

    #[expect(clippy::disallowed_methods, reason = "the call is made up: there is nothing to scrub")]
    fn call(id: usize) -> Clean<Call> {
        let request = json!({"messages": [{"role": "user", "content": "who is it? someone@example.com"}]});
        let row = json!({"source_id": format!("s{id}"), "conversation_id": "c", "request": request, "feedback": {"reward": 0},
            "response": {"choices": [{"message": {"role": "assistant", "content": "nobody"}}]}});
        Clean::vouch(serde_json::from_value(row).expect("a record"))
    }

    #[test]
    fn what_the_teacher_says_is_scrubbed_and_the_prompt_stays() {
        let scrubber = Scrub::default().compile().expect("the default configuration compiles");
        let answer = |text: &str| json!({"role": "assistant", "content": text});
        let logprobs = json!({"content": [{"token": "x", "bytes": "it is ann.lee@mail.test".as_bytes(), "logprob": -0.1}]});
        let response = Response(json!({"choices": [{"message": answer("it is ann.lee@mail.test"), "logprobs": logprobs}]}));
        let clean = correct(&scrubber, &call(1), response, "teacher").expect("nothing is left of it");
        assert_eq!((&clean.request, clean.model(), clean.feedback.len()), (&call(1).request, "teacher", 0));
        let text = serde_json::to_string(&clean).expect("plain JSON");
        assert!(!text.contains("ann.lee") && clean.response.text().starts_with("it is ") && clean.response.logprobs().is_none(), "{text}");
        assert_eq!(correct(&scrubber, &call(1), Response(json!({"choices": []})), "teacher"), None);
    }

    #[test]
    fn a_few_calls_are_the_same_few_each_time() {
        let part = split((0..50).map(call), 7, Shares { calibration: 0.0, held: 0.0 }).train;
        let ids = |most| few(&part, most, 7).iter().map(|call| call.source_id.clone()).collect::<Vec<_>>();
        assert_eq!((ids(10).len(), ids(50).len(), ids(80).len()), (10, 50, 50));
        assert_eq!(ids(10), ids(10));
        assert!(ids(10).iter().all(|id| ids(20).contains(id)) && ids(10) != ids(50)[..10]);
    }
}
