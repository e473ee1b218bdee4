//! The GPT's bytes: one header sector, one entry array, nothing else. UEFI 2.10 section 5.3.
//!
//! A header and an array are kept as they were read, and only named fields of them are changed, so that every
//! byte that is not ours survives. All offsets, and the CRC, are here; which copy counts is not.

use crate::disk::{Disk, last_lba, read_sectors};
use crate::table::Partition;
use crate::units::{Extent, Guid, Label};

/// LBA of the primary header (UEFI 5.3.2).
pub const PRIMARY_LBA: u64 = 1;
/// Bytes in an entry. UEFI allows more; Linux reads no table with another size (efi.c, `is_gpt_valid`).
pub const ENTRY_SIZE: usize = 128;
/// A larger array is a hostile or broken table. The usual one has 16 KiB.
const MAX_ARRAY_BYTES: u64 = 1 << 20;
/// First bytes of a header (UEFI 2.10, 5.3.2).
pub const SIGNATURE: &[u8; 8] = b"EFI PART";
/// What ChromeOS' tools put in its place, so that firmware takes the other copy (vboot_reference, gpt.h:
/// `GPT_SIGNATURE_IGNORED`).
const IGNORED: &[u8; 8] = b"IGNOREME";

mod field {
    //! Byte offsets in a header.
    pub const HEADER_SIZE: usize = 12;
    pub const HEADER_CRC32: usize = 16;
    pub const MY_LBA: usize = 24;
    pub const ALTERNATE_LBA: usize = 32;
    pub const FIRST_USABLE_LBA: usize = 40;
    pub const LAST_USABLE_LBA: usize = 48;
    pub const DISK_GUID: usize = 56;
    pub const PARTITION_ENTRY_LBA: usize = 72;
    pub const NUMBER_OF_PARTITION_ENTRIES: usize = 80;
    pub const SIZE_OF_PARTITION_ENTRY: usize = 84;
    pub const PARTITION_ENTRY_ARRAY_CRC32: usize = 88;
    pub const END: usize = 92;
}

/// Why a header or its array cannot be used. Linux takes nothing that is refused here, apart from arrays above 1 MiB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each message says it
pub enum Defect {
    #[error("no GPT header there")]
    NoSignature,
    #[error(
        "its signature is IGNOREME, by which ChromeOS' tools disable a copy, and Linux reads no other; cgpt legacy -e \
             enables it"
    )]
    Ignored,
    #[error("its header size is {0}, it may be 92 to the sector size")]
    HeaderSize(u32),
    #[error("its header CRC is 0x{stored:08x}, its bytes give 0x{computed:08x}")]
    HeaderCrc { stored: u32, computed: u32 },
    #[error("its header says that it belongs to LBA {0}")]
    MyLba(u64),
    #[error("its header says that the other copy is at LBA {0} instead of 1")]
    NoBackup(u64),
    #[error("it is of another disk, {0}")]
    OtherDisk(Guid),
    #[error("its entries have {0} bytes, Linux reads only tables with 128")]
    EntrySize(u32),
    #[error("it claims {0} entries, 1 to 8192 are believable")]
    EntryCount(u32),
    #[error("its usable range is LBA {first} to {last}")]
    Usable { first: u64, last: u64 },
    #[error("its usable range ends at LBA {last}, the disk at LBA {disk_end}: the card is smaller than its image")]
    DiskTooSmall { last: u64, disk_end: u64 },
    #[error("its entry array at LBA {0} lies outside the disk or on a header")]
    ArrayPlace(u64),
    #[error("its entry array at LBA {array} is not behind its last usable LBA, {last}, where a backup has it")]
    BackupArrayPlace { array: u64, last: u64 },
    #[error("its entry array has CRC 0x{computed:08x}, the header says 0x{stored:08x}")]
    ArrayCrc { stored: u32, computed: u32 },
    #[error("LBA {lba} cannot be read: {reason}")]
    Unreadable { lba: u64, reason: String },
}

impl Defect {
    /// Whether this is what a power cut, a stray write or a dying card leaves, so that the other copy may stand in. A
    /// header whose CRC is right and whose values are not was written so: whoever did that is to be asked.
    pub fn is_damage(&self) -> bool {
        match self {
            Defect::NoSignature | Defect::HeaderSize(_) | Defect::HeaderCrc { .. } => true,
            Defect::MyLba(_) | Defect::ArrayCrc { .. } => true,
            Defect::Ignored
            | Defect::NoBackup(_)
            | Defect::OtherDisk(_)
            | Defect::EntrySize(_)
            | Defect::EntryCount(_)
            | Defect::Usable { .. } => false,
            Defect::DiskTooSmall { .. } | Defect::Unreadable { .. } => false,
            Defect::ArrayPlace(_) | Defect::BackupArrayPlace { .. } => false,
        }
    }
}

