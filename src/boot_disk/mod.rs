//! Which disk: the one that is named, or the only one that carries every anchor. Never the first one found.
//!
//! `look` asks the machine, `fitting` weighs what it has seen and touches nothing. `label` is the evidence by labels.

mod label;

use std::path::PathBuf;

use crate::config::BootDisk;
use crate::disk::Disk;
use crate::disk::block_device::BlockDevice;
use crate::disk::open::OpenError;
use crate::kernel::sysfs;
use crate::table::{self, copies::Table};
use crate::text::escape;
use crate::units::{Guid, Label, show_size};

/// The disk to work on.
pub struct Found {
    /// A path that names it.
    pub path: PathBuf,
    /// Why it is this disk.
    pub evidence: Vec<String>,
    /// Every disk that was looked at, in the order of their names; empty when the disk was named.
    pub candidates: Vec<Candidate>,
    /// The disk, where it has been looked at already.
    pub opened: Option<Opened>,
}

/// A disk that was looked at, as it was seen.
pub struct Opened {
    /// The disk.
    pub device: BlockDevice,
    /// Its table, where makeroom can work with it.
    pub table: Option<Table>,
}

/// What was seen of a disk, and the disk itself where it carries every anchor.
type Seen = (Candidate, Option<Opened>);

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
        return Ok(Found { path: device.clone(), evidence, candidates: Vec::new(), opened: None });
    }
    let (candidates, mut disks): (Vec<Candidate>, Vec<_>) = look(wish)?.into_iter().unzip();
    let anchors = wish.labels.iter().map(|anchor| format!("\"{}\"", escape(anchor))).collect::<Vec<_>>().join(", ");
    match fitting(&candidates)[..] {
        [] => Err(Error::None { anchors, candidates }),
        [only] => Ok(Found {
            path: candidates[only].node.clone(),
            evidence: vec![format!("the only disk that carries {anchors}")],
            candidates,
            opened: disks[only].take(),
        }),
        ref several => Err(Error::Several { count: several.len(), anchors, candidates }),
    }
}

/// Which of the disks could be the one: those that carry every anchor and can be written, else those that cannot.
fn fitting(candidates: &[Candidate]) -> Vec<usize> {
    let fit = |read_only| {
        let fits = move |(_, disk): &(usize, &Candidate)| disk.against.is_empty() && disk.read_only == read_only;
        candidates.iter().enumerate().filter(fits).map(|(index, _)| index).collect::<Vec<_>>()
    };
    let writable = fit(false);
    if writable.is_empty() { fit(true) } else { writable }
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
fn look(wish: &BootDisk) -> Result<Vec<Seen>, Error> {
    let mut seen = Vec::new();
    for disk in sysfs::Disk::all().map_err(Error::Sysfs)? {
        if !is_skipped(disk.name(), wish.allow_loop) {
            seen.extend(candidate(&disk, &wish.labels).map_err(Error::Sysfs)?);
        }
    }
    for (candidate, _) in &seen {
        log::debug!("{}: {}", candidate.node.display(), candidate.verdict());
    }
    Ok(seen)
}

/// Kinds of devices that nobody boots from: what is made of other disks, memory, or a drive for other media.
const SKIPPED: [&str; 10] = ["loop", "ram", "zram", "dm-", "md", "nbd", "drbd", "sr", "fd", "mtdblock"];

fn is_skipped(name: &str, allow_loop: bool) -> bool {
    let is_a =
        |kind: &&&str| name.strip_prefix(**kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    SKIPPED.iter().find(is_a).is_some_and(|kind| !(allow_loop && *kind == "loop"))
}

/// What a disk has to say for itself; nothing for one without a medium or without a node.
fn candidate(disk: &sysfs::Disk, anchors: &[String]) -> std::io::Result<Option<Seen>> {
    let (mut opened, mut guid, mut against) = (None, None, Vec::new());
    match disk.number("ext_range")? {
        Some(1) => against.push("cannot have partitions".to_owned()),
        _ => match BlockDevice::open(disk.clone()) {
            Ok(mut device) => {
                let table = Table::read(&mut device);
                against = misfits(&mut device, &table, anchors);
                let table = table.ok();
                guid = table.as_ref().map(Table::disk_guid);
                opened = Some(Opened { device, table });
            }
            // Of a multipath disk the kernel hides the paths: they have no node.
            Err(OpenError::Empty { .. } | OpenError::NotFound { .. }) => return Ok(None),
            Err(reason) => against.push(reason.to_string()),
        },
    }
    let size = opened.as_ref().map_or_else(|| disk.size(), |opened: &Opened| Ok(opened.device.size()))?;
    let mut read_only = false;
    if against.is_empty() {
        let holders = disk.holders()?;
        against.extend((!holders.is_empty()).then(|| format!("is a part of {}", holders.join(", "))));
        read_only = disk.number("ro")? == Some(1);
    }
    let bus = disk.link("device/subsystem");
    let serial = disk.text(match bus.as_deref() {
        Some("mmc") => "device/cid",
        Some("virtio") => "serial",
        _ => "device/serial",
    })?;
    let opened = opened.filter(|_| against.is_empty());
    Ok(Some((Candidate { node: disk.node(), bus, size, serial, guid, read_only, against }, opened)))
}

/// What a disk's labels lack.
fn misfits(device: &mut dyn Disk, table: &Result<Table, table::Error>, anchors: &[String]) -> Vec<String> {
    let partitions = match table {
        Ok(table) => table.source.partitions(),
        Err(reason) => match Table::seen_by_linux(device) {
            // A table that we would not touch still says which disk it is.
            Some(seen) => seen,
            None => return vec![reason.to_string()],
        },
    };
    let labels: Vec<Label> = partitions.into_iter().map(|partition| partition.label).collect();
    label::misfits(anchors, &labels)
}
