//! Predictors and the quantiser: from codes to values.

use super::Result;
use super::huffman::{Codes, Tree};
use super::reader::Reader;

/// The values of one stream, as native bytes.
#[derive(Debug)]
pub(super) struct Cells<'a>(&'a mut [[u8; 8]]);

impl<'a> Cells<'a> {
    pub(super) fn new(values: &'a mut [[u8; 8]]) -> Self {
        values.fill([0; 8]);
        Self(values)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn get(&self, at: usize) -> f64 {
        f64::from_ne_bytes(self.0[at])
    }

    #[inline(always)]
    fn set(&mut self, at: usize, value: f64) {
        self.0[at] = value.to_ne_bytes();
    }
}

/// Makes values of predictions and codes: the distance in steps of twice the bound, or 0 for a value that is stored.
#[derive(Debug)]
pub(super) struct Quantizer<'a> {
    bound: f64,
    radius: i32,
    /// Values that couldn't be predicted.
    stored: &'a [[u8; 8]],
}

impl<'a> Quantizer<'a> {
    pub(super) fn read(raw: &mut Reader<'a>) -> Result<Self> {
        let kind = raw.u8()?;
        if kind != 2 {
            return Err(format!("quantiser {kind}, wanted 2"));
        }
        let (bound, radius, count) = (raw.f64()?, raw.i32()?, raw.u64()?);
        let stored = raw.bytes(count.checked_mul(8).ok_or("too many stored values")?)?;
        Ok(Self { bound, radius, stored: stored.as_chunks().0 })
    }

    #[inline(always)]
    fn recover(&mut self, prediction: f64, code: i32) -> Result<f64> {
        if code == 0 {
            return self.stored();
        }
        let steps = code.wrapping_sub(self.radius).wrapping_mul(2);
        Ok(prediction + f64::from(steps) * self.bound)
    }

    fn stored(&mut self) -> Result<f64> {
        let (first, rest) =
            self.stored.split_first().ok_or("more stored values are asked for than there are")?;
        self.stored = rest;
        Ok(f64::from_le_bytes(*first))
    }
}

/// Prediction from the one or two values before, chosen block by block.
#[derive(Debug)]
pub(super) struct Lorenzo<'a> {
    block: usize,
    choice: Choice<'a>,
}

#[derive(Debug)]
enum Choice<'a> {
    /// The same order everywhere.
    Always(i32),
    /// Codes say: 0 is the first order.
    Coded(Codes<'a>),
}

impl<'a> Lorenzo<'a> {
    pub(super) fn read(raw: &mut Reader<'a>, values: u64, orders: [bool; 2], block: u64) -> Result<Self> {
        let choice = match orders {
            [true, true] => {
                let (count, wanted) = (raw.u64()?, values.div_ceil(block));
                if count != wanted {
                    return Err(format!("predictors of {count} blocks, wanted {wanted}"));
                }
                Choice::Coded(Tree::read(raw)?.codes(raw)?)
            }
            [first, _] => Choice::Always(i32::from(!first)),
        };
        Ok(Self { block: usize::try_from(block).unwrap_or(usize::MAX), choice })
    }

    pub(super) fn decode(
        mut self,
        quantizer: &mut Quantizer<'_>,
        codes: &mut Codes<'_>,
        cells: &mut Cells<'_>,
    ) -> Result<()> {
        let (mut last, mut before) = (0.0, 0.0);
        for start in (0..cells.len()).step_by(self.block) {
            let order = match &mut self.choice {
                Choice::Always(order) => *order,
                Choice::Coded(codes) => codes.next()?,
            };
            if !matches!(order, 0 | 1) {
                return Err(format!("predictor {order}, wanted 0 or 1"));
            }
            for at in start..cells.len().min(start.saturating_add(self.block)) {
                let prediction = if order == 0 { last } else { 2.0 * last - before };
                let value = quantizer.recover(prediction, codes.next()?)?;
                (before, last) = (last, value);
                cells.set(at, value);
            }
        }
        Ok(())
    }
}

/// Prediction from neighbours on both sides, from a coarse grid to finer ones.
#[derive(Debug)]
pub(super) struct Interpolation {
    /// Strides in a block, even.
    block: u64,
    cubic: bool,
    /// Distance of values that are stored as they are; 0 for none.
    anchors: u64,
    /// How the bound shrinks on coarse grids.
    alpha: f64,
    beta: f64,
}

