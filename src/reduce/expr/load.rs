//! What programs take from blocks: values, converted, or whether they are in a range, without a copy of them.

use super::foreign::Input;
use super::kernels::{any, count, map1};
use super::lane::{Data, Kept, Lane, State, Type, Validity, Value};
use super::math::{Compare, Number};
use crate::codec::Block;
use multiversion::multiversion;

/// Cells that are converted at a time where only their place in a range is wanted.
const PIECE: usize = 256;

/// The values of an input, loaded as one type, between two of their keys ([`Number::key`]), both within. There are none
/// where the first is above the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Range {
    pub(super) input: usize,
    kind: Type,
    first: i128,
    last: i128,
}

impl Range {
    /// The values of `input`, loaded as the type of `bound`, for which `input compare bound` holds or, with `flipped`,
    /// `bound compare input`. `None` if they are no range, or `bound` isn't one number.
    pub(super) fn of(input: usize, compare: Compare, bound: &Data, flipped: bool) -> Option<Self> {
        let key: i128 = match bound {
            Data::F32(bound) => (*bound.first()?).key().into(),
            Data::F64(bound) => (*bound.first()?).key().into(),
            Data::I32(bound) => (*bound.first()?).key().into(),
            Data::I64(bound) => (*bound.first()?).key().into(),
            Data::U64(bound) => (*bound.first()?).key().into(),
            Data::Bool(_) | Data::Array(_) => return None,
        };
        let (first, last) = match (compare, flipped) {
            (Compare::NotEqual, _) => return None,
            (Compare::Equal, _) => (key, key),
            (Compare::Less, false) => (i128::MIN, key - 1),
            (Compare::LessOrEqual, false) => (i128::MIN, key),
            (Compare::Less, true) => (key + 1, i128::MAX),
            (Compare::LessOrEqual, true) => (key, i128::MAX),
        };
        Some(Self { input, kind: bound.kind(), first, last })
    }

    /// What is in both; `None` if they aren't of the same values.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let same = (self.input, self.kind) == (other.input, other.kind);
        same.then(|| Self { first: self.first.max(other.first), last: self.last.min(other.last), ..self })
    }

    /// The same without NaN, which is beyond the infinities.
    pub(super) fn without_nan(self) -> Self {
        let (first, last) = match self.kind {
            Type::F32 => (f32::NEG_INFINITY.key().into(), f32::INFINITY.key().into()),
            Type::F64 => (f64::NEG_INFINITY.key().into(), f64::INFINITY.key().into()),
            _ => return self,
        };
        Self { first: self.first.max(first), last: self.last.min(last), ..self }
    }

    /// Its keys as those of `T`; `None` if there are none.
    fn keys<T: Number>(self) -> Option<(T::Key, T::Key)> {
        let (first, last) = (self.first.max(T::KEYS.0), self.last.min(T::KEYS.1));
        let key = |key| T::Key::try_from(key).ok();
        if first <= last { key(first).zip(key(last)) } else { None }
    }
}

