//! The two copies of a disk's GPT: which one counts, what is wrong with the other, and where both belong.
//!
//! Judges and decides; writes nothing. The order of the writes that follow from it is in `apply`.
//!
//! Linux reads the primary and nothing else (without `gpt` on its command line; efi.c, `find_valid_gpt`), so a
//! valid primary always wins here: two valid copies that differ are what a power cut leaves behind.

use crate::disk::{Disk, last_lba, read_sectors};
use crate::table::gpt::{Defect, Header, PRIMARY_LBA, Place, TableCopy};
use crate::table::mbr::{MbrError, ProtectiveMbr};
use crate::table::rescue::{check_free, find_backup, find_home};
use crate::table::{Error, Layout, Partition};
use crate::units::{Extent, Guid};

/// Where the primary array usually is; firmware of the Raspberry Pi before late 2024 wants it nowhere else.
pub const USUAL_HOME_LBA: u64 = 2;

/// A disk's GPT as found, and what has to be done to it so that both copies are whole and in their places.
#[derive(Clone, PartialEq, Eq)]
pub struct Table {
    /// The copy that counts, at the place where it was found.
    pub source: TableCopy,
    /// The state of the copy that Linux reads.
    pub primary: Primary,
    /// First LBA of the primary array's own place.
    pub home: u64,
    /// Where the backup belongs.
    pub end: End,
    /// Whether the copy that counts stands at the end, too.
    pub backup: Backup,
    /// Headers of this table's earlier backups, in free space; firmware must not find them.
    pub stale_backups: Vec<u64>,
    /// LBA 0.
    pub mbr: ProtectiveMbr,
    sector_size: u32,
}

/// The state of the copy that Linux reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primary {
    /// Valid, its array in its own place.
    AtHome,
    /// Valid, but it names the backup's array: a run was cut between its commit and its end.
    AtBackup,
    /// Not valid: the source is a backup.
    Damaged(Defect),
}

/// The state of the copy at the end of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backup {
    /// The same table as the source.
    Current,
    /// A valid table that says something else.
    Differs,
    /// Not valid. On a freshly flashed card nothing is there at all.
    Damaged(Defect),
}

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

/// The copy that counts, not yet judged: enough to know what a disk has.
pub struct Glance {
    mbr: ProtectiveMbr,
    copy: TableCopy,
    /// What is wrong with the primary, where the copy is a backup.
    defect: Option<Defect>,
}

impl Glance {
    /// Reads no more than it must.
    pub fn at(disk: &mut dyn Disk) -> Result<Glance, Error> {
        if disk.sectors() == 0 {
            return Err(MbrError::None.into());
        }
        let first_sector = read_sectors(disk, 0, 1)?;
        let mbr = ProtectiveMbr::parse(first_sector, || Header::read(disk, PRIMARY_LBA).is_ok())?;
        let (copy, defect) = match TableCopy::read(disk, PRIMARY_LBA) {
            Ok(primary) => (primary, None),
            Err(defect) if defect.is_damage() => (find_backup(disk, &mbr, &defect)?, Some(defect)),
            Err(Defect::DiskTooSmall { last, disk_end }) => return Err(Error::DiskTooSmall { last, disk_end }),
            Err(Defect::Unreadable { lba, reason }) => return Err(Error::Unreadable { lba, reason }),
            Err(defect) => return Err(Error::Unusable(defect)),
        };
        Ok(Glance { mbr, copy, defect })
    }

    /// The disk's GUID.
    pub fn disk_guid(&self) -> Guid {
        self.copy.header.disk_guid()
    }

    /// Whether Linux reads this copy; else it is a backup, and Linux shows no partitions.
    pub fn is_primary(&self) -> bool {
        self.defect.is_none()
    }

    /// Its partitions that Linux would show.
    pub fn partitions(&self, disk: &dyn Disk) -> Vec<Partition> {
        shown_by_linux(&self.copy, disk)
    }
}

