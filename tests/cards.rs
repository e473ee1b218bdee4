//! Random cards, as many as one likes: flashed with a smaller image, declared for, planned, and written in memory. None
//! may break a promise; the run prints what became of them, and how much of them stays unused.
//!
//! `MAKEROOM_CARDS=1000000 cargo test --test cards -- --nocapture` is a longer run than the usual one; what a failure
//! prints, `MAKEROOM_SEED=... MAKEROOM_CARDS=1`, brings one card back.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test may panic
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod support;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use makeroom::apply::{carry_out, steps};
use makeroom::config::{Declared, MAX_WEIGHT};
use makeroom::filesystem::Format;
use makeroom::plan::{self, Plan};
use makeroom::table::Layout;
use makeroom::table::copies::Table;
use makeroom::units::{Extent, Guid, KIB, MIB, show_size};
use support::builder::{Builder, mend};
use support::card::Card;
use support::rules::{
    check_answer, check_areas, check_card, check_next_plan, check_plan, own_extents, stray_write, used_areas,
};
use support::signatures::{self, Sample};
use support::{Random, content, decide, declared, guids, linux, to_make};

/// Cards in every run of the tests.
const CARDS: u64 = 20_000;
const SEED: u64 = 0x6d61_6b65_726f_6f6d;
const THREADS: u64 = 2;

#[test]
fn no_random_card_breaks_a_promise() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (cards, seed) = (number("MAKEROOM_CARDS").unwrap_or(CARDS), number("MAKEROOM_SEED").unwrap_or(SEED));
    let started = Instant::now();
    let run = |first: u64| {
        let mut seen = Seen::default();
        (first..cards).step_by(THREADS as usize).for_each(|index| seen.add(seed.wrapping_add(index)));
        seen
    };
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || run(first))).collect();
        threads.into_iter().for_each(|thread| seen.merge(thread.join().unwrap()));
    });
    println!("{cards} cards from seed {seed} in {} s on {THREADS} threads", started.elapsed().as_secs());
    seen.print();
    assert_eq!(seen.violations, 0);
    assert!(cards < CARDS || seen.planned() > cards / 2, "most cards are refused");
}

/// The same cards with what belongs to others on them. Whatever becomes of it, nothing of that changes.
#[test]
fn no_random_card_loses_what_belongs_to_others() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (cards, seed) = (number("MAKEROOM_CARDS").unwrap_or(CARDS), number("MAKEROOM_SEED").unwrap_or(SEED));
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in (0..cards).map(|index| seed.wrapping_add(index)) {
        let case = Case::any(seed);
        let others = Others::any(&mut Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1), &case);
        match catch_unwind(AssertUnwindSafe(|| check_others(&case, &others))) {
            Ok(outcome) => *seen.entry(outcome).or_default() += 1,
            Err(panic) => {
                panic!("MAKEROOM_SEED={seed} MAKEROOM_CARDS=1: {}\n{case:#?}\n{others:#?}", said(panic.as_ref()))
            }
        }
    }
    println!("{cards} cards with what belongs to others: {seen:?}");
    let count = |outcome: &str| seen.get(outcome).copied().unwrap_or(0);
    let all = ["refused", "left alone", "made"].iter().all(|outcome| count(outcome) > cards / 20);
    assert!(cards < CARDS || all, "an outcome is rare");
}

// --- a card ---

/// A card, what was flashed to it, and what is declared.
#[derive(Debug)]
struct Case {
    image: Builder,
    /// Sectors of the card.
    sectors: u64,
    align: Option<u64>,
    erase_size: Option<u64>,
    wishes: Vec<Declared>,
}

