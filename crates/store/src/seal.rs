//! Compressing many calls together and sealing the result for the roles that may read it.
//!
//! Knows bytes, roles and keys; not what the bytes mean nor where they lie.
use std::io::{Read, Write};

use crate::collector::Recipients;
use crate::{Error, Keys, Result, Role};

/// Agent prompts repeat across calls, often megabytes apart: the match finder must see the whole segment.
const WINDOW_LOG: u32 = 27;

/// What a sealed body holds, which decides who may open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Raw,
    Clean,
    Reject,
    Prediction,
    Trail,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Clean => "clean",
            Self::Reject => "reject",
            Self::Prediction => "prediction",
            Self::Trail => "trail",
        }
    }

    /// The roles that can open it, the one to ask for first.
    pub const fn readers(self) -> &'static [Role] {
        match self {
            Self::Raw | Self::Reject => &[Role::Curator],
            Self::Clean | Self::Prediction => &[Role::Trainer, Role::Curator],
            Self::Trail => &[Role::Auditor],
        }
    }

    /// What a person would call reading it.
    pub const fn reading(self) -> &'static str {
        match self {
            Self::Raw => "read raw calls",
            Self::Reject => "read rejects",
            Self::Clean => "read clean calls",
            Self::Prediction => "read results",
            Self::Trail => "read the audit trail",
        }
    }

    /// Compression level and window. Raw calls come as fast as a log is read and may leave
    /// again by age; clean ones are written once, behind slower work, and read often (docs/log.md has the figures).
    const fn packing(self) -> (i32, Window) {
        match self {
            Self::Raw => (3, Window { log: 24, far: false }),
            Self::Clean => (9, Window { log: WINDOW_LOG, far: true }),
            Self::Reject | Self::Prediction | Self::Trail => (3, Window { log: WINDOW_LOG, far: true }),
        }
    }
}

/// How far back compression looks.
struct Window {
    /// Bytes, as a power of two.
    log: u32,
    /// Whether repeats that lie far back are looked for by themselves: a fifth smaller, at three times the work.
    far: bool,
}

/// Compresses `plain` and seals it for the readers of `kind`.
pub fn seal(kind: Kind, plain: &[u8], keys: &Recipients) -> Result<Vec<u8>> {
    let fail = |cause: String| Error::Segment { segment: 0, cause };
    let recipients = kind.readers().iter().flat_map(|role| keys.of(*role)).map(|r| r as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|e| fail(e.to_string()))?;
    let mut sealed = Vec::new();
    let pack = || -> std::io::Result<()> {
        let writer = encryptor.wrap_output(&mut sealed)?;
        let (level, window) = kind.packing();
        let mut encoder = zstd::stream::Encoder::new(writer, level)?;
        // Tables sized for a long window cost more than they save on a short text.
        if plain.len() > 1 << 20 {
            encoder.long_distance_matching(window.far)?;
            encoder.window_log(window.log)?;
        }
        encoder.set_pledged_src_size(Some(plain.len() as u64))?;
        encoder.write_all(plain)?;
        encoder.finish()?.finish()?;
        Ok(())
    };
    pack().map_err(|e| fail(e.to_string()))?;
    Ok(sealed)
}

/// Opens and decompresses a sealed body. `segment` is for the error.
pub fn open(kind: Kind, sealed: &[u8], keys: &Keys, segment: i64) -> Result<Vec<u8>> {
    let identities = keys.identities(kind.readers(), kind.reading())?;
    let fail = |cause: String| Error::Segment { segment, cause };
    let decryptor = age::Decryptor::new(sealed).map_err(|e| fail(e.to_string()))?;
    let reader = decryptor.decrypt(identities.into_iter().map(|i| i as &dyn age::Identity)).map_err(|e| fail(e.to_string()))?;
    let mut decoder = zstd::stream::Decoder::new(reader).map_err(|e| fail(e.to_string()))?;
    decoder.window_log_max(WINDOW_LOG).map_err(|e| fail(e.to_string()))?;
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).map_err(|e| fail(e.to_string()))?;
    Ok(plain)
}

/// Seals a body anew for other recipients, without unpacking it.
pub fn reseal(kind: Kind, sealed: &[u8], keys: &Keys, recipients: &Recipients, segment: i64) -> Result<Vec<u8>> {
    let packed = unlock(kind, sealed, keys, segment)?;
    let fail = |cause: String| Error::Segment { segment, cause };
    let recipients = kind.readers().iter().flat_map(|role| recipients.of(*role)).map(|r| r as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(|e| fail(e.to_string()))?;
    let mut body = Vec::with_capacity(packed.len() + 512);
    let lock = || -> std::io::Result<()> {
        let mut writer = encryptor.wrap_output(&mut body)?;
        writer.write_all(&packed)?;
        writer.finish()?;
        Ok(())
    };
    lock().map_err(|e| fail(e.to_string()))?;
    Ok(body)
}

/// What was sealed, still packed.
fn unlock(kind: Kind, sealed: &[u8], keys: &Keys, segment: i64) -> Result<Vec<u8>> {
    let identities = keys.identities(kind.readers(), kind.reading())?;
    let fail = |cause: String| Error::Segment { segment, cause };
    let decryptor = age::Decryptor::new(sealed).map_err(|e| fail(e.to_string()))?;
    let mut reader = decryptor.decrypt(identities.into_iter().map(|i| i as &dyn age::Identity)).map_err(|e| fail(e.to_string()))?;
    let mut packed = Vec::new();
    reader.read_to_end(&mut packed).map_err(|e| fail(e.to_string()))?;
    Ok(packed)
}
