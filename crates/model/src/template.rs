//! A model's chat template: messages and tools to the text the model was trained on.
//!
//! Follows what transformers does with Jinja (trimmed blocks, Python methods, Python's JSON), so that the text is the same to the
//! byte. Knows no tokenizer.
mod python;
mod trim;

use std::path::Path;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, ErrorKind, Output, State, Value as Jinja, context};
use record::{Message, Request, Time};
use serde_json::{Map, Value};

use crate::Error;
use crate::error::read;
pub use trim::trimming;

const NAME: &str = "chat";
/// What templates see as today unless told otherwise: 2024-07-26, the day Llama's own templates fall back to.
const TODAY: Time = Time(1_721_952_000_000);

/// A compiled chat template with the special tokens it names.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    specials: Map<String, Value>,
}

impl ChatTemplate {
    /// Compiles the text of a template. `specials` holds `bos_token`, `eos_token` and so on, as the template names them.
    ///
    /// # Errors
    /// When the template does not parse.
    pub fn new(source: &str, specials: Map<String, Value>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(print);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |text: String| -> Result<Jinja, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_template_owned(NAME, python::rewrite(source)).map_err(fail)?;
        Ok(Self { source: source.to_owned(), environment, specials }.at(TODAY))
    }

    /// Finds the template of a folder: `chat_template.jinja`, `chat_template.json`, or the one in `tokenizer_config.json`.
    ///
    /// # Errors
    /// When there is none, or it does not parse.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let optional = |name: &str| {
            let path = folder.join(name);
            path.exists().then(|| read(&path)).transpose()
        };
        let config = optional("tokenizer_config.json")?.unwrap_or_else(|| b"{}".to_vec());
        let file = match optional("chat_template.jinja")? {
            Some(source) => Some(String::from_utf8(source).map_err(|cause| Error::Template(cause.to_string()))?),
            None => optional("chat_template.json")?.and_then(|bytes| template_of(&serde_json::from_slice(&bytes).ok()?)),
        };
        Self::from_config(&config, file.as_deref()).map_err(|error| Error::Template(format!("in `{}`: {}", folder.display(), bare(&error))))
    }

    /// Takes special tokens, and the template unless `source` is given, from the bytes of a `tokenizer_config.json`.
    ///
    /// # Errors
    /// When there is no template, or it does not parse.
    pub fn from_config(config: &[u8], source: Option<&str>) -> Result<Self, Error> {
        let config: Value = serde_json::from_slice(config).map_err(|cause| Error::malformed("tokenizer_config.json", "JSON", cause))?;
        let own = template_of(&config);
        let source = source.or(own.as_deref()).ok_or_else(|| Error::Template("the model has no chat template".to_owned()))?;
        Self::new(source, specials(&config))
    }

    /// The same template, for which it is now `time` (what `strftime_now` formats, in UTC).
    #[must_use]
    pub fn at(mut self, time: Time) -> Self {
        self.environment.add_function("strftime_now", move |format: String| {
            let text = jiff::Timestamp::from_millisecond(time.0).and_then(|stamp| {
                let zoned = stamp.to_zoned(jiff::tz::TimeZone::UTC);
                jiff::fmt::strtime::format(&format, &zoned)
            });
            text.map_err(|cause| minijinja::Error::new(ErrorKind::InvalidOperation, cause.to_string()))
        });
        self
    }

    /// The template as the model's files have it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The special tokens by name (`eos_token` and so on).
    #[must_use]
    pub const fn specials(&self) -> &Map<String, Value> {
        &self.specials
    }

    /// Text of a special token such as `eos_token`.
    #[must_use]
    pub fn special(&self, name: &str) -> Option<&str> {
        self.specials.get(name).and_then(Value::as_str)
    }

    /// A message as templates get it: text content, `system` for `developer`, tool arguments as an object.
    #[must_use]
    pub fn message(value: &Value) -> Value {
        normal(value)
    }

    /// Text of messages and tools (values as an OpenAI body has them); with `generate`, followed by the head of the answer.
    ///
    /// # Errors
    /// When the template refuses the messages (`raise_exception`) or fails.
    pub fn render(&self, messages: &[Value], tools: &[Value], generate: bool) -> Result<String, Error> {
        let messages: Vec<_> = messages.iter().map(normal).collect();
        let tools = if tools.is_empty() { Jinja::from(()) } else { Jinja::from_serialize(tools) };
        let template = self.environment.get_template(NAME).expect("added when it was made");
        let specials = Jinja::from_serialize(&self.specials);
        let chat = context! { messages, tools, add_generation_prompt => generate, documents => () };
        template.render(context! { ..chat, ..specials }).map_err(fail)
    }

    /// As [`ChatTemplate::render`], of a request's own messages and tools, with `answer` after them if given.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_request(&self, request: &Request, answer: Option<&Value>) -> Result<String, Error> {
        let messages: Vec<_> = request.messages().map(|message| message.0.clone()).chain(answer.cloned()).collect();
        let tools: Vec<_> = request.tools().map(|tool| tool.0.clone()).collect();
        self.render(&messages, &tools, answer.is_none())
    }
}

/// A message in the form templates expect: text content, `system` for `developer`, tool arguments as an object.
fn normal(value: &Value) -> Value {
    let message = Message(value);
    let mut fields = value.as_object().cloned().unwrap_or_default();
    let role = if message.role() == "developer" { "system" } else { message.role() };
    fields.insert("role".to_owned(), Value::from(role));
    fields.insert("content".to_owned(), Value::from(message.text()));
    let calls = message
        .tool_calls()
        .into_iter()
        .map(|call| serde_json::json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}));
    let calls: Vec<_> = calls.collect();
    if calls.is_empty() {
        fields.shift_remove("tool_calls");
    } else {
        fields.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    Value::Object(fields)
}

/// `chat_template` of a configuration: a text, or a list of named ones of which `tool_use` renders tools as well.
fn template_of(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let find = |name: &str| named.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
            let chosen = find("tool_use").or_else(|| find("default"))?;
            chosen.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// All `…_token` entries of a `tokenizer_config.json`, written as a text or as an added token.
fn specials(config: &Value) -> Map<String, Value> {
    let entries = config.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("_token"));
    let texts = entries.filter_map(|(key, value)| {
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str))?;
        Some((key.clone(), Value::from(text)))
    });
    texts.collect()
}

/// Prints a value as Python does where that differs: `True`, `None`, `1e-05`.
fn print(out: &mut Output, state: &State, value: &Jinja) -> Result<(), minijinja::Error> {
    let text = match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number if !value.is_integer() => python::float(f64::try_from(value.clone())?),
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(&text).map_err(minijinja::Error::from)
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja hands keyword arguments over by value")]
fn tojson(value: &Jinja, options: Kwargs) -> Result<Jinja, minijinja::Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    // templates pass what transformers fixes anyway (`ensure_ascii`, `sort_keys`, `separators`)
    for key in ["ensure_ascii", "sort_keys", "separators"] {
        options.get::<Option<Jinja>>(key)?;
    }
    options.assert_all_used()?;
    let value = serde_json::to_value(value).map_err(|cause| minijinja::Error::new(ErrorKind::BadSerialization, cause.to_string()))?;
    Ok(Jinja::from_safe_string(python::json(&value, indent)))
}

/// The error with the innermost reason, which is what `raise_exception` said.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn fail(error: minijinja::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Error::Template(text)
}

/// The reason of a template error without the words that the error puts before it.
fn bare(error: &Error) -> String {
    match error {
        Error::Template(text) => text.clone(),
        other => other.to_string(),
    }
}
