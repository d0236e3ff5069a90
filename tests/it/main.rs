//! The one integration-test binary; one module a topic. Modules that need the engine are behind its feature.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[cfg(feature = "engine")]
mod aggregates;
mod arrays;
mod build;
#[cfg(feature = "cli")]
mod cli;
mod codec_encode;
mod codec_large;
mod codec_laws;
mod codecs;
#[cfg(feature = "cli")]
mod command;
mod corpus;
mod dataset_laws;
mod dataset_rules;
mod datasets;
#[cfg(feature = "engine")]
mod differential;
#[cfg(feature = "engine")]
mod expressions;
mod fetched;
#[cfg(feature = "flight")]
mod flight;
#[cfg(feature = "flight")]
mod flight_tensors;
#[cfg(feature = "engine")]
mod forms;
mod framing;
mod framing_rules;
mod fuzzed;
mod hostile;
mod index;
#[cfg(feature = "engine")]
mod limits;
mod memory;
mod memory_source;
mod npy;
#[cfg(feature = "engine")]
mod partial_states;
#[cfg(feature = "engine")]
mod paths;
#[cfg(feature = "engine")]
mod pushdown;
#[cfg(feature = "engine")]
mod random;
mod reference;
#[cfg(feature = "engine")]
mod remote;
#[cfg(feature = "engine")]
mod rows;
#[cfg(feature = "engine")]
mod scans;
#[cfg(feature = "engine")]
mod slabs;
mod slt;
#[cfg(feature = "engine")]
mod statistics;
mod support;
mod szip;
#[cfg(feature = "engine")]
mod taken;
mod validate;
mod verify;
#[cfg(feature = "engine")]
mod web_server;
#[cfg(feature = "cli")]
mod whole_files;
mod writer;
