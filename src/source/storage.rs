//! How stores are reached, said with a location: what goes before the environment.
//!
//! ```text
//! SQL, command line    aws.region = ...                            for the stores of one kind
//! Python               storage_options = {"region": ...}           for whichever the location is in
//! StorageOptions       kept with each URL, so that connections are shared by those of the same options only
//! ```
//! Names are those of the stores' clients (`aws_access_key_id`, `access_key_id`), and those that fsspec, s3fs, gcsfs and
//! adlfs have for the same (`key`, `secret`, `endpoint_url`, `anon`). Values are never shown: not in errors, not by
//! `Debug`; texts of servers and clients are cleaned of them by [`StorageOptions::cleaned`].

use super::Scheme;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Name of the option that holds all of them.
pub(crate) const OPTION: &str = "storage_options";

/// What every client knows.
const CLIENT: &[&str] = &[
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "http1_only",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "timeout",
    "user_agent",
];

/// Values that may be shown: they are no secrets, and errors are poorer without them.
#[cfg(feature = "remote")]
const SHOWN: &[&str] = &[
    "account_name",
    "allow_http",
    "allow_invalid_certificates",
    "base_url",
    "connect_timeout",
    "endpoint",
    "http1_only",
    "http2_only",
    "imdsv1_fallback",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "region",
    "request_payer",
    "s3_express",
    "skip_signature",
    "timeout",
    "use_azure_cli",
    "use_emulator",
    "user_agent",
    "virtual_hosted_style_request",
];

/// One kind of store.
struct Kind {
    /// Before keys in SQL, with a dot; the first is the one that docs have.
    prefixes: &'static [&'static str],
    /// Before names of the client, which are the same without.
    vendors: &'static [&'static str],
    schemes: &'static [Scheme],
    /// Of its client, besides those in [`CLIENT`].
    names: &'static [&'static str],
    /// What others call them.
    aliases: &'static [(&'static str, &'static str)],
    /// Which one is the address of the server.
    endpoint: &'static str,
}

static KINDS: [Kind; 4] = [
    Kind {
        prefixes: &["aws", "s3"],
        vendors: &["aws_"],
        schemes: &[Scheme::S3],
        names: &[
            "access_key_id",
            "secret_access_key",
            "session_token",
            "region",
            "endpoint",
            "skip_signature",
            "virtual_hosted_style_request",
            "request_payer",
            "role_arn",
            "role_session_name",
            "web_identity_token_file",
            "endpoint_url_sts",
            "metadata_endpoint",
            "imdsv1_fallback",
            "container_credentials_relative_uri",
            "container_credentials_full_uri",
            "container_authorization_token_file",
            "s3_express",
            "sse_customer_key_base64",
        ],
        aliases: &[
            ("key", "access_key_id"),
            ("secret", "secret_access_key"),
            ("token", "session_token"),
            ("endpoint_url", "endpoint"),
            ("anon", "skip_signature"),
            ("region_name", "region"),
            ("default_region", "region"),
            ("requester_pays", "request_payer"),
        ],
        endpoint: "endpoint",
    },
    Kind {
        prefixes: &["gcp", "gs", "google"],
        vendors: &["google_"],
        schemes: &[Scheme::Gs],
        names: &[
            "service_account_path",
            "service_account_key",
            "application_credentials",
            "base_url",
            "skip_signature",
        ],
        aliases: &[
            ("service_account", "service_account_path"),
            ("endpoint_url", "base_url"),
            ("anon", "skip_signature"),
        ],
        endpoint: "base_url",
    },
    Kind {
        prefixes: &["azure", "az"],
        vendors: &["azure_storage_", "azure_"],
        schemes: &[Scheme::Az],
        names: &[
            "account_name",
            "account_key",
            "sas_token",
            "bearer_token",
            "client_id",
            "client_secret",
            "tenant_id",
            "authority_host",
            "endpoint",
            "skip_signature",
            "use_emulator",
            "use_azure_cli",
            "msi_endpoint",
            "msi_resource_id",
            "object_id",
            "federated_token_file",
        ],
        aliases: &[
            ("access_key", "account_key"),
            ("sas_key", "sas_token"),
            ("authority_id", "tenant_id"),
            ("endpoint_url", "endpoint"),
            ("anon", "skip_signature"),
        ],
        endpoint: "endpoint",
    },
    Kind {
        prefixes: &["http"],
        vendors: &[],
        schemes: &[Scheme::Http, Scheme::Https],
        names: &[],
        aliases: &[],
        endpoint: "",
    },
];

/// How stores are reached, where that isn't left to the environment.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageOptions {
    /// By kind of store (a place in `KINDS`), or for any, and name.
    given: Arc<BTreeMap<(Option<usize>, String), String>>,
}

