//! Latency of `serve` beside a direct connection, in one run: stub upstream, 64 clients, whole answers and streams, the program itself with
//! a store of its own between them. `bench_serve PROGRAM [SECONDS] [PAUSE_MS]`.
//!
//! Each client has a connection to the upstream and one to the proxy and uses them in turn, so both meet the same machine. The stub waits
//! as a model would; times between its sending and the client's reading are measured, of whole answers, first events and every event.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CLIENTS: usize = 64;
const EVENTS: usize = 20;
/// How long the stub thinks before it answers, and between two events.
const THINKING: Duration = Duration::from_millis(20);
const BETWEEN: Duration = Duration::from_millis(3);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn micros() -> u64 {
    u64::try_from(START.elapsed().as_micros()).unwrap_or_default()
}

/// What one way took, in milliseconds.
#[derive(Default)]
struct Times {
    whole: Vec<f64>,
    first: Vec<f64>,
    streamed: Vec<f64>,
    events: Vec<f64>,
}

impl Times {
    fn append(&mut self, mut other: Self) {
        self.whole.append(&mut other.whole);
        self.first.append(&mut other.first);
        self.streamed.append(&mut other.streamed);
        self.events.append(&mut other.events);
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: bench_serve PROGRAM [SECONDS] [PAUSE_MS]")?;
    let seconds = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let pause = Duration::from_millis(arguments.next().map_or(Ok(40), |text| text.parse())?);
    LazyLock::force(&START);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stub = runtime.block_on(listen())?;
    let folder = tempfile::tempdir()?;
    let (mut child, proxy) = start(&program, stub, &folder)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (direct, through) = runtime.block_on(run(stub, proxy, end, pause))?;
    std::thread::sleep(Duration::from_secs(6));
    let metrics = runtime.block_on(metrics(proxy))?;
    report(&direct, &through, seconds);
    for line in metrics.lines().filter(|line| line.contains("recorded_total") && !line.starts_with('#') && !line.ends_with(" 0")) {
        println!("{line}");
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    println!("the program ended with {}", child.wait()?);
    Ok(())
}

/// Starts the program on a free port and reads from its first lines which.
fn start(program: &str, upstream: SocketAddr, folder: &tempfile::TempDir) -> Result<(Child, SocketAddr), Failure> {
    let program = std::fs::canonicalize(program)?;
    let upstream = format!("http://{upstream}");
    let mut command = Command::new(program);
    command.args(["serve", "--record-only", "--listen", "127.0.0.1:0", "--upstream", &upstream]);
    let mut child = command.current_dir(folder.path()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("stderr is piped")?).lines();
    let address = loop {
        let line = lines.next().ok_or("the program said no address")??;
        if let Some(rest) = line.split_once("http://") {
            break rest.1.split(' ').next().unwrap_or_default().parse()?;
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    Ok((child, address))
}

/// The stub: a completion, or a stream whose events say when they were sent.
async fn listen() -> Result<SocketAddr, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    Ok(address)
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<Either<Full<Bytes>, impl hyper::body::Body<Data = Bytes, Error = Infallible>>>, hyper::Error> {
    let streamed = request.uri().query() == Some("stream");
    request.into_body().collect().await?;
    tokio::time::sleep(THINKING).await;
    if !streamed {
        let text = "all is well; ".repeat(150);
        let body = format!(
            "{{\"id\":\"c\",\"object\":\"chat.completion\",\"model\":\"stub\",\"choices\":[{{\"index\":0,\"finish_reason\":\"stop\",\
             \"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}}}}],\"sent\":{}}}",
            micros()
        );
        return Ok(Response::new(Either::Left(Full::new(body.into()))));
    }
    let events = stream::unfold(0, |at| async move {
        if at > EVENTS {
            return None;
        }
        if at > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        let finish = if at + 1 == EVENTS { "\"stop\"" } else { "null" };
        let event = if at == EVENTS {
            "data: [DONE]\n\n".to_owned()
        } else {
            format!(
                "data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word\"}},\"finish_reason\":{finish}}}],\"sent\":{}}}\n\n",
                micros()
            )
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(event))), at + 1))
    });
    let mut response = Response::new(Either::Right(StreamBody::new(events)));
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// All clients, both ways.
async fn run(stub: SocketAddr, proxy: SocketAddr, end: Instant, pause: Duration) -> Result<(Times, Times), Failure> {
    let body = Bytes::from(format!(
        "{{\"model\":\"stub\",\"messages\":[{{\"role\":\"system\",\"content\":\"{}\"}},{{\"role\":\"user\",\"content\":\"how is it?\"}}]}}",
        "You keep watch over the house. ".repeat(120)
    ));
    let body = Arc::new(body);
    let client = |at: usize| {
        let body = Arc::clone(&body);
        tokio::spawn(async move {
            let mut ways = [(connect(stub).await?, Times::default()), (connect(proxy).await?, Times::default())];
            // clients do not start in step
            tokio::time::sleep(pause * u32::try_from(at).unwrap_or_default() / 16).await;
            while Instant::now() < end {
                for streamed in [false, true] {
                    for (sender, times) in &mut ways {
                        ask(sender, &body, streamed, times).await?;
                        tokio::time::sleep(pause).await;
                    }
                }
            }
            Ok::<_, Failure>(ways.map(|(_, times)| times))
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    let (mut direct, mut through) = (Times::default(), Times::default());
    for client in clients {
        let [one, other] = client.await??;
        direct.append(one);
        through.append(other);
    }
    Ok((direct, through))
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, body: &Bytes, streamed: bool, times: &mut Times) -> Result<(), Failure> {
    let path = if streamed { "/v1/chat/completions?stream" } else { "/v1/chat/completions" };
    let request = Request::post(path).header("host", "stub").header("authorization", "Bearer bench").body(Full::new(body.clone()))?;
    let start = Instant::now();
    sender.ready().await?;
    let mut answer = sender.send_request(request).await?.into_body();
    let (mut read, mut events) = (Vec::new(), 0);
    while let Some(frame) = answer.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let now = micros();
        if streamed && events == 0 {
            times.first.push(millis(start));
        }
        for event in data.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"data:")) {
            events += 1;
            if let Some(sent) = sent(event) {
                times.events.push((now - sent) as f64 / 1e3);
            }
        }
        read.extend_from_slice(&data);
    }
    if streamed { &mut times.streamed } else { &mut times.whole }.push(millis(start));
    let complete = if streamed { events == EVENTS + 1 } else { read.ends_with(b"}") && sent(&read).is_some() };
    if complete { Ok(()) } else { Err(format!("an answer is not whole: {} bytes", read.len()).into()) }
}

/// When the stub sent this.
fn sent(data: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(data).ok()?;
    text.rsplit_once("\"sent\":")?.1.trim_end().trim_end_matches('}').parse().ok()
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

async fn metrics(proxy: SocketAddr) -> Result<String, Failure> {
    let request = Request::get("/metrics").header("host", "proxy").body(Full::default())?;
    let answer = connect(proxy).await?.send_request(request).await?;
    Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?)
}

fn report(direct: &Times, through: &Times, seconds: u64) {
    let requests = [direct, through].map(|times| times.whole.len() + times.streamed.len());
    println!("{CLIENTS} clients, {seconds} s, {} requests direct and {} through the proxy, every answer whole", requests[0], requests[1]);
    println!("{:<14} {:>26} {:>26} {:>26}", "ms", "direct p50/p99", "through p50/p99", "added p50/p99");
    for (name, one, other) in [
        ("whole answer", &direct.whole, &through.whole),
        ("first event", &direct.first, &through.first),
        ("whole stream", &direct.streamed, &through.streamed),
        ("one event", &direct.events, &through.events),
    ] {
        let ([d50, d99], [t50, t99]) = (quantiles(one), quantiles(other));
        let pair = |a: f64, b: f64| format!("{a:.3} / {b:.3}");
        println!("{name:<14} {:>26} {:>26} {:>26}", pair(d50, d99), pair(t50, t99), pair(t50 - d50, t99 - d99));
    }
}

fn quantiles(times: &[f64]) -> [f64; 2] {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(f64::NAN);
    [at(0.5), at(0.99)]
}
