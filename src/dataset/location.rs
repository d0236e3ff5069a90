//! Where the files are: paths, URLs, folders, lists, globs and patterns.

use super::index;
use super::options::{bad, split_list};
use super::pattern::{Placeholder, Template, is_template};
use crate::source::{Address, Listed, Scheme, Source, Stamp, StorageOptions, Url, open_all, remote};
use crate::{Error, Result};
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Files that make up one dataset. As text:
///
/// | text | files |
/// | --- | --- |
/// | `t.tgm` | that file |
/// | `data/` | the `.tgm` files in that folder, sorted by name |
/// | `data/*.tgm` | those that match the glob (`*`, `?`, `[..]`, `**/`), sorted by path |
/// | `data/t_{time:%Y%m%d}.tgm` | those that match the pattern, sorted by path; `{dim}` and `{dim:%format}` become dims |
/// | `a.tgm, b/*.tgm` | all of these, in this order, each file once |
///
/// A text that names an existing file is that file, whatever characters it has. All of these may be URLs, too
/// (`s3://bucket/data/*.tgm`; see [`Scheme`]); folders, globs and patterns only of stores, which can list.
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Path(PathBuf),
    Template(Template),
    Url(Url),
    /// Files in `folder`, and below it if `deep`, whose URLs match.
    Pattern {
        folder: Url,
        deep: bool,
        template: Template,
    },
}

/// One file of a location.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located {
    pub(super) address: Address,
    /// Its state, where listing told it.
    known: Option<Stamp>,
    /// Texts of the placeholders, as in [`Files::placeholders`].
    pub(super) labels: Vec<String>,
}

/// The files of a location.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Files {
    pub(super) placeholders: Vec<Placeholder>,
    pub(super) files: Vec<Located>,
}

const OPTION: &str = "location";

impl Located {
    fn new(address: impl Into<Address>) -> Self {
        Self { address: address.into(), known: None, labels: Vec::new() }
    }

    fn listed(Listed { url, stamp }: Listed, labels: Vec<String>) -> Self {
        Self { address: Address::Url(url), known: Some(stamp), labels }
    }
}

impl Files {
    /// Opens all of them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn open(&self) -> Result<Vec<Arc<dyn Source>>> {
        open_all(self.files.iter().map(|file| (&file.address, file.known.as_ref())))
    }

    /// Opens all of them in the state in which they are now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn open_anew(&self) -> Result<Vec<Arc<dyn Source>>> {
        open_all(self.files.iter().map(|file| (&file.address, None)))
    }
}

