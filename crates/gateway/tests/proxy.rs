//! The proxy over loopback against an upstream of the test's own: what passes, and what is kept of it.
#![expect(clippy::disallowed_methods, reason = "the tests are upstream and client: they listen and connect on loopback")]

mod stub;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gateway::{Exchange, Metrics, Next, Proxy, Queue, Reason, Rules, Settings, Stopper, Upstream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use stub::{Message, STREAM, chunk, post, reply};

const CHAT: &str = "/v1/chat/completions";

/// A proxy that runs, and what it hands on.
struct Running {
    address: SocketAddr,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

struct Bounds {
    calls: usize,
    bytes: usize,
    body: usize,
    grace: Duration,
}

const WIDE: Bounds = Bounds { calls: 1000, bytes: 1 << 28, body: 1 << 24, grace: Duration::from_secs(10) };

impl Running {
    fn start(upstream: &str, bounds: &Bounds, rules: Rules) -> Self {
        let (queue, metrics) = (Arc::new(Queue::new(bounds.calls, bounds.bytes)), Arc::new(Metrics::default()));
        let settings = Settings {
            listen: "127.0.0.1:0".to_owned(),
            upstream: Upstream::parse(upstream).expect("the test names an upstream"),
            authorities: Some(include_bytes!("tls/authority.pem").to_vec()),
            rules,
            most_bytes: bounds.body,
            grace: bounds.grace,
            clock: || record::Time(1_760_000_000_000),
            pseudonym: Box::new(|credential| Some(format!("pseudonym-{}", credential.len()))),
        };
        let proxy = Proxy::bind(settings, Arc::clone(&queue), Arc::clone(&metrics)).expect("loopback has a free port");
        let (address, stopper) = (proxy.address(), proxy.stopper());
        Self { address, queue, metrics, stopper, thread: Some(thread::spawn(|| proxy.run())) }
    }

    fn to(upstream: SocketAddr) -> Self {
        Self::start(&format!("http://{upstream}"), &WIDE, Rules::default())
    }

    fn kept(&self) -> Option<Exchange> {
        match self.queue.next(Instant::now() + Duration::from_secs(5)) {
            Next::Call(exchange) => Some(*exchange),
            Next::Nothing | Next::Closed => None,
        }
    }

    /// Waits until so many calls left no record for this reason.
    fn counted(&self, reason: Reason, count: u64) {
        let until = Instant::now() + Duration::from_secs(5);
        while self.metrics.count(reason) < count && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.metrics.count(reason), count, "{}", self.metrics.text(&self.queue));
    }

