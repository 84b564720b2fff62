//! What is looked back on: branches of the tree of sequences, in runs of rows, blocks of queries and tiles of keys. Knows places, no values.
/// Query rows that are taken at once, those of all heads of a group together: keys and values are packed for a product once for
/// all of them.
const BLOCK: usize = 64;

/// Rows for which the keys and values of their path are gathered once.
const RUN: usize = 256;

/// Keys that are taken at once: the scores of a group's queries should stay in the second-level cache.
const TILE: usize = 512;

/// Keys that are past together.
const PAST: usize = super::unit::TILE;

/// Rows that lie one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

/// A branch of the tree of sequences: its row i attends to all that lies before the branch, and to its own rows up to i.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its own rows.
    pub own: Span,
    /// The rows between the root and the branch, in order.
    pub before: Vec<Span>,
}

/// Rows of one segment that are taken one block after the other, and the keys that they see: all that lies before them on their
/// path, and their own.
pub(crate) struct Run<'a> {
    /// Its rows.
    pub own: Span,
    /// Keys at the beginning of the path that none of them sees any more.
    past: usize,
    /// Keys before its first row's own, those that are past left out.
    first: usize,
    /// Keys that a row sees at most.
    window: usize,
    segment: &'a Segment,
}

impl<'a> Run<'a> {
    pub fn all(segment: &'a Segment, window: Option<usize>) -> impl Iterator<Item = Self> {
        let Span { start, len } = segment.own;
        let before: usize = segment.before.iter().map(|span| span.len).sum();
        let window = window.unwrap_or(usize::MAX);
        (0..len).step_by(RUN).map(move |at| {
            // whole tiles of the matrix unit, so that a row's result does not depend on where its run begins
            let past = (before + at + 1).saturating_sub(window) / PAST * PAST;
            Self { own: Span { start: start + at, len: RUN.min(len - at) }, past, first: before + at - past, window, segment }
        })
    }

    /// Whether any of its rows is among those `asked` for, which are in order; all are, where none are named.
    pub fn has_any(&self, asked: Option<&[usize]>) -> bool {
        let Span { start, len } = self.own;
        asked.is_none_or(|rows| rows.get(rows.partition_point(|row| *row < start)).is_some_and(|row| *row < start + len))
    }

    /// Keys that its rows see, and what is past of their first tile.
    pub fn keys(&self) -> usize {
        self.first + self.own.len
    }

    /// The rows of these keys, in order.
    pub fn path(&self) -> impl Iterator<Item = Span> {
        let start = self.segment.own.start;
        let own = Span { start, len: self.own.start + self.own.len - start };
        let spans = self.segment.before.iter().copied().chain([own]);
        spans.scan(self.past, |past, span| {
            let gone = span.len.min(*past);
            *past -= gone;
            Some(Span { start: span.start + gone, len: span.len - gone })
        })
    }

    /// Its rows in blocks: the first row, counted from the run's, and how many.
    pub fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let len = self.own.len;
        (0..len).step_by(BLOCK).map(move |at| (at, BLOCK.min(len - at)))
    }

    /// The keys that a block sees in tiles: the first key, how many, and what its rows see of them.
    pub fn tiles(&self, (at, count): (usize, usize)) -> impl Iterator<Item = (usize, usize, Sight)> + use<> {
        let (first, window) = (self.first + at, self.window);
        let end = first + count;
        ((first + 1).saturating_sub(window)..end)
            .step_by(TILE)
            .map(move |key| (key, TILE.min(end - key), Sight { first, count, key, window }))
    }

    /// What a block sees of the tile of `len` keys from `key` on; none if nothing.
    pub fn sight(&self, (at, count): (usize, usize), (key, len): (usize, usize)) -> Option<Sight> {
        let (first, window) = (self.first + at, self.window);
        let seen = key < first + count && key.saturating_add(len).saturating_add(window) > first + 1;
        seen.then_some(Sight { first, count, key, window })
    }
}

/// Which keys of a tile the queries of a block see.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    /// Keys before the first query's own.
    first: usize,
    /// Queries of each head.
    count: usize,
    /// Place of the tile's first key.
    key: usize,
    /// Keys that a query sees at most.
    window: usize,
}

impl Sight {
    /// The first of `len` keys that the query in row `row` of a group sees, and the end of those that it sees.
    #[inline(always)]
    pub fn of(self, row: usize, len: usize) -> (usize, usize) {
        let end = self.first + row % self.count + 1;
        let within = |place: usize| place.saturating_sub(self.key).min(len);
        (within(end.saturating_sub(self.window)), within(end))
    }

    /// The other way round: the first of the queries of a head that see the tile's key `place`, and the end of those that do.
    #[inline(always)]
    pub fn of_key(self, place: usize) -> (usize, usize) {
        let key = self.key + place;
        (key.saturating_sub(self.first).min(self.count), key.saturating_add(self.window).saturating_sub(self.first).min(self.count))
    }
}
