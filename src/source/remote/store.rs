//! Object stores and web servers: one client for each bucket or host, and the requests that are made of it.

use crate::source::{Listed, STORAGE_OPTION, Scheme, Stamp, StorageOptions, Url};
use crate::{Error, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// Requests of all files that are under way at a time.
const CONCURRENT: usize = 32;
static TURNS: Semaphore = Semaphore::const_new(CONCURRENT);

/// Bytes that are asked for when a file is opened: its size and state come with them.
const FIRST: u64 = 64 << 10;

/// What an answer is called that says that the file hasn't the range.
const NO_RANGE: &str = "416 Range Not Satisfiable";

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteOptions {
    /// Longest time that one request may take, answer included.
    pub timeout: Duration,
    /// How often a request is repeated that fails for no reason of its own: the server is busy or broken (5xx), the
    /// connection is lost, the time is over.
    pub retries: usize,
    /// Wait before the first repetition; doubled for each further one, up to 15 seconds.
    pub backoff: Duration,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), retries: 4, backoff: Duration::from_millis(100) }
    }
}

impl RemoteOptions {
    /// The default, but for what the environment says: `MILLIBAR_REMOTE_TIMEOUT` (seconds) and
    /// `MILLIBAR_REMOTE_RETRIES`.
    ///
    /// # Errors
    /// [`Error::Option`] for what is no number.
    pub fn from_env() -> Result<Self> {
        let mut options = Self::default();
        if let Some(seconds) = variable("MILLIBAR_REMOTE_TIMEOUT", "a number of seconds above 0")? {
            let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
            options.timeout = timeout.ok_or_else(|| {
                bad("MILLIBAR_REMOTE_TIMEOUT", &seconds.to_string(), "a number of seconds above 0")
            })?;
        }
        if let Some(retries) = variable("MILLIBAR_REMOTE_RETRIES", "an integer from 0")? {
            options.retries = retries;
        }
        Ok(options)
    }
}

fn variable<T: std::str::FromStr>(name: &str, expected: &str) -> Result<Option<T>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let value = value.to_string_lossy();
    value.trim().parse().map(Some).map_err(|_| bad(name, &value, expected))
}

fn bad(option: &str, value: &str, expected: &str) -> Error {
    Error::Option { option: option.into(), value: value.into(), expected: expected.into() }
}

/// One file of a store.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) url: Url,
    path: Path,
    options: RemoteOptions,
}

/// Clients that are there already: connections are shared by all files of a bucket or host that are reached alike.
type Stores = HashMap<(String, RemoteOptions, StorageOptions), Arc<dyn ObjectStore>>;

/// Clients that are kept: tokens that change from hour to hour would leave ever more.
const KEPT: usize = 64;

/// What talks to servers. A forked child has neither the threads nor the connections of its parent, and makes its own.
#[derive(Debug)]
pub(super) struct Network {
    process: u32,
    /// None but these threads run requests, so that whoever waits for an answer, on whatever thread, never keeps it
    /// from coming.
    pub(super) fetchers: io::Result<Runtime>,
    stores: Mutex<Stores>,
}

impl Network {
    /// That of this process, for as long as it lives.
    pub(super) fn here() -> &'static Self {
        static MADE: Mutex<Option<&'static Network>> = Mutex::new(None);
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some(network) = made.filter(|network| network.process == process) {
            return network;
        }
        let fetchers =
            Builder::new_multi_thread().worker_threads(2).thread_name("millibar-fetch").enable_all().build();
        let network: &'static Self =
            Box::leak(Box::new(Self { process, fetchers, stores: Mutex::default() }));
        *made = Some(network);
        network
    }

    /// The client for `url`.
    fn store(&self, url: &Url, options: &RemoteOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
        let key = (url.root().to_string(), options.clone(), url.storage().clone());
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&key) {
            return Ok(Arc::clone(store));
        }
        let store = build(url, options)?;
        if stores.len() >= KEPT {
            stores.clear(); // files look theirs up with each request
        }
        stores.insert(key, Arc::clone(&store));
        Ok(store)
    }
}

impl Remote {
    /// The file at `url`; nothing is asked of the server yet.
    pub(super) fn new(url: &Url, options: &RemoteOptions) -> Result<Self> {
        let parsed = match url.scheme() {
            Scheme::Http | Scheme::Https if url.key().contains('?') => {
                return Err(bad("location", url.as_str(), "queries in URLs aren't supported"));
            }
            Scheme::Http | Scheme::Https => Path::from_url_path(url.key()),
            Scheme::S3 | Scheme::Gs | Scheme::Az => Path::parse(url.key().trim_end_matches('/')),
        };
        let path = parsed.map_err(|e| bad("location", url.as_str(), &format!("no valid key: {e}")))?;
        // It can be made.
        Network::here().store(url, options).map_err(|error| match url.storage().is_empty() {
            true => failed(url, &error),
            false => bad(STORAGE_OPTION, "...", &cleaned(url, &error)),
        })?;
        Ok(Self { url: url.clone(), path, options: options.clone() })
    }

