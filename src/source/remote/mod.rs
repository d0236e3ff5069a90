//! Files in object stores and on web servers, read by ranges.
//!
//! ```text
//! will_need, read     any thread that may wait        announce or ask, then wait for the answer
//! Pieces              one for each file               what is there, what is on its way: asked for once
//! Network             two threads of their own        requests, at most 32 at a time, repeated where they fail
//! ```
//! A [`Source`] is synchronous. Requests are made by a runtime of their own, which nobody else works on; a reader
//! waits for a piece on its own thread, so no runtime waits for itself. Ranges that are read or announced together
//! become one request where the gap between them is small; long ones are cut and fetched side by side. All files
//! together hold a bounded number of bytes: 32 MiB, and 16 MiB for each core; the oldest go first.
//!
//! A file is read in the state in which it was opened: its size and its tag (or time of modification) are compared
//! with every answer, and asked for by `If-Match` where the tag allows it. Another state is an error, never a mix.

mod fetch;
mod store;

pub use store::RemoteOptions;

use super::{Bytes, Listed, Source, Stamp, Url, within};
use crate::Result;
use fetch::Pieces;
use std::ops::Range;
use std::sync::Arc;
use store::{Remote, wait};

/// A file in an object store or on a web server.
#[derive(Debug)]
pub struct RemoteFile {
    name: Arc<str>,
    pieces: Arc<Pieces>,
}

impl RemoteFile {
    /// Opens the file at `url`: one request, which brings the first 64 KiB along.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it isn't there, may not be read, or the server doesn't answer, or not by
    /// ranges; [`Error::Option`](crate::Error::Option) for a URL or an environment that makes no sense.
    pub fn open(url: &Url, options: &RemoteOptions) -> Result<Self> {
        let remote = Remote::new(url, options)?;
        let asked = remote.clone();
        let (stamp, first) = wait(url, async move { asked.open().await })??;
        Ok(Self::new(remote, stamp, first))
    }

    fn new(remote: Remote, stamp: Stamp, first: Bytes) -> Self {
        Self { name: Arc::clone(remote.url.as_str()), pieces: Pieces::new(remote, stamp, first) }
    }

    /// What of `range` is in the file, if anything is.
    fn within(&self, range: Range<u64>) -> Option<Range<u64>> {
        let range = range.start.min(self.len())..range.end.min(self.len());
        (!range.is_empty()).then_some(range)
    }
}

impl Source for RemoteFile {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn len(&self) -> u64 {
        self.stamp().len
    }

    fn stamp(&self) -> &Stamp {
        self.pieces.stamp()
    }

    fn lends(&self) -> bool {
        false
    }

    fn round_trip(&self) -> u64 {
        1 << 20 // at 20 MB/s and 50 ms
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(self.read_ranges(&[range])?.pop().unwrap_or_default())
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        ranges.iter().try_for_each(|range| within(&self.name, range, self.len()))?;
        let asked: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
        let mut read = self.pieces.read(&asked)?.into_iter();
        let mut next = |range: &Range<u64>| match range.is_empty() {
            true => Bytes::new(),
            false => read.next().unwrap_or_default(),
        };
        Ok(ranges.iter().map(&mut next).collect())
    }

    fn will_need(&self, range: Range<u64>) {
        self.pieces.announce(self.within(range).into_iter(), false);
    }

    fn will_need_all(&self, ranges: &[Range<u64>]) {
        self.pieces.announce(ranges.iter().filter_map(|range| self.within(range.clone())), true);
    }
}

/// Opens the file at `url`; of one that was listed the state is known, and nothing is asked for yet.
pub(crate) fn open(url: &Url, known: Option<&Stamp>) -> Result<Arc<dyn Source>> {
    let options = RemoteOptions::from_env()?;
    Ok(Arc::new(match known {
        Some(stamp) => RemoteFile::new(Remote::new(url, &options)?, stamp.clone(), Bytes::new()),
        None => RemoteFile::open(url, &options)?,
    }))
}

/// Opens many files side by side.
pub(crate) fn open_all(urls: &[&Url]) -> Result<Vec<Arc<dyn Source>>> {
    let Some(first) = urls.first() else { return Ok(Vec::new()) };
    let options = RemoteOptions::from_env()?;
    let remotes = urls.iter().map(|url| Remote::new(url, &options)).collect::<Result<Vec<_>>>()?;
    let opened = wait(first, store::open_all(remotes.clone()))?;
    let source = |(remote, opened): (Remote, Result<(Stamp, Bytes)>)| {
        let (stamp, first) = opened?;
        Ok(Arc::new(RemoteFile::new(remote, stamp, first)) as Arc<dyn Source>)
    };
    remotes.into_iter().zip(opened).map(source).collect()
}

fn remote(url: &Url) -> Result<Remote> {
    Remote::new(url, &RemoteOptions::from_env()?)
}

/// The files in `folder`, by name; also those in folders below it if `deep`.
pub(crate) fn list(folder: &Url, deep: bool) -> Result<Vec<Listed>> {
    let remote = remote(folder)?;
    wait(folder, async move { remote.list(deep).await })?
}

/// All of a file; `None` if there is none.
pub(crate) fn read_whole(url: &Url) -> Result<Option<Bytes>> {
    let remote = remote(url)?;
    wait(url, async move { remote.whole().await })?
}

/// Writes a file, in place of one that is there.
pub(crate) fn write(url: &Url, bytes: Vec<u8>) -> Result<()> {
    let remote = remote(url)?;
    wait(url, async move { remote.put(bytes).await })?
}
