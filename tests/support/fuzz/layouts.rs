//! Any layout that a sane table can have, and any declaration that a configuration can make.

use makeroom::config::Declared;
use makeroom::plan;
use makeroom::table::{Layout, Partition};
use makeroom::units::{Extent, Guid, KIB, Label};

use super::Input;
use crate::support::rules::{check_next_plan, check_plan};
use crate::support::{declared, guids};

/// There is no plan, or it fits the disk and the declaration, and the next one has nothing to do.
pub fn plan(data: &[u8]) {
    let mut input = Input(data);
    let wishes = wishes(&mut input);
    // What --align takes, up to 1 GiB.
    let alignment = match input.pick(&[256, 1, 0]) {
        0 => 4 * KIB * (1 + input.magnitude(32) % (1 << 18)),
        steps => 4 * KIB * steps,
    };
    let layout = layout(&mut input);
    assert!(plan::alignment(None, Some(input.magnitude(64)), &layout).is_power_of_two());
    match plan::plan(&wishes, &layout, alignment, &mut guids) {
        Err(reason) => assert!(!reason.to_string().is_empty()),
        Ok(plan) => {
            check_plan(&wishes, &layout, &plan);
            assert_eq!(plan.new.len() + plan.kept.len() + plan.dropped.len(), wishes.len());
            check_next_plan(&wishes, &layout, &plan);
        }
    }
}

fn wishes(input: &mut Input) -> Vec<Declared> {
    let count = input.byte() % 8;
    (0..count).map(|index| wish(input, index)).collect()
}

fn wish(input: &mut Input, index: u8) -> Declared {
    let size_min = 1 + input.magnitude(63);
    let limited = input.flag();
    Declared {
        size_min,
        size_max: limited.then(|| size_min.saturating_add(input.magnitude(63))),
        weight: (u32::from(input.u16()) << 4) % 1_000_001,
        priority: i32::from(input.byte().cast_signed()),
        ..declared(&format!("wish-{index}"))
    }
}

/// Partitions one behind the other, with gaps, with any numbers, some with the labels of wishes.
fn layout(input: &mut Input) -> Layout {
    let sector_size = input.pick(&[512u32, 4096]);
    let size = u64::from(sector_size);
    let slots = 1 + u32::from(input.u16()) % 300;
    let first = 2 + u64::from(input.u16());
    let mut free_numbers: Vec<u32> = (1..=slots).collect();
    let mut at = first;
    let mut partitions = Vec::new();
    for index in 0..u32::from(input.byte() % 8).min(slots) {
        let start = at + input.magnitude(44);
        let end = start + 1 + input.magnitude(44);
        let number = free_numbers.swap_remove(usize::from(input.u16()) % free_numbers.len());
        let label = match input.byte() % 16 {
            wish @ 1..8 => format!("wish-{}", wish - 1),
            _ => format!("existing-{index}"),
        };
        partitions.push(Partition {
            number,
            extent: Extent { start: start * size, size: (end - start) * size },
            label: Label::declared(&label).unwrap(),
            partition_type: Guid::from_u128(1),
            guid: Guid::from_u128(number.into()),
            attributes: 0,
        });
        at = end;
    }
    let rest = input.magnitude(64).min(u64::MAX / size - at - 1);
    let usable = Extent { start: first * size, size: (at - first + rest + 1) * size };
    Layout::new(sector_size, usable, slots, partitions)
}
