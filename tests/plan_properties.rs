//! The planner against any table and any declaration: what must hold whatever the numbers are.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use makeroom::config::{Declared, Identity, Padding};
use makeroom::plan::{self, Error};
use makeroom::table::{Layout, Partition};
use makeroom::units::{Extent, Guid, Label, MIB};
use proptest::prelude::*;
use support::builder::Builder;
use support::rules::{
    applied, check_answer, check_areas, check_card, check_next_plan, check_plan, own_extents, stray_write,
};
use support::{decide, declared, guids, linux, removed, to_make};

const CASES: u32 = 10_000;

fn wish(index: usize) -> impl Strategy<Value = Declared> {
    let weight = prop_oneof![Just(0), Just(1), Just(1000), 0..=1_000_000u32];
    let size_min = prop_oneof![Just(1), Just(10 * MIB), 1..200 * MIB, 1..40_000 * MIB];
    let span = prop_oneof![Just(None), Just(None), (0..2000 * MIB).prop_map(Some)];
    (weight, size_min, span, -1..4i32).prop_map(move |(weight, size_min, span, priority)| Declared {
        weight,
        size_min,
        size_max: span.map(|span| size_min + span),
        priority,
        ..declared(&format!("wish-{index}"))
    })
}

fn wishes() -> impl Strategy<Value = Vec<Declared>> {
    (0..7usize).prop_flat_map(|count| (0..count).map(wish).collect::<Vec<_>>())
}

/// Wishes of which some are there already, as whatever they are known by, and may grow; some shall have free space
/// behind them.
fn wishes_with_padding() -> impl Strategy<Value = Vec<Declared>> {
    let padding = (prop_oneof![Just(0), Just(1000), 0..=1_000_000u32], prop_oneof![Just(0), 0..500 * MIB]);
    let padding = (padding, prop_oneof![Just(None), (0..500 * MIB).prop_map(Some)])
        .prop_map(|((weight, min), span)| Padding { weight, min, max: span.map(|span| min + span) });
    let change = (padding, prop_oneof![Just(Padding::default())])
        .prop_flat_map(|(some, none)| prop_oneof![Just(some), Just(none)]);
    let changed = (change, any::<bool>(), any::<bool>(), 0..4u8);
    let changes = prop::collection::vec(changed, 7);
    (wishes(), changes).prop_map(|(wishes, changes)| {
        let changed = |(index, (wish, (padding, grow, by_type, kind))): (usize, (Declared, _))| {
            let label = if kind > 0 { format!("existing-{}", index + 1) } else { wish.label.lossy() };
            let identity = if by_type { Identity::Type } else { Identity::Label };
            let partition_type = if kind > 1 || by_type { Guid::from_u128(1) } else { wish.partition_type };
            Declared { label: Label::declared(&label).unwrap(), identity, partition_type, padding, grow, ..wish }
        };
        wishes.into_iter().zip(changes).enumerate().map(changed).collect()
    })
}

/// Existing partitions as gaps and sizes in sectors, and the numbers they have.
fn layout() -> impl Strategy<Value = Layout> {
    let sectors = |bytes: u64| prop_oneof![Just(0), 1..2048u64, 1..bytes / 512];
    let partition = (sectors(20_000 * MIB), sectors(2000 * MIB), any::<prop::sample::Index>());
    let slots = prop_oneof![Just(4u32), Just(128), 1..300u32];
    let shape = (prop_oneof![Just(512u32), Just(4096)], slots, prop::collection::vec(partition, 0..6));
    (shape, 2..60_000u64, sectors(2_000_000 * MIB)).prop_map(|((sector_size, slots, parts), first, rest)| {
        let size = u64::from(sector_size);
        let mut free_numbers: Vec<u32> = (1..=slots).collect();
        let mut at = first;
        let mut partitions = Vec::new();
        for (gap, length, pick) in parts.into_iter().take(slots as usize) {
            let number = free_numbers.swap_remove(pick.index(free_numbers.len()));
            let extent = Extent { start: (at + gap) * size, size: length.max(1) * size };
            at = extent.end() / size;
            partitions.push(Partition { number, extent, ..existing(&format!("existing-{number}")) });
        }
        let usable = Extent { start: first * size, size: (at - first + rest + 1) * size };
        Layout::new(sector_size, usable, slots, partitions)
    })
}

