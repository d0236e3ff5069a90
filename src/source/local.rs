//! Local files, memory-mapped.
//!
//! A page of a map that the file doesn't reach any more faults when it is touched, and ends the process. So before bytes
//! are lent the file is looked at, once a millisecond at most: one that has become shorter is an error. What remains is a file
//! that is cut off while bytes of it are being decoded; only copying everything would help against that. No file stays open for this, there
//! may be thousands: the path is asked, and counts while it leads to the same file. (One that was replaced by renaming
//! another over it is whole as long as it is mapped.)

use super::resident::Resident;
use super::{Bytes, Source, Stamp, lend};
use crate::{Error, Result};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Instant, UNIX_EPOCH};

/// A local file, mapped once; [`Source::read`] lends slices of the map.
#[derive(Debug)]
pub struct LocalFile {
    name: Arc<str>,
    path: PathBuf,
    identity: Identity,
    opened: Instant,
    /// When its length was looked at last and was right, in microseconds since it was opened.
    looked: AtomicU64,
    stamp: Stamp,
    /// `None` for an empty file, which can't be mapped.
    map: Option<Arc<Resident>>,
    bytes: Bytes,
    /// To copy from; `None` where enough files are open.
    open: Option<Open>,
}

impl LocalFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it is missing, no regular file, or can't be mapped.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name: Arc<str> = path.to_string_lossy().into();
        let map = |e: io::Error| Error::io(Arc::clone(&name), e);
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let kind = fs::metadata(path).map_err(map)?.file_type();
        if kind.is_dir() {
            return Err(map(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")));
        }
        if !kind.is_file() {
            return Err(map(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file")));
        }
        let file = File::open(path).map_err(map)?;
        let meta = file.metadata().map_err(map)?;
        let modified_ns = modified_ns(&meta).map_err(map)?;
        let mut resident = None;
        let mut bytes = Bytes::new();
        if meta.len() > 0 {
            // SAFETY: the map is read-only and private to us. A file that another process truncates while bytes of it
            // are lent faults on access; that is the contract of every mapped reader, and documented.
            let map = Arc::new(Resident::new(unsafe { memmap2::Mmap::map(&file) }.map_err(map)?));
            bytes = Bytes::from_owner(Lent(Arc::clone(&map)));
            resident = Some(map);
        }
        let stamp = Stamp { len: bytes.len() as u64, modified_ns, tag: None };
        let identity = identity(&meta);
        let (path, opened, looked) = (path.to_path_buf(), Instant::now(), AtomicU64::new(0));
        let open = Open::new(file);
        Ok(Self { name, path, identity, opened, looked, stamp, map: resident, bytes, open })
    }

    /// Checks that the file still has all its bytes, as far as its path says.
    fn check_length(&self) -> Result<()> {
        let now = self.opened.elapsed().as_micros() as u64;
        if now.saturating_sub(self.looked.load(Relaxed)) < OFTEN {
            return Ok(());
        }
        match fs::metadata(&self.path) {
            Ok(meta) if identity(&meta) == self.identity && meta.len() < self.stamp.len => {
                let what = format!("has {} bytes, and had {} when it was opened", meta.len(), self.stamp.len);
                Err(Error::io(Arc::clone(&self.name), io::Error::new(io::ErrorKind::UnexpectedEof, what)))
            }
            // Another file by now, or none: the map has what it had.
            _ => {
                self.looked.store(now, Relaxed);
                Ok(())
            }
        }
    }
}

/// Files that stay open at most; there may be thousands, and a process may have about that many.
const OPEN: usize = 256;

/// How many are open.
static OPEN_NOW: AtomicUsize = AtomicUsize::new(0);

/// A file that stays open.
#[derive(Debug)]
struct Open(File);

impl Open {
    /// `None` if enough are open.
    fn new(file: File) -> Option<Self> {
        let another = |open: usize| (open < OPEN).then_some(open + 1);
        OPEN_NOW.fetch_update(Relaxed, Relaxed, another).ok().map(|_| Self(file))
    }

    /// The system copies pages that it caches in a fraction of the time that mapping them in takes.
    #[cfg(unix)]
    fn copy(&self, at: u64, out: &mut [u8]) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        self.0.read_exact_at(out, at).map(|()| true)
    }

    #[cfg(not(unix))]
    fn copy(&self, _at: u64, _out: &mut [u8]) -> io::Result<bool> {
        Ok(false)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN_NOW.fetch_sub(1, Relaxed);
    }
}

/// Time of modification in nanoseconds since the Unix epoch.
fn modified_ns(meta: &fs::Metadata) -> io::Result<i128> {
    Ok(match meta.modified()?.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    })
}

/// Microseconds between looks at the length of a file that is read all the time.
const OFTEN: u64 = 1000;

