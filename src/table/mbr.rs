//! LBA 0: what kind of table it announces, and the one field of it that makeroom ever changes.
//!
//! Knows nothing of the GPT behind it. Rules: UEFI 5.2.3 (protective MBR), Linux block/partitions/efi.c
//! (`is_pmbr_valid`: some record of type 0xEE that starts at LBA 1).

use crate::units::{Extent, show_size};

/// LBA 0 of a disk with a GPT: a protective MBR, or a hybrid one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectiveMbr {
    sector: Vec<u8>,
    /// Byte offset of the 0xEE record in the sector.
    record: usize,
    hybrid: bool,
}

/// Why LBA 0 announces no GPT.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MbrError {
    /// A real MBR (DOS) partition table.
    #[error(
        "the disk has an MBR (DOS) partition table with {}, not a GPT; makeroom cannot extend an MBR yet: \
         use an image with a GPT", records.join(", ")
    )]
    Dos {
        /// Each used record, as "partition 1: type 0x83, 1.5 GiB".
        records: Vec<String>,
    },
    /// Records of type 0xEE, none of which starts at LBA 1: Linux would not look for a GPT.
    #[error(
        "the protective MBR starts at LBA {0} instead of 1, so that Linux does not see the GPT. If nothing on the disk is \
         needed, flash the image again; else copy the whole disk first, and rewrite the MBR of the copy (gdisk: x, n, w)"
    )]
    Misplaced(u32),
    /// No table at all that we know.
    #[error("there is no partition table on the disk; makeroom extends the one of a flashed image and makes none")]
    None,
    /// GPT headers without a protective MBR: Linux does not look at them.
    #[error(
        "there is a GPT but no protective MBR in LBA 0, so that Linux does not see its partitions. If nothing on the disk is \
         needed, flash the image again; else copy the whole disk first, and rewrite the MBR of the copy (gdisk: x, n, w)"
    )]
    Unprotected,
}

const RECORDS: usize = 446;
const RECORD_SIZE: usize = 16;
const GPT_PROTECTIVE: u8 = 0xee;

/// A used record of an MBR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    number: usize,
    kind: u8,
    first: u32,
    sectors: u32,
}

impl Record {
    /// As in `partition 2 (type 0x0c)`.
    pub fn name(&self) -> String {
        format!("partition {} (type 0x{:02x})", self.number, self.kind)
    }

    /// Its place in bytes.
    pub fn extent(&self, sector_size: u64) -> Extent {
        Extent { start: u64::from(self.first) * sector_size, size: u64::from(self.sectors) * sector_size }
    }
}

impl ProtectiveMbr {
    /// Judges LBA 0. `has_gpt_header` says whether LBA 1 carries the GPT signature, for the message.
    pub fn parse(sector: Vec<u8>, has_gpt_header: impl FnOnce() -> bool) -> Result<ProtectiveMbr, MbrError> {
        let used: Vec<usize> = (0..4)
            .map(|number| RECORDS + number * RECORD_SIZE)
            .filter(|at| sector.get(510..512) == Some(&[0x55, 0xaa]) && sector[at + 4] != 0)
            .collect();
        let protective = |at: &&usize| sector[**at + 4] == GPT_PROTECTIVE;
        if let Some(&record) = used.iter().filter(protective).find(|at| u32_at(&sector, **at + 8) == 1) {
            return Ok(ProtectiveMbr { hybrid: used.len() > 1, sector, record });
        }
        if let Some(at) = used.iter().find(protective) {
            return Err(MbrError::Misplaced(u32_at(&sector, at + 8)));
        }
        let records: Vec<String> = used.iter().filter_map(|at| describe(&sector, *at)).collect();
        Err(match (records.is_empty(), has_gpt_header()) {
            // Whatever an old GPT left in LBA 1: a live MBR must not be taken for a GPT that lost its protection.
            (false, _) => MbrError::Dos { records },
            (true, true) => MbrError::Unprotected,
            (true, false) => MbrError::None,
        })
    }

