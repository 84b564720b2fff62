//! The whole step on a tiny decoder: examples, plan, training, resuming, exporting.
use crate::world::{call, chat, config, model, train_split};
use finetune::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Error, Finetune, InMemory, Limit, METRICS, Mode, Outcome, Plan, adapter, load_adapter};
use model::Weights;
use model::train::{TrainModel, Trainable};
use record::{Part, Silent, Train, Unseen};
use serde_json::{Value, json};

fn log(conversations: usize) -> Part<Train> {
    train_split((0..conversations).map(|c| call(c, 0, c)))
}

fn settings(epochs: f64) -> Finetune {
    Finetune {
        rank: 8,
        alpha: 16.0,
        learning_rate: Some(1e-2),
        epochs,
        batch_size: 8,
        validation_share: 0.0,
        checkpoint_every: 10,
        ..Finetune::default()
    }
}

/// Trains on a log and returns the exported adapter with the outcome.
fn trained(model: &TrainModel, settings: &Finetune, part: &Part<Train>, sink: &mut InMemory) -> (Vec<u8>, Outcome) {
    let examples = settings.examples(part, &(), &chat(), &config()).expect("usable calls");
    let plan = settings.plan(&examples, &config(), None).expect("a plan");
    let outcome = settings.train(model, &examples, &plan, sink, &Silent).expect("a healthy run");
    let bytes = match settings.mode {
        Mode::Lora => adapter(model, "tiny").expect("an adapter").remove(ADAPTER_WEIGHTS),
        Mode::Full => Weights { tensors: model.merged().expect("weights") }.to_safetensors().ok(),
    };
    (bytes.expect("weights are among the files"), outcome)
}

#[test]
fn thirty_two_examples_are_learnt_by_heart() {
    for (mode, learning_rate, epochs) in [(Mode::Lora, 5e-3, 200.0), (Mode::Full, 3e-3, 60.0)] {
        let settings = Finetune { mode, learning_rate: Some(learning_rate), rank: 16, alpha: 32.0, ..settings(epochs) };
        let model = model(settings.trainable());
        let (_, outcome) = trained(&model, &settings, &log(32), &mut InMemory::default());
        assert!(outcome.rows[0].loss > 3.0, "{mode:?}: {}", outcome.rows[0].loss);
        assert!(outcome.train_loss < 0.2, "{mode:?}: {}", outcome.train_loss);
    }
}

#[test]
fn a_resumed_run_leaves_the_same_bytes() {
    let settings = Finetune { max_steps: Some(20), validation_share: 0.2, patience: 100, ..settings(40.0) };
    let part = log(40);
    let whole = trained(&model(settings.trainable()), &settings, &part, &mut InMemory::default());

    // a run that dies at its second checkpoint: the first one and the plan are on the disk
    struct Dying(InMemory, u32);
    impl finetune::CheckpointSink for Dying {
        fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), finetune::SinkError> {
            self.1 += u32::from(name == finetune::CHECKPOINT);
            if self.1 == 2 { Err("killed".into()) } else { self.0.save(name, bytes) }
        }
        fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, finetune::SinkError> {
            self.0.load(name)
        }
    }
    let examples = settings.examples(&part, &(), &chat(), &config()).expect("usable calls");
    let plan = settings.plan(&examples, &config(), None).expect("a plan");
    let mut dying = Dying(InMemory::default(), 0);
    settings.train(&model(settings.trainable()), &examples, &plan, &mut dying, &Silent).expect_err("killed at step 20");
    assert_eq!(Plan::recorded(&mut dying.0).expect("readable"), Some(plan));

    let resumed = trained(&model(settings.trainable()), &settings, &part, &mut dying.0);
    assert_eq!(resumed, whole);
    let lines = String::from_utf8(dying.0.0[METRICS].clone()).expect("text");
    assert_eq!(lines, whole.1.metrics());
    assert_eq!(lines.lines().count(), 20);
}

#[test]
fn the_same_bytes_at_one_thread_and_at_two() {
    let settings = Finetune { max_steps: Some(6), ..settings(9.0) };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| trained(&model(settings.trainable()), &settings, &log(24), &mut InMemory::default()))
    };
    assert_eq!(with(1), with(2));
}

#[test]
fn other_settings_do_not_take_up_a_checkpoint() {
    let mut sink = InMemory::default();
    let short = Finetune { max_steps: Some(10), ..settings(9.0) };
    trained(&model(short.trainable()), &short, &log(24), &mut sink);
    let other = Finetune { seed: 8, ..short };
    let examples = other.examples(&log(24), &(), &chat(), &config()).expect("usable calls");
    let plan = other.plan(&examples, &config(), None).expect("a plan");
    let error = other.train(&model(other.trainable()), &examples, &plan, &mut sink, &Silent).expect_err("another run's checkpoint");
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
}

#[test]
fn patience_ends_a_run_and_the_best_weights_stay() {
    // validation conversations are answered at random: learning the others by heart makes them worse
    let settings = Finetune { validation_share: 0.3, patience: 2, ..settings(60.0) };
    let (_, outcome) = trained(&model(settings.trainable()), &settings, &log(40), &mut InMemory::default());
    assert_eq!(outcome.stop, finetune::Stop::Patience);
    assert!(outcome.best_step < outcome.steps, "{} of {}", outcome.best_step, outcome.steps);
    let seen = outcome.rows.iter().filter_map(|row| row.validation_loss).chain(outcome.first_validation_loss);
    assert_eq!(outcome.validation_loss, seen.min_by(f64::total_cmp));
}

