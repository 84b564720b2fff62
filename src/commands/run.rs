//! `run`: all steps, from logs to the report.
use std::process::ExitCode;

use report::{Report, number};
use store::Store;

use crate::cli::RunArgs;
use crate::commands::{collect, gates, report as pages};
use crate::context::Context;
use crate::error::hinted;
use crate::models::Base;
use crate::pipeline;
use crate::ui::table;

pub fn command(context: &Context, args: &RunArgs) -> anyhow::Result<ExitCode> {
    if args.paths.is_empty() && !context.global.store.exists() {
        return Err(hinted(
            "there is neither a store nor a log to make one from",
            "`slm-migrate run LOGS`, or `slm-migrate demo` for a synthetic log",
        ));
    }
    if args.dry.dry_run {
        return dry_run(context, args);
    }
    // A model that cannot be loaded should be known before an hour of work, not after.
    for base in Base::all(context)? {
        base.config()?;
        base.chat()?;
    }
    collect::inputs(&args.paths)?;
    let mut store = context.create_or_open()?;
    if !args.paths.is_empty() {
        collect::step(context, &mut store, &args.paths, args.input_format.as_deref())?;
    }
    let report = pipeline::run(context, &store)?;
    show(context, &store, &report)?;
    gates::pass(context, &args.gates, &report)
}

/// Prints the task table and writes the report.
///
/// # Errors
/// When stdout is closed or the disk refuses.
pub fn show(context: &Context, store: &Store, report: &Report) -> anyhow::Result<()> {
    let page = pages::write(store, report)?;
    context.ui.value(report, || {
        let mut text = table(&Report::COLUMNS, &report.rows());
        if let (Some(before), Some(after)) = (report.cost.before_usd, report.cost.after_usd) {
            text += &format!(
                "cost of these calls: {} as logged, {} with every verdict in force\n",
                report::money(before),
                report::money(after)
            );
        }
        text
    })?;
    context.ui.status(&format!("report: {}", page.display()));
    Ok(())
}

fn dry_run(context: &Context, args: &RunArgs) -> anyhow::Result<ExitCode> {
    if context.global.store.exists() {
        let store = context.read()?;
        let (counts, pending) = (store.counts()?, store.pending(&record::Fingerprint::of(&context.config.scrub, &[]))?);
        context.ui.status(&format!("the store holds {} calls, {} of them to be scrubbed", number(counts.calls), number(pending)));
    }
    let bytes: u64 = args.paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|m| m.len()).sum();
    context.ui.status(&format!(
        "would collect {} paths ({} bytes), scrub, cluster, select, finetune, evaluate and route",
        args.paths.len(),
        number(bytes)
    ));
    for base in Base::all(context)? {
        let config = base.config()?;
        context.ui.status(&format!("with `{}`: {} layers of width {}", base.name, config.num_hidden_layers, config.hidden_size));
    }
    let finetune = &context.config.finetune;
    let length = match (finetune.train_minutes, finetune.max_steps) {
        (Some(minutes), _) => format!("{minutes} minutes a task"),
        (None, Some(steps)) => format!("at most {steps} steps a task"),
        (None, None) => format!("{} passes over each task's examples", finetune.epochs),
    };
    context.ui.status(&format!("training: {length}; `finetune --dry-run` counts examples and tokens once there are tasks"));
    Ok(ExitCode::SUCCESS)
}
