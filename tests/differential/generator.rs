//! Cases of all kinds: most as people have them, some that fit exactly or not, some that contradict themselves. The
//! same seed and number give the same case.

use makeroom::units::{Guid, MIB};

use crate::case::{Case, Definition, Entry, GRAIN, MOUNTED};
use crate::support::Random;

/// Types that systemd does not mount.
const PLAIN: [&str; 2] = ["linux-generic", "user-home"];
/// Names that a partition without a label could get.
const NAMES: [&str; 4] = ["home", "linux", "linux-generic", "user-home"];

/// Numbers for one case.
struct Dice(Random);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound.max(1))
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// From `least` to `most`, each power of two as often as the others.
    fn scale(&mut self, least: u64, most: u64) -> u64 {
        let octaves = u64::from((most / least).max(1).ilog2()) + 1;
        let octave = least << self.below(octaves);
        (octave + self.below(octave)).min(most)
    }

    fn guid(&mut self) -> Guid {
        let half = |dice: &mut Dice| u128::from(dice.below(1 << 47)) << 40 | u128::from(dice.below(1 << 40));
        Guid::from_random(((half(self) << 64) | half(self)).to_be_bytes())
    }

    /// Mostly whole grains.
    fn bytes(&mut self, most: u64) -> u64 {
        let bytes = self.scale(GRAIN, most.max(GRAIN));
        if self.percent(98) { bytes / GRAIN * GRAIN } else { bytes }
    }
}

