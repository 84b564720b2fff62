//! The step: lines into batches of calls and rejects, in the order of the input.
use std::collections::BTreeMap;
use std::io::Read;

use rayon::prelude::*;
use record::{Call, Recorder, Reject, Step};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Format;
use crate::api::stream;
use crate::fault::Fault;
use crate::format;
use crate::source::{Line, Lines};

/// Text of one batch at most, a single longer line apart.
const BATCH_BYTES: usize = 32 << 20;
/// Text of a rejected row that is kept at most.
const KEPT_ROW: usize = 1 << 20;

/// Reads logs. Its fields are the configuration section `[collect]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collect {
    /// The format of every row; none to tell it by the rows.
    pub input_format: Option<Format>,
    /// Rows taken at once (at least 64, so that a format is told by many rows).
    pub batch_rows: usize,
}

impl Default for Collect {
    fn default() -> Self {
        Self { input_format: None, batch_rows: 2048 }
    }
}

impl Step for Collect {
    const NAME: &'static str = "collect";
    const REVISION: u32 = 2;
}

/// What was read of one format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FormatCount {
    /// Calls handed on, known ones included.
    pub calls: u64,
    /// The part of them that lacks something the source did not hold.
    pub lossy: u64,
    /// Rows of the format that could not be taken.
    pub rejected: u64,
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
            let sum = self.formats.entry(name).or_default();
            sum.calls += count.calls;
            sum.lossy += count.lossy;
            sum.rejected += count.rejected;
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
        source: std::io::Error,
    },
    /// The recorder failed.
    #[error("cannot record what was read")]
    Record(#[source] E),
}

impl Collect {
    /// Reads `input` to its end and hands its calls and rejects to `recorder` batch by batch, in order. `name` is
    /// what rejects call the input (`-` for standard input). Plain, gzip and Zstandard text alike.
    ///
    /// # Errors
    /// When the operating system cannot read the input, or the recorder fails. A damaged or cut compressed stream is
    /// a reject: what came before it is kept.
    pub fn read<R: Recorder>(&self, name: &str, input: impl Read, recorder: &mut R) -> Result<Collected, Error<R::Error>>
    where
        R::Error: std::error::Error + 'static,
    {
        let read_error = |source| Error::Read { name: name.to_owned(), source };
        let mut total = Collected::default();
        let mut usual = self.input_format;
        let (mut lines, mut damage) = match Lines::new(input) {
            Ok(lines) => (Some(lines), None),
            Err(error) => (None, Some(damage(name, 0, error).map_err(read_error)?)),
        };
        while let Some(source) = &mut lines {
            let (batch, end) = self.fill(source);
            if total.calls + total.rejected == 0
                && let Some(fault) = batch.first().and_then(not_lines)
            {
                damage = Some(fault.reject(name, 1, None));
                break;
            }
            let rows: Vec<Row> = batch.into_par_iter().flat_map_iter(parse).collect();
            usual = usual.or_else(|| Format::of_most(rows.iter().filter_map(|row| row.value.as_ref().ok())));
            let (calls, rejects, counts) = self.convert(name, rows, usual);
            total += counts;
            recorder.record(calls, rejects).map_err(Error::Record)?;
            match end {
                End::More => {}
                End::Done => lines = None,
                End::Broken(error) => {
                    damage = Some(self::damage(name, source.number() + 1, error).map_err(read_error)?);
                    lines = None;
                }
            }
        }
        if let Some(reject) = damage {
            total.rejected += 1;
            total.formats.entry("unknown".to_owned()).or_default().rejected += 1;
            recorder.record(Vec::new(), vec![reject]).map_err(Error::Record)?;
        }
        Ok(total)
    }

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

    fn convert(&self, name: &str, rows: Vec<Row>, usual: Option<Format>) -> (Vec<Call>, Vec<Reject>, Collected) {
        let forced = self.input_format;
        let read: Vec<_> = rows.into_par_iter().map(|row| row.read(forced, usual)).collect();
        let (mut calls, mut rejects, mut counts) = (Vec::new(), Vec::new(), Collected::default());
        for (line, text, format, outcome) in read {
            let count = counts.formats.entry(format.map_or("unknown", Format::name).to_owned()).or_default();
            match outcome {
                Ok(mut found) => {
                    let lossy = found.iter().filter(|call| !call.lossy.is_empty()).count() as u64;
                    count.calls += found.len() as u64;
                    count.lossy += lossy;
                    counts.calls += found.len() as u64;
                    counts.lossy += lossy;
                    calls.append(&mut found);
                }
                Err(fault) => {
                    count.rejected += 1;
                    counts.rejected += 1;
                    rejects.push(fault.reject(name, line, text));
                }
            }
        }
        (calls, rejects, counts)
    }
}

