//! The report as one self-contained HTML page.
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::words::{money, number, verdict_words};
use crate::{Report, TaskReport, chart};

const STYLE: &str = include_str!("style.css");

pub fn page(report: &Report) -> String {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "slm-migrate report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "What can move to a small model" }
                    (lead(report))
                    h2 { "Tasks" }
                    (task_table(report))
                    (cost(report))
                    h2 { "From log to tasks" }
                    (funnel(report))
                    h2 { "Task by task" }
                    @for task in &report.tasks { (detail(task)) }
                    h2 { "How to read this" }
                    (notes(report))
                }
            }
        }
    };
    body.into_string() + "\n"
}

fn lead(report: &Report) -> Markup {
    let log = &report.log;
    html! {
        p class="lead" {
            (number(log.calls)) " calls in " (number(log.conversations)) " conversations"
            @if let (Some(first), Some(last)) = (log.first, log.last) { ", " (first.to_string()) " to " (last.to_string()) }
            ". Answered by " (log.models.iter().map(|(model, calls)| format!("{model} ({})", number(*calls))).collect::<Vec<_>>().join(", ")) "."
        }
    }
}

fn task_table(report: &Report) -> Markup {
    html! {
        div class="wide" {
            table {
                thead { tr { @for column in Report::COLUMNS { th { (column) } } } }
                tbody {
                    @for (task, row) in report.tasks.iter().zip(report.rows()) {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @if index == 0 { td { a href=(format!("#{}", task.task.task)) { (cell) } } }
                                @else if index == 5 { td class=(task.decision().to_string()) { (cell) } }
                                @else { td class=[matches!(index, 1 | 2).then_some("number")] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cost(report: &Report) -> Markup {
    html! {
        @if let (Some(before), Some(after)) = (report.cost.before_usd, report.cost.after_usd) {
            p { "Cost of these calls: " strong { (money(before)) } " as logged, " strong { (money(after)) } " with every verdict in force." }
        }
        @if !report.cost.prices.is_empty() {
            details { summary { "Prices used" } ul { @for price in &report.cost.prices { li { (price) } } } }
        }
    }
}

fn funnel(report: &Report) -> Markup {
    let most = report.funnel.iter().map(|stage| stage.calls).max().unwrap_or(1).max(1);
    html! {
        table class="funnel" {
            @for stage in &report.funnel {
                tr {
                    td { (stage.name) }
                    td class="number" { (number(stage.calls)) }
                    td { meter min="0" max=(most) value=(stage.calls) {} }
                    td { (stage.note) }
                }
            }
        }
        @if !report.scrubbed.is_empty() {
            details {
                summary { "Personal data and secrets replaced" }
                table {
                    thead { tr { th { "class" } th { "found by" } th { "places" } } }
                    @for row in &report.scrubbed { tr { td { (row.class) } td { (row.method) } td class="number" { (number(row.count)) } } }
                }
            }
        }
    }
}

fn detail(task: &TaskReport) -> Markup {
    let facts = &task.task;
    html! {
        section id=(facts.task) {
            h3 { (facts.name) " " span class=(format!("tag {}", task.decision())) { (verdict_words(task)) } }
            p {
                (number(facts.calls)) " calls, " (number(facts.conversations)) " conversations, " (money(facts.cost_usd))
                "; prompts of " (number(facts.prompt_tokens[0])) " tokens (99th percentile " (number(facts.prompt_tokens[1])) "), answers of "
                (number(facts.answer_tokens[0])) " (" (number(facts.answer_tokens[1])) ")"
                @if let Some(teacher) = &task.teacher { "; reference answers by " (teacher) } "."
            }
            @if let Some(verdict) = &task.verdict { p { "Why: " (verdict.reason) "." } }
            @if !task.scores.is_empty() {
                figure {
                    (chart::scores(&task.scores, task.verdict.as_ref().map_or(0.95, |v| v.bar)))
                    figcaption { "Agreement with the log on held-out calls; lines are one-sided 95 % bounds, the dashed line is the bar." }
                }
            }
            @if !task.curve.is_empty() { figure { (chart::losses(&task.curve)) } }
            @if let Some(adapter) = &task.adapter {
                p class="small" {
                    @if adapter.rank == 0 { "All weights of " (adapter.model) " tuned (" (adapter.fingerprint.short()) "): " }
                    @else { "Adapter " (adapter.fingerprint.short()) " on " (adapter.model) ": rank " (adapter.rank) ", " } (number(adapter.examples)) " examples, "
                    (number(adapter.steps)) " steps, best at " (number(adapter.best_step)) "."
                    @for (why, count) in &adapter.left_out { " Left out: " (number(*count)) " " (why) "." }
                }
            }
            @if !task.candidates.is_empty() {
                details {
                    summary { (number(task.candidates.len() as u64)) " models considered" }
                    table {
                        thead { tr { th { "rank" } th { "model" } th { "why" } } }
                        @for candidate in &task.candidates {
                            tr {
                                td class="number" { @match candidate.rank { Some(rank) => { (rank) } None => { "–" } } }
                                td { (candidate.model) }
                                td {
                                    @if let Some(filter) = &candidate.rejected_by { strong { "rejected (" (filter) ")" } " " }
                                    (candidate.reasons.join("; "))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn notes(report: &Report) -> Markup {
    html! {
        ul {
            li { "The logged answer of the large model is the reference, not the truth. Where prompts repeat, its agreement with itself stands beside the others." }
            li { "Every figure is measured on conversations on which nothing was fitted: not the tasks, not the choice of model, not the training, not the thresholds." }
            li { "A task is replaced only if the lower bound reaches the bar, and kept only if the upper bound stays below it; else there is too little data to say." }
            @for note in &report.notes { li { (note) } }
            li { "slm-migrate " (report.version) ", seed " (report.seed) "." }
        }
    }
}
