//! Soft targets out of a log, with the tokenizer of the model that ships with the repository.
use std::path::PathBuf;

use finetune::{Batching, Examples, Finetune, InMemory};
use model::{Chat, Config, DType, Device, Weights};
use record::{Call, Silent};
use serde_json::{Value, json};

use crate::world::{call, train_split};

fn nano() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures/nano"].iter().collect()
}

fn token(text: &str, logprob: f64) -> Value {
    json!({"token": text, "bytes": text.as_bytes(), "logprob": logprob})
}

/// A call answered `refund` by a teacher that was sure to a half, would have said `deny` else or, a tenth, what is no token of ours.
fn answered(c: usize, tokens: &[&str]) -> Call {
    let mut call = call(c, 0, c);
    let content: Vec<Value> = tokens
        .iter()
        .map(|text| {
            let mut one = token(text, 0.5_f64.ln());
            one["top_logprobs"] = json!([token(text, 0.5_f64.ln()), token(" no", 0.25_f64.ln()), token("☃☃☃", 0.125_f64.ln())]);
            one
        })
        .collect();
    call.response.0["choices"][0]["message"]["content"] = tokens.concat().into();
    call.response.0["choices"][0]["logprobs"] = json!({"content": content});
    call
}

fn examples(settings: &Finetune, calls: impl IntoIterator<Item = Call>) -> Examples {
    let config = Config::load(&nano()).expect("a fixture");
    settings.examples(&train_split(calls), &(), &Chat::load(&nano()).expect("a fixture"), &config).expect("usable calls")
}

fn settings(soft_weight: f64) -> Finetune {
    Finetune { soft_weight, validation_share: 0.0, batching: Batching::Independent, ..Finetune::default() }
}

#[test]
fn an_answer_has_soft_targets_where_the_tokens_are_the_same() {
    let chat = Chat::load(&nano()).expect("a fixture");
    let ids = chat.tokenizer().encode("to the order", false).expect("text");
    let texts: Vec<String> = ids.iter().map(|id| chat.tokenizer().decode(&[*id]).expect("a token")).collect();
    let own: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = examples(&settings(0.5), [answered(1, &own)]);
    let sequence = &found.train[0].sequence;
    assert_eq!((found.softened.calls, found.softened.soft, found.softened.tokens), (1, ids.len() as u64, ids.len() as u64 + 1));
    let begin = sequence.targets.iter().position(Option::is_some).expect("an answer");
    assert_eq!(
        sequence.soft.keys().copied().collect::<Vec<_>>(),
        (begin..begin + ids.len()).collect::<Vec<_>>(),
        "all but the end of the turn"
    );
    let no = chat.tokenizer().token_bytes().token(b" no").expect("a token of the vocabulary");
    for (row, soft) in &sequence.soft {
        let target = sequence.targets[*row].expect("an answer");
        let share = |token: u32| soft.tokens().iter().find(|(t, _)| *t == token).map_or(0.0, |(_, p)| *p);
        // half the logged token, half the teacher: 0.5 + 0.5 · 0.5, 0.5 · 0.25, and the rest to all others
        assert!((share(target) - 0.75).abs() < 1e-6 && (share(no) - 0.125).abs() < 1e-6, "{soft:?}");
        assert!((soft.rest() - 0.125).abs() < 1e-6 && soft.tokens().len() == 2, "{soft:?}");
    }
    // a teacher that reads in larger pieces meets ours only here and there, one that does not write this text nowhere
    let larger = examples(&settings(0.5), [answered(1, &["to the", " order"])]);
    assert!(larger.softened.soft < found.softened.soft, "{:?}", larger.softened);
    let mut other = answered(1, &own);
    other.response.0["choices"][0]["message"]["content"] = "another answer".into();
    assert_eq!(examples(&settings(0.5), [other]).softened.soft, 0);
}

#[test]
fn nothing_soft_is_asked_for_or_looked_at_by_the_validation_part() {
    let log = || (0..40).map(|c| answered(c, &["to", " the", " order"]));
    let hard = examples(&settings(0.0), log());
    assert!(hard.train.iter().all(|example| example.sequence.soft.is_empty()) && hard.softened.calls == 0);
    let soft = examples(&Finetune { validation_share: 0.2, ..settings(0.5) }, log());
    assert!(soft.softened.known().is_some_and(|share| share > 0.0) && soft.softened.calls == soft.train.len() as u64);
    assert!(!soft.validation.is_empty() && soft.validation.iter().all(|example| example.sequence.soft.is_empty()));
    assert_ne!(soft.fingerprint, examples(&Finetune { validation_share: 0.2, ..settings(0.25) }, log()).fingerprint);
}

#[test]
fn a_model_learns_how_sure_the_teacher_was() {
    let config = Config::load(&nano()).expect("a fixture");
    let chat = Chat::load(&nano()).expect("a fixture");
    let learn = |soft_weight: f64| {
        let settings =
            Finetune { batching: Batching::Tree, learning_rate: Some(5e-3), max_steps: Some(80), epochs: 100.0, ..settings(soft_weight) };
        // the same call four times, so that merged calls are learnt from
        let found = examples(&settings, (0..4).map(|_| answered(1, &["to", " the", " order"])));
        assert_eq!(found.train.len(), 1);
        let weights = Weights::load(&nano(), DType::F32, &Device::Cpu).expect("a fixture");
        let learner = model::train::TrainModel::new(&config, weights, settings.trainable(), 3).expect("a small model");
        let plan = settings.plan(&found, &config, None).expect("a plan");
        settings.train(&learner, &found, &plan, &mut InMemory::default(), &Silent).expect("a healthy run");
        let decoder = Weights { tensors: learner.merged().expect("weights") };
        let decoder = model::Decoder::new(&config, &decoder).expect("a decoder");
        let sequence = &found.train[0].sequence;
        let row = sequence.targets.iter().position(Option::is_some).expect("an answer");
        let logits = decoder.logits_from(row, &sequence.tokens[..=row]).expect("known tokens");
        let total: f32 = logits.iter().map(|x| x.exp()).sum();
        let no = chat.tokenizer().token_bytes().token(b" no").expect("a token of the vocabulary");
        [sequence.targets[row].expect("an answer"), no].map(|token| logits[token as usize].exp() / total)
    };
    let (hard, soft) = (learn(0.0), learn(1.0));
    assert!(hard[0] > 0.9 && hard[1] < 0.02, "{hard:?}");
    assert!((soft[0] - 0.5).abs() < 0.15 && (soft[1] - 0.25).abs() < 0.1, "{soft:?}");
}