/// The partitions of a copy that Linux would show: none that has no size or ends behind the disk.
fn shown_by_linux(copy: &TableCopy, disk: &dyn Disk) -> Vec<Partition> {
    let disk_size = disk.sectors().saturating_mul(u64::from(disk.sector_size()));
    let mut partitions = copy.partitions();
    partitions.retain(|partition| partition.extent.size > 0 && partition.extent.end() <= disk_size);
    partitions
}

impl Table {
    /// Reads and judges a disk's table.
    pub fn read(disk: &mut dyn Disk) -> Result<Table, Error> {
        let glance = Glance::at(disk)?;
        Table::judge(glance, disk)
    }

    /// Judges a table of which the copy that counts has been read.
    pub fn judge(glance: Glance, disk: &mut dyn Disk) -> Result<Table, Error> {
        let Glance { mbr, copy: source, defect } = glance;
        let (primary, home) = match defect {
            None => primary_state(&source.header)?,
            Some(defect) => (Primary::Damaged(defect), find_home(disk, &source)?),
        };
        check_home(&source.header, home)?;
        if primary == Primary::AtBackup {
            // Hardly any tool puts the primary array behind the usable range for good, but one that does must not lose
            // what it has at LBA 2 instead.
            check_free(disk, &source, home)?;
        }
        check_partitions(&source, home)?;
        let end = end_of_disk(disk, &source.header)?;
        check_end(&source, &end)?;
        let backup = backup_state(disk, &source, &end);
        let stale_backups = stale_backups(disk, &source, &mbr, &end);
        let sector_size = disk.sector_size();
        Ok(Table { source, primary, home, end, backup, stale_backups, mbr, sector_size })
    }

    /// The partitions that Linux shows of a disk, whatever else may be odd about its table; `None` when it shows none.
    pub fn seen_by_linux(disk: &mut dyn Disk) -> Option<Vec<Partition>> {
        let first_sector = read_sectors(disk, 0, 1).ok()?;
        ProtectiveMbr::parse(first_sector, || true).ok()?;
        Some(shown_by_linux(&TableCopy::read(disk, PRIMARY_LBA).ok()?, disk))
    }

    /// The disk's GUID.
    pub fn disk_guid(&self) -> Guid {
        self.source.header.disk_guid()
    }

    /// Whether Linux reads the table as it stands on the disk.
    pub fn is_valid_for_linux(&self) -> bool {
        !matches!(self.primary, Primary::Damaged(_))
    }

    /// What the planner needs to know, as it will be when the backup is at the true end.
    pub fn layout(&self) -> Layout {
        let sector_size = u64::from(self.sector_size);
        let first = self.source.header.first_usable_lba();
        let sectors = (self.end.last_usable_lba + 1).saturating_sub(first);
        Layout {
            sector_size: self.sector_size,
            usable: Extent { start: first * sector_size, size: sectors * sector_size },
            slots: self.source.header.entries(),
            partitions: self.source.partitions(),
        }
    }

    /// The primary header's fields when both copies are where they belong.
    pub fn primary_place(&self) -> Place {
        let End { alternate_lba, last_usable_lba, .. } = self.end;
        Place { my_lba: PRIMARY_LBA, alternate_lba, last_usable_lba, partition_entry_lba: self.home }
    }

    /// The backup header's fields when both copies are where they belong.
    pub fn backup_place(&self) -> Place {
        let End { alternate_lba, last_usable_lba, partition_entry_lba } = self.end;
        Place { my_lba: alternate_lba, alternate_lba: PRIMARY_LBA, last_usable_lba, partition_entry_lba }
    }

    /// Whether the primary header has to be written because of the disk's end.
    pub fn primary_names_another_end(&self) -> bool {
        let header = &self.source.header;
        (header.backup_lba(), header.last_usable_lba()) != (self.end.alternate_lba, self.end.last_usable_lba)
    }

