//! Progress of long work, on stderr and for people only: where stderr is no terminal nothing is written.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the line moves.
const TICK: Duration = Duration::from_millis(100);

/// A line that comes, moves and goes away without a trace.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Work whose length is not known.
    pub(super) fn spinner(what: &str) -> Self {
        let style =
            ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("a template");
        Self::shown(ProgressBar::new_spinner().with_style(style), what)
    }

    /// Work on a known number of things.
    pub(super) fn of(total: usize, what: &str) -> Self {
        let template = "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("a template");
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        Self::shown(ProgressBar::new(total).with_style(style), what)
    }

    fn shown(bar: ProgressBar, what: &str) -> Self {
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// What is being waited for now.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// So many are done.
    pub(super) fn at(&self, done: usize) {
        self.0.set_position(u64::try_from(done).unwrap_or(u64::MAX));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
