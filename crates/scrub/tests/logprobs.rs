//! Log-probabilities: kept where they say nothing that the scrubbed answer does not say, gone everywhere else.
use record::Call;
use scrub::{Scrub, Scrubbed};
use serde_json::{Value, json};

/// An answer of these tokens, each beside the alternatives.
fn answer(tokens: &[&str], alternatives: &[&str]) -> Value {
    let entry = |token: &str| json!({"token": token, "bytes": token.as_bytes(), "logprob": -0.25});
    let content = tokens.iter().map(|token| {
        let mut one = entry(token);
        one["top_logprobs"] = alternatives.iter().chain([token]).map(|token| entry(token)).collect();
        one
    });
    let content: Vec<Value> = content.collect();
    json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": tokens.concat()}, "logprobs": {"content": content}}]})
}

fn call(step: u32, response: &Value) -> Call {
    let asked = "my name is Anna Berg, phone +44 20 7946 0123; logprobs are in {\"logprobs\": {\"a\": 1}}";
    let schema = json!({"type": "object", "properties": {"logprobs": {"type": "boolean"}}});
    let raw = json!({"choices": [{"logprobs": {"tokens": ["An", "na"]}, "finish_reason": "stop"}]}).to_string();
    let row = json!({"source_id": format!("c:{step}"), "conversation_id": "c", "step": step, "response": response,
        "request": {"logprobs": true, "top_logprobs": 3, "messages": [{"role": "user", "content": asked}],
            "tools": [{"type": "function", "function": {"name": "sample", "parameters": schema}}]},
        "tags": {"raw": raw, "prompt_logprobs": [[65, 110, 110, 97]], "avg_logprob": -0.5,
            "details": {"tokens": [{"text": "An", "logprob": -1.0}, {"text": "na", "logprob": -1.0}], "seed": 3}}});
    serde_json::from_value(row).expect("a record")
}

fn scrub(calls: Vec<Call>) -> Scrubbed {
    let done = Scrub::default().compile().expect("the default configuration compiles").conversation(calls).expect("one conversation");
    assert_eq!(done.residual, vec![]);
    done
}

/// Alternatives of the first token as text.
fn alternatives(call: &Call) -> Vec<String> {
    let tokens = call.response.logprobs().expect("they were kept");
    tokens[0].top.iter().map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned()).collect()
}

#[test]
fn what_spells_a_value_or_might_have_begun_one_is_gone() {
    let plain = answer(&["re", "fund"], &["An", " Berg", "na", "79", "xann.lee@mail.test", " deny", "\n"]);
    let named = answer(&["Dear ", "An", "na", " Berg"], &["Dear"]);
    let done = scrub(vec![call(0, &plain), call(1, &named)]);
    assert_eq!(done.calls[0].response.text(), "refund");
    assert_eq!(alternatives(&done.calls[0]), [" deny", "\n", "re"]);
    assert!(!done.calls[1].response.text().contains("Anna"), "{}", done.calls[1].response.text());
    assert_eq!(done.calls[1].response.logprobs(), None, "the answer was rewritten: its tokens are not its own any more");
    let text = serde_json::to_string(&done.calls).expect("plain JSON").replace(' ', "");
    for left in ["\"An\"", "\"na\"", "Anna", "Berg", "65,110", "[32,66,101,114,103]", "7946", "ann.lee"] {
        assert!(!text.contains(left), "{left} is left in {text}");
    }
    let calls = done.calls.clone().into_iter().map(record::Clean::into_inner).collect();
    assert_eq!(scrub(calls).calls, done.calls, "a second scrub changes nothing");
}

#[test]
fn log_probabilities_elsewhere_are_dropped_and_what_only_talks_of_them_stays() {
    let done = scrub(vec![call(0, &answer(&["ok"], &[]))]);
    let call = &done.calls[0];
    let raw = call.tags["raw"].as_str().expect("a text still");
    assert_eq!(raw, r#"{"choices":[{"finish_reason":"stop"}]}"#);
    assert_eq!(call.tags["details"], json!({"tokens": [], "seed": 3}));
    assert_eq!((&call.tags["avg_logprob"], call.tags.get("prompt_logprobs")), (&json!(-0.5), None));
    assert_eq!((&call.request.0["logprobs"], &call.request.0["top_logprobs"]), (&json!(true), &json!(3)));
    assert_eq!(call.request.0["tools"][0]["function"]["parameters"]["properties"]["logprobs"]["type"], "boolean");
    assert!(call.request.first_user().contains(r#"{"logprobs": {"a": 1}}"#));
}

#[test]
fn tokens_that_are_no_text_or_no_tokens_are_dropped() {
    let mut broken = answer(&["ok"], &[]);
    broken["choices"][0]["logprobs"]["content"][0]["bytes"] = json!([255]);
    let mut legacy = answer(&["ok"], &[]);
    legacy["choices"][0]["logprobs"] = json!({"tokens": ["ok"], "token_logprobs": [-0.1], "top_logprobs": [{"Anna": -1.0}]});
    for response in [broken, legacy] {
        let done = scrub(vec![call(0, &response)]);
        assert!(done.calls[0].response.0["choices"][0].get("logprobs").is_none(), "{:?}", done.calls[0].response);
    }
}