impl Case {
    fn any(seed: u64) -> Case {
        // Neighbouring seeds shall have nothing in common.
        let mut random = Random((seed ^ SEED).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let random = &mut random;
        let sector_size = pick(&[512, 512, 512, 4096], random);
        let size = (1024 * MIB) << random.below(11);
        let size = if one_in(random, 8) { 2 * size } else { size + random.below(size) };
        let sectors = size / u64::from(sector_size);
        let image = any_image(random, sector_size, sectors);
        let steps = [4 * KIB, MIB, 4 * MIB, 64 * MIB, 4 * KIB * (1 + random.below(5000))];
        let align = one_in(random, 4).then(|| pick(&steps, random));
        let erase_size = (!one_in(random, 3)).then(|| match random.below(3) {
            0 => (3 * MIB) << random.below(6),
            _ => 512 << random.below(18),
        });
        let count = pick(&[0, 1, 1, 2, 2, 3, 4, 6, 12], random);
        let wishes = (0..count).map(|index| any_wish(random, index, size)).collect();
        Case { image, sectors, align, erase_size, wishes }
    }

    /// The card as it was flashed.
    fn card(&self) -> Card {
        Card { sectors: self.sectors, ..self.image.build() }
    }
}

/// An image with partitions and holes, of any size up to the card's.
fn any_image(random: &mut Random, sector_size: u32, card: u64) -> Builder {
    let usual = Builder::new(sector_size, 1);
    let per_mib = MIB / u64::from(sector_size);
    let entries = pick(&[128, 128, 128, 4, 8, 16, 130, 256], random);
    let array_sectors = Builder { entries, ..usual.clone() }.array_sectors();
    let array_lba = 2 + if one_in(random, 4) { random.below(30) } else { 0 };
    let earliest = array_lba + array_sectors;
    let first_usable = pick(&[earliest, earliest.max(per_mib), earliest + random.below(4 * per_mib)], random);
    let spare_at_end = pick(&[0, 0, 0, random.below(500), random.below(64 * per_mib)], random);
    let behind = spare_at_end + array_sectors + 2;
    let end = card - behind;
    let partitions = any_partitions(random, entries.min(255), first_usable, end, per_mib);
    let smallest = partitions.iter().map(|(_, _, last, _)| *last).max().unwrap_or(first_usable) + behind;
    let sectors = pick(&[smallest, smallest, card, smallest + random.below(card - smallest + 1)], random);
    let (backup_array_behind_usable, hybrid_mbr) = (one_in(random, 8), one_in(random, 16));
    Builder {
        sectors,
        entries,
        array_lba,
        first_usable,
        spare_at_end,
        backup_array_behind_usable,
        partitions,
        hybrid_mbr,
        ..usual
    }
}

fn any_partitions(
    random: &mut Random,
    slots: u32,
    first: u64,
    end: u64,
    per_mib: u64,
) -> Vec<(u32, u64, u64, &'static str)> {
    const LABELS: [&str; 7] = ["boot", "nix-store_v0", "_empty", "home", "data", "var", "recovery"];
    let mut numbers: Vec<u32> = (1..=slots).collect();
    let room = end - first;
    let leading = magnitude(random, room / 16);
    let mut at = first + pick(&[0, 0, per_mib, 16 * per_mib, leading], random);
    let mut partitions = Vec::new();
    let in_order = !one_in(random, 3);
    for index in 0..random.below(LABELS.len() as u64 + 1).min(u64::from(slots)) {
        let hole = magnitude(random, room / 2);
        at += pick(&[0, 0, 0, random.below(2048), hole], random);
        at = if one_in(random, 4) { at } else { at.next_multiple_of(per_mib) };
        let most = if one_in(random, 32) { room } else { room / 8 };
        let last = at + magnitude(random, most);
        if last > end {
            break;
        }
        let number = numbers.remove(if in_order { 0 } else { random.below(numbers.len() as u64) as usize });
        let label = if one_in(random, 64) { "home" } else { LABELS[index as usize] };
        partitions.push((number, at, last, label));
        at = last + 1;
    }
    partitions
}

fn any_wish(random: &mut Random, index: usize, size: u64) -> Declared {
    const LABELS: [&str; 12] =
        ["root", "home", "var", "srv", "swap", "log", "cache", "media", "backup", "tmp", "scratch", "usr"];
    use Format::{Btrfs, Ext4, F2fs, Swap, Vfat, Xfs};
    let format = pick(&[None, Some(Ext4), Some(Xfs), Some(Btrfs), Some(F2fs), Some(Vfat), Some(Swap)], random);
    let floor = format.map_or(1, Format::minimum);
    let [small, large, huge] = [size / 256, size / 4, size].map(|most| magnitude(random, most));
    let size_min = pick(&[1, 10 * MIB, 10 * MIB, small, large, huge, random.below(size)], random);
    let size_min = size_min.max(floor);
    let any_weight = random.below(u64::from(MAX_WEIGHT) + 1) as u32;
    let spans = [magnitude(random, size), 64 * MIB + random.below(size), 64 * MIB + random.below(size / 16)];
    Declared {
        content: format.and_then(|format| content(format, LABELS[index])),
        weight: pick(&[0, 1, 1000, 1000, any_weight, any_weight], random),
        size_min,
        size_max: pick(&[None, None, None, Some(size_min + pick(&spans, random))], random),
        priority: pick(&[0, 0, 0, -1, 1, 2, 3], random),
        // The builder's, or another than a partition of this name has.
        partition_type: pick(&[Guid::from_disk(*b"some type GUID.."), declared("any").partition_type], random),
        grow: !one_in(random, 4),
        ..declared(LABELS[index])
    }
}

fn pick<T: Copy>(from: &[T], random: &mut Random) -> T {
    from[random.below(from.len() as u64) as usize]
}

fn one_in(random: &mut Random, count: u64) -> bool {
    random.below(count) == 0
}

/// From 0 to `most`, small ones as often as large ones.
fn magnitude(random: &mut Random, most: u64) -> u64 {
    let bits = random.below(u64::from(most.max(1).ilog2()) + 2);
    random.below(1 << bits).min(most)
}

// --- what belongs to others ---

/// What is on a card beside its own table.
#[derive(Debug, Default)]
struct Others {
    /// A format's metadata at the end of the card: its name and its bytes by place.
    at_end: Option<Sample>,
    /// The same at the end of the partition with this index.
    in_partition: Option<(usize, Sample)>,
    /// Partitions, by index, that the table has as read-only.
    read_only: Vec<usize>,
    /// A partition of the MBR: first sector and length.
    record: Option<(u32, u32)>,
    /// The table of an earlier life, of the whole card; and whether the image's primary header is lost.
    earlier: Option<Builder>,
    is_damaged: bool,
}

impl Others {
    fn any(random: &mut Random, case: &Case) -> Others {
        let sector_size = u64::from(case.image.sector_size);
        let mut others = Others::default();
        let partitions = &case.image.partitions;
        let pick_one = |random: &mut Random, mut samples: Vec<Sample>| {
            samples.swap_remove(random.below(samples.len() as u64) as usize)
        };
        if one_in(random, 3) {
            let samples = signatures::at_end(case.sectors * sector_size, case.image.sector_size);
            others.at_end = Some(pick_one(random, samples));
        }
        if !partitions.is_empty() {
            let any = random.below(partitions.len() as u64) as usize;
            let (_, first, last, _) = partitions[any];
            let size = (last + 1 - first) * sector_size;
            if one_in(random, 2) && size >= 4 * MIB {
                let samples = signatures::at_end(size, case.image.sector_size);
                others.in_partition = Some((any, pick_one(random, samples)));
            }
            others.read_only = (0..partitions.len()).filter(|_| one_in(random, 4)).collect();
        }
        let end = case.sectors.min(u64::from(u32::MAX));
        if one_in(random, 3) {
            let first = 1 + random.below(end - 1);
            let length = 1 + magnitude(random, end - first);
            others.record = Some((first as u32, length as u32));
        }
        if one_in(random, 4) {
            let partitions = vec![(9, 2048, 6143, "photos")];
            let disk_guid = *b"an earlier disk.";
            let usual = Builder::new(case.image.sector_size, 1);
            others.earlier = Some(Builder { sectors: case.sectors, partitions, disk_guid, ..usual });
        }
        // An empty table with a hybrid MBR leaves nothing that speaks against the one of an earlier life.
        others.is_damaged = one_in(random, 8) && !(case.image.hybrid_mbr && partitions.is_empty());
        others
    }

