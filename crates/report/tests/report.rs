//! One report in all its forms.
use std::collections::BTreeMap;

use record::{Contender, Decision, Metric, Score, Task, TaskId, TaskKind, Verdict};
use report::{Point, Report, Stage, TaskReport};

fn task(name: &str, decision: Decision, mean: f64) -> TaskReport {
    let id = TaskId(format!("t-{name}"));
    let score = Score {
        task: id.clone(),
        candidate: "nano + adapter <1>".into(),
        contender: Contender::Tuned,
        metric: Metric::Label,
        n: 1210,
        conversations: 200,
        score: Some(mean),
        lower: Some(mean - 0.02),
        upper: Some(mean + 0.01),
        method: "clopper-pearson".into(),
        beside: BTreeMap::new(),
    };
    let task = Task {
        task: id.clone(),
        name: name.into(),
        kind: TaskKind::Label,
        calls: 3500,
        conversations: 200,
        cost_usd: 1.5,
        stability: None,
        prompt_tokens: [100, 200],
        answer_tokens: [3, 9],
        tools: Vec::new(),
        parent: None,
        noise: false,
    };
    let verdict = Verdict {
        task: id,
        candidate: Some(score.candidate.clone()),
        decision,
        reason: "because of <the numbers>".into(),
        needed: Some(50),
        bar: 0.95,
        threshold: None,
        small_share: 1.0,
        cost_before_usd: Some(1.5),
        cost_after_usd: Some(0.1),
        score: Some(score.clone()),
    };
    let curve = vec![Point { step: 1, train: Some(2.0), validation: None }, Point { step: 9, train: Some(0.5), validation: Some(0.6) }];
    TaskReport { task, teacher: None, verdict: Some(verdict), scores: vec![score], candidates: Vec::new(), adapter: None, curve }
}

fn sample() -> Report {
    let tasks =
        vec![task("route ticket", Decision::Replace, 0.98), task("plan", Decision::Keep, 0.3), task("mail", Decision::Insufficient, 0.97)];
    let funnel = vec![Stage { name: "collected".into(), calls: 7000, note: "3 rejected".into() }];
    Report { schema_version: 1, version: "0".into(), tasks, funnel, ..Report::default() }
}

#[test]
fn the_table_shows_the_bound_that_decides() {
    let rows = sample().rows();
    assert_eq!(rows[0][4], "0.980 (≥ 0.960, 1,210)");
    assert_eq!(rows[1][4], "0.300 (≤ 0.310, 1,210)");
    assert_eq!(rows[2][5], "insufficient: 50 more held-out conversations");
    assert_eq!(rows[0][2], "33.3 %");
}

#[test]
fn the_page_stands_alone_and_escapes_what_it_shows() {
    let page = sample().html();
    for outside in ["http://", "https://", "<script", "<link", "@import"] {
        assert!(!page.contains(outside), "the page reaches for {outside}");
    }
    assert!(page.contains("because of &lt;the numbers&gt;") && !page.contains("<the numbers>"));
    assert!(page.contains("<svg"));
    assert_eq!(page, sample().html());
}

#[test]
fn json_reads_back_and_markdown_holds_the_table() {
    let report = sample();
    assert_eq!(serde_json::from_str::<Report>(&report.json()).ok(), Some(report.clone()));
    assert!(report.markdown().contains("| route ticket | 3,500 | 33.3 % |"));
}

#[test]
fn junit_tells_failure_from_too_little_data() {
    let xml = sample().junit();
    assert!(xml.contains(r#"tests="3""#) && xml.contains(r#"failures="1""#) && xml.contains("<skipped"), "{xml}");
}
