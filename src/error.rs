//! How an error reaches a person: what failed, why, and what would cure it.
use std::io::{self, Write};
use std::process::ExitCode;

/// An error with the command or setting that cures it.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Hinted {
    problem: String,
    hint: String,
}

/// An error that says its cure.
pub fn hinted(problem: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { problem: problem.into(), hint: hint.into() }.into()
}

/// Prints `error`, `cause` and `hint` lines on stderr and gives the exit code. A reader that went
/// away (`| head`) is no error.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let mut stderr = io::stderr().lock();
    let mut causes = error.chain();
    if let Some(first) = causes.next() {
        let _ = writeln!(stderr, "error: {first}");
    }
    for cause in causes {
        let _ = writeln!(stderr, "cause: {cause}");
    }
    let said = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>()).map(|hinted| hinted.hint.clone());
    // The store knows the cure of its own errors, whoever passed them on.
    let known = || error.chain().find_map(|cause| cause.downcast_ref::<store::Error>()?.cure());
    if let Some(hint) = said.or_else(known) {
        let _ = writeln!(stderr, "hint: {hint}");
    }
    ExitCode::from(1)
}
