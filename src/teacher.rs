//! Whose answers are the reference for a task.
use record::Parts;

use crate::context::Context;

/// The large models named in the configuration, else the one that succeeds most in the task's train
/// split; empty where only one model answered, so that all of its calls count.
pub fn of(context: &Context, parts: &Parts) -> Vec<String> {
    if context.config.teachers.is_empty() {
        return evaluate::teacher(&parts.train, context.config.evaluate.alpha).into_iter().collect();
    }
    context.config.teachers.clone()
}

/// The calls that a teacher answered.
pub fn answered(parts: &Parts, teachers: &[String]) -> Parts {
    let by = |call: &record::Clean<record::Call>| teachers.is_empty() || teachers.iter().any(|name| name == call.model());
    Parts { train: parts.train.filter(by), calibration: parts.calibration.filter(by), held: parts.held.filter(by) }
}
