//! The file format of OTLP: lines of `resourceSpans` and `resourceLogs`, unpacked into one row a span or log record.
//!
//! Source: opentelemetry-specification `file-exporter.md`, opentelemetry-proto's JSON mapping. Ids are hexadecimal here; numbers may be text.
use serde_json::{Map, Value, json};

use super::tree::tree;

/// The field by which an unpacked row is known.
pub const MARK: &str = "otlp";

/// The spans and log records of a line; none if it holds neither.
pub fn unpack(line: &Map<String, Value>) -> Option<Vec<Map<String, Value>>> {
    let mut rows = Vec::new();
    let groups = [("resourceSpans", "scopeSpans", "spans", "span"), ("resourceLogs", "scopeLogs", "logRecords", "log")];
    let held = groups.iter().filter(|group| line.contains_key(group.0)).count();
    for (resources, scopes, items, kind) in groups {
        // files of before 2022 say `instrumentationLibrarySpans`
        let older = scopes.replace("scope", "instrumentationLibrary");
        for resource in list(line.get(resources)) {
            let service = attributes(&resource["resource"]["attributes"])["service"]["name"].clone();
            for scope in list(resource.get(scopes)).iter().chain(list(resource.get(&older))) {
                rows.extend(list(scope.get(items)).iter().map(|item| unpacked(kind, item, &service)));
            }
        }
    }
    (held > 0).then_some(rows)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn unpacked(kind: &str, item: &Value, service: &Value) -> Map<String, Value> {
    let id = |key: &str| item[key].as_str().unwrap_or_default().to_lowercase();
    let event = |event: &Value| json!({"name": event["name"], "attributes": attributes(&event["attributes"])});
    let name = ["name", "eventName"].iter().map(|key| item[*key].clone()).find(Value::is_string);
    let own = attributes(&item["attributes"]);
    let named = name.or_else(|| own["event"]["name"].as_str().map(Into::into));
    let row = json!({
        MARK: kind,
        "name": named,
        "trace": id("traceId"),
        "span": id("spanId"),
        "parent": id("parentSpanId"),
        "start": item.get("startTimeUnixNano").or_else(|| item.get("timeUnixNano")),
        "end": item.get("endTimeUnixNano"),
        "status": item.get("status"),
        "service": service,
        "attributes": own,
        "body": plain(&item["body"]),
        "events": list(item.get("events")).iter().map(event).collect::<Vec<_>>(),
    });
    match row {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

/// `[{key, value: {stringValue: …}}]` as a tree.
fn attributes(list: &Value) -> Value {
    let pair = |attribute: &Value| Some((attribute["key"].as_str()?.to_owned(), plain(&attribute["value"])));
    tree(&list.as_array().into_iter().flatten().filter_map(pair).collect())
}

/// A value without the word for its type.
fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|fields| fields.iter().next()) else { return value.clone() };
    let number = |text: &str| text.parse::<i64>().map(Value::from).ok();
    match kind.as_str() {
        "intValue" => inner.as_str().and_then(number).unwrap_or_else(|| inner.clone()),
        "arrayValue" => list(inner.get("values")).iter().map(plain).collect(),
        // keys of a value are its own: only those of attributes are paths
        "kvlistValue" => {
            let pair = |pair: &Value| Some((pair["key"].as_str()?.to_owned(), plain(&pair["value"])));
            Value::Object(list(inner.get("values")).iter().filter_map(pair).collect())
        }
        _ => inner.clone(),
    }
}

/// A span of Phoenix as an unpacked one.
pub fn of_phoenix(mut row: Map<String, Value>) -> Map<String, Value> {
    let mut own = row.remove("attributes").unwrap_or_default();
    // columns of a data frame: `attributes.llm.model_name`
    let columns: Map<String, Value> =
        row.iter().filter_map(|(key, value)| Some((key.strip_prefix("attributes.")?.to_owned(), value.clone()))).collect();
    if !columns.is_empty() {
        own = Value::Object(columns);
    }
    let field = |keys: &[&str]| keys.iter().find_map(|key| row.get(*key).cloned()).unwrap_or_default();
    let context = row.get("context").cloned().unwrap_or_default();
    let id = |inner: &str, flat: &[&str]| context.get(inner).cloned().unwrap_or_else(|| field(flat));
    let mut attributes = own.as_object().map(tree).filter(Value::is_object).unwrap_or_else(|| json!({}));
    let kind = field(&["span_kind", "spanKind"]);
    if attributes["openinference"]["span"]["kind"].is_null() && kind.is_string() {
        attributes["openinference"] = json!({"span": {"kind": kind}});
    }
    let code = field(&["status_code", "statusCode"]);
    let span = json!({
        MARK: "span",
        "name": field(&["name"]),
        "trace": id("trace_id", &["context.trace_id", "trace_id", "traceId"]),
        "span": id("span_id", &["context.span_id", "span_id", "spanId", "id"]),
        "parent": field(&["parent_id", "parentId", "parent_span_id"]),
        "start": field(&["start_time", "startTime"]),
        "end": field(&["end_time", "endTime"]),
        "status": {"code": if code == "ERROR" { 2 } else { 0 }, "message": field(&["status_message", "statusMessage"])},
        "attributes": attributes,
        "events": [],
    });
    match span {
        Value::Object(span) => span,
        _ => Map::new(),
    }
}

/// Adds log records of a span to its events.
pub fn add_events(span: &mut Map<String, Value>, logs: Vec<Map<String, Value>>) {
    let Some(Value::Array(events)) = span.get_mut("events") else { return };
    let nanoseconds = |log: &Map<String, Value>| {
        let start = log.get("start")?;
        start.as_u64().or_else(|| start.as_str()?.parse().ok())
    };
    let mut logs = logs;
    logs.sort_by_key(nanoseconds);
    events.extend(logs.into_iter().map(Value::Object));
}

/// An unpacked row.
pub struct Span<'a>(&'a Map<String, Value>);

