//! From held-out calls and predictions to verdicts, on synthetic conversations.
use evaluate::{Costs, Evaluate, Evidence, Fault, Judged, PredictionsFile, Rules, divergent, majority};
use record::{
    Calibration, Call, Clean, Contender, Decision, Held, Metric, Part, Parts, Prediction, Predictor, Request, Response, Score, Shares,
    Silent, Task, TaskId, TaskKind,
};
use serde_json::{Value, json};

fn task(kind: TaskKind) -> Task {
    Task {
        task: TaskId("t1".into()),
        name: "route ticket".into(),
        kind,
        calls: 0,
        conversations: 0,
        cost_usd: 0.0,
        stability: None,
        prompt_tokens: [100, 200],
        answer_tokens: [20, 40],
        tools: vec![],
        parent: None,
        noise: false,
    }
}

#[expect(clippy::disallowed_methods, reason = "synthetic text made here")]
fn clean(conversation: usize, step: u32, ask: &Value, answer: &Value) -> Clean<Call> {
    Clean::vouch(Call {
        source_id: format!("c{conversation}-{step}"),
        conversation_id: format!("c{conversation}"),
        step,
        timestamp: None,
        workload_id: None,
        client_id: None,
        request: Request(ask.clone()),
        response: Response::from_message(answer),
        latency_ms: None,
        cost_usd: None,
        feedback: serde_json::Map::new(),
        tags: serde_json::Map::new(),
        lossy: vec![],
    })
}

/// `conversations` conversations of `rows` label calls each, all in one part.
fn labels(conversations: usize, rows: u32, shares: Shares) -> Parts {
    let calls = (0..conversations).flat_map(|c| (0..rows).map(move |r| (c, r))).map(|(c, r)| {
        let label = ["billing", "repair", "other"][(c + r as usize) % 3];
        let ask = json!({"messages": [{"role": "user", "content": format!("ticket {c} {r}")}]});
        clean(c, r, &ask, &json!({"role": "assistant", "content": label}))
    });
    record::split(calls, 1, shares)
}

const HELD: Shares = Shares { calibration: 0.0, held: 1.0 };
const CALIBRATION: Shares = Shares { calibration: 1.0, held: 0.0 };

fn says(text: &str, confidence: f64) -> Prediction {
    let response = Response::from_message(&json!({"role": "assistant", "content": text}));
    Prediction { response: Some(response), confidence: Some(confidence), ..Prediction::default() }
}

/// Answers as logged, but for the calls that `wrong` names.
fn answers<S>(part: &Part<S>, wrong: impl Fn(usize) -> bool) -> Vec<Prediction> {
    let answer = |(place, call): (usize, &Clean<Call>)| if wrong(place) { says("nonsense", 0.3) } else { says(&call.response.text(), 0.9) };
    part.iter().enumerate().map(answer).collect()
}

fn judge<S>(config: &Evaluate, part: &Part<S>, predictions: &[Prediction]) -> Judged<S> {
    let rules = Rules { labels: ["billing", "repair", "other"].map(String::from).into(), ..Rules::default() };
    config.judge(&task(TaskKind::Label), &rules, part, ("nano", Contender::Tuned), predictions).expect("as many answers as calls")
}

fn evidence<'a>(task: &'a Task, best: Option<&'a Judged<Held>>) -> Evidence<'a> {
    let held_conversations = best.map_or(0, |best| best.score.conversations);
    let costs = Costs { before_usd: Some(2.0), small_usd: Some(0.1) };
    Evidence { task, held_conversations, best, certificate: None, floor: None, baselines: &[], costs, vetoes: &[], looks: 1 }
}