    fn stop(&mut self) {
        self.stopper.ask();
        self.thread.take().expect("it runs").join().expect("it ends without a panic");
    }
}

/// A client's connection with a request sent, and what reads its answer.
fn open(address: SocketAddr, request: &[u8]) -> (TcpStream, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(address).expect("the proxy listens");
    stream.write_all(request).expect("the proxy reads");
    let reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    (stream, reader)
}

fn ask(address: SocketAddr, request: &[u8]) -> Message {
    stub::ask(address, request).expect("the server listens")
}

/// A head without the lines that may differ between two ways to the same upstream.
fn essence(message: &Message) -> Vec<String> {
    let apart = ["host:", "connection:", "transfer-encoding:", "keep-alive:"];
    let mut lines = message.head.clone();
    lines.retain(|line| !apart.iter().any(|name| line.to_ascii_lowercase().starts_with(name)));
    lines[1..].sort();
    lines
}

/// Reads lines until one begins so.
fn until(reader: &mut impl BufRead, start: &str) -> String {
    let mut line = String::new();
    while !line.starts_with(start) {
        line.clear();
        assert!(reader.read_line(&mut line).expect("the proxy answers") > 0, "no line begins with `{start}`");
    }
    line
}

#[test]
fn every_byte_goes_through_both_ways() {
    let binary: Vec<u8> = (0..8_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, answer) = (Arc::clone(&seen), binary.clone());
    let upstream = stub::upstream(move |asked, stream| {
        let path = asked.head[0].clone();
        noted.lock().expect("no panic").push(asked);
        let _ = match &path {
            path if path.contains("binary") => stream.write_all(&reply("application/octet-stream", &answer)),
            path if path.contains("odd") => stream.write_all(
                b"HTTP/1.1 299 All Quite Odd\r\nX-Two: a\r\nX-Two: b\r\ncontent-encoding: br\r\nDate: never\r\nkeep-alive: 1\r\ncontent-length: 3\r\nconnection: close\r\n\r\n\x00\xffz",
            ),
            path if path.starts_with("HEAD") => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\nconnection: close\r\n\r\n"),
            path if path.contains("moved") => {
                stream.write_all(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://203.0.113.1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            }
            path if path.contains("until-close") => stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end"),
            _ => stream.write_all(&reply("application/json", b"{ \"choices\" : [ ] }\n")),
        };
    });
    let proxy = Running::to(upstream);
    let json = br#"{"model":"m",  "messages":[{"role":"user","content":"\u00e9"}]}"#;
    let chunked = [&b"POST /v1/messages HTTP/1.1\r\nHost: p\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"[..]]
        .into_iter()
        .map(<[u8]>::to_vec)
        .chain(binary.chunks(70_001).map(chunk))
        .chain([b"0\r\n\r\n".to_vec()])
        .collect::<Vec<_>>()
        .concat();
    let requests = [
        post(CHAT, "X-Mixed-Case: Kept\r\nAuthorization: Bearer k\r\nX-Many: 1\r\nX-Many: 2\r\nAccept-Encoding: br, gzip\r\n", json),
        post("/v1/files?name=a%20b&c=%C3%A9&&x", "", &binary),
        chunked,
        b"GET /v1/binary HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET //odd/../v1/;p HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n".to_vec(),
        b"HEAD /v1/models HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n".to_vec(),
        b"DELETE /v1/responses/r HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n".to_vec(),
        post("/v1/moved", "", b"x"),
        post("/v1/until-close", "", b""),
    ];
    for request in requests {
        let (direct, through) = (ask(upstream, &request), ask(proxy.address, &request));
        assert_eq!(essence(&through), essence(&direct));
        assert!(through.body == direct.body && through.whole == direct.whole, "{:?}", direct.head);
        let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
        assert_eq!(essence(&seen[1]), essence(&seen[0]));
        assert!(seen[1].body == seen[0].body && seen[1].whole, "{:?}", seen[0].head);
        assert_eq!(seen[1].header("host"), [upstream.to_string()]);
    }
}

#[test]
fn a_stream_is_passed_on_while_it_comes() {
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let pieces: Vec<String> =
        (0..3000).map(|at| format!("data: {{\"choices\": [{{\"delta\": {{\"content\": \"{at}\"}}}}]}}\n\n")).collect();
    let sent = pieces.clone();
    let upstream = stub::upstream(move |_, stream| {
        stream.write_all(STREAM).expect("the proxy reads");
        stream.write_all(&chunk(sent[0].as_bytes())).expect("the proxy reads");
        // the rest comes only once the client has the first
        gone.lock().expect("no panic").recv().expect("the client reads the first event");
        for piece in &sent[1..] {
            let (head, tail) = piece.split_at(7);
            stream.write_all(&chunk(head.as_bytes())).and_then(|()| stream.write_all(&chunk(tail.as_bytes()))).expect("the proxy reads");
        }
        stream.write_all(b"0\r\n\r\n").expect("the proxy reads");
    });
    let proxy = Running::to(upstream);
    let (_stream, mut reader) = open(proxy.address, &post(CHAT, "", b"{\"stream\": true}"));
    let first = until(&mut reader, "data:");
    assert_eq!(first, pieces[0][..pieces[0].len() - 1]);
    assert!(proxy.queue.is_empty());
    go.send(()).expect("the upstream waits");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("the answer ends");
    assert!(rest.ends_with("0\r\n\r\n") && rest.contains("2999"));
    let kept = proxy.kept().expect("the call is kept");
    assert!(kept.latency > Duration::ZERO && kept.time.0 == 1_760_000_000_000 && kept.path == CHAT);
    let bodies = kept.bodies(1 << 20).expect("the bodies are plain");
    assert_eq!((&bodies.request[..], &bodies.answer[..]), (&b"{\"stream\": true}"[..], pieces.concat().as_bytes()));
}

/// An upstream that answers everything with a small body.
fn plain() -> SocketAddr {
    stub::upstream(|_, stream| stream.write_all(&reply("application/json", b"{\"choices\": []}")).expect("the proxy reads"))
}

#[test]
fn a_recorder_that_does_nothing_costs_recordings_and_no_request() {
    let proxy = Running::start(&format!("http://{}", plain()), &Bounds { calls: 2, ..WIDE }, Rules::default());
    for _ in 0..5 {
        assert_eq!(ask(proxy.address, &post(CHAT, "", b"{}")).body, b"{\"choices\": []}");
    }
    proxy.counted(Reason::QueueFull, 3);
    assert_eq!(proxy.queue.len(), 2);
    // what the recorder takes makes room; the memory is given back only when it lets go of it
    let (first, held) = (proxy.kept().expect("one waits"), proxy.queue.bytes());
    drop(first);
    assert!(proxy.queue.bytes() < held);
    ask(proxy.address, &post(CHAT, "", b"{}"));
    proxy.counted(Reason::QueueFull, 3);

    let proxy = Running::start(&format!("http://{}", plain()), &Bounds { bytes: 1000, ..WIDE }, Rules::default());
    for _ in 0..3 {
        assert_eq!(ask(proxy.address, &post(CHAT, "", &[b' '; 600])).body, b"{\"choices\": []}");
    }
    proxy.counted(Reason::QueueFull, 2);
    drop(proxy.kept());
    assert_eq!(proxy.queue.bytes(), 0);
}

#[test]
fn large_bodies_pass_and_are_not_kept() {
    let large = vec![b'x'; 300_000];
    let answer = large.clone();
    let upstream = stub::upstream(move |asked, stream| {
        let body = if asked.body.len() > 10 { &b"{}"[..] } else { &answer };
        stream.write_all(&reply("application/json", body)).expect("the proxy reads");
    });
    let proxy = Running::start(&format!("http://{upstream}"), &Bounds { body: 200_000, ..WIDE }, Rules::default());
    assert_eq!(ask(proxy.address, &post(CHAT, "", b"{}")).body, large);
    assert_eq!(ask(proxy.address, &post(CHAT, "", &large)).body, b"{}");
    proxy.counted(Reason::TooLarge, 2);
    assert!(proxy.queue.is_empty() && proxy.queue.bytes() == 0);
}

#[test]
fn rules_and_other_paths_leave_no_record() {
    let rules = Rules::new(&["x-source=chat".to_owned()], &["/people/".to_owned()]).expect("the rules are well formed");
    let proxy = Running::start(&format!("http://{}", plain()), &WIDE, rules);
    ask(proxy.address, &post(CHAT, "X-Source: chat\r\n", b"{}"));
    ask(proxy.address, &post("/people/v1/messages", "", b"{}"));
    ask(proxy.address, &post("/v1/embeddings", "", b"{}"));
    ask(proxy.address, &post(CHAT, "X-Source: agent\r\nAuthorization: Bearer secret\r\n", b"{\"a\": 1}"));
    let kept = proxy.kept().expect("one call is kept");
    assert_eq!(kept.client.as_deref(), Some("pseudonym-13"));
    assert_eq!(kept.bodies(100).expect("the bodies are plain").request, b"{\"a\": 1}");
    assert!(proxy.queue.is_empty());
    proxy.counted(Reason::Skipped, 2);
}

#[test]
fn a_client_that_leaves_ends_the_upstreams_work_too() {
    let (left, noticed) = sync_channel(1);
    let upstream = stub::upstream(move |_, stream| {
        let _ = stream.write_all(STREAM);
        while stream.write_all(&chunk(b"data: {\"choices\": []}\n\n")).is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = left.try_send(());
    });
    let proxy = Running::to(upstream);
    let (stream, mut reader) = open(proxy.address, &post(CHAT, "", b"{}"));
    until(&mut reader, "data:");
    drop((stream, reader));
    noticed.recv_timeout(Duration::from_secs(5)).expect("the upstream notices");
    let kept = proxy.kept().expect("the recorder decides");
    assert_eq!(kept.bodies(1 << 20).err(), Some(Reason::ClientLeft));
    // one that leaves before there is an answer
    let silent = stub::upstream(|_, stream| drop(stream.read(&mut [0; 1])));
    let proxy = Running::to(silent);
    let (stream, reader) = open(proxy.address, &post(CHAT, "", b"{}"));
    thread::sleep(Duration::from_millis(100));
    drop((stream, reader));
    proxy.counted(Reason::ClientLeft, 1);
    assert!(proxy.metrics.text(&proxy.queue).contains("requests_total{status=\"none\"} 1"));
}

#[test]
fn an_answer_that_is_cut_off_is_never_taken_for_whole() {
    let upstream = stub::upstream(|asked, stream| {
        let answer = match &asked.head[0] {
            line if line.contains("length") => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\"".to_vec(),
            line if line.contains("done") => [STREAM, &chunk(b"data: {\"choices\": []}\n\ndata: [DONE]\n\n")].concat(),
            _ => [STREAM, &chunk(b"data: {\"choices\": []}\n\n")].concat(),
        };
        stream.write_all(&answer).expect("the proxy reads");
    });
    let proxy = Running::to(upstream);
    for (path, whole) in [("/length/v1/messages", false), ("/events/v1/messages", false), ("/done/v1/messages", true)] {
        let (direct, through) = (ask(upstream, &post(path, "", b"{}")), ask(proxy.address, &post(path, "", b"{}")));
        assert!(!through.whole && through.body == direct.body, "{path}");
        let bodies = proxy.kept().expect("the recorder decides").bodies(1000);
        assert_eq!(bodies.err(), Some(Reason::CutOff).filter(|_| !whole), "{path}");
    }
}

#[test]
fn failures_are_answered_in_the_apis_shape_and_counted() {
    let proxy = Running::start("http://127.0.0.1:9", &WIDE, Rules::default());
    let answer = ask(proxy.address, &post(CHAT, "", b"{}"));
    assert!(answer.head[0].contains(" 502 ") && answer.header("content-type") == ["application/json"], "{:?}", answer.head);
    let error: serde_json::Value = serde_json::from_slice(&answer.body).expect("the body is JSON");
    assert_eq!(error["error"]["code"], "upstream_unreachable");
    assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("127.0.0.1:9") && text.contains("refused")), "{error}");
    proxy.counted(Reason::Failed, 1);

    let upstream = stub::upstream(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            .expect("read");
    });
    let proxy = Running::to(upstream);
    let answer = ask(proxy.address, &post(CHAT, "", b"{}"));
    assert!(answer.head[0].ends_with("429 Too Many Requests") && answer.header("retry-after") == ["3"]);
    proxy.counted(Reason::Failed, 1);
    assert!(ask(proxy.address, b"CONNECT example.com:443 HTTP/1.1\r\nHost: e\r\n\r\n").head[0].contains(" 400 "));
}

