//! Whole conversations: what goes, what stays, and that a second scrub changes nothing.
use std::sync::LazyLock;

use proptest::prelude::*;
use record::{Call, Clean};
use scrub::{Class, Policy, Scrub, Scrubbed, Scrubber};
use serde_json::{Value, json};

fn call(step: u32, request: &Value, response: &Value) -> Call {
    let row = json!({"source_id": format!("c:{step}"), "conversation_id": "c", "step": step, "request": request, "response": response});
    serde_json::from_value(row).expect("a record")
}

fn scrubber() -> &'static Scrubber {
    static SCRUBBER: LazyLock<Scrubber> = LazyLock::new(|| Scrub::default().compile().expect("the default configuration compiles"));
    &SCRUBBER
}

fn scrub(calls: Vec<Call>) -> Scrubbed {
    let done = scrubber().conversation(calls).expect("one conversation");
    assert_eq!(done.residual, vec![]);
    done
}

/// The rewritten content of a single user message.
fn rewritten(text: &str) -> String {
    let done = scrub(vec![call(0, &json!({"messages": [{"role": "user", "content": text}]}), &json!({}))]);
    done.calls[0].request.first_user()
}

fn labels(text: &str) -> Vec<(String, &'static str)> {
    let chars: Vec<char> = text.chars().collect();
    scrubber().detect(text).into_iter().map(|s| (chars[s.start..s.end].iter().collect(), s.label)).collect()
}

#[test]
fn each_class_is_found_in_prose() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----";
    for (text, value, label) in [
        ("write to ann.lee+x@mail.test now", "ann.lee+x@mail.test", "email"),
        ("call +44 20 7946 0123.", "+44 20 7946 0123", "phone"),
        ("call (212) 555-7788 please", "(212) 555-7788", "phone"),
        ("fon 212-555-7788", "212-555-7788", "phone"),
        ("my phone number is 2125557788", "2125557788", "phone"),
        ("card 4539 1488 0343 6467, thanks", "4539 1488 0343 6467", "card"),
        ("to GB82 WEST 1234 5698 7654 32 PLEASE", "GB82 WEST 1234 5698 7654 32", "iban"),
        ("ssn 536-90-4399", "536-90-4399", "ssn"),
        ("from 8.8.4.4:443", "8.8.4.4", "ip"),
        ("from 2a00:1450:4001:81b::200e", "2a00:1450:4001:81b::200e", "ip"),
        ("at https://bob:hunter2@host.test/x", "bob:hunter2", "url_credentials"),
        ("key AKIAIOSFODNN7EXAMPLE.", "AKIAIOSFODNN7EXAMPLE", "api_key"),
        ("set password: hunter2secret", "hunter2secret", "password"),
        ("I live at 12 Old Mill Road, Apt 4B", "12 Old Mill Road, Apt 4B", "street"),
        ("I was born on March 14, 1985 here", "March 14, 1985", "birth_date"),
        ("DOB: 1985-03-14", "1985-03-14", "birth_date"),
        ("my name is Anna Berg", "Anna Berg", "name"),
        (pem, pem, "private_key"),
    ] {
        assert_eq!(labels(text), vec![(value.to_owned(), label)], "{text}");
        let new = rewritten(text);
        assert!(!new.contains(value), "{new}");
        assert_eq!(rewritten(&new), new, "a second scrub changes nothing");
    }
}

#[test]
fn what_the_task_needs_stays() {
    for text in [
        "order FM-48213 and KP402881X, invoice INV-20931, paid $1,249.00 on 2024-05-15 at 10:30:15",
        "flight HAT 083 from JFK to SFO on May 15, reservation H9ZU1C, gift_card_5094406, credit_card_4421486",
        "item 4947717507, product 9523456873, version 1.2.3, 10.0.0.1 and 203.0.113.7, 3.5 x 4.25",
        "card 4539 1488 0343 6468 (bad digit), GB83WEST12345698765432, 000-12-3456, 123456789",
        "id 019634c8-d581-7a90-9ee0-2cfd6e25dd82, sha 9b74c9897bac770ffc029102a200c5de, ts 1772565630000, std::io::Error",
        "The total is 4111 units; call get_order(order_id) within 5550123 ms",
        "someone@example.com, 212-555-0123, git@github.com:a/b.git",
    ] {
        assert_eq!(labels(text), vec![], "{text}");
        assert_eq!(rewritten(text), text);
    }
}

