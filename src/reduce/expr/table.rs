//! Values by the positions of dims, and how they are spread over cells.

use super::lane::{Data, Lane, State, Validity, Value, each_data};
use super::machine::Segment;
use crate::tensor::extents_of;
use crate::{Error, Result};
use std::sync::Arc;

/// A value for each combination of positions of some dims of a grid; without dims, a constant.
#[derive(Debug, Clone)]
pub struct Table {
    dims: Vec<usize>,
    /// Positions along each of `dims`.
    extents: Vec<usize>,
    data: Arc<Data>,
    /// Which values aren't NULL; `None` if none is.
    valid: Option<Arc<[bool]>>,
}

impl Table {
    /// Values over `dims` (strictly ascending) of a grid of `shape`, C order of the cross product of the whole
    /// dims; those that aren't `valid` are NULL.
    ///
    /// # Errors
    /// [`Error::Grid`] if the dims aren't ascending, leave the shape, or don't multiply to the number of values.
    pub fn try_new(shape: &[u64], dims: Vec<usize>, data: Data, valid: Option<Vec<bool>>) -> Result<Self> {
        let misfit = |what| Error::Grid { name: "table".into(), what };
        let extents = extents_of(shape, &dims, data.len()).map_err(misfit)?;
        if valid.as_ref().is_some_and(|valid| valid.len() != data.len()) {
            return Err(misfit("a mask of another length than the values".into()));
        }
        let valid = valid.filter(|valid| valid.contains(&false)).map(Into::into);
        let extents = extents.into_iter().map(|extent| extent as usize).collect();
        Ok(Self { dims, extents, data: Arc::new(data), valid })
    }

    /// Its values.
    pub(super) fn data(&self) -> &Data {
        &self.data
    }

    /// Whether it is one value that isn't NULL.
    pub(super) fn is_constant(&self) -> bool {
        self.dims.is_empty() && self.valid.is_none()
    }

    /// Where the cells of the box of `shape` at `origin` find their values.
    pub(super) fn walk(&self, origin: &[u64], shape: &[u64]) -> Walk {
        let mut strides = vec![0; shape.len()];
        let mut stride = 1;
        let mut offset = 0;
        for (&dim, &extent) in self.dims.iter().zip(&self.extents).rev() {
            offset += origin[dim] as usize * stride;
            strides[dim] = if shape[dim] > 1 { stride } else { 0 };
            stride *= extent;
        }
        let shape: Vec<usize> = shape.iter().map(|&len| len as usize).collect();
        match strides.iter().rposition(|&stride| stride > 0) {
            None => Walk {
                offset,
                inner: shape.iter().product::<usize>().max(1),
                row: 1,
                stride: 0,
                outer: vec![],
            },
            Some(last) => Walk {
                offset,
                inner: shape[last + 1..].iter().product::<usize>().max(1),
                row: shape[last],
                stride: strides[last],
                outer: shape[..last].iter().copied().zip(strides.iter().copied()).collect(),
            },
        }
    }

    /// The values of the cells of `segments`, `len` in all.
    pub(super) fn spread(&self, walk: &Walk, segments: &[Segment], len: usize, out: &mut Lane) {
        each_data!(&*self.data, values => self.spread_values(values, walk, segments, len, out), array => ());
    }

    fn spread_values<T: Value>(
        &self,
        values: &[T],
        walk: &Walk,
        segments: &[Segment],
        len: usize,
        out: &mut Lane,
    ) {
        if let Some(index) = walk.single(segments) {
            let valid = self.valid.as_ref().is_none_or(|valid| valid[index]);
            out.valid.state = if valid { State::All } else { State::None };
            return out.set_uniform(values[index]);
        }
        fill(values, walk, segments, out.cells(len));
        let Validity { state, mask } = &mut out.valid;
        *state = match &self.valid {
            None => State::All,
            Some(valid) => {
                mask.resize(len, true);
                fill(valid, walk, segments, mask);
                State::Mask
            }
        };
    }
}

fn fill<T: Copy>(values: &[T], walk: &Walk, segments: &[Segment], out: &mut [T]) {
    let mut start = 0;
    for segment in segments {
        walk.runs(segment, |at, count, index, stride| {
            let out = &mut out[start + at..start + at + count];
            match stride {
                0 => out.fill(values[index]),
                1 => out.copy_from_slice(&values[index..index + count]),
                _ => out.iter_mut().enumerate().for_each(|(i, out)| *out = values[index + i * stride]),
            }
        });
        start += segment.len;
    }
}

/// Where the cells of a box find their values in a table: at `offset`, plus the stride of each dim times the
/// position in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Walk {
    offset: usize,
    /// Cells of the box inside the last dim that makes a difference.
    inner: usize,
    /// Positions of that dim in the box, and its stride.
    row: usize,
    stride: usize,
    /// The dims before it: positions in the box, strides.
    outer: Vec<(usize, usize)>,
}

impl Walk {
    /// The index of the value that all cells of `segments` share, if it is plain that they do.
    fn single(&self, segments: &[Segment]) -> Option<usize> {
        let (first, last) = (segments.first()?, segments.last()?);
        let row = first.first as usize / self.inner;
        let one = self.stride == 0 || row == (last.first as usize + last.len - 1) / self.inner;
        one.then(|| self.row_at(row / self.row) + row % self.row * self.stride)
    }

    /// The index of the first value of a row.
    fn row_at(&self, mut row: usize) -> usize {
        let mut index = self.offset;
        for &(len, stride) in self.outer.iter().rev() {
            index += row % len * stride;
            row /= len;
        }
        index
    }

    /// Calls `run(at, count, index, stride)` for runs of cells whose values are at `index`, `index + stride`,
    /// and so on.
    fn runs(&self, segment: &Segment, mut run: impl FnMut(usize, usize, usize, usize)) {
        let first = segment.first as usize;
        let (mut inside, mut at) = (first % self.inner, first / self.inner % self.row);
        let mut row = first / self.inner / self.row;
        let mut index = self.row_at(row);
        let mut done = 0;
        while done < segment.len {
            let left = segment.len - done;
            let count = if self.inner == 1 {
                let count = left.min(self.row - at);
                run(done, count, index + at * self.stride, self.stride);
                at += count;
                count
            } else {
                let count = left.min(self.inner - inside);
                run(done, count, index + at * self.stride, 0);
                at += 1;
                count
            };
            inside = 0;
            done += count;
            if at == self.row {
                (at, row) = (0, row + 1);
                index = self.row_at(row);
            }
        }
    }
}