#[test]
fn an_upstream_behind_tls_is_reached_where_it_is_trusted() {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("tls/server.pem")).collect::<Result<_, _>>().expect("it is PEM");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).expect("it is PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("ring speaks them");
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("key and certificate belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).expect("the settings are sound");
            let mut stream = BufReader::new(StreamOwned::new(session, stream.expect("the proxy connects")));
            let asked = stub::read(&mut stream, false);
            // one that trusts nobody says nothing
            let _ = stream.get_mut().write_all(&reply("application/json", &asked.body));
        }
    });
    let proxy = Running::start(&format!("https://localhost:{port}/v1"), &WIDE, Rules::default());
    assert_eq!(ask(proxy.address, &post(CHAT, "", b"{\"a\": 1}")).body, b"{\"a\": 1}");
    assert_eq!(proxy.kept().expect("the call is kept").bodies(100).expect("the bodies are plain").answer, b"{\"a\": 1}");
    // the certificate is `localhost`'s alone
    let proxy = Running::start(&format!("https://127.0.0.1:{port}/v1"), &WIDE, Rules::default());
    let answer = ask(proxy.address, &post(CHAT, "", b"{}"));
    assert!(answer.head[0].contains(" 502 ") && String::from_utf8_lossy(&answer.body).contains("certificate"));
}

