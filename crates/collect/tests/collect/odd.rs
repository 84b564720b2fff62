//! Rows that mislead: answers that look like what stands around them, parts that belong to nothing, keys beside calls, wrong values anywhere.
use serde_json::{Value, json};

use crate::tools::{FIXTURES, pairs, said};
use crate::{fixture, read};

#[test]
fn an_answer_that_is_json_stays_what_it_is() {
    for answer in [
        r#"{"message":"hi","action":"x"}"#,
        r#"{"answer":"Paris"}"#,
        r#"{"text":"a"}"#,
        r#"{"choices":["a","b"]}"#,
        r#"[{"role":"owner"}]"#,
        r#"{"messages":["a"]}"#,
        "{{name}} is here",
        r#"{"team": "bil"#,
        r#"{"candidates":[{"name":"a"}]}"#,
    ] {
        for row in [
            json!({"prompt": "p", "completion": answer}),
            json!({"request": {"model": "m", "messages": [{"role": "user", "content": "p"}]}, "response": answer}),
            json!({"id": "o", "traceId": "t", "type": "GENERATION", "parentObservationId": null, "input": "p", "output": answer}),
        ] {
            let (memory, _) = read(row.to_string().as_bytes());
            assert_eq!(memory.calls.iter().map(|call| call.response.text()).collect::<Vec<_>>(), [answer], "{row} {:?}", memory.rejects);
        }
    }
}

#[test]
fn the_last_answer_of_a_list_of_messages_counts() {
    let row = |output: Value| json!({"id": "o", "traceId": "t", "type": "GENERATION", "parentObservationId": null, "input": "p", "output": output});
    let said = |output: Value| read(row(output).to_string().as_bytes()).0.calls.first().map(|call| call.response.text());
    let (user, model) = (json!({"role": "user", "content": "q"}), json!({"role": "assistant", "content": "a"}));
    assert_eq!(said(json!([user, model])), Some("a".to_owned()));
    assert_eq!(said(json!({"messages": [user, model, user]})), Some("a".to_owned()));
    assert_eq!(said(json!([user])), None);
}

#[test]
fn log_records_without_a_span_are_not_one_call() {
    let record = |asked: &str, start: u64| {
        let said = |role: &str, text: &str| {
            json!({"arrayValue": {"values": [{"kvlistValue": {"values": [
            {"key": "role", "value": {"stringValue": role}}, {"key": "content", "value": {"stringValue": text}}]}}]}})
        };
        json!({"eventName": "gen_ai.client.inference.operation.details", "timeUnixNano": start, "attributes": [
            {"key": "gen_ai.input.messages", "value": said("user", asked)}, {"key": "gen_ai.output.messages", "value": said("assistant", "a")}]})
    };
    let line = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record("one", 1), record("two", 2)]}]}]});
    let (memory, _) = read(line.to_string().as_bytes());
    assert_eq!(said(&memory.calls), pairs(&[("one", "a"), ("two", "a")]), "{:?}", memory.rejects);
    let deep = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x", "attributes": [{"key": "a.".repeat(200_000), "value": {"intValue": 1}}]}]}]}]});
    assert_eq!(read(deep.to_string().as_bytes()).1.rejected, 0, "a key of many steps breaks nothing");
}

#[test]
fn keys_reach_no_call_and_no_reject() {
    let har = String::from_utf8(fixture("recording.har")).expect("text").replace('\n', "");
    let mut litellm: Value =
        serde_json::from_slice(fixture("litellm.jsonl").split(|byte| *byte == b'\n').next().expect("a line")).expect("a row");
    litellm["metadata"] = json!({"user_api_key_hash": "PLANTED", "headers": {"authorization": "PLANTED"}});
    litellm["model_parameters"]["api_key"] = json!("PLANTED");
    for text in [&har[..har.len() / 2], &har, &litellm.to_string()] {
        let (memory, _) = read(text.as_bytes());
        let kept = json!([memory.calls, memory.rejects]).to_string();
        assert!(!kept.contains("PLANTED") && memory.calls.len() + memory.rejects.len() > 0, "{kept}");
    }
}

#[test]
fn streamed_calls_under_one_index_stay_apart() {
    let piece = |id: Option<&str>, arguments: &str| {
        json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": null, "delta": {
        "tool_calls": [{"index": 0, "id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}]}}]})
    };
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let pieces = json!([piece(Some("c1"), "{\"x\""), piece(None, ":1}"), piece(Some("c2"), "{\"x\":2}"), end]);
    let row = json!({"request": {"model": "m", "messages": [{"role": "user", "content": "p"}]}, "response": pieces});
    let (memory, _) = read(row.to_string().as_bytes());
    let calls = memory.calls[0].response.tool_calls();
    let found: Vec<_> = calls.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments["x"].as_u64())).collect();
    assert_eq!(found, [("c1", "look", Some(1)), ("c2", "look", Some(2))]);
}

/// Puts `with` in place of the value that is reached after so many steps through a row.
fn replace(value: &mut Value, steps: &mut usize, with: &Value) -> bool {
    if *steps == 0 {
        *value = with.clone();
        return true;
    }
    *steps -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, steps, with)),
        Value::Object(fields) => fields.values_mut().any(|field| replace(field, steps, with)),
        // what tools write as text is looked into as well
        Value::String(text) => {
            let Ok(mut inner @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str::<Value>(text) else { return false };
            let found = replace(&mut inner, steps, with);
            *text = inner.to_string();
            found
        }
        _ => false,
    }
}

#[test]
fn a_row_with_a_wrong_value_anywhere_is_told_and_breaks_nothing() {
    let wrong = [json!(null), json!(7), json!("x"), json!([]), json!({}), json!(true), json!([["x"]]), json!({"content": 7})];
    for (name, _) in FIXTURES {
        for (at, line) in String::from_utf8(fixture(name)).expect("text").lines().enumerate() {
            let row: Value = serde_json::from_str(line).expect("a row");
            for with in &wrong {
                for place in 1.. {
                    let mut broken = row.clone();
                    if !replace(&mut broken, &mut { place }, with) {
                        break;
                    }
                    let (memory, counts) = read(broken.to_string().as_bytes());
                    assert_eq!(memory.calls.len() as u64, counts.calls, "{name}:{at} {broken}");
                    for call in &memory.calls {
                        let message = call.response.message().expect("an answer has a message");
                        assert!(call.request.messages().count() > 0 && message.0.is_object(), "{name}:{at} {broken}");
                    }
                }
            }
        }
    }
}
