//! The terminal: bars and messages on stderr, data on stdout. Knows no step.
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use record::Progress;
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON document with `schema_version`.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// Version of the layout of every JSON document printed.
pub const SCHEMA_VERSION: u32 = 1;

/// Where a command speaks.
pub struct Ui {
    format: Format,
    quiet: bool,
    bars: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Ui {
    /// A terminal as the global flags ask for it. Bars need a terminal on stderr.
    pub fn new(format: Format, quiet: bool, no_progress: bool) -> Self {
        let bars = !quiet && !no_progress && io::stderr().is_terminal();
        Self { format, quiet, bars, bar: Mutex::new(None) }
    }

    /// One line about what was done, on stderr.
    pub fn status(&self, line: &str) {
        if self.quiet {
            return;
        }
        let print = || {
            let _ = writeln!(io::stderr(), "{line}");
        };
        match self.bar.lock().expect("no thread panics while it holds the bar").as_ref() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Text on stdout, as it is.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Rows on stdout: a table for people made by `columns`, or JSON of the rows themselves.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn rows<T: Serialize>(&self, kind: &str, rows: &[T], columns: &[&str], cells: impl Fn(&T) -> Vec<String>) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table => table(columns, &rows.iter().map(cells).collect::<Vec<_>>()),
            Format::Json => {
                let document = serde_json::json!({"schema_version": SCHEMA_VERSION, kind: rows});
                serde_json::to_string_pretty(&document)? + "\n"
            }
            Format::Jsonl => {
                let mut text = String::new();
                for row in rows {
                    text += &serde_json::to_string(row)?;
                    text.push('\n');
                }
                text
            }
        };
        Ok(self.print(&text)?)
    }

    /// One value on stdout: its `text` for people, or its JSON with `schema_version` beside its fields.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn value<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.format == Format::Table {
            return Ok(self.print(&text())?);
        }
        let mut document = serde_json::to_value(value)?;
        if let Some(fields) = document.as_object_mut() {
            fields.insert("schema_version".into(), SCHEMA_VERSION.into());
        }
        let text = if self.format == Format::Json { serde_json::to_string_pretty(&document)? } else { document.to_string() };
        Ok(self.print(&(text + "\n"))?)
    }
}

impl Progress for Ui {
    fn begin(&self, what: &str, total: u64, unit: &'static str) {
        let bar = if total == 0 { ProgressBar::no_length() } else { ProgressBar::new(total) };
        // A bar that lives under 250 ms only flickers.
        bar.set_draw_target(if self.bars { ProgressDrawTarget::stderr_with_hz(4) } else { ProgressDrawTarget::hidden() });
        let template = if total == 0 {
            format!("{{prefix:12!}} {{spinner}} {{human_pos}} {unit}  {{per_sec}}  {{msg}}")
        } else {
            format!("{{prefix:12!}} {{bar:24}} {{human_pos}}/{{human_len}} {unit}  {{per_sec:>9}}  {{eta:>4}} left  {{msg}}")
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        if self.bars {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        *self.bar.lock().expect("no thread panics while it holds the bar") = Some(bar);
    }

    fn advance(&self, by: u64) {
        if let Some(bar) = self.bar.lock().expect("no thread panics while it holds the bar").as_ref() {
            bar.inc(by);
        }
    }

    fn note(&self, text: &str) {
        if let Some(bar) = self.bar.lock().expect("no thread panics while it holds the bar").as_ref() {
            bar.set_message(text.to_owned());
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.lock().expect("no thread panics while it holds the bar").take() {
            bar.finish_and_clear();
        }
    }
}

/// Aligned columns. A cell that looks like a number is set flush right.
pub fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let width = |index: usize| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([columns[index].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let numeric = |cell: &str| cell.chars().next().is_some_and(|c| c.is_ascii_digit() || c == '$');
    let right: Vec<bool> =
        (0..columns.len()).map(|i| !rows.is_empty() && rows.iter().all(|row| numeric(&row[i]) || row[i] == "–")).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut row = String::new();
        for (index, cell) in cells.enumerate() {
            let gap = " ".repeat(widths[index].saturating_sub(cell.chars().count()));
            row += &if right[index] { format!("{gap}{cell}  ") } else { format!("{cell}{gap}  ") };
        }
        text += row.trim_end();
        text.push('\n');
    };
    line(&mut columns.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn numbers_stand_flush_right() {
        let rows = [vec!["a".to_owned(), "9".to_owned()], vec!["long".to_owned(), "1,000".to_owned()]];
        assert_eq!(table(&["task", "calls"], &rows), "task  calls\na         9\nlong  1,000\n");
    }
}
