//! The recipe at smoke size, and what corpus, tokenizer and template promise each other.
use std::collections::BTreeSet;

use finetune::Row;
use model::ChatTemplate;
use record::Request;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::corpus::{Corpus, encode};
use super::document::{Chat, Turn};
use super::folder::Folder;
use super::tokenizer;
use super::training::Recipe;

const SMOKE: Recipe = Recipe::SMOKE;

fn words(corpus: &Corpus) -> Tokenizer {
    tokenizer::train(corpus, 400).expect("the corpus is large enough for a tokenizer")
}

fn bits(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.loss.to_bits()).collect()
}

#[test]
fn the_smoke_run_learns_and_resumes_bit_by_bit() {
    let corpus = Corpus::new(SMOKE.seed).expect("the worlds parse");
    let tokenizer = words(&corpus);
    let [whole, parts] = [0, 1].map(|_| tempfile::tempdir().expect("a temporary folder"));
    let run = |folder: &tempfile::TempDir, until| {
        let mut folder = Folder::open(folder.path()).expect("the folder opens");
        SMOKE.train(until, &SMOKE.model().expect("the shape is valid"), &corpus, &tokenizer, &mut folder).expect("training runs")
    };
    let unbroken = run(&whole, SMOKE.steps);
    run(&parts, 13);
    let resumed = run(&parts, SMOKE.steps);
    assert_eq!(bits(&unbroken), bits(&resumed), "a stopped run goes on as if it had not stopped");
    let mean = |rows: &[Row]| rows.iter().map(|row| row.loss).sum::<f64>() / rows.len() as f64;
    let (first, last) = (mean(&unbroken[..3]), mean(&unbroken[37..]));
    assert!(first > 5.5 && first - last > 1.2, "the loss fell only from {first} to {last}");
}

#[test]
fn documents_differ_and_depend_on_seed_and_stream_alone() {
    let corpus = Corpus::new(1).expect("the worlds parse");
    let texts = |corpus: &Corpus, stream| -> Vec<String> { corpus.stream(stream, 400, 0.7).iter().map(|s| s.document.text()).collect() };
    let one = texts(&corpus, 3);
    assert_eq!(one, texts(&Corpus::new(1).expect("the worlds parse"), 3));
    assert_ne!(one, texts(&corpus, 4));
    assert_ne!(one, texts(&Corpus::new(2).expect("the worlds parse"), 3));
    assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), one.len(), "no document comes twice");
}

#[test]
fn tokens_give_the_text_back_and_copies_have_the_same_tokens() {
    let corpus = Corpus::new(1).expect("the worlds parse");
    let tokenizer = words(&corpus);
    for sample in corpus.stream(9, 100, 1.0) {
        let (tokens, _) = encode(&tokenizer, &sample.document).expect("the text is tokenised");
        assert_eq!(tokenizer.decode(&tokens, false).expect("tokens decode"), sample.document.text());
    }
    let ids = |text: &str| tokenizer.encode(text, false).expect("the text is tokenised").get_ids().to_vec();
    for value in ["Marlon Quist", "KX-20417", "a3f90c", "€40.15", "[NAME_7]", "lu.pen@zorb.net"] {
        let value_ids = ids(value);
        for text in [format!("it is {value} now"), format!("{{\"key\":\"{value}\"}}"), format!("{{\"key\": \"{value}\"}}")] {
            assert!(ids(&text).windows(value_ids.len()).any(|window| window == value_ids), "`{value}` is cut otherwise in `{text}`");
        }
    }
}

#[test]
fn the_chat_template_renders_what_the_corpus_writes() {
    let tool = json!({"type": "function", "function": {"name": "a_b", "description": "Does it.", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}});
    let arguments = json!({"x": "Ö \"7\"", "n": 3});
    let turns = |chat: &mut Chat| {
        chat.exchange("hello", "hi");
        chat.turns.push(Turn::User("do".into()));
        chat.turns.push(Turn::Calls(vec![("a_b".into(), arguments.clone()), ("a_b".into(), json!({}))]));
        chat.turns.push(Turn::Tool("{\"ok\": true}".into()));
        chat.turns.push(Turn::Assistant("done".into()));
    };
    let call = |arguments: &Value| json!({"id": "c", "type": "function", "function": {"name": "a_b", "arguments": arguments.to_string()}});
    let messages = json!([
        {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "do"},
        {"role": "assistant", "content": null, "tool_calls": [call(&arguments), call(&json!({}))]},
        {"role": "tool", "tool_call_id": "c", "content": "{\"ok\": true}"}, {"role": "assistant", "content": "done"}
    ]);
    let template = ChatTemplate::new(&tokenizer::chat_template(), serde_json::Map::new()).expect("the template compiles");
    for (system, tools) in [("", false), ("Be short.", false), ("", true), ("Be short.", true)] {
        let mut chat = Chat { system: system.into(), tools: if tools { vec![tool.clone()] } else { Vec::new() }, ..Chat::default() };
        turns(&mut chat);
        let mut messages = messages.as_array().expect("it is a list").clone();
        if !system.is_empty() {
            messages.insert(0, json!({"role": "system", "content": system}));
        }
        let mut body = json!({"messages": messages});
        if tools {
            body["tools"] = json!([tool]);
        }
        let rendered = template.render_request(&Request(body), None).expect("the template renders");
        let text = chat.document().text();
        assert_eq!(rendered.strip_suffix("<|im_start|>assistant\n"), Some(text.as_str()));
    }
}
