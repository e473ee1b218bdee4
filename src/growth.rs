//! Which partitions and file systems may become larger, and how large. Looks only.
//!
//! That a file system is smaller than its partition, or a partition than its disk, is no proof that the rest is free: a hash
//! tree, or the metadata of a RAID, may be behind it, and what the table calls read-only may be protected by one. What speaks
//! against growing is asked only where something would grow, so that a boot with nothing to do pays nothing for it.
//!
//! A boot pays one small read for each declared partition that is there, two where the superblock is not that of the
//! declared format. What is not certain is left alone: a warning says so where a file system stays smaller
//! than its partition, and silence where nothing is known of it, unless this run has enlarged the partition.

use std::io;

use crate::disk::{Disk, Growth, read_sectors};
use crate::filesystem::Format;
use crate::filesystem::superblock::{self, FORMATS, Superblock, WINDOW};
use crate::partition_type::verity_of;
use crate::plan::{self, Plan};
use crate::signature;
use crate::table::{Layout, Partition};
use crate::units::{Extent, Label, round_down, show_size};

/// A partition whose file system shall fill it, as it will be at the end of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number, from 1.
    pub number: u32,
    /// Its label, for messages.
    pub label: Label,
    /// Its place in bytes.
    pub extent: Extent,
    /// What is declared to be in it.
    pub format: Option<Format>,
    /// Whether this run enlarges it.
    pub has_grown: bool,
    /// What the table says against a change of what is in it.
    pub protection: Option<String>,
}

/// Plans by `plan`, and again where what would grow must not, until nothing speaks against any of it.
pub fn plan(
    disk: &mut dyn Disk,
    mut layout: Layout,
    plan: &mut dyn FnMut(&Layout) -> Result<Plan, plan::Error>,
) -> Result<Plan, plan::Error> {
    let all = layout.partitions.clone();
    let (mut warnings, mut kept_size) = (Vec::new(), Vec::new());
    let mut keep = |partition: &Partition, why: String| {
        let label = &partition.label;
        warnings.push(format!("{label}: neither its partition nor its file system grows: {why}; {LEAVE}"));
        kept_size.push(partition.number);
    };
    // What is protected takes no part at all, also where it would only keep free what is behind it. Only for the warning it
    // is asked whether it would have grown.
    let is_protected = |partition: &&Partition| protection(partition, &all).is_some();
    let protected: Vec<&Partition> = all.iter().filter(is_protected).collect();
    let free = if protected.is_empty() { Vec::new() } else { plan(&layout).map_or(Vec::new(), |plan| plan.grown) };
    for partition in &protected {
        if let Some(why) = protection(partition, &all)
            && free.iter().any(|grown| grown.partition.number == partition.number)
        {
            keep(partition, why);
        }
    }
    layout.kept_size = protected.iter().map(|partition| partition.number).collect();
    loop {
        let mut planned = plan(&layout)?;
        let before = layout.kept_size.len();
        for grown in &planned.grown {
            if let Some(why) = obstacle(disk, grown.old) {
                keep(&grown.partition, why);
                layout.kept_size.push(grown.partition.number);
            }
        }
        if layout.kept_size.len() == before {
            planned.warnings.extend(warnings);
            planned.kept_size = kept_size;
            return Ok(planned);
        }
    }
}

const LEAVE: &str = "grow = false ends this warning";

/// What a table says against a change of what is in a partition.
pub fn protection(partition: &Partition, all: &[Partition]) -> Option<String> {
    const READ_ONLY: u64 = 1 << 60;
    if partition.attributes & READ_ONLY != 0 {
        return Some("the table has it as read-only (attribute bit 60)".to_owned());
    }
    let hash_trees = verity_of(partition.partition_type)?;
    let verity = all.iter().find(|other| other.partition_type == hash_trees)?;
    Some(format!("partition {} has a hash tree for partitions of its type (dm-verity)", verity.number))
}

/// What the disk, or another program, has against a partition's getting larger; what cannot be read counts as that.
fn obstacle(disk: &mut dyn Disk, extent: Extent) -> Option<String> {
    find_obstacle(disk, extent).unwrap_or_else(|reason| Some(format!("its end cannot be looked at: {reason}")))
}

