//! Which disk: the one that is named, or the only one that carries every anchor. Never the first one found.
//!
//! `look` asks the machine, `decide` weighs what it has seen and touches nothing. `label` is the evidence by labels.

mod label;

use std::path::PathBuf;

use crate::config::BootDisk;
use crate::disk::Disk;
use crate::disk::block_device::BlockDevice;
use crate::kernel::sysfs;
use crate::table::copies::Table;
use crate::text::escape;
use crate::units::{Guid, Label, show_size};

/// The disk to work on.
#[derive(Debug)]
pub struct Found {
    /// A path that names it.
    pub path: PathBuf,
    /// Why it is this disk.
    pub evidence: Vec<String>,
    /// Every disk that was looked at, in the order of their names; empty when the disk was named.
    pub candidates: Vec<Candidate>,
}

/// A disk that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its device node.
    pub node: PathBuf,
    /// How it is connected, as the kernel calls the subsystem: `mmc`, `scsi`, `nvme`, `virtio`.
    pub bus: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Its serial number or card identification, where it has one.
    pub serial: Option<String>,
    /// Its disk GUID, where it has a table.
    pub guid: Option<Guid>,
    /// Whether it cannot be written. Such a disk is only meant when no other is: a boot from a write-protected card,
    /// on which nothing is missing.
    pub read_only: bool,
    /// What speaks against it; empty when it carries every anchor.
    pub against: Vec<String>,
}

impl Candidate {
    /// What there is to say of it, in one line.
    pub fn verdict(&self) -> String {
        match (self.against.is_empty(), self.read_only) {
            (true, false) => "carries every label".to_owned(),
            (true, true) => "carries every label, but is read-only".to_owned(),
            (false, _) => self.against.join(", "),
        }
    }
}

/// No disk, or more than one. Exit status 69.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the sentences say it
pub enum Error {
    #[error("no disk carries every label of [boot-disk]: {anchors}\n{}", list(candidates))]
    None { anchors: String, candidates: Vec<Candidate> },
    #[error(
        "{} disks carry every label of [boot-disk] ({anchors}), and nothing tells which of them was booted. Unplug the \
         other, or name the right one with makeroom.disk=/dev/... on the kernel command line\n{}",
        count,
        list(candidates)
    )]
    Several { count: usize, anchors: String, candidates: Vec<Candidate> },
    #[error("looking for disks in /sys/block: {0}")]
    Sysfs(std::io::Error),
}

impl Error {
    /// The disks that were looked at.
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Error::None { candidates, .. } | Error::Several { candidates, .. } => candidates,
            Error::Sysfs(_) => &[],
        }
    }
}

/// Finds the boot disk by what the configuration says of it.
pub fn find(wish: &BootDisk) -> Result<Found, Error> {
    if let Some(device) = &wish.device {
        let evidence = vec![format!("device = \"{}\" in [boot-disk]", escape(&device.to_string_lossy()))];
        return Ok(Found { path: device.clone(), evidence, candidates: Vec::new() });
    }
    decide(&wish.labels, look(wish)?)
}

/// One disk or a refusal.
fn decide(anchors: &[String], candidates: Vec<Candidate>) -> Result<Found, Error> {
    let shown = anchors.iter().map(|anchor| format!("\"{}\"", escape(anchor))).collect::<Vec<_>>().join(", ");
    let fitting = |read_only| -> Vec<&Candidate> {
        let fits = |disk: &&Candidate| disk.against.is_empty() && disk.read_only == read_only;
        candidates.iter().filter(fits).collect()
    };
    let writable = fitting(false);
    let fitting = if writable.is_empty() { fitting(true) } else { writable };
    match fitting[..] {
        [] => Err(Error::None { anchors: shown, candidates }),
        [only] => {
            let evidence = vec![format!("the only disk that carries {shown}")];
            Ok(Found { path: only.node.clone(), evidence, candidates })
        }
        _ => Err(Error::Several { count: fitting.len(), anchors: shown, candidates }),
    }
}

/// One line for each disk.
fn list(candidates: &[Candidate]) -> String {
    let line = |disk: &Candidate| {
        let bus = disk.bus.as_ref().map(|bus| format!(", {bus}")).unwrap_or_default();
        format!("  {} ({}{bus}): {}", disk.node.display(), show_size(disk.size), disk.verdict())
    };
    match candidates {
        [] => "  there is no disk at all".to_owned(),
        all => all.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

/// Reads the table of each disk that could be the one.
fn look(wish: &BootDisk) -> Result<Vec<Candidate>, Error> {
    let mut candidates = Vec::new();
    for disk in sysfs::Disk::all().map_err(Error::Sysfs)? {
        if !is_skipped(disk.name(), wish.allow_loop) {
            candidates.extend(candidate(&disk, &wish.labels).map_err(Error::Sysfs)?);
        }
    }
    for candidate in &candidates {
        log::debug!("{}: {}", candidate.node.display(), candidate.verdict());
    }
    Ok(candidates)
}

/// Kinds of devices that nobody boots from: what is made of other disks, memory, or a drive for other media.
const SKIPPED: [&str; 10] = ["loop", "ram", "zram", "dm-", "md", "nbd", "drbd", "sr", "fd", "mtdblock"];

fn is_skipped(name: &str, allow_loop: bool) -> bool {
    let is_a =
        |kind: &&&str| name.strip_prefix(**kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    SKIPPED.iter().find(is_a).is_some_and(|kind| !(allow_loop && *kind == "loop"))
}

/// What a disk has to say for itself; nothing for one without a medium.
fn candidate(disk: &sysfs::Disk, anchors: &[String]) -> std::io::Result<Option<Candidate>> {
    let size = disk.size()?;
    if size == 0 || disk.number("hidden")? == Some(1) {
        return Ok(None);
    }
    let holders = disk.holders()?;
    let (guid, against) = match () {
        _ if disk.number("ext_range")? == Some(1) => (None, vec!["cannot have partitions".to_owned()]),
        _ if !holders.is_empty() => (None, vec![format!("is a part of {}", holders.join(", "))]),
        _ => judge(disk, anchors),
    };
    let mut serial = None;
    for attribute in ["device/cid", "device/serial", "serial"] {
        serial = serial.or(disk.text(attribute)?.filter(|serial| !serial.is_empty()));
    }
    let (bus, read_only) = (disk.link("device/subsystem"), disk.number("ro")? == Some(1));
    Ok(Some(Candidate { node: disk.node(), bus, size, serial, guid, read_only, against }))
}

/// The disk's GUID and what its labels lack.
fn judge(disk: &sysfs::Disk, anchors: &[String]) -> (Option<Guid>, Vec<String>) {
    let mut device = match BlockDevice::open(disk.clone(), None, None) {
        Ok(device) => device,
        Err(reason) => return (None, vec![reason.to_string()]),
    };
    let device: &mut dyn Disk = &mut device;
    let (guid, partitions) = match Table::read(device) {
        Ok(table) => (Some(table.disk_guid()), table.source.partitions()),
        Err(reason) => match Table::seen_by_linux(device) {
            // A table that we would not touch still says which disk it is.
            Some(seen) => (None, seen),
            None => return (None, vec![reason.to_string()]),
        },
    };
    let labels: Vec<Label> = partitions.into_iter().map(|partition| partition.label).collect();
    (guid, label::misfits(anchors, &labels))
}
