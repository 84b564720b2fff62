//! `report`: writes the page, the Markdown and the JSON of the last run.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use report::Report;
use store::Store;

use crate::cli::ReportArgs;
use crate::commands::gates::put;
use crate::context::Context;
use crate::run;

pub fn command(context: &Context, args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let store = context.open()?;
    let report: Report = run::get(&store, None, "report")?;
    let page = match &args.out {
        Some(folder) => copy(folder, &report)?,
        None => write(&store, &report)?,
    };
    context.ui.value(&report, || report.markdown())?;
    context.ui.status(&format!("report: {}", page.display()));
    if args.open {
        open(&page)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes all forms of the report into the artifact folder and gives the page.
///
/// # Errors
/// When the disk refuses.
pub fn write(store: &Store, report: &Report) -> anyhow::Result<PathBuf> {
    let files = forms(report).into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes()));
    Ok(store.write_artifact("report", &BTreeMap::from_iter(files))?.join("report.html"))
}

fn forms(report: &Report) -> [(&'static str, String); 4] {
    [("report.html", report.html()), ("report.md", report.markdown()), ("report.json", report.json()), ("junit.xml", report.junit())]
}

fn copy(folder: &Path, report: &Report) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in forms(report) {
        put(&folder.join(name), &text, false)?;
    }
    Ok(folder.join("report.html"))
}

fn open(page: &Path) -> anyhow::Result<()> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    Command::new(program)
        .arg(page)
        .spawn()
        .map_err(|error| crate::error::hinted(format!("`{program}` did not start: {error}"), "open the file by hand"))?;
    Ok(())
}