    /// What will be mended, as sentences; empty when both copies are whole and in their places.
    pub fn repairs(&self) -> Vec<String> {
        let end = self.end.alternate_lba;
        let primary = match &self.primary {
            Primary::AtHome => None,
            Primary::AtBackup => {
                Some(format!("an interrupted run is finished: the entry array goes to LBA {}", self.home))
            }
            Primary::Damaged(defect) => {
                let source = self.source.header.my_lba();
                Some(format!("the primary table is rebuilt from the backup at LBA {source}: {defect}"))
            }
        };
        let backup = match &self.backup {
            Backup::Current => None,
            Backup::Differs => Some(format!("the backup table at LBA {end} is brought up to date")),
            Backup::Damaged(_) if self.source.header.backup_lba() != end => {
                Some(format!("the backup table moves to the end of the disk, LBA {end}"))
            }
            Backup::Damaged(defect) => Some(format!("the backup table at LBA {end} is written anew: {defect}")),
        };
        let unnamed =
            self.backup == Backup::Current && self.primary == Primary::AtHome && self.primary_names_another_end();
        let header = unnamed.then(|| format!("the primary header names the backup at LBA {end}"));
        let stale = self.stale_backups.iter().map(|lba| format!("an old backup header at LBA {lba} is cleared"));
        let mbr = self.mbr.stretched(end).map(|_| "the protective MBR covers the whole disk".to_owned());
        primary.into_iter().chain(backup).chain(header).chain(stale).chain(mbr).collect()
    }
}

/// Marks the header's reserved tail while the primary names the backup's array and home is not LBA 2.
const HOME_MARK: [u8; 8] = *b"makeroom";

/// The primary header between commit and settle: it names the backup's array, and remembers home where that is
/// not the usual place.
pub fn detour(header: &Header, home: u64, place: Place) -> Header {
    let moved = header.moved(place);
    if home == USUAL_HOME_LBA {
        return moved;
    }
    let mut tail = [0; 16];
    tail[..8].copy_from_slice(&HOME_MARK);
    tail[8..].copy_from_slice(&home.to_le_bytes());
    moved.with_tail(tail)
}

/// The header without the memory of home.
pub fn without_detour(header: &Header) -> Header {
    if remembered_home(header).is_some() { header.with_tail([0; 16]) } else { header.clone() }
}

fn remembered_home(header: &Header) -> Option<u64> {
    let tail = header.tail();
    let home = tail[8..].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    (tail[..8] == HOME_MARK).then_some(home)
}

fn primary_state(header: &Header) -> Result<(Primary, u64), Error> {
    let array = header.partition_entry_lba();
    let (first, last) = (header.first_usable_lba(), header.last_usable_lba());
    match array {
        _ if array < first => Ok((Primary::AtHome, array)),
        _ if array > last => Ok((Primary::AtBackup, remembered_home(header).unwrap_or(USUAL_HOME_LBA))),
        _ => Err(Error::ArrayInUsableRange { array, first, last }),
    }
}

fn check_home(header: &Header, home: u64) -> Result<(), Error> {
    let (sectors, first_usable) = (header.array_sectors(), header.first_usable_lba());
    if home < USUAL_HOME_LBA || home.checked_add(sectors).is_none_or(|end| end > first_usable) {
        return Err(Error::NoHome { home, sectors, first_usable });
    }
    let free_tail = header.tail() == [0; 16] || remembered_home(header).is_some();
    if home == USUAL_HOME_LBA || free_tail { Ok(()) } else { Err(Error::ReservedInUse) }
}

/// Whether two copies describe the same partitions of the same disk, wherever they stand.
pub(super) fn same_table(a: &TableCopy, b: &TableCopy) -> bool {
    let key = |copy: &TableCopy| {
        let header = &copy.header;
        (header.disk_guid(), header.entries(), header.first_usable_lba(), header.partition_entry_array_crc32())
    };
    key(a) == key(b)
}

