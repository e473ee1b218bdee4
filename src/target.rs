//! The disk of a run: one that somebody names, or the one that was booted.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::boot_disk::{self, Found, Search};
use crate::cli::{Command, Invocation};
use crate::config::{BootDisk, Config};
use crate::decide::{is_complete, make_plan};
use crate::disk::block_device::BlockDevice;
use crate::disk::image::Image;
use crate::disk::open::{self, Kind, OpenError};
use crate::disk::{Disk, SECTOR_SIZES};
use crate::error::Error;
use crate::report::Report;
use crate::table::copies::Table;
use crate::table::gpt;

pub fn names_an_image(invocation: &Invocation) -> bool {
    let is_device = |path: &PathBuf| matches!(open::kind(path), Ok(Kind::BlockDevice(_)));
    invocation.disk.as_ref().is_some_and(|path| !is_device(path))
}

/// The search for the disk that somebody describes or names, other than on our own command line.
pub fn search(invocation: &Invocation, config: &Config) -> Search {
    let device = invocation.boot_disk.clone().or(config.boot_disk.device.clone());
    Search::new(BootDisk { device, ..config.boot_disk.clone() })
}

/// The disk that is named, or the one that the configuration describes. Nothing when several could be meant and none
/// of them lacks anything: then there is nothing to decide, and a forgotten twin never stops a boot.
pub fn find_disk(
    invocation: &Invocation,
    config: &Config,
    search: &Search,
    report: &mut Report,
) -> Result<Option<Found>, Error> {
    let named = |path: &PathBuf, how: &str| {
        let evidence = vec![format!("{how}{}", path.display())];
        Found { path: path.clone(), evidence, candidates: Vec::new(), opened: None, warning: None }
    };
    if let Some(path) = &invocation.disk {
        return Ok(Some(named(path, "--disk ")));
    }
    // A person who asks wants all the evidence, and does not wait for a disk; a boot does, when anything depends on it.
    let is_boot = invocation.is_boot;
    let deadline = is_boot.then(|| Instant::now() + config.boot_disk.wait);
    // Links are mounted by: whichever disk gets them has to be the right one.
    let may_stay = |disk: &boot_disk::Opened| {
        !config.boot_disk.links && !invocation.factory_reset && is_complete(config, &disk.shown)
    };
    let plan = |disk: &mut boot_disk::Opened| {
        let (table, node) = (disk.table.as_ref(), disk.device.node().to_owned());
        table.map(|table| make_plan(invocation, config, &node, &mut disk.device, table))
    };
    // What only grows is written to, too.
    let stays = |disk: &mut boot_disk::Opened| plan(disk).is_none_or(|plan| plan.is_ok_and(|plan| plan.is_empty()));
    let mut is_settled = |disk: &mut boot_disk::Opened| is_boot && may_stay(disk) && stays(disk);
    // An optional partition for which there is room is missing.
    let lacks_nothing = |disk: &mut boot_disk::Opened| {
        may_stay(disk) && plan(disk).is_none_or(|plan| plan.map_or(true, |plan| plan.lacks_nothing()))
    };
    let (refusal, mut possible) = match (search.find(deadline, &mut is_settled), &invocation.boot_disk) {
        (Ok(_), Some(path)) => return Ok(Some(named(path, "kernel command line: makeroom.disk="))),
        (Ok(Found { warning: Some(warning), path, candidates, .. }), None) if is_boot && config.boot_disk.links => {
            return Err(boot_disk::Error::Doubtful { warning, disk: path, candidates }.into());
        }
        (Ok(found), None) => return Ok(Some(found)),
        (Err(refusal), _) => refusal,
    };
    report.looked_at(refusal.candidates());
    if possible.is_empty() || !possible.iter_mut().all(lacks_nothing) || invocation.command == Command::Locate {
        return Err(refusal.into());
    }
    report.warnings.push(format!("nothing is missing on any of them, so the boot goes on, but {refusal}"));
    Ok(None)
}

/// What was found, for looking at it: the name to call it by, and its table where that has been read already.
type Opened = (PathBuf, Box<dyn Disk>, Option<Table>);

pub fn open(invocation: &Invocation, found: &mut Found) -> Result<Opened, Error> {
    let (path, size, sector_size) = (&found.path, invocation.size, invocation.sector_size);
    let (mut device, table) = match found.opened.take() {
        Some(opened) => (opened.device, opened.table),
        None if invocation.disk.is_some() => match open::kind(path)? {
            Kind::BlockDevice(kernel) => (BlockDevice::open(kernel)?, None),
            Kind::Image => {
                let mut image = Image::open(path, size)?;
                let sector_size = find_sector_size(&mut image, sector_size)?;
                image.set_sector_size(sector_size);
                return Ok((path.clone(), Box::new(image), None));
            }
        },
        // Whoever sees the refusal may not know who has named the disk.
        None => (open_named(path).map_err(|reason| Error::OpenNamed { how: found.evidence.join(", "), reason })?, None),
    };
    device.pretend(size, sector_size)?;
    Ok((device.node().to_owned(), Box::new(device), table.filter(|_| size.is_none())))
}

/// A disk that the configuration or the kernel command line names: an image file is none.
fn open_named(path: &Path) -> Result<BlockDevice, OpenError> {
    match open::kind(path)? {
        Kind::BlockDevice(kernel) => BlockDevice::open(kernel),
        Kind::Image => Err(OpenError::NotADisk { path: path.to_owned(), kind: "a file" }),
    }
}

/// The sector size for which there is a table; where there is one for each, somebody must say which is meant.
fn find_sector_size(image: &mut Image, wish: Option<u32>) -> Result<u32, OpenError> {
    let path = image.path().to_owned();
    let mut with_table = |is_there: fn(&mut dyn Disk) -> bool| -> Vec<u32> {
        let has_table = |size: &u32| {
            image.set_sector_size(*size);
            is_there(image)
        };
        SECTOR_SIZES.into_iter().filter(has_table).collect()
    };
    let valid = with_table(gpt::is_there);
    match (wish, &valid[..]) {
        (Some(wish), []) => Ok(wish),
        (Some(wish), found) if found.contains(&wish) => Ok(wish),
        (Some(wish), found) => Err(OpenError::SectorSize { path, wish, found: found[0] }),
        (None, [only]) => Ok(*only),
        (None, []) => Ok(with_table(gpt::was_there).first().copied().unwrap_or(SECTOR_SIZES[0])),
        (None, _) => Err(OpenError::SectorSizes { path }),
    }
}
