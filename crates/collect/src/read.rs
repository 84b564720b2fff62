//! The step: inputs into batches of calls and rejects, in their order.
use std::collections::BTreeMap;
use std::io::{self, Read};

use rayon::prelude::*;
use record::{Call, Recorder, Reject, Step};
use serde::{Deserialize, Serialize};

use crate::Format;
use crate::document;
use crate::fault::Fault;
use crate::history::Histories;
use crate::join::{Joined, Parts, Waiting};
use crate::line::{Found, Outcome, Row};
use crate::source::{Line, Lines};

/// Text of one batch at most, a single longer line apart.
const BATCH_BYTES: usize = 32 << 20;

/// Lines that must make sense together for a file to be a document.
const LOOKED_AT: usize = 256;

/// Reads logs. Its fields are the configuration section `[collect]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collect {
    /// The format of every row; none to tell it by the rows.
    pub input_format: Option<Format>,
    /// Rows taken at once (at least 64, so that a format is told by many rows).
    pub batch_rows: usize,
    /// Share of rows, from 0 to 1, that may be rejected before the command fails; what was taken stays. None bounds nothing.
    pub max_reject_share: Option<f64>,
}

impl Default for Collect {
    fn default() -> Self {
        Self { input_format: None, batch_rows: 2048, max_reject_share: None }
    }
}

impl Step for Collect {
    const NAME: &'static str = "collect";
    const REVISION: u32 = 3;
}

/// What was read of one format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FormatCount {
    /// Calls handed on, known ones included.
    pub calls: u64,
    /// The part of them that lacks something the source did not hold.
    pub lossy: u64,
    /// Rows of the format that could not be taken.
    pub rejected: u64,
    /// Rows that tell of what happened around calls: spans of tools, chains, other traffic.
    pub around: u64,
    /// What calls lack, and how many do.
    pub lacks: BTreeMap<String, u64>,
}

/// What was read of one input. How many calls were new only the recorder knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Calls handed on, known ones included.
    pub calls: u64,
    /// The part of them that lacks something the source did not hold.
    pub lossy: u64,
    /// Rows that could not be taken.
    pub rejected: u64,
    /// The same by format; rows of no known format under `unknown`.
    pub formats: BTreeMap<String, FormatCount>,
}

impl std::ops::AddAssign for Collected {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.lossy += other.lossy;
        self.rejected += other.rejected;
        for (name, count) in other.formats {
            *self.formats.entry(name).or_default() += count;
        }
    }
}

impl std::ops::AddAssign for FormatCount {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.lossy += other.lossy;
        self.rejected += other.rejected;
        self.around += other.around;
        for (what, count) in other.lacks {
            *self.lacks.entry(what).or_default() += count;
        }
    }
}

/// An input that cannot be read at all, or a recorder that refused.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The input failed.
    #[error("cannot read `{name}`")]
    Read {
        /// Name of the input.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The recorder failed.
    #[error("cannot record what was read")]
    Record(#[source] E),
}

impl Collect {
    /// Reads one input that has nothing to do with any other: [`Reader::read`] and [`Reader::finish`].
    ///
    /// # Errors
    /// As these.
    pub fn read<R: Recorder>(&self, name: &str, input: impl Read, recorder: &mut R) -> Result<Collected, Error<R::Error>>
    where
        R::Error: std::error::Error + 'static,
    {
        let mut reader = self.reader();
        let mut total = reader.read(name, input, recorder)?;
        total += reader.finish(recorder)?;
        Ok(total)
    }

    /// Begins to read inputs that may belong together.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { step: self, parts: Parts::default(), histories: Histories::default() }
    }
}

/// Reads inputs that may belong together: a batch and its output, spans and their log records.
pub struct Reader<'a> {
    step: &'a Collect,
    parts: Parts,
    histories: Histories,
}

/// What became of some rows.
#[derive(Default)]
struct Batch {
    calls: Vec<Call>,
    rejects: Vec<Reject>,
    counts: Collected,
}

