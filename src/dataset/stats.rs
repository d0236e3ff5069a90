//! Statistics of chunks: what an aggregate or a predicate can know of a chunk without decoding it.
//!
//! Each variable has one [`VariableStats`], shared by its clones: a slot for each chunk, empty until somebody has
//! seen all cells of the chunk (a full decode, `ANALYZE`, an index). What is put there describes the decoded
//! cells, whatever a query makes of NaN, so that it serves every query.

use crate::tgm::DType;
use std::cmp::Ordering;
use std::sync::OnceLock;
use std::sync::atomic::{self, AtomicU64};

/// A cell's value, exact: a float of any width, or an integer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Of float16, bfloat16, float32 and float64.
    Float(f64),
    /// Of integers and bitmasks (0 or 1), but for uint64.
    Int(i64),
    /// Of uint64.
    UInt(u64),
}

/// The sum of the valid cells of a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sum {
    /// Of floats: the sum as accumulated, and what rounding took from it.
    Float {
        /// The rounded sum.
        near: f64,
        /// The collected rounding errors.
        rest: f64,
    },
    /// Of integers and bitmasks, exact.
    Int(i128),
}

/// What is known of all cells of one chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkStats {
    /// Cells that aren't NaN.
    pub valid: u64,
    /// NaN cells of float data, masked ones included; 0 for other dtypes.
    pub nan: u64,
    /// Sum of the valid cells, 0 if there is none.
    pub sum: Sum,
    /// Sum of the squared deviations of the valid cells from their mean, 0 if there is none.
    pub m2: f64,
    /// Smallest and largest valid cell, where -0.0 is smaller than 0.0; `None` if there is none.
    pub bounds: Option<(Number, Number)>,
}

/// What is known of several chunks together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overview {
    /// Cells that aren't NaN.
    pub valid: u64,
    /// NaN cells of float data; 0 for other dtypes.
    pub nan: u64,
    /// Smallest and largest valid cell, as in [`ChunkStats::bounds`].
    pub bounds: Option<(Number, Number)>,
}

impl Number {
    /// The order of cells of one dtype: by value, -0.0 before 0.0.
    pub fn order(&self, other: &Self) -> Ordering {
        let int = |number: &Self| match *number {
            Self::Float(_) => None,
            Self::Int(value) => Some(i128::from(value)),
            Self::UInt(value) => Some(i128::from(value)),
        };
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            _ => int(self).cmp(&int(other)),
        }
    }
}

impl ChunkStats {
    /// Of a chunk of `dtype` without a valid cell; `nan` of its cells are NaN.
    pub fn empty(dtype: DType, nan: u64) -> Self {
        let float = dtype.is_float();
        let sum = if float { Sum::Float { near: 0.0, rest: 0.0 } } else { Sum::Int(0) };
        Self { valid: 0, nan, sum, m2: 0.0, bounds: None }
    }

    /// Number of cells.
    pub fn cells(&self) -> u64 {
        self.valid.saturating_add(self.nan)
    }

    /// The value of every cell, if all cells are valid and have the same.
    pub fn constant(&self) -> Option<Number> {
        let (min, max) = self.bounds?;
        (self.nan == 0 && min.order(&max) == Ordering::Equal).then_some(min)
    }
}

/// The sign of a float or an integer.
const SIGN: u64 = 1 << 63;

/// How the numbers of a dtype are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Int,
    UInt,
}

impl Kind {
    fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::Complex64 | DType::Complex128 => None,
            DType::UInt64 => Some(Self::UInt),
            dtype if dtype.is_float() => Some(Self::Float),
            _ => Some(Self::Int),
        }
    }

    fn number(self, word: u64) -> Number {
        match self {
            Self::Float => Number::Float(f64::from_bits(word)),
            Self::Int => Number::Int(word.cast_signed()),
            Self::UInt => Number::UInt(word),
        }
    }

    /// `word` as a number whose order is that of [`Number::order`].
    fn rank(self, word: u64) -> u64 {
        match self {
            Self::Float if word & SIGN != 0 => !word,
            Self::Float | Self::Int => word ^ SIGN,
            Self::UInt => word,
        }
    }

    /// The word of this rank.
    fn unrank(self, rank: u64) -> u64 {
        match self {
            Self::Float if rank & SIGN == 0 => !rank,
            Self::Float | Self::Int => rank ^ SIGN,
            Self::UInt => rank,
        }
    }
}

