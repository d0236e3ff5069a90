//! Where a file is: a path, or a URL of an object store or web server.

use super::{LocalFile, Source, Stamp, StorageOptions, remote};
use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// In the file system.
    Path(PathBuf),
    /// In an object store, or on a web server.
    Url(Url),
}

/// Kinds of URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `s3://bucket/key`: Amazon S3, and what speaks its protocol.
    S3,
    /// `gs://bucket/key`: Google Cloud Storage.
    Gs,
    /// `az://container/key`: Azure Blob Storage.
    Az,
    /// `http://host/path`.
    Http,
    /// `https://host/path`.
    Https,
}

/// A URL, cut into its parts, and how its store is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    scheme: Scheme,
    text: Arc<str>,
    /// Where the key begins in `text`, after the slash.
    key_at: usize,
    storage: StorageOptions,
}

const SCHEMES: [(&str, Scheme); 5] = [
    ("s3", Scheme::S3),
    ("gs", Scheme::Gs),
    ("az", Scheme::Az),
    ("http", Scheme::Http),
    ("https", Scheme::Https),
];

impl Url {
    /// Reads `text` as a URL; `None` if it has no scheme, as paths have none.
    ///
    /// # Errors
    /// [`Error::Option`] for other schemes, and for one without a bucket or host.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let bad = |expected: &str| {
            let (option, value) = ("location".into(), text.to_string());
            Err(Error::Option { option, value, expected: expected.into() })
        };
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let Some((_, known)) = SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name)) else {
            return bad("expected a path, or a URL with s3, gs, az, http or https");
        };
        let authority = rest.find('/').unwrap_or(rest.len());
        if authority == 0 {
            return bad("expected a bucket or host after `://`");
        }
        let key_at = (scheme.len() + "://".len() + authority + 1).min(text.len());
        Ok(Some(Self { scheme: *known, text: text.into(), key_at, storage: StorageOptions::default() }))
    }

    /// Its kind.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// All of it.
    pub fn as_str(&self) -> &Arc<str> {
        &self.text
    }

    /// Scheme and bucket, container or host, without a slash at the end.
    pub fn root(&self) -> &str {
        self.text[..self.key_at].trim_end_matches('/')
    }

    /// Bucket, container, or host with port.
    pub fn authority(&self) -> &str {
        self.root().split_once("://").map_or("", |(_, authority)| authority)
    }

    /// What comes after the first slash.
    pub fn key(&self) -> &str {
        &self.text[self.key_at..]
    }

    /// Up to the last slash, with it.
    pub fn folder(&self) -> &str {
        let at = self.text.rfind('/').map_or(self.text.len(), |at| at + 1);
        &self.text[..at.max(self.key_at)]
    }

    /// The same bucket or host with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        let root = self.root();
        let text = format!("{root}/{key}").into();
        Self { scheme: self.scheme, text, key_at: root.len() + 1, storage: self.storage.clone() }
    }

    /// The same URL, reached as `storage` says.
    ///
    /// # Errors
    /// [`Error::Option`] for names that its store doesn't know.
    pub fn with_storage(self, storage: &StorageOptions) -> Result<Self> {
        storage.of(self.scheme)?;
        Ok(Self { storage: storage.clone(), ..self })
    }

    /// How its store is reached, where that isn't left to the environment.
    #[cfg(feature = "remote")]
    pub(super) fn storage(&self) -> &StorageOptions {
        &self.storage
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Address {
    /// Reads a URL, or else a path; a leading `file://` is dropped.
    ///
    /// # Errors
    /// [`Error::Option`] for URLs of other kinds.
    pub fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix("file://") {
            Some(path) => Ok(Path::new(path).into()),
            None => Ok(Url::parse(text)?.map_or_else(|| Path::new(text).into(), Self::Url)),
        }
    }

    /// The same address, reached as `storage` says if it is a URL.
    ///
    /// # Errors
    /// As [`Url::with_storage`].
    pub fn with_storage(self, storage: &StorageOptions) -> Result<Self> {
        match self {
            Self::Path(_) => Ok(self),
            Self::Url(url) => url.with_storage(storage).map(Self::Url),
        }
    }

    /// The path, of a file in the file system.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Url(_) => None,
        }
    }

    /// Whether its name ends in `.` and `extension`, in any case.
    pub fn has_extension(&self, extension: &str) -> bool {
        let path = match self {
            Self::Path(path) => path.as_path(),
            Self::Url(url) => Path::new(url.key()),
        };
        path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
    }

    /// Opens the file there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(&self) -> Result<Arc<dyn Source>> {
        match self {
            Self::Path(path) => Ok(Arc::new(LocalFile::open(path)?)),
            Self::Url(url) => remote::open(url, None),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Path(path.into())
    }
}

