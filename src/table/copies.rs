//! The two copies of a disk's GPT: which one counts, what is wrong with the other, and where both belong.
//!
//! Judges and decides; writes nothing. The order of the writes that follow from it is in `apply`.
//!
//! Linux reads the primary and nothing else (without `gpt` on its command line; efi.c, `find_valid_gpt`), so a
//! valid primary always wins here: two valid copies that differ are what a power cut leaves behind.

use crate::disk::{Disk, last_lba, read_sectors};
use crate::signature;
pub use crate::table::end::End;
use crate::table::gpt::{Defect, Header, PRIMARY_LBA, Place, TableCopy};
use crate::table::mbr::{MbrError, ProtectiveMbr};
use crate::table::rescue::{check_free, find_backup, find_home};
use crate::table::{Error, ForeignEnd, Ignored, Layout, Occupied, Partition, end};
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
    /// The partitions that Linux shows, in the order of the disk.
    pub partitions: Vec<Partition>,
    /// Used entries that it does not show.
    pub ignored: Vec<Ignored>,
    /// What other software keeps where the backup would go.
    pub foreign_end: Option<ForeignEnd>,
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
            Err(Defect::DiskTooSmall { last, disk_end }) => return Err(too_small(disk, last, disk_end)),
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

/// What has the whole disk, where there is no table. Only for the message: what cannot be read is nothing.
fn content(disk: &mut dyn Disk) -> Option<Error> {
    let whole = end::whole(disk);
    signature::at_start(disk, whole).ok().flatten().map(|found| Error::Content { what: found.what })
}

/// The refusal of a table that is larger than the disk; says whether its partitions are.
fn too_small(disk: &mut dyn Disk, last: u64, disk_end: u64) -> Error {
    let copy = TableCopy::read_unchecked(disk, PRIMARY_LBA).ok();
    let last_of = |copy: &TableCopy| copy.partitions().iter().map(|it| copy.range(it.number).1).max().unwrap_or(0);
    let room = copy.as_ref().map_or(1, |copy| 1 + copy.header.array_sectors());
    Error::DiskTooSmall { last, last_used: copy.as_ref().map(last_of), room, disk_end, is_file: disk.is_file() }
}

/// The partitions of a copy that Linux would show: none that has no size or ends behind the disk.
fn shown_by_linux(copy: &TableCopy, disk: &dyn Disk) -> Vec<Partition> {
    let disk_size = disk.sectors().saturating_mul(u64::from(disk.sector_size()));
    let mut partitions = copy.partitions();
    partitions.retain(|partition| partition.extent.size > 0 && partition.extent.end() <= disk_size);
    partitions
}

/// The partitions that have a place on the disk, and the used entries that have none. One that begins on the disk and
/// ends behind it has content here, though Linux does not show it: it is no entry to ignore.
fn split(copy: &TableCopy, last_lba: u64) -> (Vec<Partition>, Vec<Ignored>) {
    let (mut partitions, mut ignored) = (Vec::new(), Vec::new());
    for partition in copy.partitions() {
        let (first, last) = copy.range(partition.number);
        match first > last_lba || last < first {
            true => ignored.push(Ignored { partition, first, last }),
            false => partitions.push(partition),
        }
    }
    (partitions, ignored)
}

/// The parts of an extent that are in none of the others.
fn outside(extent: Extent, others: &[Extent]) -> Vec<Extent> {
    let mut pieces = vec![extent];
    for other in others {
        let cut = |piece: Extent| {
            let before = Extent { start: piece.start, size: other.start.min(piece.end()).saturating_sub(piece.start) };
            let start = other.end().max(piece.start);
            let behind = Extent { start, size: piece.end().saturating_sub(start) };
            if piece.overlaps(other) { vec![before, behind] } else { vec![piece] }
        };
        pieces = pieces.into_iter().flat_map(cut).filter(|piece| piece.size > 0).collect();
    }
    pieces
}