#[test]
fn all_right_on_enough_conversations_replaces() {
    let (config, parts, label) = (Evaluate::default(), labels(200, 1, HELD), task(TaskKind::Label));
    let best = judge(&config, &parts.held, &answers(&parts.held, |place| place == 7));
    let majority = Score { candidate: "majority answer".into(), contender: Contender::Majority, score: Some(0.34), ..best.score.clone() };
    let verdict = config.verdict(&Evidence { baselines: &[majority], ..evidence(&label, Some(&best)) });
    assert_eq!((verdict.decision, verdict.small_share), (Decision::Replace, 1.0));
    assert_eq!((verdict.cost_before_usd, verdict.cost_after_usd), (Some(2.0), Some(0.1)));
    assert_eq!(
        verdict.reason,
        "agreement 0.995 on 200 held-out calls of 200 conversations, lower bound 0.977 reaches the bar 0.950; it saves 95.0 % of the cost; beside it majority answer 0.340"
    );
    let score = verdict.score.expect("a verdict keeps its score");
    assert_eq!((score.method.as_str(), score.metric), ("clopper-pearson", Metric::Label));
    assert_eq!((score.beside["fault.unknown_label"], score.beside["looks"]), (1.0, 1.0));
}

#[test]
fn few_conversations_are_insufficient_however_good() {
    let (config, parts, label) = (Evaluate::default(), labels(9, 20, HELD), task(TaskKind::Label));
    let best = judge(&config, &parts.held, &answers(&parts.held, |_| false));
    assert_eq!((best.score.n, best.score.conversations, best.score.score), (180, 9, Some(1.0)));
    let verdict = config.verdict(&evidence(&label, Some(&best)));
    assert_eq!((verdict.decision, verdict.needed), (Decision::Insufficient, Some(50)), "{}", verdict.reason);
    let none = config.verdict(&Evidence { held_conversations: 9, ..evidence(&label, None) });
    assert_eq!((none.decision, none.needed), (Decision::Insufficient, Some(50)));
}

#[test]
fn one_wrong_answer_of_one_decides_nothing() {
    let (config, parts, label) = (Evaluate::default(), labels(1, 1, HELD), task(TaskKind::Label));
    let verdict = config.verdict(&evidence(&label, Some(&judge(&config, &parts.held, &answers(&parts.held, |_| true)))));
    assert_eq!((verdict.decision, verdict.needed), (Decision::Insufficient, Some(1)), "{}", verdict.reason);
}

#[test]
fn wrong_answers_keep_the_large_model() {
    let (config, parts, label) = (Evaluate::default(), labels(100, 1, HELD), task(TaskKind::Label));
    let best = judge(&config, &parts.held, &answers(&parts.held, |place| place % 3 == 0));
    let verdict = config.verdict(&evidence(&label, Some(&best)));
    assert_eq!((verdict.decision, verdict.cost_after_usd), (Decision::Keep, Some(2.0)), "{}", verdict.reason);
    let dear = Costs { before_usd: Some(1.0), small_usd: Some(1.5) };
    let good = judge(&config, &parts.held, &answers(&parts.held, |_| false));
    let verdict = config.verdict(&Evidence { costs: dear, ..evidence(&label, Some(&good)) });
    assert_eq!(verdict.decision, Decision::Keep);
    assert!(verdict.reason.contains("it would save -50.0 %"), "{}", verdict.reason);
    let vetoed = config.verdict(&Evidence { vetoes: &["licence".into()], ..evidence(&label, Some(&good)) });
    assert_eq!(vetoed.decision, Decision::Keep);
}

#[test]
fn missing_answers_score_zero_and_wrong_counts_are_errors() {
    let (config, parts) = (Evaluate::default(), labels(100, 1, HELD));
    let mut predictions = answers(&parts.held, |_| false);
    predictions[3] = Prediction { error: Some("out of memory".into()), ..Prediction::default() };
    predictions[4].error = Some("cut off".into());
    let judged = judge(&config, &parts.held, &predictions);
    assert_eq!((judged.score.n, judged.score.score), (100, Some(0.98)));
    assert_eq!((judged.rows[3].fault, judged.rows[3].detail.as_str()), (Some(Fault::NoAnswer), "out of memory"));
    let found = divergent(&parts.held, &predictions, &judged);
    assert_eq!((found.len(), found[0].detail.as_str(), found[1].got.as_str()), (2, "cut off", ""));
    predictions.pop();
    let label = task(TaskKind::Label);
    assert!(config.judge(&label, &Rules::default(), &parts.held, ("nano", Contender::Tuned), &predictions).is_err());
}

