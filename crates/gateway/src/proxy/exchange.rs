//! One call as it passed: the bodies of its request and its answer, and what of its heads a record may hold.
//!
//! It holds no header and no query: credentials stand there.
use std::io::Read;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use record::Time;

use super::queue::Held;
use crate::Reason;

/// A call whose answer has ended.
pub struct Exchange {
    /// When its request came.
    pub time: Time,
    /// From the request's head to the answer's end.
    pub latency: Duration,
    /// What stands for the client; none where it showed no credential.
    pub client: Option<String>,
    /// The path, without its query.
    pub path: String,
    pub(super) request: Body,
    pub(super) answer: Body,
    /// Why the answer may not be whole.
    pub(super) cut: Option<Reason>,
    pub(super) held: Held,
}

/// What both sides said, decompressed.
pub struct Bodies {
    /// The request's body.
    pub request: Vec<u8>,
    /// The answer's.
    pub answer: Vec<u8>,
    /// Keeps the queue's memory taken for as long as a copy of the bodies lives.
    pub held: Held,
}

/// A body as it passed.
#[derive(Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub coding: Coding,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    #[default]
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    /// The coding that a head names; none where it cannot be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut named = headers.get_all(CONTENT_ENCODING).iter();
        let coding = named.next().map_or("identity", |value| value.to_str().unwrap_or_default().trim());
        match (coding.to_ascii_lowercase().as_str(), named.next()) {
            ("identity" | "", None) => Some(Self::Plain),
            ("gzip" | "x-gzip", None) => Some(Self::Gzip),
            ("zstd", None) => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Body {
    /// What was said, at most `most` bytes of it.
    fn plain(self, most: usize) -> Result<Vec<u8>, Reason> {
        let mut plain = Vec::new();
        let bound = most as u64 + 1;
        let read = match self.coding {
            Coding::Plain => return Ok(self.bytes),
            Coding::Gzip => flate2::read::MultiGzDecoder::new(&self.bytes[..]).take(bound).read_to_end(&mut plain),
            Coding::Zstd => zstd::stream::Decoder::new(&self.bytes[..]).and_then(|decoder| decoder.take(bound).read_to_end(&mut plain)),
        };
        match read {
            Ok(bytes) if bytes <= most => Ok(plain),
            Ok(_) => Err(Reason::TooLarge),
            Err(_) => Err(Reason::Encoding),
        }
    }
}

impl Exchange {
    /// The bodies, each of at most `most` bytes. An answer that did not end counts as whole where its stream's last event came.
    ///
    /// # Errors
    /// Why there is nothing to record.
    pub fn bodies(self, most: usize) -> Result<Bodies, Reason> {
        let Self { request, answer, cut, held, .. } = self;
        let (request, answer) = (request.plain(most)?, answer.plain(most).map_err(|reason| cut.unwrap_or(reason))?);
        match cut {
            Some(reason) if !has_last_event(&answer) => Err(reason),
            _ => Ok(Bodies { request, answer, held }),
        }
    }
}

/// Whether a stream of events holds the one that ends it, in any of the three APIs. Clients often leave once they have read it.
fn has_last_event(stream: &[u8]) -> bool {
    let ends: [&[u8]; 5] = [b"[DONE]", b"\"message_stop\"", b"\"response.completed\"", b"\"response.incomplete\"", b"\"response.failed\""];
    let line = |line: &[u8]| line.starts_with(b"data:") && ends.iter().any(|end| line.windows(end.len()).any(|part| part == *end));
    // the last line alone may be cut
    stream.ends_with(b"\n") && stream.split(|byte| *byte == b'\n').any(line)
}

#[cfg(test)]
mod tests {
    use super::has_last_event;

    #[test]
    fn a_stream_has_ended_with_its_last_event() {
        assert!(has_last_event(b"data: {\"choices\": []}\n\ndata: [DONE]\n\n"));
        assert!(has_last_event(b"event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n"));
        assert!(!has_last_event(b"event: message_stop\ndata: {\"type\": \"message_stop\"}"));
        assert!(!has_last_event(b"data: {\"choices\": []}\n\n"));
    }
}
