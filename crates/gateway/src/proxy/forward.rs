//! One request: to the upstream as it came, and its answer back as it came. Heads lose what belongs to one connection (RFC 9110, 7.6.1) and
//! nothing else.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::json;

use super::exchange::{self, Coding};
use super::rules::Kind;
use super::tap::{Kept, Passage, Side, Tap};
use super::{Pseudonym, Settings, trust};
use crate::{Metrics, ProxyError, Queue, Reason, Rules, Upstream};

type Answer = Response<Either<Tap, Full<Bytes>>>;

/// How long one that nobody uses is kept. Some servers close theirs after a minute.
const IDLE: Duration = Duration::from_secs(30);
/// Headers whose value tells a client apart, first one first.
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// What every request needs.
pub struct Gate {
    upstream: Upstream,
    client: Client<HttpsConnector<HttpConnector>, Tap>,
    rules: Rules,
    most: usize,
    clock: fn() -> record::Time,
    pseudonym: Pseudonym,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
}

impl Gate {
    pub fn new(settings: Settings, queue: Arc<Queue>, metrics: Arc<Metrics>) -> Result<Self, ProxyError> {
        let https = trust::connector(settings.authorities.as_deref())?;
        let Settings { upstream, rules, most_bytes, clock, pseudonym, .. } = settings;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).http1_preserve_header_case(true);
        Ok(Self { upstream, client: builder.build(https), rules, most: most_bytes, clock, pseudonym, queue, metrics })
    }

    pub const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Answers one request, by the upstream or, of its own, the two paths that are asked of the proxy itself.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Infallible> {
        Ok(match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => self.health(),
            (&Method::GET, "/metrics") => own(StatusCode::OK, "text/plain; version=0.0.4", self.metrics.text(&self.queue)),
            _ => self.pass(request).await,
        })
    }

    /// The proxy is well while it answers; that the store refuses is said and makes it no less so.
    fn health(&self) -> Answer {
        let recorder = if self.metrics.is_failing() { "failing" } else { "ok" };
        own(StatusCode::OK, "application/json", json!({"status": "ok", "recorder": recorder}).to_string())
    }

    async fn pass(&self, request: Request<Incoming>) -> Answer {
        let (mut head, body) = request.into_parts();
        let passage = Passage::new(&self.metrics, &self.queue, self.copy(&head));
        let path = head.uri.path_and_query().filter(|path| path.as_str().starts_with('/'));
        let Some(target) = path.and_then(|path| self.upstream.target(path)) else {
            passage.answered(400, None);
            return error(StatusCode::BAD_REQUEST, "bad_target", "the proxy passes on requests for a path, and nothing else");
        };
        head.uri = target;
        strip(&mut head.headers);
        // the upstream's own name is put in its place; the proxy has answered an `Expect` already when it read the body
        head.headers.remove(HOST);
        head.headers.remove(EXPECT);
        let request = Request::from_parts(head, Tap::new(body, Side::Request, Arc::clone(&passage)));
        match self.client.request(request).await {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                passage.answered(head.status.as_u16(), Coding::of(&head.headers));
                strip(&mut head.headers);
                Response::from_parts(head, Either::Left(Tap::new(body, Side::Answer, passage)))
            }
            Err(cause) => {
                passage.answered(502, None);
                let message = format!("the upstream `{}` cannot be reached: {}", self.upstream, root(&cause));
                error(StatusCode::BAD_GATEWAY, "upstream_unreachable", &message)
            }
        }
    }

    /// What is to be kept of a request, where it is a call that no rule excludes.
    fn copy(&self, head: &hyper::http::request::Parts) -> Option<Kept> {
        match self.rules.kind(&head.method, head.uri.path(), &head.headers) {
            Kind::Call => {}
            Kind::Skipped => {
                self.metrics.not_recorded(Reason::Skipped);
                return None;
            }
            Kind::Other => return None,
        }
        let Some(coding) = Coding::of(&head.headers) else {
            self.metrics.not_recorded(Reason::Encoding);
            return None;
        };
        let credential = CREDENTIALS.iter().find_map(|name| head.headers.get(name));
        Some(Kept {
            time: (self.clock)(),
            client: credential.and_then(|value| (self.pseudonym)(value.as_bytes())),
            path: head.uri.path().to_owned(),
            request: exchange::Body { bytes: Vec::new(), coding },
            request_ended: false,
            answer: exchange::Body::default(),
            held: self.queue.hold(),
            most: self.most,
        })
    }
}

/// Takes out what concerns one connection alone.
fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    let fixed = ["keep-alive", "proxy-connection"].map(HeaderName::from_static);
    for name in named.iter().chain(&fixed).chain(&[CONNECTION, TE, TRANSFER_ENCODING, UPGRADE]) {
        headers.remove(name);
    }
}

/// An answer of the proxy's own.
fn own(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Either::Right(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// An error in a shape that OpenAI's and Anthropic's SDKs both read.
fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = json!({"type": "error", "error": {"message": message, "type": "api_error", "param": null, "code": code}});
    own(status, "application/json", body.to_string())
}

/// The innermost cause: the outer ones name hyper's own layers.
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}
