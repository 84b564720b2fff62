//! Routes and exports of three tasks: one replaced, one kept, one without a verdict.
use std::collections::BTreeMap;

use record::{Decision, Shared, Target, Task, TaskId, TaskKind, Verdict};
use route::{Error, Export, Route, Served};

fn task(id: &str, name: &str) -> Task {
    Task {
        task: TaskId(id.into()),
        name: name.into(),
        kind: TaskKind::Label,
        calls: 100,
        conversations: 100,
        cost_usd: 1.0,
        stability: None,
        prompt_tokens: [10, 20],
        answer_tokens: [1, 2],
        tools: Vec::new(),
        parent: None,
        noise: false,
    }
}

fn verdict(id: &str, decision: Decision) -> Verdict {
    Verdict {
        task: TaskId(id.into()),
        candidate: Some("nano + adapter".into()),
        decision,
        reason: String::new(),
        needed: None,
        bar: 0.95,
        threshold: None,
        small_share: 1.0,
        cost_before_usd: None,
        cost_after_usd: None,
        score: None,
    }
}

fn served(id: &str) -> (TaskId, Served) {
    let small = Target::Small { model: "models/nano".into(), adapter: Some(format!("adapters/{id}")), rank: 12, shared: None };
    (TaskId(id.into()), Served { small: Some(small), large: "gpt-4o".into() })
}

fn table() -> record::RoutingTable {
    let tasks = [task("a", "Route ticket"), task("b", "route ticket!"), task("c", "plan")];
    let verdicts = [verdict("a", Decision::Replace), verdict("b", Decision::Keep)];
    Route::default().table(&tasks, &verdicts, &BTreeMap::from([served("a"), served("b"), served("c")]))
}

#[test]
fn only_a_proven_task_leaves_the_large_model() {
    let table = table();
    let small: Vec<_> = table.routes.iter().map(|r| matches!(r.target, Target::Small { .. })).collect();
    assert_eq!(small, [true, false, false]);
    let aliases: Vec<_> = table.routes.iter().map(|r| r.alias.as_str()).collect();
    assert_eq!(aliases, ["route-ticket", "route-ticket-2", "plan"]);
    assert!(table.routes.iter().all(|r| r.fallback == Target::Large { model: "gpt-4o".into() }));
}

#[test]
fn vllm_lists_the_adapter_with_an_accepted_rank() {
    let files = Route::default().export(&table(), Export::Vllm, "/srv/slm", &BTreeMap::new()).expect("a small model is in the table");
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].0, "vllm-nano.yaml");
    for part in ["model: \"models/nano\"", "max-lora-rank: 16", r#"\"path\":\"/srv/slm/adapters/a\""#] {
        assert!(files[0].1.contains(part), "{part} not in\n{}", files[0].1);
    }
    let empty = record::RoutingTable::default();
    assert_eq!(Route::default().export(&empty, Export::Vllm, ".", &BTreeMap::new()), Err(Error::NothingSmall("vLLM")));
}

#[test]
fn litellm_gives_the_replaced_task_its_fallback() {
    let files = Route::default().export(&table(), Export::Litellm, ".", &BTreeMap::new()).expect("litellm takes any table");
    for part in
        ["model: \"hosted_vllm/route-ticket\"", "fallbacks: [{\"route-ticket\": [\"route-ticket-large\"]}]", "os.environ/OPENAI_API_KEY"]
    {
        assert!(files[0].1.contains(part), "{part} not in\n{}", files[0].1);
    }
}

/// Three tasks on one base model: two are shown prompts without their head, the third sees all of its own.
fn trimmed() -> record::RoutingTable {
    let tasks = [task("a", "Sort mail"), task("b", "plan"), task("c", "look up")];
    let verdicts = ["a", "b", "c"].map(|id| verdict(id, Decision::Replace));
    let shared = |text: &str| Some(Shared { system: vec![text.into()], tools: Vec::new() });
    let with = |id: &str, head| {
        let (task, mut who) = served(id);
        if let Some(Target::Small { shared, .. }) = &mut who.small {
            *shared = head;
        }
        (task, who)
    };
    let served = [with("a", shared("Sort.")), with("b", None), with("c", shared("Look up."))];
    Route::default().table(&tasks, &verdicts, &BTreeMap::from(served))
}

#[test]
fn servers_are_told_to_drop_the_head_and_routers_to_ask_for_it() {
    let (table, templates) = (trimmed(), BTreeMap::from([("models/nano".to_owned(), "a template".to_owned())]));
    let export = |kind| Route::default().export(&table, kind, "/srv/slm", &templates).expect("small models are in the table");
    let files: BTreeMap<_, _> = export(Export::Vllm).into_iter().collect();
    assert_eq!(files["vllm-nano.jinja"], "a template");
    let config = &files["vllm-nano.yaml"];
    assert!(
        config.contains("chat-template: \"vllm-nano.jinja\"") && config.contains("# sort-mail, look-up answer prompts without"),
        "{config}"
    );
    let text = &export(Export::Litellm)[0].1;
    for (alias, name) in [("sort-mail", "sort-mail"), ("plan", ""), ("look-up", "look-up")] {
        let base = "http://127.0.0.1:8000/v1";
        let entry = format!(
            "      model: \"hosted_vllm/{alias}\"\n      api_base: \"{base}\"\n      extra_body: {{\"chat_template_kwargs\":{{\"drop_shared\":\"{name}\"}}}}\n"
        );
        assert!(text.contains(&entry), "{entry} not in\n{text}");
    }
    let routes: record::RoutingTable = serde_json::from_str(&export(Export::Table)[0].1).expect("its own form");
    assert_eq!(routes, table);
    // where nothing is dropped nothing is said
    let whole = Route::default().export(&self::table(), Export::Litellm, ".", &BTreeMap::new()).expect("litellm takes any table");
    assert!(!whole[0].1.contains("extra_body"));
}
