//! `collect`: files, folders and standard input into the store.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use collect::{Collected, FormatCount};
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
    /// Rows that could not be taken.
    pub rejected: u64,
    /// Calls that lack something the source did not hold.
    pub lossy: u64,
    /// The same by format, new and known together.
    pub formats: BTreeMap<String, FormatCount>,
}

pub fn command(context: &Context, args: &CollectArgs) -> anyhow::Result<ExitCode> {
    let format = args.input_format.as_deref();
    if args.dry.dry_run {
        let mut counter = Counter::default();
        let mut summary = Summary::default();
        for path in inputs(&args.paths)? {
            read(context, &path, format, &mut counter)?.add_to(&mut summary);
        }
        summary.accepted = counter.0;
        return print(context, &summary);
    }
    inputs(&args.paths)?;
    let mut store = context.create_or_open()?;
    let summary = step(context, &mut store, &args.paths, format)?;
    print(context, &summary)
}

/// Reads all inputs into the store.
///
/// # Errors
/// When an input cannot be read at all or the store refuses; batches written before stay.
pub fn step(context: &Context, store: &mut Store, paths: &[PathBuf], format: Option<&str>) -> anyhow::Result<Summary> {
    let mut summary = Summary::default();
    store.take_recorded();
    for path in inputs(paths)? {
        read(context, &path, format, store)?.add_to(&mut summary);
    }
    finish(context, store, summary)
}

/// Reads one named stream into the store.
///
/// # Errors
/// As [`step`].
pub fn stream(context: &Context, store: &mut Store, name: &str, input: impl Read) -> anyhow::Result<Summary> {
    let mut summary = Summary::default();
    store.take_recorded();
    context.config.collect.read(name, input, store)?.add_to(&mut summary);
    finish(context, store, summary)
}

fn finish(context: &Context, store: &Store, mut summary: Summary) -> anyhow::Result<Summary> {
    let recorded = store.take_recorded();
    (summary.accepted, summary.duplicate) = (recorded.accepted, recorded.duplicate);
    context.ui.status(&format!(
        "collect   {} calls accepted, {} duplicate, {} rejected, {} lossy",
        summary.accepted, summary.duplicate, summary.rejected, summary.lossy
    ));
    if summary.rejected > 0 {
        context.ui.status("          `slm-migrate show rejects` names file, line, field and cure");
    }
    Ok(summary)
}

fn print(context: &Context, summary: &Summary) -> anyhow::Result<ExitCode> {
    context.ui.value(summary, || {
        let mut text = format!(
            "accepted {}  duplicate {}  rejected {}  lossy {}\n",
            summary.accepted, summary.duplicate, summary.rejected, summary.lossy
        );
        for (format, count) in &summary.formats {
            text += &format!("  {format}: {} calls, {} lossy, {} rejected\n", count.calls, count.lossy, count.rejected);
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

trait AddTo {
    fn add_to(self, summary: &mut Summary);
}

impl AddTo for Collected {
    fn add_to(self, summary: &mut Summary) {
        summary.rejected += self.rejected;
        summary.lossy += self.lossy;
        for (format, count) in self.formats {
            let total = summary.formats.entry(format).or_default();
            total.calls += count.calls;
            total.lossy += count.lossy;
            total.rejected += count.rejected;
        }
    }
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

fn read<R: Recorder>(context: &Context, path: &Path, format: Option<&str>, recorder: &mut R) -> anyhow::Result<Collected>
where
    R::Error: std::error::Error + Send + Sync + 'static,
{
    let mut step = context.config.collect.clone();
    if let Some(name) = format {
        let parsed = serde_json::from_value(name.into());
        step.input_format =
            Some(parsed.map_err(|error| hinted(format!("`--input-format {name}`: {error}"), "`docs/formats` lists the formats"))?);
    }
    let name = path.to_string_lossy();
    if name == "-" {
        context.ui.begin("collect", 0, "bytes");
        let read = step.read("-", Watched { inner: io::stdin().lock(), context }, recorder);
        context.ui.end();
        return Ok(read?);
    }
    let file = File::open(path).with_context(|| format!("cannot open `{name}`"))?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    context.ui.begin("collect", length, "bytes");
    let read = step.read(&name, Watched { inner: file, context }, recorder);
    context.ui.end();
    Ok(read?)
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
    inside.iter().try_for_each(|path| walk(path, files))
}
