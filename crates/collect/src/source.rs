//! Bytes into lines: compression told by its first bytes, not by a name; lines of bounded length.
use std::io::{self, BufRead, BufReader, Read};

/// A longer line is no call record; reading it whole would cost all memory.
const LONGEST: u64 = 256 << 20;
/// Writers may use windows up to 2 GiB (`zstd --long=31`).
const WINDOW_LOG_MAX: u32 = 31;

/// Text lines of one input.
pub struct Lines<'a> {
    input: Box<dyn BufRead + 'a>,
    number: u64,
}

/// One line as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// Without its line end. Empty where `too_long`.
    pub bytes: Vec<u8>,
    /// Whether the input ended before the line did.
    pub cut: bool,
    /// Whether it was longer than a line may be.
    pub too_long: bool,
}

impl<'a> Lines<'a> {
    /// Opens gzip and Zstandard by their magic bytes and drops a byte order mark.
    pub fn new(input: impl Read + 'a) -> io::Result<Self> {
        let input = Peeked::new(input)?;
        let plain: Box<dyn Read + 'a> = match input.start() {
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(input)),
            // A frame, or a skippable frame before one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                let mut decoder = zstd::stream::Decoder::new(input)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            _ => Box::new(input),
        };
        let mut input: Box<dyn BufRead + 'a> = Box::new(BufReader::with_capacity(1 << 18, plain));
        if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            input.consume(3);
        }
        Ok(Self { input, number: 0 })
    }

    /// Number of the line read last.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The next line; none at the end.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        if self.input.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let ended = bytes.last() == Some(&b'\n');
        let too_long = !ended && bytes.len() as u64 == LONGEST;
        if too_long {
            bytes = Vec::new();
            self.skip_line()?;
        }
        while matches!(bytes.last(), Some(b'\n' | b'\r' | b' ' | b'\t')) {
            bytes.pop();
        }
        Ok(Some(Line { number: self.number, bytes, cut: !ended && !too_long, too_long }))
    }

    /// The input from its beginning, given the lines that were read of it.
    pub fn again(self, lines: Vec<Line>) -> impl BufRead + 'a {
        let mut start = Vec::new();
        for line in lines {
            start.extend(line.bytes);
            start.push(b'\n');
        }
        io::Cursor::new(start).chain(self.input)
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let (length, found) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.input.consume(length);
            if found {
                return Ok(());
            }
        }
    }
}

/// A reader whose first four bytes are known.
struct Peeked<R> {
    start: [u8; 4],
    length: usize,
    given: usize,
    rest: R,
}

impl<R: Read> Peeked<R> {
    fn new(mut rest: R) -> io::Result<Self> {
        let (mut start, mut length) = ([0; 4], 0);
        while length < start.len() {
            match rest.read(&mut start[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { start, length, given: 0, rest })
    }

    fn start(&self) -> &[u8] {
        &self.start[..self.length]
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.length {
            return self.rest.read(buffer);
        }
        let read = (&self.start[self.given..self.length]).read(buffer)?;
        self.given += read;
        Ok(read)
    }
}
