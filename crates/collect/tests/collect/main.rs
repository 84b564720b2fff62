//! Reading logs from outside: every format, and everything that can be wrong with a file.
mod files;
mod formats;
mod odd;
mod tools;
mod wire;

use std::convert::Infallible;
use std::io::Read;

use collect::{Collect, Collected};
use record::{Call, Recorder, Reject};

/// Keeps everything, and how large the batches were.
#[derive(Default)]
struct Memory {
    calls: Vec<Call>,
    rejects: Vec<Reject>,
    largest: usize,
}

impl Recorder for Memory {
    type Error = Infallible;
    fn record(&mut self, calls: Vec<Call>, rejects: Vec<Reject>) -> Result<(), Infallible> {
        self.largest = self.largest.max(calls.len());
        self.calls.extend(calls);
        self.rejects.extend(rejects);
        Ok(())
    }
}

fn read_as(step: &Collect, input: impl Read) -> (Memory, Collected) {
    let mut memory = Memory::default();
    let counts = step.read("log", input, &mut memory).expect("nothing here fails");
    (memory, counts)
}

fn read(input: &[u8]) -> (Memory, Collected) {
    read_as(&Collect::default(), input)
}

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(path).expect("a fixture")
}