#[test]
fn an_adapter_survives_its_export() {
    let settings = Finetune { max_steps: Some(5), ..settings(9.0) };
    let model = model(settings.trainable());
    let (bytes, _) = trained(&model, &settings, &log(24), &mut InMemory::default());
    let files = adapter(&model, "tiny").expect("an adapter");
    let config: Value = serde_json::from_slice(&files[ADAPTER_CONFIG]).expect("JSON");
    assert_eq!((&config["r"], &config["lora_alpha"], &config["peft_type"]), (&json!(8), &json!(16.0), &json!("LORA")));
    assert_eq!(config["target_modules"], json!(["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]));

    let again = crate::world::model(settings.trainable());
    load_adapter(&again, &bytes).expect("our own export");
    assert_eq!(adapter(&again, "tiny").expect("an adapter")[ADAPTER_WEIGHTS], bytes);
    let wider = crate::world::model(Trainable::Lora { rank: 4, alpha: 16.0 });
    assert!(load_adapter(&wider, &bytes).is_err_and(|e| e.to_string().contains("shape [8, 96]")));
}

#[test]
fn only_answers_carry_loss_and_what_is_left_out_is_counted() {
    let mut calls: Vec<_> = (0..20).map(|c| call(c, 0, c)).collect();
    calls[3].response = record::Response(json!({}));
    calls[4].response.0["choices"][0]["finish_reason"] = json!("length");
    calls[5].request.0["model"] = json!("another");
    let long: Vec<_> = (0..40).map(|i| format!("w{i}")).collect();
    calls[6].request.0["messages"][1]["content"] = json!(long.join(" "));
    calls[7].request.0["messages"][1]["content"] = json!([long.join(" "), long.join(" ")].join(" "));
    let settings = Finetune { teacher: vec!["teacher".to_owned()], max_prompt_tokens: 70, ..settings(1.0) };
    let examples = settings.examples(&train_split(calls), &(), &chat(), &config()).expect("usable calls");
    let reasons: Vec<_> = examples.left_out.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    let expected = [
        ("answered by a model that is no teacher", 1),
        ("with a prompt over max_prompt_tokens", 1),
        ("with an answer cut off", 1),
        ("without an answer", 1),
    ];
    assert_eq!(reasons, expected);
    for example in &examples.train {
        let targets: Vec<u32> = example.sequence.targets.iter().flatten().copied().collect();
        let text = chat().tokenizer().decode(&targets).expect("known tokens");
        assert!(text.starts_with("to w") && text.ends_with("<end>"), "{text}");
        assert_eq!(targets.len(), 3);
    }
    let none = Finetune { teacher: vec!["nobody".to_owned()], ..settings };
    let error = none.examples(&log(20), &(), &chat(), &config()).expect_err("no teacher of that name");
    assert!(error.to_string().contains("20 answered by a model that is no teacher"), "{error}");
}

#[test]
fn validation_takes_whole_conversations() {
    let part = train_split((0..120).map(|i| call(i % 30, u32::try_from(i / 30).expect("small"), i)));
    let settings = Finetune { validation_share: 0.2, ..settings(1.0) };
    let examples = settings.examples(&part, &(), &chat(), &config()).expect("usable calls");
    let names = |examples: &[finetune::Example]| examples.iter().map(|e| e.conversation.clone()).collect::<std::collections::BTreeSet<_>>();
    let (train, validation) = (names(&examples.train), names(&examples.validation));
    assert_eq!((train.len(), validation.len()), (24, 6));
    assert!(train.is_disjoint(&validation));
}

#[test]
fn failures_are_left_out_only_while_enough_successes_remain() {
    let part = |failures: usize| {
        train_split((0..100).map(|c| {
            let mut call = call(c, 0, c);
            call.feedback.insert("reward".to_owned(), json!(u8::from(c >= failures)));
            call
        }))
    };
    let kept = |failures| {
        let examples = settings(1.0).examples(&part(failures), &(), &chat(), &config()).expect("usable calls");
        examples.train.iter().map(|example| example.calls).sum::<u64>()
    };
    assert_eq!(kept(30), 70);
    assert_eq!(kept(50), 100, "fifty successes are too few to drop the rest");
}

#[test]
fn a_budget_becomes_steps_once_and_its_sample_is_spread_over_conversations() {
    let part = train_split((0..200).map(|i| call(if i < 150 { 0 } else { i - 149 }, u32::try_from(i).expect("small"), i)));
    let settings = Finetune { train_minutes: Some(1.0), ..settings(3.0) };
    let examples = settings.examples(&part, &(), &chat(), &config()).expect("usable calls");
    assert!(settings.plan(&examples, &config(), None).is_err(), "minutes mean nothing without a throughput");
    let ample = settings.plan(&examples, &config(), Some(1e6)).expect("a plan");
    assert_eq!((ample.limit, ample.over_budget), (Limit::Epochs, Unseen::default()));
    let tight = settings.plan(&examples, &config(), Some(10.0)).expect("a plan");
    assert_eq!(tight.limit, Limit::TrainMinutes);
    assert!(tight.over_budget.calls > 0 && tight.steps < ample.steps, "{tight:?}");
    let used = &examples.train[..tight.examples];
    let conversations: std::collections::BTreeSet<_> = used.iter().map(|e| &e.conversation).collect();
    assert!(conversations.len() * 10 > used.len() * 9, "{} of {}", conversations.len(), used.len());
}
