//! The queryable columns as a polars data frame, and what is computed from it.
use polars::prelude::*;
use serde::Serialize;

use crate::{Result, Store};

/// Figures of one task over the stored calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskStats {
    /// The task; none for calls without one.
    pub task: Option<String>,
    /// Calls.
    pub calls: u64,
    /// Conversations with a call of the task.
    pub conversations: u64,
    /// Sum of the costs the log states, in US dollars.
    pub cost_usd: f64,
    /// Calls whose cost the log states.
    pub priced: u64,
    /// 50th and 99th percentile of prompt tokens, of the calls that state them.
    pub prompt_tokens: [u64; 2],
    /// 50th and 99th percentile of answer tokens.
    pub answer_tokens: [u64; 2],
    /// 50th and 99th percentile of latency in milliseconds.
    pub latency_ms: [f64; 2],
}

impl Store {
    /// The queryable columns of every call in stored order: `call`, `conversation`, `origin` (row numbers), `step`,
    /// `time_ms`, `model`, `prompt_tokens`, `completion_tokens`, `cached_tokens`, `latency_ms`, `cost_usd`, `bytes`,
    /// `clean` (whether it has a clean copy), `task`. Needs no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn frame(&self) -> Result<DataFrame> {
        let mut query = self.connection.prepare(
            "SELECT call.id, conversation, origin, step, time_ms, model.name, prompt_tokens, completion_tokens, cached_tokens,
                    latency_ms, cost_usd, plain, clean_segment IS NOT NULL, task.name
             FROM call JOIN model ON model.id = call.model LEFT JOIN task ON task.id = call.task ORDER BY call.id",
        )?;
        let mut rows = query.query([])?;
        let mut whole: [Vec<Option<i64>>; 9] = Default::default();
        let mut real: [Vec<Option<f64>>; 2] = Default::default();
        let (mut model, mut task, mut clean) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            for (column, at) in whole.iter_mut().zip([0, 1, 2, 3, 4, 6, 7, 8, 11]) {
                column.push(row.get(at)?);
            }
            for (column, at) in real.iter_mut().zip([9, 10]) {
                column.push(row.get(at)?);
            }
            model.push(row.get::<_, String>(5)?);
            clean.push(row.get::<_, bool>(12)?);
            task.push(row.get::<_, Option<String>>(13)?);
        }
        let names = ["call", "conversation", "origin", "step", "time_ms", "prompt_tokens", "completion_tokens", "cached_tokens", "bytes"];
        let mut columns: Vec<Column> = names.into_iter().zip(whole).map(|(name, values)| Column::new(name.into(), values)).collect();
        columns.extend(["latency_ms", "cost_usd"].into_iter().zip(real).map(|(name, values)| Column::new(name.into(), values)));
        columns.extend([Column::new("model".into(), model), Column::new("clean".into(), clean), Column::new("task".into(), task)]);
        Ok(DataFrame::new_infer_height(columns)?)
    }

    /// Figures per task, by task name, calls without a task last. Needs no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn task_stats(&self) -> Result<Vec<TaskStats>> {
        let frame = self.frame()?;
        let groups = frame.group_by_stable(["task"])?;
        let keys = groups.keys();
        let mut stats = Vec::new();
        for (at, rows) in groups.get_groups().iter().enumerate() {
            let task = keys.first().and_then(|key| key.get(at).ok()?.get_str().map(ToOwned::to_owned));
            let rows: IdxCa = match rows {
                GroupsIndicator::Idx((_, rows)) => IdxCa::from_slice("rows".into(), rows),
                GroupsIndicator::Slice([start, length]) => (start..start + length).collect_ca("rows".into()),
            };
            stats.push(task_stats(task, &frame.take(&rows)?)?);
        }
        stats.sort_by(|a, b| (a.task.is_none(), &a.task).cmp(&(b.task.is_none(), &b.task)));
        Ok(stats)
    }
}

fn task_stats(task: Option<String>, calls: &DataFrame) -> PolarsResult<TaskStats> {
    let numbers = |name: &str| calls.column(name)?.cast(&DataType::Float64);
    let quantiles = |name: &str| -> PolarsResult<[f64; 2]> {
        let values = numbers(name)?;
        let values = values.f64()?;
        let at = |share| Ok::<_, PolarsError>(values.quantile(share, QuantileMethod::Nearest)?.unwrap_or_default());
        Ok([at(0.5)?, at(0.99)?])
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "token counts are small and not negative")]
    let tokens = |name: &str| Ok::<_, PolarsError>(quantiles(name)?.map(|value| value as u64));
    let cost = numbers("cost_usd")?;
    let cost = cost.f64()?;
    Ok(TaskStats {
        task,
        calls: calls.height() as u64,
        conversations: calls.column("conversation")?.n_unique()? as u64,
        cost_usd: cost.sum().unwrap_or_default(),
        priced: (cost.len() - cost.null_count()) as u64,
        prompt_tokens: tokens("prompt_tokens")?,
        answer_tokens: tokens("completion_tokens")?,
        latency_ms: quantiles("latency_ms")?,
    })
}