impl Location {
    /// Parses a location text. A leading `file://` is dropped.
    ///
    /// # Errors
    /// [`Error::Option`] for a malformed pattern, and for URLs of other kinds.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_items(text, if exists(text) { vec![text] } else { split_list(text) })
    }

    /// Several paths, globs or patterns as one dataset, in this order; commas have no meaning.
    ///
    /// # Errors
    /// As [`Location::parse`].
    pub fn from_list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Result<Self> {
        let items: Vec<S> = items.into_iter().collect();
        Self::from_items("", items.iter().map(AsRef::as_ref).collect())
    }

    fn from_items(text: &str, items: Vec<&str>) -> Result<Self> {
        let items: Vec<Item> = items.into_iter().map(item).collect::<Result<_>>()?;
        let mut names = items.iter().map(Item::names);
        let first = names.next().unwrap_or_default();
        if items.is_empty() {
            return Err(bad(OPTION, text, "expected at least one path"));
        }
        if !names.all(|other| other == first) {
            let text = items.iter().map(Item::to_string).collect::<Vec<_>>().join(",");
            return Err(bad(OPTION, &text, "the patterns of a list need the same `{dims}`"));
        }
        Ok(Self { items })
    }

    /// The same files, those in stores reached as `storage` says.
    ///
    /// # Errors
    /// [`Error::Option`] for names that one of the stores doesn't know.
    pub(super) fn with_storage(mut self, storage: &StorageOptions) -> Result<Self> {
        for item in &mut self.items {
            if let Item::Url(url) | Item::Pattern { folder: url, .. } = item {
                *url = url.clone().with_storage(storage)?;
            }
        }
        Ok(self)
    }

    /// Where the index of this location, opened with `options` (none for the defaults), belongs.
    pub(super) fn index_path(&self, options: &[(String, String)]) -> Address {
        let (folder, stem, mut rest) = match self.items.as_slice() {
            [Item::Path(path)] if path.is_dir() => (folder_text(path), "index".to_string(), String::new()),
            [Item::Path(path)] => {
                let folder = path.parent().map(folder_text).unwrap_or_default();
                (folder, path.file_name().unwrap_or_default().to_string_lossy().into(), String::new())
            }
            [Item::Url(url)] => {
                let (folder, name) = url.as_str().split_at(url.folder().len());
                let stem = if name.is_empty() { "index" } else { name };
                (folder.to_string(), stem.to_string(), String::new())
            }
            _ => {
                let text = self.to_string();
                let special = text.find(['*', '?', '[', '{', ',']).unwrap_or(text.len());
                let folder = text[..special].rfind('/').map_or(0, |at| at + 1);
                (text[..folder].to_string(), "index".to_string(), text[folder..].to_string())
            }
        };
        options.iter().for_each(|(key, value)| rest.push_str(&format!("\0{key}={value}")));
        let extension = index::EXTENSION;
        let name = match rest.as_str() {
            "" => format!("{stem}.{extension}"),
            rest => format!("{stem}-{:08x}.{extension}", xxh3_64(rest.as_bytes()) as u32),
        };
        // The folder of a URL is in the store of the first item, and reached alike.
        match (Url::parse(&folder), self.items.first().and_then(Item::url)) {
            (Ok(Some(folder)), Some(url)) => Address::Url(url.with_key(&format!("{}{name}", folder.key()))),
            _ => Address::Path(Path::new(&folder).join(name)),
        }
    }

    /// Finds the files.
    ///
    /// # Errors
    /// [`Error::Option`] for a glob, pattern or folder without a file; [`Error::Io`] for a folder that can't be
    /// read or listed. Whether single files exist shows when they are opened.
    pub(super) fn resolve(&self) -> Result<Files> {
        let mut placeholders = Vec::new();
        let mut files: Vec<Located> = Vec::new();
        let mut seen = HashSet::new();
        for item in &self.items {
            let found = match item {
                Item::Path(path) if path.is_dir() => files_in(path)?,
                Item::Path(path) => vec![Located::new(path.as_path())],
                Item::Template(template) => {
                    placeholders = template.placeholders().to_vec();
                    files_like(template)?
                }
                Item::Url(url) if is_folder(url) => {
                    let found = remote::list(url, false)?.into_iter();
                    found.map(|file| Located::listed(file, Vec::new())).filter(is_tgm).collect()
                }
                Item::Url(url) => vec![Located::new(Address::Url(url.clone()))],
                Item::Pattern { folder, deep, template } => {
                    placeholders = template.placeholders().to_vec();
                    let found = remote::list(folder, *deep)?.into_iter().filter_map(|file| {
                        let labels = template.captures(file.url.as_str())?;
                        let labels = labels.into_iter().map(Into::into).collect();
                        Some(Located::listed(file, labels)).filter(|file| !is_index(&file.address))
                    });
                    found.collect()
                }
            };
            if found.is_empty() {
                return Err(bad(OPTION, &item.to_string(), "no file matches"));
            }
            files.extend(found.into_iter().filter(|file| seen.insert(file.address.clone())));
        }
        Ok(Files { placeholders, files })
    }
}

impl Item {
    /// The URL that it is, or that it is below of.
    fn url(&self) -> Option<&Url> {
        match self {
            Item::Url(url) | Item::Pattern { folder: url, .. } => Some(url),
            Item::Path(_) | Item::Template(_) => None,
        }
    }