#[test]
fn keys_speak_and_what_they_say_holds_everywhere() {
    let profile = json!({"name": {"first_name": "Mia", "last_name": "Li"}, "address": {"address1": "975 Sunset Lane", "city": "Austin", "zip": "28236"},
        "email": "mia.li3818@mail.test", "dob": "1990-04-05", "orders": ["FM-28236"], "phone": 2_125_557_788_u64, "status": "gold"});
    let arguments = json!({"user_id": "mia_li_3668", "passengers": [{"first_name": "Mia", "last_name": "Li", "dob": "1990-04-05"}]});
    let done = scrub(vec![
        call(0, &json!({"messages": [{"role": "user", "content": "I'm mia_li_3668, fly me to Austin"}]}), &json!({})),
        call(
            1,
            &json!({"messages": [
                {"role": "tool", "tool_call_id": "x", "content": profile.to_string()},
                {"role": "user", "content": "Yes, Mia Li's own, MIA or Mia. Born 1990-04-05."}]}),
            &json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [
                {"id": "x", "type": "function", "function": {"name": "book", "arguments": arguments.to_string()}}]}}]}),
        ),
    ]);
    let text = serde_json::to_string(&done.calls).expect("JSON");
    for gone in ["Mia", "MIA", "mia", "Li\"", "Li'", "Sunset", "\\\"28236", "mail.test", "1990-04-05", "2125557788"] {
        assert!(!text.contains(gone), "{gone} is still in {text}");
    }
    for kept in ["FM-28236", "fly me to Austin", "gold", "_3668"] {
        assert!(text.contains(kept), "{kept} is gone from {text}");
    }
    let result = done.calls[1].request.messages().next().expect("a message").text().into_owned();
    let new: Value = serde_json::from_str(&result).expect("still JSON");
    let call = &done.calls[1].response.tool_calls()[0];
    let first = new["name"]["first_name"].as_str().expect("a string");
    assert!(new["phone"].as_u64().is_some_and(|n| n.to_string().len() == 10), "a number stays a number");
    assert_eq!(call.arguments["passengers"][0]["first_name"], first);
    assert_eq!(call.arguments["passengers"][0]["dob"], new["dob"]);
    assert!(call.arguments["user_id"].as_str().is_some_and(|id| id.starts_with(&first.to_lowercase())));
    assert!(done.calls[1].request.last_user().contains(first));
    assert!(done.calls[0].request.first_user().contains(&first.to_lowercase()));
    assert!(done.counts.keys().any(|(class, _)| *class == Class::Name));
}

#[test]
fn bytes_stay_where_nothing_is_found() {
    let odd = "{ \"a\" :1.50,\n\t\"note\": \"\\u00e9t\\u00e9 \\/ x\", \"big\": 123456789012345678901, \"mail\":\"a@b.test\"}";
    let done = scrub(vec![call(0, &json!({"messages": [{"role": "tool", "content": odd}]}), &json!({}))]);
    let new = done.calls[0].request.messages().next().expect("a message").text().into_owned();
    let cut = odd.find("a@b.test").expect("there");
    assert_eq!(new[..cut], odd[..cut]);
    assert!(new.ends_with("\"}") && new.contains("@example."));
}

#[test]
fn schemas_stay_and_their_choices_are_words_of_the_task() {
    let tools = json!([{"type": "function", "function": {"name": "find", "description": "such as sara_doe_496, sara@mail.test",
        "parameters": {"type": "object", "properties": {"plan": {"enum": ["Anna", "key sk-abcdefghijklmnopqrstuvwx"]}}}}}]);
    let done = scrub(vec![call(
        0,
        &json!({"tools": tools, "messages": [{"role": "user", "content": "{\"first_name\": \"Anna\", \"last_name\": \"Falk\"}"}]}),
        &json!({}),
    )]);
    let request = &done.calls[0].request;
    let text = request.0["tools"].to_string();
    assert!(text.contains("sara@mail.test") && text.contains("Anna") && !text.contains("sk-abc"), "{text}");
    assert!(request.first_user().contains("Anna") && !request.first_user().contains("Falk"));
}

