//! What stands in for a damaged primary: the backup that counts, and the place where the primary array belongs.
//!
//! Where two answers are possible, or where the answer would overwrite what may not be a table, it refuses. A backup at the
//! end of a disk outlives whatever is written to its start: anything newer on the disk speaks against it.

use crate::disk::{Disk, SECTOR_SIZES, last_lba, read_sectors};
use crate::signature::{self, Found};
use crate::table::copies::{USUAL_HOME_LBA, same_table};
use crate::table::gpt::{Defect, ENTRY_SIZE, Header, PRIMARY_LBA, TableCopy, may_be_entry};
use crate::table::mbr::{ProtectiveMbr, Record};
use crate::table::{Error, end};
use crate::units::MIB;

/// The backup that stands in for a damaged primary: at the last LBA, where the damaged header says, or where the
/// flashed image ended. When the primary's header is whole, the backup must be of the same disk.
pub(super) fn find_backup(disk: &mut dyn Disk, mbr: &ProtectiveMbr, primary: &Defect) -> Result<TableCopy, Error> {
    if let Some(made_for) = made_for_other_sectors(disk, Header::crc_is_right) {
        return Err(Error::OtherSectorSize { made_for, has: disk.sector_size() });
    }
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
    let is_at = |lba: u64| found.iter().any(|copy| copy.header.my_lba() == lba);
    let ends = [named.filter(|_| owner.is_some()), mbr.table_end()];
    let ends_here = ends.into_iter().flatten().any(is_at);
    match (found.into_iter().next(), differing) {
        (None, _) => Err(match made_for_other_sectors(disk, |_| true) {
            Some(made_for) => Error::OtherSectorSize { made_for, has: disk.sector_size() },
            None => Error::NoValidCopy { primary: primary.clone(), backups },
        }),
        (Some(first), Some(other)) => {
            Err(Error::BackupsDiffer { primary: primary.clone(), at: [first.header.my_lba(), other] })
        }
        (Some(copy), None) => match newer(disk, mbr, &copy, ends_here)? {
            Some(because) => Err(Error::OlderBackup { primary: primary.clone(), at: copy.header.my_lba(), because }),
            None => Ok(copy),
        },
    }
}

/// What on the disk is newer than a backup, which then is of an earlier life of it. `ends_here`: the primary header or the
/// protective MBR names its place.
fn newer(
    disk: &mut dyn Disk,
    mbr: &ProtectiveMbr,
    backup: &TableCopy,
    ends_here: bool,
) -> Result<Option<String>, Error> {
    let whole = end::whole(disk);
    let own = disk.sector_size();
    let (home, sectors, disk_sectors) = (guess_home(disk, backup)?, backup.header.array_sectors(), disk.sectors());
    let there = read_what_can_be(disk, home, sectors.min(disk_sectors.saturating_sub(home)));
    let entries = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.chunks_exact(ENTRY_SIZE).filter(|entry| is_used(entry, u64::MAX)).map(<[u8]>::to_vec).collect()
    };
    let (known, seen) = (entries(&backup.array), entries(&there));
    let is_same = !known.is_empty() && known == seen;
    // A hybrid image for optical media has ISO 9660 in front of its table, always.
    let is_newer = |found: &Found| !(is_same && matches!(found.name, "iso9660" | "udf"));
    if let Some(found) = signature::at_start(disk, whole)?.filter(is_newer) {
        return Ok(Some(format!("the disk itself holds {}", found.what)));
    }
    // Where the array at the start of the disk is the backup's, it is the table of this disk, whatever the MBR says.
    if is_same {
        return Ok(None);
    }
    if let Some(end) = mbr.table_end().filter(|end| !ends_here && *end < disk_sectors) {
        return Ok(Some(format!("the protective MBR says that the table ends at LBA {end}")));
    }
    let partitions = backup.partitions();
    let is_inside = |record: &Record| {
        let place = record.extent(own.into());
        partitions.iter().any(|it| it.extent.start <= place.start && place.end() <= it.extent.end())
    };
    if let Some(record) = mbr.records().find(|record| !is_inside(record)) {
        return Ok(Some(format!("the MBR has {}, of which the backup knows nothing", record.name())));
    }
    if let Some(others) = entries_of_another_table(disk, backup, ends_here)? {
        return Ok(Some(others));
    }
    // A backup at the end of a disk outlives its table: something at the start has to say that it is of this one.
    let has_its_guid = damaged_header(disk)?.is_some_and(|header| header.disk_guid() == backup.header.disk_guid());
    let has_its_entries = known.iter().any(|entry| seen.contains(entry));
    let is_of_this = ends_here || has_its_guid || has_its_entries;
    Ok((!is_of_this).then(|| "nothing at the start of the disk is of its table".to_owned()))
}

