//! Size, speed and memory of storing a log of call records and its clean copy (here unchanged):
//! `zstd -dc --long=31 LOG.zst | cargo run --release -p store --example measure_store -- FOLDER`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example that prints its figures and stands in for scrub")]
use std::io::BufRead;
use std::time::Instant;

use record::{Call, Clean, Fingerprint, Time};
use store::{Keys, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::path::PathBuf::from(std::env::args().nth(1).ok_or("name a folder that may be overwritten")?);
    let _ = std::fs::remove_dir_all(&folder);
    let path = folder.join("log.db");
    let store = Store::create(&path, Keys::create(&folder.join("keys"))?, || Time(0))?;
    let (mut parse, mut append, mut bytes) = (0.0, 0.0, 0);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        let start = Instant::now();
        let (mut calls, mut size) = (Vec::new(), 0);
        for line in lines.by_ref() {
            let line = line?;
            size += line.len();
            calls.push(serde_json::from_str::<Call>(&line)?);
            if size > 32 << 20 || calls.len() == 2048 {
                break;
            }
        }
        parse += start.elapsed().as_secs_f64();
        if calls.is_empty() {
            break;
        }
        bytes += size;
        let start = Instant::now();
        store.append(&calls, &[])?;
        append += start.elapsed().as_secs_f64();
    }
    let raw = store.counts()?;
    println!("parse {parse:.2} s, append {append:.2} s, {bytes} bytes, stored {}", raw.stored_bytes);
    let (start, mut put) = (Instant::now(), 0.0);
    for batch in store.raw_conversations(&Fingerprint::of_bytes(b"identity"), 4096)? {
        let batch = batch?;
        let clean: Vec<_> = batch.calls.into_iter().map(Clean::vouch).collect();
        let begin = Instant::now();
        store.put_clean(&batch.id, &clean)?;
        put += begin.elapsed().as_secs_f64();
    }
    println!("read raw {:.2} s, put clean {put:.2} s", start.elapsed().as_secs_f64() - put);
    let start = Instant::now();
    let calls = store.clean_calls()?.try_fold(0, |sum, batch| Ok::<_, store::Error>(sum + batch?.len()))?;
    println!("read {calls} clean calls {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    println!("{} tasks, frame {:.2} s", store.task_stats()?.len(), start.elapsed().as_secs_f64());
    println!("{:?}\n{:?}", store.counts()?, store.verify()?);
    drop(store);
    println!("{} bytes on disk", std::fs::metadata(&path)?.len());
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no VmHWM"));
    Ok(())
}
