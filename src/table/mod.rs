//! Which table: what is on the disk, in terms that the planner understands.
//!
//! `mbr` and `gpt` know bytes; `copies` knows which of a disk's two GPT copies counts and where they belong, `rescue`
//! what stands in for a damaged primary.
//! Nothing here writes.

pub mod copies;
pub mod gpt;
pub mod mbr;
mod rescue;

use crate::units::{Extent, Guid, Label, round_down, round_up};
use gpt::Defect;
use mbr::MbrError;

/// A partition as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1: the slot in the table plus one, as in the device node.
    pub number: u32,
    /// Its place in bytes.
    pub extent: Extent,
    /// Its name.
    pub label: Label,
    /// Its type GUID.
    pub partition_type: Guid,
    /// Its own GUID.
    pub guid: Guid,
    /// Attribute bits (UEFI 5.3.3; 48 to 63 by type).
    pub attributes: u64,
}

/// All that the planner needs to know of a table. Sizes and places in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes in a logical sector.
    pub sector_size: u32,
    /// Where partitions may be, with the backup table at the true end of the disk.
    pub usable: Extent,
    /// How many entries the table has.
    pub slots: u32,
    /// What is there, in the order of the disk.
    pub partitions: Vec<Partition>,
}

/// A gap that new partitions can be made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeArea {
    /// The gap without what alignment takes at both ends.
    pub extent: Extent,
    /// The partition just before it; none on an empty disk.
    pub after: Option<Extent>,
}

impl Layout {
    /// The gaps behind partitions, in the order of the disk; on an empty disk, all of it.
    ///
    /// The gap before the first partition is not among them: boot loaders live there, unknown to any table.
    pub fn free_areas(&self, alignment: u64) -> Vec<FreeArea> {
        let extents = self.partitions.iter().map(|partition| partition.extent);
        let ends = extents.clone().skip(1).map(|next| next.start).chain([self.usable.end()]);
        let behind = extents.zip(ends).map(|(before, end)| self.area(Some(before), end, alignment));
        match self.partitions.is_empty() {
            true => vec![self.area(None, self.usable.end(), alignment)],
            false => behind.filter(|area| area.extent.size > 0).collect(),
        }
    }

    /// Adds a partition, or puts it in the place of the one with its number, keeping the order of the disk.
    pub fn insert(&mut self, partition: Partition) {
        self.remove(partition.number);
        let at = self.partitions.partition_point(|other| other.extent < partition.extent);
        self.partitions.insert(at, partition);
    }

    /// Takes a partition away.
    pub fn remove(&mut self, number: u32) {
        self.partitions.retain(|other| other.number != number);
    }

    /// Bytes between the start of the usable range and the first partition, which are never used.
    pub fn leading_gap(&self) -> u64 {
        let first = self.partitions.first().map_or(self.usable.start, |partition| partition.extent.start);
        first.saturating_sub(self.usable.start)
    }

    fn area(&self, after: Option<Extent>, end: u64, alignment: u64) -> FreeArea {
        let start = after.map_or(0, |before| before.end()).max(self.usable.start);
        let start = round_up(start, alignment);
        FreeArea { extent: Extent { start, size: round_down(end, alignment).saturating_sub(start) }, after }
    }
}

