//! Which disk: the one that is named, the only one that carries every anchor, or of several the one that the firmware has
//! started from. Never the first one found.
//!
//! `label` and `efi` are the evidence, `decision` weighs it. To add evidence, add a file, a fact and an arm. A disk that cannot be written counts like any other: if that one was booted, its
//! clone is not the one to write to.

mod decision;
mod efi;
mod label;

use std::path::PathBuf;
use std::time::Instant;

use self::decision::{Decision, Facts, Proof, decide};
use crate::config::BootDisk;
use crate::disk::Disk;
use crate::disk::block_device::BlockDevice;
use crate::disk::open::OpenError;
use crate::kernel::uevent::BlockEvents;
use crate::kernel::{self, sysfs};
use crate::partition_type::ESP;
use crate::table::copies::Table;
use crate::table::{self, Partition};
use crate::text::escape;
use crate::units::{Guid, Label, show_seconds, show_size};

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
    /// What does not fit, though not badly enough to refuse.
    pub warning: Option<String>,
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
    /// What it has to do with the evidence.
    facts: Facts,
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
        "{count} disks carry every label of [boot-disk] ({anchors}), and {firmware}. Leave only the booted one plugged \
         in, or name it with --disk or, at boot, with makeroom.disk=/dev/... on the kernel command line\n{}",
        list(candidates)
    )]
    Several { count: usize, anchors: String, firmware: String, candidates: Vec<Candidate> },
    #[error(
        "only one disk carries every label of [boot-disk] ({anchors}), one of them an EFI system partition, but the \
         machine was not started from it: {firmware}. Plug the booted disk in, or name the right one with --disk or, at \
         boot, with makeroom.disk=/dev/... on the kernel command line\n{}",
        list(candidates)
    )]
    Contradiction { anchors: String, firmware: String, candidates: Vec<Candidate> },
    #[error("looking for disks in /sys/block: {0}")]
    Sysfs(std::io::Error),
    #[error("listening for disks that appear: {0}")]
    Events(std::io::Error),
}

impl Error {
    /// The disks that were looked at.
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Error::None { candidates, .. }
            | Error::Denied { candidates }
            | Error::Several { candidates, .. }
            | Error::Contradiction { candidates, .. } => candidates,
            Error::Sysfs(_) | Error::Events(_) => &[],
        }
    }
}

/// Finds the boot disk by what the configuration says of it; with a refusal come the disks that it could be. While it is
/// not there, or while it is not certain, waits for disks to appear, until `deadline`. `lacks_nothing` says of a disk
/// that there is nothing to make on it: then nobody has to wait to be certain.
pub fn find(
    wish: &BootDisk,
    deadline: Option<Instant>,
    lacks_nothing: &mut dyn FnMut(&mut Opened) -> bool,
) -> Result<Found, (Error, Vec<Opened>)> {
    let events = |reason| (Error::Events(reason), Vec::new());
    let mut listener = None;
    loop {
        let (result, certain) = find_now(wish, lacks_nothing);
        let Some(deadline) = deadline.filter(|_| !certain) else { return result };
        // The first look is done without it; what appeared before we listened is seen by the second.
        let Some(listener) = &mut listener else {
            listener = Some(BlockEvents::listen().map_err(events)?);
            let status = format!("waiting up to {} s for the boot disk", show_seconds(wish.wait));
            log::info!("{status}");
            if let Err(reason) = kernel::notify(&format!("STATUS={status}")) {
                log::debug!("cannot notify the service manager: {reason}");
            }
            continue;
        };
        if !listener.wait(deadline).map_err(events)? {
            return result;
        }
    }
}

