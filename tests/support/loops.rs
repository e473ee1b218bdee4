//! Loop devices, for root.

use std::fs::{self, File};
use std::path::Path;

use makeroom::kernel::calls::remove_partition;
use makeroom::kernel::sysfs;

use super::cleanup::{assert_clean, clean, insist};
use super::{text, tool, wait_a_moment};

/// A loop device over a file, for as long as this lives.
pub struct Attached {
    pub node: String,
}

impl Attached {
    pub fn new(file: &Path, options: &[&str]) -> Attached {
        let arguments = [&["--find", "--show"], options, &[file.to_str().unwrap()]].concat();
        let output = tool("losetup", &arguments);
        assert!(output.status.success(), "loop devices and root are needed: {}", text(&output.stderr));
        let attached = Attached { node: text(&output.stdout).trim().to_owned() };
        // What a test that was killed has left of it: the kernel keeps both for whatever is attached here next.
        forget_partitions(&attached.node).unwrap();
        if !options.contains(&"--read-only") {
            clean("blockdev", &["--setrw", &attached.node]).unwrap();
        }
        attached
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let (forgotten, detached) = (forget_partitions(&self.node), detach(&self.node));
        assert_clean(forgotten.and(detached));
    }
}

/// Takes its partitions away from the kernel, which would keep them for whatever is attached here next.
pub fn forget_partitions(node: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the partitions of {node}: {error}");
    let disk = File::open(node).map_err(|error| failed(&error))?;
    let known = sysfs::Disk::of_node(Path::new(node)).map_err(|error| failed(&error))?;
    let shown = known.ok_or_else(|| failed(&"no disk"))?.partitions().map_err(|error| failed(&error))?;
    let forget =
        |number| remove_partition(&disk, number).map_err(|error| failed(&format!("{number} is in use: {error}")));
    let forgotten: Vec<_> = shown.iter().map(|partition| insist(|| forget(partition.number))).collect();
    // All of them, also behind one that stays.
    forgotten.into_iter().collect()
}

/// Gives it up.
fn detach(node: &str) -> Result<(), String> {
    clean("losetup", &["--detach", node])?;
    // The kernel does it when the last one closes it.
    let file = format!("/sys/block/{}/loop/backing_file", node.strip_prefix("/dev/").unwrap());
    let is_detached = (0..300).any(|_| !Path::new(&file).exists() || wait_a_moment());
    is_detached.then_some(()).ok_or_else(|| format!("{node} is in use by {:?}", users(node)))
}

/// The command lines of those who have a device open.
fn users(node: &str) -> Vec<String> {
    let is_open = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target.starts_with(node))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let users = processes.filter(|process| is_open(process));
    users.map(|process| text(&fs::read(process.join("cmdline")).unwrap_or_default()).replace('\0', " ")).collect()
}
