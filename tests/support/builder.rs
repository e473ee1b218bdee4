//! Tables from scratch, for cards in memory.

use makeroom::units::MIB;

use super::card::Card;

/// The type of every partition.
pub const PARTITION_TYPE: &[u8; 16] = b"some type GUID..";

/// The table to build. Start from [`Builder::new`] and change what the test is about.
#[derive(Clone, Debug)]
pub struct Builder {
    pub sector_size: u32,
    /// Sectors of the image.
    pub sectors: u64,
    pub entries: u32,
    /// First LBA of the primary array.
    pub array_lba: u64,
    pub first_usable: u64,
    /// Sectors at the end that are left out of the usable range on purpose.
    pub spare_at_end: u64,
    /// Whether the backup array then lies right behind the usable range instead of before its header.
    pub backup_array_behind_usable: bool,
    /// Number, first LBA, last LBA, name.
    pub partitions: Vec<(u32, u64, u64, &'static str)>,
    pub disk_guid: [u8; 16],
    pub hybrid_mbr: bool,
    /// Whether the first and last sector of each partition have something in them.
    pub user_data: bool,
}

impl Builder {
    /// 128 entries at LBA 2; partitions "boot", "store" and "_empty" of 1 MiB each from 1 MiB on.
    pub fn new(sector_size: u32, mib: u64) -> Builder {
        let per_mib = (1 << 20) / u64::from(sector_size);
        Builder {
            sector_size,
            sectors: mib * per_mib,
            entries: 128,
            array_lba: 2,
            first_usable: per_mib,
            spare_at_end: 0,
            backup_array_behind_usable: false,
            partitions: (1..)
                .zip(["boot", "store", "_empty"])
                .map(|(number, name)| (number, u64::from(number) * per_mib, u64::from(number + 1) * per_mib - 1, name))
                .collect(),
            disk_guid: *b"disk-guid-number",
            hybrid_mbr: false,
            user_data: true,
        }
    }

    pub fn array_sectors(&self) -> u64 {
        (u64::from(self.entries) * 128).div_ceil(u64::from(self.sector_size))
    }

    /// The card, with user data in and between the partitions so that a stray write is seen.
    pub fn build(&self) -> Card {
        let mut card = Card::new(self.sector_size, self.sectors);
        let last = self.sectors - 1;
        let last_usable = last - self.array_sectors() - 1 - self.spare_at_end;
        let backup_array = if self.backup_array_behind_usable { last_usable + 1 } else { last - self.array_sectors() };
        card.put(0, &self.protective_mbr());
        card.put(self.array_lba, &self.array());
        card.put(1, &self.header(1, last, last_usable, self.array_lba));
        card.put(backup_array, &self.array());
        card.put(last, &self.header(last, 1, last_usable, backup_array));
        for (number, first, end, _) in self.partitions.iter().filter(|_| self.user_data) {
            card.put(*first, format!("first sector of partition {number}").as_bytes());
            card.put(*end, format!("last sector of partition {number}").as_bytes());
        }
        card
    }

    pub fn protective_mbr(&self) -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[..9].copy_from_slice(b"boot code");
        let mut record = |number: usize, kind: u8, start: u64, sectors: u64| {
            let at = 446 + number * 16;
            sector[at + 4] = kind;
            sector[at + 8..at + 12].copy_from_slice(&(start as u32).to_le_bytes());
            sector[at + 12..at + 16].copy_from_slice(&(sectors as u32).to_le_bytes());
        };
        // A hybrid's protective record ends where its first partition begins.
        record(0, 0xee, 1, if self.hybrid_mbr { 2047 } else { self.sectors - 1 });
        if self.hybrid_mbr {
            record(1, 0x0c, 2048, 2048);
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn array(&self) -> Vec<u8> {
        let mut array = vec![0; self.entries as usize * 128];
        for (number, first, last, name) in &self.partitions {
            let entry = &mut array[(*number as usize - 1) * 128..*number as usize * 128];
            entry[..16].copy_from_slice(PARTITION_TYPE);
            entry[16..32].copy_from_slice(format!("partition no {number:03}").as_bytes());
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[48..56].copy_from_slice(&0x8001_0000_0000_0004u64.to_le_bytes());
            for (slot, unit) in entry[56..].chunks_mut(2).zip(name.encode_utf16()) {
                slot.copy_from_slice(&unit.to_le_bytes());
            }
        }
        array
    }

    fn header(&self, my_lba: u64, alternate: u64, last_usable: u64, array_lba: u64) -> Vec<u8> {
        let mut header = vec![0; self.sector_size as usize];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        for (at, value) in [(24, my_lba), (32, alternate), (40, self.first_usable), (48, last_usable), (72, array_lba)]
        {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[56..72].copy_from_slice(&self.disk_guid);
        header[80..84].copy_from_slice(&self.entries.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&self.array()).to_le_bytes());
        seal(&mut header);
        header
    }
}

/// Sets a header's CRC to what its bytes give.
pub fn seal(header: &mut [u8]) {
    header[16..20].fill(0);
    let size = (u32::from_le_bytes(header[12..16].try_into().unwrap()) as usize).min(header.len());
    let crc = crc32fast::hash(&header[..size]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// Gives a header the CRC of the array that it names, and its own.
pub fn mend(card: &mut Card, lba: u64) {
    const LONGEST_ARRAY: u64 = MIB;
    let mut header = card.sector(lba);
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let entries = u32::from_le_bytes(header[80..84].try_into().unwrap());
    let array_lba = u64::from_le_bytes(header[72..80].try_into().unwrap());
    let bytes = u64::from(entries) * 128;
    let sectors = bytes.div_ceil(u64::from(card.sector_size));
    if bytes <= LONGEST_ARRAY && array_lba.checked_add(sectors).is_some_and(|end| end <= card.sectors) {
        let mut array = card.piece(array_lba, sectors);
        array.truncate(bytes as usize);
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
    }
    seal(&mut header);
    card.put(lba, &header);
}
