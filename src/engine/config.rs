//! Session options: `SET millibar.x = ...`.

use crate::codec::Verify;
use crate::dataset::read::{Collect, ReadOptions};
use datafusion::common::{DataFusionError, Result, config_err};
use datafusion::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use std::any::Any;
use std::fmt;
use std::str::FromStr;

/// A share between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// `value`, if it lies in 0..=1.
    ///
    /// # Errors
    /// [`DataFusionError::Configuration`] if it doesn't, or is NaN.
    pub fn try_new(value: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            config_err!("{value} is not between 0 and 1")
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Share {
    fn default() -> Self {
        Self(0.5)
    }
}

impl FromStr for Share {
    type Err = DataFusionError;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim().parse() {
            Ok(number) => Self::try_new(number),
            Err(_) => config_err!("`{text}` is not a number between 0 and 1"),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a session can choose; each is shown by `SHOW ALL` and set by `SET millibar.<name> = <value>`.
#[derive(Debug, Clone, PartialEq)]
pub struct MillibarConfig {
    /// Reduce on the grid where an aggregate allows it; off, every query goes through rows.
    pub grid_aggregate: bool,
    /// Finish such an aggregate there, too; off, it yields partial states and DataFusion's final aggregate stays
    /// above it, as plans need it that are spread over machines.
    pub grid_final: bool,
    /// Evaluate predicates on values inside scans, also those that joins and sorts find while the query runs; off,
    /// they are evaluated on rows.
    pub scan_predicates: bool,
    /// Largest share of an object's elements that is read by range decoding; above it the object is decoded
    /// whole. A table's own option goes first.
    pub range_threshold: Share,
    /// Whether NaN in float data is NULL. A table's own option goes first.
    pub nan_as_null: bool,
    /// When the stored hashes of objects are checked; an object without one is an error then. A table's own option
    /// goes first.
    pub verify_hash: Verify,
    /// When reductions of whole chunks note their statistics.
    pub collect_statistics: Collect,
}

impl Default for MillibarConfig {
    fn default() -> Self {
        Self {
            grid_aggregate: true,
            grid_final: true,
            scan_predicates: true,
            range_threshold: Share::default(),
            nan_as_null: true,
            verify_hash: Verify::Off,
            collect_statistics: Collect::default(),
        }
    }
}

impl ConfigExtension for MillibarConfig {
    const PREFIX: &'static str = "millibar";
}

impl ExtensionOptions for MillibarConfig {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "grid_aggregate" => self.grid_aggregate = flag(value)?,
            "grid_final" => self.grid_final = flag(value)?,
            "scan_predicates" => self.scan_predicates = flag(value)?,
            "range_threshold" => self.range_threshold = value.parse()?,
            "nan_as_null" => self.nan_as_null = flag(value)?,
            "verify_hash" => self.verify_hash = verify(value)?,
            "collect_statistics" => self.collect_statistics = collect(value)?,
            _ => {
                let names: Vec<_> = self.entries().into_iter().map(|entry| entry.key).collect();
                return config_err!("there is no option millibar.{key}; there are {}", names.join(", "));
            }
        }
        Ok(())
    }

    /// Keys with the prefix, as `SHOW` looks for them.
    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: &dyn fmt::Display, description| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value.to_string()),
            description,
        };
        vec![
            entry(
                "grid_aggregate",
                &self.grid_aggregate,
                "Reduce on the grid where an aggregate allows it; off, every query goes through rows",
            ),
            entry(
                "grid_final",
                &self.grid_final,
                "Finish such an aggregate on the grid, too; off, DataFusion's final aggregate merges partial states",
            ),
            entry(
                "scan_predicates",
                &self.scan_predicates,
                "Evaluate predicates on values inside scans, also those of joins and sorts; off, on rows",
            ),
            entry(
                "range_threshold",
                &self.range_threshold,
                "Largest share of an object that is read by range decoding, 0 to 1; above it the object is decoded whole",
            ),
            entry("nan_as_null", &self.nan_as_null, "Whether NaN in float data is NULL"),
            entry(
                "verify_hash",
                &self.verify_hash,
                "When stored hashes are checked: off, full (each time an object is decoded whole), always (before anything of it is used)",
            ),
            entry(
                "collect_statistics",
                &match self.collect_statistics {
                    Collect::Off => "off",
                    Collect::Auto => "auto",
                    Collect::On => "on",
                },
                "When reductions of whole chunks note the chunks' statistics: off, auto (where all are computed anyway), on",
            ),
        ]
    }
}

fn flag(value: &str) -> Result<bool> {
    let value = value.trim();
    match value.to_ascii_lowercase().parse() {
        Ok(flag) => Ok(flag),
        Err(_) => config_err!("`{value}` is neither true nor false"),
    }
}

/// `true` and `false` stand for `full` and `off`.
fn verify(value: &str) -> Result<Verify> {
    match (value.parse(), flag(value)) {
        (Ok(verify), _) => Ok(verify),
        (_, Ok(true)) => Ok(Verify::FullDecodes),
        (_, Ok(false)) => Ok(Verify::Off),
        (Err(names), _) => config_err!("`{value}` is none of {names}"),
    }
}

fn collect(value: &str) -> Result<Collect> {
    match value.trim().to_ascii_lowercase().as_str() {
        "off" | "false" => Ok(Collect::Off),
        "auto" => Ok(Collect::Auto),
        "on" | "true" => Ok(Collect::On),
        _ => config_err!("`{value}` is none of off, auto and on"),
    }
}

/// What one table chooses for itself; `None` leaves it to the session.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TableOverrides {
    /// See [`MillibarConfig::range_threshold`].
    pub range_threshold: Option<Share>,
    /// See [`MillibarConfig::nan_as_null`].
    pub nan_as_null: Option<bool>,
    /// See [`MillibarConfig::verify_hash`].
    pub verify_hash: Option<Verify>,
}

impl MillibarConfig {
    /// That of a session, or the defaults where the session wasn't made by [`super::session`].
    pub fn of(options: &ConfigOptions) -> Self {
        options.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// How cells of a table are read.
    pub fn read_options(&self, table: &TableOverrides) -> ReadOptions {
        ReadOptions {
            range_threshold: table.range_threshold.unwrap_or(self.range_threshold).get(),
            nan_as_missing: table.nan_as_null.unwrap_or(self.nan_as_null),
            verify: table.verify_hash.unwrap_or(self.verify_hash),
            collect: self.collect_statistics,
        }
    }
}