enum End {
    More,
    Done,
    Broken(std::io::Error),
}

/// A line parsed, with its text where a reject may need it.
struct Row {
    line: u64,
    text: Vec<u8>,
    value: Result<Map<String, Value>, Fault>,
}

type Outcome = (u64, Option<String>, Option<Format>, Result<Vec<Call>, Fault>);

impl Row {
    /// Reads the row as the format it shows; as the usual one where it shows none.
    fn read(self, forced: Option<Format>, usual: Option<Format>) -> Outcome {
        let (format, outcome) = match self.value {
            Err(fault) => (None, Err(fault)),
            Ok(row) => match forced.or_else(|| Format::of(&row)).or(usual.filter(|_| row.contains_key("request"))) {
                Some(format) => (Some(format), format.shape().read(row)),
                None => (None, Err(format::unknown(&row))),
            },
        };
        let text = outcome.is_err().then(|| String::from_utf8_lossy(&self.text[..self.text.len().min(KEPT_ROW)]).into_owned());
        (self.line, text.filter(|text| !text.is_empty()), format, outcome)
    }
}

/// Parses a line: one row, or the rows of a list.
fn parse(line: Line) -> Vec<Row> {
    let number = line.number;
    let fault = |text: Vec<u8>, fault| vec![Row { line: number, text, value: Err(fault) }];
    if line.too_long {
        return fault(line.bytes, Fault::new("", "the line is longer than 256 MiB", "write one call a line"));
    }
    match serde_json::from_slice(&line.bytes) {
        Ok(Value::Object(row)) => vec![Row { line: number, text: line.bytes, value: expanded(row) }],
        Ok(Value::Array(rows)) if rows.iter().all(Value::is_object) => {
            let row = |value: Value| match value {
                Value::Object(row) => Row { line: number, text: serde_json::to_vec(&row).unwrap_or_default(), value: expanded(row) },
                _ => unreachable!("every element was seen to be an object"),
            };
            rows.into_iter().map(row).collect()
        }
        Ok(_) => fault(line.bytes, Fault::new("", "the line is no JSON object", "write one JSON object a line")),
        Err(error) => {
            let problem = no_json(&line, &error);
            fault(line.bytes, problem)
        }
    }
}

fn expanded(mut row: Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    stream::expand(&mut row)?;
    Ok(row)
}

fn no_json(line: &Line, error: &serde_json::Error) -> Fault {
    if let Err(bad) = std::str::from_utf8(&line.bytes) {
        return Fault::new(
            "",
            format!("the line is no UTF-8 from byte {} on", bad.valid_up_to() + 1),
            "convert the file to UTF-8 (`iconv`)",
        );
    }
    if error.is_eof() && line.cut {
        return Fault::new("", "the last line is cut off", "read the file again when its writer has finished the line");
    }
    // serde_json counts lines within the text; a row is one line, so the column says it all.
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    Fault::new("", format!("the line is no JSON: {what} at column {}", error.column()), "write one JSON object a line")
}

/// A file that is not one object a line: saying so once is better than once a line.
fn not_lines(first: &Line) -> Option<Fault> {
    match first.bytes.as_slice() {
        b"[" | b"{" => Some(Fault::new(
            "",
            "the file is JSON over many lines, not one object a line",
            "convert it: `jq -c '.[]'` for a list, `jq -c .` for objects",
        )),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Fault::new("", "the file is UTF-16", "convert it: `iconv -f UTF-16 -t UTF-8`")),
        [b'P', b'A', b'R', b'1', ..] => Some(Fault::new("", "the file is Parquet", "convert it to one JSON object a line")),
        _ => None,
    }
}

/// What a decoder stumbled over is a reject; what the operating system refused is an error.
fn damage(name: &str, line: u64, error: std::io::Error) -> Result<Reject, std::io::Error> {
    if error.raw_os_error().is_some() {
        return Err(error);
    }
    let problem = format!("the compressed data is damaged or cut off: {error}");
    Ok(Fault::new("", problem, "fetch the file again; every whole line before this was taken").reject(name, line, None))
}