    fn names(&self) -> Vec<Placeholder> {
        match self {
            Item::Path(_) | Item::Url(_) => Vec::new(),
            Item::Template(template) | Item::Pattern { template, .. } => template.placeholders().to_vec(),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Path(path) => write!(f, "{}", path.display()),
            Item::Url(url) => write!(f, "{url}"),
            Item::Template(template) | Item::Pattern { template, .. } => f.write_str(template.text()),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn exists(text: &str) -> bool {
    Path::new(without_scheme(text)).exists()
}

fn without_scheme(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("file://").unwrap_or(text)
}

fn item(text: &str) -> Result<Item> {
    let path = without_scheme(text);
    if path.is_empty() {
        return Err(bad(OPTION, text, "expected a path"));
    }
    if exists(path) {
        return Ok(Item::Path(path.into()));
    }
    if let Some(url) = Url::parse(path)? {
        return remote_item(path, url);
    }
    if !is_template(path) {
        return Ok(Item::Path(path.into()));
    }
    Ok(Item::Template(Template::parse(OPTION, plain(path))?))
}

/// A URL, or a pattern of URLs.
fn remote_item(text: &str, url: Url) -> Result<Item> {
    let web = matches!(url.scheme(), Scheme::Http | Scheme::Https);
    if !is_template(text) {
        return match web && is_folder(&url) {
            true => Err(bad(OPTION, text, "web servers don't list files: name each of them")),
            false => Ok(Item::Url(url)),
        };
    }
    if web {
        let what = "web servers don't list files, so no glob or pattern can be looked for (nor are queries in URLs supported)";
        return Err(bad(OPTION, text, what));
    }
    if is_template(url.root()) {
        return Err(bad(OPTION, text, "the bucket can't be a glob or pattern"));
    }
    let key = url.key();
    let special = key.find(['*', '?', '[', '{']).unwrap_or(key.len());
    let start = key[..special].rfind('/').map_or(0, |at| at + 1);
    let (folder, deep) = (url.with_key(&key[..start]), key[start..].contains('/'));
    Ok(Item::Pattern { folder, deep, template: Template::parse(OPTION, text)? })
}

/// Whether a URL stands for what is below it.
fn is_folder(url: &Url) -> bool {
    url.key().is_empty() || url.key().ends_with('/')
}

/// Path of a folder, with a slash at the end unless it is empty.
fn folder_text(path: &Path) -> String {
    path.join("").to_string_lossy().into()
}

fn is_tgm(file: &Located) -> bool {
    file.address.has_extension("tgm")
}

/// Whether it is one of ours: what we put beside the files is none of them.
fn is_index(address: &Address) -> bool {
    address.has_extension(index::EXTENSION)
}

/// Drops `./` in front, which globs don't give back.
fn plain(path: &str) -> &str {
    let mut path = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    path
}

fn files_in(folder: &Path) -> Result<Vec<Located>> {
    let io = |e| Error::io(folder.to_string_lossy(), e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let regular = path.is_file();
        let file = Located::new(path);
        if regular && is_tgm(&file) {
            files.push(file);
        }
    }
    files.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(files)
}

fn files_like(template: &Template) -> Result<Vec<Located>> {
    let paths = glob::glob(template.glob())
        .map_err(|e| bad(OPTION, template.text(), format!("malformed glob: {}", e.msg)))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|e| Error::io(e.path().to_string_lossy().into_owned(), e.into()))?;
        let Some(text) = path.to_str() else { continue };
        if let Some(labels) = template.captures(plain(text)).filter(|_| !path.is_dir()) {
            let labels = labels.into_iter().map(Into::into).collect();
            files.push(Located { labels, ..Located::new(path) });
        }
    }
    files.retain(|file| !is_index(&file.address));
    files.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        dir
    }

    fn names(dir: &tempfile::TempDir, text: &str) -> Result<Vec<(String, Vec<String>)>> {
        let files = Location::parse(&text.replace("$", dir.path().to_str().unwrap()))?.resolve()?.files;
        let below = |f: &Located| f.address.path().unwrap().strip_prefix(dir.path()).unwrap().to_path_buf();
        let name = |f: Located| (below(&f).to_str().unwrap().to_string(), f.labels);
        Ok(files.into_iter().map(name).collect())
    }