#[test]
fn compressed_bodies_pass_as_they_are_and_are_read_for_the_record() {
    let said = b"{\"choices\": [{\"message\": {\"content\": \"yes\"}}]}";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(said).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    let zstd = zstd::encode_all(&said[..], 3).expect("memory takes it");
    for (coding, bytes, read) in [("gzip", gzip, Ok(())), ("zstd", zstd, Ok(())), ("br", b"?".to_vec(), Err(Reason::Encoding))] {
        let sent = bytes.clone();
        let upstream = stub::upstream(move |asked, stream| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", sent.len());
            stream.write_all(&[head.as_bytes(), &sent].concat()).expect("the proxy reads");
            drop(asked);
        });
        let proxy = Running::to(upstream);
        let answer = ask(proxy.address, &post(CHAT, &format!("Content-Encoding: {coding}\r\n"), &bytes));
        assert!(answer.body == bytes && answer.header("content-encoding") == [coding]);
        match read {
            Ok(()) => {
                let bodies = proxy.kept().expect("the call is kept").bodies(1000).expect("it is decompressed");
                assert!(bodies.request == said && bodies.answer == said);
                ask(proxy.address, &post(CHAT, &format!("Content-Encoding: {coding}\r\n"), &bytes));
                assert_eq!(proxy.kept().expect("the call is kept").bodies(20).err(), Some(Reason::TooLarge));
            }
            Err(reason) => proxy.counted(reason, 1),
        }
    }
}