impl Reader<'_> {
    /// Reads `input` to its end and hands its calls and rejects to `recorder` batch by batch, in order. `name` is
    /// what rejects call the input (`-` for standard input). Plain, gzip and Zstandard text alike; one object a line, or one document.
    ///
    /// # Errors
    /// When the operating system cannot read the input, or the recorder fails. A damaged or cut compressed stream is
    /// a reject: what came before it is kept.
    pub fn read<R: Recorder>(&mut self, name: &str, input: impl Read, recorder: &mut R) -> Result<Collected, Error<R::Error>>
    where
        R::Error: std::error::Error + 'static,
    {
        let read_error = |source| Error::Read { name: name.to_owned(), source };
        let mut total = Collected::default();
        let mut usual = self.step.input_format;
        let (mut lines, mut damage) = match Lines::new(input) {
            Ok(lines) => (Some(lines), None),
            Err(error) => (None, Some(damage(name, 0, error).map_err(read_error)?)),
        };
        let (mut first, mut ready) = (true, Vec::new());
        while let Some(mut source) = lines.take() {
            let (batch, end) = self.step.fill(&mut source);
            if std::mem::take(&mut first) {
                if let Some(fault) = batch.first().and_then(not_text).or_else(|| no_log(&batch)) {
                    damage = Some(fault.reject(name, 1, None));
                    break;
                }
                if is_document(&batch) {
                    damage = self.document(name, source.again(batch), &mut total, recorder)?;
                    break;
                }
            }
            // what was read is recorded while the next lines are read
            let (mut next, mut recorded) = (Vec::new(), Ok(()));
            rayon::in_place_scope(|scope| {
                let (next, usual, forced) = (&mut next, &mut usual, self.step.input_format);
                scope.spawn(move |_| *next = read_rows(batch.into_par_iter().flat_map_iter(Row::parse).collect(), forced, usual));
                recorded = self.settle(name, std::mem::take(&mut ready), &mut total, recorder);
            });
            recorded?;
            ready = next;
            match end {
                End::More => lines = Some(source),
                End::Done => {}
                End::Broken(error) => damage = Some(self::damage(name, source.number() + 1, error).map_err(read_error)?),
            }
        }
        self.settle(name, ready, &mut total, recorder)?;
        let mut last = Batch::default();
        if let Some(reject) = damage {
            last.counts.rejected += 1;
            last.counts.formats.entry("unknown".to_owned()).or_default().rejected += 1;
            last.rejects.push(reject);
        }
        let joined = self.parts.end_of_file();
        joined.into_iter().for_each(|joined| last.joined(joined));
        last.record(&mut total, recorder)?;
        Ok(total)
    }

    /// Ends the reading: what still waits for other parts becomes rejects, or calls that lack them.
    ///
    /// # Errors
    /// When the recorder fails.
    pub fn finish<R: Recorder>(mut self, recorder: &mut R) -> Result<Collected, Error<R::Error>>
    where
        R::Error: std::error::Error + 'static,
    {
        let (mut total, mut last) = (Collected::default(), Batch::default());
        self.parts.end().into_iter().for_each(|joined| last.joined(joined));
        last.record(&mut total, recorder)?;
        Ok(total)
    }

    /// Reads a document over many lines; what damaged it comes back. Rows are numbered instead of lines.
    fn document<R: Recorder>(
        &mut self,
        name: &str,
        input: impl io::BufRead,
        total: &mut Collected,
        recorder: &mut R,
    ) -> Result<Option<Reject>, Error<R::Error>>
    where
        R::Error: std::error::Error + 'static,
    {
        let (mut rows, mut usual, mut number) = (Vec::new(), self.step.input_format, 0);
        let most = self.step.batch_rows.max(64);
        let mut refused = None;
        let read = document::rows(input, &mut |row| {
            number += 1;
            rows.extend(Row::all(number, serde_json::to_vec(&row).unwrap_or_default(), row));
            if rows.len() < most {
                return Ok(());
            }
            let read = read_rows(std::mem::take(&mut rows), self.step.input_format, &mut usual);
            refused = self.settle(name, read, total, recorder).err();
            if refused.is_some() { Err(io::Error::other("the recorder failed")) } else { Ok(()) }
        });
        if let Some(error) = refused {
            return Err(error);
        }
        let left = read_rows(rows, self.step.input_format, &mut usual);
        self.settle(name, left, total, recorder)?;
        let Err(error) = read else { return Ok(None) };
        if let Some(kind) = error.io_error_kind() {
            let reject = damage(name, number + 1, io::Error::new(kind, error));
            return reject.map(Some).map_err(|source| Error::Read { name: name.to_owned(), source });
        }
        let problem = format!("the document is no JSON from line {}, column {} on: {error}", error.line(), error.column());
        let cure = "fetch the file again, or write one object a line; what came before was taken";
        Ok(Some(Fault::new("", problem, cure).reject(name, number + 1, None)))
    }

    /// Joins what belongs together and records what came of some rows.
    fn settle<R: Recorder>(
        &mut self,
        name: &str,
        read: Vec<Outcome>,
        total: &mut Collected,
        recorder: &mut R,
    ) -> Result<(), Error<R::Error>>
    where
        R::Error: std::error::Error + 'static,
    {
        let mut batch = Batch::default();
        for Outcome { line, format, found, text } in read {
            match found {
                Ok(Found::Part(part, row)) => {
                    let format = format.unwrap_or(Format::Record);
                    let joined = self.parts.add(format, part, Waiting { file: name.to_owned(), line, row });
                    joined.into_iter().for_each(|joined| batch.joined(joined));
                }
                Ok(Found::Calls(mut calls)) => {
                    calls.iter_mut().for_each(|call| self.histories.follow(call));
                    batch.calls(format, calls);
                }
                Err(fault) => batch.reject(format, fault.reject(name, line, text)),
            }
        }
        batch.record(total, recorder)
    }
}