fn find_obstacle(disk: &mut dyn Disk, extent: Extent) -> io::Result<Option<String>> {
    // What is cached of a mounted file system may be older than what the kernel has made of it: it would seem to be small,
    // with something behind it.
    disk.forget()?;
    let nested = |disk: &mut dyn Disk| signature::nested_table_at_end(disk, extent);
    if let Some(found) = signature::at_end(disk, extent)?.map_or_else(|| nested(disk), |found| Ok(Some(found)))? {
        return Ok(Some(format!("{} is at its end, at byte {} of the disk", found.what, found.at)));
    }
    if let Some(at) = behind_file_system(disk, extent)? {
        return Ok(Some(format!(
            "something is behind its file system, at byte {at} of the disk: a hash tree, perhaps, or what was there before: \
             where nothing needs it, overwrite {CLEARED_TAIL} bytes there with zeros"
        )));
    }
    Ok(disk.users(&[extent])?.first().map(|user| format!("{user} uses it")))
}

/// The first byte that is not zero in the 64 KiB behind the file system of a partition, where one is known.
fn behind_file_system(disk: &mut dyn Disk, extent: Extent) -> io::Result<Option<u64>> {
    let Some(found) = superblock(disk, extent, &FORMATS)?.filter(|found| found.size < extent.size) else {
        return Ok(None);
    };
    let sector_size = u64::from(disk.sector_size());
    let start = extent.start + round_down(found.size, sector_size);
    let end = extent.end().min(start + CLEARED_TAIL);
    let there = read_sectors(disk, start / sector_size, (end - start) / sector_size)?;
    if has_grown_to_its_end(disk, extent)? || is_own_group(disk, extent, &there)? {
        return Ok(None);
    }
    let skipped = usize::try_from(found.size % sector_size).unwrap_or_default();
    let at = there.iter().skip(skipped).position(|byte| *byte != 0);
    Ok(at.map(|at| start + (at + skipped) as u64))
}

/// Whether a run has cleared the end of a partition when it made it larger. Of its file system, which was to grow next, a
/// power cut may have left a part that ends anywhere before that.
fn has_grown_to_its_end(disk: &mut dyn Disk, extent: Extent) -> io::Result<bool> {
    let last = extent.end() / u64::from(disk.sector_size()) - 1;
    Ok(read_sectors(disk, last, 1)?.starts_with(GROWN_MARK))
}

/// Whether what is behind an xfs is of a group of its own: the kernel writes new groups before the superblock has them
/// (fs/xfs/xfs_fsops.c, `xfs_growfs_data_private`), and a power cut leaves any part of that. Each of its sectors has the
/// UUID of the file system.
fn is_own_group(disk: &mut dyn Disk, extent: Extent, there: &[u8]) -> io::Result<bool> {
    let first = extent.start / u64::from(disk.sector_size());
    let own = read_sectors(disk, first, 1)?;
    let uuid = &own[32..48];
    let is_there = || there.windows(uuid.len()).any(|bytes| bytes == uuid);
    Ok(own.starts_with(b"XFSB") && *uuid != [0; 16] && is_there())
}

/// How the last sector begins of a partition that a run has made larger.
pub const GROWN_MARK: &[u8] = b"makeroom has made this partition larger and cleared its end. ";

/// Bytes behind a partition that are cleared when it gets them: the next run must not take what they held for something
/// that belongs to its file system, where this one was stopped before that has grown.
pub const CLEARED_TAIL: u64 = 64 << 10;

/// What grows, and warnings about what does not.
pub fn find(disk: &mut dyn Disk, candidates: &[Candidate]) -> (Vec<Growth>, Vec<String>) {
    let glance = look_at_all(disk, candidates);
    if glance == (Vec::new(), Vec::new()) {
        return glance;
    }
    // What was read through the whole disk stays cached for as long as any partition is mounted, and the kernel's own
    // changes to a file system go past that cache. File systems do not become smaller: only what seems to be small is
    // asked for again, so that a boot with nothing to do drops nobody's cache.
    match disk.forget() {
        Ok(_) => look_at_all(disk, candidates),
        Err(reason) => (Vec::new(), vec![format!("cannot drop the disk's cache: {reason}; no file system is grown")]),
    }
}

