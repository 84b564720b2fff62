//! Runs against their parents: each way a plan can come out.
use iterate::{Action, Change, Deployed, Evidence, Fresh, Hashes, Iterate, Outcome, Plan, RunView, TaskView, gates_of, outcome};
use record::{Decision, TaskId, TaskKind, Verdict};

fn task(id: &str) -> TaskView {
    TaskView {
        task: TaskId(id.into()),
        name: format!("task {id}"),
        kind: TaskKind::Label,
        parent: None,
        calls: 400,
        train_conversations: 100,
        lengths: (0..400).map(|i| 200 + i % 40).collect(),
        verdict: None,
        deployed: None,
        fresh: vec![],
    }
}

fn verdict(id: &str, decision: Decision) -> Option<Verdict> {
    Some(Verdict {
        task: TaskId(id.into()),
        candidate: Some("nano".into()),
        decision,
        reason: format!("decided {decision}"),
        needed: None,
        bar: 0.95,
        threshold: None,
        small_share: 0.0,
        cost_before_usd: None,
        cost_after_usd: None,
        score: None,
    })
}

fn deployed(candidate: &str) -> Option<Deployed> {
    Some(Deployed { candidate: candidate.into(), train_conversations: 100, previous: Some("big".into()) })
}

fn fresh(n: u64, successes: u64) -> Vec<Fresh> {
    let evidence = Evidence { n, successes, ..Evidence::default() };
    vec![Fresh { candidate: "nano".into(), hashes: Hashes::default(), evidence }]
}

fn run(name: &str, tasks: Vec<TaskView>) -> RunView {
    RunView { run: name.into(), tasks, ..RunView::default() }
}

fn plan(before: TaskView, now: TaskView) -> Plan {
    Iterate::default().plan(&run("one", vec![before]), &run("two", vec![now]))
}

fn only(plan: &Plan) -> &Action {
    assert_eq!(plan.actions.len(), 1);
    &plan.actions[0]
}

#[test]
fn new_gone_and_renewed_tasks() {
    let born = TaskView { parent: Some(TaskId("b".into())), ..task("c") };
    let parent = run("one", vec![task("a"), TaskView { deployed: deployed("nano"), ..task("b") }]);
    let plan = Iterate::default().plan(&parent, &run("two", vec![born, task("d")]));
    let changes: Vec<_> = plan.actions.iter().map(|action| (action.task.0.as_str(), action.change, action.back_to)).collect();
    assert_eq!(
        changes,
        [("a", Change::Keep, None), ("b", Change::Keep, None), ("c", Change::Retrain, Some(2)), ("d", Change::NewTask, Some(4))]
    );
    assert_eq!(plan.actions[2].candidate.as_deref(), Some("nano"));
    assert_eq!((plan.gates.len(), plan.outcome), (0, Outcome::Pass));
}

#[test]
fn a_first_verdict_promotes_and_a_repeated_one_needs_the_e_value() {
    let good = TaskView { verdict: verdict("a", Decision::Replace), fresh: fresh(59, 59), ..task("a") };
    let first = plan(task("a"), good.clone());
    assert_eq!((only(&first).change, only(&first).candidate.as_deref()), (Change::Promote, Some("nano")));
    // The same model looked at again: 59 + 20 right are not enough at any look, 59 + 29 are.
    let again = |n| {
        let parent = RunView { sequences: first.sequences.clone(), ..run("two", vec![good.clone()]) };
        let now = TaskView { fresh: fresh(n, n), ..good.clone() };
        Iterate::default().plan(&parent, &run("three", vec![now])).actions[0].change
    };
    assert_eq!((again(20), again(29)), (Change::Keep, Change::Promote));
}

