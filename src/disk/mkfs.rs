//! Runs the tools that make file systems: all at once, their output kept for the case that one fails.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::disk::{MakeError, NewPartition};
use crate::filesystem::Mkfs;
use crate::kernel;
use crate::text::escape;
use crate::tools::TOOL_DIRECTORIES;
use crate::units::{show_seconds, show_size};

/// One tool to run: for which partition, what, and on which node or file.
pub struct Job<'a> {
    /// The partition, for messages.
    pub partition: &'a NewPartition,
    /// The command.
    pub mkfs: &'a Mkfs,
    /// Its last argument.
    pub node: PathBuf,
}

/// Runs all at once and waits for all. The error is that of the first in order that failed. The tools hold `lock` open
/// and do not outlive this process.
pub fn run_all(jobs: &[Job], lock: Option<&File>) -> Result<(), MakeError> {
    let started = Instant::now();
    let mut results: Vec<Option<Result<(), MakeError>>> = jobs.iter().map(|_| None).collect();
    let (sender, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        for (index, job) in jobs.iter().enumerate() {
            let sender = sender.clone();
            // Nobody receives only when this function has ended, which it does not before all threads have.
            let thread = move || sender.send((index, run(job, lock))).unwrap_or(());
            if let Err(reason) = std::thread::Builder::new().spawn_scoped(scope, thread) {
                results[index] = Some(Err(not_started(job, reason)));
            }
        }
        while results.iter().any(Option::is_none) {
            notify(jobs, &results, started);
            match finished.recv_timeout(NOTIFICATION_INTERVAL) {
                Ok((index, result)) => results[index] = Some(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("this function has a sender, too"),
            }
        }
    });
    results.into_iter().flatten().collect()
}

/// How often the service manager hears that the work goes on; it is told to wait three times as long.
const NOTIFICATION_INTERVAL: Duration = Duration::from_secs(10);

fn notify(jobs: &[Job], results: &[Option<Result<(), MakeError>>], started: Instant) {
    let running = jobs.iter().zip(results).filter(|(_, result)| result.is_none());
    let names: Vec<String> =
        running.map(|(job, _)| format!("{} ({})", job.partition.label, show_size(job.partition.extent.size))).collect();
    say(&format!("formatting {}", names.join(", ")), started);
}

/// A slow card must not be killed half-way, and the console says what the boot waits for.
fn say(what: &str, started: Instant) {
    let (seconds, extension) = (started.elapsed().as_secs(), 3 * NOTIFICATION_INTERVAL.as_micros());
    let state = format!("STATUS={what}, {seconds} s so far\nEXTEND_TIMEOUT_USEC={extension}");
    if let Err(reason) = kernel::notify(&state) {
        log::debug!("cannot notify the service manager: {reason}");
    }
}

/// Does what may take long, while the service manager hears that it goes on.
pub fn while_saying<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (started, is_done) = (Instant::now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let teller = std::thread::Builder::new().spawn_scoped(scope, || {
            while !is_done.load(Ordering::Relaxed) {
                say(what, started);
                std::thread::park_timeout(NOTIFICATION_INTERVAL);
            }
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        match teller {
            Ok(teller) => teller.thread().unpark(),
            Err(reason) => log::debug!("nobody told the service manager: {reason}"),
        }
        result
    })
}

fn run(job: &Job, lock: Option<&File>) -> Result<(), MakeError> {
    let (label, tool) = (&job.partition.label, job.mkfs.tool.display().to_string());
    let size = show_size(job.partition.extent.size);
    log::info!("formatting {label}: {tool}, {size}");
    let started = Instant::now();
    let (status, output) = start_and_wait(job.mkfs, &job.node, lock).map_err(|reason| not_started(job, reason))?;
    if !status.success() {
        return Err(MakeError::Failed { label: label.clone(), tool, status, output });
    }
    log::info!("formatted {label}: {size} in {} s", show_seconds(started.elapsed()));
    Ok(())
}

fn not_started(job: &Job, reason: io::Error) -> MakeError {
    MakeError::Start { label: job.partition.label.clone(), tool: job.mkfs.tool.display().to_string(), reason }
}

fn start_and_wait(mkfs: &Mkfs, node: &Path, lock: Option<&File>) -> io::Result<(std::process::ExitStatus, String)> {
    let (reader, writer) = io::pipe()?;
    let (alive, ours) = io::pipe()?;
    // Whatever a tool starts, and leaves behind, ends with it. This is of this thread, which starts nothing else.
    if let Err(reason) = kernel::calls::separate_processes() {
        log::debug!("what {} starts can outlive it: {reason}", mkfs.tool.display());
    }
    #[allow(clippy::disallowed_methods)] // this is the door that the lint guards
    let mut command = Command::new(&mkfs.tool);
    command.args(&mkfs.arguments).arg(node);
    // Nothing of our environment: options hidden in it would make the same configuration mean different things.
    command.env_clear().env("PATH", TOOL_DIRECTORIES.join(":")).env("LC_ALL", "C");
    command.envs(mkfs.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    kernel::calls::tie_to_us(&mut command, lock, &alive, &ours);
    log::debug!("running {command:?}");
    let mut child = command.spawn()?;
    // The command holds the writing end; while it lives, reading would never come to an end.
    drop(command);
    let output = ends_of(reader)?;
    Ok((child.wait()?, output))
}

/// What a tool said, fit for a console: its first lines, where the cause often is, and its last. However much it says,
/// no more than that is kept.
fn ends_of(mut reader: impl Read) -> io::Result<String> {
    const KEPT_BYTES: usize = 1024;
    const KEPT_LINES: usize = 4;
    let (mut head, mut tail, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    loop {
        let part = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let (first, rest) = part.split_at(part.len().min(KEPT_BYTES - head.len()));
        head.extend_from_slice(first);
        tail.extend_from_slice(rest);
        tail.drain(..tail.len().saturating_sub(KEPT_BYTES));
    }
    let text = String::from_utf8_lossy(&[head, tail].concat()).replace('\t', " ");
    let mut lines: Vec<String> = text.lines().map(escape).filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > 2 * KEPT_LINES {
        lines.splice(KEPT_LINES..lines.len() - KEPT_LINES, ["...".to_owned()]);
    }
    Ok(if lines.is_empty() { "  (nothing)".to_owned() } else { format!("  {}", lines.join("\n  ")) })
}
