//! Speed and memory of reading a log: `cargo run --release -p collect --example measure_collect -- LOG`.
#![expect(clippy::print_stdout, reason = "an example that prints its figures")]
use std::convert::Infallible;
use std::time::Instant;

use record::{Call, Recorder, Reject};

struct Nowhere;

impl Recorder for Nowhere {
    type Error = Infallible;
    fn record(&mut self, _: Vec<Call>, rejects: Vec<Reject>) -> Result<(), Infallible> {
        for reject in rejects.iter().take(5) {
            println!("{}:{} {} {} ({})", reject.file, reject.line, reject.field, reject.problem, reject.cure);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let start = Instant::now();
        let found = collect::Collect::default().read(&path, std::fs::File::open(&path)?, &mut Nowhere)?;
        println!("{path}: {:.2} s, {}", start.elapsed().as_secs_f64(), serde_json::to_string(&found)?);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no VmHWM"));
    Ok(())
}
