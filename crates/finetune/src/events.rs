//! A run's numbers as TensorBoard reads them: records of serialised events, written out by hand (docs/decisions/0011).
//!
//! Knows no clock: an event's wall time is its step in seconds, so that the same run leaves the same bytes. Knows nothing of
//! where the bytes go.
use crate::Outcome;

/// Name of the event file. TensorBoard asks for `tfevents` in it; the time and the host that others put there would differ from run to run.
pub const EVENTS: &str = "events.out.tfevents.0.slm-migrate";

impl Outcome {
    /// The run as an event file: at step 0 the validation loss before the first step, then at each step `train/loss`,
    /// `train/learning_rate` and `train/gradient_norm`, with `validation/loss` and `validation/right` where it was looked at.
    /// Rounded to 32 bits, as the format has it; `metrics.jsonl` has all digits.
    #[must_use]
    pub fn events(&self) -> Vec<u8> {
        let mut out = Vec::new();
        record(&mut out, &text(3, b"brain.Event:2"));
        if let Some(loss) = self.first_validation_loss {
            record(&mut out, &event(0, &[("validation/loss", loss)]));
        }
        for row in &self.rows {
            let mut scalars = vec![("train/loss", row.loss), ("train/learning_rate", row.lr), ("train/gradient_norm", row.grad_norm)];
            scalars.extend(row.validation_loss.map(|loss| ("validation/loss", loss)));
            scalars.extend(row.validation_right.map(|right| ("validation/right", right)));
            record(&mut out, &event(row.step, &scalars));
        }
        out
    }
}

/// A `tensorflow.Event` (event.proto) with a summary of scalars. Fields in the order of their numbers; those of value 0 are not written.
fn event(step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut event = Vec::new();
    if step > 0 {
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let wall_time = step as f64;
        event.push(key(1, FIXED64));
        event.extend(wall_time.to_le_bytes());
        event.push(key(2, VARINT));
        varint(&mut event, step);
    }
    let summary: Vec<u8> = scalars.iter().flat_map(|(tag, value)| text(1, &scalar(tag, *value))).collect();
    event.extend(text(5, &summary));
    event
}

/// A `tensorflow.Summary.Value` (summary.proto): a tag and a `simple_value`, which is written even where it is 0.
fn scalar(tag: &str, value: f64) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, reason = "the format holds 32 bits")]
    let value = value as f32;
    let mut bytes = text(1, tag.as_bytes());
    bytes.push(key(2, FIXED32));
    bytes.extend(value.to_le_bytes());
    bytes
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// A field's number and wire type (protobuf encoding), for numbers up to 15.
const fn key(field: u8, wire: u8) -> u8 {
    field << 3 | wire
}

/// A field of text or of a nested message.
fn text(field: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![key(field, BYTES)];
    varint(&mut bytes, content.len() as u64);
    bytes.extend(content);
    bytes
}

/// Seven bits a byte, lowest first; the eighth says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A TFRecord: length, checksum of the length, content, checksum of the content; all numbers little-endian.
fn record(out: &mut Vec<u8>, content: &[u8]) {
    let length = (content.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(content);
    out.extend(masked(crc32c(content)).to_le_bytes());
}

/// TFRecord's disguise of a checksum, for content that holds checksums itself.
const fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, RFC 3720), bit by bit: a run has some hundred bytes a step.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[cfg(test)]
mod tests {
    use super::crc32c;
    use crate::{Outcome, Row, Stop};

    /// What the writer of `tensorboard` 2.21 makes of the events below:
    /// `RecordWriter(out).write(Event(wall_time=step, step=step, summary=Summary(value=[Summary.Value(tag=…, simple_value=…), …])).SerializeToString())`
    /// for each, after one of `Event(file_version="brain.Event:2")`.
    const GOLDEN: &str = "\
        0f000000000000006d532b091a0d627261696e2e4576656e743a32fc9851291a00000000000000129bd82d2a180a160a0f76616c69646174696f6e2f\
        6c6f73731500002040409cbb885800000000000000a28b2f8c09000000000000f03f10012a4b0a110a0a747261696e2f6c6f737315000000000a1a0a\
        13747261696e2f6c6561726e696e675f72617465156f12833a0a1a0a13747261696e2f6772616469656e745f6e6f726d159a99993e2e544d038a0000\
        0000000000adbb7757090000000000c0724010ac022a7c0a110a0a747261696e2f6c6f7373150000803f0a1a0a13747261696e2f6c6561726e696e67\
        5f72617465156f12033a0a1a0a13747261696e2f6772616469656e745f6e6f726d150000803f0a160a0f76616c69646174696f6e2f6c6f7373150000\
        403f0a170a1076616c69646174696f6e2f7269676874150000003f149564b9";

    #[test]
    fn the_bytes_are_those_of_tensorboards_own_writer() {
        let row = |step, loss, lr, grad_norm| Row { step, loss, lr, grad_norm, tokens: 9, validation_loss: None, validation_right: None };
        let last = Row { validation_loss: Some(0.75), validation_right: Some(0.5), ..row(300, 1.0, 5e-4, 1.0) };
        let outcome = Outcome {
            steps: 300,
            best_step: 300,
            train_loss: 1.0,
            first_validation_loss: Some(2.5),
            validation_loss: Some(0.75),
            validation_right: Some(0.5),
            stop: Stop::Finished,
            rows: vec![row(1, 0.0, 1e-3, 0.3), last],
        };
        let hex: String = outcome.events().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
