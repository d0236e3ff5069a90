//! The one integration-test binary; one module a topic. Modules that need the engine are behind its feature.

mod corpus;
mod framing;