impl fmt::Debug for StorageOptions {
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.given.keys().map(|(_, name)| name)).finish()
    }
}

impl Kind {
    /// What its client calls `key`.
    fn name(&self, key: &str) -> Option<&'static str> {
        let bare = self.vendors.iter().find_map(|vendor| key.strip_prefix(vendor)).unwrap_or(key);
        let known = self.names.iter().chain(CLIENT).find(|name| **name == bare);
        let alias = || self.aliases.iter().find(|(alias, _)| *alias == bare).map(|(_, name)| *name);
        known.copied().or_else(alias)
    }

    fn unknown(&self, key: &str) -> Error {
        let others = self.aliases.iter().map(|(alias, _)| *alias);
        let names: Vec<_> = self.names.iter().chain(CLIENT).copied().chain(others).collect();
        bad(key, &format!("no such option of this store; there are {}", names.join(", ")))
    }
}

/// The error of an option, whose value isn't shown.
fn bad(key: &str, expected: &str) -> Error {
    Error::Option { option: key.into(), value: "...".into(), expected: expected.into() }
}

impl StorageOptions {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Sets `key` if it is one of a kind of store, as `aws.region` is; whether it is.
    ///
    /// # Errors
    /// [`Error::Option`] for a name that stores of that kind don't have.
    pub fn set(&mut self, key: &str, value: &str) -> Result<bool> {
        let Some((prefix, name)) = key.split_once('.') else { return Ok(false) };
        let kind = KINDS.iter().position(|kind| kind.prefixes.contains(&prefix));
        let Some(kind) = kind else { return Ok(false) };
        let name = name.to_ascii_lowercase();
        let name = KINDS[kind].name(&name).ok_or_else(|| KINDS[kind].unknown(key))?;
        Arc::make_mut(&mut self.given).insert((Some(kind), name.into()), value.into());
        Ok(true)
    }

    /// Adds those of a JSON object, for whichever store they meet: texts, numbers and truth values; `null` is as if it
    /// weren't there, and what is in `client_kwargs` as if it were outside.
    ///
    /// # Errors
    /// [`Error::Option`] for anything else.
    pub fn add_json(&mut self, text: &str) -> Result<()> {
        let object = serde_json::from_str(text).ok();
        let Some(Value::Object(object)) = object else {
            return Err(bad(OPTION, "expected a JSON object of names and values"));
        };
        let given = Arc::make_mut(&mut self.given);
        let mut entries: Vec<_> = object.into_iter().collect();
        while let Some((key, value)) = entries.pop() {
            let text = match value {
                Value::Null => continue,
                Value::Object(inner) if key == "client_kwargs" => {
                    entries.extend(inner);
                    continue;
                }
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                _ => return Err(bad(&key, "expected a text, a number, or true or false")),
            };
            given.insert((None, key.to_ascii_lowercase()), text);
        }
        Ok(())
    }

