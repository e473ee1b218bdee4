//! What the kernel shows of a disk, against what its table has.

use std::fs::File;

use crate::disk::{AnnounceError, Shown};
use crate::kernel::calls::{add_partition, remove_partition, resize_partition};
use crate::kernel::sysfs::{self, KernelPartition};

/// The kernel's partitions become those of the table: what is elsewhere is moved, what is not there is added.
pub fn reconcile(disk: &File, kernel: &sysfs::Disk, table: &[Shown]) -> Result<(), AnnounceError> {
    let failed = |action: &str| {
        let action = format!("{action} {}", kernel.node().display());
        move |reason| AnnounceError::Io { action, reason }
    };
    let shown = || kernel.partitions().map_err(failed("reading the kernel's partitions of"));
    let table: Vec<&Shown> = table.iter().filter(|wanted| wanted.number <= MAX_NUMBER).collect();
    for change in changes(&shown()?, &table) {
        let (told, action) = match change {
            Change::Remove(number) => (remove_partition(disk, number), "moving a partition of".to_owned()),
            Change::Resize(Shown { number, extent, label, .. }) => {
                (resize_partition(disk, *number, *extent), format!("telling the kernel of the size of {label} on"))
            }
            Change::Add(Shown { number, extent, label, .. }) => {
                (add_partition(disk, *number, *extent), format!("telling the kernel of {label} on"))
            }
        };
        told.map_err(failed(&action))?;
    }
    // Asked once more: what the kernel shows is what will be mounted.
    let after = shown()?;
    match table.into_iter().find(|wanted| !after.iter().any(|shown| is_as_wanted(shown, wanted))) {
        None => Ok(()),
        Some(wanted) => Err(AnnounceError::Misplaced {
            number: wanted.number,
            shown: after.iter().find(|shown| shown.number == wanted.number).map(|shown| shown.extent),
            wanted: wanted.extent,
        }),
    }
}

/// What the kernel is to be told.
#[derive(Debug, PartialEq)]
enum Change<'a> {
    Remove(u32),
    /// Also while it is mounted.
    Resize(&'a Shown),
    Add(&'a Shown),
}

/// First what is in the way goes, then what stays gets its size, which may make room for what comes.
fn changes<'a>(shown: &[KernelPartition], table: &[&'a Shown]) -> Vec<Change<'a>> {
    let wrong: Vec<&Shown> = table.iter().filter(|wanted| !is_shown(shown, wanted)).copied().collect();
    let (resized, added): (Vec<&Shown>, Vec<&Shown>) =
        wrong.iter().partition(|wanted| shown.iter().any(|shown| is_same(shown, wanted)));
    let goes = |shown: &&KernelPartition| {
        wrong.iter().any(|wanted| is_in_the_way(shown, wanted))
            && !resized.iter().any(|wanted| wanted.number == shown.number)
    };
    let removed = shown.iter().filter(goes).map(|shown| Change::Remove(shown.number));
    let (resized, added) = (resized.iter().copied().map(Change::Resize), added.iter().copied().map(Change::Add));
    removed.chain(resized).chain(added).collect()
}

/// Whether the kernel shows all of a table. What it shows beside that may be in use, and is not asked about.
pub fn are_all_shown(shown: &[KernelPartition], table: &[Shown]) -> bool {
    table.iter().all(|wanted| wanted.number > MAX_NUMBER || is_shown(shown, wanted))
}

/// Whether the kernel shows a partition as the table has it.
pub fn is_shown(shown: &[KernelPartition], wanted: &Shown) -> bool {
    shown.iter().any(|shown| is_as_wanted(shown, wanted))
}

/// Whether it only gets another size.
pub fn is_same(shown: &KernelPartition, wanted: &Shown) -> bool {
    (shown.number, shown.extent.start) == (wanted.number, wanted.extent.start)
}

/// Whether the kernel would not take it beside this.
pub fn is_in_the_way(shown: &KernelPartition, wanted: &Shown) -> bool {
    wanted.number == shown.number || wanted.extent.overlaps(&shown.extent)
}

fn is_as_wanted(shown: &KernelPartition, wanted: &Shown) -> bool {
    (shown.number, shown.extent) == (wanted.number, wanted.extent)
}

/// The kernel has no numbers above this (include/linux/genhd.h: `DISK_MAX_PARTS` is 256).
pub const MAX_NUMBER: u32 = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Extent, Label, MIB};

    fn extent((start, end): (u64, u64)) -> Extent {
        Extent { start: start * MIB, size: (end - start) * MIB }
    }

    /// What is told of a kernel that shows these numbers and places, where the table has those.
    fn told(shown: &[(u32, (u64, u64))], table: &[(u32, (u64, u64))]) -> Vec<String> {
        let shown: Vec<_> = shown
            .iter()
            .map(|(number, place)| KernelPartition { number: *number, extent: extent(*place), node: "x".into() })
            .collect();
        let label = Label::declared("a").unwrap();
        let wanted = |(number, place): &_| Shown {
            number: *number,
            has_changed: true,
            label: label.clone(),
            extent: extent(*place),
        };
        let table: Vec<Shown> = table.iter().map(wanted).collect();
        let changes = changes(&shown, &table.iter().collect::<Vec<_>>());
        changes
            .iter()
            .map(|change| match change {
                Change::Remove(number) => format!("-{number}"),
                Change::Resize(wanted) => format!("~{}", wanted.number),
                Change::Add(wanted) => format!("+{}", wanted.number),
            })
            .collect()
    }

    #[test]
    fn the_kernel_is_told_of_what_it_does_not_show() {
        let (one, two) = ((1, (1, 4)), (2, (4, 8)));
        assert_eq!(told(&[one, two], &[one, two]), [""; 0]);
        assert_eq!(told(&[one], &[one, two]), ["+2"]);
        // Of what no table has, only what is in the way: somebody may use the rest.
        assert_eq!(told(&[one, (9, (20, 30))], &[one, two]), ["+2"]);
        assert_eq!(told(&[one, (9, (6, 30))], &[one, two]), ["-9", "+2"]);
        assert_eq!(told(&[one, (2, (20, 30))], &[one, two]), ["-2", "+2"]);
        assert_eq!(told(&[(1, (4, 8)), (2, (1, 4))], &[one, two]), ["-1", "-2", "+1", "+2"]);
    }

    #[test]
    fn what_may_be_mounted_gets_its_size_and_is_never_removed() {
        assert_eq!(told(&[(1, (1, 3))], &[(1, (1, 4)), (2, (4, 8))]), ["~1", "+2"]);
        assert_eq!(told(&[(1, (1, 9))], &[(1, (1, 4)), (2, (4, 8))]), ["~1", "+2"]);
        assert_eq!(told(&[(1, (1, 3)), (9, (3, 5))], &[(1, (1, 4))]), ["-9", "~1"]);
    }
}