fn look_at_all(disk: &mut dyn Disk, candidates: &[Candidate]) -> (Vec<Growth>, Vec<String>) {
    let (mut growing, mut warnings) = (Vec::new(), Vec::new());
    for candidate in candidates {
        match look(disk, candidate) {
            Ok(found) => {
                let expense = found.as_ref().and_then(|growth: &Growth| growth.superblock.expense_of(growth.to));
                warnings.extend(expense.map(|words| format!("{}: {words}", candidate.label)));
                growing.extend(found);
            }
            Err(warning) => warnings.extend(warning.map(|words| format!("{}: {words}", candidate.label))),
        }
    }
    (growing, warnings)
}

/// The growth of one file system; without one, what is to be said about it.
fn look(disk: &mut dyn Disk, candidate: &Candidate) -> Result<Option<Growth>, Option<String>> {
    let Candidate { number, label, extent, format, has_grown, protection } = candidate;
    // What looks like a file system may be a half of a mirror, whose own superblock is at the end, or be left of what was
    // there before: only who says that it is one may have it mounted.
    let Some(declared) = *format else {
        return Err(
            has_grown.then(|| "its partition grows; what is in it is left alone: no format is declared".to_owned())
        );
    };
    if matches!(declared, Format::Vfat | Format::Swap) && !has_grown {
        return Ok(None);
    }
    let unreadable = |reason| Some(format!("its file system cannot be looked at: {reason}"));
    let first = std::iter::once(declared);
    let formats: Vec<Format> = first.chain(FORMATS.into_iter().filter(|format| *format != declared)).collect();
    let Some(superblock) = superblock(disk, *extent, &formats).map_err(unreadable)? else {
        return Err(has_grown.then(|| format!("its partition grows, but {}", unknown(disk, *extent, declared))));
    };
    let (size, to) = (superblock.size, superblock.size_in(extent.size));
    if to <= size {
        return Ok(None);
    }
    let is = superblock.format.name();
    let foreign = (declared != superblock.format).then(|| format!("{} is declared", declared.name()));
    let own = foreign.or(superblock.obstacle.map(str::to_owned)).or(protection.clone());
    // Of what grows in this run that was asked for the plan, of its place as it is now.
    match own.or_else(|| if *has_grown { None } else { obstacle(disk, *extent) }) {
        None => Ok(Some(Growth { number: *number, label: label.clone(), extent: *extent, superblock, to })),
        Some(why) => {
            let (size, room) = (show_size(size), show_size(extent.size));
            Err(Some(format!("its {is} has {size} of {room} and is left alone: {why}")))
        }
    }
}

/// What is in a partition that grows, where it is no file system that does.
fn unknown(disk: &mut dyn Disk, extent: Extent, declared: Format) -> String {
    let declared = declared.name();
    match signature::at_start(disk, extent) {
        Ok(Some(found)) if found.name == declared => format!("makeroom makes no {declared} larger"),
        Ok(Some(found)) => format!("{} is in it, not {declared}, and is left alone", found.what),
        Ok(None) => format!("no {declared} is in it; what is in it is left alone"),
        Err(reason) => format!("what is in it cannot be read: {reason}"),
    }
}

/// The superblock in a partition, by the first of these formats of which there is one.
fn superblock(disk: &mut dyn Disk, extent: Extent, formats: &[Format]) -> io::Result<Option<Superblock>> {
    let mut windows: [Option<[u8; WINDOW]>; 2] = [None; 2];
    for format in formats.iter().copied() {
        let place = superblock::place(format);
        let window = &mut windows[usize::from(place > 0)];
        if window.is_none() {
            *window = Some(read(disk, extent, place)?);
        }
        if let Some(found) = window.as_ref().and_then(|window| superblock::read(format, window)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A window on a partition; zeros where it is too small.
fn read(disk: &mut dyn Disk, extent: Extent, place: u64) -> io::Result<[u8; WINDOW]> {
    let mut window = [0; WINDOW];
    if place.checked_add(WINDOW as u64).is_some_and(|end| end <= extent.size) {
        let lba = extent.start.checked_add(place).ok_or(io::ErrorKind::InvalidInput)? / u64::from(disk.sector_size());
        disk.read(lba, &mut window)?;
    }
    Ok(window)
}
