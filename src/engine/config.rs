//! Session options: `SET millibar.x = ...`.

use crate::codec::Verify;
use crate::dataset::read::ReadOptions;
use datafusion::common::{DataFusionError, Result, config_err, extensions_options};
use datafusion::config::{ConfigExtension, ConfigField, ConfigOptions, Visit};
use std::fmt;

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

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ConfigField for Share {
    fn visit<V: Visit>(&self, v: &mut V, key: &str, description: &'static str) {
        v.some(key, self, description);
    }

    fn set(&mut self, _key: &str, value: &str) -> Result<()> {
        let number = value.trim().parse().map_err(|_| {
            DataFusionError::Configuration(format!("`{value}` is not a number between 0 and 1"))
        })?;
        *self = Self::try_new(number)?;
        Ok(())
    }
}

extensions_options! {
    /// What a session can choose; each is shown by `SHOW ALL` and set by `SET millibar.<name> = <value>`.
    pub struct MillibarConfig {
        /// Reduce on the grid where an aggregate allows it; off, every query goes through rows
        pub grid_aggregate: bool, default = true
        /// Largest share of an object's elements that is read by range decoding; above it the object is decoded whole. A table's own option goes first
        pub range_threshold: Share, default = Share::default()
        /// Whether NaN in float data is NULL. A table's own option goes first
        pub nan_as_null: bool, default = true
        /// Check the stored hash of every object that is decoded whole; an object without one is an error. A table's own option goes first
        pub verify_hash: bool, default = false
    }
}

impl ConfigExtension for MillibarConfig {
    const PREFIX: &'static str = "millibar";
}

/// What one table chooses for itself; `None` leaves it to the session.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TableOverrides {
    /// See [`MillibarConfig::range_threshold`].
    pub range_threshold: Option<Share>,
    /// See [`MillibarConfig::nan_as_null`].
    pub nan_as_null: Option<bool>,
    /// See [`MillibarConfig::verify_hash`].
    pub verify_hash: Option<bool>,
}

impl MillibarConfig {
    /// That of a session, or the defaults where the session wasn't made by [`super::session`].
    pub fn of(options: &ConfigOptions) -> Self {
        options.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// How cells of a table are read.
    pub fn read_options(&self, table: &TableOverrides) -> ReadOptions {
        let verify = table.verify_hash.unwrap_or(self.verify_hash);
        ReadOptions {
            range_threshold: table.range_threshold.unwrap_or(self.range_threshold).get(),
            nan_as_missing: table.nan_as_null.unwrap_or(self.nan_as_null),
            verify: if verify { Verify::FullDecodes } else { Verify::Off },
        }
    }
}