    /// The records of a hybrid MBR that are for partitions: an operating system that knows no GPT goes by them.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let record = |number: usize| {
            let at = RECORDS + (number - 1) * RECORD_SIZE;
            let (first, sectors) = (u32_at(&self.sector, at + 8), u32_at(&self.sector, at + 12));
            Record { number, kind: self.sector[at + 4], first, sectors }
        };
        (1..=4).map(record).filter(|record| !matches!(record.kind, 0 | GPT_PROTECTIVE) && record.sectors > 0)
    }

    /// The last LBA that the protective record covers: where the disk ended when the image was made. Nothing where it
    /// covers all that a record can (UEFI 5.2.3): of a disk of 2 TiB or more that says no place.
    pub fn covered_end(&self) -> Option<u64> {
        let size = self.covered();
        (size < u32::MAX).then_some(u64::from(size))
    }

    /// The same where nothing else can be meant: the record of a hybrid MBR may end before its first partition.
    pub fn table_end(&self) -> Option<u64> {
        self.covered_end().filter(|_| !self.hybrid)
    }

    fn covered(&self) -> u32 {
        u32_at(&self.sector, self.record + 12)
    }

    /// LBA 0 with the record stretched to a disk that ends at `last_lba`; `None` when nothing is to be done.
    ///
    /// A hybrid MBR stays byte for byte: it says what another system sees. So does a record that covers more than
    /// the disk, which some tools always write and everybody accepts.
    pub fn stretched(&self, last_lba: u64) -> Option<Vec<u8>> {
        let size = u32::try_from(last_lba).unwrap_or(u32::MAX);
        if self.hybrid || self.covered() >= size {
            return None;
        }
        let mut sector = self.sector.clone();
        sector[self.record + 12..self.record + 16].copy_from_slice(&size.to_le_bytes());
        Some(sector)
    }
}

/// A record as a person wants it; `None` where it cannot be one (a FAT boot sector has code in its place).
fn describe(sector: &[u8], at: usize) -> Option<String> {
    let boot_flag = sector[at];
    let (start, sectors) = (u32_at(sector, at + 8), u32_at(sector, at + 12));
    (matches!(boot_flag, 0 | 0x80) && start > 0 && sectors > 0).then(|| {
        let number = (at - RECORDS) / RECORD_SIZE + 1;
        format!(
            "partition {number}: type 0x{:02x}, {}",
            sector[at + 4],
            show_size(u64::from(sectors) * sector.len() as u64)
        )
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |field| u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sector with the given records: type, first LBA, sectors.
    fn sector(records: &[(u8, u32, u32)]) -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[..3].copy_from_slice(b"JMP");
        for (number, (kind, start, sectors)) in records.iter().enumerate() {
            let at = RECORDS + number * RECORD_SIZE;
            sector[at + 4] = *kind;
            sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn only_the_size_of_a_pure_protective_record_is_ever_changed() {
        let before = sector(&[(0xee, 1, 99)]);
        let mbr = ProtectiveMbr::parse(before.clone(), || true).unwrap();
        let after = mbr.stretched(0x1_0000_0000).unwrap();
        let changed: Vec<usize> = (0..512).filter(|at| before[*at] != after[*at]).collect();
        assert_eq!(changed, [458, 459, 460, 461]);
        assert_eq!(ProtectiveMbr::parse(after, || true).unwrap().stretched(u64::MAX), None);
        assert_eq!(mbr.stretched(99), None);
        assert_eq!(mbr.stretched(98), None);
    }

    #[test]
    fn a_hybrid_mbr_is_accepted_and_stays() {
        let mbr = ProtectiveMbr::parse(sector(&[(0x0c, 2048, 4096), (0xee, 1, 2047)]), || true).unwrap();
        assert_eq!(mbr.stretched(1 << 20), None);
        assert_eq!(mbr.covered_end(), Some(2047));
    }

    #[test]
    fn what_announces_no_gpt_is_named() {
        let error = |sector, gpt| ProtectiveMbr::parse(sector, || gpt).unwrap_err();
        for old_gpt_header in [false, true] {
            let dos = error(sector(&[(0x0b, 16384, 61440), (0x83, 77824, 1 << 20)]), old_gpt_header).to_string();
            assert!(dos.contains("MBR (DOS)") && dos.contains("partition 2: type 0x83, 512.0 MiB"), "{dos}");
        }
        assert_eq!(error(sector(&[(0xee, 2, 100)]), true), MbrError::Misplaced(2));
        assert_eq!(error(vec![0; 512], true), MbrError::Unprotected);
        assert_eq!(error(vec![0; 512], false), MbrError::None);
        assert_eq!(error(vec![0xff; 512], false), MbrError::None);
        let mut boot_sector_of_a_file_system = vec![b'x'; 512];
        boot_sector_of_a_file_system[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(error(boot_sector_of_a_file_system, false), MbrError::None);
    }
}
