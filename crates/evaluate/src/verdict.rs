//! The decision for one task, with its reason in numbers.
use record::{Decision, Held, Metric, Score, Task, Verdict};
use serde::{Deserialize, Serialize};
use stats::{power_n, refuting_n, zero_error_n};

use crate::{Certificate, Evaluate, Floor, Judged};

/// Chance that an equally good small model passes once the rows asked for are there.
const POWER: f64 = 0.8;

/// What two bounds must differ by to differ at all: for one wrong answer of one, the exact upper bound *is* 1 − α.
const ROUNDING: f64 = 1e-9;

/// What answering the task's logged calls costs, in US dollars. None where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// As logged.
    pub before_usd: Option<f64>,
    /// Had the small model answered all of them, with its share of tuning and judging.
    pub small_usd: Option<f64>,
}

/// Everything a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The task.
    pub task: &'a Task,
    /// Conversations of the task that are held out.
    pub held_conversations: u64,
    /// The contender chosen on the calibration split; none where none was trained.
    pub best: Option<&'a Judged<Held>>,
    /// A certified confidence, if there is one.
    pub certificate: Option<&'a Certificate>,
    /// The large model's agreement with itself, if measured.
    pub floor: Option<&'a Floor>,
    /// What answers without tuning reach (the base model, the majority answer).
    pub baselines: &'a [Score],
    /// What it costs.
    pub costs: Costs,
    /// Why no small model may take the task whatever its score (licence, context, memory, …).
    pub vetoes: &'a [String],
    /// How often the held-out calls of this task were looked at, this time included.
    pub looks: u32,
}

impl Evaluate {
    /// Decides one task.
    #[must_use]
    pub fn verdict(&self, evidence: &Evidence<'_>) -> Verdict {
        let decided = Case { config: self, evidence, bar: self.bar_for(evidence) }.decide();
        let mut score = evidence.best.map(|best| best.score.clone());
        if let Some(score) = &mut score {
            score.beside.insert("looks".to_owned(), f64::from(evidence.looks));
        }
        let (small_share, threshold) = match decided.decision {
            Decision::Replace => (1.0, None),
            Decision::Route => (decided.share, evidence.certificate.map(|certificate| certificate.threshold)),
            Decision::Keep | Decision::Insufficient => (0.0, None),
        };
        Verdict {
            task: evidence.task.task.clone(),
            candidate: evidence.best.map(|best| best.score.candidate.clone()),
            decision: decided.decision,
            reason: decided.reason,
            needed: decided.needed,
            bar: self.bar_for(evidence),
            threshold,
            small_share,
            cost_before_usd: evidence.costs.before_usd,
            cost_after_usd: after(evidence.costs, decided.decision, decided.share),
            score,
        }
    }

    /// The bar a task must reach. Only where configured, and where enough repeated prompts show that
    /// the large model does not agree with itself that often, it is the *upper* bound of its
    /// agreement less the margin: comparing two bounds asks more than the paired test would. Where
    /// the same prompts were judged, the paired test must not object either.
    fn bar_for(&self, evidence: &Evidence<'_>) -> f64 {
        let Some(floor) = evidence.floor.filter(|floor| self.against_floor && floor.prompts >= self.floor_prompts) else {
            return self.bar;
        };
        let paired = evidence.best.and_then(|best| floor.paired_lower(best, self.alpha));
        let objects = paired.is_some_and(|(lower, n)| n >= self.floor_prompts && lower <= -self.margin);
        match floor.score.upper {
            Some(upper) if !objects => self.bar.min(upper - self.margin),
            _ => self.bar,
        }
    }
}

/// The calls' cost once a decision is in force.
fn after(costs: Costs, decision: Decision, share: f64) -> Option<f64> {
    match decision {
        Decision::Replace => costs.small_usd,
        // A call that is handed on was tried by the small model first.
        Decision::Route => Some(costs.small_usd? + (1.0 - share) * costs.before_usd?),
        Decision::Keep | Decision::Insufficient => costs.before_usd,
    }
}

struct Decided {
    decision: Decision,
    reason: String,
    needed: Option<u64>,
    share: f64,
}