    /// The card with all of it, and the extents that belong to others.
    fn put_on(&self, case: &Case) -> (Card, Vec<Extent>) {
        let (mut card, mut owned) = (case.card(), Vec::new());
        let sector_size = u64::from(card.sector_size);
        if let Some(earlier) = self.earlier.as_ref().filter(|_| case.image.sectors + 40 < case.sectors) {
            let earlier = earlier.build();
            let backup = earlier.content.range(case.sectors - 33..);
            backup.for_each(|(lba, sector)| card.put(*lba, sector));
        }
        if let Some((index, (_, pieces))) = &self.in_partition {
            let (_, first, last, _) = case.image.partitions[*index];
            let extent = Extent { start: first * sector_size, size: (last + 1 - first) * sector_size };
            pieces.iter().for_each(|(at, bytes)| card.put_bytes(extent.start + at, bytes));
            owned.push(extent);
        }
        for index in &self.read_only {
            let (number, first, last, _) = case.image.partitions[*index];
            set_read_only(&mut card, &case.image, number);
            owned.push(Extent { start: first * sector_size, size: (last + 1 - first) * sector_size });
        }
        if let Some((first, length)) = self.record {
            let mut mbr = card.sector(0);
            mbr[478 + 4] = 0x83;
            mbr[478 + 8..478 + 12].copy_from_slice(&first.to_le_bytes());
            mbr[478 + 12..478 + 16].copy_from_slice(&length.to_le_bytes());
            card.put(0, &mbr);
            owned.push(Extent { start: u64::from(first) * sector_size, size: u64::from(length) * sector_size });
        }
        if let Some((_, pieces)) = &self.at_end {
            for (at, bytes) in pieces.iter().filter(|(at, _)| *at / sector_size >= case.image.sectors) {
                card.put_bytes(*at, bytes);
                owned.push(Extent { start: *at, size: bytes.len() as u64 });
            }
        }
        if self.is_damaged {
            card.put(1, &vec![0; sector_size as usize]);
        }
        (card, owned)
    }
}

/// Sets attribute bit 60 of a partition in both copies.
fn set_read_only(card: &mut Card, image: &Builder, number: u32) {
    for header in [1, image.sectors - 1] {
        let array = u64::from_le_bytes(card.sector(header)[72..80].try_into().unwrap());
        let at = array * u64::from(card.sector_size) + (u64::from(number) - 1) * 128 + 55;
        let byte = card.sector(at / u64::from(card.sector_size))[(at % u64::from(card.sector_size)) as usize];
        card.put_bytes(at, &[byte | 0x10]);
    }
    [1, image.sectors - 1].into_iter().for_each(|lba| mend(card, lba));
}

/// What became of it, in a word.
fn check_others(case: &Case, others: &Others) -> &'static str {
    let (mut card, owned) = others.put_on(case);
    let before = card.clone();
    let alignment = case.align.unwrap_or(MIB);
    let Ok((table, plan, steps)) = decide(&mut card, &case.wishes, alignment) else {
        assert!(!card.was_written());
        return "refused";
    };
    // Of two tables it is the image's.
    assert_eq!(table.disk_guid().to_disk(), case.image.disk_guid);
    check_plan(&case.wishes, &table.layout(), &plan);
    carry_out(&mut card, &steps, &to_make(&plan), &[], &mut Vec::new()).unwrap();
    // The table's own sectors may be in a record of the MBR that covers the whole disk.
    let size = u64::from(card.sector_size);
    let own = [Extent { start: 0, size: table.source.header.first_usable_lba() * size }];
    for (lba, sector) in card.events.iter().filter_map(|event| event.write()) {
        let place = Extent { start: lba * size, size };
        let is_theirs = owned.iter().any(|extent| extent.overlaps(&place)) && !own[0].overlaps(&place);
        let had = before.sector(*lba);
        // A record of the MBR may cover the table's own end.
        let is_table = lba >= &table.end.partition_entry_lba && table.foreign_end.is_none();
        assert!(!is_theirs || is_table || had == *sector || table.stale_backups.contains(lba), "LBA {lba}: {sector:?}");
    }
    if card.events.is_empty() {
        return "left alone";
    }
    let (_, _, next) = decide(&mut card, &case.wishes, alignment).unwrap();
    assert!(next.is_empty(), "a second run would write: {next:?}");
    "made"
}

