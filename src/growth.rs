//! Which file systems are smaller than their partitions, and how large they become. Looks only.
//!
//! A boot pays one small read for each declared partition that is there, two where the superblock is not that of the
//! declared format. What is not certain is left alone: a warning says so where a file system stays smaller
//! than its partition, and silence where nothing is known of it, unless this run has enlarged the partition.

use std::io;

use crate::disk::{Disk, Growth};
use crate::filesystem::Format;
use crate::filesystem::superblock::{self, FORMATS, Superblock, WINDOW};
use crate::units::{Extent, Label, show_size};

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
}

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
            Ok(found) => growing.extend(found),
            Err(warning) => warnings.extend(warning.map(|words| format!("{}: {words}", candidate.label))),
        }
    }
    (growing, warnings)
}

/// The growth of one file system; without one, what is to be said about it.
fn look(disk: &mut dyn Disk, candidate: &Candidate) -> Result<Option<Growth>, Option<String>> {
    let Candidate { number, label, extent, format, has_grown } = candidate;
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
    let Some(superblock) = superblock(disk, *extent, declared).map_err(unreadable)? else {
        let what = declared.name();
        return Err(
            has_grown.then(|| format!("its partition grows, but {what} is nothing that makeroom can make larger"))
        );
    };
    let (size, to) = (superblock.size, superblock.size_in(extent.size));
    if to <= size {
        return Ok(None);
    }
    let is = superblock.format.name();
    let foreign = (declared != superblock.format).then(|| format!("{} is declared", declared.name()));
    match foreign.or(superblock.obstacle.map(str::to_owned)) {
        None => Ok(Some(Growth { number: *number, label: label.clone(), extent: *extent, superblock, to })),
        Some(why) => {
            let (size, room) = (show_size(size), show_size(extent.size));
            Err(Some(format!("its {is} has {size} of {room} and is left alone: {why}")))
        }
    }
}

/// The superblock in a partition: that of the declared format, else of any.
fn superblock(disk: &mut dyn Disk, extent: Extent, declared: Format) -> io::Result<Option<Superblock>> {
    let mut windows: [Option<[u8; WINDOW]>; 2] = [None; 2];
    let others = FORMATS.into_iter().filter(|format| *format != declared);
    for format in std::iter::once(declared).chain(others) {
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
