//! The demo log: every planted value goes, and nothing that a task needs.
use std::collections::BTreeMap;

use record::Call;
use scrub::Scrub;
use serde::Deserialize;

#[derive(Deserialize)]
struct Planted {
    conversation_id: String,
    class: String,
    value: String,
}

fn rows<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = format!("{}/../../fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = zstd::decode_all(std::fs::File::open(path).expect("the fixture is committed")).expect("zstd");
    let text = String::from_utf8(bytes).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

#[test]
fn planted_values_go_and_task_values_stay() {
    let mut conversations: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    for call in rows::<Call>("demo.jsonl.zst") {
        conversations.entry(call.conversation_id.clone()).or_default().push(call);
    }
    let scrubber = Scrub::default().compile().expect("compiles");
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (id, calls) in conversations {
        let count = calls.len();
        let done = scrubber.conversation(calls).expect("one conversation");
        assert_eq!((done.residual, done.calls.len()), (vec![], count), "{id}");
        let leaves: Vec<String> = done.calls.iter().map(|call| serde_json::to_string(&call).expect("JSON").replace("\\n", "\n")).collect();
        texts.insert(id, leaves.join("\n"));
    }
    let planted = rows::<Planted>("demo-planted.jsonl.zst");
    assert!(planted.len() > 5_000);
    let mut wrong: BTreeMap<(bool, &str), Vec<String>> = BTreeMap::new();
    for Planted { conversation_id, class, value } in &planted {
        let keep = class == "keep";
        if texts[conversation_id].contains(value.as_str()) != keep {
            wrong.entry((keep, class)).or_default().push(format!("{conversation_id}: {value}"));
        }
    }
    for ((keep, class), values) in &wrong {
        eprintln!("{} {class} {}: {:?}", values.len(), if *keep { "destroyed" } else { "left" }, &values[..values.len().min(8)]);
    }
    assert!(wrong.is_empty());
}