/// A type that cells are loaded as.
trait Loaded: Number {
    /// The cells of `block`, if they are of this type as they are.
    fn of_block(block: Block<'_>) -> Option<&[Self]>;

    /// The cells of `block`, one for each place of `out`, converted losslessly (or, from 64-bit integers to floats,
    /// rounded). Those of complex numbers aren't: no program loads them.
    fn load(block: Block<'_>, out: &mut [Self]);
}

macro_rules! loaded {
    ($($kind:ident $type:ty),*) => {$(
        impl Loaded for $type {
            fn of_block(block: Block<'_>) -> Option<&[Self]> {
                if let Block::$kind(cells) = block { Some(cells) } else { None }
            }

            fn load(block: Block<'_>, out: &mut [Self]) {
                match block {
                    Block::Float16(cells) => map1(cells, out, |cell| cell.to_f32() as $type),
                    Block::BFloat16(cells) => map1(cells, out, |cell| cell.to_f32() as $type),
                    Block::Float32(cells) => map1(cells, out, |cell| cell as $type),
                    Block::Float64(cells) => map1(cells, out, |cell| cell as $type),
                    Block::Int8(cells) => map1(cells, out, |cell| cell as $type),
                    Block::Int16(cells) => map1(cells, out, |cell| cell as $type),
                    Block::Int32(cells) => map1(cells, out, |cell| cell as $type),
                    Block::Int64(cells) => map1(cells, out, |cell| cell as $type),
                    Block::UInt8(cells) | Block::Bitmask(cells) => map1(cells, out, |cell| cell as $type),
                    Block::UInt16(cells) => map1(cells, out, |cell| cell as $type),
                    Block::UInt32(cells) => map1(cells, out, |cell| cell as $type),
                    Block::UInt64(cells) => map1(cells, out, |cell| cell as $type),
                    Block::Complex64(_) | Block::Complex128(_) => {}
                }
            }
        }
    )*};
}
loaded!(Float32 f32, Float64 f64, Int32 i32, Int64 i64, UInt64 u64);

/// The values of an input, as `kind`.
pub(super) fn load(input: &Input<'_>, kind: Type, nan_as_missing: bool, out: &mut Lane) {
    let Some(block) = input.block else { return out.set_null() };
    out.valid.set(input.valid.map_or(Kept::All, Kept::Some));
    if nan_as_missing {
        drop_nan(block, &mut out.valid);
    }
    match kind {
        Type::F32 => f32::load(block, out.cells(block.len())),
        Type::F64 => f64::load(block, out.cells(block.len())),
        Type::I32 => i32::load(block, out.cells(block.len())),
        Type::I64 => i64::load(block, out.cells(block.len())),
        Type::U64 => u64::load(block, out.cells(block.len())),
        Type::Bool | Type::Array => match block {
            Block::Bitmask(cells) => map1(cells, out.cells(cells.len()), |cell| cell != 0),
            _ => out.set_null(),
        },
    }
}

/// Makes NaN NULL.
fn drop_nan(block: Block<'_>, valid: &mut Validity) {
    fn of<T: Copy>(cells: &[T], valid: &mut Validity, is_nan: impl Fn(T) -> bool) {
        if valid.state == State::None || !any(cells, &is_nan) {
            return;
        }
        if valid.state == State::All {
            valid.mask.clear();
            valid.mask.resize(cells.len(), true);
            valid.state = State::Mask;
        }
        valid.mask.iter_mut().zip(cells).for_each(|(valid, &cell)| *valid &= !is_nan(cell));
    }
    match block {
        Block::Float32(cells) => of(cells, valid, f32::is_nan),
        Block::Float64(cells) => of(cells, valid, f64::is_nan),
        Block::Float16(cells) => of(cells, valid, half::f16::is_nan),
        Block::BFloat16(cells) => of(cells, valid, half::bf16::is_nan),
        _ => {}
    }
}

/// A mask: which cells of an input are there, and in `range`.
pub(super) fn within(range: Range, input: &Input<'_>, out: &mut Lane) {
    out.valid.state = State::All;
    let Some(block) = input.block else { return out.set_uniform(false) };
    match range.kind {
        Type::F32 => within_as::<f32>(range, block, out),
        Type::F64 => within_as::<f64>(range, block, out),
        Type::I32 => within_as::<i32>(range, block, out),
        Type::I64 => within_as::<i64>(range, block, out),
        Type::U64 => within_as::<u64>(range, block, out),
        Type::Bool | Type::Array => out.set_uniform(false), // no type of a range
    }
    if let (false, Some(valid)) = (out.uniform, input.valid) {
        let cells = bool::of_mut(&mut out.data);
        cells.iter_mut().zip(valid).for_each(|(kept, &valid)| *kept &= valid);
    }
    settle(out);
}

fn within_as<T: Loaded>(range: Range, block: Block<'_>, out: &mut Lane) {
    let Some(keys) = range.keys::<T>() else { return out.set_uniform(false) };
    let out = out.cells(block.len());
    if let Some(cells) = T::of_block(block) {
        return keep(cells, keys, out);
    }
    let mut loaded = [T::default(); PIECE];
    for (number, out) in out.chunks_mut(PIECE).enumerate() {
        let cells = &mut loaded[..out.len()];
        T::load(block.slice(number * PIECE, number * PIECE + cells.len()), cells);
        keep(cells, keys, out);
    }
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2",
    "x86_64+avx2+bmi2",
    "aarch64+neon"
))]
fn keep<T: Number>(cells: &[T], (first, last): (T::Key, T::Key), out: &mut [bool]) {
    for (kept, cell) in out.iter_mut().zip(cells) {
        let key = cell.key();
        *kept = (first <= key) & (key <= last);
    }
}

/// Of masks that keep everything or nothing, makes uniform ones: what depends on them gets cheap.
pub(super) fn settle(out: &mut Lane) {
    if out.uniform {
        return;
    }
    let cells = bool::of(&out.data);
    match count(cells) {
        0 => out.set_uniform(false),
        kept if kept == cells.len() => out.set_uniform(true),
        _ => {}
    }
}
