//! Files that appear under their name when they are complete, or not at all.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file on its way: it is written under a hidden name beside its own, `.NAME.PID-N.partial`, and renamed by
/// [`NewFile::commit`]. Under its own name stands the old file, or none, until then, also if the process is killed.
///
/// Dropped without a commit, it is removed.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    temporary: Temporary,
    file: BufWriter<File>,
}

/// A file that is removed unless it was renamed.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Renamed or removed by another hand: gone is gone.
        let _ = fs::remove_file(&self.0);
    }
}

impl NewFile {
    /// Begins the file that will be `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if the path has no file name, or its folder takes no new file.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = path.into();
        let failed = |e| Error::io(path.to_string_lossy(), e);
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "is no name of a file");
        let name = path.file_name().ok_or_else(nameless).map_err(failed)?.to_string_lossy();
        if path.is_dir() {
            return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")));
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let hidden = path.with_file_name(format!(".{name}.{}-{number}.partial", std::process::id()));
        let file = BufWriter::with_capacity(1 << 18, File::create(&hidden).map_err(failed)?);
        Ok(Self { temporary: Temporary(hidden), path, file })
    }

    /// The name that it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file, all of it on disk, in place of whatever has its name.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there stays then.
    pub fn commit(self) -> Result<()> {
        let Self { path, temporary, mut file } = self;
        let mut place = || {
            file.flush()?;
            file.get_ref().sync_all()?;
            fs::rename(&temporary.0, &path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        place().map_err(|e| Error::io(path.to_string_lossy(), e))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        for content in ["old", "new"] {
            let mut file = NewFile::create(&path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.commit().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let mut dropped = NewFile::create(&path).unwrap();
        dropped.write_all(b"half").unwrap();
        assert_eq!(names(), 2);
        drop(dropped);
        assert_eq!((names(), fs::read_to_string(&path).unwrap().as_str()), (1, "new"));
    }

    #[test]
    fn what_can_be_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("no/a.bin"), folder.path().to_path_buf(), PathBuf::from("/")] {
            assert!(matches!(NewFile::create(&path), Err(Error::Io { .. })), "{path:?}");
        }
    }
}