// --- what becomes of it ---

/// Everything that is promised of a plan, and of the card that it is written to. Gives the layout and the plan, or the
/// name of the refusal.
fn check(case: &Case) -> Result<(Layout, Plan), String> {
    let mut card = case.card();
    let before = card.clone();
    let table = Table::read(&mut card).unwrap();
    let layout = table.layout();
    let alignment = plan::alignment(case.align, case.erase_size, &layout);
    let answer = plan::plan(&case.wishes, &layout, alignment, &mut guids);
    check_answer(&case.wishes, &layout, alignment, &answer);
    let plan = answer.map_err(|reason| name(&format!("{reason:?}")))?;
    check_plan(&case.wishes, &layout, &plan);
    check_next_plan(&case.wishes, &layout, &plan);
    check_areas(&case.wishes, &layout, &plan);
    let made = to_make(&plan);
    carry_out(&mut card, &steps(&table, &plan), &made, &[], &mut Vec::new()).unwrap();
    check_card(&linux::partitions(&before).unwrap(), &card, &plan);
    assert_eq!(stray_write(&card, &before, &own_extents(&plan), &card.events), None);
    let (_, _, next) = decide(&mut card, &case.wishes, alignment).unwrap();
    assert!(next.is_empty(), "a second run would write: {next:?}");
    Ok((layout, plan))
}

