//! Runs, units of work, documents, artifacts, checkpoints.
use std::collections::BTreeMap;

use record::Time;
use serde_json::json;
use store::{Error, Run};

use crate::{new_store, reopen, scrub_id};

#[test]
fn runs_units_and_documents_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    let run = |id: &str, parent: Option<&str>| Run {
        id: id.to_owned(),
        parent: parent.map(ToOwned::to_owned),
        started: Time(5),
        version: "0.1.0".to_owned(),
        config: json!({"seed": 1}),
    };
    store.begin_run(&run("one", None)).expect("a run");
    store.begin_run(&run("two", Some("one"))).expect("a run");
    assert!(store.begin_run(&run("three", Some("nobody"))).is_err());
    let unit = scrub_id(1);
    assert!(!store.unit_done(&unit).expect("asked"));
    store.save_checkpoint(&unit, "step-10", b"state").expect("a checkpoint");
    assert_eq!(store.load_checkpoint(&unit, "step-10").expect("asked"), Some(b"state".to_vec()));
    store.finish_unit(&unit, "finetune", "route", &json!({"loss": 0.5})).expect("finished");
    assert_eq!(store.load_checkpoint(&unit, "step-10").expect("asked"), None);
    store.put_document("one", "tasks", &json!([1])).expect("a document");
    store.put_document("one", "tasks", &json!([2])).expect("a document");
    drop(store);
    let store = reopen(folder.path());
    assert_eq!(store.runs().expect("runs"), [run("one", None), run("two", Some("one"))]);
    assert!(store.unit_done(&unit).expect("asked"));
    assert_eq!(store.unit_value(&unit).expect("asked"), Some(json!({"loss": 0.5})));
    assert_eq!(store.units("finetune").expect("units")[0].label, "route");
    assert_eq!(store.document("one", "tasks").expect("asked"), Some(json!([2])));
    assert_eq!(store.latest_document("tasks").expect("asked"), Some(("one".to_owned(), json!([2]))));
    assert_eq!(store.document("two", "tasks").expect("asked"), None);
}

#[test]
fn an_artifact_is_replaced_whole_and_stays_in_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = new_store(folder.path());
    let files = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect::<BTreeMap<_, _>>();
    store.write_artifact("adapters/x", &files(&["a.json", "sub/b.bin"])).expect("written");
    let place = store.write_artifact("adapters/x", &files(&["c.json"])).expect("replaced");
    let names: Vec<_> = std::fs::read_dir(&place).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!((place, names), (folder.path().join("test/adapters/x"), vec!["c.json".into()]));
    for name in ["", "../x", "/x", "a/../../x", ".aside-x"] {
        assert!(matches!(store.write_artifact(name, &files(&["a"])), Err(Error::Name(_))), "{name}");
    }
    assert!(matches!(store.write_artifact("y", &files(&["../a"])), Err(Error::Name(_))));
    std::fs::create_dir(store.artifact_root().join(".aside-1234")).expect("what a crash leaves");
    drop(store);
    let store = reopen(folder.path());
    assert!(!store.artifact_root().join(".aside-1234").exists());
    assert_eq!(store.verify().expect("verify").artifacts, 1);
}
