//! The report as Markdown, short enough for a job summary.
use std::fmt::Write;

use crate::words::{money, number};
use crate::{Report, TaskReport};

pub fn text(report: &Report) -> String {
    let mut text = String::from("# What can move to a small model\n\n");
    let log = &report.log;
    let _ = writeln!(text, "{} calls in {} conversations.\n", number(log.calls), number(log.conversations));
    table(&mut text, &Report::COLUMNS, &report.rows());
    if let (Some(before), Some(after)) = (report.cost.before_usd, report.cost.after_usd) {
        let _ = writeln!(text, "\nCost of these calls: {} as logged, {} with every verdict in force.", money(before), money(after));
    }
    text += "\n## From log to tasks\n\n";
    let stages: Vec<_> = report.funnel.iter().map(|s| vec![s.name.clone(), number(s.calls), s.note.clone()]).collect();
    table(&mut text, &["stage", "calls", "note"], &stages);
    text += "\n## Task by task\n";
    for task in &report.tasks {
        detail(&mut text, task);
    }
    text += "\n## Notes\n\n";
    for note in report.cost.prices.iter().chain(&report.notes) {
        let _ = writeln!(text, "- {note}");
    }
    let _ = writeln!(text, "- slm-migrate {}, seed {}.", report.version, report.seed);
    text
}

fn detail(text: &mut String, task: &TaskReport) {
    let _ = writeln!(text, "\n### {}\n", task.task.name);
    if let Some(verdict) = &task.verdict {
        let _ = writeln!(text, "**{}**: {}\n", verdict.decision, verdict.reason);
    }
    let rows = task.scores.iter().map(|score| {
        let figure = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| format!("{v:.3}"));
        vec![
            score.candidate.clone(),
            figure(score.score),
            figure(score.lower),
            figure(score.upper),
            number(score.n),
            number(score.conversations),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        table(text, &["contender", "agreement", "lower", "upper", "calls", "conversations"], &rows);
    }
}

fn table(text: &mut String, columns: &[&str], rows: &[Vec<String>]) {
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    };
    line(&mut columns.iter().map(|c| (*c).to_owned()));
    line(&mut columns.iter().map(|_| "---".to_owned()));
    for row in rows {
        line(&mut row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")));
    }
}
