//! Each format as it comes, and the rows that do not belong.
use collect::{Collect, Format};
use record::{Call, Time, ToolCall, Usage};
use serde_json::json;

use crate::{fixture, read, read_as};

#[test]
fn call_records_are_kept_as_they_are() {
    let (memory, counts) = read(&fixture("record.jsonl"));
    assert_eq!((counts.calls, counts.rejected, counts.lossy), (2, 0, 1));
    let text = String::from_utf8(fixture("record.jsonl")).expect("text");
    let first: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(serde_json::to_value(&memory.calls[0]).expect("JSON"), first);
    let second = &memory.calls[1];
    assert_eq!((second.source_id.as_str(), second.conversation_id.as_str(), second.step), ("17", "2", 1));
    assert_eq!(second.request.last_user(), "bye", "a body written as text is read");
    assert_eq!(second.response.text(), "bye", "a bare message is an answer");
    assert_eq!((second.tags["note"].clone(), second.lossy.clone()), (json!("extra"), vec!["time".to_owned()]));
}

#[test]
fn plain_rows_get_what_they_lack() {
    let (memory, counts) = read(&fixture("native.jsonl"));
    let call = &memory.calls[0];
    assert_eq!(counts.formats["record"].calls, 1);
    assert_eq!((call.workload_id.as_deref(), call.client_id.as_deref()), (Some("support.route"), Some("prod")));
    assert_eq!(call.timestamp, Some(Time(1_760_000_000_000)));
    assert!(call.source_id.starts_with("row-") && call.conversation_id.starts_with("start-"));
    assert_eq!(read(&fixture("native.jsonl")).0.calls[0].source_id, call.source_id, "the same row has the same id");
    assert_eq!(call.lossy, ["conversation"]);
}

#[test]
fn openai_pairs() {
    let (memory, counts) = read(&fixture("openai.jsonl"));
    assert_eq!(counts.formats["openai"].calls, 2);
    let [call, legacy] = &memory.calls[..] else { panic!("two calls") };
    assert_eq!(call.model(), "gpt-4o-2024-08-06");
    assert_eq!(call.client_id.as_deref(), Some("u-7"));
    assert_eq!(call.response.usage(), Usage { prompt: Some(61), completion: Some(9), cached: Some(32) });
    let expected = ToolCall { id: "c1".into(), name: "route".into(), arguments: json!({"team": "billing"}) };
    assert_eq!(call.response.tool_calls(), [expected], "choice 0 is the answer, wherever it stands");
    assert_eq!(call.response.0["choices"].as_array().map(Vec::len), Some(2));
    assert_eq!(call.lossy, ["media", "conversation"]);
    assert_eq!(legacy.conversation_id, "s-9");
    assert_eq!(legacy.request.tools().map(|tool| tool.name()).collect::<Vec<_>>(), ["f"]);
    assert_eq!(legacy.response.tool_calls()[0].arguments, json!({"x": 1}));
    assert_eq!(legacy.step, 1);
}

