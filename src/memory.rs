//! What memory this process may take and has taken, as far as Linux tells it.
use anyhow::Context as _;

use crate::context::Context;

/// Bytes that training may take: as configured, else four fifths of what is free; no bound where nobody tells.
///
/// # Errors
/// When the configured size is none.
pub fn limit(context: &Context) -> anyhow::Result<u64> {
    if let Some(size) = &context.config.max_memory {
        return select::parse_size(size).context("`max_memory` does not fit");
    }
    let machine = field("/proc/meminfo", "MemAvailable:");
    // a container may have less than its machine
    let group = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse::<u64>().ok();
    let container = group("memory.max").map(|most| most.saturating_sub(group("memory.current").unwrap_or(0)));
    let free = machine.into_iter().chain(container).min();
    Ok(free.map_or(u64::MAX, |free| (free + resident().unwrap_or(0)) / 5 * 4))
}

/// Bytes that this process holds.
pub fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// Most bytes that this process ever held.
pub fn peak() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// Bytes that a line of a file of `/proc` gives in kB.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