#[test]
fn a_certified_confidence_routes_what_it_is_sure_of() {
    let (config, label) = (Evaluate::default(), task(TaskKind::Label));
    let (calibration, held) = (labels(300, 1, CALIBRATION).calibration, labels(300, 1, HELD).held);
    let wrong = |place: usize| place.is_multiple_of(3);
    let fitted: Judged<Calibration> = judge(&config, &calibration, &answers(&calibration, wrong));
    let certificate = config.certify(&fitted).expect("two hundred sure and right answers");
    assert_eq!((certificate.threshold, certificate.errors, certificate.accepted), (0.9, 0, 200));
    let best = judge(&config, &held, &answers(&held, wrong));
    let verdict = config.verdict(&Evidence { certificate: Some(&certificate), ..evidence(&label, Some(&best)) });
    assert_eq!((verdict.decision, verdict.threshold), (Decision::Route, Some(0.9)), "{}", verdict.reason);
    assert!((verdict.small_share - 2.0 / 3.0).abs() < 1e-9);
    // Every call is tried by the small model; a third is then answered by the large one as well.
    assert!((verdict.cost_after_usd.unwrap_or(0.0) - (0.1 + 2.0 / 3.0)).abs() < 1e-9);
    // A certificate that held-out calls contradict is worth nothing.
    let liar: Vec<_> = answers(&held, wrong).into_iter().map(|p| Prediction { confidence: Some(0.95), ..p }).collect();
    let verdict = config.verdict(&Evidence { certificate: Some(&certificate), ..evidence(&label, Some(&judge(&config, &held, &liar))) });
    assert_eq!(verdict.decision, Decision::Keep, "{}", verdict.reason);
    assert!(verdict.reason.contains("does not hold"), "{}", verdict.reason);
}

#[test]
fn the_best_of_the_calibration_split_is_chosen() {
    let (config, parts) = (Evaluate::default(), labels(60, 1, CALIBRATION));
    let with = |every: usize| judge(&config, &parts.calibration, &answers(&parts.calibration, |place| place % every == 0));
    assert_eq!(config.choose(&[with(2), with(10), with(10)]), Some(1));
    assert_eq!(config.choose(&[]), None);
    let held = labels(200, 1, HELD).held;
    let pass = [judge(&config, &held, &answers(&held, |_| false)), judge(&config, &held, &answers(&held, |place| place % 4 == 0))];
    assert_eq!(config.holm(&pass), [true, false]);
}

#[test]
fn free_text_is_never_replaced() {
    let (config, parts, text) = (Evaluate::default(), labels(200, 1, HELD), task(TaskKind::Text));
    let predictions = answers(&parts.held, |_| false);
    let judged = config.judge(&text, &Rules::default(), &parts.held, ("nano", Contender::Tuned), &predictions).expect("all answered");
    assert_eq!((judged.score.metric, judged.score.score), (Metric::RougeL, Some(1.0)));
    let verdict = config.verdict(&evidence(&text, Some(&judged)));
    assert_eq!(verdict.decision, Decision::Keep, "{}", verdict.reason);
    assert!(verdict.reason.contains("free text"), "{}", verdict.reason);
    let mut short = text;
    short.answer_tokens = [2, 4];
    assert_eq!(config.metric(&short), Metric::TextExact);
}

/// `prompts` prompts asked twice in different conversations; the second answer differs every `every`th time.
fn repeated(prompts: usize, every: usize) -> Parts {
    let calls = (0..2 * prompts).map(|place| {
        let (prompt, again) = (place % prompts, place >= prompts);
        let ask = json!({"messages": [{"role": "user", "content": format!("prompt {prompt}")}], "user": place.to_string()});
        let label = if again && prompt % every == 0 { "repair" } else { "billing" };
        clean(place, 0, &ask, &json!({"role": "assistant", "content": label}))
    });
    record::split(calls, 1, HELD)
}

