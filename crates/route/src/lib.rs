//! Verdicts → which model answers which task, and the configuration files that real servers read.
//!
//! Knows no store and no socket: tables and texts come out, `src` writes them.
mod litellm;
mod table;
mod vllm;

use std::collections::BTreeMap;

use record::{RoutingTable, Step};
use serde::{Deserialize, Serialize};

pub use table::Served;

/// Configuration of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Where the small models will be served (an OpenAI-compatible base URL, written into the exports).
    pub small_api_base: String,
    /// LiteLLM provider prefix of the large model (`openai`, `anthropic`, …).
    pub large_provider: String,
    /// Environment variable from which the server takes the large model's key. The key itself is never written.
    pub large_key_variable: String,
    /// Longest prompt and answer together, in tokens, that the small models' server must hold.
    pub max_model_len: Option<u64>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            small_api_base: "http://127.0.0.1:8000/v1".into(),
            large_provider: "openai".into(),
            large_key_variable: "OPENAI_API_KEY".into(),
            max_model_len: None,
        }
    }
}

impl Step for Route {
    const NAME: &'static str = "route";
    const REVISION: u32 = 1;
}

/// A server whose configuration can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Export {
    /// The routing table itself, as JSON.
    Table,
    /// `vllm serve --config`, one file for each base model.
    Vllm,
    /// `litellm --config`.
    Litellm,
}

/// What cannot be exported.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No task is served by a small model.
    #[error("no task has the verdict `replace` or `route`, so there is nothing for {0} to serve")]
    NothingSmall(&'static str),
}

impl Route {
    /// Files (name, text) that configure a server for `table`. `folder` is where the adapter and model
    /// paths of the table begin. `templates` holds a chat template for each base model (by its name in the table) that is to drop
    /// heads of prompts for some of its tasks.
    ///
    /// # Errors
    /// When no small model is in the table (for `vllm`).
    pub fn export(
        &self,
        table: &RoutingTable,
        kind: Export,
        folder: &str,
        templates: &BTreeMap<String, String>,
    ) -> Result<Vec<(String, String)>, Error> {
        match kind {
            Export::Table => {
                let text = serde_json::to_string_pretty(table).expect("a routing table is plain data, which always serialises");
                Ok(vec![("routes.json".into(), text + "\n")])
            }
            Export::Vllm => vllm::files(self, table, folder, templates),
            Export::Litellm => Ok(vec![("litellm.yaml".into(), litellm::config(self, table))]),
        }
    }
}

/// A string as a YAML scalar. JSON strings are YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
