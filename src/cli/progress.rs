//! How far long work is, on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, if that is a terminal; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar of `total` things called `unit`.
    pub(super) fn new(total: u64, unit: &str) -> Self {
        Self::styled(total, &format!("{{bar:40}} {{human_pos}} of {{human_len}} {unit}, {{eta}} to go"))
    }

    /// A bar of bytes of `what`.
    pub(super) fn bytes(total: u64, what: &str) -> Self {
        let bar = Self::styled(total, "{bar:40} {bytes} of {total_bytes}, {eta} to go  {wide_msg}");
        bar.0.set_message(what.to_owned());
        bar
    }

    fn styled(total: u64, template: &str) -> Self {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("## "));
        }
        Self(bar)
    }

    /// So many more are done.
    pub(super) fn add(&self, more: u64) {
        self.0.inc(more);
    }

    /// So many are done.
    pub(super) fn at(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