    fn plain_names(dir: &tempfile::TempDir, text: &str) -> Vec<String> {
        names(dir, text).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn every_form_finds_its_files_in_order() {
        let dir = folder(&["b.tgm", "a.tgm", "note.txt", "x,y.tgm", "[q].tgm", "sub/c.TGM", "sub/d.tgm"]);
        assert_eq!(plain_names(&dir, "$/b.tgm"), ["b.tgm"]);
        assert_eq!(plain_names(&dir, "file://$/b.tgm"), ["b.tgm"]);
        assert_eq!(plain_names(&dir, "$/sub/"), ["sub/c.TGM", "sub/d.tgm"]);
        assert_eq!(plain_names(&dir, "$/?.tgm"), ["a.tgm", "b.tgm"]);
        assert_eq!(plain_names(&dir, "$/x,y.tgm"), ["x,y.tgm"], "an existing file is that file");
        assert_eq!(plain_names(&dir, "$/[q].tgm"), ["[q].tgm"], "an existing file is that file");
        assert_eq!(plain_names(&dir, "$/b.tgm, $/?.tgm"), ["b.tgm", "a.tgm"], "listed order, each once");
        assert_eq!(plain_names(&dir, "$/**/[cd].*"), ["sub/c.TGM", "sub/d.tgm"]);
    }

    #[test]
    fn patterns_label_the_files() {
        let dir = folder(&["t_20260402.tgm", "t_20260401.tgm", "t_latest.tgm", "u_20260401.tgm"]);
        let found = names(&dir, "$/t_{time:%Y%m%d}.tgm").unwrap();
        let want = [("t_20260401.tgm", "20260401"), ("t_20260402.tgm", "20260402")];
        assert_eq!(found, want.map(|(name, label)| (name.into(), vec![label.into()])));
        assert_eq!(names(&dir, "$/{kind}_{day}.tgm").unwrap()[3].1, ["u", "20260401"]);
        assert_eq!(names(&dir, "$/?_{day}.tgm").unwrap().len(), 4);
    }

    #[test]
    fn indexes_lie_beside_their_files() {
        let index = |text: &str| Location::parse(text).unwrap().index_path(&[]).to_string();
        assert_eq!(index("data/t.tgm"), "data/t.tgm.mbx");
        assert_eq!(index("t.tgm"), "t.tgm.mbx");
        assert_eq!(index("s3://b/data/t.tgm"), "s3://b/data/t.tgm.mbx");
        assert_eq!(index("http://h:80/t.tgm"), "http://h:80/t.tgm.mbx");
        assert_eq!(index("s3://b/data/"), "s3://b/data/index.mbx");
        assert_eq!(index("s3://b"), "s3://b/index.mbx");
        let pattern = index("s3://b/data/t_{time:%Y}.tgm");
        assert!(pattern.starts_with("s3://b/data/index-") && pattern.ends_with(".mbx"), "{pattern}");
        assert_ne!(pattern, index("s3://b/data/u_{time:%Y}.tgm"));
        assert!(index("data/*.tgm").starts_with("data/index-"));
    }

    #[test]
    fn patterns_of_urls_list_the_folder_before_them() {
        let pattern = |text: &str| match &Location::parse(text).unwrap().items[..] {
            [Item::Pattern { folder, deep, .. }] => (folder.to_string(), *deep),
            other => panic!("{other:?}"),
        };
        assert_eq!(pattern("s3://b/d/t_{time:%Y}.tgm"), ("s3://b/d/".into(), false));
        assert_eq!(pattern("gs://b/*.tgm"), ("gs://b/".into(), false));
        assert_eq!(pattern("az://c/d/{year}/*.tgm"), ("az://c/d/".into(), true));
    }

    #[test]
    fn what_matches_nothing_says_so() {
        let dir = folder(&["a.tgm"]);
        let error = |text: &str| names(&dir, text).unwrap_err().to_string();
        assert!(error("$/z*.tgm").ends_with("/z*.tgm`: no file matches"), "{}", error("$/z*.tgm"));
        assert!(error("$/t_{time:%Y}.tgm").contains("no file matches"));
        assert!(error("ftp://host/a.tgm").contains("s3, gs, az, http or https"));
        assert!(error("http://host/a*.tgm").contains("web servers don't list"));
        assert!(error("https://host/data/").contains("web servers don't list"));
        assert!(error("s3://bucket-*/a.tgm").contains("bucket can't be a glob"));
        assert!(error("$/t_{a}.tgm,$/a.tgm").contains("same `{dims}`"));
        assert!(error("").contains("expected a path"));
        assert!(error("$/t_{a.tgm").contains("without `}`"));
    }
}