#[test]
fn the_proxy_tells_of_itself() {
    let proxy = Running::to(plain());
    let get = |path: &str| ask(proxy.address, format!("GET {path} HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n").as_bytes());
    let text = |message: Message| String::from_utf8(message.body).expect("the body is text");
    assert_eq!(text(get("/healthz")), "{\"status\":\"ok\",\"recorder\":\"ok\"}");
    proxy.metrics.failing(true);
    assert_eq!(text(get("/healthz")), "{\"status\":\"ok\",\"recorder\":\"failing\"}");
    ask(proxy.address, &post(CHAT, "", b"{}"));
    proxy.kept().expect("the call is kept");
    let answer = get("/metrics");
    assert_eq!(answer.header("content-type"), ["text/plain; version=0.0.4"]);
    let text = text(answer);
    for line in [
        "requests_total{status=\"2xx\"} 1",
        "body_bytes_total{direction=\"up\"} 2",
        "body_bytes_total{direction=\"down\"} 15",
        "queue_length 0",
        "recorder_failing 1",
        "not_recorded_total{reason=\"queue_full\"} 0",
        "request_seconds_bucket{le=\"+Inf\"} 1",
        "request_seconds_count 1",
        "requests_open 0",
    ] {
        assert!(text.contains(&format!("slm_migrate_{line}\n")), "{line}: {text}");
    }
}

#[test]
fn stopping_lets_running_requests_end_and_closes_the_queue() {
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = stub::upstream(move |_, stream| {
        gone.lock().expect("no panic").recv().expect("the test lets it go");
        stream.write_all(&reply("application/json", b"{\"choices\": []}")).expect("the proxy reads");
    });
    let mut proxy = Running::to(upstream);
    let address = proxy.address;
    let client = thread::spawn(move || ask(address, &post(CHAT, "", b"{}")));
    thread::sleep(Duration::from_millis(200));
    proxy.stopper.ask();
    thread::sleep(Duration::from_millis(200));
    assert!(TcpStream::connect(address).is_err(), "it accepts no more");
    go.send(()).expect("the upstream waits");
    assert_eq!(client.join().expect("no panic").body, b"{\"choices\": []}");
    proxy.stop();
    assert!(proxy.kept().is_some() && matches!(proxy.queue.next(Instant::now()), Next::Closed));

    // what does not end in time is given up
    let silent = stub::upstream(|_, stream| drop(stream.read(&mut [0; 1])));
    let grace = Duration::from_millis(100);
    let mut proxy = Running::start(&format!("http://{silent}"), &Bounds { grace, ..WIDE }, Rules::default());
    let client = open(proxy.address, &post(CHAT, "", b"{}"));
    thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    proxy.stop();
    assert!(start.elapsed() < Duration::from_secs(3));
    proxy.counted(Reason::ClientLeft, 1);
    drop(client);
}
