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

    /// Adds a partition, keeping the order of the disk.
    pub fn insert(&mut self, partition: Partition) {
        let at = self.partitions.partition_point(|other| other.extent < partition.extent);
        self.partitions.insert(at, partition);
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