/// A header sector, as read. Believable only as part of a [`TableCopy`].
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    sector: Vec<u8>,
}

/// Whether a disk, taken in sectors of its size, has a header whose bytes are right in either of the usual places, and
/// which was made for it: in sectors of another size, another place may be there.
pub fn is_there(disk: &mut dyn Disk) -> bool {
    [PRIMARY_LBA, last_lba(disk)]
        .into_iter()
        .any(|lba| Header::read(disk, lba).is_ok_and(|header| header.crc_is_right() && header.my_lba() == lba))
}

/// Whether a disk, taken in sectors of its size, has or had a header in either of the usual places.
pub fn was_there(disk: &mut dyn Disk) -> bool {
    [PRIMARY_LBA, last_lba(disk)].into_iter().any(|lba| Header::read(disk, lba).is_ok())
}

/// A whole copy of the table: a header that checks out, and the array that it names.
#[derive(Clone, PartialEq, Eq)]
pub struct TableCopy {
    /// The header.
    pub header: Header,
    /// The array in whole sectors; what lies behind the last entry is kept too.
    pub array: Vec<u8>,
}

impl TableCopy {
    /// Reads the copy whose header is at `lba`, and checks at least what Linux does (efi.c, `is_gpt_valid`).
    pub fn read(disk: &mut dyn Disk, lba: u64) -> Result<TableCopy, Defect> {
        let header = Header::read_valid(disk, lba)?;
        TableCopy::with_array(header, disk)
    }

    /// Reads the copy whose header at `lba` has the right CRC, whatever it says of the disk's size.
    pub fn read_unchecked(disk: &mut dyn Disk, lba: u64) -> Result<TableCopy, Defect> {
        let header = Header::read(disk, lba)?;
        header.check(lba, u64::MAX - 1)?;
        let end = header.partition_entry_lba().saturating_add(header.array_sectors());
        if end > disk.sectors() {
            return Err(Defect::ArrayPlace(header.partition_entry_lba()));
        }
        TableCopy::with_array(header, disk)
    }

    fn with_array(header: Header, disk: &mut dyn Disk) -> Result<TableCopy, Defect> {
        let array = read_or_defect(disk, header.partition_entry_lba(), header.array_sectors())?;
        let stored = header.partition_entry_array_crc32();
        match crc32(&array[..header.array_bytes()]) {
            computed if computed == stored => Ok(TableCopy { header, array }),
            computed => Err(Defect::ArrayCrc { stored, computed }),
        }
    }

    /// First and last LBA of a partition, as its entry has them.
    pub fn range(&self, number: u32) -> (u64, u64) {
        let at = (number as usize - 1) * ENTRY_SIZE;
        let entry = &self.array[at..at + ENTRY_SIZE];
        (u64_at(entry, 32), u64_at(entry, 40))
    }

    /// The partitions of the used entries, in the order of the disk.
    pub fn partitions(&self) -> Vec<Partition> {
        let sector_size = self.header.sector_size();
        let entries = self.array[..self.header.array_bytes()].chunks_exact(ENTRY_SIZE).zip(1..);
        let used = entries.filter(|(entry, _)| entry[..16] != [0; 16]);
        let mut partitions: Vec<_> = used.map(|(entry, number)| decode(entry, number, sector_size)).collect();
        partitions.sort_unstable_by_key(|partition| (partition.extent, partition.number));
        partitions
    }

    /// This copy with entries for `new` partitions and other ends for `grown` ones; all else keeps its bytes.
    pub fn with(&self, new: &[Partition], grown: &[Partition]) -> TableCopy {
        let mut copy = self.clone();
        let sector_size = self.header.sector_size();
        for partition in new {
            encode(partition, sector_size, copy.entry(partition.number));
        }
        for partition in grown {
            encode_end(partition, sector_size, copy.entry(partition.number));
        }
        copy.seal();
        copy
    }

    /// This copy with empty entries for `removed`; all else keeps its bytes.
    pub fn without(&self, removed: &[Partition]) -> TableCopy {
        let mut copy = self.clone();
        for partition in removed {
            copy.entry(partition.number).fill(0);
        }
        copy.seal();
        copy
    }

    fn seal(&mut self) {
        let crc = crc32(&self.array[..self.header.array_bytes()]);
        self.header.set_u32(field::PARTITION_ENTRY_ARRAY_CRC32, crc);
        self.header.seal();
    }

    fn entry(&mut self, number: u32) -> &mut [u8] {
        let at = (number as usize - 1) * ENTRY_SIZE;
        &mut self.array[at..at + ENTRY_SIZE]
    }
}

impl Header {
    /// Reads a sector and asks only for the signature.
    pub fn read(disk: &mut dyn Disk, lba: u64) -> Result<Header, Defect> {
        if lba >= disk.sectors() {
            return Err(Defect::NoSignature);
        }
        Header::of_sector(read_or_defect(disk, lba, 1)?)
    }

