//! The conformance corpus: where it is.

use std::path::PathBuf;

/// The corpus folder, or `None` (said on stderr) where it is absent.
pub(crate) fn dir() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if dir.join("manifest.json").is_file() {
        return Some(dir);
    }
    eprintln!("skipped: no conformance corpus at {}", dir.display());
    None
}
