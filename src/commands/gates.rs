//! Gates for CI: exit code, JUnit file and job summary of a report.
use std::io::Write;
use std::process::ExitCode;

use record::Decision;
use report::Report;

use crate::cli::GateFlags;
use crate::context::Context;
use crate::error::hinted;

/// A gate failed.
const FAILED: u8 = 100;
/// Too little data to decide.
const UNDECIDED: u8 = 3;

/// Writes what was asked for and gives the exit code. Without `--gate` that is always 0.
///
/// # Errors
/// When a file cannot be written.
pub fn pass(context: &Context, flags: &GateFlags, report: &Report) -> anyhow::Result<ExitCode> {
    if let Some(path) = &flags.junit {
        put(path, &report.junit(), false)?;
    }
    if let Some(path) = &flags.summary {
        put(path, &report.markdown(), true)?;
    }
    if !flags.gate {
        return Ok(ExitCode::SUCCESS);
    }
    let decisions: Vec<_> = report.tasks.iter().filter(|task| !task.task.noise).map(report::TaskReport::decision).collect();
    let (failed, undecided) = (decisions.contains(&Decision::Keep), decisions.is_empty() || decisions.contains(&Decision::Insufficient));
    let code = code(failed, undecided && !flags.allow_insufficient);
    context.ui.status(match code {
        FAILED => "gate: failed",
        UNDECIDED => "gate: too little data",
        _ => "gate: passed",
    });
    Ok(ExitCode::from(code))
}

/// The exit code of gates.
pub const fn code(failed: bool, undecided: bool) -> u8 {
    match (failed, undecided) {
        (true, _) => FAILED,
        (false, true) => UNDECIDED,
        (false, false) => 0,
    }
}

/// Writes or appends a file the user named.
///
/// # Errors
/// When it cannot be written.
pub fn put(path: &std::path::Path, text: &(impl AsRef<[u8]> + ?Sized), append: bool) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_ref()));
    written.map_err(|error| hinted(format!("cannot write `{}`: {error}", path.display()), "name a file in a folder that exists"))
}
