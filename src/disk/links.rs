//! Names for the partitions of one disk, through udev: `/dev/disk/by-partlabel` leads to any disk that has the label, and
//! with a twin plugged in to either of the two.
#![allow(clippy::disallowed_methods)] // this is the door that the lint guards

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::disk::udev;
use crate::kernel;
use crate::kernel::sysfs::KernelPartition;
use crate::kernel::uevent::Answers;
use crate::text::escape;
use crate::units::{Label, show_seconds};

/// Where the links are.
pub const DIRECTORY: &str = "/dev/disk/by-makeroom";

/// Makes them for the `partitions` of the disk at `node`, which the kernel shows as `shown`, and waits until udev has.
pub fn publish(
    node: &Path,
    sequence: u64,
    udevadm: &Path,
    mut answers: Answers,
    shown: &[KernelPartition],
    partitions: &[(u32, Label)],
) -> io::Result<()> {
    write_rules(node, sequence, udevadm)?;
    let nodes: Vec<PathBuf> = shown.iter().map(|partition| partition.node.clone()).collect();
    let astray = astray(&nodes)?;
    let tokens: Vec<String> = nodes.iter().chain(&astray).map(|node| udev::trigger(node)).collect::<io::Result<_>>()?;
    if !answers.wait(&tokens, Instant::now() + udev::TIME)? {
        let seconds = show_seconds(udev::TIME);
        return Err(io::Error::other(format!("udev has not looked at them within {seconds} s")));
    }
    let mut labels: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (number, label) in partitions {
        let node = shown.iter().filter(|shown| shown.number == *number).map(|shown| shown.node.clone());
        labels.entry(label.lossy()).or_default().extend(node);
    }
    check(&labels)
}

/// After the rules that find out labels (`60-persistent-storage.rules`). `/run` outlives the initrd, and the udev of the
/// system reads it, too.
const RULES: &str = "/run/udev/rules.d/61-makeroom.rules";

/// Lets udev make the links from now on, for the partitions of the disk that has this sequence number. The number is
/// given once since the kernel was started (Documentation/ABI/testing/sysfs-block, `diskseq`): a disk that gets the same
/// name later has another one.
fn write_rules(node: &Path, sequence: u64, udevadm: &Path) -> io::Result<()> {
    let rules = format!(
        "# The partitions of the disk that makeroom has found to be the boot disk, {}.\n\
         SUBSYSTEM==\"block\", ACTION!=\"remove\", ENV{{DEVTYPE}}==\"partition\", ENV{{DISKSEQ}}==\"{sequence}\", \
         ENV{{ID_PART_ENTRY_NAME}}==\"?*\", SYMLINK+=\"disk/by-makeroom/$env{{ID_PART_ENTRY_NAME}}\"\n",
        escape(&node.to_string_lossy())
    );
    kernel::replace_file(Path::new(RULES), rules.as_bytes())?;
    // By itself udev looks for new rules every three seconds, and only when there is an event.
    let mut reload = Command::new(udevadm);
    reload.args(["control", "--reload"]).env_clear().stdin(Stdio::null());
    let output = reload.output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = escape(String::from_utf8_lossy(&output.stderr).trim());
            Err(io::Error::other(format!("udevadm control --reload failed ({}): {said}", output.status)))
        }
    }
}

/// Partitions of other disks that links of an earlier run lead to: udev has to look at them again, too.
fn astray(nodes: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let links = kernel::links_in(Path::new(DIRECTORY))?;
    Ok(links.into_iter().map(|(_, target)| target).filter(|target| !nodes.contains(target)).collect())
}

/// Makes certain that one of the `nodes` of each label has a link, and that no link leads elsewhere.
fn check(labels: &BTreeMap<String, Vec<PathBuf>>) -> io::Result<()> {
    let links = kernel::links_in(Path::new(DIRECTORY))?;
    let is_ours = |target: &PathBuf| labels.values().any(|nodes| nodes.contains(target));
    if let Some((link, target)) = links.iter().find(|(_, target)| !is_ours(target)) {
        let (link, target) = (link.display(), target.display());
        return Err(io::Error::other(format!("{link} leads to {target}, which is not of this disk")));
    }
    let has_link = |nodes: &[PathBuf]| links.iter().any(|(_, target)| nodes.contains(target));
    match labels.iter().find(|(label, nodes)| !label.is_empty() && !has_link(nodes)) {
        Some((label, _)) => Err(io::Error::other(format!("udev has made none for \"{}\"", escape(label)))),
        None => Ok(()),
    }
}
