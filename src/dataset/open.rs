//! From files to tables.
use super::{Dataset, Location, OpenOptions};
use crate::tgm::Limits;
use crate::{Error, Place, Result};

/// Opens every file of `location` and lays its objects out as tables. Only framing, metadata and coordinate
/// objects are read.
///
/// # Errors
/// [`Error::Io`], [`Error::Framing`] and [`Error::Metadata`] of the files, [`Error::Grid`] where the objects
/// don't make up a grid (duplicates, holes, conflicting coordinates), [`Error::Option`] for options that fit
/// nothing.
pub fn open(location: &Location, options: &OpenOptions, limits: &Limits) -> Result<Dataset> {
    let _ = (options, limits);
    Err(Error::unsupported(&Place::file(location.to_string()), "opening"))
}
