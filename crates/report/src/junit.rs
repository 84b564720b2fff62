//! The gates as JUnit XML: a suite for each task.
use quick_junit::{NonSuccessKind, Property, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use record::Decision;

use crate::{Report, TaskReport};

pub fn text(report: &Report) -> String {
    let mut junit = Junit::new("slm-migrate");
    for task in report.tasks.iter().filter(|task| !task.task.noise) {
        let mut suite = TestSuite::new(task.task.name.as_str());
        let mut case = TestCase::new("agreement with the log", status(task));
        if let Some(score) = task.verdict.as_ref().and_then(|v| v.score.as_ref()) {
            let bar = task.verdict.as_ref().map_or(0.0, |v| v.bar);
            for (name, value) in [("lower", score.lower), ("upper", score.upper), ("bar", Some(bar))] {
                if let Some(value) = value {
                    case.add_property(Property::new(name, format!("{value:.6}")));
                }
            }
            case.add_property(Property::new("n", score.n.to_string()));
        }
        suite.add_test_case(case);
        junit.add_test_suite(suite);
    }
    junit.to_string().expect("a JUnit report is written to memory, which cannot fail")
}

/// `replace` and `route` pass; `keep` failed the gate; `insufficient` says nothing yet.
fn status(task: &TaskReport) -> TestCaseStatus {
    let reason = task.verdict.as_ref().map_or_else(String::new, |verdict| verdict.reason.clone());
    let mut status = match task.decision() {
        Decision::Replace | Decision::Route => return TestCaseStatus::success(),
        Decision::Keep => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Decision::Insufficient => TestCaseStatus::skipped(),
    };
    status.set_message(reason);
    status
}
