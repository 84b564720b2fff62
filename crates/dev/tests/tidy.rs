//! The laws of docs/architecture.md that a compiler does not hold: dependency edges, module docs,
//! file lengths, rooms of effects.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate may import of ours (law 1).
const EDGES: [(&str, &[&str]); 15] = [
    ("record", &[]),
    ("stats", &[]),
    ("store", &["record"]),
    ("model", &["record"]),
    ("collect", &["record"]),
    ("scrub", &["record"]),
    ("cluster", &["record", "model"]),
    ("select", &["record", "model"]),
    ("finetune", &["record", "model"]),
    ("evaluate", &["record", "stats"]),
    ("iterate", &["record", "stats"]),
    ("route", &["record", "stats"]),
    ("gateway", &["record", "stats"]),
    ("report", &["record", "stats"]),
    ("dev", &["*"]),
];

/// Longest file, in lines. The aim is 200; this is where a wall has to move.
const LONGEST: usize = 450;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every Rust file of the workspace.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    sources(&root().join("crates"), &mut found);
    found.sort();
    assert!(found.len() > 50, "the tidy tests look in the wrong place");
    found
}

#[test]
fn crates_import_only_what_their_row_allows() {
    let cargo = Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(root()).output();
    let output = cargo.expect("cargo that runs this test can print its metadata");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let allowed: BTreeMap<_, _> = EDGES.into_iter().collect();
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let ours: Vec<_> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        if name == "slm-migrate" {
            continue;
        }
        let row = allowed.get(name).unwrap_or_else(|| panic!("crate `{name}` has no row in docs/architecture.md"));
        for dependency in package["dependencies"].as_array().expect("a package lists dependencies") {
            let import = dependency["name"].as_str().expect("a dependency has a name");
            let free = !ours.contains(&import) || row.contains(&"*") || row.contains(&import);
            assert!(free || dependency["kind"] == "dev", "`{name}` must not import `{import}` (law 1)");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    for path in files() {
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        assert!(text.starts_with("//!"), "{} opens without a `//!` that says what it is for", path.display());
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines; move a wall before it passes {LONGEST}", path.display());
    }
}

#[test]
fn effects_stay_in_their_rooms() {
    // (what gives the effect away, who may have it). Tests and the chores of `dev` are free (law 2).
    let rooms: [(&str, &[&str]); 8] = [
        ("TcpStream", &["crates/gateway"]),
        ("UdpSocket", &["crates/gateway"]),
        ("ureq::", &["crates/gateway"]),
        ("hyper::", &["crates/gateway"]),
        ("tokio::", &["crates/gateway"]),
        ("rusqlite::", &["crates/store"]),
        ("SystemTime::now", &["src"]),
        ("std::env::var", &["src"]),
    ];
    for path in files() {
        let relative = path.strip_prefix(root()).expect("files lie under the root").to_string_lossy().replace('\\', "/");
        let free = ["crates/dev/", "/tests/", "/benches/", "/examples/"].iter().any(|part| relative.contains(part));
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (effect, homes) in rooms {
            let home = homes.iter().any(|home| relative.starts_with(home));
            assert!(free || home || !code.contains(effect), "{relative} uses `{effect}`, which lives in {homes:?} (law 2)");
        }
    }
}
