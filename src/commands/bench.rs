//! `bench`: how fast a step is on this machine, on calls of the store.
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use finetune::{Batching, Measured};
use model::{DType, Device};
use record::Task;
use serde::Serialize;

use crate::cli::{BenchArgs, BenchStep};
use crate::commands::finetune as training;
use crate::context::Context;
use crate::models::Base;
use crate::tasks::choose;
use crate::{memory, parts, run};

/// What was measured of one task.
#[derive(Serialize)]
struct Bench {
    step: &'static str,
    task: String,
    model: String,
    /// Whether the folder had weights or random ones of its shape were taken.
    weights: &'static str,
    batching: Batching,
    kernel: String,
    threads: usize,
    steps: usize,
    calls: u64,
    /// Tokens of the calls, each counted by itself.
    call_tokens: u64,
    /// Rows that were computed for them.
    rows: u64,
    seconds: f64,
    call_tokens_per_second: f64,
    rows_per_second: f64,
    flops_per_second: f64,
    /// Of the CPU in the largest product as a step computes it; none where it does not train.
    peak_flops_per_second: Option<f64>,
    share_of_peak: Option<f64>,
    /// The same of f32 vectors, which a matrix unit surpasses.
    vector_peak_flops_per_second: Option<f64>,
    /// Of the process so far, tasks before this one included.
    peak_memory_bytes: Option<u64>,
}

pub fn command(context: &Context, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let store = context.open()?;
    let run = run::current(context, &store)?;
    let tasks: Vec<Task> = run::get(&store, Some(&run), "tasks")?;
    let chosen = choose(&tasks, &args.task)?;
    let mut rows = Vec::new();
    for base in Base::all(context)? {
        for task in &chosen {
            let BenchStep::Finetune = args.step;
            let parts = parts::of_task(context, &store, &task.task)?;
            let failed = || format!("cannot train `{}` on `{}`", base.name, task.name);
            rows.extend(finetune(context, &parts, task, &base, args.steps).with_context(failed)?);
        }
    }
    let columns = ["task", "model", "batching", "call tokens/s", "rows/s", "GFLOP/s", "of peak", "kernel"];
    context.ui.rows("bench", &rows, &columns, |row| {
        vec![
            row.task.clone(),
            format!("{} ({} weights)", row.model, row.weights),
            format!("{:?}", row.batching).to_lowercase(),
            format!("{:.0}", row.call_tokens_per_second),
            format!("{:.0}", row.rows_per_second),
            format!("{:.0}", row.flops_per_second / 1e9),
            row.share_of_peak.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
            row.kernel.clone(),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

fn finetune(context: &Context, parts: &record::Parts, task: &Task, base: &Base, steps: u64) -> anyhow::Result<Option<Bench>> {
    let settings = training::settings(context, parts);
    let Some(examples) = training::examples(context, "bench", &settings, parts, task, base)? else { return Ok(None) };
    let (weights, kind) = if base.has_weights() {
        (base.weights()?, "its")
    } else {
        // in 16 bits first, as files hold them
        (model::train::random(&base.config()?, settings.seed, DType::BF16, &Device::Cpu)?.cast(DType::F32)?, "random")
    };
    let model = training::learner(context, &settings, base, weights)?;
    let start = Instant::now();
    let measured = finetune::bench(&model, &examples.train, &settings, steps, &mut || start.elapsed().as_secs_f64())?;
    let memory = memory::peak();
    let time = |once: &mut dyn FnMut()| {
        let start = Instant::now();
        once();
        start.elapsed()
    };
    let peak = base.device.is_cpu().then(|| model.peak(time));
    let sum = |of: fn(&Measured) -> u64| measured.iter().map(of).sum::<u64>();
    let seconds: f64 = measured.iter().map(|step| step.seconds).sum();
    let (call_tokens, rows) = (sum(|step| step.call_tokens), sum(|step| step.rows));
    let flops = measured.iter().map(|step| step.flops).sum::<f64>() / seconds;
    #[expect(clippy::cast_precision_loss, reason = "tokens of some steps")]
    let rate = |count: u64| count as f64 / seconds;
    Ok(Some(Bench {
        step: "finetune",
        task: task.name.clone(),
        model: base.name.clone(),
        weights: kind,
        batching: settings.batching,
        kernel: model::train::kernel(settings.precision),
        threads: rayon::current_num_threads(),
        steps: measured.len(),
        calls: sum(|step| step.calls),
        call_tokens,
        rows,
        seconds,
        call_tokens_per_second: rate(call_tokens),
        rows_per_second: rate(rows),
        flops_per_second: flops,
        peak_flops_per_second: peak.map(|peak| peak.largest),
        share_of_peak: peak.map(|peak| flops / peak.largest),
        vector_peak_flops_per_second: peak.map(|peak| peak.vectors),
        peak_memory_bytes: memory,
    }))
}
