//! What every command starts from: the terminal, the configuration, and the way to the store.
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use record::Time;
use store::{Keys, Store};
use toml::Table;

use crate::cli::Global;
use crate::config::Config;
use crate::error::hinted;
use crate::ui::Ui;

/// Terminal, configuration and the place of the store.
pub struct Context {
    /// The terminal.
    pub ui: Ui,
    /// The merged configuration.
    pub config: Config,
    /// Settings of every command.
    pub global: Global,
}

/// The wall clock, read here and nowhere else.
#[expect(clippy::disallowed_methods, reason = "src owns the wall clock (law 2)")]
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Context {
    /// A context with the configuration of all sources and `flags` (section, flags) on top.
    ///
    /// # Errors
    /// When the configuration cannot be read or does not fit.
    pub fn new(global: Global, flags: &[(&str, Table)]) -> anyhow::Result<Self> {
        let config = Config::load(&global, flags)?;
        let ui = Ui::new(global.format, global.quiet, global.no_progress);
        Ok(Self { ui, config, global })
    }

    /// Folder of the role keys.
    pub fn keys(&self) -> PathBuf {
        self.global.keys.clone().unwrap_or_else(|| self.global.store.with_extension("").join("keys"))
    }

    /// The store to write to. Where there is none yet it is made, with keys if there are none either.
    ///
    /// # Errors
    /// When another process writes, a key is wrong or the disk refuses.
    pub fn create_or_open(&self) -> anyhow::Result<Store> {
        let path = &self.global.store;
        if path.exists() {
            return self.open();
        }
        let folder = self.keys();
        let mut keys = Keys::load(&folder)?;
        if !keys.has(store::Role::Collector) {
            keys = Keys::create(&folder)?;
            let text = "made the role keys in `{}`: back them up, without them the store cannot be read";
            self.ui.status(&text.replace("{}", &folder.display().to_string()));
        }
        Store::create(path, keys, now).map_err(cured)
    }

    /// The store to write to.
    ///
    /// # Errors
    /// When there is none, another process writes, or a key is wrong.
    pub fn open(&self) -> anyhow::Result<Store> {
        self.must_exist()?;
        Store::open(&self.global.store, Keys::load(&self.keys())?, now).map_err(cured)
    }

    /// The store to read from, beside a writer.
    ///
    /// # Errors
    /// When there is none or a key is wrong.
    pub fn read(&self) -> anyhow::Result<Store> {
        self.must_exist()?;
        Store::open_beside(&self.global.store, Keys::load(&self.keys())?, now).map_err(cured)
    }

    fn must_exist(&self) -> anyhow::Result<()> {
        if self.global.store.exists() {
            return Ok(());
        }
        let problem = format!("there is no store at `{}`", self.global.store.display());
        Err(hinted(problem, "`slm-migrate collect LOGS` makes one; `--store FILE` names another"))
    }
}

/// A store error with the cure it knows.
pub fn cured(error: store::Error) -> anyhow::Error {
    match error.cure() {
        Some(cure) => hinted(error.to_string(), cure),
        None => error.into(),
    }
}
