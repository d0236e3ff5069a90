//! Builds without object stores: every URL is refused.

use super::{Bytes, Listed, Source, Stamp, Url};
use crate::{Error, Result};
use std::io::{self, ErrorKind};
use std::sync::Arc;

fn refused<T>(url: &Url) -> Result<T> {
    let what = "built without object stores (feature `remote`)";
    Err(Error::io(Arc::clone(url.as_str()), io::Error::new(ErrorKind::Unsupported, what)))
}

pub(crate) fn open(url: &Url, _: Option<&Stamp>) -> Result<Arc<dyn Source>> {
    refused(url)
}

pub(crate) fn open_all(urls: &[&Url]) -> Result<Vec<Arc<dyn Source>>> {
    urls.iter().map(|url| refused(url)).collect()
}

pub(crate) fn list(folder: &Url, _: bool) -> Result<Vec<Listed>> {
    refused(folder)
}

pub(crate) fn read_whole(url: &Url) -> Result<Option<Bytes>> {
    refused(url)
}

pub(crate) fn write(url: &Url, _: Vec<u8>) -> Result<()> {
    refused(url)
}