fn word(number: Number) -> (Kind, u64) {
    match number {
        Number::Float(value) => (Kind::Float, value.to_bits()),
        Number::Int(value) => (Kind::Int, value.cast_unsigned()),
        Number::UInt(value) => (Kind::UInt, value),
    }
}

/// [`ChunkStats`] of a known kind, in one cache line with the flag that says whether they are there: valid, NaN,
/// the two halves of the sum, M2, smallest, largest.
type Slot = OnceLock<[u64; 7]>;

/// Slots that are allocated together, when the first of them is filled.
type Page = OnceLock<Box<[Slot]>>;

/// Slots of a page; the last one may have fewer.
const PAGE: u64 = 256;

/// The statistics of a variable's chunks, as far as they are known. Takes a few words until the first is put. What
/// they say together is kept up to date as they come, so that it costs nothing to ask, however many there are.
#[derive(Debug)]
pub struct VariableStats {
    /// None of dtypes that have no statistics.
    kind: Option<Kind>,
    chunks: u64,
    /// Counted after the four below.
    known: AtomicU64,
    valid: AtomicU64,
    nan: AtomicU64,
    /// The smallest and the largest valid cell, by rank.
    least: AtomicU64,
    greatest: AtomicU64,
    pages: OnceLock<Box<[Page]>>,
}