fn existing(label: &str) -> Partition {
    Partition {
        number: 1,
        extent: Extent { start: 0, size: 0 },
        label: Label::declared(label).unwrap(),
        partition_type: Guid::from_u128(1),
        guid: Guid::from_u128(2),
        attributes: 0,
    }
}

fn alignment() -> impl Strategy<Value = u64> {
    prop_oneof![Just(4096), Just(MIB), Just(4 * MIB), Just(64 * MIB), (1..3000u64).prop_map(|n| n * 4096)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_fits_the_disk_and_the_declaration(wishes in wishes(), layout in layout(), alignment in alignment()) {
        let Ok(plan) = plan::plan(&wishes, &layout, alignment, &mut guids) else { return Ok(()) };
        check_plan(&wishes, &layout, &plan);
    }

    #[test]
    fn the_next_plan_for_the_same_wishes_makes_nothing(wishes in wishes(), layout in layout(), alignment in alignment()) {
        let Ok(plan) = plan::plan(&wishes, &layout, alignment, &mut guids) else { return Ok(()) };
        check_next_plan(&wishes, &layout, &plan);
    }

    #[test]
    fn what_has_grown_has_its_place_and_the_next_plan_changes_nothing(
        wishes in wishes_with_padding(), layout in layout(), alignment in alignment(),
    ) {
        let Ok(plan) = plan::plan(&wishes, &layout, alignment, &mut guids) else { return Ok(()) };
        check_plan(&wishes, &layout, &plan);
        let after = applied(&layout, &plan);
        let again = plan::plan(&wishes, &after, alignment, &mut guids).unwrap();
        prop_assert!(again.is_empty(), "{:?}", again);
    }

    #[test]
    fn a_factory_reset_ends_in_what_the_next_boot_keeps_and_a_cut_one_deletes_nothing_more(
        wishes in wishes_with_padding(), marks in prop::collection::vec(any::<bool>(), 7), named in any::<bool>(),
        layout in layout(), alignment in alignment(),
    ) {
        let mark = |(wish, factory_reset): (Declared, bool)| Declared { factory_reset, ..wish };
        let wishes: Vec<Declared> = wishes.into_iter().zip(marks).map(mark).collect();
        let mut layout = layout;
        if named {
            for (partition, wish) in layout.partitions.iter_mut().zip(&wishes) {
                partition.label = wish.label.clone();
            }
        }
        let Ok(plan) = plan::plan_reset(&wishes, &layout, alignment, &mut guids) else { return Ok(()) };
        let mut cut = layout.clone();
        plan.removed.iter().for_each(|partition| cut.remove(partition.number));
        check_plan(&wishes, &cut, &plan);
        if let Ok(again) = plan::plan_reset(&wishes, &cut, alignment, &mut guids) {
            prop_assert!(again.removed.is_empty(), "{:?}", again.removed);
        }
        let next = plan::plan(&wishes, &applied(&layout, &plan), alignment, &mut guids).unwrap();
        prop_assert!(next.is_empty(), "{:?}", next);
    }

    #[test]
    fn the_area_that_is_used_is_used_up(wishes in wishes(), layout in layout(), alignment in alignment()) {
        let Ok(plan) = plan::plan(&wishes, &layout, alignment, &mut guids) else { return Ok(()) };
        check_areas(&wishes, &layout, &plan);
    }

    #[test]
    fn sizes_follow_the_weights_where_no_limit_binds(
        weights in prop::collection::vec(1..=1_000_000u32, 1..6), mib in 1000..4_000_000u64, alignment in alignment(),
    ) {
        let wishes: Vec<Declared> = weights.iter().enumerate()
            .map(|(index, weight)| Declared { weight: *weight, size_min: 1, ..declared(&format!("w{index}")) }).collect();
        let usable = Extent { start: MIB, size: mib * MIB };
        let layout = Layout::new(512, usable, 128, vec![]);
        let Ok(plan) = plan::plan(&wishes, &layout, alignment, &mut guids) else { return Ok(()) };
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let area = layout.free_areas(alignment)[0].extent.size;
        // At least the alignment for everybody; the others pay for it.
        let bound = u128::from(alignment) * (weights.len() as u128 + 1);
        for (new, weight) in plan.new.iter().zip(&weights) {
            let ideal = u128::from(area) * u128::from(*weight) / total;
            prop_assert!(u128::from(new.partition.extent.size).abs_diff(ideal) <= bound);
        }
    }

    #[test]
    fn what_fits_into_the_largest_area_is_never_refused(wishes in wishes(), layout in layout(), alignment in alignment()) {
        check_answer(&wishes, &layout, alignment, &plan::plan(&wishes, &layout, alignment, &mut guids));
    }

    #[test]
    fn whatever_is_planned_lands_on_the_card_and_nothing_else_changes(
        wishes in wishes(), large in any::<bool>(), mib in 16..600u64, grown in prop_oneof![Just(0), 1..90_000u64],
        entries in prop_oneof![Just(4u32), Just(128), Just(256)], array_lba in prop_oneof![Just(2u64), 2..30u64],
        spare in prop_oneof![Just(0), 1..500u64], hybrid_mbr in any::<bool>(), alignment in alignment(),
    ) {
        let usual = Builder::new(if large { 4096 } else { 512 }, mib);
        let builder = Builder { entries, array_lba, spare_at_end: spare, hybrid_mbr, ..usual };
        let mut card = builder.build();
        card.sectors += grown;
        let before = card.clone();
        let Ok((_, plan, steps)) = decide(&mut card, &wishes, alignment) else { return Ok(()) };
        makeroom::apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).unwrap();
        check_card(&linux::partitions(&before).unwrap(), &card, &plan);
        prop_assert_eq!(stray_write(&card, &before, &own_extents(&plan), &card.events), None);
        let (_, _, steps) = decide(&mut card, &wishes, alignment).unwrap();
        prop_assert!(steps.is_empty(), "{:?}", steps);
    }
}

