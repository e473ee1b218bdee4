//! What must hold of any plan and of any card after a run: the same for tables that a test builds and for those that
//! a fuzzer finds.

use std::collections::BTreeSet;

use makeroom::config::{Declared, Identity, Padding};
use makeroom::plan::{self, Error, Grown, New, Plan};
use makeroom::table::{FreeArea, Layout, Partition};
use makeroom::units::Extent;

use super::card::{Card, Event};
use super::linux::{self, Seen};
use super::{guids, wish_of};

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
        let wish = wish_of(wishes, label);
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
    let places = plan.new.iter().map(|new| new.partition.extent).chain(plan.grown.iter().map(Grown::tail));
    for place in places {
        let other = layout.occupied.iter().find(|other| other.extent.overlaps(&place));
        assert!(other.is_none(), "{place:?} is occupied: {other:?}");
    }
    let is_kept = |grown: &Grown| !layout.kept_size.contains(&grown.partition.number);
    assert!(plan.grown.iter().all(is_kept), "{:?} of {:?}", plan.grown, layout.kept_size);
    assert!(plan.is_empty() || layout.foreign_end.is_none(), "{:?}", layout.foreign_end);
    let numbers: BTreeSet<u32> = after.partitions.iter().map(|partition| partition.number).collect();
    assert_eq!(numbers.len(), after.partitions.len(), "a number is taken twice");
    assert!(
        !layout.ignored.iter().any(|ignored| numbers.contains(&ignored.partition.number)),
        "a number is taken twice"
    );
    let first = layout.partitions.iter().map(|partition| partition.extent.start).min().unwrap_or(0);
    assert!(plan.new.iter().all(|new| new.partition.extent.start >= first), "before the first partition");
}

/// With the plan applied, the next one changes nothing: what had to be left out for want of space or slots stays out.
pub fn check_next_plan(wishes: &[Declared], layout: &Layout, plan: &Plan) {
    let next = plan::plan(wishes, &applied(layout, plan), plan.alignment, &mut guids);
    assert!(next.as_ref().is_ok_and(Plan::is_empty), "{next:?}");
}

/// What a plan makes of one free area.
pub struct UsedArea<'a> {
    /// The area as the planner saw it.
    pub area: FreeArea,
    /// The whole gap, up to the next old partition or the end of the usable range.
    pub gap: Extent,
    /// Where the partition before it ends, which may have grown into it.
    pub start: u64,
    /// Its new partitions, in the order of the disk, each with its wish.
    pub new: Vec<(&'a New, &'a Declared)>,
}

impl UsedArea<'_> {
    /// Bytes of the gap that are in no partition now.
    pub fn unused(&self) -> u64 {
        self.gap.end() - self.start - self.new.iter().map(|(new, _)| new.partition.extent.size).sum::<u64>()
    }

    /// Whether each has all that it may have, so that what is left is nobody's.
    pub fn is_at_its_limits(&self, alignment: u64) -> bool {
        self.new.iter().all(|(new, wish)| is_at_its_maximum(new, wish, alignment))
    }
}

fn is_at_its_maximum(new: &New, wish: &Declared, alignment: u64) -> bool {
    wish.size_max.is_some_and(|max| max - new.partition.extent.size < alignment)
}

/// The free areas in which a plan makes something.
pub fn used_areas<'a>(wishes: &'a [Declared], layout: &Layout, plan: &'a Plan) -> Vec<UsedArea<'a>> {
    let used = |area: FreeArea| {
        let inside = plan.new.iter().filter(|new| area.extent.overlaps(&new.partition.extent));
        let mut new: Vec<_> = inside.map(|new| (new, wish_of(wishes, &new.partition.label))).collect();
        new.sort_by_key(|(new, _)| new.partition.extent);
        let gap_start = area.after.map_or(layout.usable.start, |before| before.end());
        let grown = plan.grown.iter().find(|grown| Some(grown.old) == area.after);
        let start = grown.map_or(gap_start, |grown| grown.partition.extent.end());
        let starts = layout.partitions.iter().map(|other| other.extent.start);
        let end = starts.filter(|other| *other >= area.extent.end()).min().unwrap_or(layout.usable.end());
        let gap = Extent { start: gap_start, size: end - gap_start };
        (!new.is_empty()).then_some(UsedArea { area, gap, start, new })
    };
    layout.free_areas(plan.alignment).into_iter().filter_map(used).collect()
}

/// Whether a partition that is there takes room that is free.
fn grows(wish: &Declared, layout: &Layout) -> bool {
    let is_it = |other: &Partition| other.label == wish.label && other.partition_type == wish.partition_type;
    wish.grow && layout.partitions.iter().any(is_it)
}