    /// Takes a sector for a header by its signature.
    pub fn of_sector(sector: Vec<u8>) -> Result<Header, Defect> {
        match sector.get(..8) {
            Some(signature) if signature == SIGNATURE => Ok(Header { sector }),
            Some(signature) if signature == IGNORED => Err(Defect::Ignored),
            _ => Err(Defect::NoSignature),
        }
    }

    /// Reads a header and checks all of it but its array: each sector is whole, so that a torn copy has a header.
    pub fn read_valid(disk: &mut dyn Disk, lba: u64) -> Result<Header, Defect> {
        let header = Header::read(disk, lba)?;
        header.check(lba, last_lba(disk))?;
        Ok(header)
    }

    /// Whether the header's bytes are those that were written, whatever they say.
    pub fn crc_is_right(&self) -> bool {
        let header_size = self.u32(field::HEADER_SIZE) as usize;
        (field::END..=self.sector.len()).contains(&header_size) && self.u32(field::HEADER_CRC32) == self.computed_crc()
    }

    fn check(&self, lba: u64, last_lba: u64) -> Result<(), Defect> {
        let header_size = self.u32(field::HEADER_SIZE);
        let in_sector = (field::END..=self.sector.len()).contains(&(header_size as usize));
        if !in_sector {
            return Err(Defect::HeaderSize(header_size));
        }
        let (stored, computed) = (self.u32(field::HEADER_CRC32), self.computed_crc());
        if stored != computed {
            return Err(Defect::HeaderCrc { stored, computed });
        }
        if self.my_lba() != lba {
            return Err(Defect::MyLba(self.my_lba()));
        }
        let (entry_size, entries) = (self.u32(field::SIZE_OF_PARTITION_ENTRY), self.entries());
        if entry_size as usize != ENTRY_SIZE {
            return Err(Defect::EntrySize(entry_size));
        }
        if entries == 0 || u64::from(entries) * ENTRY_SIZE as u64 > MAX_ARRAY_BYTES {
            return Err(Defect::EntryCount(entries));
        }
        let (first, last) = (self.first_usable_lba(), self.last_usable_lba());
        if first > last {
            return Err(Defect::Usable { first, last });
        }
        if last > last_lba {
            return Err(Defect::DiskTooSmall { last, disk_end: last_lba });
        }
        let array_lba = self.partition_entry_lba();
        let array_end = array_lba.checked_add(self.array_sectors());
        let on_disk = array_lba > PRIMARY_LBA && array_end.is_some_and(|end| end <= last_lba + 1);
        let on_itself = (array_lba..array_lba.saturating_add(self.array_sectors())).contains(&lba);
        if on_disk && !on_itself { Ok(()) } else { Err(Defect::ArrayPlace(array_lba)) }
    }

    /// LBA that this header was written for.
    pub fn my_lba(&self) -> u64 {
        self.u64(field::MY_LBA)
    }

    /// LBA of the other copy's header.
    pub fn alternate_lba(&self) -> u64 {
        self.u64(field::ALTERNATE_LBA)
    }

    /// LBA of the backup that this header, primary or backup, belongs to.
    pub fn backup_lba(&self) -> u64 {
        if self.my_lba() == PRIMARY_LBA { self.alternate_lba() } else { self.my_lba() }
    }

    /// First LBA that a partition may use.
    pub fn first_usable_lba(&self) -> u64 {
        self.u64(field::FIRST_USABLE_LBA)
    }

    /// Last LBA that a partition may use.
    pub fn last_usable_lba(&self) -> u64 {
        self.u64(field::LAST_USABLE_LBA)
    }

    /// First LBA of the entry array.
    pub fn partition_entry_lba(&self) -> u64 {
        self.u64(field::PARTITION_ENTRY_LBA)
    }

    /// How many entries the array has.
    pub fn entries(&self) -> u32 {
        self.u32(field::NUMBER_OF_PARTITION_ENTRIES)
    }

    /// The CRC that the array must have.
    pub fn partition_entry_array_crc32(&self) -> u32 {
        self.u32(field::PARTITION_ENTRY_ARRAY_CRC32)
    }

    /// The disk's GUID.
    pub fn disk_guid(&self) -> Guid {
        Guid::from_disk(self.bytes(field::DISK_GUID))
    }

    /// Sectors that the array takes, the last one perhaps not full.
    pub fn array_sectors(&self) -> u64 {
        self.array_bytes().div_ceil(self.sector.len()) as u64
    }

    /// The header sector as it is to be written.
    pub fn sector(&self) -> &[u8] {
        &self.sector
    }