/// The case with a number.
pub fn case(seed: u64, number: u64) -> Case {
    // Neighbours must not look alike.
    let mixed = (seed << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut dice = Dice(Random((mixed ^ mixed >> 29) | 1));
    (0..8).for_each(|_| _ = dice.below(2));
    let sector_size = dice.pick(&[512, 512, 4096]);
    let mut case = Case {
        sector_size,
        entries: 128,
        first_usable: MIB,
        image: 0,
        disk: 0,
        partitions: Vec::new(),
        definitions: Vec::new(),
    };
    if dice.percent(15) {
        case.first_usable = (2 + case.array_sectors()) * sector_size;
    }
    let free = dice.scale(24 * MIB, 64 << 30);
    let end = partitions(&mut case, &mut dice, free);
    definitions(&mut case, &mut dice, free);
    if dice.percent(10) {
        let highest = case.partitions.iter().map(|partition| partition.number).max().unwrap_or(0);
        case.entries = 4 + dice.below(4) as u32;
        case.entries = case.entries.max(highest);
    }
    ends(&mut case, &mut dice, end, free);
    case
}

/// What is there already; the end of the last one.
fn partitions(case: &mut Case, dice: &mut Dice, free: u64) -> u64 {
    let sector = case.sector_size;
    let count = if dice.percent(12) { 0 } else { 1 + dice.below(4) };
    let mut at = case.first_usable;
    if dice.percent(8) {
        at += dice.scale(sector, free) / sector * sector;
    }
    let aligned = dice.percent(80);
    let mut number = 0;
    for index in 0..count {
        let length = dice.scale(sector, 2 * free);
        let step = if aligned { GRAIN } else { sector };
        let size = length.next_multiple_of(step);
        number += if dice.percent(3) { 2 } else { 1 };
        let (kind, guid) = (dice.guid(), dice.guid());
        let label = if dice.percent(94) { format!("image-{index}") } else { dice.pick(&NAMES).to_owned() };
        let attributes = dice.pick(&[0, 0, 1, 1 << 60]);
        case.partitions.push(Entry { number, start: at, size, kind, guid, attributes, label });
        at += size;
        if index + 1 < count && dice.percent(10) {
            at += if dice.percent(15) { step } else { dice.scale(sector, free).next_multiple_of(step) };
        }
    }
    case.partitions.last().map_or(case.first_usable, Entry::end)
}

/// What is declared: some of what is there, then what is new; sometimes in another order.
fn definitions(case: &mut Case, dice: &mut Dice, free: u64) {
    let mut types: Vec<&str> = MOUNTED.to_vec();
    let count = 1 + dice.below(4);
    // Where everybody may want everything, and more, more of them are optional.
    let (share, optional) = if dice.percent(20) { (free * 3 / 2, 60) } else { (free / (count + 1), 20) };
    for index in 0..case.partitions.len() {
        if dice.percent(40) {
            let limits = limits(dice, share, optional);
            let kind = types.swap_remove(dice.below(types.len() as u64) as usize);
            let definition = known(case, dice, index, kind, limits);
            case.definitions.push(definition);
        }
    }
    for index in 0..count.min(types.len() as u64) {
        let mounted = types.swap_remove(dice.below(types.len() as u64) as usize);
        let limits = limits(dice, share, optional);
        case.definitions.push(new(dice, index, mounted, limits));
    }
    if dice.percent(4) {
        case.definitions.reverse();
    }
}

/// The definition of one that is there, mostly with its room.
fn known(case: &mut Case, dice: &mut Dice, index: usize, kind: &str, limits: Definition) -> Definition {
    let mut definition = limits;
    if dice.percent(96) {
        let least = dice.scale(GRAIN, case.partitions[index].size.max(GRAIN)) / GRAIN * GRAIN;
        (definition.size_min, definition.padding_min) = (Some(least), None);
        definition.size_max = definition.size_max.map(|max| max.max(least));
    }
    (definition.kind, definition.label) = (kind.to_owned(), Some(case.partitions[index].label.clone()));
    case.partitions[index].kind = definition.guid();
    if dice.percent(10) {
        case.partitions[index].label = kind.to_owned();
        definition.label = None;
    }
    definition.format = dice.percent(5).then_some("ext4");
    if dice.percent(5) {
        mismatch(case, dice, index, &mut definition);
    }
    definition
}

/// The definition of one that is not there.
fn new(dice: &mut Dice, index: u64, mounted: &str, limits: Definition) -> Definition {
    let mut definition = limits;
    definition.kind = match dice.below(10) {
        0 => dice.guid().to_string(),
        1..4 => dice.pick(&PLAIN).to_owned(),
        _ => mounted.to_owned(),
    };
    definition.label = dice.percent(85).then(|| format!("new-{index}"));
    definition.uuid = dice.percent(5).then(|| dice.guid());
    definition.format = dice.percent(3).then(|| dice.pick(&["ext4", "swap"]));
    if definition.format == Some("swap") {
        definition.kind = "swap".to_owned();
        // mkswap wants ten pages.
        definition.size_min = definition.size_min.map(|min| min.max(10 * GRAIN));
        definition.size_max = definition.size_max.map(|max| max.max(10 * GRAIN));
    }
    definition
}

/// A partition that is not what its definition says.
fn mismatch(case: &mut Case, dice: &mut Dice, index: usize, definition: &mut Definition) {
    let other = dice.below(case.partitions.len() as u64) as usize;
    match dice.below(4) {
        0 => case.partitions[index].kind = dice.guid(),
        1 => definition.label = Some("renamed".to_owned()),
        2 => case.partitions[other].label = case.partitions[index].label.clone(),
        _ => case.partitions[other].kind = definition.guid(),
    }
}

fn limits(dice: &mut Dice, share: u64, optional: u64) -> Definition {
    let size_min = match dice.below(10) {
        0..3 => Some(dice.bytes(share)),
        // Where it and the shares of others are close.
        3..5 => Some((share / 2 + dice.below(share / 2)) / GRAIN * GRAIN),
        _ => None,
    };
    let least = size_min.unwrap_or(10 * MIB);
    let above = if dice.percent(95) { least.next_multiple_of(GRAIN) } else { 0 };
    let odd = if dice.percent(15) { dice.below(GRAIN) } else { 0 };
    let size_max = dice.percent(15).then(|| above + dice.bytes(share) + odd);
    let size_max = size_max.filter(|max| *max >= size_min.unwrap_or(0));
    let padding_min = dice.percent(8).then(|| dice.bytes(share / 2));
    let padding_max = dice.percent(6).then(|| padding_min.unwrap_or(0).next_multiple_of(GRAIN) + dice.bytes(share / 2));
    let weight = match dice.below(10) {
        0..4 => None,
        4 => Some(0),
        5..8 => Some(1000 * (1 + dice.below(9) as u32)),
        _ => Some(dice.below(1_000_001) as u32),
    };
    Definition {
        kind: String::new(),
        label: None,
        weight,
        size_min,
        size_max,
        padding_weight: dice.percent(8).then(|| dice.below(4000) as u32),
        padding_min,
        padding_max,
        priority: if dice.percent(optional) { dice.below(5) as i32 - 1 } else { 0 },
        format: None,
        uuid: None,
        flags: dice.percent(3).then(|| dice.pick(&[4, 1 << 59, 1 << 60, 1 << 63, 0xffff << 48])),
        no_auto: flag(dice),
        read_only: flag(dice),
        grow_file_system: flag(dice),
    }
}

fn flag(dice: &mut Dice) -> Option<bool> {
    dice.percent(3).then(|| dice.percent(50))
}

/// Where the disk ends: with what is free behind the last partition, or with just what is needed, or a little more or
/// less.
fn ends(case: &mut Case, dice: &mut Dice, end: u64, free: u64) {
    let is_unaligned = case.partitions.iter().any(|old| old.size % GRAIN > 0);
    let room = if dice.percent(if is_unaligned { 40 } else { 18 }) {
        let whole = |bytes: Option<u64>, default: u64| bytes.unwrap_or(default).next_multiple_of(GRAIN);
        let new = case.definitions.iter().filter(|it| case.partitions.iter().all(|old| old.kind != it.guid()));
        let needed: u64 = new.map(|new| whole(new.size_min, 10 * MIB) + whole(new.padding_min, 0)).sum();
        let more = dice.pick(&[0, 0, case.sector_size, GRAIN, 17 * MIB]);
        let room = if dice.percent(50) { needed + more } else { needed.saturating_sub(more) };
        end.next_multiple_of(GRAIN) - end + room
    } else {
        free / case.sector_size * case.sector_size
    };
    case.disk = end
        + room.max(if case.partitions.is_empty() { 64 << 10 } else { 0 })
        + (1 + case.array_sectors()) * case.sector_size;
    case.image = case.disk;
    if dice.percent(30) {
        case.image = (end + (2 + case.array_sectors()) * case.sector_size).min(case.disk);
    }
}
