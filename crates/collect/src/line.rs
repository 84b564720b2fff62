//! A line, or an element of a document, as rows: parsed, unpacked, its format told, read. Knows no order of rows and no recorder.
use record::Call;
use serde_json::{Map, Value};

use crate::Format;
use crate::api::stream;
use crate::document::unpacked;
use crate::fault::Fault;
use crate::format::{self, Part};
use crate::source::Line;
use crate::{credentials, har};

/// Text of a rejected row that is kept at most.
const KEPT_ROW: usize = 1 << 20;

/// A row with its text where a reject may need it.
pub struct Row {
    pub line: u64,
    text: Vec<u8>,
    value: Result<Map<String, Value>, Fault>,
}

/// What became of a row.
pub struct Outcome {
    pub line: u64,
    pub format: Option<Format>,
    pub found: Result<Found, Fault>,
    /// Of a row that could not be taken.
    pub text: Option<String>,
}

/// What a row held.
pub enum Found {
    /// Calls; none where it only tells of what happened around them.
    Calls(Vec<Call>),
    /// A part of a call.
    Part(Part, Map<String, Value>),
}

impl Row {
    /// The row, if it is one.
    pub fn value(&self) -> Option<&Map<String, Value>> {
        self.value.as_ref().ok()
    }

    /// The rows of an object: the object itself, unless it is a container of others.
    pub fn all(number: u64, text: Vec<u8>, object: Map<String, Value>) -> Vec<Self> {
        let keys = object.len();
        let mut rows = unpacked(object);
        let alone = rows.len() == 1 && rows[0].len() == keys;
        let row = |mut row: Map<String, Value>, text: Option<Vec<u8>>| {
            let stripped = har::strip(&mut row) | credentials::strip(&mut row);
            let text = text.filter(|_| !stripped).unwrap_or_else(|| serde_json::to_vec(&row).unwrap_or_default());
            let value = stream::expand(&mut row).map(|()| row);
            Self { line: number, text, value }
        };
        if alone {
            return rows.pop().map(|object| row(object, Some(text))).into_iter().collect();
        }
        rows.into_iter().map(|object| row(object, None)).collect()
    }

    /// Parses a line: one row, the rows of a list, or those of a container.
    pub fn parse(line: Line) -> Vec<Self> {
        let number = line.number;
        let fault = |text: Vec<u8>, fault| vec![Self { line: number, text, value: Err(fault) }];
        if line.too_long {
            return fault(line.bytes, Fault::new("", "the line is longer than 256 MiB", "write one call a line"));
        }
        match serde_json::from_slice(&line.bytes) {
            Ok(Value::Object(object)) => Self::all(number, line.bytes, object),
            Ok(Value::Array(rows)) if rows.iter().all(Value::is_object) => {
                let objects = rows.into_iter().filter_map(|value| if let Value::Object(row) = value { Some(row) } else { None });
                objects.flat_map(|object| Self::all(number, serde_json::to_vec(&object).unwrap_or_default(), object)).collect()
            }
            Ok(_) => fault(line.bytes, Fault::new("", "the line is no JSON object", "write one JSON object a line")),
            Err(error) => {
                let problem = no_json(&line, &error);
                // what cannot be parsed cannot be stripped: a recording of HTTP holds keys
                let headers = line.bytes.windows(9).any(|window| window == b"\"headers\"");
                fault(if headers { Vec::new() } else { line.bytes }, problem)
            }
        }
    }

    /// Reads the row as the format it shows; as the usual one where it shows none.
    pub fn read(self, forced: Option<Format>, usual: Option<Format>) -> Outcome {
        let Self { line, text, value } = self;
        let (format, found) = match value {
            Err(fault) => (None, Err(fault)),
            Ok(row) => match forced.or_else(|| Format::of(&row)).or(usual.filter(|_| row.contains_key("request"))) {
                Some(format) => (Some(format), found(format, row)),
                None => (None, Err(format::unknown(&row))),
            },
        };
        let text = found.is_err().then(|| String::from_utf8_lossy(&text[..text.len().min(KEPT_ROW)]).into_owned());
        Outcome { line, format, found, text: text.filter(|text| !text.is_empty()) }
    }
}

fn found(format: Format, row: Map<String, Value>) -> Result<Found, Fault> {
    match format.shape().part(&row) {
        Some(part) => Ok(Found::Part(part, row)),
        None => format.shape().read(row).map(Found::Calls),
    }
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
