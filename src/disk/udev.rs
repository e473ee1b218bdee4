//! udev, which has to look at what has changed, and be waited for.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kernel;
use crate::kernel::sysfs::{self, KernelPartition};
use crate::kernel::uevent::Answers;
use crate::units::{Guid, show_seconds};

/// Lets udev look at the partitions that changed, and waits for it. Twice: when the second answer comes, udev has also dealt with our closing of the disk, which it is told of on
/// another way and may see later than the first trigger.
pub fn look_at(disk: &Path, mut answers: Answers, changed: &[&KernelPartition]) -> io::Result<()> {
    let until = Instant::now() + TIME;
    for _ in 0..2 {
        let tokens: Vec<String> =
            changed.iter().map(|partition| trigger(&partition.node)).collect::<io::Result<_>>()?;
        if !answers.wait(&tokens, until)? {
            let (wait, node) = (show_seconds(TIME), disk.display());
            log::warn!("udev has not looked at {node} within {wait} s: its links may come late");
            return Ok(());
        }
    }
    Ok(())
}

/// Lets udev look at a partition again; the token comes back with its answer.
pub fn trigger(node: &Path) -> io::Result<String> {
    let token = Guid::from_random(kernel::random_bytes()?).to_string();
    sysfs::trigger(node, &token)?;
    Ok(token)
}

/// How long udev may take to look at the disk, while a partition is held open; nothing of a boot waits longer for a
/// device (systemd's `DefaultDeviceTimeoutSec`).
pub const TIME: Duration = Duration::from_secs(90);