    /// This header for another place: everything but the given fields is kept.
    pub fn moved(&self, place: Place) -> Header {
        let mut header = self.clone();
        header.set_u64(field::MY_LBA, place.my_lba);
        header.set_u64(field::ALTERNATE_LBA, place.alternate_lba);
        header.set_u64(field::LAST_USABLE_LBA, place.last_usable_lba);
        header.set_u64(field::PARTITION_ENTRY_LBA, place.partition_entry_lba);
        header.seal();
        header
    }

    /// The last 16 bytes of the sector, which are reserved (UEFI 5.3.2).
    pub fn tail(&self) -> [u8; 16] {
        self.bytes(self.sector.len() - 16)
    }

    /// This header with other bytes at its [`Header::tail`].
    pub fn with_tail(&self, tail: [u8; 16]) -> Header {
        let mut header = self.clone();
        let at = header.sector.len() - 16;
        header.sector[at..].copy_from_slice(&tail);
        header.seal();
        header
    }

    fn sector_size(&self) -> u64 {
        self.sector.len() as u64
    }

    fn array_bytes(&self) -> usize {
        self.entries() as usize * ENTRY_SIZE
    }

    fn seal(&mut self) {
        self.set_u32(field::HEADER_CRC32, self.computed_crc());
    }

    fn computed_crc(&self) -> u32 {
        let mut bytes = self.sector[..self.u32(field::HEADER_SIZE) as usize].to_vec();
        bytes[field::HEADER_CRC32..field::HEADER_CRC32 + 4].fill(0);
        crc32(&bytes)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.sector[at..at + N]);
        bytes
    }

    fn set_u32(&mut self, at: usize, value: u32) {
        self.sector[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn set_u64(&mut self, at: usize, value: u64) {
        self.sector[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// The fields of a header that depend on where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where this header stands.
    pub my_lba: u64,
    /// Where the other copy's header stands.
    pub alternate_lba: u64,
    /// Last LBA that a partition may use.
    pub last_usable_lba: u64,
    /// First LBA of this copy's array.
    pub partition_entry_lba: u64,
}

/// Whether bytes can be an entry of a disk with so many sectors: a place on the disk, none, or erased flash. Code and
/// text are not like that; some tools delete an entry by its type alone (UEFI 5.3.3: then it is unused), and leave the
/// rest.
pub fn may_be_entry(entry: &[u8], disk_sectors: u64) -> bool {
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    let is_place = 1 < first && first <= last && last < disk_sectors;
    let is_unused = entry[..16] == [0; 16] && (first, last) == (0, 0);
    is_place || is_unused || entry.iter().all(|byte| *byte == 0xff)
}

fn u64_at(entry: &[u8], at: usize) -> u64 {
    entry[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn read_or_defect(disk: &mut dyn Disk, lba: u64, sectors: u64) -> Result<Vec<u8>, Defect> {
    read_sectors(disk, lba, sectors).map_err(|error| Defect::Unreadable { lba, reason: error.to_string() })
}

/// An entry's bytes: type 0, GUID 16, first LBA 32, last LBA 40, attributes 48, name 56 (UEFI 5.3.3).
fn decode(entry: &[u8], number: u32, sector_size: u64) -> Partition {
    let guid_at = |at: usize| Guid::from_disk(std::array::from_fn(|index| entry[at + index]));
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    // A reversed extent has no size; whoever looks at the table's sanity finds it there.
    let sectors = last.checked_sub(first).map_or(0, |difference| difference.saturating_add(1));
    Partition {
        number,
        extent: Extent { start: first.saturating_mul(sector_size), size: sectors.saturating_mul(sector_size) },
        label: Label::from_units(entry[56..].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]))),
        partition_type: guid_at(0),
        guid: guid_at(16),
        attributes: u64_at(entry, 48),
    }
}

fn encode(partition: &Partition, sector_size: u64, entry: &mut [u8]) {
    entry.fill(0);
    entry[0..16].copy_from_slice(&partition.partition_type.to_disk());
    entry[16..32].copy_from_slice(&partition.guid.to_disk());
    entry[32..40].copy_from_slice(&(partition.extent.start / sector_size).to_le_bytes());
    encode_end(partition, sector_size, entry);
    entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
    for (slot, unit) in entry[56..].chunks_exact_mut(2).zip(partition.label.units()) {
        slot.copy_from_slice(&unit.to_le_bytes());
    }
}

fn encode_end(partition: &Partition, sector_size: u64, entry: &mut [u8]) {
    entry[40..48].copy_from_slice(&(partition.extent.end() / sector_size - 1).to_le_bytes());
}

/// CRC-32 as the GPT uses it (ISO 3309, reflected, polynomial 0xEDB88320).
#[allow(clippy::cast_possible_truncation)] // a byte's worth of each is wanted
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut value, mut bit) = (index as u32, 0);
            while bit < 8 {
                value = value >> 1 ^ if value & 1 == 1 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize])
}
