//! What waits for the recorder: bounded in number and in bytes, never waited for by a request.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::Exchange;

const UNBROKEN: &str = "no thread panics while it holds the queue";

/// Calls on their way from the proxy to the recorder.
pub struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    most: usize,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Exchange>,
    closed: bool,
}

/// What the recorder finds.
pub enum Next {
    /// The call that has waited longest.
    Call(Box<Exchange>),
    /// Nothing came in time.
    Nothing,
    /// Nothing is left and nothing will come.
    Closed,
}

impl Queue {
    /// A queue of at most `calls` calls; `bytes` bounds the copies of bodies in it, in requests that run, and in what the recorder took out
    /// and has not written yet.
    #[must_use]
    pub fn new(calls: usize, bytes: usize) -> Self {
        let budget = Arc::new(Budget { used: AtomicUsize::new(0), most: bytes });
        Self { state: Mutex::default(), ready: Condvar::new(), most: calls, budget }
    }

    /// The call that has waited longest; waits for one until `until`.
    pub fn next(&self, until: Instant) -> Next {
        let mut state = self.state();
        loop {
            if let Some(exchange) = state.waiting.pop_front() {
                return Next::Call(Box::new(exchange));
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return if state.closed { Next::Closed } else { Next::Nothing };
            }
            state = self.ready.wait_timeout(state, left).expect(UNBROKEN).0;
        }
    }

    /// Waits for so long, less where the queue is closed before. Tells whether it is.
    pub fn closed_within(&self, time: Duration) -> bool {
        self.ready.wait_timeout_while(self.state(), time, |state| !state.closed).expect(UNBROKEN).0.closed
    }

    /// Calls that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes kept of calls that run, wait or are being written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.budget.used.load(Relaxed)
    }

    /// Room for the copy of one call.
    pub(crate) fn hold(&self) -> Held {
        Held { budget: Arc::clone(&self.budget), bytes: 0 }
    }

    /// Adds a call, or tells that there is no room.
    pub(crate) fn push(&self, exchange: Exchange) -> bool {
        let mut state = self.state();
        let room = state.waiting.len() < self.most;
        if room {
            state.waiting.push_back(exchange);
            self.ready.notify_one();
        }
        room
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNBROKEN)
    }
}

struct Budget {
    used: AtomicUsize,
    most: usize,
}

/// Bytes taken of the queue's memory, given back when dropped.
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// Takes more, or tells that there is no room.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.budget.most);
        let grown = self.budget.used.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}
