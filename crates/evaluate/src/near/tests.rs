//! What counts as a near copy, and that the search misses none.
use record::{Call, Clean, Parts, Shares, Split, Withheld as _, split};
use serde_json::json;

use super::HeldPrompts;

const SHARES: Shares = Shares { calibration: 0.1, held: 0.35 };
const INSTRUCTIONS: &str = "You answer the questions of customers about their orders in one short and friendly sentence. Never give \
    discounts. If you do not know, say so and name the address of the shop.";

/// The `n`-th conversation that the split puts into a part.
fn conversation(split: Split, n: usize) -> String {
    (0..).map(|i| format!("c{i}")).filter(|id| Split::of(id, 0, SHARES) == split).nth(n).expect("there is no last number")
}

#[expect(clippy::disallowed_methods, reason = "a test log holds nothing personal")]
fn call(conversation: &str, text: &str) -> Clean<Call> {
    let row = json!({"source_id": conversation, "conversation_id": conversation, "response": {},
        "request": {"messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": text}]}});
    Clean::vouch(serde_json::from_value(row).expect("the record has every required field"))
}

/// A log whose train part asks `train`, one conversation each, and whose `other` part asks `asked`.
fn log(train: &[String], other: Split, asked: &[&str]) -> Parts {
    let learnt = train.iter().enumerate().map(|(n, text)| call(&conversation(Split::Train, n), text));
    let asked = asked.iter().enumerate().map(|(n, text)| call(&conversation(other, n), text));
    split(learnt.chain(asked), 0, SHARES)
}

/// Which train calls are near one that is held.
fn near(parts: &Parts, similarity: f64) -> Vec<bool> {
    let held = HeldPrompts::of(parts, similarity);
    parts.train.iter().map(|call| held.near(call.prompt())).collect()
}

/// A text of words that no other text has.
fn words(of: &str, count: usize) -> String {
    (0..count).map(|i| format!("{of}{i}")).collect::<Vec<_>>().join(" ")
}

/// Train questions that have nothing to do with each other.
fn strangers() -> Vec<String> {
    ["a", "b", "d", "e", "f", "g"].map(|of| words(of, 40)).to_vec()
}

#[test]
fn copies_are_found_in_either_part_though_most_of_every_prompt_is_the_same() {
    let long = words("x", 40);
    let train = [strangers(), vec![long.clone(), long.replace("x39", "another word"), long.replace("x20", "y"), words("x", 30)]].concat();
    for part in [Split::Held, Split::Calibration] {
        let found = near(&log(&train, part, &[&long, "nobody asks this"]), 0.8);
        assert_eq!(found, [false, false, false, false, false, false, true, true, true, false], "{part:?}: the last is a part, no copy");
    }
    assert_eq!(near(&log(&train, Split::Held, &["nobody asks this"]), 0.8), [false; 10]);
    let exact = near(&log(&train, Split::Held, &[&long]), 1.0);
    assert_eq!(exact.iter().filter(|near| **near).count(), 1);
}

#[test]
fn two_questions_about_one_document_are_no_copies() {
    let document = words("text", 300);
    let ask = |question: &str| format!("{document} {question}");
    let train = [strangers(), ["w", "v", "u", "t", "s"].map(|of| ask(&words(of, 8))).to_vec()].concat();
    let (other, same) = (ask(&words("z", 8)), ask(&words("w", 8)));
    assert!(near(&log(&train, Split::Held, &[&other]), 0.8).iter().all(|near| !near), "five conversations share the document");
    let found = near(&log(&train, Split::Held, &[&other, &same]), 0.8);
    assert_eq!(found.iter().position(|near| *near), Some(6));
}

#[test]
fn two_topics_under_one_signature_are_no_copies() {
    // every phrase is common; only the signature is rare, and it is the same
    let topics = ["the parcel has not come yet", "the colour is not what I ordered", "please send the invoice once more"];
    let train: Vec<String> = (0..12).map(|n| format!("{}. Yours, {}", topics[n % 3], if n == 0 { "Pia Quill" } else { "A" })).collect();
    let found = near(&log(&train, Split::Held, &[&format!("{}. Yours, Pia Quill", topics[1])]), 0.8);
    assert!(!found[0], "another topic, the same name");
    assert!(near(&log(&train, Split::Held, &[&train[0]]), 0.8)[0]);
}

#[test]
fn prompts_of_which_nothing_varies_are_copies_of_each_other() {
    let yes = vec!["yes".to_owned(); 4];
    assert_eq!(near(&log(&yes, Split::Held, &["yes"]), 0.8), [true; 4]);
    assert_eq!(near(&log(&yes, Split::Held, &["what else could it be"]), 0.8), [false; 4]);
}

#[test]
fn the_index_finds_what_comparing_all_pairs_finds() {
    // texts of a few words each, so that many pairs lie close to every similarity
    let text = |n: usize| (0..12).map(|i| format!("w{}", (n * 31 + i * (1 + n % 5) + n * i / 7) % 23)).collect::<Vec<_>>().join(" ");
    let train: Vec<String> = (0..150).map(text).collect();
    let asked: Vec<String> = (150..300).map(text).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let parts = log(&train, Split::Held, &asked);
    let mut counts = Vec::new();
    for similarity in [0.1, 0.3, 0.5, 0.8, 1.0] {
        let held = HeldPrompts::of(&parts, similarity);
        let all = |keys: &[u64]| held.prompts.iter().any(|other| held.alike(keys, other));
        let expected: Vec<bool> = parts.train.iter().map(|call| all(&held.varying(call.prompt()))).collect();
        assert_eq!(near(&parts, similarity), expected, "{similarity}");
        counts.push(expected.into_iter().filter(|near| *near).count());
    }
    assert!(counts.windows(2).all(|pair| pair[0] >= pair[1]) && counts[0] > counts[4] && counts[0] > 10, "{counts:?}");
}
