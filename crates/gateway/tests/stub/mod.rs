//! An upstream and a client of the test's own: HTTP/1.1 by hand, so that every byte is known.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// A message as it came: its head's lines, and its body without what chunks add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub head: Vec<String>,
    pub body: Vec<u8>,
    /// Whether it came to its end.
    pub whole: bool,
}

impl Message {
    /// The values of a header, in order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let line = |line: &'_ String| line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name)).is_some();
        self.head.iter().skip(1).filter(|found| line(found)).map(|line| line[name.len() + 1..].trim()).collect()
    }
}

/// Reads a message. `to_end`: a body without a length ends with the connection.
pub fn read(reader: &mut impl BufRead, to_end: bool) -> Message {
    let mut message = Message::default();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        message.head.push(line.trim_end().to_owned());
        line.clear();
    }
    if message.head.is_empty() {
        return message;
    }
    if message.header("transfer-encoding") == ["chunked"] {
        message.whole = chunks(reader, &mut message.body).is_some();
    } else if let Some(length) = message.header("content-length").first().and_then(|value| value.parse::<u64>().ok()) {
        let read = reader.take(length).read_to_end(&mut message.body).unwrap_or_default();
        message.whole = read as u64 == length;
    } else {
        message.whole = !to_end || reader.read_to_end(&mut message.body).is_ok();
    }
    message
}

fn chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Some(());
        }
    }
}

/// An upstream that reads one request of each connection and answers as told.
pub fn upstream(answer: impl Fn(Message, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.expect("the client connects"), Arc::clone(&answer));
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
                let asked = read(&mut reader, false);
                answer(asked, &mut stream);
            });
        }
    });
    address
}

/// An answer with a length.
pub fn reply(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The head of an answer that comes in chunks.
pub const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

/// One chunk.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// A request with a length.
pub fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: proxy\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Sends a request and reads the answer.
///
/// # Errors
/// When nobody listens.
pub fn ask(address: SocketAddr, request: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(address)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let sent = request.to_vec();
    // a server may answer before it has read everything
    let writer = thread::spawn(move || stream.write_all(&sent).map(|()| stream));
    let answer = read(&mut reader, true);
    let _ = writer.join();
    Ok(answer)
}