    /// Those of stores with URLs of `scheme`, as their client calls them.
    ///
    /// # Errors
    /// [`Error::Option`] for a name that such stores don't have; it lists those that they have.
    pub(crate) fn of(&self, scheme: Scheme) -> Result<BTreeMap<&'static str, &str>> {
        let mut named = BTreeMap::new();
        let Some(at) = KINDS.iter().position(|kind| kind.schemes.contains(&scheme)) else { return Ok(named) };
        let kind = &KINDS[at];
        // Those for any store come first: what is said of this one goes before.
        for ((_, key), value) in self.given.iter().filter(|((of, _), _)| of.is_none_or(|of| of == at)) {
            let name = kind.name(key).ok_or_else(|| kind.unknown(key))?;
            named.insert(name, value.as_str());
        }
        if let Some(address) = named.get(kind.endpoint) {
            if address.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) {
                return Err(bad(kind.endpoint, "credentials don't belong into an address"));
            }
            if address.starts_with("http://") {
                named.entry("allow_http").or_insert("true");
            }
        }
        Ok(named)
    }

    /// `text`, of a client or server, without any value that isn't to be shown, and URLs in it without their queries,
    /// which may be signatures.
    #[cfg(feature = "remote")]
    pub(super) fn cleaned(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("://") {
            let (before, url) = rest.split_at(at);
            let end = url.find([' ', '"', '\'', ')', '>', ',', '\n']).unwrap_or(url.len());
            let (url, after) = url.split_at(end);
            clean.push_str(before);
            clean.push_str(url.split_once('?').map_or(url, |(address, _)| address));
            rest = after;
        }
        clean.push_str(rest);
        let hidden = self.given.iter().filter(|((of, key), value)| {
            let kinds = KINDS.iter().enumerate().filter(|(at, _)| of.is_none_or(|of| of == *at));
            let shown = kinds.filter_map(|(_, kind)| kind.name(key)).any(|name| SHOWN.contains(&name));
            !shown && !value.is_empty()
        });
        hidden.fold(clean, |text, (_, value)| text.replace(value.as_str(), "..."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> StorageOptions {
        let mut options = StorageOptions::default();
        options.add_json(text).unwrap();
        options
    }

    #[test]
    fn names_of_all_dialects_mean_the_same() {
        let mut sql = StorageOptions::default();
        for (key, value) in [
            ("aws.access_key_id", "me"),
            ("aws.secret_access_key", "pass"),
            ("s3.endpoint", "http://127.0.0.1:9"),
            ("aws.region", "x"),
            ("gcp.service_account_path", "elsewhere"),
        ] {
            assert!(sql.set(key, value).unwrap(), "{key}");
        }
        assert!(!sql.set("variables", "t").unwrap() && !sql.set("parquet.pushdown", "t").unwrap());
        let expected = sql.of(Scheme::S3).unwrap();
        assert_eq!(
            (expected["secret_access_key"], expected["allow_http"], expected.len()),
            ("pass", "true", 5)
        );
        let own = json(
            r#"{"AWS_ACCESS_KEY_ID": "me", "aws_secret_access_key": "pass", "endpoint": "http://127.0.0.1:9", "region": "x"}"#,
        );
        let fsspec = json(
            r#"{"key": "me", "secret": "pass", "token": null, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9", "region_name": "x"}}"#,
        );
        assert_eq!(own.of(Scheme::S3).unwrap(), expected);
        assert_eq!(fsspec.of(Scheme::S3).unwrap(), expected);
        assert_eq!(json(r#"{"anon": true}"#).of(Scheme::Gs).unwrap()["skip_signature"], "true");
        assert_eq!(json(r#"{"azure_storage_account_key": "k"}"#).of(Scheme::Az).unwrap()["account_key"], "k");
        assert_eq!(sql.of(Scheme::Gs).unwrap()["service_account_path"], "elsewhere");
    }

    #[cfg(feature = "remote")]
    #[test]
    fn clients_know_every_name() {
        use object_store::{
            ClientConfigKey, aws::AmazonS3ConfigKey, azure::AzureConfigKey, gcp::GoogleConfigKey,
        };
        let known: [fn(&str) -> bool; 4] = [
            |name| name.parse::<AmazonS3ConfigKey>().is_ok(),
            |name| name.parse::<GoogleConfigKey>().is_ok(),
            |name| name.parse::<AzureConfigKey>().is_ok(),
            |name| name.parse::<ClientConfigKey>().is_ok(),
        ];
        for (kind, known) in KINDS.iter().zip(known) {
            for name in kind.names.iter().chain(CLIENT) {
                assert!(known(name), "{name}");
                assert_eq!(kind.name(name), Some(*name));
            }
            for (alias, name) in kind.aliases {
                assert!(kind.names.contains(name) && !kind.names.contains(alias), "{alias}");
            }
        }
        let shown = |name: &&str| KINDS.iter().any(|kind| kind.name(name) == Some(*name));
        assert!(SHOWN.iter().all(shown));
    }

    #[test]
    fn what_is_unknown_is_named_and_never_shown() {
        let mut options = StorageOptions::default();
        let error = options.set("aws.regoin", "hush").unwrap_err().to_string();
        assert!(error.contains("aws.regoin") && error.contains("region, endpoint"), "{error}");
        let error = json(r#"{"sekret": "hush"}"#).of(Scheme::S3).unwrap_err().to_string();
        assert!(error.contains("sekret") && error.contains("secret_access_key"), "{error}");
        assert!(json(r#"{"key": "hush"}"#).of(Scheme::Https).is_err());
        for text in ["hush", "[1]", r#"{"key": ["hush"]}"#, r#"{"config_kwargs": {"a": "hush"}}"#] {
            let error = StorageOptions::default().add_json(text).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
        let address = json(r#"{"endpoint": "http://me:hush@h"}"#).of(Scheme::S3).unwrap_err().to_string();
        assert!(!address.contains("hush"), "{address}");
        let shown = json(r#"{"secret": "hush/1", "region": "north"}"#);
        assert_eq!(format!("{shown:?}"), r#"{"region", "secret"}"#);
    }

    #[cfg(feature = "remote")]
    #[test]
    fn texts_of_others_are_cleaned() {
        let options = json(r#"{"secret": "hush/1", "region": "north"}"#);
        let text = "bad hush/1 in north at (https://h/a?sig=abc%2F) and http://g/b?x";
        assert_eq!(options.cleaned(text), "bad ... in north at (https://h/a) and http://g/b");
    }
}
