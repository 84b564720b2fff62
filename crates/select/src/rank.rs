//! The order in which models are worth trying on a task.
//!
//! By one public column: for tool calls one function-calling board, for everything else instruction following. Rows of
//! different boards are never mixed, and a model without the column ranks behind those with it, its score unknown.
use std::collections::BTreeMap;

use record::{Candidate, Task, TaskKind};

use crate::catalogue::{Catalogue, Figure, Model};
use crate::{Select, filter};

/// Models of one family among the first candidates.
const PER_FAMILY: usize = 2;
/// At least one of the first candidates has no more parameters than this.
const SMALL: u64 = 1_000_000_000;

struct Passed<'a> {
    model: &'a Model,
    score: Option<f64>,
    reasons: Vec<String>,
}

/// Ranks the catalogue for one task.
pub(crate) fn rank(select: &Select, task: &Task, catalogue: &Catalogue) -> Vec<Candidate> {
    let (mut passed, mut rejected) = (Vec::new(), Vec::new());
    for model in &catalogue.models {
        match filter::check(select, task, model) {
            Ok(reasons) => passed.push(Passed { model, score: None, reasons }),
            Err((by, why)) => rejected.push(candidate(task, model, None, None, vec![why], Some(by))),
        }
    }
    score(task, &mut passed);
    let order = order(select, passed);
    let mut ranked = Vec::new();
    for (place, mut one) in order.into_iter().enumerate() {
        let rank = u32::try_from(place + 1).unwrap_or(u32::MAX);
        if place < select.candidates || one.model.path.is_some() {
            ranked.push(candidate(task, one.model, Some(rank), one.score, one.reasons, None));
        } else {
            one.reasons.insert(0, format!("{} candidates come before it", select.candidates));
            rejected.push(candidate(task, one.model, None, one.score, one.reasons, Some("places")));
        }
    }
    // ranks without gaps, though models with local weights were kept from beyond the last place
    (1..).zip(&mut ranked).for_each(|(rank, candidate)| candidate.rank = Some(rank));
    ranked.extend(rejected);
    ranked
}

fn candidate(
    task: &Task,
    model: &Model,
    rank: Option<u32>,
    score: Option<f64>,
    reasons: Vec<String>,
    rejected_by: Option<&str>,
) -> Candidate {
    Candidate {
        task: task.task.clone(),
        model: model.id.clone(),
        rank,
        score,
        reasons,
        rejected_by: rejected_by.map(str::to_owned),
        path: model.path.clone(),
    }
}

/// Gives each model the score of the column that fits the task.
fn score(task: &Task, passed: &mut [Passed<'_>]) {
    if task.kind == TaskKind::ToolCall {
        let Some(board) = widest_board(passed) else { return };
        for one in passed {
            let rows = one.model.bfcl.iter().filter(|row| row.board == board).filter_map(|row| Some((row.score()?, row)));
            let best = rows.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.row.cmp(&a.1.row)));
            one.score = best.map(|(score, _)| score);
            one.reasons.insert(
                0,
                best.map_or_else(|| format!("BFCL {board}: unknown"), |(score, row)| format!("BFCL {board}: {score:.3} ({})", row.row)),
            );
        }
        return;
    }
    for one in passed {
        let figure = lowest(&one.model.ifeval);
        one.score = figure.map(|figure| figure.value / 100.0);
        let said =
            |f: &Figure| format!("IFEval {:.3} ({})", f.value / 100.0, f.metric.as_deref().or(f.source.as_deref()).unwrap_or("unstated"));
        one.reasons.insert(0, figure.map_or_else(|| "IFEval: unknown".to_owned(), said));
    }
}

/// The board that knows most of the models; of equals the newest.
fn widest_board(passed: &[Passed<'_>]) -> Option<String> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for one in passed {
        let boards: std::collections::BTreeSet<_> =
            one.model.bfcl.iter().filter(|row| row.score().is_some()).map(|row| row.board.as_str()).collect();
        boards.into_iter().for_each(|board| *known.entry(board).or_default() += 1);
    }
    known.into_iter().max_by_key(|(board, models)| (*models, *board)).map(|(board, _)| board.to_owned())
}

/// The lowest figure of the instruct variant: makers' own are up to 26 points above others' of the same model.
fn lowest(figures: &[Figure]) -> Option<&Figure> {
    let tuned = figures.iter().filter(|figure| figure.variant.as_deref() != Some("base"));
    tuned.min_by(|a, b| a.value.total_cmp(&b.value))
}

/// By score, then the smaller; at most two of a family and at least one small model among the first.
fn order<'a>(select: &Select, mut passed: Vec<Passed<'a>>) -> Vec<Passed<'a>> {
    let size = |one: &Passed<'_>| one.model.parameters.as_ref().map_or(u64::MAX, |parameters| parameters.value);
    passed.sort_by(|a, b| {
        let key = |one: &Passed<'_>| one.score.unwrap_or(-1.0);
        key(b).total_cmp(&key(a)).then(size(a).cmp(&size(b))).then_with(|| a.model.id.cmp(&b.model.id))
    });
    let (mut first, mut later) = (Vec::new(), Vec::new());
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for one in passed {
        let seen = families.entry(one.model.family.as_str()).or_default();
        *seen += 1;
        if *seen <= PER_FAMILY { first.push(one) } else { later.push(one) }
    }
    first.append(&mut later);
    let places = select.candidates.min(first.len());
    if !first[..places].iter().any(|one| size(one) <= SMALL)
        && let Some(at) = first.iter().position(|one| size(one) <= SMALL)
    {
        let mut small = first.remove(at);
        small.reasons.push("taken in as the best of at most a billion parameters".to_owned());
        first.insert(places - 1, small);
    }
    first
}