fn check_partitions(source: &TableCopy, home: u64) -> Result<(), Error> {
    let sector_size = source.header.sector().len() as u64;
    let partitions = source.partitions();
    for partition in &partitions {
        let (number, label) = (partition.number, partition.label.to_string());
        if partition.extent.size == 0 {
            return Err(Error::Reversed { number, label });
        }
        let first = partition.extent.start / sector_size;
        let last = (partition.extent.end() - 1) / sector_size;
        let array = home..home + source.header.array_sectors();
        let last_usable = source.header.last_usable_lba();
        let reason = match () {
            _ if first <= PRIMARY_LBA => "where the partition table itself is".to_owned(),
            _ if first < array.end && last >= array.start => "where the partition entry array is".to_owned(),
            _ if last > last_usable => format!("the last usable LBA is {last_usable}"),
            _ => continue,
        };
        return Err(Error::OutOfRange { number, label, first, last, reason });
    }
    let name = |partition: &Partition| (partition.number, partition.label.to_string());
    match partitions.windows(2).find(|pair| pair[0].extent.overlaps(&pair[1].extent)) {
        None => Ok(()),
        Some(pair) => {
            let ((a, a_label), (b, b_label)) = (name(&pair[0]), name(&pair[1]));
            Err(Error::Overlap(a, a_label, b, b_label))
        }
    }
}

/// The end geometry keeps the distances that the table has from its own end: a last usable LBA that is small on
/// purpose stays so and moves along, and so does a backup array that is not just before its header.
fn end_of_disk(disk: &mut dyn Disk, header: &Header) -> Result<End, Error> {
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

fn check_end(source: &TableCopy, end: &End) -> Result<(), Error> {
    let first_usable = source.header.first_usable_lba();
    if end.last_usable_lba < first_usable {
        return Err(Error::NoRoomForBackup { from: end.last_usable_lba + 1, first_usable });
    }
    let sector_size = source.header.sector().len() as u64;
    let last = |partition: &Partition| (partition.extent.end() - 1) / sector_size;
    match source.partitions().into_iter().find(|partition| last(partition) > end.last_usable_lba) {
        None => Ok(()),
        Some(partition) => Err(Error::OutOfRange {
            number: partition.number,
            label: partition.label.to_string(),
            first: partition.extent.start / sector_size,
            last: last(&partition),
            reason: format!("where the backup table belongs (LBA {} to the end)", end.last_usable_lba + 1),
        }),
    }
}

fn backup_state(disk: &mut dyn Disk, source: &TableCopy, end: &End) -> Backup {
    let copy = match TableCopy::read(disk, end.alternate_lba) {
        Ok(copy) => copy,
        Err(defect) => return Backup::Damaged(defect),
    };
    let header = &copy.header;
    let place = (header.alternate_lba(), header.last_usable_lba(), header.partition_entry_lba());
    let in_place = place == (PRIMARY_LBA, end.last_usable_lba, end.partition_entry_lba);
    if in_place && same_table(&copy, source) { Backup::Current } else { Backup::Differs }
}

fn stale_backups(disk: &mut dyn Disk, source: &TableCopy, mbr: &ProtectiveMbr, end: &End) -> Vec<u64> {
    let header = &source.header;
    let sector_size = u64::from(disk.sector_size());
    let taken: Vec<Extent> = source.partitions().iter().map(|partition| partition.extent).collect();
    let mut places: Vec<u64> = [header.backup_lba()].into_iter().chain(mbr.covered_end()).collect();
    places.dedup();
    places.retain(|lba| {
        let sector = Extent { start: lba.saturating_mul(sector_size), size: sector_size };
        let free = (header.first_usable_lba()..end.partition_entry_lba).contains(lba);
        let stale = |found: Header| found.my_lba() == *lba && found.disk_guid() == header.disk_guid();
        free && !taken.iter().any(|extent| extent.overlaps(&sector)) && Header::read(disk, *lba).is_ok_and(stale)
    });
    places
}
