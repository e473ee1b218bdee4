//! Loop devices, for root.

use std::fs::{self, File};
use std::path::Path;

use makeroom::kernel::calls::remove_partition;
use makeroom::kernel::sysfs;

use super::{text, tool, wait_a_moment};

/// A loop device over a file: its node.
pub fn attach(file: &Path, options: &[&str]) -> String {
    let arguments = [&["--find", "--show"], options, &[file.to_str().unwrap()]].concat();
    let output = tool("losetup", &arguments);
    assert!(output.status.success(), "loop devices and root are needed: {}", text(&output.stderr));
    let node = text(&output.stdout).trim().to_owned();
    // What a test that was stopped has left of it: the kernel keeps both for whatever is attached here next.
    forget_partitions(&node);
    if !options.contains(&"--read-only") {
        assert!(tool("blockdev", &["--setrw", &node]).status.success());
    }
    node
}

/// Takes its partitions away from the kernel, which would keep them for whatever is attached here next.
pub fn forget_partitions(node: &str) {
    let disk = File::open(node).unwrap();
    let shown = sysfs::Disk::of_node(Path::new(node)).unwrap().unwrap().partitions().unwrap();
    for partition in shown {
        // Tools of other tests (btrfs) look at all devices that there are, and have them open for a moment.
        let removed = || remove_partition(&disk, partition.number);
        let in_time = (0..100).any(|_| removed().is_ok() || wait_a_moment());
        assert!(in_time, "{} is in use", partition.node.display());
    }
}

/// Gives it up.
pub fn detach(node: &str) {
    assert!(tool("losetup", &["--detach", node]).status.success());
    // The kernel does it when the last one closes it.
    let file = format!("/sys/block/{}/loop/backing_file", node.strip_prefix("/dev/").unwrap());
    let is_detached = (0..300).any(|_| !Path::new(&file).exists() || wait_a_moment());
    assert!(is_detached, "{node} is in use by {:?}", users(node));
}

/// The command lines of those who have a device open.
fn users(node: &str) -> Vec<String> {
    let is_open = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target.starts_with(node))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let users = processes.filter(|process| is_open(process));
    users.map(|process| text(&fs::read(process.join("cmdline")).unwrap_or_default()).replace('\0', " ")).collect()
}
