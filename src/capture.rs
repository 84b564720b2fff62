//! Calls that passed the proxy, into the store: rows as `collect` reads them, in small batches, one thread. Knows no socket.
//!
//! A batch that the store refuses is kept and offered again; meanwhile the queue fills, and the proxy drops recordings, not requests.
use std::sync::Arc;
use std::time::{Duration, Instant};

use collect::Collect;
use gateway::{Bodies, Exchange, Held, Metrics, Next, Queue, Reason};
use serde_json::{Map, Value, json};
use store::Store;

use crate::context::{Context, cured};

/// Bytes of rows after which a batch is written early.
const FULL: usize = 8 << 20;
/// How long an empty queue is waited for at a time; nothing happens in between.
const IDLE: Duration = Duration::from_secs(3600);

/// Takes calls from the queue and writes them.
pub struct Capture<'a> {
    context: &'a Context,
    step: Collect,
    store: Store,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    /// Longest time that a call waits for others.
    flush: Duration,
    /// Calls of one batch at most.
    most_calls: usize,
    /// Bytes of one body at most.
    most_bytes: usize,
    /// Begins the names of this run's calls.
    run: String,
    named: u64,
    rows: Vec<u8>,
    /// Of each row its part of the queue's memory, held until it is written.
    waiting: Vec<Held>,
}

/// How a recording ended.
#[derive(Debug, Default)]
pub struct Captured {
    /// Calls written.
    pub calls: u64,
    /// Rejects written.
    pub rejects: u64,
    /// Calls that the store would not take until the end, and what it said.
    pub lost: Option<(usize, anyhow::Error)>,
}

