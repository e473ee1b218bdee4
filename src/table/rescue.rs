//! What stands in for a damaged primary: the backup that counts, and the place where the primary array belongs.
//!
//! Where two answers are possible, or where the answer would overwrite what may not be a table, it refuses.

use crate::disk::{Disk, SECTOR_SIZES, last_lba, read_sectors};
use crate::table::Error;
use crate::table::copies::{USUAL_HOME_LBA, same_table};
use crate::table::gpt::{Defect, ENTRY_SIZE, Header, PRIMARY_LBA, SIGNATURE, TableCopy, may_be_entry};
use crate::table::mbr::ProtectiveMbr;
use crate::units::MIB;

/// The backup that stands in for a damaged primary: at the last LBA, where the damaged header says, or where the
/// flashed image ended. When the primary's header is whole, the backup must be of the same disk.
pub(super) fn find_backup(disk: &mut dyn Disk, mbr: &ProtectiveMbr, primary: &Defect) -> Result<TableCopy, Error> {
    let end = last_lba(disk);
    let header = damaged_header(disk)?;
    let named = header.as_ref().map(Header::alternate_lba);
    let owner = header.filter(Header::crc_is_right).map(|header| header.disk_guid());
    let mut places = vec![end];
    places.extend(named.into_iter().chain(mbr.covered_end()).filter(|lba| (2..end).contains(lba)));
    places.dedup();
    let (mut found, mut backups) = (Vec::new(), Vec::new());
    for lba in places {
        match TableCopy::read(disk, lba) {
            Ok(copy) if copy.header.alternate_lba() != PRIMARY_LBA => {
                backups.push((lba, Defect::NoBackup(copy.header.alternate_lba())));
            }
            Ok(copy) if owner.is_some_and(|owner| owner != copy.header.disk_guid()) => {
                backups.push((lba, Defect::OtherDisk(copy.header.disk_guid())));
            }
            Ok(copy) => match misplaced_array(&copy.header) {
                None => found.push(copy),
                Some(defect) => backups.push((lba, defect)),
            },
            Err(defect) => backups.push((lba, defect)),
        }
    }
    // What cannot be read could have been the newer one, unless a whole header says where to look.
    for (_, defect) in &backups {
        if let (Defect::Unreadable { lba, reason }, true) = (defect, owner.is_none() || found.is_empty()) {
            return Err(Error::Unreadable { lba: *lba, reason: reason.clone() });
        }
    }
    let differing = found.iter().find(|copy| !same_table(copy, &found[0])).map(|copy| copy.header.my_lba());
    match (found.into_iter().next(), differing) {
        (None, _) => Err(match made_for_other_sectors(disk) {
            Some(made_for) => Error::OtherSectorSize { made_for, has: disk.sector_size() },
            None => Error::NoValidCopy { primary: primary.clone(), backups },
        }),
        (Some(first), Some(other)) => {
            Err(Error::BackupsDiffer { primary: primary.clone(), at: [first.header.my_lba(), other] })
        }
        (Some(copy), None) => Ok(copy),
    }
}

/// While the primary array is rebuilt, the primary header names the backup's: where a partition may be, the next run
/// would not take it, nor keep it whole.
fn misplaced_array(backup: &Header) -> Option<Defect> {
    let (array, last) = (backup.partition_entry_lba(), backup.last_usable_lba());
    (array <= last).then_some(Defect::BackupArrayPlace { array, last })
}

/// The sector size for which there is a header at the start of the disk, when it is not the disk's own.
fn made_for_other_sectors(disk: &mut dyn Disk) -> Option<u32> {
    let own = disk.sector_size();
    let sectors = u64::from(2 * SECTOR_SIZES[1] / own).min(disk.sectors());
    let start = read_sectors(disk, 0, sectors).ok()?;
    let has_header =
        |size: &u32| *size != own && start.get(*size as usize..).is_some_and(|there| there.starts_with(SIGNATURE));
    SECTOR_SIZES.into_iter().find(has_header)
}