impl Interpolation {
    pub(super) fn read(raw: &mut Reader<'_>, values: u64) -> Result<Self> {
        let (dim, block, method, _direction) = (raw.u64()?, raw.u32()?, raw.i32()?, raw.i32()?);
        let (anchors, alpha, beta) = (raw.u64()?, raw.f64()?, raw.f64()?);
        if dim != values {
            return Err(format!("interpolation of {dim} values, wanted {values}"));
        }
        if block == 0
            || block % 2 != 0
            || !matches!(method, 0 | 1)
            || !(anchors == 0 || anchors.is_power_of_two())
        {
            return Err(format!("interpolation {method} in blocks of {block} with anchors at {anchors}"));
        }
        let anchors = if values > anchors { anchors } else { 0 };
        Ok(Self { block: block.into(), cubic: method == 1, anchors, alpha, beta })
    }

    pub(super) fn decode(
        &self,
        quantizer: &mut Quantizer<'_>,
        codes: &mut Codes<'_>,
        cells: &mut Cells<'_>,
    ) -> Result<()> {
        let len = cells.len() as u64;
        let Some(last) = len.checked_sub(1) else { return Ok(()) };
        let mut level = if last == 0 { 0 } else { u64::BITS - last.leading_zeros() }; // log2, rounded up
        if self.anchors == 0 {
            let value = quantizer.recover(0.0, codes.next()?)?;
            cells.set(0, value);
        } else {
            level = level.min(self.anchors.ilog2() + 1) - 1;
            for at in (0..len).step_by(usize::try_from(self.anchors).unwrap_or(usize::MAX)) {
                codes.next()?;
                cells.set(at as usize, quantizer.stored()?);
            }
        }
        let bound = quantizer.bound;
        for level in (1..=level).rev() {
            if self.alpha < 0.0 {
                quantizer.bound = if level >= 3 { bound * 0.5 } else { bound };
            } else if self.alpha >= 1.0 {
                let ratio = self.alpha.powf(f64::from(level - 1));
                quantizer.bound = bound / if ratio > self.beta { self.beta } else { ratio };
            }
            let stride = 1_u64 << (level - 1);
            let step = self.block.saturating_mul(stride);
            let mut start = 0;
            while start < len {
                let end = start.saturating_add(step).min(last);
                let count = ((end - start) / stride + 1) as usize;
                let line = Line { start: start as usize, stride: stride as usize, count };
                line.decode(self.cubic, quantizer, codes, cells)?;
                start = start.saturating_add(step);
            }
        }
        Ok(())
    }
}

/// Values at equal distances, of which every other one is known.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: usize,
    stride: usize,
    count: usize,
}

impl Line {
    #[inline(always)]
    fn decode(
        self,
        cubic: bool,
        quantizer: &mut Quantizer<'_>,
        codes: &mut Codes<'_>,
        cells: &mut Cells<'_>,
    ) -> Result<()> {
        let n = self.count;
        if n <= 1 {
            return Ok(());
        }
        let place = |i: usize| self.start + i * self.stride;
        let mut put = |cells: &mut Cells<'_>, i: usize, prediction: f64| -> Result<()> {
            let value = quantizer.recover(prediction, codes.next()?)?;
            cells.set(place(i), value);
            Ok(())
        };
        let at = |cells: &Cells<'_>, i: usize| cells.get(place(i));
        if !cubic || n < 5 {
            for i in (1..n - 1).step_by(2) {
                let prediction = (at(cells, i - 1) + at(cells, i + 1)) / 2.0;
                put(cells, i, prediction)?;
            }
            if n.is_multiple_of(2) {
                let last = at(cells, n - 2);
                let prediction = if n < 4 { last } else { -0.5 * at(cells, n - 4) + 1.5 * last };
                put(cells, n - 1, prediction)?;
            }
            return Ok(());
        }
        let mut i = 3;
        while i + 3 < n {
            let [a, b, c, d] = [i - 3, i - 1, i + 1, i + 3].map(|i| at(cells, i));
            put(cells, i, (-a + 9.0 * b + 9.0 * c - d) / 16.0)?;
            i += 2;
        }
        let [a, b, c] = [0, 2, 4].map(|i| at(cells, i));
        put(cells, 1, (3.0 * a + 6.0 * b - c) / 8.0)?;
        let [a, b, c] = [i - 3, i - 1, i + 1].map(|i| at(cells, i));
        put(cells, i, (-a + 6.0 * b + 3.0 * c) / 8.0)?;
        if n.is_multiple_of(2) {
            let [a, b, c] = [n - 6, n - 4, n - 2].map(|i| at(cells, i));
            put(cells, n - 1, (3.0 * a - 10.0 * b + 15.0 * c) / 8.0)?;
        }
        Ok(())
    }
}