impl<'a> Capture<'a> {
    /// A recorder that writes to `store` as the configuration says.
    pub fn new(context: &'a Context, store: Store, (queue, metrics): (Arc<Queue>, Arc<Metrics>), most_bytes: usize) -> Self {
        let serve = &context.config.serve;
        Self {
            // a format that is settled for files says nothing of what passes here
            step: Collect { input_format: None, ..context.config.collect.clone() },
            flush: Duration::from_secs_f64(serve.flush_seconds),
            most_calls: serve.flush_calls.max(1),
            run: format!("live-{}", crate::context::now().0),
            context,
            store,
            queue,
            metrics,
            most_bytes,
            named: 0,
            rows: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Records until the queue is closed and empty.
    pub fn run(mut self) -> Captured {
        let mut captured = Captured::default();
        self.store.take_recorded();
        loop {
            let closed = self.fill();
            match self.write(&mut captured) {
                Ok(()) if closed => return captured,
                Ok(()) => self.say_failing(None),
                Err(error) => {
                    self.say_failing(Some(&error));
                    // once more at the very end, however short the wait was
                    if self.queue.closed_within(self.flush) && self.write(&mut captured).is_err() {
                        captured.lost = Some((self.give_up(), error));
                        return captured;
                    }
                }
            }
        }
    }

    /// Gathers a batch: until it is full or its first call has waited long enough. Tells whether nothing more will come.
    fn fill(&mut self) -> bool {
        let mut until = Instant::now() + if self.waiting.is_empty() { IDLE } else { Duration::ZERO };
        while self.waiting.len() < self.most_calls && self.rows.len() < FULL {
            match self.queue.next(until) {
                Next::Call(exchange) => {
                    if self.waiting.is_empty() {
                        until = Instant::now() + self.flush;
                    }
                    if let Err(reason) = self.take(*exchange) {
                        self.metrics.not_recorded(reason);
                    }
                }
                Next::Nothing => return false,
                Next::Closed => return true,
            }
        }
        false
    }

    fn take(&mut self, exchange: Exchange) -> Result<(), Reason> {
        let mut row = Map::new();
        row.insert("source_id".to_owned(), format!("{}-{}", self.run, self.named).into());
        row.insert("timestamp".to_owned(), exchange.time.to_string().into());
        row.insert("latency_ms".to_owned(), json!((exchange.latency.as_secs_f64() * 1e6).round() / 1e3));
        let client = exchange.client.clone();
        let deployment = deployment(&exchange.path).map(ToOwned::to_owned);
        let Bodies { request, answer, held } = exchange.bodies(self.most_bytes)?;
        let mut request: Map<String, Value> = serde_json::from_slice(&request).map_err(|_| Reason::Unreadable)?;
        if let Some(model) = deployment {
            request.entry("model").or_insert(model.into());
        }
        // the user that a request names is nearer to a person than the key it came with
        if let Some(client) = client.filter(|_| !request.get("user").is_some_and(Value::is_string)) {
            row.insert("client_id".to_owned(), client.into());
        }
        row.insert("request".to_owned(), request.into());
        row.insert("response".to_owned(), said(answer)?);
        serde_json::to_writer(&mut self.rows, &row).map_err(|_| Reason::Unreadable)?;
        self.rows.push(b'\n');
        self.named += 1;
        self.waiting.push(held);
        Ok(())
    }

    /// Writes the batch. What it holds may be offered again: calls are known by their names.
    fn write(&mut self, captured: &mut Captured) -> anyhow::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let read = self.step.read("serve", &self.rows[..], &mut self.store);
        let recorded = self.store.take_recorded();
        self.metrics.recorded(recorded.accepted, recorded.rejected);
        captured.calls += recorded.accepted;
        captured.rejects += recorded.rejected;
        read.map_err(|error| match error {
            collect::Error::Record(error) => cured(error),
            other => other.into(),
        })?;
        self.rows.clear();
        self.waiting.clear();
        Ok(())
    }

    /// Tells when writing begins to fail and when it works again, once each.
    fn say_failing(&self, error: Option<&anyhow::Error>) {
        if self.metrics.is_failing() == error.is_some() {
            return;
        }
        self.metrics.failing(error.is_some());
        self.context.ui.status(&match error {
            Some(error) => format!("serve     cannot record at the moment, requests go on: {error:#}"),
            None => "serve     records again".to_owned(),
        });
    }

    /// Counts what will never be written.
    fn give_up(&mut self) -> usize {
        let mut lost = self.waiting.len();
        while let Next::Call(_) = self.queue.next(Instant::now()) {
            lost += 1;
        }
        (0..lost).for_each(|_| self.metrics.not_recorded(Reason::StoreFailed));
        lost
    }
}

/// What an answer's body says: an object, or the text of a stream of events.
fn said(answer: Vec<u8>) -> Result<Value, Reason> {
    if let Ok(body) = serde_json::from_slice::<Map<String, Value>>(&answer) {
        return Ok(body.into());
    }
    let text = String::from_utf8(answer).map_err(|_| Reason::Unreadable)?;
    // anything else that is text, such as a page of HTML, would be taken for what the model said
    let field = ["data:", "event:", "id:", "retry:", ":"].iter().any(|field| text.trim_start().starts_with(field));
    let data = |line: &str| line.strip_prefix("data:").is_some_and(|data| data.trim_start().starts_with('{'));
    if field && text.lines().any(data) { Ok(text.into()) } else { Err(Reason::Unreadable) }
}

/// The model that an address of Azure's names.
fn deployment(path: &str) -> Option<&str> {
    path.split_once("/deployments/")?.1.split('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{deployment, said};

    #[test]
    fn only_what_an_api_says_is_an_answer() {
        assert!(said(b"{\"choices\": []}".to_vec()).is_ok_and(|body| body.is_object()));
        assert!(said(b": ping\n\ndata: {\"choices\": []}\n\n".to_vec()).is_ok_and(|body| body.is_string()));
        for page in [&b"<html>"[..], b"[1]", b"\"text\"", b": ping\n\n", b"data: [DONE]\n\n", b"\xff", b""] {
            assert!(said(page.to_vec()).is_err(), "{page:?}");
        }
    }

    #[test]
    fn azure_names_the_model_in_the_address() {
        assert_eq!(deployment("/openai/deployments/gpt/chat/completions"), Some("gpt"));
        assert_eq!(deployment("/v1/chat/completions"), None);
    }
}
