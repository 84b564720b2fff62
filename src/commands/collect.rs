//! `collect`: files, folders and standard input into the store.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use collect::{Collect, Collected, FormatCount, Lack};
use record::{Call, Progress, Recorder, Reject};
use serde::Serialize;
use store::Store;

use crate::cli::CollectArgs;
use crate::context::Context;
use crate::error::hinted;

/// What was read and what of it was new.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Calls that were new.
    pub accepted: u64,
    /// Calls that the store knew.
    pub duplicate: u64,
    /// Calls and rejects that were kept out, since they are of what was forgotten.
    pub forgotten: u64,
    /// Rows that could not be taken.
    pub rejected: u64,
    /// Calls that lack something the source did not hold.
    pub lossy: u64,
    /// The same by format, new and known together.
    pub formats: BTreeMap<String, FormatCount>,
    /// What they lack, which steps miss it and what would have kept it.
    pub lacks: Vec<Lack>,
}

impl From<Collected> for Summary {
    fn from(read: Collected) -> Self {
        let lacks = read.formats.iter().flat_map(|(format, count)| count.lacks.iter().map(|(what, calls)| Lack::new(format, what, *calls)));
        let lacks = lacks.collect();
        Self { rejected: read.rejected, lossy: read.lossy, formats: read.formats, lacks, ..Self::default() }
    }
}

pub fn command(context: &Context, args: &CollectArgs) -> anyhow::Result<ExitCode> {
    let mut settings = settings(context, args.input_format.as_deref())?;
    settings.max_reject_share = args.max_reject_share.or(settings.max_reject_share);
    within_bounds(&settings)?;
    let inputs = inputs(&args.paths)?;
    let summary = if args.dry.dry_run {
        let mut counter = Counter::default();
        let read = read(context, &settings, &inputs, &mut counter)?;
        Summary { accepted: counter.0, ..read.into() }
    } else {
        let mut store = context.create_or_open()?;
        store.take_recorded();
        let read = read(context, &settings, &inputs, &mut store)?;
        finish(context, &store, read)
    };
    print(context, &summary)?;
    few_rejects(&settings, &summary)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses a share that is none.
fn within_bounds(settings: &Collect) -> anyhow::Result<()> {
    match settings.max_reject_share.filter(|share| !(0.0..=1.0).contains(share)) {
        Some(share) => {
            let problem = format!("`collect.max_reject_share` is {share}, expected a share from 0 to 1");
            Err(hinted(problem, "0.01 allows one row in a hundred"))
        }
        None => Ok(()),
    }
}

/// Refuses a log of which more was rejected than the settings allow.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn few_rejects(settings: &Collect, summary: &Summary) -> anyhow::Result<()> {
    let calls: u64 = summary.formats.values().map(|count| count.calls).sum();
    let rows = summary.rejected + calls;
    match settings.max_reject_share {
        Some(most) if summary.rejected as f64 / rows.max(1) as f64 > most => Err(hinted(
            format!("{} of {rows} rows were rejected, more than the share of {most} that is allowed", summary.rejected),
            "`slm-migrate show rejects` names file, line, field and cure; what was taken is kept",
        )),
        _ => Ok(()),
    }
}

/// Reads all inputs into the store.
///
/// # Errors
/// When an input cannot be read at all, the store refuses or too many rows are rejected; batches written before stay.
pub fn step(context: &Context, store: &mut Store, paths: &[PathBuf], format: Option<&str>) -> anyhow::Result<Summary> {
    let settings = settings(context, format)?;
    within_bounds(&settings)?;
    store.take_recorded();
    let read = read(context, &settings, &inputs(paths)?, store)?;
    let summary = finish(context, store, read);
    few_rejects(&settings, &summary)?;
    Ok(summary)
}

/// Reads one named stream into the store.
///
/// # Errors
/// As [`step`].
pub fn stream(context: &Context, store: &mut Store, name: &str, input: impl Read) -> anyhow::Result<Summary> {
    store.take_recorded();
    let read = context.config.collect.read(name, input, store)?;
    Ok(finish(context, store, read))
}

fn finish(context: &Context, store: &Store, read: Collected) -> Summary {
    let recorded = store.take_recorded();
    let summary = Summary { accepted: recorded.accepted, duplicate: recorded.duplicate, forgotten: recorded.forgotten, ..read.into() };
    context.ui.status(&format!(
        "collect   {} calls accepted, {} duplicate, {} rejected, {} lossy",
        summary.accepted, summary.duplicate, summary.rejected, summary.lossy
    ));
    if summary.forgotten > 0 {
        context.ui.status(&format!("          {} kept out: they were forgotten", summary.forgotten));
    }
    if summary.rejected > 0 {
        context.ui.status("          `slm-migrate show rejects` names file, line, field and cure");
    }
    summary
}