/// Why a disk's table cannot be worked with. Exit status 65; nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LBA 0 announces no GPT.
    #[error(transparent)]
    Mbr(#[from] MbrError),
    /// The primary is damaged and nothing can stand in for it.
    #[error(
        "the primary partition table is damaged ({primary}), and there is no valid backup: {}. Flash the image again, \
         or repair the table with gdisk",
        tried(backups)
    )]
    NoValidCopy {
        /// What is wrong with the primary.
        primary: Defect,
        /// Where backups were looked for, and what is wrong there.
        backups: Vec<(u64, Defect)>,
    },
    /// Linux shows no partitions of such a disk.
    #[error(
        "the partition table was made for sectors of {made_for} bytes, and the disk has sectors of {has}: Linux cannot \
         read it. Flash an image that was made for sectors of {has} bytes"
    )]
    OtherSectorSize {
        /// Where the header is, in bytes.
        made_for: u32,
        /// The disk's own.
        has: u32,
    },
    /// The primary is as somebody wrote it, and Linux does not take it.
    #[error("the primary partition table cannot be used: {0}. Flash the image again, or repair the table with gdisk")]
    Unusable(Defect),
    /// Exit status 74: nothing is known about the table.
    #[error("cannot read the partition table at LBA {lba}: {reason}")]
    Unreadable {
        /// Where.
        lba: u64,
        /// What the system said.
        reason: String,
    },
    /// The place of the primary array holds something else.
    #[error(
        "the primary entry array is not at its usual place, LBA {0}, and something else is: a boot loader, perhaps. \
         Repair the table with gdisk"
    )]
    HomeTaken(u64),
    /// There is no room for a backup behind the first usable LBA.
    #[error(
        "the backup table needs the LBAs from {from} on, but partitions may begin at LBA {first_usable} only: \
         the disk is too small for its table. Repair the table with gdisk"
    )]
    NoRoomForBackup {
        /// Where it would begin.
        from: u64,
        /// Where partitions may begin.
        first_usable: u64,
    },
    /// The primary is damaged and there are backups of different tables.
    #[error(
        "the primary partition table is damaged ({primary}), and the backups at LBA {} and LBA {} are of different \
         tables: which one is right cannot be known. Repair it with gdisk", at[0], at[1]
    )]
    BackupsDiffer {
        /// What is wrong with the primary.
        primary: Defect,
        /// Where the two are.
        at: [u64; 2],
    },
    /// The disk was cut, or the image written to a card that is too small.
    #[error(
        "the card is smaller than its image: partitions may reach up to LBA {last}, the card ends at LBA {disk_end}. \
         Use a larger card"
    )]
    DiskTooSmall {
        /// Last usable LBA of the table.
        last: u64,
        /// Last LBA of the disk.
        disk_end: u64,
    },
    /// An array that is neither before nor behind the usable range.
    #[error(
        "the partition entry array at LBA {array} lies inside the usable range, LBA {first} to {last}: \
         a partition could overwrite it. Repair the table with gdisk"
    )]
    ArrayInUsableRange {
        /// Its first LBA.
        array: u64,
        /// First usable LBA.
        first: u64,
        /// Last usable LBA.
        last: u64,
    },
    /// There is no room for the primary array before the first usable LBA.
    #[error(
        "the primary entry array needs {sectors} sectors from LBA {home} on, the first usable LBA is {first_usable}: \
         it has no place of its own. Repair the table with gdisk"
    )]
    NoHome {
        /// Where it would begin.
        home: u64,
        /// Its length.
        sectors: u64,
        /// Where partitions may begin.
        first_usable: u64,
    },
    /// A reserved field of the header is in use, and we would need it.
    #[error("the last 16 bytes of the GPT header's sector are in use; they are reserved. Repair the table with gdisk")]
    ReservedInUse,
    /// An entry that ends before it begins.
    #[error("partition {number} (\"{label}\") ends before it begins. Repair the table with gdisk")]
    Reversed {
        /// Its number.
        number: u32,
        /// Its label.
        label: String,
    },
    /// An entry outside the disk or on the table itself.
    #[error("partition {number} (\"{label}\") takes LBA {first} to {last}, {reason}. Repair the table with gdisk")]
    OutOfRange {
        /// Its number.
        number: u32,
        /// Its label.
        label: String,
        /// Its first LBA.
        first: u64,
        /// Its last LBA.
        last: u64,
        /// What is in the way.
        reason: String,
    },
    /// Two entries share sectors.
    #[error("partitions {0} (\"{1}\") and {2} (\"{3}\") overlap. Repair the table with gdisk")]
    Overlap(u32, String, u32, String),
    /// LBA 0 could not be read.
    #[error("cannot read the disk's first sector: {0}")]
    Io(#[from] std::io::Error),
}

fn tried(backups: &[(u64, Defect)]) -> String {
    backups.iter().map(|(lba, defect)| format!("at LBA {lba}: {defect}")).collect::<Vec<_>>().join("; ")
}
