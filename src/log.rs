//! Log lines, to stderr: with a level prefix `<N>` when the journal reads it (sd-daemon(3)), else as plain text.
//!
//! The results of a command are not log lines: they go to stdout.

use std::io::Write;

use crate::kernel;
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr {
    journal: bool,
}

/// Starts logging; `verbose` adds each step.
pub fn start(verbose: bool) {
    let journal = kernel::stderr_is_the_journal();
    log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
    // Only a second start can fail, and then the first one's logger is as good.
    let _ = log::set_boxed_logger(Box::new(Stderr { journal }));
}

impl Log for Stderr {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let (priority, word) = match record.level() {
            Level::Error => (3, "error: "),
            Level::Warn => (4, "warning: "),
            Level::Info => (6, ""),
            Level::Debug | Level::Trace => (7, ""),
        };
        let text = record.args().to_string();
        let lines: String = match self.journal {
            // The journal reads a prefix per line; without one a line would have the default level.
            true => text.lines().map(|line| format!("<{priority}>{line}\n")).collect(),
            false => format!("makeroom: {word}{text}\n"),
        };
        // Nobody is left to tell when stderr is gone; eprintln would panic and stop the run half-way.
        let _ = std::io::stderr().lock().write_all(lines.as_bytes());
    }

    fn flush(&self) {}
}