#[test]
fn anthropic_pairs_become_openai_bodies() {
    let (memory, counts) = read(&fixture("anthropic.jsonl"));
    assert_eq!(counts.formats["anthropic"].calls, 2);
    let call = &memory.calls[0];
    assert_eq!(
        call.request.0["messages"],
        json!([
            {"role": "system", "content": "Route tickets."},
            {"role": "user", "content": "card declined"},
            {"role": "assistant", "content": "Looking.", "reasoning_content": "hm", "tool_calls": [
                {"id": "tu0", "type": "function", "function": {"name": "look", "arguments": "{\"id\":1}"}},
                {"id": "tu1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "tu0", "content": "card 1"},
            {"role": "tool", "tool_call_id": "tu1", "content": "no such card", "is_error": true},
            {"role": "user", "content": "and?"}
        ])
    );
    let parameters = json!({"type": "object", "properties": {"team": {"type": "string"}}});
    assert_eq!(
        call.request.0["tools"],
        json!([{"type": "function", "function": {"name": "route", "description": "Routes.", "parameters": parameters}}])
    );
    for (key, value) in [
        ("tool_choice", json!("required")),
        ("parallel_tool_calls", json!(false)),
        ("stop", json!(["END"])),
        ("max_tokens", json!(200)),
        ("temperature", json!(0.2)),
        ("user", json!("u-3")),
    ] {
        assert_eq!(call.request.0[key], value, "{key}");
    }
    assert_eq!(call.response.usage(), Usage { prompt: Some(1100), completion: Some(14), cached: Some(1000) });
    assert_eq!((call.response.finish_reason(), call.model()), (Some("tool_calls"), "claude-sonnet-4-5-20250929"));
    assert_eq!(call.response.tool_calls()[0].arguments, json!({"team": "payments"}));
    assert_eq!((call.client_id.as_deref(), call.latency_ms), (Some("u-3"), Some(900.0)));
    assert_eq!(call.timestamp, Time::parse("2026-01-05T10:00:00Z"));
    let plain = &memory.calls[1];
    assert_eq!((plain.response.text().as_str(), plain.response.finish_reason()), ("Hello", Some("length")));
    assert_eq!(plain.workload_id.as_deref(), Some("greet"));
}

#[test]
fn a_fine_tuning_row_is_one_call_per_answer_taught() {
    let (memory, counts) = read(&fixture("finetune.jsonl"));
    assert_eq!(counts.formats["openai-finetune"].calls, 2);
    let [one, two] = &memory.calls[..] else { panic!("two calls") };
    assert_eq!((one.step, two.step, one.conversation_id == two.conversation_id), (0, 1, true));
    assert_eq!((one.request.messages().count(), two.request.messages().count()), (4, 6));
    assert_eq!(one.response.text(), "{\"city\":\"Oslo\",\"nights\":2}");
    assert!(one.request.messages().all(|message| message.0.get("weight").is_none()));
    assert_eq!((one.request.tools().count(), one.lossy.clone()), (1, vec!["time".to_owned(), "model".to_owned()]));
    assert_ne!(one.source_id, two.source_id);
}

#[test]
fn what_cannot_be_taken_says_where_and_why() {
    let (memory, counts) = read(&fixture("rejects.jsonl"));
    assert_eq!((counts.calls, counts.rejected), (0, 14));
    let lines: Vec<_> = memory.rejects.iter().map(|r| format!("{} [{}] {}", r.line, r.field, r.problem)).collect();
    let expected = [
        "1 [request.messages[1].role] `bot` is no role",
        "2 [request.messages[0].content] it is a number, expected text or a list of parts",
        "3 [request.messages] the list is empty",
        "4 [response.error] the call failed: rate limit",
        "5 [response] there is none",
        "6 [response.choices[0].message] the answer holds neither text nor tool calls",
        "7 [response.choices[0].delta] it is one piece of a streamed answer",
        "8 [latency_ms] it is `-1`, expected a number from 0",
        "9 [request.messages] it is no chat body: it has `input` or `prompt` in place of `messages`",
        "10 [] this is an answer without its request",
        "11 [messages] no message is an answer to learn from",
        "12 [] the row is of no known format: it has `text`, `label`",
        "13 [] the line is no JSON object",
        "14 [] the line is no JSON: expected value at column 13",
    ];
    assert_eq!(lines, expected);
    assert!(memory.rejects.iter().all(|reject| !reject.cure.is_empty() && reject.row.is_some() && reject.file == "log"));
}

#[test]
fn mixed_rows_are_told_one_by_one_and_the_rest_by_the_most() {
    let mut mixed = Vec::new();
    for name in ["anthropic.jsonl", "openai.jsonl", "finetune.jsonl", "native.jsonl", "record.jsonl"] {
        mixed.extend(fixture(name));
    }
    let (_, counts) = read(&mixed);
    let formats: Vec<_> = counts.formats.iter().map(|(name, count)| (name.as_str(), count.calls)).collect();
    assert_eq!(formats, [("anthropic", 2), ("openai", 2), ("openai-finetune", 2), ("record", 3)]);
    // A row with no answer shows no format of its own; in a log of Anthropic rows it is one of them.
    let mut log = fixture("anthropic.jsonl");
    log.extend(b"{\"request\":{\"model\":\"claude\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}}\n");
    let (_, counts) = read(&log);
    assert_eq!((counts.formats["anthropic"].calls, counts.formats["anthropic"].rejected), (2, 1));
}

#[test]
fn a_named_format_is_kept_to() {
    let step = Collect { input_format: Some(Format::OpenaiFinetune), ..Collect::default() };
    let (memory, counts) = read_as(&step, &fixture("native.jsonl")[..]);
    assert_eq!((counts.calls, memory.rejects[0].field.as_str()), (0, "messages"));
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(*format));
        assert_eq!(serde_json::to_value(format).expect("JSON"), format.name());
    }
    assert!("otlp".parse::<Format>().is_err());
}

#[test]
fn what_collect_writes_it_reads_back_unchanged() {
    for name in ["record.jsonl", "native.jsonl", "openai.jsonl", "anthropic.jsonl", "finetune.jsonl"] {
        let (first, _) = read(&fixture(name));
        let lines: String = first.calls.iter().map(|call| serde_json::to_string(call).expect("JSON") + "\n").collect();
        assert_eq!(read(lines.as_bytes()).0.calls, first.calls, "{name}");
    }
}

#[test]
fn streamed_answers_are_put_together() {
    let (memory, counts) = read(&fixture("streams.jsonl"));
    assert_eq!((counts.formats["openai"].calls, counts.formats["anthropic"].calls), (2, 1));
    let [chat, claude, text] = &memory.calls[..] else { panic!("three calls") };
    let call = |id: &str, name: &str, arguments| ToolCall { id: id.into(), name: name.into(), arguments };
    assert_eq!(chat.response.tool_calls(), [call("t1", "route", json!({"team": 1})), call("t2", "look", json!({}))]);
    assert_eq!((chat.response.text().as_str(), chat.response.finish_reason(), chat.model()), ("Hello", Some("tool_calls"), "m-1"));
    assert_eq!(chat.response.usage(), Usage { prompt: Some(5), completion: Some(7), cached: None });
    assert_eq!(chat.timestamp, Some(Time(1_760_000_000_000)));
    assert_eq!(claude.response.tool_calls(), [call("t", "route", json!({"team": 1}))]);
    assert_eq!((claude.response.text().as_str(), claude.response.finish_reason()), ("Hello", Some("tool_calls")));
    assert_eq!(claude.response.usage(), Usage { prompt: Some(4), completion: Some(12), cached: Some(0) });
    assert_eq!(text.response.text(), "{\"city\":\"Oslo\"}", "JSON that is no reply is the answer itself");
    assert_eq!(text.tags["tags"], json!(["a"]));
    let problems: Vec<_> = memory.rejects.iter().map(|reject| reject.problem.as_str()).collect();
    assert_eq!(problems, ["the streamed answer is cut off", "the call failed: overloaded"]);
}

#[test]
fn an_answer_that_looks_like_a_body_is_still_an_answer() {
    for answer in [
        "{\"type\": \"refund\", \"content\": 3}",
        "{\"object\": \"lamp\", \"output\": 1, \"message\": \"none\", \"error\": null}",
        "[{\"name\": \"Oslo\"}, {\"type\": \"town\"}]",
        "id: 5\nname: x",
        "event: a party\ndata: none",
        ": what follows",
    ] {
        let row = json!({"request": {"model": "m", "messages": [{"role": "user", "content": "q"}]}, "response": answer});
        let (memory, _) = read(row.to_string().as_bytes());
        assert_eq!(memory.calls.first().map(|call| call.response.text()).as_deref(), Some(answer), "{:?}", memory.rejects);
    }
}

#[test]
fn a_body_that_is_cut_off_is_no_answer() {
    let row = json!({"request": {"model": "m", "messages": [{"role": "user", "content": "q"}]}, "response": "{\"choices\": [{\"mess"});
    let (memory, _) = read(row.to_string().as_bytes());
    assert_eq!((memory.calls.len(), memory.rejects[0].field.as_str()), (0, "response"));
    assert_eq!(memory.rejects[0].problem, "it is text that holds no JSON object");
}

#[test]
fn responses_become_chats() {
    let (memory, counts) = read(&fixture("responses.jsonl"));
    assert_eq!((counts.formats["responses"].calls, counts.formats.len()), (3, 2));
    let [tools, text, stream] = &memory.calls[..] else { panic!("three calls") };
    let roles = |call: &Call| call.request.messages().map(|message| message.role().to_owned()).collect::<Vec<_>>();
    assert_eq!(roles(tools), ["system", "user", "assistant", "tool", "tool"]);
    let messages = &tools.request.0["messages"];
    assert_eq!(messages[1]["content"], "Card\ndeclined");
    assert_eq!(
        messages[2]["tool_calls"][1],
        json!({"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{\"card\":8}"}})
    );
    assert_eq!(messages[4], json!({"role": "tool", "tool_call_id": "c2", "content": "open"}));
    assert_eq!(tools.request.0["tools"][0]["function"]["strict"], true);
    assert_eq!(tools.request.0["tool_choice"]["function"]["name"], "route");
    assert_eq!(tools.request.0["max_completion_tokens"], 50);
    let call = |id: &str, name: &str, arguments| ToolCall { id: id.into(), name: name.into(), arguments };
    assert_eq!(tools.response.tool_calls(), [call("c3", "route", json!({"team": "payments"}))]);
    assert_eq!(
        (tools.response.finish_reason(), tools.model(), tools.timestamp),
        (Some("tool_calls"), "m-5-1", Some(Time(1_760_000_000_000)))
    );
    assert_eq!(tools.response.usage(), Usage { prompt: Some(40), completion: Some(9), cached: Some(16) });
    assert_eq!(tools.response.0["choices"][0]["message"]["reasoning_content"], "A card.");
    assert!(!tools.lossy.contains(&"history".to_owned()) && text.lossy.contains(&"history".to_owned()));
    assert_eq!((text.response.text().as_str(), text.response.finish_reason()), ("{\"amount\":30", Some("length")));
    assert_eq!(text.request.0["response_format"]["json_schema"], json!({"name": "paid", "schema": {"type": "object"}, "strict": true}));
    assert_eq!(stream.response.text(), "Hello");
    assert_eq!(memory.rejects[0].problem, "the streamed answer is cut off");
}

