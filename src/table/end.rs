//! The end of the disk: where the backup belongs, and what else is there already.
//!
//! Software that builds a device out of disks keeps its metadata at their ends, and formats for images have a footer. A
//! table that ends before the disk does may be a table of what that software shows, and not of the disk.

use crate::disk::{Disk, PROBE_MARK, last_lba, read_sectors};
use crate::signature;
use crate::table::copies::{Backup, Table};
use crate::table::gpt::{Defect, ENTRY_SIZE, Header, SIGNATURE, TableCopy, may_be_entry};
use crate::table::{Error, ForeignEnd, Partition};
use crate::units::{Extent, KIB, MIB};

/// The geometry of the end of the disk, as it shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// LBA of the backup header: the last one.
    pub alternate_lba: u64,
    /// First LBA of the backup array.
    pub partition_entry_lba: u64,
    /// Last LBA that partitions may use.
    pub last_usable_lba: u64,
}

/// The end geometry keeps the distances that the table has from its own end: a last usable LBA that is small on
/// purpose stays so and moves along, and so does a backup array that is not just before its header.
pub(super) fn end_of_disk(disk: &mut dyn Disk, header: &Header) -> Result<End, Error> {
    let alternate_lba = last_lba(disk);
    let sectors = header.array_sectors();
    let own_end = header.backup_lba();
    let reserved = own_end.saturating_sub(header.last_usable_lba());
    if own_end > alternate_lba || reserved <= sectors {
        let partition_entry_lba = alternate_lba.saturating_sub(sectors);
        return Ok(End { alternate_lba, partition_entry_lba, last_usable_lba: partition_entry_lba.saturating_sub(1) });
    }
    let backup_array = match Header::read_valid(disk, own_end) {
        Ok(backup) => Some(backup.partition_entry_lba()),
        // Sectors are spared: the array may be before them, and nobody knows what is in them.
        Err(Defect::Unreadable { lba, reason }) if reserved > sectors + 1 => {
            return Err(Error::Unreadable { lba, reason });
        }
        Err(_) => None,
    };
    let distance = backup_array.and_then(|array| own_end.checked_sub(array));
    let distance = distance.filter(|distance| (sectors..reserved).contains(distance)).unwrap_or(sectors);
    Ok(End { alternate_lba, partition_entry_lba: alternate_lba - distance, last_usable_lba: alternate_lba - reserved })
}

pub(super) fn check_end(source: &TableCopy, partitions: &[Partition], end: &End) -> Result<(), Error> {
    let first_usable = source.header.first_usable_lba();
    if end.last_usable_lba < first_usable {
        return Err(Error::NoRoomForBackup { from: end.last_usable_lba + 1, first_usable });
    }
    match partitions.iter().find(|partition| source.range(partition.number).1 > end.last_usable_lba) {
        None => Ok(()),
        Some(partition) => {
            let (first, last) = source.range(partition.number);
            let reason = format!("where the backup table belongs (LBA {} to the end)", end.last_usable_lba + 1);
            Err(Error::OutOfRange { number: partition.number, label: partition.label.to_string(), first, last, reason })
        }
    }
}

/// All of a disk, in bytes.
pub(super) fn whole(disk: &dyn Disk) -> Extent {
    Extent { start: 0, size: disk.sectors().saturating_mul(u64::from(disk.sector_size())) }
}

/// What other software keeps at the disk's end, outside what the table covers. Asked only where a backup would be
/// written: a whole one at the disk's end says that the end is the table's.
pub(super) fn foreign(disk: &mut dyn Disk, table: &Table) -> Result<Option<ForeignEnd>, Error> {
    if table.backup == Backup::Current {
        return Ok(None);
    }
    let sector_size = u64::from(disk.sector_size());
    let header = &table.source.header;
    let table_end = header.backup_lba().saturating_add(1).saturating_mul(sector_size).min(whole(disk).size);
    // What the table covers is the table's. A damaged backup may be one that something else has been written over.
    let covered = match table.backup {
        Backup::Damaged(_) => header.last_usable_lba().saturating_add(1).saturating_mul(sector_size),
        _ => table_end,
    };
    let end = |what: String, at, remedy: &str| ForeignEnd { what, at, table_end, remedy: remedy.to_owned() };
    let place = whole(disk);
    // A file system that had the whole disk is dead: the table is where it began.
    let is_alive = |name: &str| !["bcachefs", "hfsplus", "ldm", "nilfs2", "ntfs"].contains(&name);
    if let Some(found) = signature::at_end_behind(disk, place, covered, is_alive)? {
        return Ok(Some(end(found.what.to_owned(), found.at, &remedy(found.name, found.at))));
    }
    let start = table.end.partition_entry_lba * sector_size;
    let backup = Extent { start, size: place.size - start };
    if let Some(other) = table.occupied().into_iter().find(|other| other.extent.overlaps(&backup)) {
        return Ok(Some(end(other.by, other.extent.start, HYBRID)));
    }
    let what = if disk.is_file() { "something that was appended to the image" } else { "something that is no table" };
    Ok(appended(disk, table)?.map(|at| end(what.to_owned(), at, APPENDED)))
}