impl VariableStats {
    /// Nothing known of `chunks` chunks of `dtype`.
    pub fn new(dtype: DType, chunks: u64) -> Self {
        let [known, valid, nan, greatest] = [const { AtomicU64::new(0) }; 4];
        let (kind, least) = (Kind::of(dtype), AtomicU64::new(u64::MAX));
        Self { kind, chunks, known, valid, nan, least, greatest, pages: OnceLock::new() }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Number of chunks of which statistics are known.
    pub fn known(&self) -> u64 {
        self.known.load(atomic::Ordering::Acquire)
    }

    /// What is known of these chunks together, and perhaps of some that are being put right now; `None` of dtypes
    /// that have no statistics.
    pub fn overview(&self) -> Option<Overview> {
        let kind = self.kind?;
        let of = |counter: &AtomicU64| counter.load(atomic::Ordering::Relaxed);
        let number = |rank| kind.number(kind.unrank(rank));
        let (least, greatest) = (of(&self.least), of(&self.greatest));
        let bounds = (least <= greatest).then(|| (number(least), number(greatest)));
        Some(Overview { valid: of(&self.valid), nan: of(&self.nan), bounds })
    }

    /// What is known of `chunk` (its position in the grid, C order).
    pub fn get(&self, chunk: u64) -> Option<ChunkStats> {
        let kind = self.kind?;
        let [valid, nan, high, low, m2, min, max] = self.stored(chunk)?;
        let sum = match kind {
            Kind::Float => Sum::Float { near: f64::from_bits(high), rest: f64::from_bits(low) },
            Kind::Int | Kind::UInt => Sum::Int(i128::from(high.cast_signed()) << 64 | i128::from(low)),
        };
        let bounds = (valid > 0).then(|| (kind.number(min), kind.number(max)));
        Some(ChunkStats { valid, nan, sum, m2: f64::from_bits(m2), bounds })
    }

    /// Notes what is known of `chunk`; the first to say so is believed. Returns whether it was noted: not if
    /// there is no such chunk, or the statistics are of another kind of dtype or have no bounds for valid cells.
    pub fn put(&self, chunk: u64, stats: &ChunkStats) -> bool {
        self.words(stats).is_some_and(|words| self.restore(chunk, words))
    }

    /// What is known of `chunk` as it is kept, for an index.
    pub(super) fn stored(&self, chunk: u64) -> Option<[u64; 7]> {
        let page = self.pages.get()?.get((chunk / PAGE) as usize)?.get()?;
        page.get((chunk % PAGE) as usize)?.get().copied()
    }

    /// Notes what [`VariableStats::stored`] said of `chunk` of a variable of the same dtype. Returns whether it was
    /// noted, as [`VariableStats::put`] does.
    pub(super) fn restore(&self, chunk: u64, words: [u64; 7]) -> bool {
        let (Some(kind), Some(slot)) = (self.kind, self.slot(chunk)) else { return false };
        if slot.set(words).is_err() {
            return false;
        }
        let [valid, nan, _, _, _, min, max] = words;
        self.valid.fetch_add(valid, atomic::Ordering::Relaxed);
        self.nan.fetch_add(nan, atomic::Ordering::Relaxed);
        if valid > 0 {
            self.least.fetch_min(kind.rank(min), atomic::Ordering::Relaxed);
            self.greatest.fetch_max(kind.rank(max), atomic::Ordering::Relaxed);
        }
        self.known.fetch_add(1, atomic::Ordering::Release);
        true
    }

    fn words(&self, stats: &ChunkStats) -> Option<[u64; 7]> {
        let kind = self.kind?;
        let (high, low) = match (stats.sum, kind) {
            (Sum::Float { near, rest }, Kind::Float) => (near.to_bits(), rest.to_bits()),
            (Sum::Int(sum), Kind::Int | Kind::UInt) => ((sum >> 64) as u64, sum as u64),
            _ => return None,
        };
        let (min, max) = match stats.bounds.map(|(min, max)| (word(min), word(max))) {
            Some((min, max)) if min.0 == kind && max.0 == kind && stats.valid > 0 => (min.1, max.1),
            None if stats.valid == 0 => (0, 0),
            _ => return None,
        };
        Some([stats.valid, stats.nan, high, low, stats.m2.to_bits(), min, max])
    }

    fn slot(&self, chunk: u64) -> Option<&Slot> {
        if chunk >= self.chunks {
            return None;
        }
        let pages =
            self.pages.get_or_init(|| (0..self.chunks.div_ceil(PAGE)).map(|_| OnceLock::new()).collect());
        let first = chunk / PAGE * PAGE;
        let slots = PAGE.min(self.chunks - first);
        let page = pages.get((chunk / PAGE) as usize)?;
        page.get_or_init(|| (0..slots).map(|_| OnceLock::new()).collect()).get((chunk - first) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(valid: u64, sum: i128, min: i64, max: i64) -> ChunkStats {
        let bounds = (valid > 0).then_some((Number::Int(min), Number::Int(max)));
        ChunkStats { valid, nan: 0, sum: Sum::Int(sum), m2: 2.5, bounds }
    }

    #[test]
    fn what_is_put_is_there() {
        let stats = VariableStats::new(DType::Int16, 1000);
        assert_eq!((stats.known(), stats.get(0)), (0, None));
        let some = [
            (0, ints(4, -10, -7, 2)),
            (999, ints(1, i128::from(i64::MIN) * 9, 0, 0)),
            (255, ints(0, 0, 0, 0)),
        ];
        for (chunk, one) in &some {
            assert!(stats.put(*chunk, one));
        }
        for (chunk, one) in &some {
            assert_eq!(stats.get(*chunk).as_ref(), Some(one));
        }
        assert_eq!((stats.known(), stats.get(1), stats.get(1000)), (3, None, None));
    }

    #[test]
    fn floats_keep_every_bit() {
        let stats = VariableStats::new(DType::Float32, 1);
        let one = ChunkStats {
            valid: 3,
            nan: 2,
            sum: Sum::Float { near: 1e300, rest: -3e-9 },
            m2: f64::INFINITY,
            bounds: Some((Number::Float(f64::NEG_INFINITY), Number::Float(-0.0))),
        };
        assert!(stats.put(0, &one));
        let got = stats.get(0).unwrap();
        assert_eq!(got, one);
        assert!(matches!(got.bounds, Some((_, Number::Float(max))) if max.is_sign_negative()));
    }

    #[test]
    fn the_first_is_believed_and_misfits_are_not() {
        let stats = VariableStats::new(DType::UInt64, 2);
        let large = ChunkStats {
            valid: 1,
            nan: 0,
            sum: Sum::Int(i128::from(u64::MAX)),
            m2: 0.0,
            bounds: Some((Number::UInt(u64::MAX), Number::UInt(u64::MAX))),
        };
        assert!(!stats.put(2, &large), "no such chunk");
        assert!(!stats.put(0, &ints(4, 10, 1, 4)), "signed bounds");
        assert!(!stats.put(0, &ChunkStats { bounds: None, ..large }), "valid cells without bounds");
        assert!(!stats.put(0, &ChunkStats::empty(DType::Float32, 3)), "a float sum");
        assert!(stats.put(0, &large));
        assert!(!stats.put(0, &ChunkStats::empty(DType::UInt64, 0)));
        assert_eq!((stats.get(0), stats.known()), (Some(large), 1));
        assert!(!VariableStats::new(DType::Complex64, 2).put(0, &large));
    }

    #[test]
    fn an_overview_is_of_all_that_is_known() {
        let of = |dtype, some: &[(Number, Number)]| {
            let stats = VariableStats::new(dtype, 10);
            for (chunk, &bounds) in some.iter().enumerate() {
                let empty = ChunkStats::empty(dtype, 1);
                assert!(stats.put(chunk as u64, &ChunkStats { valid: 2, bounds: Some(bounds), ..empty }));
            }
            assert!(stats.put(9, &ChunkStats::empty(dtype, 5)));
            let Overview { valid, nan, bounds } = stats.overview().unwrap();
            assert_eq!((valid, nan), (2 * some.len() as u64, 5 + some.len() as u64));
            bounds
        };
        let [float, int, uint] = [
            [-0.0, 0.0, f64::NEG_INFINITY, -3.5, 1e300].map(Number::Float),
            [-1, 0, i64::MIN, -3, 7].map(Number::Int),
            [1, 0, u64::MAX, 3, 7].map(Number::UInt),
        ];
        for (dtype, numbers) in [(DType::Float32, float), (DType::Int64, int), (DType::UInt64, uint)] {
            assert_eq!(of(dtype, &[]), None);
            for some in (1..=numbers.len()).map(|count| &numbers[..count]) {
                let bounds = of(dtype, &some.iter().map(|&number| (number, number)).collect::<Vec<_>>());
                let (min, max) = bounds.unwrap();
                assert!(some.contains(&min) && some.contains(&max));
                assert!(some.iter().all(|number| min.order(number).is_le() && max.order(number).is_ge()));
            }
        }
        assert_eq!(VariableStats::new(DType::Complex64, 2).overview(), None);
    }

    #[test]
    fn constants() {
        assert_eq!(ints(3, 21, 7, 7).constant(), Some(Number::Int(7)));
        assert_eq!(ints(3, 21, 6, 7).constant(), None);
        assert_eq!(ints(0, 0, 0, 0).constant(), None);
        let zeros = (Number::Float(-0.0), Number::Float(0.0));
        let mut floats = ChunkStats { valid: 2, bounds: Some(zeros), ..ChunkStats::empty(DType::Float64, 0) };
        assert_eq!(floats.constant(), None);
        floats.bounds = Some((zeros.1, zeros.1));
        assert_eq!(floats.constant(), Some(zeros.1));
        floats.nan = 1;
        assert_eq!(floats.constant(), None);
    }

    #[test]
    fn many_threads_fill_one_table() {
        let stats = VariableStats::new(DType::Int32, 5000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let stats = &stats;
                scope.spawn(move || {
                    (0..5000)
                        .for_each(|chunk| _ = stats.put(chunk, &ints(1, i128::from(chunk), thread, thread)));
                });
            }
        });
        assert_eq!(stats.known(), 5000);
        assert!(
            (0..5000).all(|chunk| stats.get(chunk).is_some_and(|s| s.sum == Sum::Int(i128::from(chunk))))
        );
    }
}
