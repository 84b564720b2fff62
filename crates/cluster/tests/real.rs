//! Tasks of real logs under `../shared`, against labels that nothing was fitted on. Skips aloud without them.
#![expect(clippy::disallowed_methods, reason = "a test makes its clean calls itself")]
#![expect(clippy::print_stderr, reason = "a test says what it measured and what it skips")]

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::PathBuf;
use std::time::Instant;

use cluster::{Cluster, HashEmbedder, Tally, Tasks, adjusted_rand};
use record::{Assigner, Call, Clean, Part, Shares, Silent, Train, split};

fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not here", path.display());
        return None;
    }
    Some(path)
}

/// Batches of at most 512 calls of a compressed log.
fn batches(path: PathBuf) -> impl Iterator<Item = Vec<Clean<Call>>> {
    let file = std::fs::File::open(path).expect("the log opens");
    let mut decoder = zstd::Decoder::new(file).expect("the log is zstd");
    decoder.window_log_max(31).expect("a window of 2 GiB is allowed");
    let mut lines = std::io::BufReader::new(decoder).lines();
    std::iter::from_fn(move || {
        let lines = lines.by_ref().take(512).map(|line| line.expect("the log is text"));
        let calls: Vec<_> = lines.map(|line| Clean::vouch(serde_json::from_str(&line).expect("a call record"))).collect();
        (!calls.is_empty()).then_some(calls)
    })
}

fn train(calls: Vec<Clean<Call>>, shares: Shares) -> Part<Train> {
    split(calls, 1, shares).train
}

fn fit(path: &str, config: &Cluster) -> Option<Tasks> {
    let mut summary = config.summary();
    batches(shared(path)?).for_each(|batch| summary.observe(&train(batch, Shares::default())));
    Some(config.fit(&summary, &HashEmbedder::default(), None, &Silent).expect("the log clusters"))
}

fn tally(path: &str, tasks: &Tasks) -> Vec<record::Task> {
    let mut tally = Tally::default();
    for call in batches(shared(path).expect("it was here")).flatten() {
        tally.add(&Tasks::bucket(&tasks.assign(call.prompt())), &call, None);
    }
    let rows = tally.tasks(tasks);
    for row in &rows {
        eprintln!(
            "{path}: {:<14} {:<32} {:?} calls {} conversations {} cost {:.2} stability {:?} tokens {:?}/{:?} parent {:?}",
            row.task.0,
            row.name,
            row.kind,
            row.calls,
            row.conversations,
            row.cost_usd,
            row.stability,
            row.prompt_tokens,
            row.answer_tokens,
            row.parent
        );
    }
    rows
}

#[test]
fn the_functions_of_an_application_are_found() {
    let Some(tasks) = fit("logs/tensorzero-app.jsonl.zst", &Cluster::default()) else { return };
    let labels =
        std::fs::read_to_string(shared("logs/tensorzero-app.labels.tsv").expect("labels lie beside the log")).expect("labels are text");
    let labels: BTreeMap<&str, &str> = labels.lines().filter_map(|line| line.split_once('\t')).collect();
    let (mut found, mut truth) = (Vec::new(), Vec::new());
    let log = shared("logs/tensorzero-app.jsonl.zst").expect("it was here");
    for call in batches(log).flatten() {
        found.push(Tasks::bucket(&tasks.assign(call.prompt())).0);
        truth.push(labels[call.source_id.as_str()]);
    }
    let ari = adjusted_rand(&found, &truth);
    eprintln!("tensorzero-app: {} tasks, adjusted Rand index {ari:.4} over {} calls of all splits", tasks.describe().len(), found.len());
    let rows = tally("logs/tensorzero-app.jsonl.zst", &tasks);
    assert_eq!(rows.iter().map(|row| row.calls).sum::<u64>(), found.len() as u64);
    assert!(ari >= 0.9, "{ari}");
}

#[test]
fn a_large_agent_is_one_task_within_seconds() {
    let start = Instant::now();
    let Some(tasks) = fit("logs/airline-agent.jsonl.zst", &Cluster::default()) else { return };
    eprintln!("airline-agent: fitted in {:.1} s with decompression and parsing", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let rows = tally("logs/airline-agent.jsonl.zst", &tasks);
    eprintln!("airline-agent: assigned in {:.1} s with decompression and parsing", start.elapsed().as_secs_f64());
    assert_eq!(rows.iter().map(|row| row.calls).sum::<u64>(), 5_776);
    assert_eq!(rows.iter().filter(|row| !row.noise).count(), 1);
    assert_eq!(rows[0].kind, record::TaskKind::ToolCall);
    let turns = fit("logs/airline-agent.jsonl.zst", &Cluster { by_turn: true, ..Cluster::default() }).expect("it was here");
    let rows = tally("logs/airline-agent.jsonl.zst", &turns);
    assert!(rows.len() > 5);
}

#[test]
fn prompts_that_vary_by_conversation_are_one_task() {
    for (log, calls) in [("logs/airline-user-simulator.jsonl.zst", 2_830), ("logs/sql-agent.jsonl.zst", 6_901)] {
        let Some(tasks) = fit(log, &Cluster::default()) else { return };
        let rows = tally(log, &tasks);
        let main = rows.iter().map(|row| row.calls).max().unwrap_or_default();
        assert!(main as f64 > 0.95 * f64::from(calls), "{log}: {main}");
    }
}

/// Free text alone, the hardest case: no template, no tools, no schema, and the built-in embedder. A report, not a bar.
#[test]
#[ignore = "a report that takes a minute"]
fn free_text_report() {
    let Some(path) = shared("cluster/clinc150/data_full.json") else { return };
    let data: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect("it reads")).expect("it is JSON");
    let rows = data["test"].as_array().expect("rows");
    let make = |(at, row): (usize, &serde_json::Value)| {
        let call = serde_json::json!({"source_id": at.to_string(), "conversation_id": at.to_string(),
            "request": {"messages": [{"role": "user", "content": row[0]}]}, "response": {"choices": [{"message": {"content": "A long enough answer that says the same for all of them."}}]}});
        Clean::vouch(serde_json::from_value::<Call>(call).expect("a call record"))
    };
    let calls: Vec<_> = rows.iter().enumerate().map(make).collect();
    let truth: Vec<_> = rows.iter().map(|row| row[1].as_str().unwrap_or_default()).collect();
    for max_intents in [32, 256] {
        let config = Cluster { max_intents, ..Cluster::default() };
        let mut summary = config.summary();
        summary.observe(&train(calls.clone(), Shares { calibration: 0.0, held: 0.0 }));
        let tasks = config.fit(&summary, &HashEmbedder::default(), None, &Silent).expect("it clusters");
        let found: Vec<_> = calls.iter().map(|call| Tasks::bucket(&tasks.assign(call.prompt())).0).collect();
        eprintln!(
            "clinc150 test, at most {max_intents} intents: {} tasks, adjusted Rand index {:.3}",
            tasks.describe().len(),
            adjusted_rand(&found, &truth)
        );
    }
}