impl Table {
    /// Reads and judges a disk's table.
    pub fn read(disk: &mut dyn Disk) -> Result<Table, Error> {
        match Glance::at(disk) {
            // A search does not pay for it: it looks at every disk, at every boot.
            Err(Error::Mbr(MbrError::None)) => Err(content(disk).unwrap_or(MbrError::None.into())),
            glance => Table::judge(glance?, disk),
        }
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
        let (partitions, ignored) = split(&source, last_lba(disk));
        check_partitions(&source, &partitions, home, last_lba(disk))?;
        let end = end::end_of_disk(disk, &source.header)?;
        end::check_end(&source, &partitions, &end)?;
        let backup = backup_state(disk, &source, &end);
        let sector_size = disk.sector_size();
        let (stale_backups, foreign_end) = (Vec::new(), None);
        let mut table = Table {
            source,
            primary,
            home,
            end,
            backup,
            stale_backups,
            mbr,
            partitions,
            ignored,
            foreign_end,
            sector_size,
        };
        table.stale_backups = table.find_stale_backups(disk);
        table.foreign_end = end::foreign(disk, &table)?;
        match (&table.primary, table.foreign_end.clone()) {
            (Primary::Damaged(defect), Some(end)) => {
                Err(Error::ForeignEnd { primary: defect.clone(), end: end.into() })
            }
            _ => Ok(table),
        }
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
        let usable = Extent { start: first * sector_size, size: sectors * sector_size };
        let reserved = self.end.alternate_lba - self.end.last_usable_lba - 1 - self.source.header.array_sectors();
        Layout {
            ignored: self.ignored.clone(),
            occupied: self.occupied(),
            foreign_end: self.foreign_end.clone(),
            reserved: reserved * sector_size,
            ..Layout::new(self.sector_size, usable, self.source.header.entries(), self.partitions.clone())
        }
    }

    /// What the records of a hybrid MBR have and no partition of the GPT.
    pub fn occupied(&self) -> Vec<Occupied> {
        let sector_size = u64::from(self.sector_size);
        let taken: Vec<Extent> = self.partitions.iter().map(|partition| partition.extent).collect();
        let mut occupied: Vec<Occupied> = Vec::new();
        for record in self.mbr.records() {
            let taken = [&taken[..], &occupied.iter().map(|other| other.extent).collect::<Vec<_>>()[..]].concat();
            let by = format!("{} of the hybrid MBR", record.name());
            let (place, disk) = (record.extent(sector_size), (self.end.alternate_lba + 1) * sector_size);
            let place = Extent { start: place.start, size: place.end().min(disk).saturating_sub(place.start) };
            let pieces = if place.size > 0 { outside(place, &taken) } else { Vec::new() };
            occupied.extend(pieces.into_iter().map(|extent| Occupied { extent, by: by.clone() }));
        }
        occupied
    }

    /// What is odd about the table and no reason to stop: worth a word before it is changed.
    pub fn remarks(&self) -> Vec<String> {
        let disk_end = self.end.alternate_lba;
        let ignored = self.ignored.iter().map(|Ignored { partition, first, last }| {
            let Partition { number, label, .. } = partition;
            format!("partition {number} (\"{label}\") has LBA {first} to {last}, and the disk ends at LBA {disk_end}: Linux does \
                     not show it, and it stays as it is")
        });
        let occupied = self.occupied().into_iter().map(|Occupied { extent, by }| {
            format!(
                "{by} has bytes {} to {}, and the GPT no partition there: nothing is made or grows there",
                extent.start,
                extent.end()
            )
        });
        ignored.chain(occupied).chain(self.layout().large_reserve()).collect()
    }

    fn find_stale_backups(&self, disk: &mut dyn Disk) -> Vec<u64> {
        let header = &self.source.header;
        let sector_size = u64::from(self.sector_size);
        let mut taken: Vec<Extent> = self.partitions.iter().map(|partition| partition.extent).collect();
        taken.extend(self.occupied().into_iter().map(|occupied| occupied.extent));
        let mut places: Vec<u64> = [header.backup_lba()].into_iter().chain(self.mbr.covered_end()).collect();
        places.dedup();
        places.retain(|lba| {
            let sector = Extent { start: lba.saturating_mul(sector_size), size: sector_size };
            let free = (header.first_usable_lba()..self.end.partition_entry_lba).contains(lba);
            let stale = |found: Header| found.my_lba() == *lba && found.disk_guid() == header.disk_guid();
            free && !taken.iter().any(|extent| extent.overlaps(&sector)) && Header::read(disk, *lba).is_ok_and(stale)
        });
        places
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
        if self.foreign_end.is_some() {
            return Vec::new();
        }
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

fn check_partitions(source: &TableCopy, partitions: &[Partition], home: u64, last_lba: u64) -> Result<(), Error> {
    for partition in partitions {
        let (number, label) = (partition.number, partition.label.to_string());
        let (first, last) = source.range(number);
        let array = home..home + source.header.array_sectors();
        let last_usable = source.header.last_usable_lba();
        let reason = match () {
            _ if first <= PRIMARY_LBA => "where the partition table itself is".to_owned(),
            _ if first < array.end && last >= array.start => "where the partition entry array is".to_owned(),
            _ if last > last_lba => return Err(Error::BehindDisk { number, label, first, last, disk_end: last_lba }),
            _ if last > last_usable => {
                let room = 1 + source.header.array_sectors();
                return Err(Error::BehindUsable { number, label, first, last, last_usable, room, disk_end: last_lba });
            }
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
