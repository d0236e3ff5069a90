//! The one integration-test binary; one module a topic. Modules that need the engine are behind its feature.

mod build;
mod corpus;
mod framing;
mod framing_rules;
mod hostile;
mod memory;
mod memory_source;
