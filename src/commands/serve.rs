//! `serve`: the proxy in front of an agent. Connects `gateway`, which passes requests on, with the recorder of `capture`.
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use gateway::{Metrics, Proxy, ProxyError, Queue, Rules, Settings, Stopper, Upstream};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::capture::{Capture, Captured};
use crate::context::{Context, cured, now};
use crate::error::hinted;

/// Settings of the proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serve {
    /// Address to listen on.
    pub listen: String,
    /// Base URL of the API that requests are sent on to.
    pub upstream: Option<String>,
    /// Certificates (PEM) of authorities to trust beside those of the web.
    pub upstream_ca: Option<PathBuf>,
    /// Records and routes nothing.
    pub record_only: bool,
    /// Calls with one of these headers (`NAME` or `NAME=VALUE`) are not recorded.
    pub skip_header: Vec<String>,
    /// Calls whose path begins so are not recorded.
    pub skip_path: Vec<String>,
    /// Longest time in seconds that an answered call waits to be written: what a crash can lose.
    pub flush_seconds: f64,
    /// Calls after which they are written earlier.
    pub flush_calls: usize,
    /// Seconds that running requests may take when the proxy is stopped.
    pub grace_seconds: f64,
    /// Larger bodies pass and are not recorded.
    pub max_body: String,
    /// Calls that may wait for the recorder.
    pub queue_calls: usize,
    /// Memory for bodies of calls that run, wait or are being written.
    pub queue_bytes: String,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            upstream: None,
            upstream_ca: None,
            record_only: false,
            skip_header: Vec::new(),
            skip_path: Vec::new(),
            flush_seconds: 5.0,
            flush_calls: 256,
            grace_seconds: 30.0,
            max_body: "32MiB".to_owned(),
            queue_calls: 4096,
            queue_bytes: "256MiB".to_owned(),
        }
    }
}

pub fn command(context: &Context) -> anyhow::Result<ExitCode> {
    let serve = &context.config.serve;
    if !serve.record_only {
        let problem = "`serve` cannot route yet: it passes every call on to the upstream and records it";
        return Err(hinted(problem, "say so with `--record-only`"));
    }
    let most_bytes = size("max_body", &serve.max_body)?;
    let queue = Arc::new(Queue::new(serve.queue_calls, size("queue_bytes", &serve.queue_bytes)?));
    let metrics = Arc::new(Metrics::default());
    let (upstream, rules) = (upstream(serve)?, Rules::new(&serve.skip_header, &serve.skip_path).map_err(explained)?);
    let grace = seconds("grace_seconds", serve.grace_seconds)?;
    seconds("flush_seconds", serve.flush_seconds)?;
    if !context.global.store.exists() {
        drop(context.create_or_open()?);
    }
    // beside any other command: a batch is one transaction, and what a step sees is what was there when it began
    let store = context.read()?;
    store.append(&[], &[]).map_err(cured)?;
    let keys = store.keys().clone();
    let settings = Settings {
        listen: serve.listen.clone(),
        rules,
        most_bytes,
        grace,
        clock: now,
        pseudonym: Box::new(move |credential| keys.pseudonym(credential)),
        upstream: upstream.clone(),
        authorities: serve.upstream_ca.as_ref().map(read).transpose()?,
    };
    let proxy = Proxy::bind(settings, Arc::clone(&queue), Arc::clone(&metrics)).map_err(explained)?;
    let path = context.global.store.display();
    context.ui.status(&format!("serve     http://{} passes on to {upstream} and records in `{path}`", proxy.address()));
    stop_on_signals(proxy.stopper())?;
    // a batch is read on this thread alone: on all cores it would stand in the way of requests
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    let _alone = alone.context("cannot keep the recorder to one thread")?;
    let capture = Capture::new(context, store, (queue, Arc::clone(&metrics)), most_bytes);
    let captured = thread::scope(|scope| {
        scope.spawn(|| proxy.run());
        capture.run()
    });
    finish(context, captured)
}

fn finish(context: &Context, captured: Captured) -> anyhow::Result<ExitCode> {
    context.ui.status(&format!("serve     stopped; {} calls recorded, {} rejected", captured.calls, captured.rejects));
    match captured.lost {
        None => Ok(ExitCode::SUCCESS),
        Some((lost, error)) => Err(error.context(format!("{lost} calls could not be recorded"))),
    }
}

/// Hands SIGTERM and SIGINT on. The thread ends with the process.
fn stop_on_signals(stopper: Stopper) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot listen for signals")?;
    thread::spawn(move || signals.forever().for_each(|_| stopper.ask()));
    Ok(())
}

fn upstream(serve: &Serve) -> anyhow::Result<Upstream> {
    let url = serve.upstream.as_deref();
    let url = url.ok_or_else(|| hinted("no upstream is named", "`--upstream https://api.example.com/v1` names the API's base URL"))?;
    Upstream::parse(url).map_err(explained)
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read the certificates `{}`", file.display()))
}

fn size(key: &str, text: &str) -> anyhow::Result<usize> {
    let misfit = |error| hinted(format!("`serve.{key}` does not fit: {error}"), "write a size such as `32MiB`");
    let bytes = select::parse_size(text).map_err(misfit)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn seconds(key: &str, value: f64) -> anyhow::Result<Duration> {
    let hint = "write a number of seconds, such as 2.5";
    Duration::try_from_secs_f64(value).map_err(|error| hinted(format!("`serve.{key}` does not fit: {error}"), hint))
}

/// An error of the proxy with its cure.
fn explained(error: ProxyError) -> anyhow::Error {
    let hint = match &error {
        ProxyError::Listen { source, .. } => match source.kind() {
            std::io::ErrorKind::AddrInUse => "another process listens there: end it, or name another address with `--listen`",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 belong to the system: `--listen 127.0.0.1:8080`",
            _ => "name an address of this machine and a port: `--listen 127.0.0.1:8080`",
        },
        ProxyError::Upstream { .. } => "`--upstream https://api.example.com/v1` names the API's base URL",
        ProxyError::Authority { .. } => "`--upstream-ca FILE` names certificates in PEM (`-----BEGIN CERTIFICATE-----`)",
        ProxyError::Rule { .. } => "`--skip-header x-source=chat` or `--skip-path /people/`",
        ProxyError::Start(_) => return error.into(),
    };
    let problem = match &error {
        ProxyError::Listen { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    };
    hinted(problem, hint)
}