impl Decided {
    fn new(decision: Decision, reason: String) -> Self {
        Self { decision, reason, needed: None, share: 0.0 }
    }
}

struct Case<'a> {
    config: &'a Evaluate,
    evidence: &'a Evidence<'a>,
    bar: f64,
}

impl Case<'_> {
    fn decide(&self) -> Decided {
        let evidence = self.evidence;
        if evidence.task.noise {
            return Decided::new(Decision::Keep, "these calls belong to no task; they stay with the large model".to_owned());
        }
        if !evidence.vetoes.is_empty() {
            return Decided::new(Decision::Keep, format!("no small model may take it: {}", evidence.vetoes.join("; ")));
        }
        let measured = evidence.best.and_then(|best| Some((best, best.score.lower?, best.score.upper?)));
        let Some((best, lower, upper)) = measured else { return self.unmeasured() };
        let free_text = best.score.metric == Metric::RougeL;
        let obstacle = if free_text {
            Some("but free text has no check that could certify it: a person or a judge must".to_owned())
        } else {
            self.obstacle(best)
        };
        if lower >= self.bar && obstacle.is_none() {
            let words = format!("lower bound {lower:.3} reaches the bar {:.3}{}", self.bar, self.saving(Decision::Replace, 1.0));
            return Decided::new(Decision::Replace, self.sentence(best, &words));
        }
        let mut unrouted = String::new();
        match self.route(best) {
            Some(Ok(decided)) => return decided,
            Some(Err(why)) => unrouted = why,
            None => {}
        }
        if upper < self.bar - ROUNDING {
            let words = format!("upper bound {upper:.3} is below the bar {:.3}{unrouted}", self.bar);
            return Decided::new(Decision::Keep, self.sentence(best, &words));
        }
        if let Some(obstacle) = obstacle.filter(|_| lower >= self.bar || (free_text && self.enough(best))) {
            return Decided::new(Decision::Keep, self.sentence(best, &format!("bounds {lower:.3} to {upper:.3}, {obstacle}{unrouted}")));
        }
        self.open(best, (lower, upper), &unrouted)
    }

    /// Nothing was judged.
    fn unmeasured(&self) -> Decided {
        let held = self.evidence.held_conversations;
        let least = zero_error_n(self.bar, self.config.alpha).unwrap_or(u64::MAX);
        if held >= least {
            return Decided::new(Decision::Keep, format!("no small model was judged on its {held} held-out conversations"));
        }
        let needed = least - held;
        let reason =
            format!("{held} held-out conversations; even without an error {least} are needed for the bar {:.3}: {needed} more", self.bar);
        Decided { needed: Some(needed), ..Decided::new(Decision::Insufficient, reason) }
    }

    /// What forbids a replacement although the bound may reach the bar.
    fn obstacle(&self, best: &Judged<Held>) -> Option<String> {
        let valid = best.score.beside.get("schema_validity_lower").copied();
        if let (Metric::FieldF1, Some(valid)) = (best.score.metric, valid)
            && valid < self.bar
        {
            return Some(format!("but only {valid:.3} (lower bound) of its answers satisfy the schema"));
        }
        let share = self.saved(Decision::Replace, 1.0)?;
        (share <= self.config.min_saving).then(|| format!("but it would save {:.1} % of the cost", 100.0 * share))
    }

    /// A certified share of the calls: the decision, or why it does not hold.
    fn route(&self, best: &Judged<Held>) -> Option<Result<Decided, String>> {
        let certificate = self.evidence.certificate?;
        let accepted = best.rows.iter().filter(|row| row.confidence.is_some_and(|c| c >= certificate.threshold));
        let (x, n) = accepted.fold((0_u64, 0_u64), |(x, n), row| (x + u64::from(row.exact), n + 1));
        let share = if best.rows.is_empty() { 0.0 } else { n as f64 / best.rows.len() as f64 };
        if share < self.config.min_share {
            let least = 100.0 * self.config.min_share;
            return Some(Err(format!("; a certified confidence would move only {:.0} % of its calls (least {least:.0} %)", 100.0 * share)));
        }
        let held = stats::clopper_pearson(x, n, self.config.alpha);
        if held.upper < self.config.bar {
            return Some(Err(format!("; the certified confidence does not hold on held-out calls ({x} of {n} right)")));
        }
        if self.saved(Decision::Route, share).is_some_and(|saved| saved <= self.config.min_saving) {
            return Some(Err("; routing by confidence would save nothing".to_owned()));
        }
        let warning = if best.score.metric == Metric::RougeL { "; it is free text: read its answers first" } else { "" };
        let words = format!(
            "all of it misses the bar {:.3}, but from confidence {:.3} on it takes {:.0} % of the calls with {x} of {n} right (certified on {} calibration conversations, p = {:.3}){}{warning}",
            self.bar,
            certificate.threshold,
            100.0 * share,
            certificate.accepted,
            certificate.p_value,
            self.saving(Decision::Route, share)
        );
        Some(Ok(Decided { share, ..Decided::new(Decision::Route, self.sentence(best, &words)) }))
    }

    /// The bounds leave the bar open.
    fn open(&self, best: &Judged<Held>, (lower, upper): (f64, f64), unrouted: &str) -> Decided {
        let needed = self.needed(best);
        let more = match needed {
            Some(needed) => format!("{needed} more held-out conversations needed"),
            None => "agreement lies so close to the bar that more data would hardly tell".to_owned(),
        };
        let words = format!("bounds {lower:.3} to {upper:.3} leave the bar {:.3} open: {more}{unrouted}", self.bar);
        Decided { needed, ..Decided::new(Decision::Insufficient, self.sentence(best, &words)) }
    }

    /// Held-out conversations still needed at the agreement seen so far: to reach the bar with a
    /// chance of 80 %, or to show that it lies below. At least one.
    fn needed(&self, best: &Judged<Held>) -> Option<u64> {
        let (rate, alpha) = (best.score.score?, self.config.alpha);
        let worth = best.score.beside.get("n_effective").copied().unwrap_or(best.score.conversations as f64).max(1.0);
        let rows = if rate > self.bar { power_n(self.bar, rate, alpha, POWER) } else { refuting_n(self.bar, rate, alpha) }?;
        // A conversation may be worth more than one independent row.
        let conversations = rows as f64 * best.score.conversations as f64 / worth;
        Some((conversations.ceil() as u64).saturating_sub(best.score.conversations).max(1))
    }

    fn enough(&self, best: &Judged<Held>) -> bool {
        zero_error_n(self.bar, self.config.alpha).is_some_and(|least| best.score.conversations >= least)
    }

    /// Share of the cost that a decision saves; none where a price is unknown.
    fn saved(&self, decision: Decision, share: f64) -> Option<f64> {
        let before = self.evidence.costs.before_usd.filter(|before| *before > 0.0)?;
        Some(1.0 - after(self.evidence.costs, decision, share)? / before)
    }

    fn saving(&self, decision: Decision, share: f64) -> String {
        self.saved(decision, share)
            .map_or_else(|| "; the saving is unknown".to_owned(), |saved| format!("; it saves {:.1} % of the cost", 100.0 * saved))
    }

    fn sentence(&self, best: &Judged<Held>, words: &str) -> String {
        let score = &best.score;
        let mean = score.score.unwrap_or(0.0);
        let mut text = format!("agreement {mean:.3} on {} held-out calls of {} conversations, {words}", score.n, score.conversations);
        if let Some(floor) = self.evidence.floor {
            let own = floor.score.score.unwrap_or(0.0);
            text += &format!("; the large model agrees with itself {own:.3} on {} repeated prompts", floor.prompts);
        }
        if self.bar < self.config.bar {
            text += &format!(", so the bar is that bound less {:.3} instead of {:.3}", self.config.margin, self.config.bar);
        }
        let rivals = self.evidence.baselines.iter().filter_map(|rival| Some(format!("{} {:.3}", rival.candidate, rival.score?)));
        let rivals: Vec<_> = rivals.collect();
        if !rivals.is_empty() {
            text += &format!("; beside it {}", rivals.join(", "));
        }
        if self.evidence.looks > 1 {
            text += &format!("; look {} at these calls, so the bound flatters", self.evidence.looks);
        }
        text
    }
}
