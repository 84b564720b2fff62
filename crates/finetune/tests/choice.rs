//! Which calls are learnt from, and what is said of the others.
use crate::world::{call, chat, config, train_split};
use finetune::{Batching, Error, Examples, Feedback, Finetune};
use record::{Call, Prompt, TooLong, Withheld};
use serde_json::json;

fn settings() -> Finetune {
    Finetune { validation_share: 0.0, ..Finetune::default() }
}

fn chosen(settings: &Finetune, calls: impl IntoIterator<Item = Call>, withheld: &dyn Withheld) -> Examples {
    settings.examples(&train_split(calls), withheld, &chat(), &config()).expect("usable calls")
}

fn calls(examples: &Examples) -> u64 {
    examples.train.iter().map(|example| example.calls).sum()
}

/// Finds the calls of so many conversations near.
struct Near(usize);

impl Withheld for Near {
    fn near(&self, prompt: Prompt<'_>) -> bool {
        prompt.source_id().split('-').next().and_then(|id| id.parse::<usize>().ok()).is_some_and(|conversation| conversation < self.0)
    }
}

#[test]
fn near_copies_of_what_is_withheld_are_left_out_unless_they_are_most_of_a_task() {
    let reason = "with a prompt nearly the same as one held out or calibrated on".to_owned();
    let choose = |settings: &Finetune, near| {
        let examples = chosen(settings, (0..40).map(|c| call(c, 0, c)), &Near(near));
        (calls(&examples), examples.left_out, examples.repeats)
    };
    assert_eq!(choose(&settings(), 0), (40, vec![], 0));
    assert_eq!(choose(&settings(), 12), (28, vec![(reason.clone(), 12)], 0));
    assert_eq!(choose(&settings(), 20), (20, vec![(reason, 20)], 0));
    assert_eq!(choose(&settings(), 21), (40, vec![], 21));
    assert_eq!(choose(&Finetune { near_duplicates: 0.0, ..settings() }, 12), (40, vec![], 0));
    let examples = chosen(&settings(), (0..40).map(|c| call(c, 0, c)), &Near(12));
    assert!(examples.train.iter().all(|example| example.position >= 12), "none of them is left");
}

#[test]
fn what_is_too_long_is_told_with_its_tail() {
    let long = |c: usize| {
        let mut call = call(c, 0, c);
        let words: Vec<_> = (0..c).map(|i| format!("w{}", i % 40)).collect();
        call.request.0["messages"][1]["content"] = json!(words.join(" "));
        call
    };
    let settings = Finetune { max_prompt_tokens: 27, ..settings() };
    // a template of seven tokens around as many words as the conversation's number
    let examples = chosen(&settings, (1..=40).map(long), &());
    let tail = TooLong { calls: 20, of: 40, p50: 37, p90: 45, longest: 47 };
    assert_eq!((calls(&examples), examples.too_long), (20, Some(tail)));
    let error = settings.examples(&train_split((31..=40).map(long)), &(), &chat(), &config()).expect_err("all are too long");
    assert!(matches!(error, Error::NoExamples { .. }));
    assert!(error.to_string().contains("10 of 10 calls (100.0 %) too long"), "{error}");
}

#[test]
fn of_a_call_repeated_endlessly_only_so_many_count() {
    // one call 200 times, and forty others
    let log = || (0..240).map(|c| call(c, 0, c.saturating_sub(200)));
    let examples = chosen(&settings(), log(), &());
    let heaviest = examples.train.iter().max_by_key(|example| example.calls).expect("examples");
    assert_eq!((heaviest.calls, calls(&examples), examples.left_out.len()), (201, 240, 0));
    assert!((heaviest.sequence.weight - 8.0).abs() < 1e-6, "the root of 64");
    let few = Finetune { max_duplicates: 4, ..settings() };
    let heaviest = chosen(&few, log(), &()).train.into_iter().map(|example| example.sequence.weight).fold(0.0, f32::max);
    assert!((heaviest - 2.0).abs() < 1e-6);
    let alone = chosen(&Finetune { batching: Batching::Independent, ..few }, log(), &());
    assert_eq!((calls(&alone), alone.left_out), (43, vec![("equal to max_duplicates others".to_owned(), 197)]));
    assert!(Finetune { max_duplicates: 0, ..settings() }.check().is_err());
}

#[test]
fn feedback_weighs_calls_by_what_is_said_of_them_and_of_their_conversations() {
    // conversations of two calls: the reward stands at the last, a thumb at some first calls
    let rated = |c: usize, step: u32| {
        let mut call = call(c, step, 2 * c + step as usize);
        if step == 1 && c.is_multiple_of(2) {
            call.feedback.insert("reward".to_owned(), json!([0.5, 1.0][c / 2 % 2]));
        }
        if step == 0 && c == 0 {
            call.feedback.insert("thumbs".to_owned(), json!("up"));
        }
        if step == 0 && c == 1 {
            call.feedback.insert("thumbs".to_owned(), json!("down"));
        }
        call
    };
    let log = || (0..20).flat_map(|c| [rated(c, 0), rated(c, 1)]);
    let weights = |feedback| {
        let settings = Finetune { feedback, batching: Batching::Independent, ..settings() };
        let mut examples = chosen(&settings, log(), &()).train;
        examples.sort_by_key(|example| example.position);
        examples.into_iter().map(|example| example.sequence.weight).collect::<Vec<_>>()
    };
    assert_eq!(weights(Feedback::Ignore), [1.0; 40]);
    assert_eq!(weights(Feedback::PreferSuccess), [1.0; 40]);
    let weighed = weights(Feedback::Weigh);
    // thumbs: one up and one down, so silence counts a half; rewards: halves and ones, so silence counts three quarters
    assert_eq!(weighed[..6], [0.5, 0.25, 0.1, 0.375, 0.5, 0.5], "what counts nothing counts a tenth where too little remains");
}

#[test]
fn what_is_rated_worst_is_left_out_where_enough_remains() {
    let rated = |c: usize| {
        let mut call = call(c, 0, c);
        call.feedback.insert("rating".to_owned(), json!(c % 6));
        call
    };
    let examples = chosen(&Finetune { feedback: Feedback::Weigh, ..settings() }, (0..120).map(rated), &());
    assert_eq!(examples.left_out, [("of a conversation that failed, or rated worst".to_owned(), 20)]);
    let weights: std::collections::BTreeSet<_> = examples.train.iter().map(|example| example.sequence.weight.to_bits()).collect();
    assert_eq!(weights.into_iter().map(f32::from_bits).collect::<Vec<_>>(), [0.2, 0.4, 0.6, 0.8, 1.0]);
}

#[test]
fn a_run_too_short_says_what_it_does_not_see() {
    // the first fifty conversations have two calls, the others one
    let log = (0..100).flat_map(|c| (0..if c < 50 { 2 } else { 1 }).map(move |step| call(c, step, 2 * c + step as usize)));
    let settings = Finetune { max_steps: Some(2), batch_size: 8, ..settings() };
    let examples = chosen(&settings, log, &());
    let plan = settings.plan(&examples, &config(), None).expect("a plan");
    let tokens = examples.train[plan.examples..].iter().map(|example| example.tokens).sum::<u64>();
    assert_eq!((plan.examples, plan.calls), (16, 16));
    assert_eq!((plan.over_budget.calls, plan.over_budget.conversations, plan.over_budget.tokens), (134, 84, tokens));
    assert!(tokens > 134 * 8, "each call has more than its template's tokens");
}
