//! Log lines, to stderr: with a level prefix `<N>` when the journal reads it (sd-daemon(3)), else as plain text. In an
//! initrd also to the kernel's log, which every console shows: the line that ends a run, and all lines where neither
//! a journal nor a terminal would show them. Nothing in them acts on what shows them.
//!
//! The results of a command are not log lines: they go to stdout.

use std::io::Write;

use crate::kernel;
use crate::text::printable;
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger {
    journal: bool,
    /// The least important level that goes to the kernel's log.
    kernel_log: LevelFilter,
}

/// Starts logging; `verbose` adds each step.
pub fn start(verbose: bool) {
    let journal = kernel::stderr_is_the_journal();
    let kernel_log = match kernel::in_initrd() {
        false => LevelFilter::Off,
        true if journal || kernel::stderr_is_a_terminal() => LevelFilter::Error,
        true => LevelFilter::Trace,
    };
    log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
    // Only a second start can fail, and then the first one's logger is as good.
    let _ = log::set_boxed_logger(Box::new(Logger { journal, kernel_log }));
}

impl Log for Logger {
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
        let text = printable(&record.args().to_string());
        let lines: String = match self.journal {
            // The journal reads a prefix per line; without one a line would have the default level.
            true => text.lines().map(|line| format!("<{priority}>{line}\n")).collect(),
            false => format!("makeroom: {word}{text}\n"),
        };
        // Nobody is left to tell when stderr is gone; eprintln would panic and stop the run half-way.
        let _ = std::io::stderr().lock().write_all(lines.as_bytes());
        if record.level() <= self.kernel_log {
            // As above: this is the last place that could be told.
            let _ = to_the_kernel_log(priority, &text);
        }
    }

    fn flush(&self) {}
}

/// One record a line, of the facility daemon. A record above 1024 bytes would be refused whole.
fn to_the_kernel_log(priority: u8, text: &str) -> std::io::Result<()> {
    const FACILITY: u8 = 3 << 3;
    const LONGEST: usize = 860;
    let mut log = kernel::kernel_log()?;
    for line in text.lines() {
        let line = &line[..line.floor_char_boundary(LONGEST)];
        log.write_all(format!("<{}>makeroom: {line}\n", FACILITY | priority).as_bytes())?;
    }
    Ok(())
}
