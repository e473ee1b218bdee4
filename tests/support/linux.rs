//! What Linux makes of a table: the rules of block/partitions/efi.c without `gpt` on the command line, and nothing
//! of the program under test.

use std::path::Path;

use makeroom::units::Extent;

use super::card::Card;
use super::{each_part, whole};

/// A partition as the kernel would show it, and its whole entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub number: u32,
    pub first: u64,
    pub last: u64,
    pub entry: Vec<u8>,
}

impl Seen {
    /// The same with another end.
    pub fn up_to(&self, last: u64) -> Seen {
        let mut entry = self.entry.clone();
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        Seen { last, entry, ..*self }
    }
}

/// A valid copy of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpt {
    pub header: Vec<u8>,
    pub alternate_lba: u64,
    pub first_usable: u64,
    pub last_usable: u64,
    pub array_lba: u64,
    pub entries: u32,
    pub array: Vec<u8>,
    pub partitions: Vec<Seen>,
}

/// The partitions that the kernel shows; why it shows none.
pub fn partitions(card: &Card) -> Result<Vec<Seen>, String> {
    protective_mbr(card)?;
    Ok(gpt(card, 1)?.partitions)
}

/// Their labels, of the disk that a file holds.
pub fn labels_in(file: &Path, sector_size: u32) -> Result<Vec<String>, String> {
    Ok(partitions(&card_in(file, sector_size))?.iter().map(Seen::label).collect())
}

/// The disk that a file holds.
pub fn card_in(file: &Path, sector_size: u32) -> Card {
    let mut card = Card::new(sector_size, whole(file).size / u64::from(sector_size));
    each_part(file, whole(file), |at, part| card.put(at / u64::from(sector_size), part));
    card
}

impl Seen {
    /// Its bytes on a disk with sectors of 512.
    pub fn extent(&self) -> Extent {
        Extent { start: self.first * 512, size: (self.last + 1 - self.first) * 512 }
    }

    /// Its name.
    pub fn label(&self) -> String {
        let units = self.entry[56..].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        String::from_utf16(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()).unwrap()
    }
}

fn protective_mbr(card: &Card) -> Result<(), String> {
    let sector = card.sector(0);
    if sector[510..512] != [0x55, 0xaa] {
        return Err("no MBR signature".into());
    }
    let protective = (0..4)
        .map(|n| &sector[446 + n * 16..462 + n * 16])
        .any(|record| record[4] == 0xee && u32::from_le_bytes(record[8..12].try_into().unwrap()) == 1);
    if protective { Ok(()) } else { Err("no protective record at LBA 1".into()) }
}

/// A copy whose header is at `lba`, by `is_gpt_valid`.
pub fn gpt(card: &Card, lba: u64) -> Result<Gpt, String> {
    let header = card.sector(lba);
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
    let last_lba = card.sectors - 1;
    let ensure = |condition: bool, what: &str| if condition { Ok(()) } else { Err(format!("LBA {lba}: {what}")) };
    ensure(&header[..8] == b"EFI PART", "signature")?;
    let header_size = u32_at(12) as usize;
    ensure((92..=header.len()).contains(&header_size), "header size")?;
    let mut zeroed = header[..header_size].to_vec();
    zeroed[16..20].fill(0);
    ensure(crc32fast::hash(&zeroed) == u32_at(16), "header CRC")?;
    ensure(u64_at(24) == lba, "my_lba")?;
    let (first_usable, last_usable) = (u64_at(40), u64_at(48));
    ensure(first_usable <= last_lba && last_usable <= last_lba && first_usable <= last_usable, "usable range")?;
    ensure(u32_at(84) == 128, "entry size")?;
    let (array_lba, entries) = (u64_at(72), u32_at(80));
    let bytes = entries as usize * 128;
    let sectors = bytes.div_ceil(header.len()) as u64;
    ensure(array_lba.checked_add(sectors).is_some_and(|end| end <= card.sectors), "array place")?;
    let mut array = card.piece(array_lba, sectors);
    array.truncate(bytes);
    ensure(crc32fast::hash(&array) == u32_at(88), "array CRC")?;
    let partitions = array.chunks(128).zip(1..).filter_map(|(entry, number)| seen(entry, number, last_lba)).collect();
    Ok(Gpt { alternate_lba: u64_at(32), first_usable, last_usable, array_lba, entries, array, partitions, header })
}

fn seen(entry: &[u8], number: u32, last_lba: u64) -> Option<Seen> {
    let (first, last) =
        (u64::from_le_bytes(entry[32..40].try_into().unwrap()), u64::from_le_bytes(entry[40..48].try_into().unwrap()));
    let used = entry[..16] != [0; 16] && first <= last_lba && last <= last_lba;
    used.then(|| Seen { number, first, last, entry: entry.to_vec() })
}
