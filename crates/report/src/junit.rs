//! Gates as JUnit XML: a suite for each task.
use quick_junit::{NonSuccessKind, Property, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use record::Decision;

use crate::{GateCase, Report, TaskReport};

/// A JUnit file of gates, one suite for each gate's task. A gate that failed is a failure, one with too
/// little data is skipped.
#[must_use]
pub fn junit(gates: &[GateCase]) -> String {
    let mut junit = Junit::new("slm-migrate");
    for gate in gates {
        let mut case = TestCase::new(gate.gate.as_str(), status(gate));
        for (name, value) in &gate.figures {
            case.add_property(Property::new(name.as_str(), format!("{value:.6}")));
        }
        case.add_property(Property::new("n", gate.n.to_string()));
        let mut suite = TestSuite::new(gate.task.as_str());
        suite.add_test_case(case);
        junit.add_test_suite(suite);
    }
    junit.to_string().expect("a JUnit report is written to memory, which cannot fail")
}

fn status(gate: &GateCase) -> TestCaseStatus {
    let mut status = match gate.passed {
        Some(true) => return TestCaseStatus::success(),
        Some(false) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        None => TestCaseStatus::skipped(),
    };
    status.set_message(gate.reason.as_str());
    status
}

/// The gate of each task of a report: `replace` and `route` pass, `keep` failed, `insufficient` says
/// nothing yet.
pub fn of_report(report: &Report) -> String {
    junit(&report.tasks.iter().filter(|task| !task.task.noise).map(case).collect::<Vec<_>>())
}

fn case(task: &TaskReport) -> GateCase {
    let verdict = task.verdict.as_ref();
    let score = verdict.and_then(|v| v.score.as_ref());
    let bounds = [("lower", score.and_then(|s| s.lower)), ("upper", score.and_then(|s| s.upper)), ("bar", verdict.map(|v| v.bar))];
    GateCase {
        task: task.task.name.clone(),
        gate: "agreement with the log".into(),
        passed: match task.decision() {
            Decision::Replace | Decision::Route => Some(true),
            Decision::Keep => Some(false),
            Decision::Insufficient => None,
        },
        reason: verdict.map_or_else(String::new, |v| v.reason.clone()),
        figures: bounds.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        n: score.map_or(0, |s| s.n),
    }
}
