//! `demo`: a synthetic agent log through all steps, with the built-in nano model.
use std::process::ExitCode;

use crate::cli::Global;
use crate::commands::{collect, run};
use crate::context::Context;
use crate::error::hinted;
use crate::pipeline;

const LOG: &[u8] = include_bytes!("../../fixtures/demo.jsonl.zst");
/// Name under which rejects of the built-in log would be listed.
const NAME: &str = "demo.jsonl.zst";
/// Document that marks a store as the demo's.
const MARK: &str = "demo";

/// How the demo differs from the defaults: the built-in model, in small batches (docs/decisions/0006), for a number of steps and
/// not of minutes, so that every machine does the same. What `--set` says comes after these and beats them.
const SETTINGS: [&str; 3] = ["models=[\"nano\"]", "finetune.epochs=6", "finetune.batch_size=8"];

pub fn command(mut global: Global) -> anyhow::Result<ExitCode> {
    global.set.splice(0..0, SETTINGS.map(String::from));
    let context = Context::new(global, &[])?;
    let fresh = !context.global.store.exists();
    let mut store = context.create_or_open()?;
    if !fresh
        && store.counts()?.calls > 0
        && store.latest_document(MARK)?.is_none()
        && store.runs()?.iter().any(|run| run.config["demo"].is_null())
    {
        let problem = format!("`{}` holds another log", context.global.store.display());
        return Err(hinted(problem, "`slm-migrate demo --store demo.db` keeps the two apart"));
    }
    collect::stream(&context, &mut store, NAME, LOG)?;
    let report = pipeline::run(&context, &store)?;
    run::show(&context, &store, &report)?;
    Ok(ExitCode::SUCCESS)
}
