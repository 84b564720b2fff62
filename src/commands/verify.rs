//! `verify`: recomputes the audit trail, the segments and the artifact manifests.
use std::process::ExitCode;

use crate::context::Context;

pub fn command(context: &Context) -> anyhow::Result<ExitCode> {
    let verified = context.read()?.verify()?;
    let sound = verified.problems.is_empty();
    context.ui.value(&verified, || {
        let mut text = format!(
            "{} audit entries, {} segments, {} artifact files: {}\n",
            verified.trail,
            verified.segments,
            verified.artifacts,
            if sound { "sound" } else { "DAMAGED" }
        );
        for problem in &verified.problems {
            text += &format!("  {problem}\n");
        }
        text
    })?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
