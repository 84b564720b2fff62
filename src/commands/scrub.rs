//! `scrub`: every stored conversation that has no clean copy under the present settings gets one.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, stdin};
use std::process::ExitCode;

use anyhow::Context as _;
use rayon::prelude::*;
use record::{Call, Clean, Fingerprint, Progress as _};
use report::{Scrubbed as Row, number};
use scrub::{Scrubbed, Scrubber};
use store::Store;

use crate::cli::ScrubArgs;
use crate::context::Context;
use crate::error::hinted;
use crate::run;

/// Calls of one batch: enough to keep all cores busy, little enough to bound memory.
const BATCH: usize = 512;

pub fn command(context: &Context, args: &ScrubArgs) -> anyhow::Result<ExitCode> {
    if args.stdin {
        return filter(context, BufReader::new(stdin().lock()));
    }
    if args.dry.dry_run {
        let pending = context.read()?.pending(&mark(context))?;
        context.ui.status(&format!("would scrub {} calls", number(pending)));
        return Ok(ExitCode::SUCCESS);
    }
    let store = context.open()?;
    let rows = step(context, &store)?;
    context
        .ui
        .rows("scrubbed", &rows, &["class", "found by", "places"], |row| vec![row.class.clone(), row.method.clone(), number(row.count)])?;
    Ok(ExitCode::SUCCESS)
}

fn mark(context: &Context) -> Fingerprint {
    Fingerprint::of(&context.config.scrub, &[])
}

/// Scrubs what is pending and gives the counts of everything scrubbed under these settings.
///
/// # Errors
/// When the settings contradict themselves or the store refuses; batches finished before stay.
pub fn step(context: &Context, store: &Store) -> anyhow::Result<Vec<Row>> {
    let (mark, scrubber) = (mark(context), context.config.scrub.compile()?);
    let batches = store.raw_conversations(&mark, BATCH)?;
    let pending = batches.remaining();
    context.ui.begin("scrub", pending, "calls");
    for batch in batches {
        let batch = batch?;
        let count = batch.calls.len() as u64;
        let scrubbed =
            conversations(batch.calls).into_par_iter().map(|calls| conversation(&scrubber, calls)).collect::<Result<Vec<_>, _>>()?;
        warn(context, &scrubbed);
        let rows = tally(scrubbed.iter());
        let clean: Vec<Clean<Call>> = scrubbed.into_iter().flat_map(|one| one.calls).collect();
        store.put_clean(&batch.id, &clean)?;
        // The counts of a batch are a unit of their own, so that a run that was stopped does not lose them.
        let unit = Fingerprint::of(&context.config.scrub, &[&Fingerprint::of_bytes(ids(&clean).as_bytes())]);
        store.finish_unit(&unit, "scrub", &mark.0, &serde_json::to_value(&rows)?)?;
        context.ui.advance(count);
    }
    context.ui.end();
    let total = counts(context, store)?;
    let places: u64 = total.iter().map(|row| row.count).sum();
    let counts = store.counts()?;
    let withheld = counts.calls.saturating_sub(counts.clean);
    context.ui.status(&format!(
        "scrub     {} calls scrubbed now, {} places replaced in all, {} calls withheld",
        number(pending),
        number(places),
        number(withheld)
    ));
    let run = run::current(context, store)?;
    run::put(store, &run, "scrub", &total)?;
    Ok(total)
}

fn ids(calls: &[Clean<Call>]) -> String {
    calls.iter().map(|call| call.source_id.as_str()).collect::<Vec<_>>().join("\n")
}

/// Counts over all batches scrubbed under the present settings.
fn counts(context: &Context, store: &Store) -> anyhow::Result<Vec<Row>> {
    let mark = mark(context);
    let mut total: BTreeMap<(String, String), u64> = BTreeMap::new();
    for unit in store.units("scrub")?.into_iter().filter(|unit| unit.label == mark.0) {
        let rows: Vec<Row> = store.unit_value(&unit.fingerprint)?.map(serde_json::from_value).transpose()?.unwrap_or_default();
        for row in rows {
            *total.entry((row.class, row.method)).or_default() += row.count;
        }
    }
    Ok(total.into_iter().map(|((class, method), count)| Row { class, method, count }).collect())
}

fn tally<'a>(scrubbed: impl Iterator<Item = &'a Scrubbed>) -> Vec<Row> {
    let mut total: BTreeMap<(String, String), u64> = BTreeMap::new();
    for ((class, method), count) in scrubbed.flat_map(|one| &one.counts) {
        *total.entry((class.to_string(), method.to_string())).or_default() += count;
    }
    total.into_iter().map(|((class, method), count)| Row { class, method, count }).collect()
}

fn conversation(scrubber: &Scrubber, calls: Vec<Call>) -> anyhow::Result<Scrubbed> {
    let id = calls.first().map(|call| call.source_id.clone()).unwrap_or_default();
    scrubber.conversation(calls).with_context(|| format!("cannot scrub the conversation of `{id}`"))
}

/// Calls that still held an original value are no clean calls; they are named, never passed on.
fn warn(context: &Context, scrubbed: &[Scrubbed]) {
    for leak in scrubbed.iter().flat_map(|one| &one.residual) {
        context.ui.status(&format!("withheld `{}`: a value of class `{}` survived in {} form", leak.source_id, leak.class, leak.form));
    }
}

/// Calls by conversation, conversations in the order they come.
fn conversations(calls: Vec<Call>) -> Vec<Vec<Call>> {
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<Call>> = Vec::new();
    for call in calls {
        let index = *place.entry(call.conversation_id.clone()).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[index].push(call);
    }
    groups
}

/// Call records in, scrubbed call records out. Consecutive records of one conversation are scrubbed
/// together; a conversation that comes back later is begun anew with the same surrogates.
fn filter(context: &Context, input: impl Read) -> anyhow::Result<ExitCode> {
    let scrubber = context.config.scrub.compile()?;
    let mut waiting: Vec<Call> = Vec::new();
    for (number, line) in BufReader::new(input).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let call: Call = serde_json::from_str(&line).map_err(|error| {
            hinted(format!("line {}: {error}", number + 1), "`scrub --stdin` reads call records; `collect` reads other formats")
        })?;
        if waiting.last().is_some_and(|last| last.conversation_id != call.conversation_id) {
            print(context, conversation(&scrubber, std::mem::take(&mut waiting))?)?;
        }
        waiting.push(call);
    }
    if !waiting.is_empty() {
        print(context, conversation(&scrubber, waiting)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, scrubbed: Scrubbed) -> anyhow::Result<()> {
    warn(context, std::slice::from_ref(&scrubbed));
    for call in scrubbed.calls {
        context.ui.print(&(serde_json::to_string(&call)? + "\n"))?;
    }
    Ok(())
}