#[test]
fn the_floor_is_the_large_model_against_itself() {
    let (parts, label) = (repeated(100, 5), task(TaskKind::Label));
    let config = Evaluate { against_floor: true, ..Evaluate::default() };
    let floor = config.floor(&label, &Rules::default(), &parts).expect("every prompt repeats");
    assert_eq!((floor.prompts, floor.score.n, floor.score.score), (100, 100, Some(0.8)));
    assert_eq!(floor.score.contender, Contender::Teacher);
    assert_eq!(config.floor(&label, &Rules::default(), &labels(30, 1, HELD)), None);
    // A small model that always gives the usual answer agrees with nine of ten logged ones.
    let predictions = answers(&parts.held, |_| false).into_iter().map(|_| says("billing", 0.9)).collect::<Vec<_>>();
    let best = judge(&config, &parts.held, &predictions);
    assert_eq!(best.score.score, Some(0.9));
    let against = config.verdict(&Evidence { floor: Some(&floor), ..evidence(&label, Some(&best)) });
    assert_eq!(against.decision, Decision::Replace, "{}", against.reason);
    assert!(against.bar < 0.85 && against.reason.contains("agrees with itself 0.800"), "{}", against.reason);
    let absolute = Evaluate::default().verdict(&Evidence { floor: Some(&floor), ..evidence(&label, Some(&best)) });
    assert_eq!((absolute.decision, absolute.bar), (Decision::Keep, 0.95), "{}", absolute.reason);
}

#[test]
fn further_choices_of_one_call_count_as_repeats() {
    let ask = json!({"messages": [{"role": "user", "content": "again"}]});
    let mut call = clean(0, 0, &ask, &json!({"role": "assistant", "content": "a"})).into_inner();
    let choice = |text: &str| json!({"message": {"role": "assistant", "content": text}});
    call.response = Response(json!({"choices": [choice("a"), choice("b"), choice("b")]}));
    #[expect(clippy::disallowed_methods, reason = "synthetic text made here")]
    let parts = record::split([Clean::vouch(call)], 1, HELD);
    let floor = Evaluate::default().floor(&task(TaskKind::Label), &Rules::default(), &parts).expect("three choices");
    assert_eq!((floor.score.n, floor.score.score), (1, Some(0.0)));
}

#[test]
fn the_majority_answer_and_a_file_are_predictors_like_any_other() {
    let shares = Shares { calibration: 0.0, held: 0.5 };
    let parts = record::split(
        (0..40).map(|c| {
            let call = json!({"function": {"name": if c % 4 == 0 { "close" } else { "get" }, "arguments": "{\"a\": 1, \"b\": 2}"}});
            clean(c, 0, &json!({"messages": []}), &json!({"role": "assistant", "tool_calls": [call]}))
        }),
        1,
        shares,
    );
    let mut usual = majority(&parts.train);
    assert!(usual.share > 0.5);
    let prompts: Vec<_> = parts.held.iter().map(Clean::prompt).collect();
    let predictions = usual.predict(&prompts, &Silent).expect("it always answers");
    assert!(predictions.iter().all(|p| p.response.as_ref().is_some_and(|r| r.tool_calls()[0].name == "get")));
    let (config, tool) = (Evaluate::default(), task(TaskKind::ToolCall));
    let rules = config.rules(&tool, &parts.train);
    let judged = config.judge(&tool, &rules, &parts.held, (&usual.name(), Contender::Majority), &predictions).expect("all answered");
    let get = parts.held.iter().filter(|call| call.response.tool_calls()[0].name == "get").count();
    assert_eq!(judged.score.score, Some(get as f64 / parts.held.len() as f64));

    let first = parts.held[0].source_id.clone();
    let line = json!({"source_id": first, "response": parts.held[0].response.message().map(|m| m.0.clone())});
    let (mut file, rejects) = PredictionsFile::parse("p.jsonl", &line.to_string());
    assert!(rejects.is_empty());
    let predictions = file.predict(&prompts, &Silent).expect("it always answers");
    let judged = config.judge(&tool, &rules, &parts.held, (&file.name(), Contender::External), &predictions).expect("all answered");
    assert_eq!(judged.score.score, Some(1.0 / parts.held.len() as f64));
    assert_eq!(judged.score.beside["fault.no_answer"], parts.held.len() as f64 - 1.0);
}

