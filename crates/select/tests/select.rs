//! Candidates for made-up tasks from the built-in catalogue.
use record::{Candidate, Task, TaskId, TaskKind};
use select::{Allowed, Catalogue, Select, Use};

fn task(kind: TaskKind, prompt: u64, answer: u64) -> Task {
    Task {
        task: TaskId("t-1".into()),
        name: "route-ticket".into(),
        kind,
        calls: 500,
        conversations: 400,
        cost_usd: 12.0,
        stability: None,
        prompt_tokens: [prompt / 2, prompt],
        answer_tokens: [answer / 2, answer],
        tools: Vec::new(),
        parent: None,
        noise: false,
    }
}

fn run(select: &Select, task: Task) -> Vec<Candidate> {
    let all = select.run(&[task], &Catalogue::built_in()).expect("the settings are in range");
    assert_eq!(all.len(), Catalogue::built_in().models.len(), "every model is ranked or rejected");
    for one in &all {
        assert_eq!(one.rank.is_none(), one.rejected_by.is_some(), "{}", one.model);
        assert!(!one.reasons.is_empty(), "{}", one.model);
    }
    all
}

fn find<'a>(all: &'a [Candidate], model: &str) -> &'a Candidate {
    all.iter().find(|one| one.model == model).expect("it is in the catalogue")
}

#[test]
fn licences_decide_for_commercial_use_and_not_for_research() {
    let commercial = run(&Select::default(), task(TaskKind::Label, 1000, 20));
    assert_eq!(find(&commercial, "xlam-2-8b").rejected_by.as_deref(), Some("licence"));
    assert_eq!(find(&commercial, "retro-7.5b").rejected_by.as_deref(), Some("weights"));
    let research = Select { purpose: Use::Research, device_memory: 80 << 30, candidates: 60, ..Select::default() };
    assert!(find(&run(&research, task(TaskKind::ToolCall, 1000, 20)), "xlam-2-8b").rank.is_some());
    let allowed =
        Catalogue::built_in().models.into_iter().filter(|m| m.licence.commercial == Allowed::Yes).map(|m| m.id).collect::<Vec<_>>();
    assert!(!allowed.contains(&"xlam-2-8b".to_owned()));
}

#[test]
fn context_memory_and_tools_reject_with_figures() {
    let long = run(&Select::default(), task(TaskKind::ToolCall, 9_000, 500));
    let smollm = find(&long, "smollm2-1.7b");
    assert_eq!((smollm.rejected_by.as_deref(), smollm.reasons[0].as_str()), (Some("context"), "8192 tokens of context, 11400 needed"));
    assert_eq!(find(&long, "gemma-3-4b").rejected_by.as_deref(), Some("tools"));
    assert_eq!(find(&long, "qwen3-8b").rejected_by.as_deref(), Some("memory"));
    // 0.494 B parameters in bfloat16, four prompts of 11,400 tokens at 12,288 bytes, a rank-16 adapter, 15 % on top
    let qwen = find(&long, "qwen2.5-0.5b");
    assert!(qwen.reasons.iter().any(|reason| reason == "memory 1.7 GiB of 8.0 GiB"), "{:?}", qwen.reasons);
}

#[test]
fn tool_calls_are_ranked_by_one_board_and_unknown_is_not_zero() {
    let all = run(&Select { device_memory: 40 << 30, candidates: 60, ..Select::default() }, task(TaskKind::ToolCall, 1000, 50));
    let ranked: Vec<_> = all.iter().filter(|one| one.rank.is_some()).collect();
    let boards: std::collections::BTreeSet<_> =
        ranked.iter().filter(|one| one.score.is_some()).filter_map(|one| one.reasons[0].split(':').next()).collect();
    assert_eq!(boards.len(), 1, "{boards:?}");
    assert!(ranked.iter().any(|one| one.score.is_none()));
    assert!(ranked.iter().all(|one| one.score != Some(0.0)));
    // the maker-independent order has two of a family at most among the first
    assert_eq!(
        ranked.iter().map(|one| one.rank).collect::<Vec<_>>(),
        (1..=u32::try_from(ranked.len()).unwrap_or(0)).map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn the_first_candidates_are_of_several_families_and_one_is_small() {
    for kind in [TaskKind::ToolCall, TaskKind::Json, TaskKind::Text] {
        let all = run(&Select { device_memory: 40 << 30, ..Select::default() }, task(kind, 1000, 50));
        let catalogue = Catalogue::built_in();
        let first: Vec<_> =
            all.iter().filter(|one| one.rank.is_some()).map(|one| catalogue.models.iter().find(|m| m.id == one.model)).collect();
        assert_eq!(first.len(), 8);
        let families = first.iter().flatten().map(|m| m.family.as_str()).collect::<std::collections::BTreeSet<_>>();
        assert!(families.len() >= 4, "{families:?}");
        assert!(first.iter().flatten().any(|m| m.parameters.as_ref().is_some_and(|p| p.value <= 1_000_000_000)), "{kind:?}");
    }
}

#[test]
fn local_models_keep_a_rank_and_noise_gets_no_candidates() {
    let config = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu"}"#;
    let config = model::Config::from_json(config.as_bytes(), "config.json").expect("a Llama configuration");
    let mut catalogue = Catalogue::built_in();
    catalogue.add_local("fixtures/nano", &config);
    let noise = Task { noise: true, ..task(TaskKind::Text, 10, 10) };
    let all = Select { candidates: 2, ..Select::default() }.run(&[task(TaskKind::Label, 1000, 20), noise], &catalogue).expect("in range");
    assert_eq!(all.len(), catalogue.models.len());
    let nano = find(&all, "nano");
    assert_eq!((nano.rank, nano.score, nano.path.as_deref()), (Some(3), None, Some("fixtures/nano")));
    assert!(Select { concurrency: 0, ..Select::default() }.run(&[], &catalogue).is_err());
}

#[test]
fn the_litellm_map_reads_where_it_is_at_hand() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/prices.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let prices = select::Prices::from_json(&text, "prices.json").expect("a price map");
    assert_eq!(prices.lookup("wandb/microsoft/Phi-4-mini-instruct").filter(|price| price.output > 300.0), None);
    for model in ["gpt-4o-mini", "gpt-4.1-2025-04-14", "claude-opus-4-6", "anthropic/claude-sonnet-4-5", "azure/gpt-5", "gemini-2.5-pro"] {
        let (listed, built) = (prices.lookup(model).expect(model), select::Prices::built_in());
        assert_eq!(
            built.lookup(model).map(|price| (price.input, price.output)).map(|(a, b)| ((a * 1e6).round(), (b * 1e6).round())),
            Some(((listed.input * 1e6).round(), (listed.output * 1e6).round())),
            "{model}"
        );
    }
}
