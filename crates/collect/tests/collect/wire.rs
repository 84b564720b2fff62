//! Recorded bodies of several vendors under `../shared`, which nothing was written for. Skips aloud without them.
#![expect(clippy::print_stderr, reason = "a test says what it measured and what it skips")]
use std::collections::BTreeMap;
use std::path::PathBuf;

use collect::Collect;

use crate::read_as;

#[test]
fn no_recorded_body_is_lost_or_misread() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/wire");
    let Ok(files) = std::fs::read_dir(&folder) else { return eprintln!("SKIPPED: {} is not here", folder.display()) };
    for path in files.map(|file| file.expect("the folder is read").path()) {
        let (memory, counts) = read_as(&Collect::default(), std::fs::File::open(&path).expect("the file opens"));
        let mut reasons: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for reject in &memory.rejects {
            let reason = reject.problem.split(": ").next().unwrap_or_default();
            let known = reasons.entry(format!("{}: {reason}", reject.field)).or_insert((0, reject.line));
            known.0 += 1;
        }
        eprintln!("{}: {} calls, {} rejected", path.display(), counts.calls, counts.rejected);
        counts.formats.iter().for_each(|(name, count)| eprintln!("  {name}: {} calls, {} lossy, {} rejected", count.calls, count.lossy, count.rejected));
        reasons.iter().for_each(|(reason, (count, line))| eprintln!("  {count} × {reason} (line {line})"));
    }
}
