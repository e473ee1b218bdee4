//! Which table: what is on the disk, in terms that the planner understands.
//!
//! `mbr` and `gpt` know bytes; `copies` knows which of a disk's two GPT copies counts and where they belong, `rescue`
//! what stands in for a damaged primary, `end` what else is where the table would end; `error` has the refusals.
//! Nothing here writes.

pub mod copies;
mod end;
mod error;
pub mod gpt;
pub mod mbr;
mod rescue;

use std::fmt;

pub use self::error::Error;
use crate::units::{Extent, Guid, Label, MIB, round_down, round_up, show_exact};

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
    /// What is there, in the order of the disk: the partitions that Linux shows.
    pub partitions: Vec<Partition>,
    /// Used entries that Linux ignores, because they begin behind the disk or end before they begin. They have a number
    /// and a name, and no place.
    pub ignored: Vec<Ignored>,
    /// Places that another table of the disk gives to a partition, outside all of `partitions`: nothing is made there.
    pub occupied: Vec<Occupied>,
    /// What other software keeps where the table's own end would move to. The table may be read, and not be written.
    pub foreign_end: Option<ForeignEnd>,
    /// Numbers of partitions that must keep their size, whatever is declared.
    pub kept_size: Vec<u32>,
    /// Bytes behind the usable range that the table leaves to no partition, apart from its backup.
    pub reserved: u64,
}

/// A used entry that Linux ignores (block/partitions/efi.c, `is_pte_valid`, for what begins behind the disk).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The entry; its place in bytes may be saturated.
    pub partition: Partition,
    /// First LBA, as the entry has it.
    pub first: u64,
    /// Last LBA, as the entry has it.
    pub last: u64,
}

/// A place that is not free, though no GPT partition has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// Its place in bytes.
    pub extent: Extent,
    /// By what, in words: `partition 2 of the hybrid MBR (type 0x0c)`.
    pub by: String,
}

/// What other software keeps at the disk's end, which the table does not cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignEnd {
    /// In words: `RAID metadata (md 1.0)`.
    pub what: String,
    /// Where it begins, in bytes.
    pub at: u64,
    /// Where the table itself ends, in bytes.
    pub table_end: u64,
    /// What can be done, as sentences.
    pub remedy: String,
}

impl fmt::Display for ForeignEnd {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ForeignEnd { what, at, table_end, remedy } = self;
        write!(
            f,
            "{what} is at byte {at}, and the partition table ends at byte {table_end}: the end of the disk is not \
                   the table's. {remedy}"
        )
    }
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
    /// A layout of nothing but partitions.
    pub fn new(sector_size: u32, usable: Extent, slots: u32, partitions: Vec<Partition>) -> Layout {
        let (ignored, occupied, kept_size) = (Vec::new(), Vec::new(), Vec::new());
        let (foreign_end, reserved) = (None, 0);
        Layout { sector_size, usable, slots, partitions, ignored, occupied, foreign_end, kept_size, reserved }
    }

    /// The gaps behind partitions, in the order of the disk; on an empty disk, all of it.
    ///
    /// The gap before the first partition is not among them: boot loaders live there, unknown to any table.
    pub fn free_areas(&self, alignment: u64) -> Vec<FreeArea> {
        let taken = self.taken();
        let ends = taken.iter().skip(1).map(|next| next.start).chain([self.usable.end()]);
        let behind = taken.iter().zip(ends).map(|(before, end)| self.area(Some(*before), end, alignment));
        let first = taken.first().map_or(self.usable.end(), |first| first.start);
        let leading = self.partitions.is_empty().then(|| self.area(None, first, alignment));
        let areas = leading.into_iter().chain(behind).filter(|area| area.extent.size > 0 || taken.is_empty());
        areas.collect()
    }

    /// The partitions and the occupied places between and behind them, in the order of the disk.
    fn taken(&self) -> Vec<Extent> {
        let (first, end) = (self.partitions.first().map_or(0, |first| first.extent.start), self.usable.end());
        let mut taken: Vec<Extent> = self.partitions.iter().map(|partition| partition.extent).collect();
        for extent in self.occupied.iter().map(|occupied| occupied.extent) {
            if extent.start >= first && extent.start < end {
                taken.insert(taken.partition_point(|other| *other < extent), extent);
            }
        }
        taken
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

    /// A remark where the table keeps much more from partitions than its backup needs: tools that copy a table to a larger
    /// disk keep its last usable LBA. A few MiB are left out on purpose.
    pub fn large_reserve(&self) -> Option<String> {
        const ON_PURPOSE: u64 = 64 * MIB;
        let (reserved, last) = (self.reserved, (self.usable.end() / u64::from(self.sector_size)).saturating_sub(1));
        (reserved > ON_PURPOSE).then(|| {
            let reserved = show_exact(reserved);
            format!(
                "the table lets partitions end at LBA {last}, {reserved} before its backup: sgdisk -e DISK frees them"
            )
        })
    }

    fn area(&self, after: Option<Extent>, end: u64, alignment: u64) -> FreeArea {
        let start = after.map_or(0, |before| before.end()).max(self.usable.start);
        let start = round_up(start, alignment);
        FreeArea { extent: Extent { start, size: round_down(end, alignment).saturating_sub(start) }, after }
    }
}
