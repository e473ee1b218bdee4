//! What must hold of any plan and of any card after a run: the same for tables that a test builds and for those that
//! a fuzzer finds.

use std::collections::BTreeSet;

use makeroom::config::{Declared, Identity};
use makeroom::plan::{Grown, Plan};
use makeroom::table::{Layout, Partition};
use makeroom::units::Extent;

use super::card::{Card, Event};
use super::linux::{self, Seen};

/// The layout after the plan was applied.
pub fn applied(layout: &Layout, plan: &Plan) -> Layout {
    let mut after = layout.clone();
    plan.removed.iter().for_each(|partition| after.remove(partition.number));
    let new = plan.new.iter().map(|new| &new.partition);
    new.chain(plan.grown.iter().map(|grown| &grown.partition)).for_each(|partition| after.insert(partition.clone()));
    after
}

/// A plan fits the disk and the declaration.
pub fn check_plan(wishes: &[Declared], layout: &Layout, plan: &Plan) {
    let after = applied(layout, plan);
    for pair in after.partitions.windows(2) {
        assert!(!pair[0].extent.overlaps(&pair[1].extent), "{pair:?}");
    }
    let areas = layout.free_areas(plan.alignment);
    for new in &plan.new {
        let Partition { extent, number, label, .. } = &new.partition;
        // One that is known by its type may have got a number behind its name.
        let is_meant = |wish: &&Declared| label.lossy().starts_with(&wish.label.lossy());
        let wish = wishes.iter().rfind(is_meant).unwrap();
        let holds = |area: Extent| area.start <= extent.start && extent.end() <= area.end();
        assert!(areas.iter().any(|area| holds(area.extent)), "{extent:?} is in no free area: {areas:?}");
        assert!(holds(layout.usable), "{extent:?} is outside {:?}", layout.usable);
        assert_eq!((extent.start % plan.alignment, extent.size % plan.alignment), (0, 0));
        assert!(extent.size >= wish.size_min && extent.size <= wish.size_max.unwrap_or(u64::MAX));
        assert!((1..=layout.slots).contains(number));
    }
    for Grown { partition, old } in &plan.grown {
        let before = layout.partitions.iter().find(|before| before.number == partition.number).unwrap();
        assert_eq!(*before, Partition { extent: *old, ..partition.clone() }, "more than its end has changed");
        assert!(partition.extent.size > old.size && partition.extent.start == old.start);
        let known = wishes.iter().find(|wish| wish.identity == Identity::Label && wish.label == partition.label);
        let fits = |wish: &Declared| wish.grow && partition.extent.size <= wish.size_max.unwrap_or(u64::MAX);
        assert!(known.map_or(wishes.iter().any(fits), fits), "{partition:?}");
        assert!(partition.extent.end() <= layout.usable.end(), "{partition:?} is outside {:?}", layout.usable);
    }
    let numbers: BTreeSet<u32> = after.partitions.iter().map(|partition| partition.number).collect();
    assert_eq!(numbers.len(), after.partitions.len(), "a number is taken twice");
    let first = layout.partitions.iter().map(|partition| partition.extent.start).min().unwrap_or(0);
    assert!(plan.new.iter().all(|new| new.partition.extent.start >= first), "before the first partition");
}

/// The table holds what was there, unchanged, and what was planned; the backup says the same; no sector of an old
/// partition was written.
pub fn check_card(old: &[Seen], card: &Card, plan: &Plan) {
    let new = linux::partitions(card).unwrap();
    let size = u64::from(card.sector_size);
    for partition in old {
        let grown = plan.grown.iter().find(|grown| grown.partition.number == partition.number);
        let last = grown.map_or(partition.last, |grown| grown.partition.extent.end() / size - 1);
        assert!(new.contains(&partition.up_to(last)), "{partition:?} has changed");
    }
    for wanted in plan.new.iter().map(|new| &new.partition) {
        let (first, last) = (wanted.extent.start / size, wanted.extent.end() / size - 1);
        assert!(new.iter().any(|seen| (seen.number, seen.first, seen.last) == (wanted.number, first, last)));
    }
    assert_eq!(new.len(), old.len() + plan.new.len());
    let backup = linux::gpt(card, card.sectors - 1).unwrap();
    assert_eq!(backup.partitions, new);
    assert_eq!(linux::gpt(card, 1).unwrap().alternate_lba, card.sectors - 1);
    for lba in written(&card.events) {
        let is_used = old.iter().any(|partition| (partition.first..=partition.last).contains(&lba));
        assert!(!is_used, "LBA {lba} of an old partition was written");
    }
}

/// What a plan may write to, apart from the table: new partitions, and the tails of those that grow.
pub fn own_extents(plan: &Plan) -> Vec<Extent> {
    plan.new.iter().map(|new| new.partition.extent).chain(plan.grown.iter().map(Grown::tail)).collect()
}

/// A sector that was written and is neither the table's own, nor in an extent that was `made`, nor an old header that was
/// cleared. `settled` is the card after a whole run, `before` the one that it began with.
pub fn stray_write(settled: &Card, before: &Card, made: &[Extent], events: &[Event]) -> Option<u64> {
    let size = u64::from(settled.sector_size);
    let mut own: BTreeSet<u64> = [0, 1, settled.sectors - 1].into();
    for lba in [1, settled.sectors - 1] {
        let gpt = linux::gpt(settled, lba).unwrap();
        own.extend(gpt.array_lba..gpt.array_lba + (u64::from(gpt.entries) * 128).div_ceil(size));
    }
    let in_new = |lba: u64| made.iter().any(|new| (new.start / size..new.end() / size).contains(&lba));
    let was_header = |lba: u64| before.sector(lba).starts_with(b"EFI PART");
    written(events).find(|lba| !own.contains(lba) && !in_new(*lba) && !was_header(*lba))
}

fn written(events: &[Event]) -> impl Iterator<Item = u64> {
    events.iter().filter_map(|event| if let Event::Write(lba, _) = event { Some(*lba) } else { None })
}
