//! Which partition of a table is meant by which wish.
//!
//! Knows no places and no sizes.

use super::Error;
use crate::config::{Declared, Identity};
use crate::table::Partition;

/// For each wish the partition that is meant.
pub fn find_all<'a>(declared: &[Declared], partitions: &'a [Partition]) -> Result<Vec<Option<&'a Partition>>, Error> {
    let mut found = declared.iter().map(|wish| find(wish, partitions)).collect::<Result<Vec<_>, _>>()?;
    // By number, which the order of the disk says nothing about.
    let mut others: Vec<&Partition> = partitions.iter().collect();
    others.sort_unstable_by_key(|partition| partition.number);
    others.retain(|partition| !found.iter().flatten().any(|taken| taken.number == partition.number));
    // First those that still have the name they would be given: where one before them was left out or is gone, the
    // order alone would take each for another.
    for any_name in [false, true] {
        let by_type = declared.iter().zip(&mut found).filter(|(wish, _)| wish.identity == Identity::Type);
        for (wish, found) in by_type.filter(|(_, found)| found.is_none()) {
            let has_name = |other: &Partition| any_name || other.label == wish.label;
            let is_same = |other: &&Partition| other.partition_type == wish.partition_type && has_name(other);
            *found = others.iter().position(is_same).map(|index| others.remove(index));
        }
    }
    Ok(found)
}

/// The partition with the label of a wish that is known by it.
fn find<'a>(wish: &Declared, partitions: &'a [Partition]) -> Result<Option<&'a Partition>, Error> {
    let is_meant = |partition: &&Partition| wish.identity == Identity::Label && partition.label == wish.label;
    let mut same = partitions.iter().filter(is_meant);
    match (same.next(), same.next()) {
        (Some(first), Some(second)) => {
            Err(Error::LabelTwice { label: wish.label.clone(), first: first.number, second: second.number })
        }
        (found, _) => Ok(found),
    }
}

/// Whether every declared partition that may not be left out is among these, once.
pub fn are_all_needed_there(declared: &[Declared], partitions: &[Partition]) -> bool {
    let is_there = |(wish, found): (&Declared, &Option<&Partition>)| wish.priority > 0 || found.is_some();
    find_all(declared, partitions).is_ok_and(|found| declared.iter().zip(&found).all(is_there))
}

/// Refuses where only the order of the table says which partition of a type is marked: once some of them are gone, the
/// same order means others, which a power cut before the new ones are there, or the next reset, would delete.
pub(super) fn check_reset(
    declared: &[Declared],
    found: &[Option<&Partition>],
    partitions: &[Partition],
) -> Result<(), Error> {
    let is_known = |other: &Partition| {
        let mut known = declared.iter().zip(found).filter(|(wish, _)| wish.label == other.label);
        known.any(|(_, found)| found.is_some_and(|found| found.number == other.number))
    };
    for wish in declared.iter().filter(|wish| wish.factory_reset && wish.identity == Identity::Type) {
        let same_type = |other: &&Partition| other.partition_type == wish.partition_type;
        if let Some(other) = partitions.iter().filter(same_type).find(|other| !is_known(other)) {
            let (label, number, name) = (wish.label.clone(), other.number, other.label.clone());
            return Err(Error::ResetUnclear { label, number, name });
        }
    }
    Ok(())
}