/// The first sector's byte of what follows the table and is neither empty nor a table. On a card that is larger than its
/// image anything may be left of what was there before; cards differ by no less than 512 KiB (SD Physical Layer
/// Specification, C_SIZE), and what is larger by a few sectors is not a larger one. In an image file nothing is left by
/// chance, unless it was read from such a card.
fn appended(disk: &mut dyn Disk, table: &Table) -> Result<Option<u64>, Error> {
    let (sector_size, last) = (u64::from(disk.sector_size()), last_lba(disk));
    let behind = table.source.header.backup_lba().saturating_add(1);
    let most = if disk.is_file() { MIB } else { 64 * KIB };
    let is_small = last.saturating_sub(behind) < most / sector_size;
    let first = if is_small { behind } else { table.end.partition_entry_lba.max(behind) };
    let counts = is_small || disk.is_file() && is_empty_before(disk, first, behind);
    if first > last || !counts {
        return Ok(None);
    }
    // What cannot be read is lost, and nothing is known of it.
    let tail = read_sectors(disk, first, last + 1 - first).unwrap_or_default();
    let mut sectors = (first..).zip(tail.chunks(disk.sector_size() as usize));
    let foreign = sectors.find(|(_, sector)| !is_of_a_table(sector, last + 1, &table.source));
    Ok(foreign.map(|(lba, _)| lba * sector_size))
}

/// Whether the MiB before a sector of an image file, behind its table, is empty. Where it is not, the file was read from a
/// card that was used before.
fn is_empty_before(disk: &mut dyn Disk, lba: u64, behind: u64) -> bool {
    let first = lba.saturating_sub(MIB / u64::from(disk.sector_size())).max(behind);
    read_sectors(disk, first, lba - first).is_ok_and(|there| there.iter().all(|byte| *byte == 0))
}

/// Whether a sector is empty, or a part of an entry array or a header, or what a run asks a disk with: a run that was stopped
/// while it moved the backup leaves these.
fn is_of_a_table(sector: &[u8], disk_sectors: u64, source: &TableCopy) -> bool {
    let is_marked = [&SIGNATURE[..], PROBE_MARK].into_iter().any(|mark| sector.starts_with(mark));
    // An unused entry may hold anything but a type: only what the table itself has of that is known.
    let is_entry = |entry: &[u8]| {
        let is_empty = [0, 0xff].into_iter().any(|value| entry.iter().all(|byte| *byte == value));
        let is_used = entry[..16] != [0; 16] && may_be_entry(entry, disk_sectors);
        is_empty || is_used || source.array.chunks(ENTRY_SIZE).any(|known| known == entry)
    };
    is_marked || sector.chunks(ENTRY_SIZE).all(is_entry)
}

const HYBRID: &str = "Make an image whose hybrid MBR ends before the last MiB of the disk";
const APPENDED: &str = "Take it away and append it again when the partitions are made; or, where nothing needs it, overwrite \
                        it with zeros";

/// What can be done about each kind, of which the signature is at byte `at`.
fn remedy(name: &str, at: u64) -> String {
    let words = match name {
        "vhd" => {
            "This is a fixed VHD, and its disk ends before its footer: convert it (qemu-img convert -f vpc -O raw) and work \
                  on the raw image"
        }
        "udif" => {
            "This is a disk image of macOS, and its disk ends before its trailer: convert it and work on the raw image"
        }
        "avb" => "This is an image for Android Verified Boot: make the partitions before it is signed",
        "zfs_member" => "It is a part of a ZFS pool: take it out of the pool, or choose another disk",
        "drbd" => "It is a part of a DRBD device: name that device with --disk or, at boot, with makeroom.disk=",
        _ => {
            return format!(
                "It is a part of an array: name the array's disk (such as /dev/md/NAME) with --disk or, at boot, with \
                 makeroom.disk=. Only where the array is no more: wipefs --offset {at} DISK takes this away"
            );
        }
    };
    words.to_owned()
}
