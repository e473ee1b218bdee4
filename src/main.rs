//! Arguments in, exit code out.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use makeroom::cli::{self, Command, HELP, Invocation, Request};
use makeroom::error::{Error, Exit};
use makeroom::report::{Outcome, Report};
use makeroom::text::printable;

fn main() -> ExitCode {
    makeroom::kernel::calls::take_file_limits_as_errors();
    let result = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Request::Help) => print(HELP, "the help"),
        Ok(Request::Version) => print(concat!("makeroom ", env!("CARGO_PKG_VERSION"), "\n"), "the version"),
        Ok(Request::Run(invocation)) => return run(&invocation),
        Err(error) => Err(error.into()),
    };
    makeroom::log::start(false);
    finish(result.map(|()| Exit::Ok))
}

fn run(invocation: &Invocation) -> ExitCode {
    makeroom::log::start(invocation.verbose);
    let mut report = Report::default();
    let result = makeroom::run(invocation, &mut report);
    for warning in &report.warnings {
        log::warn!("{warning}");
    }
    report.outcome = match &result {
        Ok(message) => Outcome { code: Exit::Ok as u8, message: message.clone() },
        Err(error) => Outcome { code: error.exit() as u8, message: error.to_string() },
    };
    if report.is_recorded {
        record(&mut report);
    }
    let shown = match (&result, invocation.json) {
        (_, true) => print(&report.json(), &report.outcome.message),
        (Ok(message), false) => {
            let text = match invocation.command {
                Command::Locate => report.proof(),
                // What every later boot has on its console.
                Command::Apply if report.is_idle() && !invocation.verbose => String::new(),
                _ => report.text(wants_unicode()),
            };
            print(&printable(&format!("{text}{message}\n")), message)
        }
        (Err(_), false) => Ok(()),
    };
    finish(result.map(|_| Exit::Ok).and_then(|exit| shown.map(|()| exit)))
}

/// Leaves what was found and done where the running system can read it: /run outlives the initrd. A run that had
/// nothing to do leaves the record of one that had.
fn record(report: &mut Report) {
    let path = Path::new("/run/makeroom/report.json");
    if report.steps.is_empty() && report.outcome.code == 0 && makeroom::kernel::is_there(path) {
        return;
    }
    let record = report.record();
    if let Err(reason) = makeroom::kernel::replace_file(path, record.as_bytes()) {
        // The disk is what counts; the record only tells of it. And who is not root will not miss it.
        let level = if reason.kind() == io::ErrorKind::PermissionDenied { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "cannot write {}: {reason}", path.display());
    }
}

fn finish(result: Result<Exit, Error>) -> ExitCode {
    let exit = result.unwrap_or_else(|error| {
        log::error!("{error}");
        error.exit()
    });
    ExitCode::from(exit as u8)
}

/// Writes a result, which `result` puts into a few words. A reader that has had enough (`makeroom plan | head -1`) is
/// no error.
fn print(text: &str, result: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(reason) if reason.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Output { reason, result: result.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether the terminal says that it shows more than ASCII; in an initrd nothing does.
fn wants_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    let value = locale.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    value.ends_with("utf-8") || value.ends_with("utf8")
}