/// What is left of the primary header. That it cannot be read is not that it is gone: it may say whose disk this is.
fn damaged_header(disk: &mut dyn Disk) -> Result<Option<Header>, Error> {
    match Header::read(disk, PRIMARY_LBA) {
        Ok(header) => Ok(Some(header)),
        Err(Defect::Unreadable { lba, reason }) => Err(Error::Unreadable { lba, reason }),
        Err(_) => Ok(None),
    }
}

/// Where the array of a damaged primary belongs. A backup does not say, so: where a whole array is, else where the
/// damaged header says, else the usual place. A boot loader may be anywhere before the first usable LBA, so that a
/// place that holds anything else is not taken.
pub(super) fn find_home(disk: &mut dyn Disk, source: &TableCopy) -> Result<u64, Error> {
    const SEARCHED_BYTES: u64 = 2 * MIB;
    let (disk_sectors, sectors) = (disk.sectors(), source.header.array_sectors());
    let searched_sectors = SEARCHED_BYTES / u64::from(disk.sector_size());
    let last_start = source.header.first_usable_lba().saturating_sub(sectors);
    let fits = |lba: &u64| (USUAL_HOME_LBA..=last_start).contains(lba);
    let named = damaged_header(disk)?.map(|header| header.partition_entry_lba()).filter(fits);
    let guess = named.unwrap_or(USUAL_HOME_LBA);
    let searched = last_start.saturating_sub(USUAL_HOME_LBA).min(searched_sectors) + sectors;
    let area = read_what_can_be(disk, USUAL_HOME_LBA, searched.min(disk_sectors - USUAL_HOME_LBA));
    let sector_size = source.header.sector().len();
    let at = |lba: u64| usize::try_from(lba - USUAL_HOME_LBA).ok().and_then(|index| area.get(index * sector_size..));
    let is_whole = |lba: &u64| at(*lba).is_some_and(|rest| rest.starts_with(&source.array));
    // An array without entries is zeros, which are whole everywhere.
    let has_entries = source.array.iter().any(|byte| *byte != 0);
    let elsewhere = (USUAL_HOME_LBA..USUAL_HOME_LBA + searched_sectors).filter(fits).filter(|_| has_entries);
    if let Some(whole) = [guess].into_iter().chain(elsewhere).find(is_whole) {
        return Ok(whole);
    }
    check_free(disk, source, guess)?;
    Ok(guess)
}

/// Refuses a home that may hold anything but an array, torn or old, or nothing.
pub(super) fn check_free(disk: &mut dyn Disk, source: &TableCopy, home: u64) -> Result<(), Error> {
    let disk_sectors = disk.sectors();
    let sectors = source.header.array_sectors().min(disk_sectors - home);
    let found = read_sectors(disk, home, sectors)
        .map_err(|error| Error::Unreadable { lba: home, reason: error.to_string() })?;
    let sector_size = source.header.sector().len();
    let is_array = |(found, source): (&[u8], &[u8])| {
        let mut entries = found.chunks(ENTRY_SIZE).zip(source.chunks(ENTRY_SIZE));
        entries.all(|(found, source)| found == source || may_be_entry(found, disk_sectors))
    };
    let pairs = found.chunks(sector_size).zip(source.array.chunks(sector_size));
    let foreign = pairs.filter(|pair| !is_array(*pair)).count();
    let has_ours = found
        .chunks(ENTRY_SIZE)
        .zip(source.array.chunks(ENTRY_SIZE))
        .any(|(found, source)| found == source && source.iter().any(|byte| *byte != 0));
    // One sector may be the damage itself, where the others are those of this table.
    if foreign == 0 || foreign == 1 && has_ours { Ok(()) } else { Err(Error::HomeTaken(home)) }
}

/// As many sectors as can be read from `lba` on, at most `sectors`.
fn read_what_can_be(disk: &mut dyn Disk, lba: u64, sectors: u64) -> Vec<u8> {
    let by_sector =
        |disk: &mut dyn Disk| (lba..lba + sectors).map_while(|lba| read_sectors(disk, lba, 1).ok()).collect();
    read_sectors(disk, lba, sectors).unwrap_or_else(|_| -> Vec<u8> {
        let readable: Vec<Vec<u8>> = by_sector(disk);
        readable.concat()
    })
}