/// The largest area is used when it holds all, and nothing that is there wants more. A used area is used up, without
/// gaps, unless maxima say otherwise; and by weight. Nobody wants padding.
pub fn check_areas(wishes: &[Declared], layout: &Layout, plan: &Plan) {
    assert!(wishes.iter().all(|wish| wish.padding == Padding::default()), "there is no rule for padding here");
    let all_used = used_areas(wishes, layout, plan);
    let new = all_used.iter().flat_map(|used| &used.new);
    let needed: u64 = new.map(|(_, wish)| wish.size_min.next_multiple_of(plan.alignment)).sum();
    let areas = layout.free_areas(plan.alignment);
    let largest = areas.iter().map(|area| area.extent.size).max().unwrap_or(0);
    if needed <= largest && !wishes.iter().any(|wish| grows(wish, layout)) {
        let used: Vec<u64> = all_used.iter().map(|used| used.area.extent.size).collect();
        assert!(used.is_empty() || used == [largest], "used {used:?}, though {largest} bytes hold all");
    }
    for used in all_used {
        let mut at = used.start.max(layout.usable.start).next_multiple_of(plan.alignment);
        for (new, _) in &used.new {
            assert_eq!(new.partition.extent.start, at, "a gap between new partitions");
            at = new.partition.extent.end();
        }
        if !used.is_at_its_limits(plan.alignment) {
            let free = used.gap.end() - at;
            assert!(free < 2 * plan.alignment, "{free} bytes unused at {}", plan.alignment);
        }
        check_weights(&used, plan.alignment);
    }
}

/// Where no maximum binds, those above their minimum have their share of what all of these have. Sizes are rounded, and
/// what that leaves goes on to the next: at most a step for each; and the last one grows into what is left behind it.
fn check_weights(used: &UsedArea, alignment: u64) {
    if used.new.iter().any(|(new, wish)| is_at_its_maximum(new, wish, alignment)) {
        return;
    }
    let size = |new: &New| u128::from(new.partition.extent.size);
    let least = |wish: &Declared| u128::from(wish.size_min.next_multiple_of(alignment) + 2 * alignment);
    let shares = used.new.iter().filter(|(new, wish)| size(new) > least(wish) && wish.weight > 0);
    let shares: Vec<_> = shares.map(|(new, wish)| (size(new), u128::from(wish.weight))).collect();
    let (sizes, weights) =
        shares.iter().fold((0, 0), |(sizes, weights), (size, weight)| (sizes + size, weights + weight));
    let bound = u128::from(alignment) * (shares.len() as u128 + 3) * weights;
    for (size, weight) in &shares {
        assert!((size * weights).abs_diff(sizes * weight) <= bound, "not by weight: {shares:?}");
    }
}

/// Nothing is refused that would fit into the largest area, and what is left out is optional and of the highest
/// priority numbers.
pub fn check_answer(wishes: &[Declared], layout: &Layout, alignment: u64, answer: &Result<Plan, Error>) {
    let is_there = |wish: &Declared| layout.partitions.iter().filter(|other| other.label == wish.label).count();
    let missing = || wishes.iter().filter(|wish| is_there(wish) == 0);
    let required = missing().filter(|wish| wish.priority <= 0);
    let needed: u64 = required.map(|wish| wish.size_min.next_multiple_of(alignment)).sum();
    let largest = layout.free_areas(alignment).iter().map(|area| area.extent.size).max().unwrap_or(0);
    match answer {
        Err(Error::NoSpace { .. }) => assert!(needed > largest, "{needed} would fit into {largest}"),
        Err(Error::NoSlot { slots, used, needed }) => assert!(used + needed > (*slots).min(255) as usize),
        Err(Error::NoAlignedSize { .. }) => {
            let misses = |wish: &Declared| wish.size_max.is_some_and(|max| max / alignment * alignment < wish.size_min);
            assert!(missing().any(misses));
        }
        Err(Error::LabelTwice { .. }) => assert!(wishes.iter().any(|wish| is_there(wish) > 1)),
        Err(other) => panic!("{other}"),
        Ok(plan) => {
            let (left_out, made): (Vec<_>, Vec<_>) = missing().partition(|wish| plan.dropped.contains(&wish.label));
            assert!(left_out.iter().all(|wish| wish.priority > 0));
            assert_eq!((plan.new.len(), plan.dropped.len()), (made.len(), left_out.len()));
            assert_eq!(plan.kept.len() + made.len() + left_out.len(), wishes.len());
            let lowest_out = left_out.iter().map(|wish| wish.priority).min();
            let highest_in = made.iter().map(|wish| wish.priority).max();
            assert!(lowest_out.zip(highest_in).is_none_or(|(out, made)| out > made), "priorities");
            if let Some(lowest) = lowest_out.filter(|_| !wishes.iter().any(|wish| grows(wish, layout))) {
                let before: Vec<_> = missing().filter(|wish| wish.priority <= lowest).collect();
                let have_numbers = layout.partitions.len() + before.len() <= layout.slots.min(255) as usize;
                let needed: u64 = before.iter().map(|wish| wish.size_min.next_multiple_of(alignment)).sum();
                assert!(needed > largest || !have_numbers, "left out, though {needed} would fit into {largest}");
            }
        }
    }
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
