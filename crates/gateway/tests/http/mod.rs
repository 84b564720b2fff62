//! As much of HTTP as servers of tests speak: one request, one answer.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// The body of the request that a client sends.
pub fn asked(stream: &TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).expect("headers are text") > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length is a number");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body is as long as said");
    body
}

/// Answers with a status and a body.
///
/// # Errors
/// When the client reads no more.
pub fn answer(mut stream: TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