/// What there is to find at this moment, and whether more disks could change it.
fn find_now(
    wish: &BootDisk,
    lacks_nothing: &mut dyn FnMut(&mut Opened) -> bool,
) -> (Result<Found, (Error, Vec<Opened>)>, bool) {
    if let Some(device) = &wish.device {
        let evidence = vec![format!("device = \"{}\" in [boot-disk]", escape(&device.to_string_lossy()))];
        let found = Found { path: device.clone(), evidence, candidates: Vec::new(), opened: None, warning: None };
        return (Ok(found), kernel::is_there(device));
    }
    let firmware = named_by_the_firmware();
    let seen = match look(wish, firmware.as_ref().map(|named| named.guid)) {
        Ok(seen) => seen,
        Err(reason) => return (Err((Error::Sysfs(reason), Vec::new())), true),
    };
    let (candidates, mut disks): (Vec<Candidate>, Vec<_>) = seen.into_iter().unzip();
    let anchors = wish.labels.iter().map(|anchor| format!("\"{}\"", escape(anchor))).collect::<Vec<_>>().join(", ");
    let facts: Vec<Facts> = candidates.iter().map(|candidate| candidate.facts).collect();
    let decision = decide(&facts, firmware.is_some());
    let is_denied = |disk: &Candidate| disk.unreadable == Some(Unreadable::Denied);
    let all_denied = !candidates.is_empty() && candidates.iter().all(is_denied);
    // Where the firmware names a partition that no disk has yet, its disk may still come.
    let is_late = firmware.is_some() && !facts.iter().any(|disk| disk.is_named);
    let is_open = decision == Decision::None || is_late;
    let certain = !is_open || (decision != Decision::None && disks.iter_mut().flatten().all(lacks_nothing));
    let firmware = says(firmware.as_ref(), &candidates);
    let error = match decision {
        Decision::Disk(index, proof) => {
            let (evidence, warning) = reasons(proof, &anchors, firmware);
            let (path, opened) = (candidates[index].node.clone(), disks[index].take());
            return (Ok(Found { path, evidence, candidates, opened, warning }), certain);
        }
        Decision::None if all_denied => Error::Denied { candidates },
        Decision::None => Error::None { anchors, candidates },
        Decision::Several(all) => Error::Several { count: all.len(), anchors, firmware, candidates },
        Decision::Contradiction => Error::Contradiction { anchors, firmware, candidates },
    };
    (Err((error, disks.into_iter().flatten().collect())), certain)
}

/// Evidence for a disk, and what speaks against it all the same.
fn reasons(proof: Proof, anchors: &str, firmware_says: String) -> (Vec<String>, Option<String>) {
    let only = format!("the only disk that carries {anchors}");
    match proof {
        Proof::Only => (vec![only], None),
        Proof::OnlyAndNamed => (vec![only, firmware_says], None),
        Proof::OnlyThoughOtherNamed => {
            let warning = format!("the machine was not started from this disk: {firmware_says}");
            (vec![only], Some(warning))
        }
        Proof::Named => (vec![format!("one of several disks that carry {anchors}"), firmware_says], None),
    }
}

/// What a variable of the firmware names.
struct Named {
    variable: &'static str,
    guid: Guid,
}

/// The partition that the machine was started from, where the firmware says it. What cannot be understood says nothing,
/// but somebody should know.
fn named_by_the_firmware() -> Option<Named> {
    let read = |variable: &'static str| {
        let content = kernel::efi_variable(variable, efi::LOADER_VENDOR).map_err(|reason| reason.to_string());
        let guid = content.and_then(|content| match content {
            Some(content) => efi::partition_guid(&content).map_err(|reason| reason.to_string()),
            None => Ok(None),
        });
        let guid = guid.unwrap_or_else(|reason| {
            log::warn!("the EFI variable {variable} is of no use: {reason}");
            None
        });
        guid.map(|guid| Named { variable, guid })
    };
    let mut all = efi::PARTITION_VARIABLES.into_iter().filter_map(read);
    let first = all.next()?;
    if let Some(second) = all.find(|second| second.guid != first.guid) {
        let Named { variable, guid } = &second;
        log::info!("{} names partition {}, {variable} names {guid}: the first counts", first.variable, first.guid);
    }
    Some(first)
}

