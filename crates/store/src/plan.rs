//! Which bodies belong in which batch. Pure: row numbers in, batches out.

/// Where one body lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Row id of the call.
    pub call: i64,
    /// Row id of its conversation.
    pub conversation: i64,
    /// Row id of the segment that holds the body.
    pub segment: i64,
    /// Position in the segment.
    pub position: usize,
    /// Bytes before compression.
    pub bytes: usize,
}

/// Plain bytes of a batch, a single longer conversation apart.
pub const BATCH_BYTES: usize = 32 << 20;

/// Cuts places (sorted by conversation) into batches of whole conversations: at most `max_calls` calls and
/// `max_bytes` bytes each, unless one conversation alone is larger.
pub fn batches(places: &[Place], max_calls: usize, max_bytes: usize) -> Vec<&[Place]> {
    let (mut batches, mut start, mut end, mut bytes) = (Vec::new(), 0, 0, 0);
    for conversation in places.chunk_by(|a, b| a.conversation == b.conversation) {
        let size: usize = conversation.iter().map(|place| place.bytes).sum();
        if end > start && (end - start + conversation.len() > max_calls || bytes + size > max_bytes) {
            batches.push(&places[start..end]);
            (start, bytes) = (end, 0);
        }
        end += conversation.len();
        bytes += size;
    }
    if end > start {
        batches.push(&places[start..end]);
    }
    batches
}