/// What tells a file from others, whatever its name.
#[cfg(unix)]
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(meta: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

/// Systems that don't cut off mapped files.
#[cfg(not(unix))]
type Identity = ();

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Identity {}

/// A map as the owner of what is lent of it.
struct Lent(Arc<Resident>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Source for LocalFile {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn len(&self) -> u64 {
        self.stamp.len
    }

    fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    fn unchanged(&self) -> Result<()> {
        let error = |e| Error::io(Arc::clone(&self.name), e);
        let stale = |what: &str| error(io::Error::new(io::ErrorKind::StaleNetworkFileHandle, what));
        let meta = match fs::metadata(&*self.name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(stale("the file was removed since it was opened"));
            }
            meta => meta.map_err(error)?,
        };
        if (meta.len(), modified_ns(&meta).map_err(error)?) == (self.stamp.len, self.stamp.modified_ns) {
            Ok(())
        } else {
            Err(stale("the file was changed since it was opened"))
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.check_length()?;
        lend(&self.name, &self.bytes, range)
    }

    fn copy(&self, at: u64, out: &mut [u8]) -> Result<bool> {
        let kept = |map: &Arc<Resident>| map.keeps(at..at.saturating_add(out.len() as u64));
        match &self.open {
            Some(file) if !self.map.as_ref().is_some_and(kept) => {
                file.copy(at, out).map_err(|e| Error::io(Arc::clone(&self.name), e))
            }
            _ => Ok(false),
        }
    }

    fn copied(&self, range: Range<u64>) {
        if let Some(map) = &self.map {
            map.copied(range);
        }
    }

    fn will_need(&self, range: Range<u64>) {
        if let Some(map) = &self.map {
            map.will_need(range);
        }
    }

    fn done_with(&self, range: Range<u64>) {
        if let Some(map) = &self.map {
            map.done_with(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_lent_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ten");
        fs::write(&path, b"0123456789").unwrap();
        let file = LocalFile::open(&path).unwrap();
        assert_eq!((file.len(), file.stamp().len, file.is_empty()), (10, 10, false));
        assert!(file.stamp().modified_ns > 0);
        assert_eq!(file.read(3..6).unwrap(), &b"345"[..]);
        assert!(file.read(10..10).unwrap().is_empty());
        #[allow(clippy::reversed_empty_ranges)]
        for outside in [0..11, 11..11, 6..3, u64::MAX - 1..u64::MAX] {
            let error = file.read(outside.clone()).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{outside:?}: {error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn copies_are_what_is_lent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, (0..=255).collect::<Vec<u8>>()).unwrap();
        let file = LocalFile::open(&path).unwrap();
        let mut out = [0; 100];
        assert!(file.copy(156, &mut out).unwrap());
        assert_eq!(file.read(156..256).unwrap(), out[..]);
        File::options().write(true).open(&path).unwrap().set_len(200).unwrap();
        let error = file.copy(156, &mut out).unwrap_err();
        assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("x: "), "{error}");
        // Another file by that name isn't asked.
        fs::write(dir.path().join("new"), [7; 256]).unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(file.copy(100, &mut out).unwrap() && out[0] == 100);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_became_shorter_is_an_error_and_one_that_was_replaced_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes = vec![7; 3 << 12];
        fs::write(&path, &bytes).unwrap();
        let file = LocalFile::open(&path).unwrap();
        fs::write(dir.path().join("new"), b"short").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(file.read(0..3 << 12).unwrap(), bytes);
        fs::remove_file(&path).unwrap();
        assert_eq!(file.read(0..3 << 12).unwrap(), bytes);

        fs::write(&path, &bytes).unwrap();
        let file = LocalFile::open(&path).unwrap();
        fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
        assert_eq!(file.read(0..3 << 12).unwrap(), bytes);
        File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(2 * OFTEN));
        let error = file.read(1 << 12..2 << 12).unwrap_err().to_string();
        assert!(error.contains("has 100 bytes, and had 12288 when it was opened"), "{error}");
    }

    #[test]
    fn a_file_that_changed_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ten");
        fs::write(&path, b"0123456789").unwrap();
        let file = LocalFile::open(&path).unwrap();
        file.unchanged().unwrap();
        fs::write(dir.path().join("other"), b"012345678").unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        assert!(file.unchanged().unwrap_err().to_string().ends_with("changed since it was opened"));
        fs::remove_file(&path).unwrap();
        assert!(file.unchanged().unwrap_err().to_string().ends_with("removed since it was opened"));
        assert_eq!(file.read(0..3).unwrap(), &b"012"[..]);
    }

    #[test]
    fn empty_files_have_no_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let file = LocalFile::open(file.path()).unwrap();
        assert!(file.is_empty() && file.read(0..0).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let missing = LocalFile::open(dir.path().join("nope.tgm")).unwrap_err().to_string();
        assert!(missing.contains("nope.tgm: ") && missing.contains("No such file"), "{missing}");
        let folder = LocalFile::open(dir.path()).unwrap_err().to_string();
        assert!(folder.ends_with("is a directory"), "{folder}");
        #[cfg(unix)]
        assert!(LocalFile::open("/dev/null").unwrap_err().to_string().ends_with("is not a regular file"));
    }
}