/// Whether a primary header is gone and its array is that of another table: it has partitions that the backup does not
/// know. Where the header is there, the backup is of its disk, and an array may be half of an update. Where nothing says
/// that the backup is the last one, an array anywhere before the partitions counts.
fn entries_of_another_table(disk: &mut dyn Disk, backup: &TableCopy, ends_here: bool) -> Result<Option<String>, Error> {
    if damaged_header(disk)?.is_some_and(|header| header.crc_is_right()) {
        return Ok(None);
    }
    let (home, disk_sectors, array) = (guess_home(disk, backup)?, disk.sectors(), backup.header.array_sectors());
    let place = match ends_here {
        true => home..home + array,
        false => USUAL_HOME_LBA..backup.header.first_usable_lba().min(SEARCHED_BYTES / u64::from(disk.sector_size())),
    };
    let sectors = place.end.min(disk_sectors).saturating_sub(place.start);
    let there = read_what_can_be(disk, place.start, sectors);
    // By GUID and first LBA: the rest may be what is damaged, or an older end.
    let is_known = |entry: &[u8]| backup.array.chunks(ENTRY_SIZE).any(|known| known[16..40] == entry[16..40]);
    let is_other = |entry: &&[u8]| is_used(entry, disk_sectors) && !is_known(entry);
    let others = there.chunks_exact(ENTRY_SIZE).filter(is_other).count();
    let words = || format!("the start of the disk has {others} partition entries that it does not have");
    Ok((others > 0).then(words))
}

/// Whether bytes are an entry in use: nothing else has a type, a place on the disk, and a name that ends in zeros.
fn is_used(entry: &[u8], disk_sectors: u64) -> bool {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let name_end = entry[56..].chunks(2).position(is_zero).map_or(ENTRY_SIZE, |units| 56 + 2 * units);
    let is_text = is_zero(&entry[name_end..]);
    !is_zero(&entry[..16])
        && !is_zero(&entry[16..32])
        && is_text
        && may_be_entry(entry, disk_sectors)
        && entry[..16] != [0xff; 16]
}

/// While the primary array is rebuilt, the primary header names the backup's: where a partition may be, the next run
/// would not take it, nor keep it whole.
fn misplaced_array(backup: &Header) -> Option<Defect> {
    let (array, last) = (backup.partition_entry_lba(), backup.last_usable_lba());
    (array <= last).then_some(Defect::BackupArrayPlace { array, last })
}

/// The sector size for which there is such a header at the start of the disk, when it is not the disk's own.
fn made_for_other_sectors(disk: &mut dyn Disk, is_such: impl Fn(&Header) -> bool) -> Option<u32> {
    let own = disk.sector_size();
    let sectors = u64::from(2 * SECTOR_SIZES[1] / own).min(disk.sectors());
    let start = read_sectors(disk, 0, sectors).ok()?;
    let header = |size: usize| start.get(size..2 * size).and_then(|sector| Header::of_sector(sector.to_vec()).ok());
    let has_header = |size: &u32| *size != own && header(*size as usize).is_some_and(|header| is_such(&header));
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

/// Bytes at the start of a disk in which an array is looked for.
const SEARCHED_BYTES: u64 = 2 * MIB;

/// Where the array of a damaged primary belongs. A backup does not say, so: where a whole array is, else where the
/// damaged header says, else the usual place. A boot loader may be anywhere before the first usable LBA, so that a
/// place that holds anything else is not taken.
pub(super) fn find_home(disk: &mut dyn Disk, source: &TableCopy) -> Result<u64, Error> {
    let (disk_sectors, sectors) = (disk.sectors(), source.header.array_sectors());
    let searched_sectors = SEARCHED_BYTES / u64::from(disk.sector_size());
    let last_start = source.header.first_usable_lba().saturating_sub(sectors);
    let fits = |lba: &u64| (USUAL_HOME_LBA..=last_start).contains(lba);
    let guess = guess_home(disk, source)?;
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

/// Where the damaged header says that the array is, else the usual place.
fn guess_home(disk: &mut dyn Disk, source: &TableCopy) -> Result<u64, Error> {
    let last_start = source.header.first_usable_lba().saturating_sub(source.header.array_sectors());
    let named = damaged_header(disk)?.map(|header| header.partition_entry_lba());
    Ok(named.filter(|lba| (USUAL_HOME_LBA..=last_start).contains(lba)).unwrap_or(USUAL_HOME_LBA))
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
    let foreign: Vec<u64> = (0..).zip(pairs).filter(|(_, pair)| !is_array(*pair)).map(|(index, _)| index).collect();
    let has_ours = found
        .chunks(ENTRY_SIZE)
        .zip(source.array.chunks(ENTRY_SIZE))
        .any(|(found, source)| found == source && source.iter().any(|byte| *byte != 0));
    // One sector may be the damage itself, where the others are those of this table.
    match foreign[..] {
        [] => Ok(()),
        [_] if has_ours => Ok(()),
        [first, ..] => {
            let entries = first * sector_size as u64 / ENTRY_SIZE as u64;
            Err(Error::HomeTaken { home, sectors, taken: home + first, entries })
        }
    }
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