/// The variant of an enum that its debug form begins with.
fn name(debug: &str) -> String {
    debug.chars().take_while(char::is_ascii_alphanumeric).collect()
}

#[derive(Default)]
struct Seen {
    made: u64,
    complete: u64,
    refused: BTreeMap<String, u64>,
    violations: u64,
    /// Areas in which every new partition has its maximum: what is left is nobody's.
    at_limits: u64,
    unused: Vec<Unused>,
}

/// What stays free of an area whose partitions may be larger.
struct Unused {
    /// Whether somebody has chosen the alignment; makeroom's own is small against the area.
    is_aligned_by_hand: bool,
    bytes: u64,
    /// Of the area.
    fraction: f64,
    steps: f64,
    steps_per_partition: f64,
}

impl Seen {
    fn add(&mut self, seed: u64) {
        let case = Case::any(seed);
        match catch_unwind(AssertUnwindSafe(|| check(&case))) {
            Ok(Ok((_, plan))) if plan.is_empty() => self.complete += 1,
            Ok(Ok((layout, plan))) => {
                self.made += 1;
                self.measure(&case, &layout, &plan);
            }
            Ok(Err(reason)) => *self.refused.entry(reason).or_default() += 1,
            Err(panic) => {
                self.violations += 1;
                // After a few, more do not help.
                if self.violations <= 3 {
                    eprintln!("MAKEROOM_SEED={seed} MAKEROOM_CARDS=1: {}\n{case:#?}", said(panic.as_ref()));
                }
            }
        }
    }

    fn measure(&mut self, case: &Case, layout: &Layout, plan: &Plan) {
        for used in used_areas(&case.wishes, layout, plan) {
            if used.is_at_its_limits(plan.alignment) {
                self.at_limits += 1;
                continue;
            }
            let bytes = used.unused();
            let steps = bytes as f64 / plan.alignment as f64;
            let fraction = bytes as f64 / used.gap.size as f64;
            let (is_aligned_by_hand, steps_per_partition) = (case.align.is_some(), steps / used.new.len() as f64);
            self.unused.push(Unused { is_aligned_by_hand, bytes, fraction, steps, steps_per_partition });
        }
    }

    fn merge(&mut self, other: Seen) {
        self.made += other.made;
        self.complete += other.complete;
        self.violations += other.violations;
        self.at_limits += other.at_limits;
        self.unused.extend(other.unused);
        other.refused.into_iter().for_each(|(reason, count)| *self.refused.entry(reason).or_default() += count);
    }

    fn planned(&self) -> u64 {
        self.made + self.complete
    }

    fn print(&self) {
        println!("planned {}, of which nothing is to be made on {}", self.planned(), self.complete);
        self.refused.iter().for_each(|(reason, count)| println!("refused {count}: {reason}"));
        println!("violated properties: {}", self.violations);
        println!(
            "areas in use: {}, all at their maximum in {}",
            self.unused.len() as u64 + self.at_limits,
            self.at_limits
        );
        self.print_unused("makeroom's own alignment", false);
        self.print_unused("--align", true);
    }

    fn print_unused(&self, alignment: &str, is_aligned_by_hand: bool) {
        let unused: Vec<&Unused> =
            self.unused.iter().filter(|it| it.is_aligned_by_hand == is_aligned_by_hand).collect();
        println!("free in the {} others with {alignment}:", unused.len());
        println!("  {:24}{:>12}{:>12}{:>12}{:>12}", "", "p50", "p90", "p99", "max");
        let row = |what: &str, of: fn(&Unused) -> f64, show: fn(f64) -> String| {
            let mut values: Vec<f64> = unused.iter().map(|unused| of(unused)).collect();
            values.sort_by(f64::total_cmp);
            let at = |part: usize| values.get((values.len() * part / 1000).min(values.len().saturating_sub(1)));
            let cells = [500, 900, 990, 1000].map(|part| at(part).map_or(String::new(), |value| show(*value)));
            println!("  {what:24}{:>12}{:>12}{:>12}{:>12}", cells[0], cells[1], cells[2], cells[3]);
        };
        row("bytes", |unused| unused.bytes as f64, |bytes| show_size(bytes as u64));
        row("of the area", |unused| unused.fraction, |fraction| format!("{:.4} %", fraction * 100.0));
        row("alignment steps", |unused| unused.steps, |steps| format!("{steps:.3}"));
        row("steps per new partition", |unused| unused.steps_per_partition, |steps| format!("{steps:.3}"));
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
