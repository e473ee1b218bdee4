//! Which disk: the one that is named, or the only one that carries every anchor. Never the first one found.
//!
//! `label` is the evidence by labels. A disk that cannot be written counts like any other: if that one was booted, its
//! clone is not the one to write to.

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
    /// What speaks against it; empty when it carries every anchor.
    pub against: Vec<String>,
    /// Whether it could not be looked at, so that nobody knows what it carries.
    pub unreadable: Option<Unreadable>,
}

/// Why nobody knows what a disk carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Unreadable {
    Denied,
    Failing,
}

impl Candidate {
    /// What there is to say of it, in one line.
    pub fn verdict(&self) -> String {
        if self.against.is_empty() { "carries every label".to_owned() } else { self.against.join(", ") }
    }
}

/// No disk, or more than one. Exit status 69.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the sentences say it
pub enum Error {
    #[error(
        "no disk carries every label of [boot-disk] ({anchors}). Correct the labels there, or name the disk with \
         --disk or, at boot, with makeroom.disk=/dev/... on the kernel command line\n{}",
        list(candidates)
    )]
    None { anchors: String, candidates: Vec<Candidate> },
    /// Exit status 77.
    #[error("no permission to read any disk: run makeroom as root\n{}", list(candidates))]
    Denied { candidates: Vec<Candidate> },
    #[error(
        "{count} disks carry every label of [boot-disk] ({anchors}), and nothing tells which of them was booted. Leave \
         only that one plugged in, or name it with --disk or, at boot, with makeroom.disk=/dev/... on the kernel \
         command line\n{}",
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
            Error::None { candidates, .. } | Error::Denied { candidates } | Error::Several { candidates, .. } => {
                candidates
            }
            Error::Sysfs(_) => &[],
        }
    }
}

/// Finds the boot disk by what the configuration says of it; with a refusal come the disks that it could be.
pub fn find(wish: &BootDisk) -> Result<Found, (Error, Vec<Opened>)> {
    if let Some(device) = &wish.device {
        let evidence = vec![format!("device = \"{}\" in [boot-disk]", escape(&device.to_string_lossy()))];
        return Ok(Found { path: device.clone(), evidence, candidates: Vec::new(), opened: None });
    }
    let (candidates, disks): (Vec<Candidate>, Vec<_>) =
        look(wish).map_err(|reason| (Error::Sysfs(reason), Vec::new()))?.into_iter().unzip();
    let mut possible: Vec<Opened> = disks.into_iter().flatten().collect();
    let anchors = wish.labels.iter().map(|anchor| format!("\"{}\"", escape(anchor))).collect::<Vec<_>>().join(", ");
    let denied = |disk: &Candidate| disk.unreadable == Some(Unreadable::Denied);
    let error = match possible.len() {
        1 => {
            let evidence = vec![format!("the only disk that carries {anchors}")];
            let opened = possible.remove(0);
            return Ok(Found { path: opened.device.node().to_owned(), evidence, candidates, opened: Some(opened) });
        }
        0 if !candidates.is_empty() && candidates.iter().all(denied) => Error::Denied { candidates },
        0 => Error::None { anchors, candidates },
        count => Error::Several { count, anchors, candidates },
    };
    Err((error, possible))
}

/// One line for each disk.
fn list(candidates: &[Candidate]) -> String {
    let line = |disk: &Candidate| {
        let bus = disk.bus.as_ref().map(|bus| format!(", {bus}")).unwrap_or_default();
        format!("  {} ({}{bus}): {}", disk.node.display(), show_size(disk.size), disk.verdict())
    };
    match candidates {
        [] => "  there is no disk at all".to_owned(),
        all => {
            // What could be meant first: a screen may show no more.
            let (fit, others): (Vec<_>, Vec<_>) = all.iter().partition(|disk| disk.against.is_empty());
            fit.into_iter().chain(others).map(line).collect::<Vec<_>>().join("\n")
        }
    }
}

/// Reads the table of each disk that could be the one.
fn look(wish: &BootDisk) -> std::io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for disk in sysfs::Disk::all()? {
        if !is_skipped(disk.name(), wish.allow_loop) {
            seen.extend(candidate(&disk, &wish.labels)?);
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
    let (mut opened, mut guid, mut against, mut unreadable) = (None, None, Vec::new(), None);
    match disk.number("ext_range")? {
        Some(1) => against.push("cannot have partitions".to_owned()),
        _ => match BlockDevice::open(disk.clone()) {
            Ok(mut device) => {
                let table = Table::read(&mut device);
                let failing = matches!(table, Err(table::Error::Io(_) | table::Error::Unreadable { .. }));
                unreadable = failing.then_some(Unreadable::Failing);
                against = misfits(&mut device, &table, anchors);
                let table = table.ok();
                guid = table.as_ref().map(Table::disk_guid);
                opened = Some(Opened { device, table });
            }
            // Of a multipath disk the kernel hides the paths: they have no node.
            Err(OpenError::Empty { .. } | OpenError::NotFound { .. }) => return Ok(None),
            Err(reason) => {
                let denied = matches!(reason, OpenError::Permission { .. });
                unreadable = Some(if denied { Unreadable::Denied } else { Unreadable::Failing });
                against.push(if denied { "no permission to read it".to_owned() } else { reason.to_string() });
            }
        },
    }
    let size = opened.as_ref().map_or_else(|| disk.size(), |opened: &Opened| Ok(opened.device.size()))?;
    if against.is_empty() {
        let holders = disk.holders()?;
        against.extend((!holders.is_empty()).then(|| format!("is a part of {}", holders.join(", "))));
    }
    let bus = disk.link("device/subsystem");
    // Only shown: what cannot be read is not there.
    let serial = disk.text(match bus.as_deref() {
        Some("mmc") => "device/cid",
        Some("virtio") => "serial",
        _ => "device/serial",
    });
    let serial = serial.unwrap_or(None);
    let opened = opened.filter(|_| against.is_empty());
    Ok(Some((Candidate { node: disk.node(), bus, size, serial, guid, against, unreadable }, opened)))
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
