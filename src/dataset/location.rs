//! Where the files are: paths, folders, lists, globs and patterns.

use super::index;
use super::options::{bad, split_list};
use super::pattern::{Placeholder, Template, is_template};
use crate::{Error, Result};
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
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
/// A text that names an existing file is that file, whatever characters it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Path(PathBuf),
    Template(Template),
}

/// One file of a location.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located {
    pub(super) path: PathBuf,
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

impl Location {
    /// Parses a location text. A leading `file://` is dropped.
    ///
    /// # Errors
    /// [`Error::Option`] for a malformed pattern, and for URLs.
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

    /// Where the index of this location, opened with `options` (none for the defaults), belongs.
    pub(super) fn index_path(&self, options: &[(String, String)]) -> PathBuf {
        let (folder, stem, mut rest) = match self.items.as_slice() {
            [Item::Path(path)] if path.is_dir() => (path.clone(), "index".to_string(), String::new()),
            [Item::Path(path)] => {
                let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
                (folder, path.file_name().unwrap_or_default().to_string_lossy().into(), String::new())
            }
            _ => {
                let text = self.to_string();
                let special = text.find(['*', '?', '[', '{', ',']).unwrap_or(text.len());
                let (folder, rest) = match text[..special].rfind('/') {
                    Some(at) => (PathBuf::from(&text[..=at]), text[at + 1..].to_string()),
                    None => (PathBuf::new(), text),
                };
                (folder, "index".to_string(), rest)
            }
        };
        options.iter().for_each(|(key, value)| rest.push_str(&format!("\0{key}={value}")));
        let extension = index::EXTENSION;
        folder.join(match rest.as_str() {
            "" => format!("{stem}.{extension}"),
            rest => format!("{stem}-{:08x}.{extension}", xxh3_64(rest.as_bytes()) as u32),
        })
    }

    /// Finds the files.
    ///
    /// # Errors
    /// [`Error::Option`] for a glob, pattern or folder without a file; [`Error::Io`] for a folder that can't be
    /// read. Whether single paths exist shows when they are opened.
    pub(super) fn resolve(&self) -> Result<Files> {
        let mut placeholders = Vec::new();
        let mut files: Vec<Located> = Vec::new();
        let mut seen = HashSet::new();
        for item in &self.items {
            let found = match item {
                Item::Path(path) if path.is_dir() => files_in(path)?,
                Item::Path(path) => vec![Located { path: path.clone(), labels: Vec::new() }],
                Item::Template(template) => {
                    placeholders = template.placeholders().to_vec();
                    files_like(template)?
                }
            };
            if found.is_empty() {
                return Err(bad(OPTION, &item.to_string(), "no file matches"));
            }
            files.extend(found.into_iter().filter(|file| seen.insert(file.path.clone())));
        }
        Ok(Files { placeholders, files })
    }
}

impl Item {
    fn names(&self) -> Vec<Placeholder> {
        match self {
            Item::Path(_) => Vec::new(),
            Item::Template(template) => template.placeholders().to_vec(),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Path(path) => write!(f, "{}", path.display()),
            Item::Template(template) => f.write_str(template.text()),
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
    if path.contains("://") {
        return Err(bad(OPTION, text, "only local files are read"));
    }
    if !is_template(path) {
        return Ok(Item::Path(path.into()));
    }
    Ok(Item::Template(Template::parse(OPTION, plain(path))?))
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
        let tgm = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tgm"));
        if tgm && path.is_file() {
            files.push(Located { path, labels: Vec::new() });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn files_like(template: &Template) -> Result<Vec<Located>> {
    let paths = glob::glob(template.glob())
        .map_err(|e| bad(OPTION, template.text(), format!("malformed glob: {}", e.msg)))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|e| Error::io(e.path().to_string_lossy().into_owned(), e.into()))?;
        if path.extension().is_some_and(|extension| extension == index::EXTENSION) {
            continue; // what we put beside the files is none of them
        }
        let Some(text) = path.to_str() else { continue };
        if let Some(labels) = template.captures(plain(text)).filter(|_| !path.is_dir()) {
            let labels = labels.into_iter().map(Into::into).collect();
            files.push(Located { path, labels });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
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
        let name =
            |f: Located| (f.path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_string(), f.labels);
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
    fn what_matches_nothing_says_so() {
        let dir = folder(&["a.tgm"]);
        let error = |text: &str| names(&dir, text).unwrap_err().to_string();
        assert!(error("$/z*.tgm").ends_with("/z*.tgm`: no file matches"), "{}", error("$/z*.tgm"));
        assert!(error("$/t_{time:%Y}.tgm").contains("no file matches"));
        assert!(error("s3://bucket/a.tgm").contains("only local files"));
        assert!(error("$/t_{a}.tgm,$/a.tgm").contains("same `{dims}`"));
        assert!(error("").contains("expected a path"));
        assert!(error("$/t_{a.tgm").contains("without `}`"));
    }
}