impl<'a> Span<'a> {
    pub fn of(row: &'a Map<String, Value>) -> Option<Self> {
        row.get(MARK).is_some_and(|kind| kind == "span" || kind == "log").then_some(Self(row))
    }

    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn is_log(&self) -> bool {
        self.text(MARK) == "log"
    }

    pub fn name(&self) -> &'a str {
        self.text("name")
    }

    pub fn trace(&self) -> &'a str {
        self.text("trace")
    }

    pub fn id(&self) -> &'a str {
        self.text("span")
    }

    pub fn parent(&self) -> &'a str {
        self.text("parent")
    }

    pub fn service(&self) -> Value {
        self.0.get("service").cloned().unwrap_or_default()
    }

    pub fn start(&self) -> Option<&'a Value> {
        self.0.get("start")
    }

    pub fn end(&self) -> Option<&'a Value> {
        self.0.get("end")
    }

    /// The attributes as a tree.
    pub fn attributes(&self) -> &'a Value {
        self.0.get("attributes").unwrap_or(&Value::Null)
    }

    /// The text or the fields of a log record.
    pub fn body(&self) -> &'a Value {
        self.0.get("body").unwrap_or(&Value::Null)
    }

    /// Its events, and the log records that were found for it.
    pub fn events(&self) -> impl Iterator<Item = Span<'a>> + use<'a> {
        self.0.get("events").and_then(Value::as_array).into_iter().flatten().filter_map(|event| event.as_object().map(Span))
    }

    /// Why the call failed, if it did.
    pub fn error(&self) -> Option<Value> {
        let status = self.0.get("status")?;
        let failed = matches!(status["code"].as_u64(), Some(2)) || matches!(status["code"].as_str(), Some("STATUS_CODE_ERROR" | "2"));
        failed.then(|| status.get("message").cloned().unwrap_or_default())
    }
}