    /// The client, which is that of this process wherever the file was opened.
    fn store(&self) -> object_store::Result<Arc<dyn ObjectStore>> {
        Network::here().store(&self.url, &self.options)
    }

    /// Size and state of the file, with its first bytes.
    pub(super) async fn open(&self) -> Result<(Stamp, Bytes)> {
        match self.get(GetOptions::new().with_range(Some(GetRange::Bounded(0..FIRST)))).await {
            Ok((meta, bytes)) => Ok((stamp(&meta), bytes)),
            // Of a file without bytes there is no range.
            Err(error) if causes(&error).contains(NO_RANGE) => {
                let head = async { self.store()?.head(&self.path).await };
                let meta = head.await.map_err(|e| failed(&self.url, &e))?;
                match meta.size {
                    0 => Ok((stamp(&meta), Bytes::new())),
                    _ => Err(failed(&self.url, &error)),
                }
            }
            Err(error) => Err(failed(&self.url, &error)),
        }
    }

    /// The bytes of `range`, of the file in the state `stamp` and no other.
    pub(super) async fn fetch(&self, range: Range<u64>, stamp: &Stamp) -> Result<Bytes> {
        let (meta, bytes) =
            self.get(conditions(range.clone(), stamp)).await.map_err(|error| match error {
                object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. } => {
                    self.changed()
                }
                // A file that is shorter by now may not have the range any more.
                error if causes(&error).contains(NO_RANGE) || causes(&error).contains("Requested ") => {
                    self.changed()
                }
                error => failed(&self.url, &error),
            })?;
        if !same(&self::stamp(&meta), stamp) {
            return Err(self.changed());
        }
        if bytes.len() as u64 != range.end - range.start {
            let what = format!("{} bytes came for {}..{}", bytes.len(), range.start, range.end);
            return Err(self.error(ErrorKind::UnexpectedEof, what));
        }
        Ok(bytes)
    }

    /// One request, repeated where the answer breaks off. (The client repeats those that aren't answered at all.)
    async fn get(&self, options: GetOptions) -> object_store::Result<(ObjectMeta, Bytes)> {
        let _turn = TURNS.acquire().await; // never closed
        let mut left = self.options.retries;
        let mut wait = self.options.backoff;
        loop {
            let answer = self.store()?.get_opts(&self.path, options.clone()).await?;
            let meta = answer.meta.clone();
            match answer.bytes().await {
                Ok(bytes) => return Ok((meta, bytes)),
                Err(error) if left == 0 => return Err(error),
                Err(error) => tracing::debug!("{}: {}; asked again", self.url, cleaned(&self.url, &error)),
            }
            left -= 1;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// All of the file, in whatever state; `None` if there is none.
    pub(super) async fn whole(&self) -> Result<Option<Bytes>> {
        match self.get(GetOptions::new()).await {
            Ok((_, bytes)) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&self.url, &error)),
        }
    }

    /// Replaces the file.
    pub(super) async fn put(&self, bytes: Vec<u8>) -> Result<()> {
        let done = async { self.store()?.put(&self.path, bytes.into()).await };
        done.await.map(drop).map_err(|e| failed(&self.url, &e))
    }

    /// The files below this one as a folder, by name; only those right in it unless `deep`.
    pub(super) async fn list(&self, deep: bool) -> Result<Vec<Listed>> {
        let prefix = Some(&self.path).filter(|path| !path.as_ref().is_empty());
        let found = async {
            let store = self.store()?;
            match deep {
                true => store.list(prefix).try_collect::<Vec<ObjectMeta>>().await,
                false => store.list_with_delimiter(prefix).await.map(|list| list.objects),
            }
        };
        let found = found.await.map_err(|e| failed(&self.url, &e))?;
        let listed = found
            .iter()
            .map(|meta| Listed { url: self.url.with_key(meta.location.as_ref()), stamp: stamp(meta) });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|a, b| a.url.cmp(&b.url));
        Ok(listed)
    }

    fn error(&self, kind: ErrorKind, what: impl Into<String>) -> Error {
        Error::io(Arc::clone(self.url.as_str()), io::Error::new(kind, what.into()))
    }

    fn changed(&self) -> Error {
        self.error(ErrorKind::StaleNetworkFileHandle, "the file was changed since it was opened")
    }
}

/// Opens many files at once, in their order.
pub(super) async fn open_all(files: Vec<Remote>) -> Vec<Result<(Stamp, Bytes)>> {
    let open = |file: Remote| async move { file.open().await };
    futures::stream::iter(files).map(open).buffered(CONCURRENT).collect().await
}

/// The state that a server describes. Times are whole seconds: some answers have no more.
fn stamp(meta: &ObjectMeta) -> Stamp {
    let modified_ns = i128::from(meta.last_modified.timestamp()) * 1_000_000_000;
    Stamp { len: meta.size, modified_ns, tag: meta.e_tag.as_deref().map(Into::into) }
}

