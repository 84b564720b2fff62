//! Finding a task by what a person types.
use record::Task;

use crate::error::hinted;

/// The task of that id or name.
///
/// # Errors
/// When there is none; the hint lists the names.
pub fn find<'a>(tasks: &'a [Task], wanted: &str) -> anyhow::Result<&'a Task> {
    let found = tasks.iter().find(|task| task.task.0 == wanted || task.name == wanted);
    found.ok_or_else(|| {
        let names: Vec<_> = tasks.iter().map(|task| format!("`{}`", task.name)).collect();
        hinted(format!("there is no task `{wanted}`"), format!("tasks are {}", names.join(", ")))
    })
}

/// The tasks of those ids or names; all of them (but the noise bucket) where none is named.
///
/// # Errors
/// When one is unknown.
pub fn choose<'a>(tasks: &'a [Task], wanted: &[String]) -> anyhow::Result<Vec<&'a Task>> {
    if wanted.is_empty() {
        return Ok(tasks.iter().filter(|task| !task.noise).collect());
    }
    wanted.iter().map(|name| find(tasks, name)).collect()
}