#[test]
fn gemini_becomes_a_chat() {
    let (memory, counts) = read(&fixture("gemini.jsonl"));
    assert_eq!((counts.formats["gemini"].calls, counts.formats["gemini"].rejected), (2, 2));
    let [tools, stream] = &memory.calls[..] else { panic!("two calls") };
    let messages = &tools.request.0["messages"];
    assert_eq!(messages[0], json!({"role": "system", "content": "Sort tickets."}));
    assert_eq!(messages[1], json!({"role": "user", "content": "Card\ndeclined"}));
    let ids = [&messages[2]["tool_calls"][0]["id"], &messages[2]["tool_calls"][1]["id"]];
    assert!(ids[0] != ids[1]);
    for (at, state) in ["blocked", "open"].iter().enumerate() {
        let answer = &messages[3 + at];
        assert_eq!((&answer["tool_call_id"], &answer["content"]), (ids[at], &json!(format!("{{\"state\":\"{state}\"}}"))));
    }
    let schema = json!({"type": "object", "properties": {"card": {"type": "integer"}}});
    assert_eq!(tools.request.0["tools"][0]["function"], json!({"name": "look", "parameters": schema}));
    assert_eq!((&tools.request.0["tool_choice"], &tools.request.0["max_tokens"]), (&json!("required"), &json!(50)));
    assert_eq!(tools.request.0["generation_config"], json!({"thinkingConfig": {"thinkingBudget": 0}}), "what has no other name stays");
    let called = tools.response.tool_calls();
    assert!(ids.iter().all(|id| **id != json!(called[0].id)), "the answer's calls are others than the request's");
    assert_eq!((called[0].name.as_str(), &called[0].arguments), ("route", &json!({"team": "payments"})));
    assert_eq!(
        (tools.response.finish_reason(), tools.model(), tools.timestamp),
        (Some("tool_calls"), "gem-2-001", Some(Time(1_767_607_200_000)))
    );
    assert_eq!(tools.response.usage(), Usage { prompt: Some(40), completion: Some(9), cached: Some(16) });
    assert_eq!((stream.response.text().as_str(), stream.response.finish_reason()), ("{\"city\":\"Oslo\"}", Some("stop")));
    assert_eq!(stream.request.0["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
    let problems: Vec<_> = memory.rejects.iter().map(|reject| reject.problem.as_str()).collect();
    let empty = "the answer holds neither text nor function calls (finish reason: length)";
    assert_eq!(problems, ["the prompt was blocked: SAFETY", empty]);
}

#[test]
fn converse_becomes_a_chat() {
    let (memory, counts) = read(&fixture("converse.jsonl"));
    assert_eq!(counts.formats["converse"].calls, 1);
    let call = &memory.calls[0];
    let messages = &call.request.0["messages"];
    assert_eq!(messages[0], json!({"role": "system", "content": "Sort tickets."}));
    assert_eq!(messages[1], json!({"role": "user", "content": "Card\ndeclined"}));
    assert_eq!(
        (&messages[2]["content"], &messages[2]["tool_calls"][0]["function"]["arguments"]),
        (&json!("Let me look."), &json!("{\"card\":7}"))
    );
    assert_eq!(messages[3], json!({"role": "tool", "tool_call_id": "t1", "content": "{\"state\":\"blocked\"}", "is_error": true}));
    assert_eq!(messages[4], json!({"role": "user", "content": "Well?"}));
    let function = json!({"name": "look", "description": "Looks.", "parameters": {"type": "object"}});
    assert_eq!((&call.request.0["tools"][0]["function"], &call.request.0["tool_choice"]), (&function, &json!("required")));
    assert_eq!((&call.request.0["max_tokens"], &call.request.0["inference_config"]), (&json!(50), &json!({"topK": 5})));
    assert_eq!(call.response.tool_calls(), [ToolCall { id: "t2".into(), name: "look".into(), arguments: json!({"card": 8}) }]);
    assert_eq!((call.response.finish_reason(), call.request.0["model"].as_str()), (Some("tool_calls"), Some("nova-1")));
    assert_eq!(call.response.usage(), Usage { prompt: Some(40), completion: Some(9), cached: Some(10) });
    let problems: Vec<_> = memory.rejects.iter().map(|reject| reject.problem.as_str()).collect();
    let unknown = "it is a body of no known API: there are no `messages`, but `message`, `chat_history`";
    assert_eq!(problems, ["it is a binary event stream of AWS, written as text", unknown]);
}

#[test]
fn a_message_alone_is_an_answer() {
    let (memory, counts) = read(&fixture("messages.jsonl"));
    assert_eq!((counts.formats["openai"].calls, counts.rejected), (2, 0));
    let seen = memory.calls.iter().map(|call| (call.response.text(), call.response.finish_reason().map(ToOwned::to_owned)));
    let said = |reason: &str| ("Hello".to_owned(), Some(reason.to_owned()));
    assert_eq!(seen.collect::<Vec<_>>(), [said("stop"), said("length")]);
    assert!(memory.calls.iter().all(|call| call.response.usage() == Usage { prompt: Some(5), completion: Some(2), cached: None }));
}
