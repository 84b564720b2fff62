//! `compact`: old raw text goes, small segments become few, and the file gives its room back.
use std::process::ExitCode;

use record::Time;
use report::number;
use serde::Serialize;
use store::{Expired, Merged};

use crate::cli::CompactArgs;
use crate::context::{Context, cured, now};

const DAY_MS: i64 = 86_400_000;

#[derive(Serialize)]
struct Compacted {
    expired: Expired,
    merged: Merged,
    bytes_before: u64,
    bytes_after: u64,
    /// Whether no dropped byte is left in the file.
    erased: bool,
}

pub fn command(context: &Context, args: &CompactArgs) -> anyhow::Result<ExitCode> {
    let dry = args.dry.dry_run;
    let store = context.open()?;
    let bytes = || store.counts().map(|counts| counts.stored_bytes).map_err(cured);
    let bytes_before = bytes()?;
    let expired = match i64::from(context.config.store.keep_raw_days) {
        0 => Expired::default(),
        days => store.expire_raw(Time(now().0 - days * DAY_MS), args.even_unscrubbed, dry).map_err(cured)?,
    };
    let merged = store.merge_small(dry).map_err(cured)?;
    let changed = merged.segments + expired.calls + expired.rejects > 0;
    let erased = dry || !changed || store.shrink().map_err(cured)?;
    let compacted = Compacted { expired, merged, bytes_before, bytes_after: bytes()?, erased };
    context.ui.value(&compacted, || text(&compacted, dry))?;
    if expired.unscrubbed > 0 {
        let line =
            "compact   {} raw calls are old enough and stay, since they were never scrubbed: `slm-migrate scrub`, or `--even-unscrubbed`";
        context.ui.status(&line.replace("{}", &number(expired.unscrubbed)));
    }
    if !erased {
        context.ui.status(
            "compact   dropped bytes are still in the file (no room to write it anew, or a reader holds it): the next command that writes erases them",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn text(Compacted { expired, merged, bytes_before, bytes_after, .. }: &Compacted, dry: bool) -> String {
    let size = if dry { String::new() } else { format!(", {} bytes of {}", number(*bytes_after), number(*bytes_before)) };
    format!(
        "{}{} raw calls and {} rejects dropped by age, {} small segments merged into {}{size}\n",
        if dry { "would be: " } else { "" },
        number(expired.calls),
        number(expired.rejects),
        number(merged.segments),
        number(merged.into)
    )
}
