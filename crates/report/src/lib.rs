//! A run → one page for people and the same facts for machines: HTML, Markdown, JSON, JUnit.
//!
//! Only formats what it is handed. Knows no store, no clock and no terminal; the same run gives the
//! same bytes.
mod chart;
mod html;
mod junit;
mod markdown;
mod words;

use record::{Adapter, Candidate, Decision, Score, Task, Time, Verdict};
use serde::{Deserialize, Serialize};

pub use junit::junit;
pub use words::{agreement, money, number, verdict_words};

/// Everything a report says. Its JSON form is this struct.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout.
    pub schema_version: u32,
    /// Version of the program.
    pub version: String,
    /// Seed of the run.
    pub seed: u64,
    /// The log the run was made from.
    pub log: Log,
    /// What became of its rows.
    pub funnel: Vec<Stage>,
    /// What the scrubber replaced, by class and method.
    pub scrubbed: Vec<Scrubbed>,
    /// Tasks, costliest first.
    pub tasks: Vec<TaskReport>,
    /// Cost of all tasks.
    pub cost: Cost,
    /// What a reader must know to judge the figures (budget, what was left out, prices).
    pub notes: Vec<String>,
}

/// The log in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Calls taken.
    pub calls: u64,
    /// Conversations they belong to.
    pub conversations: u64,
    /// Large models that answered, with the number of calls each.
    pub models: Vec<(String, u64)>,
    /// Time of the first call.
    pub first: Option<Time>,
    /// Time of the last call.
    pub last: Option<Time>,
}

/// One stage of the funnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What is counted.
    pub name: String,
    /// How many calls reached it.
    pub calls: u64,
    /// What was lost or set aside here.
    pub note: String,
}

/// Replacements of one class by one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Class of personal data (`email`, `card`, …).
    pub class: String,
    /// How it was found (`pattern`, `key`, `conversation`, …).
    pub method: String,
    /// Number of places rewritten.
    pub count: u64,
}

/// One task and everything measured about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: Task,
    /// The large model whose answers are the reference.
    pub teacher: Option<String>,
    /// The decision.
    pub verdict: Option<Verdict>,
    /// All contenders' scores on the held-out calls.
    pub scores: Vec<Score>,
    /// Models considered.
    pub candidates: Vec<Candidate>,
    /// The adapter judged.
    pub adapter: Option<Adapter>,
    /// Loss by optimiser step.
    pub curve: Vec<Point>,
}

/// One point of a loss curve, in nats per answer token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Optimiser step.
    pub step: u64,
    /// Training loss.
    pub train: Option<f64>,
    /// Validation loss.
    pub validation: Option<f64>,
}

/// Cost before and after, in US dollars over the logged calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// As logged.
    pub before_usd: Option<f64>,
    /// Had all verdicts been in force.
    pub after_usd: Option<f64>,
    /// Prices used: model, matched key, date, figures.
    pub prices: Vec<String>,
}

/// One gate as a JUnit case.
#[derive(Clone, Debug, PartialEq)]
pub struct GateCase {
    /// Name of the task: the suite.
    pub task: String,
    /// What is asked: the case.
    pub gate: String,
    /// Whether it passed; none with too little data to say.
    pub passed: Option<bool>,
    /// Why.
    pub reason: String,
    /// Figures by name.
    pub figures: Vec<(String, f64)>,
    /// Calls or conversations it rests on.
    pub n: u64,
}

impl TaskReport {
    /// The decision; no verdict at all means too little is known.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.verdict.as_ref().map_or(Decision::Insufficient, |verdict| verdict.decision)
    }
}

impl Report {
    /// Columns of [`Report::rows`].
    pub const COLUMNS: [&'static str; 6] = ["task", "calls", "cost share", "small model", "agreement (95 % bound, n)", "verdict"];

    /// The task table as text cells.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<String>> {
        self.tasks.iter().map(|task| self.row(task)).collect()
    }

    fn row(&self, task: &TaskReport) -> Vec<String> {
        let total: f64 = self.tasks.iter().map(|t| t.task.cost_usd).sum();
        let share = if total > 0.0 { format!("{:.1} %", 100.0 * task.task.cost_usd / total) } else { "–".into() };
        let model = task.verdict.as_ref().and_then(|v| v.candidate.clone()).unwrap_or_else(|| "–".into());
        vec![task.task.name.clone(), number(task.task.calls), share, model, agreement(task), verdict_words(task)]
    }

    /// One self-contained page: no script, no font and no picture from elsewhere.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::text(self)
    }

    /// The report as indented JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data, which always serialises") + "\n"
    }

    /// A JUnit file: a suite for each task, its gate as the case. A gate that failed is a failure,
    /// too little data is skipped.
    #[must_use]
    pub fn junit(&self) -> String {
        junit::of_report(self)
    }
}
