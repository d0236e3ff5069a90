//! The `millibar` command.
