//! A run: what ties the documents of one pass over the steps together.
use record::{Fingerprint, Step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Run, Store};

use crate::config::Config;
use crate::context::{Context, now};
use crate::error::hinted;

/// Kinds of documents that steps leave, and the command that makes each.
pub const DOCUMENTS: [(&str, &str); 10] = [
    ("scrub", "scrub"),
    ("tasks", "cluster"),
    ("clusters", "cluster"),
    ("candidates", "select"),
    ("adapters", "finetune"),
    ("scores", "evaluate"),
    ("verdicts", "evaluate"),
    ("routes", "route"),
    ("report", "report"),
    ("plan", "iterate"),
];

/// The configuration as an input of fingerprints.
#[derive(Serialize)]
struct Whole<'a>(&'a Config);

impl Step for Whole<'_> {
    const NAME: &'static str = "run";
    const REVISION: u32 = 1;
}

/// Name of the run that this configuration makes of the calls now stored, noted in the ledger with the
/// run before it as parent. The same calls and configuration are the same run, which is how a run that
/// was stopped goes on.
///
/// # Errors
/// When the store refuses.
pub fn current(context: &Context, store: &Store) -> anyhow::Result<String> {
    let clean = store.clean_fingerprint()?;
    let id = Fingerprint::of(&Whole(&context.config), &[&clean]).short().to_owned();
    let runs = store.runs()?;
    if runs.iter().all(|run| run.id != id) {
        let parent = runs.last().map(|run| run.id.clone());
        let config = serde_json::to_value(&context.config)?;
        store.begin_run(&Run { id: id.clone(), parent, started: now(), version: env!("CARGO_PKG_VERSION").into(), config })?;
    }
    Ok(id)
}

/// Keeps a document of a run.
///
/// # Errors
/// When the store refuses.
pub fn put(store: &Store, run: &str, kind: &str, value: &impl Serialize) -> anyhow::Result<()> {
    Ok(store.put_document(run, kind, &serde_json::to_value(value)?)?)
}

/// A document of `run` if it has one, else the latest of its kind.
///
/// # Errors
/// When no run has one; the hint names the command that makes it.
pub fn get<T: DeserializeOwned>(store: &Store, run: Option<&str>, kind: &str) -> anyhow::Result<T> {
    let own = run.map(|run| store.document(run, kind)).transpose()?.flatten();
    let found = match own {
        Some(value) => Some(value),
        None => store.latest_document(kind)?.map(|(_, value)| value),
    };
    let command = DOCUMENTS.iter().find(|(name, _)| *name == kind).map_or("run", |(_, command)| command);
    let value = found.ok_or_else(|| {
        hinted(format!("there are no {kind} yet"), format!("`slm-migrate {command}` makes them; `slm-migrate run` does all steps"))
    })?;
    Ok(serde_json::from_value(value)?)
}

/// A list document of this very run; empty where it has none yet.
///
/// # Errors
/// When the store refuses.
pub fn own<T: DeserializeOwned>(store: &Store, run: &str, kind: &str) -> anyhow::Result<Vec<T>> {
    Ok(store.document(run, kind)?.map(serde_json::from_value).transpose()?.unwrap_or_default())
}
