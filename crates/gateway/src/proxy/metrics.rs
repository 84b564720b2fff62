//! Counters of the proxy, as Prometheus reads them. Knows no request, only numbers.
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Queue;

/// Upper ends of the classes of whole requests' durations, in seconds.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Why a call to a recorded API left no record. Its request went through all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The recorder was behind and the queue or its memory full.
    QueueFull,
    /// The request or the answer was larger than what is kept.
    TooLarge,
    /// The upstream answered with an error, or not at all.
    Failed,
    /// The upstream ended its answer in the middle.
    CutOff,
    /// The client went before the answer's end.
    ClientLeft,
    /// A body was compressed in a way the proxy cannot read.
    Encoding,
    /// A body is not what the API speaks.
    Unreadable,
    /// A rule excludes it.
    Skipped,
    /// The store failed until the end.
    StoreFailed,
}

impl Reason {
    const ALL: [(Self, &str); 9] = [
        (Self::QueueFull, "queue_full"),
        (Self::TooLarge, "too_large"),
        (Self::Failed, "failed"),
        (Self::CutOff, "cut_off"),
        (Self::ClientLeft, "client_left"),
        (Self::Encoding, "encoding"),
        (Self::Unreadable, "unreadable"),
        (Self::Skipped, "skipped"),
        (Self::StoreFailed, "store_failed"),
    ];
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By hundreds of the status; the first is for those that got no answer.
    requests: [AtomicU64; 6],
    open: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    recorded: AtomicU64,
    rejected: AtomicU64,
    failing: AtomicU64,
    not_recorded: [AtomicU64; 9],
    within: [AtomicU64; SECONDS.len()],
    durations: AtomicU64,
    micros: AtomicU64,
}

impl Metrics {
    /// Calls that the store has taken, and rows of calls that became rejects.
    pub fn recorded(&self, calls: u64, rejects: u64) {
        self.recorded.fetch_add(calls, Relaxed);
        self.rejected.fetch_add(rejects, Relaxed);
    }

    /// Whether the store refuses at the moment.
    pub fn failing(&self, failing: bool) {
        self.failing.store(failing.into(), Relaxed);
    }

    /// Whether it does.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Relaxed) > 0
    }

    /// A call leaves no record.
    pub fn not_recorded(&self, reason: Reason) {
        self.not_recorded[reason as usize].fetch_add(1, Relaxed);
    }

    /// How many left none for this reason.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.not_recorded[reason as usize].load(Relaxed)
    }

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// A request got an answer of this status; 0 for none.
    pub(crate) fn answered(&self, status: u16) {
        self.requests[usize::from(status / 100).min(5)].fetch_add(1, Relaxed);
    }

    pub(crate) fn passed(&self, up: bool, bytes: usize) {
        let counter = if up { &self.sent } else { &self.received };
        counter.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(class) = SECONDS.iter().position(|end| seconds <= *end) {
            self.within[class].fetch_add(1, Relaxed);
        }
        self.durations.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or_default(), Relaxed);
    }

    /// The text that Prometheus reads (exposition format 0.0.4).
    #[must_use]
    pub fn text(&self, queue: &Queue) -> String {
        let mut text = String::new();
        let mut lines = |name: &str, kind: &str, help: &str, values: &[(String, String)]| {
            let _ = writeln!(text, "# HELP slm_migrate_{name} {help}\n# TYPE slm_migrate_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "slm_migrate_{name}{labels} {value}");
            }
        };
        let one = |value: u64| [(String::new(), value.to_string())];
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let class = |(at, counter): (usize, &AtomicU64)| {
            let class = if at == 0 { "none".to_owned() } else { format!("{at}xx") };
            (format!("{{status=\"{class}\"}}"), of(counter).to_string())
        };
        let requests: Vec<_> = self.requests.iter().enumerate().map(class).collect();
        lines("requests_total", "counter", "Requests by class of the answer's status; none: the client left before.", &requests);
        lines("requests_open", "gauge", "Requests that are running.", &one(of(&self.open)));
        let bytes = [("{direction=\"up\"}", &self.sent), ("{direction=\"down\"}", &self.received)];
        let bytes = bytes.map(|(labels, counter)| (labels.to_owned(), of(counter).to_string()));
        lines("body_bytes_total", "counter", "Bytes of bodies passed through.", &bytes);
        lines("recorded_total", "counter", "Calls that lie in the store.", &one(of(&self.recorded)));
        lines("rejected_total", "counter", "Calls that lie in the store as rejects.", &one(of(&self.rejected)));
        let reason = |(reason, name): (Reason, &str)| (format!("{{reason=\"{name}\"}}"), self.count(reason).to_string());
        lines("not_recorded_total", "counter", "Calls that passed and left no record.", &Reason::ALL.map(reason));
        lines("queue_length", "gauge", "Calls that wait for the recorder.", &one(queue.len() as u64));
        lines("queue_bytes", "gauge", "Bytes kept of calls that run, wait or are being written.", &one(queue.bytes() as u64));
        lines("recorder_failing", "gauge", "1 while the store refuses.", &one(of(&self.failing)));
        lines("request_seconds", "histogram", "Time from a request's head to its answer's end.", &[]);
        self.durations_into(&mut text);
        text
    }

    fn durations_into(&self, text: &mut String) {
        let mut below = 0;
        for (end, class) in SECONDS.iter().zip(&self.within) {
            below += class.load(Relaxed);
            let _ = writeln!(text, "slm_migrate_request_seconds_bucket{{le=\"{end}\"}} {below}");
        }
        let (count, micros) = (self.durations.load(Relaxed), self.micros.load(Relaxed));
        let _ = writeln!(text, "slm_migrate_request_seconds_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "slm_migrate_request_seconds_sum {}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let _ = writeln!(text, "slm_migrate_request_seconds_count {count}");
    }
}
