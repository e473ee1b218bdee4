//! What tests start and mount ends with them, also when they fail. Nothing can be done where a whole run of tests is killed
//! (SIGKILL): what it had attached, mounted and started stays.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use super::{text, try_tool, wait_a_moment, wait_for};

/// What could not be cleaned up fails a test. One that fails already only prints it: a second panic would end the whole
/// run at once, with all that the other tests have.
pub fn assert_clean(cleaned: Result<(), String>) {
    match cleaned {
        Err(left) if std::thread::panicking() => eprintln!("left behind: {left}"),
        Err(left) => panic!("left behind: {left}"),
        Ok(()) => {}
    }
}

/// Runs a tool to clean up with; what it says when it fails.
pub fn clean(name: &str, arguments: &[&str]) -> Result<(), String> {
    let output = try_tool(name, arguments).map_err(|error| format!("{name}: {error}"))?;
    let failed = || format!("{name} {}: {}", arguments.join(" "), text(&output.stderr).trim_end());
    output.status.success().then_some(()).ok_or_else(failed)
}

/// Tries for five seconds: tools of other tests have open what they find, for a moment.
pub fn insist(attempt: impl Fn() -> Result<(), String>) -> Result<(), String> {
    for _ in 0..100 {
        if attempt().is_ok() {
            return Ok(());
        }
        wait_a_moment();
    }
    attempt()
}

/// A run beside the test, which is killed when the test ends before it.
pub struct Running(Option<Child>);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let child = command.spawn();
        Running(Some(child.unwrap_or_else(|error| panic!("{command:?} is needed for this test: {error}"))))
    }

    pub fn wait_with_output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let ended = child.kill().and_then(|()| child.wait());
            assert_clean(ended.map(|_| ()).map_err(|error| format!("process {}: {error}", child.id())));
        }
    }
}

/// A program that shows a file by FUSE for as long as this lives.
pub struct Daemon {
    child: Running,
    file: PathBuf,
    /// What it ends with when it is asked to.
    status: i32,
}

impl Daemon {
    /// Waits until it has written `ready`.
    pub fn start(command: &mut Command, file: &Path, ready: &Path, status: i32) -> Daemon {
        let daemon = Daemon { child: Running::start(command), file: file.to_owned(), status };
        wait_for(ready);
        daemon
    }

    /// Asked to, it takes its file away.
    fn end(&mut self) -> Result<(), String> {
        let id = self.child.id();
        clean("kill", &[&id.to_string()])?;
        let ended = (0..200).find_map(|_| {
            let status = self.child.try_wait().transpose();
            if status.is_none() {
                wait_a_moment();
            }
            status
        });
        match ended {
            Some(Ok(status)) if status.code() == Some(self.status) => Ok(()),
            Some(Ok(status)) => Err(format!("what shows {} ended with {status}", self.file.display())),
            Some(Err(error)) => Err(format!("process {id}: {error}")),
            None => Err(format!("process {id} did not end in 10 s, and was killed")),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = self.end();
        if ended.is_err() {
            let killed = self.child.kill().and_then(|()| self.child.wait());
            let killed = killed.map(|_| ()).map_err(|error| format!("process {}: {error}", self.child.id()));
            // Nothing answers there any more, if it has come to mount it at all.
            let unmounted = clean("umount", &["--lazy", self.file.to_str().unwrap()]);
            let left: Vec<_> = [ended, killed, unmounted].into_iter().filter_map(Result::err).collect();
            assert_clean(Err(left.join("; ")));
        }
    }
}