#[test]
fn the_train_split_shows_which_arguments_are_sentences() {
    let note = "please send the refund to the card that was used for this order";
    let parts = record::split(
        (0..20).map(|c| {
            let arguments = json!({"id": format!("A-{c}"), "note": note});
            let call = json!({"function": {"name": "refund", "arguments": arguments.to_string()}});
            clean(c, 0, &json!({"messages": []}), &json!({"role": "assistant", "tool_calls": [call]}))
        }),
        1,
        Shares { calibration: 0.0, held: 0.5 },
    );
    let config = Evaluate { sentences: "words:0.6".parse().expect("a mode"), ..Evaluate::default() };
    let tool = task(TaskKind::ToolCall);
    let rules = config.rules(&tool, &parts.train);
    assert_eq!(rules.sentences, ["/refund/note"]);
    let reworded: Vec<_> = parts
        .held
        .iter()
        .map(|call| {
            let id = call.response.tool_calls()[0].arguments["id"].clone();
            let arguments = json!({"id": id, "note": "please send the refund to the card used for this order"});
            let message = json!({"tool_calls": [{"function": {"name": "refund", "arguments": arguments}}]});
            Prediction { response: Some(Response::from_message(&message)), ..Prediction::default() }
        })
        .collect();
    let mean = |config: &Evaluate| {
        let rules = config.rules(&tool, &parts.train);
        config.judge(&tool, &rules, &parts.held, ("nano", Contender::Tuned), &reworded).expect("all answered").score.score
    };
    assert_eq!((mean(&config), mean(&Evaluate::default())), (Some(1.0), Some(0.0)));
}

#[test]
fn json_is_gated_on_the_whole_object_unless_configured() {
    let schema = json!({"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}, "required": ["id", "n"]});
    let ask = json!({"messages": [], "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
    let answer = |c: usize| json!({"role": "assistant", "content": json!({"id": format!("A{c}"), "n": c}).to_string()});
    let parts = record::split((0..120).map(|c| clean(c, 0, &ask, &answer(c))), 1, HELD);
    let predictions: Vec<_> = parts
        .held
        .iter()
        .enumerate()
        .map(|(place, call)| match place % 10 {
            0 => says("{\"id\": \"A", 0.5),
            1 => says(&call.response.text().replace("\"n\":", "\"m\":"), 0.5),
            _ => says(&call.response.text(), 0.9),
        })
        .collect();
    let json = task(TaskKind::Json);
    let scored = |gate: &str| {
        let config: Evaluate = serde_json::from_value(json!({"json_gate": gate})).expect("a configuration");
        config.judge(&json, &Rules::default(), &parts.held, ("nano", Contender::Tuned), &predictions).expect("all answered").score
    };
    let (exact, fields) = (scored("exact"), scored("fields"));
    assert_eq!((exact.metric, exact.score), (Metric::JsonExact, Some(0.8)));
    assert_eq!((fields.metric, fields.score.map(|s| (s * 100.0).round())), (Metric::FieldF1, Some(85.0)));
    assert_eq!((exact.beside["schema_validity"], exact.beside["fault.invalid_json"]), (0.8, 12.0));
    assert_eq!(exact.beside["fault.missing_required"], 12.0);
    assert!(exact.beside["schema_validity_lower"] < 0.8);
}

#[test]
fn the_configuration_rejects_unknown_keys_and_round_trips() {
    let text = json!({"bar": 0.9, "arguments": {"/get/amount": "numeric:0.01", "/get/tags": "set"}});
    let config: Evaluate = serde_json::from_value(text).expect("a configuration");
    let again: Evaluate = serde_json::from_value(serde_json::to_value(&config).expect("plain data")).expect("its own output");
    assert_eq!(config, again);
    assert!(serde_json::from_value::<Evaluate>(json!({"bra": 0.9})).is_err());
    assert!(serde_json::from_value::<Evaluate>(json!({"texts": "fuzzy"})).is_err());
}