/// Whether two states are the same one. A tag says more than a time.
fn same(a: &Stamp, b: &Stamp) -> bool {
    a.len == b.len && a.tag == b.tag && (a.tag.is_some() || a.modified_ns == b.modified_ns)
}

/// Asks for `range` on the condition that the file is in the state `stamp`. Weak tags match nothing, and servers
/// that don't know conditions answer anyway: the answer is looked at, too.
fn conditions(range: Range<u64>, stamp: &Stamp) -> GetOptions {
    let options = GetOptions::new().with_range(Some(GetRange::Bounded(range)));
    match stamp.tag.as_deref() {
        Some(tag) if !tag.starts_with("W/") => options.with_if_match(Some(tag)),
        _ => options,
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The client of a bucket or host, with what the environment says of it, and before that the options of `url`.
fn build(url: &Url, options: &RemoteOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    let backoff = BackoffConfig { init_backoff: options.backoff, max_backoff: LONGEST_WAIT, base: 2.0 };
    let most = options.timeout.saturating_mul(options.retries as u32 + 1);
    let retry = RetryConfig { backoff, max_retries: options.retries, retry_timeout: most };
    let (name, timeout) = (url.authority(), format!("{}ms", options.timeout.as_millis()));
    let key = ClientConfigKey::Timeout;
    let said = url.storage().of(url.scheme());
    let said = said.map_err(|e| object_store::Error::Generic { store: "options", source: e.into() })?;
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        Scheme::S3 => {
            let builder = AmazonS3Builder::from_env()
                .with_bucket_name(name)
                .with_config(AmazonS3ConfigKey::Client(key), timeout)
                .with_retry(retry);
            Arc::new(
                configured(builder, &said, |to, key: AmazonS3ConfigKey, value| to.with_config(key, value))?
                    .build()?,
            )
        }
        Scheme::Gs => {
            let builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(name)
                .with_config(GoogleConfigKey::Client(key), timeout)
                .with_retry(retry);
            Arc::new(
                configured(builder, &said, |to, key: GoogleConfigKey, value| to.with_config(key, value))?
                    .build()?,
            )
        }
        Scheme::Az => {
            let builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(name)
                .with_config(AzureConfigKey::Client(key), timeout)
                .with_retry(retry);
            Arc::new(
                configured(builder, &said, |to, key: AzureConfigKey, value| to.with_config(key, value))?
                    .build()?,
            )
        }
        Scheme::Http | Scheme::Https => {
            let builder = HttpBuilder::new()
                .with_url(url.root())
                .with_config(ClientConfigKey::AllowHttp, "true")
                .with_config(key, timeout)
                .with_retry(retry);
            Arc::new(
                configured(builder, &said, |to, key: ClientConfigKey, value| to.with_config(key, value))?
                    .build()?,
            )
        }
    };
    Ok(store)
}

/// `builder` with options that its client calls as `said` does.
fn configured<B, K: FromStr<Err = object_store::Error>>(
    builder: B,
    said: &BTreeMap<&str, &str>,
    with: impl Fn(B, K, String) -> B,
) -> object_store::Result<B> {
    said.iter()
        .try_fold(builder, |builder, (name, value)| Ok(with(builder, name.parse()?, value.to_string())))
}

/// An error and what led to it, as one text.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// An error and what led to it, without what isn't to be shown.
fn cleaned(url: &Url, error: &object_store::Error) -> String {
    url.storage().cleaned(&causes(error))
}

/// The error of a request.
fn failed(url: &Url, error: &object_store::Error) -> Error {
    use object_store::Error as E;
    let text = cleaned(url, error);
    let (kind, what) = match error {
        E::NotFound { .. } => (ErrorKind::NotFound, "there is no such file".into()),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => (ErrorKind::PermissionDenied, text),
        E::NotSupported { .. } => {
            (ErrorKind::Unsupported, "the server doesn't send ranges of bytes, only whole files".into())
        }
        _ if text.contains("timed out") => (ErrorKind::TimedOut, text),
        _ => (ErrorKind::Other, text),
    };
    Error::io(Arc::clone(url.as_str()), io::Error::new(kind, what))
}

/// Waits for `work`, which is done by the threads that fetch.
///
/// # Errors
/// [`Error::Io`] if they can't be started.
pub(super) fn wait<T: Send + 'static>(
    url: &Url,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let lost = || Error::io(Arc::clone(url.as_str()), io::Error::other("a request was given up"));
    let fetchers = Network::here()
        .fetchers
        .as_ref()
        .map_err(|e| Error::io(Arc::clone(url.as_str()), e.kind().into()))?;
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    fetchers.spawn(async move {
        let _ = send.send(work.await); // nobody waits any more: nothing to do
    });
    receive.recv().map_err(|_| lost())
}
