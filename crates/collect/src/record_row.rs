//! The project's own call record, and plain `{timestamp, workload_id, client_id, request, response}` rows.
//!
//! Both are OpenAI pairs with more said around them.
use record::Call;
use serde_json::{Map, Value};

use crate::api::openai;
use crate::fault::Fault;
use crate::format::Shape;

pub struct RecordRow;

impl Shape for RecordRow {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let named = ["source_id", "conversation_id", "workload_id"].iter().any(|key| row.contains_key(*key));
        named && row.contains_key("request") && row.contains_key("response")
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        openai::Openai.read(row)
    }
}
