//! The two ends of `crates/dev/scripts/serve-kill-test.sh`: `serve_load stub` is an upstream and says its address; `serve_load ask ADDRESS`
//! calls through a proxy until it is gone, and says how many calls were answered and how many the proxy had said to lie in the store.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "two ends of a test on loopback")]

#[path = "../tests/stub/mod.rs"]
mod stub;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use stub::{STREAM, ask, chunk, post, reply};

const CALLERS: usize = 8;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next().and_then(|text| text.parse().ok())) {
        (Some("stub"), _) => upstream(),
        (Some("ask"), Some(address)) => call(address),
        _ => println!("usage: serve_load stub | serve_load ask ADDRESS"),
    }
}

fn upstream() {
    let address = stub::upstream(|asked, stream| {
        // a proxy that was killed may not have said what it wants
        let Some(line) = asked.head.first() else { return };
        let text = String::from_utf8_lossy(&asked.body[asked.body.len() / 2..]).replace(['"', '\\', '{', '}'], " ");
        let answer = if line.contains("/stream/") {
            let event = format!(
                "data: {{\"choices\": [{{\"index\": 0, \"delta\": {{\"content\": \"{text}\"}}, \"finish_reason\": \"stop\"}}]}}\n\n"
            );
            [STREAM, &chunk(event.as_bytes()), &chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"].concat()
        } else {
            let message = format!("{{\"role\": \"assistant\", \"content\": \"{text}\"}}");
            reply(
                "application/json",
                format!("{{\"choices\": [{{\"index\": 0, \"finish_reason\": \"stop\", \"message\": {message}}}]}}").as_bytes(),
            )
        };
        // a proxy that was killed reads no more
        let _ = stream.write_all(&answer);
    });
    println!("{address}");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn call(address: SocketAddr) {
    let (number, answered, mut acknowledged) = (AtomicU64::new(0), AtomicU64::new(0), 0);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                loop {
                    let at = number.fetch_add(1, Relaxed);
                    let path = if at % 2 == 0 { "/stream/v1/chat/completions" } else { "/v1/chat/completions" };
                    let body = format!(
                        "{{\"model\": \"m\", \"messages\": [{{\"role\": \"user\", \"content\": \"call {at} {}\"}}]}}",
                        "x".repeat(2000)
                    );
                    match ask(address, &post(path, "", body.as_bytes())) {
                        Ok(answer) if answer.whole => drop(answered.fetch_add(1, Relaxed)),
                        _ => return,
                    }
                }
            });
        }
        while let Ok(answer) = ask(address, b"GET /metrics HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let count = text.lines().find_map(|line| line.strip_prefix("slm_migrate_recorded_total ")?.parse().ok());
            acknowledged = count.unwrap_or(acknowledged);
            thread::sleep(Duration::from_millis(5));
        }
    });
    println!("{} {acknowledged}", answered.load(Relaxed));
}