/// Reads rows, those that show no format as the usual one, which the first of them settle.
fn read_rows(rows: Vec<Row>, forced: Option<Format>, usual: &mut Option<Format>) -> Vec<Outcome> {
    *usual = usual.or_else(|| Format::of_most(rows.iter().filter_map(Row::value)));
    rows.into_par_iter().map(|row| row.read(forced, *usual)).collect()
}

impl Batch {
    fn count(&mut self, format: Option<Format>) -> &mut FormatCount {
        self.counts.formats.entry(format.map_or("unknown", Format::name).to_owned()).or_default()
    }

    fn calls(&mut self, format: Option<Format>, mut calls: Vec<Call>) {
        let lossy = calls.iter().filter(|call| !call.lossy.is_empty()).count() as u64;
        let count = self.count(format);
        count.calls += calls.len() as u64;
        count.around += u64::from(calls.is_empty());
        count.lossy += lossy;
        for what in calls.iter().flat_map(|call| &call.lossy) {
            *count.lacks.entry(what.clone()).or_default() += 1;
        }
        self.counts.calls += calls.len() as u64;
        self.counts.lossy += lossy;
        self.calls.append(&mut calls);
    }

    fn reject(&mut self, format: Option<Format>, reject: Reject) {
        self.count(format).rejected += 1;
        self.counts.rejected += 1;
        self.rejects.push(reject);
    }

    fn joined(&mut self, (format, outcome): Joined) {
        match outcome {
            Ok(calls) => self.calls(Some(format), calls),
            Err(reject) => self.reject(Some(format), reject),
        }
    }

    fn record<R: Recorder>(self, total: &mut Collected, recorder: &mut R) -> Result<(), Error<R::Error>>
    where
        R::Error: std::error::Error + 'static,
    {
        *total += self.counts;
        if self.calls.is_empty() && self.rejects.is_empty() {
            return Ok(());
        }
        recorder.record(self.calls, self.rejects).map_err(Error::Record)
    }
}

impl Collect {
    /// Lines for one batch.
    fn fill(&self, source: &mut Lines<'_>) -> (Vec<Line>, End) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.batch_rows.max(64) && bytes < BATCH_BYTES {
            match source.next() {
                Ok(Some(line)) if line.bytes.is_empty() && !line.too_long => {}
                Ok(Some(line)) => {
                    bytes += line.bytes.len();
                    batch.push(line);
                }
                Ok(None) => return (batch, End::Done),
                Err(error) => return (batch, End::Broken(error)),
            }
        }
        (batch, End::More)
    }
}

enum End {
    More,
    Done,
    Broken(io::Error),
}

/// Whether these first lines are the beginning of a document over many lines: no JSON alone, but together.
fn is_document(batch: &[Line]) -> bool {
    let Some((first, _)) = batch.split_first().filter(|(_, rest)| !rest.is_empty()) else { return false };
    let unended = |text: &[u8]| {
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>();
        values.find_map(Result::err).is_some_and(|error| error.is_eof())
    };
    let values = |text: &[u8]| serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>().all(|value| value.is_ok());
    let together = batch.iter().take(LOOKED_AT).map(|line| line.bytes.as_slice()).collect::<Vec<_>>().join(&b'\n');
    unended(&first.bytes) && (values(&together) || unended(&together))
}

/// A file that is no text of JSON: saying so once is better than once a line.
fn not_text(first: &Line) -> Option<Fault> {
    match first.bytes.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Fault::new("", "the file is UTF-16", "convert it: `iconv -f UTF-16 -t UTF-8`")),
        [b'P', b'A', b'R', b'1', ..] => {
            let cure = "convert it to one JSON object a line: `duckdb -c \"COPY (FROM 'FILE') TO 'FILE.jsonl' (FORMAT json)\"`";
            Some(Fault::new("", "the file is Parquet", cure))
        }
        _ => None,
    }
}

/// A file of which no line even begins like a row, such as a README in a folder of logs.
fn no_log(batch: &[Line]) -> Option<Fault> {
    let row =
        |line: &Line| line.too_long || line.bytes.trim_ascii_start().starts_with(b"{") || line.bytes.trim_ascii_start().starts_with(b"[");
    let other = batch.len() > 1 && !batch.iter().any(row);
    other.then(|| {
        Fault::new(
            "",
            "the file is no log: no line begins like a JSON object",
            "name the logs alone, or move other files out of their folder",
        )
    })
}

/// What a decoder stumbled over is a reject; what the operating system refused is an error.
fn damage(name: &str, line: u64, error: io::Error) -> Result<Reject, io::Error> {
    if error.raw_os_error().is_some() {
        return Err(error);
    }
    let problem = format!("the compressed data is damaged or cut off: {error}");
    Ok(Fault::new("", problem, "fetch the file again; every whole line before this was taken").reject(name, line, None))
}
