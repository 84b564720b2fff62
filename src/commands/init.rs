//! `init`: a commented configuration file and the role keys.
use std::path::Path;
use std::process::ExitCode;

use store::{Keys, Role};

use crate::config::{Config, FILE};
use crate::context::Context;
use crate::error::hinted;

const HEAD: &str = "\
# slm-migrate.toml: one section a step; every key shows its default.
# Flags beat environment variables (SLM_MIGRATE_EVALUATE__BAR=0.97), which beat this file.
";

pub fn command(context: &Context) -> anyhow::Result<ExitCode> {
    let file = context.global.config.clone().unwrap_or_else(|| FILE.into());
    if file.exists() {
        context.ui.status(&format!("kept the configuration `{}`", file.display()));
    } else {
        put(&file, &commented(&Config::default())?)?;
        context.ui.status(&format!("wrote the configuration `{}`", file.display()));
    }
    let folder = context.keys();
    if Keys::load(&folder)?.has(Role::Collector) {
        context.ui.status(&format!("kept the keys in `{}`", folder.display()));
    } else {
        Keys::create(&folder)?;
        context.ui.status(&format!("wrote the role keys to `{}`", folder.display()));
    }
    context.ui.status(
        "back the keys up and keep `curator.key` from whoever need not read raw calls: without it raw calls,\n\
         without `trainer.key` clean calls and results are lost; a machine that only collects needs `collector.key` alone",
    );
    context.ui.status("next: `slm-migrate run LOGS`");
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::disallowed_methods, reason = "a new file of the user's, not the store's; it is never overwritten")]
fn put(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).map_err(|e| hinted(format!("cannot write `{}`: {e}", file.display()), "`--config FILE` names another place"))
}

/// Every key with its default, commented out, so that a later default is not frozen by this file.
fn commented(config: &Config) -> anyhow::Result<String> {
    let text = toml::to_string_pretty(config)?;
    let lines = text.lines().map(|line| match line {
        "" => String::new(),
        section if section.starts_with('[') => section.to_owned(),
        key => format!("# {key}"),
    });
    Ok(HEAD.to_owned() + &lines.collect::<Vec<_>>().join("\n") + "\n")
}
