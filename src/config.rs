//! The configuration: one section a step, merged from file, environment, `--set` and flags.
//!
//! Every flag that settles a result is a key here, so what a run did can be read from its
//! configuration. Later beats earlier: defaults, file, environment, `--set`, flags.
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use record::Shares;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::cli::Global;
use crate::error::hinted;

/// The whole configuration, as `slm-migrate.toml` holds it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seed of everything random.
    pub seed: u64,
    /// Folders of small models in Hugging Face layout, or GGUF files; `nano` is the built-in one. None means `nano`.
    pub models: Vec<String>,
    /// Large models whose answers are the reference; none means the one that succeeds most.
    pub teachers: Vec<String>,
    /// Own TOML prices or a LiteLLM price map.
    pub prices: Option<PathBuf>,
    /// Folder of a MiniLM or BERT model for embeddings; none means the built-in embedder.
    pub embedder: Option<PathBuf>,
    /// Where models are trained and calls embedded: `cpu`, or `cuda:0` in a build with `--features cuda`. Answers are generated on the CPU.
    pub device: Device,
    /// Memory that training on the CPU may take, such as `8GiB`; none means four fifths of what is free. Less is slower, not different.
    pub max_memory: Option<String>,
    /// How conversations are shared out.
    pub split: Shares,
    /// How long the store keeps what.
    pub store: Keeping,
    /// Step 1.
    pub collect: collect::Collect,
    /// Step 2.
    pub scrub: scrub::Scrub,
    /// Step 3.
    pub cluster: cluster::Cluster,
    /// Step 4.
    pub select: select::Select,
    /// What hosting a small model costs.
    pub hosting: select::Hosting,
    /// Step 5.
    pub finetune: finetune::Finetune,
    /// Step 5 with the teacher at hand.
    pub on_policy: crate::commands::on_policy::OnPolicy,
    /// Judging.
    pub evaluate: evaluate::Evaluate,
    /// Step 6.
    pub iterate: iterate::Iterate,
    /// Routing table and exports.
    pub route: route::Route,
    /// The proxy.
    pub serve: crate::commands::serve::Serve,
}

/// How long the store keeps what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keeping {
    /// Days that raw calls and rejected rows stay after they came, until the next `compact`; 0 keeps them for ever.
    pub keep_raw_days: u32,
}

/// Name of a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Device(pub String);

impl Default for Device {
    fn default() -> Self {
        Self("cpu".into())
    }
}

/// Prefix of environment variables; two underscores part section and key (`SLM_MIGRATE_EVALUATE__BAR`).
const PREFIX: &str = "SLM_MIGRATE_";
/// Variables of that prefix that are no configuration keys.
const GLOBALS: [&str; 4] = ["SLM_MIGRATE_STORE", "SLM_MIGRATE_CONFIG", "SLM_MIGRATE_KEYS", "SLM_MIGRATE_ENDPOINT_KEY"];
/// The file that is read where none is named.
pub const FILE: &str = "slm-migrate.toml";

impl Config {
    /// Merges the sources. `flags` are (section, flags of it); an empty section is the top level.
    ///
    /// # Errors
    /// When a source cannot be read, or names a key that does not exist or a value that does not fit.
    pub fn load(global: &Global, flags: &[(&str, Table)]) -> anyhow::Result<Self> {
        let mut table = file(global)?;
        let variables = std::env::vars();
        for (name, value) in variables.filter(|(name, _)| name.starts_with(PREFIX) && !GLOBALS.contains(&name.as_str())) {
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            set(&mut table, &key, &value).with_context(|| format!("environment variable `{name}`"))?;
        }
        for pair in &global.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| hinted(format!("`--set {pair}` has no `=`"), "write `--set evaluate.bar=0.97`"))?;
            set(&mut table, key.trim(), value.trim()).with_context(|| format!("`--set {pair}`"))?;
        }
        for (section, flags) in flags {
            merge(&mut table, section, flags)?;
        }
        spread_seed(&mut table);
        let hint = "`slm-migrate show config` prints every key with its value";
        Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| hinted(format!("the configuration does not fit: {}", error.message()), hint))
    }
}

/// Flags of a command as a table.
///
/// # Errors
/// When a flag's value has no TOML form.
pub fn flags(flags: &impl Serialize) -> anyhow::Result<Table> {
    Ok(Table::try_from(flags)?)
}

fn file(global: &Global) -> anyhow::Result<Table> {
    let path = match &global.config {
        Some(path) => path.clone(),
        None if Path::new(FILE).exists() => PathBuf::from(FILE),
        None => return Ok(Table::new()),
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read the configuration `{}`", path.display()))?;
    text.parse().with_context(|| format!("`{}` is no TOML", path.display()))
}

/// The seed at the top is the seed of every step that names none of its own.
fn spread_seed(table: &mut Table) {
    let Some(seed) = table.get("seed").cloned() else { return };
    for section in ["cluster", "finetune", "evaluate"] {
        if let Some(section) = table.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut() {
            section.entry("seed").or_insert_with(|| seed.clone());
        }
    }
}

/// Puts `text` under a dotted key: as TOML where it reads as TOML, else as a string.
fn set(table: &mut Table, key: &str, text: &str) -> anyhow::Result<()> {
    let value = format!("x = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("x")).unwrap_or_else(|| Value::String(text.into()));
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    merge(table, section, &Table::from_iter([(name.to_owned(), value)]))
}

fn merge(table: &mut Table, section: &str, values: &Table) -> anyhow::Result<()> {
    let mut place = table;
    for part in section.split('.').filter(|part| !part.is_empty()) {
        let entry = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = entry
            .as_table_mut()
            .ok_or_else(|| hinted(format!("`{part}` is no section"), "`slm-migrate show config` prints all sections"))?;
    }
    place.extend(values.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{merge, set};
    use toml::Table;

    #[test]
    fn later_sources_win_and_text_keeps_its_type() {
        let mut table: Table = "seed = 1\n[evaluate]\nbar = 0.9\n".parse().expect("the text is TOML");
        set(&mut table, "evaluate.bar", "0.97").expect("evaluate is a section");
        set(&mut table, "device", "cuda:0").expect("device is a key");
        merge(&mut table, "", &"seed = 7".parse().expect("the text is TOML")).expect("the top level is a section");
        assert_eq!(table["evaluate"]["bar"].as_float(), Some(0.97));
        assert_eq!(table["device"].as_str(), Some("cuda:0"));
        assert_eq!(table["seed"].as_integer(), Some(7));
        assert!(set(&mut table, "seed.x", "1").is_err());
    }
}