/// Opens many files: those on other machines side by side. `known` is what listing said of a file.
///
/// # Errors
/// [`Error::Io`] of the first that can't be opened.
pub(crate) fn open_all<'a>(
    files: impl ExactSizeIterator<Item = (&'a Address, Option<&'a Stamp>)>,
) -> Result<Vec<Arc<dyn Source>>> {
    let mut sources: Vec<Option<Arc<dyn Source>>> = Vec::with_capacity(files.len());
    let (mut urls, mut places) = (Vec::new(), Vec::new());
    for (at, (address, known)) in files.enumerate() {
        match (address, known) {
            (Address::Url(url), None) => {
                urls.push(url);
                places.push(at);
                sources.push(None);
            }
            (Address::Url(url), known) => sources.push(Some(remote::open(url, known)?)),
            (Address::Path(path), _) => sources.push(Some(Arc::new(LocalFile::open(path)?))),
        }
    }
    for (at, opened) in places.into_iter().zip(remote::open_all(&urls)?) {
        sources[at] = Some(opened);
    }
    Ok(sources.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap().unwrap()
    }

    #[test]
    fn urls_are_cut_into_parts() {
        let parts = |text: &str| {
            let url = url(text);
            let [root, authority, key, folder] =
                [url.root(), url.authority(), url.key(), url.folder()].map(String::from);
            assert_eq!(url.with_key(&key).as_str().trim_end_matches('/'), text.trim_end_matches('/'));
            (root, authority, key, folder)
        };
        let text = |(root, authority, key, folder): (&str, &str, &str, &str)| {
            (root.to_string(), authority.to_string(), key.to_string(), folder.to_string())
        };
        assert_eq!(parts("s3://b/a/t.tgm"), text(("s3://b", "b", "a/t.tgm", "s3://b/a/")));
        assert_eq!(parts("s3://b/t.tgm"), text(("s3://b", "b", "t.tgm", "s3://b/")));
        assert_eq!(parts("s3://b"), text(("s3://b", "b", "", "s3://b")));
        assert_eq!(parts("s3://b/"), text(("s3://b", "b", "", "s3://b/")));
        let http = "http://127.0.0.1:80/t.tgm";
        assert_eq!(
            parts(http),
            text(("http://127.0.0.1:80", "127.0.0.1:80", "t.tgm", "http://127.0.0.1:80/"))
        );
        assert_eq!(url("HTTPS://h/a").scheme(), Scheme::Https);
    }

    #[test]
    fn only_known_schemes_are_urls() {
        for path in ["a.tgm", "data/x", "C:\\x", "://x", "a b://x", ""] {
            assert_eq!(Url::parse(path).unwrap(), None, "{path}");
        }
        assert!(Url::parse("ftp://h/x").unwrap_err().to_string().contains("s3, gs, az, http or https"));
        assert!(Url::parse("s3:///x").unwrap_err().to_string().contains("bucket or host"));
    }

    #[test]
    fn extensions_are_those_of_names() {
        assert!(Address::from(Path::new("a/b.TGM")).has_extension("tgm"));
        assert!(Address::Url(url("s3://x.tgm/a.mbx")).has_extension("mbx"));
        assert!(!Address::Url(url("s3://x.tgm/")).has_extension("tgm"));
    }
}
