//! What a new partition gets beside its place: a number, a GUID and a name that nobody has.

use super::{Error, Guids};
use crate::config::{Declared, Identity};
use crate::table::{Layout, Partition};
use crate::units::{Extent, Guid, Label};

/// Linux shows no partition with a number above this (include/linux/genhd.h: `DISK_MAX_PARTS` is 256).
pub(super) const LARGEST_NUMBER: u32 = 255;

/// All used entries of a table: what Linux ignores has a number, a name and a GUID, too.
fn entries(layout: &Layout) -> impl Iterator<Item = &Partition> {
    layout.partitions.iter().chain(layout.ignored.iter().map(|ignored| &ignored.partition))
}

/// Numbers for new partitions: those behind the highest in use, so that none of the others can be mistaken for
/// another; then, from the lowest, those that are free.
pub(super) fn free_numbers(layout: &Layout) -> Vec<u32> {
    let used: Vec<u32> = entries(layout).map(|partition| partition.number).collect();
    let highest = used.iter().copied().max().unwrap_or(0);
    let numbers = (highest + 1..=layout.slots).chain(1..=highest);
    numbers.filter(|number| *number <= LARGEST_NUMBER && !used.contains(number)).collect()
}

/// The entry of a new partition.
pub(super) fn entry(
    wish: &Declared,
    number: u32,
    extent: Extent,
    declared: &[Declared],
    layout: &Layout,
    guids: &mut Guids,
) -> Result<Partition, Error> {
    Ok(Partition {
        number,
        extent,
        label: unique_label(wish, declared, layout),
        partition_type: wish.partition_type,
        guid: guid(wish, declared, layout, guids)?,
        attributes: wish.attributes,
    })
}

/// The GUID that is wished for, or one that no other partition has.
fn guid(wish: &Declared, declared: &[Declared], layout: &Layout, guids: &mut Guids) -> Result<Guid, Error> {
    let owner = |guid: Guid| entries(layout).find(|partition| partition.guid == guid);
    if let Some(guid) = wish.uuid {
        return match owner(guid).filter(|_| guid != Guid([0; 16])) {
            Some(other) => Err(Error::GuidTaken { label: wish.label.clone(), guid, number: other.number }),
            None => Ok(guid),
        };
    }
    let same_type = declared.iter().filter(|other| other.partition_type == wish.partition_type);
    let ordinal = same_type.take_while(|other| other.label != wish.label).count() as u64;
    // One more answer than there are GUIDs to collide with must be enough of any source that is worth its name.
    let answers = (0..).map(|attempt| guids(wish.partition_type, ordinal, attempt));
    let mut answers = answers.take(entries(layout).count() + 1);
    let found = answers.find(|guid| guid.is_none_or(|guid| owner(guid).is_none()));
    found.flatten().ok_or(Error::NoGuid)
}

/// The name of a partition that is known by its type must not become a second of its kind: others are mounted by it. Nor
/// may it be the one that another wish has, which would take it for its own.
fn unique_label(wish: &Declared, declared: &[Declared], layout: &Layout) -> Label {
    let is_wished = |label: &Label| *label != wish.label && declared.iter().any(|other| other.label == *label);
    let is_taken = |label: &Label| is_wished(label) || entries(layout).any(|partition| partition.label == *label);
    let numbered = (2..).filter_map(|number: u32| wish.label.numbered(number));
    let mut labels = std::iter::once(wish.label.clone()).chain(numbered);
    match wish.identity {
        Identity::Type => labels.find(|label| !is_taken(label)).unwrap_or(wish.label.clone()),
        Identity::Label => wish.label.clone(),
    }
}
