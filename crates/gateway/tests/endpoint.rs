//! The client against a real HTTP server on the loopback address.
#![expect(clippy::disallowed_methods, reason = "the test is the server: it listens on loopback and makes clean text by hand")]

mod http;

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use gateway::Endpoint;
use record::{Call, Clean, Predictor, Silent};
use serde_json::{Value, json};

fn call(text: &str) -> Clean<Call> {
    let call = json!({
        "source_id": text, "conversation_id": "c", "response": {},
        "request": {"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": text}]}
    });
    Clean::vouch(serde_json::from_value(call).expect("the record has every required field"))
}

/// Answers `statuses.len()` requests, each with its status; a good one echoes what was asked.
fn server(statuses: &'static [u16]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().expect("the client connects");
            let asked: Value = serde_json::from_slice(&http::asked(&stream)).expect("the body is JSON");
            assert_eq!(asked["model"], "small");
            assert!(asked.get("stream").is_none());
            let answer = json!({
                "choices": [{"message": {"role": "assistant", "content": asked["messages"][0]["content"]}}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 2}, "asked": asked["top_logprobs"]
            });
            http::answer(stream, *status, &answer.to_string()).expect("the client reads");
        }
    });
    format!("http://{address}/v1/")
}

fn endpoint(url: String) -> Endpoint {
    Endpoint {
        url,
        model: "small".into(),
        key: Some("k".into()),
        max_tokens: 9,
        top_logprobs: 0,
        timeout: Duration::from_secs(5),
        retries: 1,
    }
}

#[test]
fn answers_come_in_order_and_a_passing_error_is_tried_again() {
    let calls = [call("one"), call("two")];
    let prompts: Vec<_> = calls.iter().map(Clean::prompt).collect();
    let got = endpoint(server(&[503, 200, 200])).predict(&prompts, &Silent).expect("the server answers");
    let texts: Vec<_> = got.iter().map(|p| p.response.as_ref().map(record::Response::text)).collect();
    assert_eq!(texts, [Some("one".to_owned()), Some("two".to_owned())]);
    assert_eq!(got[0].tokens, Some((7, 2)));
}

#[test]
fn a_server_that_gives_no_log_probabilities_is_asked_without() {
    let calls = [call("one"), call("two")];
    let prompts: Vec<_> = calls.iter().map(Clean::prompt).collect();
    // refused with them, answered without, and not asked for them again
    let mut endpoint = Endpoint { top_logprobs: 5, ..endpoint(server(&[400, 200, 200])) };
    let got = endpoint.predict(&prompts, &Silent).expect("the server answers");
    let asked: Vec<_> = got.iter().map(|p| p.response.as_ref().map(|r| r.0["asked"].clone())).collect();
    assert_eq!(asked, [Some(Value::Null), Some(Value::Null)]);
    let mut endpoint = Endpoint { top_logprobs: 5, ..self::endpoint(server(&[200])) };
    let got = endpoint.predict(&prompts[..1], &Silent).expect("the server answers");
    assert_eq!(got[0].response.as_ref().map(|r| r.0["asked"].clone()), Some(json!(5)));
}

#[test]
fn one_refused_call_is_data_and_a_dead_endpoint_is_an_error() {
    let calls = [call("one"), call("two")];
    let prompts: Vec<_> = calls.iter().map(Clean::prompt).collect();
    let got = endpoint(server(&[200, 400])).predict(&prompts, &Silent).expect("one of two answers");
    assert!(got[1].error.as_ref().is_some_and(|e| e.contains("status 400")), "{got:?}");
    let dead = endpoint("http://127.0.0.1:9/v1".into()).predict(&prompts, &Silent);
    assert!(dead.is_err_and(|e| e.cause.contains("did not answer")));
}