#[test]
fn policies() {
    let text = "I am Anna Berg, anna@mail.test, again anna@mail.test, key AKIAIOSFODNN7EXAMPLE";
    let run = |policy| {
        let scrub = Scrub { policy, ..Scrub::default() };
        let request = json!({"messages": [{"role": "user", "content": text}]});
        let done = scrub.compile().expect("compiles").conversation(vec![call(0, &request, &json!({}))]).expect("one conversation");
        assert_eq!(done.residual, vec![]);
        done.calls[0].request.first_user()
    };
    assert_eq!(run(Policy::Tag), "I am [[NAME_1]], [[EMAIL_1]], again [[EMAIL_1]], key [[API_KEY_1]]");
    assert_eq!(run(Policy::Mask), "I am **** ****, ****@****.****, again ****@****.****, key ********************");
    assert_eq!(run(Policy::Keep), text);
    let doubled = Scrub { keep_keys: vec!["member".into()], keys: [("Member".to_owned(), Class::Name)].into(), ..Scrub::default() };
    assert!(doubled.compile().is_err());
}

#[test]
fn conversations_differ_and_do_not_mix() {
    let request = json!({"messages": [{"role": "user", "content": "my name is Anna Berg"}]});
    let one = scrub(vec![call(0, &request, &json!({}))]);
    let mut other = call(0, &request, &json!({}));
    other.conversation_id = "d".to_owned();
    assert!(scrubber().conversation(vec![call(0, &request, &json!({})), other.clone()]).is_err());
    assert_ne!(one.calls[0].request, scrub(vec![other]).calls[0].request);
    let again = scrub(vec![call(0, &request, &json!({}))]);
    assert_eq!(one.calls, again.calls);
}

#[test]
fn a_value_in_a_key_is_told_and_withheld() {
    let request = json!({"messages": [{"role": "user", "content": "{\"anna@mail.test\": 1, \"to\": \"anna@mail.test\"}"}]});
    let done = scrubber().conversation(vec![call(0, &request, &json!({})), call(1, &json!({}), &json!({}))]).expect("one conversation");
    assert_eq!(done.calls.len(), 1);
    assert_eq!((done.residual.len(), done.residual[0].source_id.as_str(), done.residual[0].class), (1, "c:0", Class::Email));
    assert!(!format!("{:?}", done.residual).contains("anna"));
}

#[test]
fn detection_sees_through_escapes() {
    let inner = json!({"who": "Zoë", "mail": "zoe@mail.test", "args": "{\"first_name\": \"Zoë\"}"}).to_string();
    let line = json!({"request": {"messages": [{"role": "tool", "content": inner}]}}).to_string();
    let chars: Vec<char> = line.chars().collect();
    let spans = scrubber().detect(&line);
    let found: Vec<String> = spans.iter().map(|s| chars[s.start..s.end].iter().collect()).collect();
    assert_eq!(found, ["Zoë", "zoe@mail.test", "Zoë"]);
    assert_eq!(spans[0].method, "copy");
    assert_eq!(spans[2].method, "key");
}

/// Pieces that make texts with a good chance of holding something.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z ,.:\n\"\\\\{}é_-]{0,12}",
        Just("my name is Anna Berg. ".to_owned()),
        Just("{\"first_name\": \"Mia\", \"zip\": \"28236\", \"n\": [1, {\"phone\": \"212-555-7788\"}]}".to_owned()),
        Just("Mia ".to_owned()),
        Just("mia_li_36 ".to_owned()),
        "[a-z]{1,6}@[a-z]{1,6}\\.test ",
        "\\+[1-9][0-9]{8,12} ",
        "[0-9]{3}-[0-9]{2}-[0-9]{4} ",
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3} ",
        "4[0-9]{15} ",
        "sk-[A-Za-z0-9]{24} ",
        "[0-9]{1,4} (Oak|Elm) Street ",
        "FM-[0-9]{5} ",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn scrubbing_twice_is_scrubbing_once(pieces in proptest::collection::vec(piece(), 1..8), joined in any::<bool>()) {
        let text = pieces.join(" ");
        let content = if joined { json!({"note": text, "email": "x@y.test"}).to_string() } else { text };
        let request = json!({"messages": [{"role": "user", "content": content}]});
        let scrubber = scrubber();
        let once = scrubber.conversation(vec![call(0, &request, &json!({}))]).expect("one conversation");
        let calls: Vec<Call> = once.calls.iter().cloned().map(Clean::into_inner).collect();
        let twice = scrubber.conversation(calls).expect("one conversation");
        prop_assert_eq!(&once.calls, &twice.calls);
        prop_assert_eq!(twice.counts.len(), 0);
        if joined && once.residual.is_empty() {
            let new: Value = serde_json::from_str(&once.calls[0].request.first_user()).expect("still JSON");
            prop_assert!(new["note"].is_string());
        }
    }
}