#[test]
fn a_fallen_model_is_rolled_back_and_fails_the_gate() {
    let serving = TaskView { deployed: deployed("nano"), ..task("a") };
    let fallen = plan(serving.clone(), TaskView { fresh: fresh(60, 42), ..serving.clone() });
    assert_eq!((only(&fallen).change, only(&fallen).candidate.as_deref()), (Change::RollBack, Some("big")), "{fallen:?}");
    assert_eq!(fallen.outcome, Outcome::Fail);
    assert!(only(&fallen).numbers["log_e_demote"] > 3.0);
    let judged = plan(serving.clone(), TaskView { verdict: verdict("a", Decision::Keep), ..serving.clone() });
    assert_eq!((only(&judged).change, judged.outcome), (Change::RollBack, Outcome::Fail));
    // What is known of another model says nothing about this one.
    let other = TaskView { deployed: deployed("other"), ..task("a") };
    let spared = plan(other.clone(), TaskView { fresh: fresh(60, 42), ..other });
    assert_eq!(only(&spared).change, Change::Keep);
}

#[test]
fn a_sound_model_stays_until_prompts_drift_or_data_grows() {
    let serving = TaskView { deployed: deployed("nano"), ..task("a") };
    let sound = plan(serving.clone(), TaskView { fresh: fresh(100, 99), ..serving.clone() });
    assert_eq!((only(&sound).change, sound.outcome), (Change::Keep, Outcome::TooLittleData), "{sound:?}");
    let proven = plan(serving.clone(), TaskView { fresh: fresh(200, 199), ..serving.clone() });
    assert_eq!(proven.outcome, Outcome::Pass, "{proven:?}");
    let longer = TaskView { lengths: (0..400).map(|i| 900 + i % 40).collect(), fresh: fresh(200, 199), ..serving.clone() };
    let drifted = plan(serving.clone(), longer);
    assert_eq!((only(&drifted).change, only(&drifted).back_to), (Change::Retrain, Some(2)), "{drifted:?}");
    assert!(drifted.gates.iter().any(|gate| gate.gate == "drift" && gate.outcome == Outcome::Fail));
    let grown = plan(serving.clone(), TaskView { train_conversations: 200, ..serving });
    assert_eq!(only(&grown).change, Change::Retrain, "{grown:?}");
}

#[test]
fn failing_twice_reselects_and_more_data_retrains() {
    let failed = TaskView { verdict: verdict("a", Decision::Keep), ..task("a") };
    assert_eq!(only(&plan(failed.clone(), failed.clone())).change, Change::Reselect);
    assert_eq!(only(&plan(failed.clone(), TaskView { train_conversations: 250, ..failed.clone() })).change, Change::Retrain);
    assert_eq!(only(&plan(task("a"), failed)).change, Change::Keep);
    let open = TaskView { verdict: verdict("a", Decision::Insufficient), ..task("a") };
    assert_eq!(only(&plan(open.clone(), open)).change, Change::Keep);
}

#[test]
fn unassigned_calls_and_a_new_mix_are_noted() {
    let parent = run("one", vec![task("a"), task("b")]);
    let mut child = run("two", vec![TaskView { calls: 40, ..task("a") }, TaskView { calls: 900, ..task("b") }]);
    assert_eq!(Iterate::default().plan(&parent, &parent).notes, Vec::<String>::new());
    child.unassigned = 200;
    let notes = Iterate::default().plan(&parent, &child).notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("200 of 1140 calls (17.5 %) belong to no task"), "{notes:?}");
}

#[test]
fn plans_round_trip_as_json() {
    let serving = TaskView { deployed: deployed("nano"), verdict: verdict("a", Decision::Replace), fresh: fresh(60, 59), ..task("a") };
    let plan = plan(task("a"), serving);
    let text = serde_json::to_string(&plan).expect("a plan is plain data");
    assert!(text.starts_with("{\"schema_version\":1,"), "{text}");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("its own output"), plan);
}

#[test]
fn verdicts_gate_a_single_run() {
    let all: Vec<_> = [Decision::Replace, Decision::Insufficient, Decision::Keep].map(|decision| verdict("a", decision)).into();
    let gates = gates_of(all.iter().flatten().map(|verdict| ("task", verdict)));
    let outcomes: Vec<_> = gates.iter().map(|gate| gate.outcome).collect();
    assert_eq!(outcomes, [Outcome::Pass, Outcome::TooLittleData, Outcome::Fail]);
    assert_eq!(
        (outcome(&gates), outcome(&gates[..2]), outcome(&gates[..1]), outcome(&[])),
        (Outcome::Fail, Outcome::TooLittleData, Outcome::Pass, Outcome::Pass)
    );
}