/// Minima of 163, 348 and 320 MiB (optional) on gaps of 340 and 556 MiB: all three do not fit, and once the optional
/// one is dropped, the other two go to the larger gap. The optional one then fits the smaller one, which only the next
/// run saw: it wrote although nothing had changed.
#[test]
fn an_optional_partition_takes_what_the_others_do_not_need() {
    let usable = Extent { start: MIB, size: 899 * MIB };
    let at = |number: u32, start: u64| Partition {
        number,
        extent: Extent { start: start * MIB, size: MIB },
        ..existing(&format!("existing-{number}"))
    };
    let layout = Layout::new(512, usable, 128, vec![at(1, 1), at(2, 342)]);
    let wish = |label: &str, mib: u64, priority| Declared { size_min: mib * MIB, priority, ..declared(label) };
    let wishes = [wish("a", 163, 0), wish("b", 348, 0), wish("c", 320, 1)];
    let plan = plan::plan(&wishes, &layout, MIB, &mut guids).unwrap();
    assert_eq!((plan.new.len(), plan.dropped.len()), (3, 0), "{plan:?}");
    assert_eq!(plan::plan(&wishes, &applied(&layout, &plan), MIB, &mut guids).unwrap().new, []);
}

#[test]
fn a_wish_that_is_there_is_kept_and_a_wish_that_is_there_twice_is_refused() {
    let usable = Extent { start: MIB, size: 1000 * MIB };
    let at = |number: u32| Partition {
        number,
        extent: Extent { start: u64::from(number) * 10 * MIB, size: 10 * MIB },
        guid: Guid::from_u128(u128::from(number)),
        ..existing("root")
    };
    let mut layout = Layout::new(512, usable, 128, vec![at(1)]);
    let wishes = [declared("root")];
    let plan = plan::plan(&wishes, &layout, MIB, &mut guids).unwrap();
    assert_eq!((plan.new, plan.kept), (vec![], vec![1]));
    assert!(plan.warnings[0].contains("partition 1 is of type"), "{:?}", plan.warnings);

    layout.partitions.push(at(3));
    let error = plan::plan(&wishes, &layout, MIB, &mut guids).unwrap_err();
    assert!(matches!(error, Error::LabelTwice { first: 1, second: 3, .. }), "{error}");
}
