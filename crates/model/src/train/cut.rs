//! How the rows of a pack are cut into chunks that are computed side by side. Knows counts of rows, no meaning of them.
use rayon::prelude::*;

use super::float::Float;
use super::parameters::Layer;

/// Least rows that are worth a thread of their own.
const CHUNK: usize = 128;

/// How the rows of a pack are cut into chunks that are taken side by side: into one, if others are computed beside the pack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    rows: usize,
    chunk: usize,
}

impl Cut {
    /// For a pack of so many rows, into so many chunks at most.
    pub fn new(rows: usize, most: usize) -> Self {
        let chunk = if most > 1 { rows.div_ceil(most).max(CHUNK) } else { rows };
        Self { rows, chunk: chunk.max(1) }
    }

    /// The same for fewer rows: no more chunks, and none too small.
    pub fn over(self, rows: usize) -> Self {
        Self::new(rows, self.count())
    }

    /// Whether there are several.
    pub fn wide(self) -> bool {
        self.chunk < self.rows
    }

    fn count(self) -> usize {
        self.rows.div_ceil(self.chunk)
    }

    /// The chunks of a buffer; as many empty ones of an empty buffer.
    pub fn of<T>(self, buffer: &[T]) -> Vec<&[T]> {
        match buffer.len() / self.rows * self.chunk {
            0 => vec![&[]; self.count()],
            size => buffer.chunks(size).collect(),
        }
    }

    /// [`Cut::of`] to be written.
    pub fn of_mut<T>(self, buffer: &mut [T]) -> Vec<&mut [T]> {
        match buffer.len() / self.rows * self.chunk {
            0 => (0..self.count()).map(|_| Default::default()).collect(),
            size => buffer.chunks_mut(size).collect(),
        }
    }

    /// Runs a piece of the way back over all chunks. Where there are several, each adds up gradients by itself, and these are
    /// added in the order of the chunks.
    pub fn back<F: Float, I: Send>(self, parts: Vec<I>, gradient: &mut Layer<F>, run: impl Fn(I, &mut Layer<F>) + Sync) {
        if !self.wide() {
            return parts.into_iter().for_each(|part| run(part, gradient));
        }
        let alone = |part: I| {
            let mut own = gradient.zeros();
            run(part, &mut own);
            own
        };
        let sums: Vec<Layer<F>> = parts.into_par_iter().map(alone).collect();
        sums.iter().for_each(|sum| gradient.add(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn chunks_follow_one_another() {
        let buffer: Vec<usize> = (0..1400).collect();
        for (wide, sizes) in [(true, vec![256, 256, 188]), (false, vec![700 * 2])] {
            let cut = if wide { Cut { rows: 350, chunk: 128 } } else { Cut::new(700, 1) };
            let width = 1400 / cut.rows;
            let sizes: Vec<usize> = if wide { vec![128 * width, 128 * width, 94 * width] } else { sizes };
            assert_eq!(cut.of(&buffer).iter().map(|chunk| chunk.len()).collect::<Vec<_>>(), sizes);
            assert_eq!(cut.of(&buffer).concat(), buffer);
            assert_eq!(cut.of_mut(&mut buffer.clone()).concat(), buffer);
        }
        assert_eq!([100, 1000, 16_000].map(|rows| Cut::new(rows, 16).chunk), [128, 128, 1000]);
        assert!(Cut::new(300, 16).of::<u8>(&[]).iter().all(|chunk| chunk.is_empty()), "no adapter, no chunk");
    }
}