fn print(context: &Context, summary: &Summary) -> anyhow::Result<()> {
    context.ui.value(summary, || {
        let mut text = format!(
            "accepted {}  duplicate {}  rejected {}  lossy {}\n",
            summary.accepted, summary.duplicate, summary.rejected, summary.lossy
        );
        for (format, count) in &summary.formats {
            let around = if count.around > 0 { format!(", {} rows around them", count.around) } else { String::new() };
            text += &format!("  {format}: {} calls, {} lossy, {} rejected{around}\n", count.calls, count.lossy, count.rejected);
        }
        text + &ledger(&summary.lacks)
    })
}

/// What calls lack, of all formats together.
fn ledger(lacks: &[Lack]) -> String {
    let mut by_what: BTreeMap<&str, Vec<&Lack>> = BTreeMap::new();
    lacks.iter().for_each(|lack| by_what.entry(&lack.what).or_default().push(lack));
    let mut text = String::new();
    for (what, lacks) in by_what {
        let calls: u64 = lacks.iter().map(|lack| lack.calls).sum();
        let noun = if calls == 1 { "call" } else { "calls" };
        text += &format!("without {what}: {calls} {noun}; {}\n", lacks[0].blocks);
        let mut cures: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        lacks.iter().for_each(|lack| cures.entry(lack.cure.unwrap_or_default()).or_default().push(&lack.format));
        for (cure, formats) in cures.into_iter().filter(|(cure, _)| !cure.is_empty()) {
            text += &format!("  cure ({}): {cure}\n", formats.join(", "));
        }
    }
    text
}

/// Counts calls and writes nothing: the recorder of `--dry-run`.
#[derive(Default)]
struct Counter(u64);

impl Recorder for Counter {
    type Error = std::convert::Infallible;
    fn record(&mut self, calls: Vec<Call>, _: Vec<Reject>) -> Result<(), Self::Error> {
        self.0 += calls.len() as u64;
        Ok(())
    }
}

/// The configured step, with the format that was named.
fn settings(context: &Context, format: Option<&str>) -> anyhow::Result<Collect> {
    let mut settings = context.config.collect.clone();
    if let Some(name) = format {
        let parsed = name.parse().map_err(|error| hinted(format!("`--input-format`: {error}"), "`docs/formats` describes them"))?;
        settings.input_format = Some(parsed);
    }
    Ok(settings)
}

/// Reads inputs that may belong together, one after the other.
fn read<R: Recorder>(context: &Context, settings: &Collect, inputs: &[PathBuf], recorder: &mut R) -> anyhow::Result<Collected>
where
    R::Error: std::error::Error + Send + Sync + 'static,
{
    let (mut reader, mut total) = (settings.reader(), Collected::default());
    for path in inputs {
        let name = path.to_string_lossy();
        if name == "-" {
            context.ui.begin("collect", 0, "bytes");
            let read = reader.read("-", Watched { inner: io::stdin().lock(), context }, recorder);
            context.ui.end();
            total += read?;
            continue;
        }
        let file = File::open(path).with_context(|| format!("cannot open `{name}`"))?;
        context.ui.begin("collect", file.metadata().map_or(0, |metadata| metadata.len()), "bytes");
        let read = reader.read(&name, Watched { inner: file, context }, recorder);
        context.ui.end();
        total += read?;
    }
    total += reader.finish(recorder)?;
    Ok(total)
}

/// Tells the bar how much was read.
struct Watched<'a, R> {
    inner: R,
    context: &'a Context,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.ui.advance(count as u64);
        Ok(count)
    }
}

/// The files of all paths, folders walked in order of names.
///
/// # Errors
/// When a path does not exist, so that a typing error makes no store.
pub fn inputs(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() != "-" && !path.exists() {
            return Err(hinted(format!("there is no file or folder `{}`", path.display()), "name a log file, a folder of them, or `-`"));
        }
        walk(path, &mut files)?;
    }
    Ok(files)
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot list `{}`", path.display()))?;
    let mut inside: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    inside.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    inside.sort();
    // links to folders may lead back here, and pipes have no end
    inside.retain(|path| path.is_file() || (path.is_dir() && !path.is_symlink()));
    inside.iter().try_for_each(|path| walk(path, files))
}
