//! Runs the tools that make file systems: all at once, their output kept for the case that one fails.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::disk::{MakeError, NewPartition};
use crate::filesystem::{Mkfs, TOOL_DIRECTORIES};
use crate::text::escape;
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

/// Runs all and waits for all. The error is that of the first in order that failed.
pub fn run_all(jobs: &[Job]) -> Result<(), MakeError> {
    std::thread::scope(|scope| {
        let start =
            |job| std::thread::Builder::new().spawn_scoped(scope, move || run(job)).map_err(|error| (job, error));
        let running: Vec<_> = jobs.iter().map(start).collect();
        let results = running.into_iter().map(|started| match started {
            Ok(thread) => thread.join().expect("a thread that runs a tool has no panic"),
            Err((job, reason)) => Err(not_started(job, reason)),
        });
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

fn run(job: &Job) -> Result<(), MakeError> {
    let (label, tool) = (&job.partition.label, job.mkfs.tool.display().to_string());
    let size = show_size(job.partition.extent.size);
    log::info!("formatting {label}: {tool}, {size}");
    let started = Instant::now();
    let (status, output) = start_and_wait(job.mkfs, &job.node).map_err(|reason| not_started(job, reason))?;
    if !status.success() {
        return Err(MakeError::Failed { label: label.clone(), tool, status, output });
    }
    log::info!("formatted {label}: {size} in {} s", show_seconds(started.elapsed()));
    Ok(())
}

fn not_started(job: &Job, reason: io::Error) -> MakeError {
    MakeError::Start { label: job.partition.label.clone(), tool: job.mkfs.tool.display().to_string(), reason }
}

fn start_and_wait(mkfs: &Mkfs, node: &Path) -> io::Result<(std::process::ExitStatus, String)> {
    let (reader, writer) = io::pipe()?;
    #[allow(clippy::disallowed_methods)] // this is the door that the lint guards
    let mut command = Command::new(&mkfs.tool);
    command.args(&mkfs.arguments).arg(node);
    // Nothing of our environment: options hidden in it would make the same configuration mean different things.
    command.env_clear().env("PATH", TOOL_DIRECTORIES.join(":")).env("LC_ALL", "C");
    command.envs(mkfs.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
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
