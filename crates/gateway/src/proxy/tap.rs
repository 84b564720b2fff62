//! A body that passes, and what is copied of it on the way. Nothing here waits: where there is no room for the copy, it is given up.
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use record::Time;

use super::exchange::{self, Coding, Exchange};
use super::queue::Held;
use crate::{Metrics, Queue, Reason};

/// A side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    Answer,
}

/// One request on its way through. Dropped without an answer's end, its client has left.
pub struct Passage {
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None for what is not recorded, or no more.
    copy: Option<Kept>,
    answered: bool,
}

/// What is kept of a call for its record.
pub struct Kept {
    pub time: Time,
    pub client: Option<String>,
    pub path: String,
    pub request: exchange::Body,
    pub request_ended: bool,
    pub answer: exchange::Body,
    pub held: Held,
    /// Bytes of one body at most.
    pub most: usize,
}

impl Kept {
    fn add(&mut self, side: Side, data: &[u8]) -> Result<(), Reason> {
        let body = if side == Side::Request { &mut self.request } else { &mut self.answer };
        if body.bytes.len() + data.len() > self.most {
            return Err(Reason::TooLarge);
        }
        if !self.held.grow(data.len()) {
            return Err(Reason::QueueFull);
        }
        body.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl Passage {
    pub fn new(metrics: &Arc<Metrics>, queue: &Arc<Queue>, copy: Option<Kept>) -> Arc<Self> {
        metrics.opened();
        let state = Mutex::new(State { copy, answered: false });
        Arc::new(Self { metrics: Arc::clone(metrics), queue: Arc::clone(queue), started: Instant::now(), state })
    }

    /// The head of the answer is there; none where its compression cannot be read.
    pub fn answered(&self, status: u16, coding: Option<Coding>) {
        self.metrics.answered(status);
        let mut state = self.state();
        state.answered = true;
        let Some(copy) = &mut state.copy else { return };
        match coding {
            _ if !(200..300).contains(&status) => self.give_up(state, Reason::Failed),
            None => self.give_up(state, Reason::Encoding),
            Some(coding) => copy.answer.coding = coding,
        }
    }

    fn saw(&self, side: Side, data: &[u8]) {
        self.metrics.passed(side == Side::Request, data.len());
        let mut state = self.state();
        if let Some(Err(reason)) = state.copy.as_mut().map(|copy| copy.add(side, data)) {
            self.give_up(state, reason);
        }
    }

    fn ended(&self, side: Side, cut: Option<Reason>) {
        let mut state = self.state();
        if side == Side::Request {
            if let Some(copy) = &mut state.copy {
                copy.request_ended = cut.is_none();
            }
            return;
        }
        let latency = self.started.elapsed();
        self.metrics.took(latency);
        let Some(copy) = state.copy.take() else { return };
        drop(state);
        if !copy.request_ended {
            return self.metrics.not_recorded(cut.unwrap_or(Reason::Unreadable));
        }
        let Kept { time, client, path, request, answer, held, .. } = copy;
        if !self.queue.push(Exchange { time, latency, client, path, request, answer, cut, held }) {
            self.metrics.not_recorded(Reason::QueueFull);
        }
    }

    fn give_up(&self, mut state: MutexGuard<'_, State>, reason: Reason) {
        if state.copy.take().is_some() {
            self.metrics.not_recorded(reason);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds a passage")
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.metrics.closed();
        if !self.state().answered {
            self.metrics.answered(0);
        }
        self.give_up(self.state(), Reason::ClientLeft);
    }
}

/// A body that is copied while it passes.
pub struct Tap {
    inner: Incoming,
    side: Side,
    passage: Arc<Passage>,
    over: bool,
}

impl Tap {
    pub fn new(inner: Incoming, side: Side, passage: Arc<Passage>) -> Self {
        let mut tap = Self { inner, side, passage, over: false };
        if tap.inner.is_end_stream() {
            tap.end(None);
        }
        tap
    }

    fn end(&mut self, cut: Option<Reason>) {
        if !std::mem::replace(&mut self.over, true) {
            self.passage.ended(self.side, cut);
        }
    }
}

impl Body for Tap {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.passage.saw(self.side, data);
                }
                // with a length known before, nobody asks again once it is reached
                if self.inner.is_end_stream() {
                    self.end(None);
                }
            }
            Poll::Ready(Some(Err(_))) => self.end(Some(Reason::CutOff)),
            Poll::Ready(None) => self.end(None),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end(Some(Reason::ClientLeft));
    }
}