/// The firmware's evidence in words.
fn says(firmware: Option<&Named>, candidates: &[Candidate]) -> String {
    let Some(Named { variable, guid }) = firmware else {
        return "nothing tells which of them was booted".to_owned();
    };
    // Another disk that has it is worth naming only when none of the possible ones does.
    let named = candidates.iter().filter(|disk| disk.facts.is_named);
    let (possible, others): (Vec<_>, Vec<_>) = named.partition(|disk| disk.facts.fits);
    let on = if possible.is_empty() { others } else { possible };
    let on: Vec<String> = on.iter().map(|disk| disk.node.display().to_string()).collect();
    match &on[..] {
        [] => format!("{variable} names partition {guid}, which is on no disk"),
        [one] => format!("{variable} names partition {guid} of {one}"),
        several => format!("{variable} names partition {guid}, which is on {}: they are clones", several.join(" and ")),
    }
}

/// One line for each disk.
fn list(candidates: &[Candidate]) -> String {
    let line = |disk: &Candidate| {
        let bus = disk.bus.as_ref().map(|bus| format!(", {bus}")).unwrap_or_default();
        let serial = disk.serial.as_ref().map(|serial| format!(", {}", escape(serial))).unwrap_or_default();
        format!("  {} ({}{bus}{serial}): {}", disk.node.display(), show_size(disk.size), disk.verdict())
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
fn look(wish: &BootDisk, named: Option<Guid>) -> std::io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for disk in sysfs::Disk::all()? {
        if !is_skipped(disk.name(), wish.allow_loop) {
            seen.extend(candidate(&disk, &wish.labels, named)?);
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
fn candidate(disk: &sysfs::Disk, anchors: &[String], named: Option<Guid>) -> std::io::Result<Option<Seen>> {
    let (mut opened, mut guid, mut against, mut unreadable) = (None, None, Vec::new(), None);
    let mut facts = Facts::default();
    match disk.number("ext_range")? {
        Some(1) => against.push("cannot have partitions".to_owned()),
        _ => match BlockDevice::open(disk.clone()) {
            Ok(mut device) => {
                let table = Table::read(&mut device);
                let failing = matches!(table, Err(table::Error::Io(_) | table::Error::Unreadable { .. }));
                unreadable = failing.then_some(Unreadable::Failing);
                match partitions(&mut device, &table) {
                    Ok(partitions) => {
                        let labels: Vec<Label> = partitions.iter().map(|partition| partition.label.clone()).collect();
                        against = label::misfits(anchors, &labels);
                        facts = facts_of(&partitions, anchors, named);
                    }
                    Err(reason) => against.push(reason),
                }
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
    facts.fits = against.is_empty();
    let opened = opened.filter(|_| facts.fits);
    Ok(Some((Candidate { node: disk.node(), bus, size, serial, guid, against, unreadable, facts }, opened)))
}

/// A disk's partitions, or why nobody knows them.
fn partitions(device: &mut dyn Disk, table: &Result<Table, table::Error>) -> Result<Vec<Partition>, String> {
    match table {
        Ok(table) => Ok(table.source.partitions()),
        // A table that we would not touch still says which disk it is.
        Err(reason) => Table::seen_by_linux(device).ok_or(reason.to_string()),
    }
}

fn facts_of(partitions: &[Partition], anchors: &[String], named: Option<Guid>) -> Facts {
    let is_anchor =
        |partition: &&Partition| anchors.iter().any(|anchor| label::matches(anchor, &partition.label.lossy()));
    Facts {
        fits: false,
        is_named: partitions.iter().any(|partition| Some(partition.guid) == named),
        anchor_is_esp: partitions.iter().filter(is_anchor).any(|partition| partition.partition_type == ESP),
    }
}
