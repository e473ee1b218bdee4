//! Cards with any table: a usual card, and changes to it. The CRCs are mended after them, so that what the fields say
//! is reached; damage comes after that.

use makeroom::apply::{self, Error};
use makeroom::config::Declared;
use makeroom::disk::NewPartition;
use makeroom::honesty;
use makeroom::plan::Plan;
use makeroom::report::Report;
use makeroom::table::Layout;
use makeroom::table::copies::Table;
use makeroom::units::{Extent, KIB, MIB};

use super::Input;
use crate::support::builder::{Builder, mend};
use crate::support::card::{Card, Event, file_system_is_whole};
use crate::support::linux::{self, Seen};
use crate::support::rules::{check_card, check_plan, own_extents, stray_write};
use crate::support::{decide, declared, removed, signatures, to_make};

/// A table is refused and nothing is written, or it is extended as promised, also when the power fails meanwhile.
pub fn table(data: &[u8]) {
    let mut input = Input(data);
    let wishes = wishes(&mut input);
    let alignment = input.pick(&[4 * KIB, MIB, 64 * MIB]);
    let cut = Cut { after: usize::from(input.byte()), kept: u64::from(input.u16()), grown_by: u64::from(input.u16()) };
    let mut card = card(&mut input);
    let before = card.clone();
    check_what_linux_shows(&mut card);
    let Ok((table, plan, steps)) = decide(&mut card, &wishes, alignment) else {
        assert!(!card.was_written());
        return;
    };
    let layout = table.layout();
    check_layout(&table, &layout, &card);
    check_plan(&wishes, &layout, &plan);
    check_report(&table, &plan, &card);
    if let Some(end) = &table.foreign_end {
        // Nothing but a refusal or a warning comes of it, and something is there indeed.
        assert!(plan.is_empty() && steps.is_empty(), "{plan:?}");
        let size = u64::from(card.sector_size);
        let is_something = card.sector(end.at / size).iter().any(|byte| *byte != 0) || end.what.contains("hybrid MBR");
        assert!(end.at < card.sectors * size && is_something, "{end:?}");
        return;
    }
    let was_readable = card.unreadable.take().is_none();
    let made = to_make(&plan);
    match apply::carry_out(&mut card, &steps, &made, &removed(&plan), &mut Vec::new()) {
        Err(Error::Probe(honesty::Error::WrapsAround { .. })) if looks_wrapped(&before) => {
            assert!(!card.was_written());
            return;
        }
        done => done.unwrap(),
    }
    let old = linux::gpt(&before, table.source.header.my_lba()).unwrap().partitions;
    check_card(&old, &card, &plan);
    assert_eq!(stray_write(&card, &before, &own_extents(&plan), &card.events), None);
    let next = decide(&mut card.clone(), &wishes, alignment).unwrap().2;
    // What could not be read before may be an old backup header, which is cleared now.
    assert!(next.is_empty() || !was_readable, "a second run would write: {next:?}");
    cut.check(&Run { before: &before, after: &card, old: &old, made: &made, wishes: &wishes, alignment });
}

/// Whether its start is copied to where a card that wraps around would show it, and no more is to be seen by reading.
fn looks_wrapped(card: &Card) -> bool {
    let distances = std::iter::successors(Some(1 << 13), |distance| Some(distance * 2));
    let is_start = |distance: u64| (0..34).all(|lba| card.sector(lba) == card.sector(distance + lba));
    distances.take_while(|distance| distance + 34 <= card.sectors).any(is_start)
}

fn wishes(input: &mut Input) -> Vec<Declared> {
    let count = usize::from(input.byte() % 4);
    let wish = |label: &&str| Declared {
        size_min: 1 + input.magnitude(40),
        weight: u32::from(input.u16()),
        priority: i32::from(input.byte().cast_signed()),
        ..declared(label)
    };
    ["root", "boot", "var"].iter().take(count).map(wish).collect()
}

fn card(input: &mut Input) -> Card {
    let usual = Builder::new(input.pick(&[512, 4096]), 5 + u64::from(input.byte()));
    let builder = Builder {
        entries: input.pick(&[16, 128, 4, 130, 256]),
        array_lba: 2 + u64::from(input.byte()),
        first_usable: input.pick(&[usual.first_usable, 34, 6, 200]),
        spare_at_end: u64::from(input.byte()),
        backup_array_behind_usable: input.flag(),
        hybrid_mbr: input.flag(),
        user_data: false,
        ..usual
    };
    let mut card = builder.build();
    let mut damages = Vec::new();
    // More than any bug needs, and not so many that the fuzzer wastes its time.
    const CHANGES: usize = 40;
    for _ in 0..CHANGES {
        if !input.is_empty() {
            damages.extend(Change::take(input, &builder, card.sectors).make(&mut card));
        }
    }
    for lba in [1, builder.sectors - 1, card.sectors.saturating_sub(1)] {
        mend(&mut card, lba);
    }
    for (lba, at, value) in damages {
        put_byte(&mut card, lba, at, value);
    }
    card
}

/// One change to a card.
enum Change {
    /// A header's field: its offset and length, and whether the primary has it, the backup, or both.
    Field {
        at: usize,
        length: usize,
        value: u64,
        copies: u8,
    },
    /// An entry, in the primary, the backup or both.
    Entry {
        slot: u8,
        first: u64,
        last: u64,
        label: &'static str,
        copies: u8,
    },
    Byte {
        lba: u64,
        at: u16,
        value: u8,
    },
    /// A byte, after the CRCs were mended.
    Damage {
        lba: u64,
        at: u16,
        value: u8,
    },
    Copy {
        from: u64,
        to: u64,
        count: u8,
    },
    Fill {
        from: u64,
        count: u8,
        value: u8,
    },
    /// What other software keeps at the end of the card, or of the partition in a slot.
    Metadata {
        sample: u8,
        slot: Option<u8>,
    },
    /// A partition that only the MBR has.
    Record {
        slot: u8,
        kind: u8,
        first: u32,
        sectors: u32,
    },
    /// A header where one would be in sectors of the other size.
    OtherSectors,
    /// Another number of sectors.
    Size(u64),
    /// A sector that cannot be read, after so many reads.
    Unreadable(u64, u8),
}

/// A header's fields (UEFI 5.3.2): offset and length.
const FIELDS: [(usize, usize); 12] =
    [(12, 4), (24, 8), (32, 8), (40, 8), (48, 8), (56, 8), (72, 8), (80, 4), (84, 4), (92, 8), (496, 8), (504, 8)];

impl Change {
    fn take(input: &mut Input, builder: &Builder, sectors: u64) -> Change {
        let landmarks = landmarks(builder, sectors);
        let number = |input: &mut Input| input.number(&landmarks);
        let kind = input.byte();
        match kind {
            0xf0..=0xf3 => return Change::Metadata { sample: input.byte(), slot: None },
            0xf4..=0xf7 => return Change::Metadata { sample: input.byte(), slot: Some(input.byte()) },
            0xf8..=0xfb => {
                let (first, sectors) = (number(input), number(input));
                let (slot, kind) = (input.byte(), input.byte());
                let field = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
                return Change::Record { slot, kind, first: field(first), sectors: field(sectors) };
            }
            0xfc => return Change::OtherSectors,
            _ => {}
        }
        match kind % 8 {
            0 => {
                let (at, length) = input.pick(&FIELDS);
                Change::Field { at, length, value: number(input), copies: input.byte() }
            }
            1 => Change::Entry {
                slot: input.byte(),
                first: number(input),
                last: number(input),
                label: input.pick(&["data", "root", "boot", "var", "\u{202e}\u{1b}[2J", ""]),
                copies: input.byte(),
            },
            2 => Change::Byte { lba: number(input), at: input.u16(), value: input.byte() },
            3 => Change::Damage { lba: number(input), at: input.u16(), value: input.byte() },
            4 => Change::Copy { from: number(input), to: number(input), count: input.byte() },
            5 => Change::Fill { from: number(input), count: input.byte(), value: input.byte() },
            6 => Change::Size(number(input)),
            _ => Change::Unreadable(number(input), input.byte()),
        }
    }

    /// Makes it; gives what has to wait until the CRCs are mended.
    fn make(self, card: &mut Card) -> Option<(u64, u16, u8)> {
        let end = card.sectors.saturating_sub(1);
        let headers = |copies: u8| [1, end].into_iter().zip([copies != 1, copies != 2]).filter(|(_, own)| *own);
        match self {
            Change::Field { at, length, value, copies } => {
                for (lba, _) in headers(copies) {
                    put(card, lba, at, &value.to_le_bytes()[..length]);
                }
            }
            Change::Entry { slot, first, last, label, copies } => {
                for (lba, _) in headers(copies) {
                    put_entry(card, lba, slot, &entry(slot, first, last, label));
                }
            }
            Change::Byte { lba, at, value } => put_byte(card, lba, at, value),
            Change::Damage { lba, at, value } => return Some((lba, at, value)),
            Change::Copy { from, to, count } => {
                let sectors: Vec<_> = run(card, from, count).map(|lba| card.sector(lba)).collect();
                run(card, to, count).zip(sectors).for_each(|(lba, sector)| card.put(lba, &sector));
            }
            Change::Fill { from, count, value } => {
                let sector = vec![value; card.sector_size as usize];
                run(card, from, count).for_each(|lba| card.put(lba, &sector));
            }
            Change::Metadata { sample, slot } => put_metadata(card, sample, slot),
            Change::Record { slot, kind, first, sectors } => {
                let at = 462 + usize::from(slot % 3) * 16;
                put(card, 0, at + 4, &[kind]);
                put(card, 0, at + 8, &[first.to_le_bytes(), sectors.to_le_bytes()].concat());
            }
            Change::OtherSectors => {
                let other = if card.sector_size == 512 { 4096 } else { 512 };
                let header = Builder::new(other, 8).build().sector(1);
                card.put_bytes(u64::from(other), &header);
            }
            Change::Size(sectors) => card.sectors = sectors.clamp(1, u64::MAX / u64::from(card.sector_size)),
            Change::Unreadable(lba, reads) => card.unreadable = Some((lba, reads.into())),
        }
        None
    }
}

/// Numbers that matter to a table.
fn landmarks(builder: &Builder, sectors: u64) -> Vec<u64> {
    let ends = builder.partitions.iter().flat_map(|(_, first, last, _)| [*first, *last]);
    let own = [0, builder.array_lba, builder.first_usable, builder.sectors, builder.sectors - builder.array_sectors()];
    let spared = builder.sectors - builder.spare_at_end;
    let others = [spared, sectors, 92, 128, 255, 1 << 13, 1 << 32, i64::MAX as u64, u64::MAX];
    own.into_iter().chain(others).chain(ends).collect()
}

/// At most `count` sectors of a card from `from` on.
fn run(card: &Card, from: u64, count: u8) -> std::ops::Range<u64> {
    from.min(card.sectors)..from.saturating_add(u64::from(count)).min(card.sectors)
}

/// Bytes in a sector, where both are there.
fn put(card: &mut Card, lba: u64, at: usize, bytes: &[u8]) {
    if lba < card.sectors {
        let mut sector = card.sector(lba);
        let at = at.min(sector.len() - bytes.len());
        sector[at..at + bytes.len()].copy_from_slice(bytes);
        card.put(lba, &sector);
    }
}

fn put_byte(card: &mut Card, lba: u64, at: u16, value: u8) {
    put(card, lba, usize::from(at), &[value]);
}

/// A sample of `signatures`, where the device is large enough for all of them.
fn put_metadata(card: &mut Card, sample: u8, slot: Option<u8>) {
    const LEAST: u64 = 4 * MIB;
    const MOST: u64 = 1 << 50;
    let size = u64::from(card.sector_size);
    let shown = linux::partitions(card).unwrap_or_default();
    let (first, end) = match slot.map(|slot| shown.get(usize::from(slot))) {
        None => (0, card.sectors),
        Some(Some(seen)) if seen.first <= seen.last => (seen.first, seen.last + 1),
        Some(_) => return,
    };
    let bytes = end.saturating_sub(first).saturating_mul(size);
    if (LEAST..MOST).contains(&bytes) {
        let samples = signatures::at_end(bytes, card.sector_size);
        let (_, pieces) = &samples[usize::from(sample) % samples.len()];
        pieces.iter().for_each(|(at, bytes)| card.put_bytes(first * size + at, bytes));
    }
}

/// An entry of the array that the header at `lba` names.
fn put_entry(card: &mut Card, lba: u64, slot: u8, entry: &[u8; 128]) {
    let per_sector = u64::from(card.sector_size) / 128;
    let (sector, index) = (u64::from(slot) / per_sector, u64::from(slot) % per_sector);
    let array_lba = u64::from_le_bytes(card.sector(lba)[72..80].try_into().unwrap());
    if let Some(lba) = array_lba.checked_add(sector) {
        put(card, lba, index as usize * 128, entry);
    }
}

fn entry(slot: u8, first: u64, last: u64, label: &str) -> [u8; 128] {
    let mut entry = [0; 128];
    entry[..16].copy_from_slice(b"some type GUID..");
    entry[16..32].copy_from_slice(&[slot; 16]);
    entry[32..40].copy_from_slice(&first.to_le_bytes());
    entry[40..48].copy_from_slice(&last.to_le_bytes());
    entry[48..56].copy_from_slice(&0x8001_0000_0000_0004u64.to_le_bytes());
    for (unit, char) in entry[56..].chunks_mut(2).zip(label.encode_utf16()) {
        unit.copy_from_slice(&char.to_le_bytes());
    }
    entry
}

/// What is taken for shown by Linux is what its rules say.
fn check_what_linux_shows(card: &mut Card) {
    // Linux takes arrays of more than 1 MiB, too.
    let Some(seen) = Table::seen_by_linux(card) else { return };
    let rules = linux::partitions(card).expect("Linux shows none");
    let size = u64::from(card.sector_size);
    let places = rules.iter().filter(|partition| partition.first <= partition.last);
    let mut places: Vec<_> = places.map(|p| (p.number, p.first * size, (p.last - p.first + 1) * size)).collect();
    let mut ours: Vec<_> = seen.iter().map(|p| (p.number, p.extent.start, p.extent.size)).collect();
    places.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, places);
}

/// An accepted table: its partitions are on the disk, apart from each other and from both copies of the table.
fn check_layout(table: &Table, layout: &Layout, card: &Card) {
    let size = u64::from(card.sector_size);
    let disk = Extent { start: 0, size: card.sectors * size };
    assert!(layout.usable.size > 0 && layout.usable.end() <= disk.end());
    let array = table.source.array.len() as u64;
    let own = [
        Extent { start: 0, size: 2 * size },
        Extent { start: table.home * size, size: array },
        Extent { start: table.end.partition_entry_lba * size, size: array },
        Extent { start: table.end.alternate_lba * size, size },
    ];
    for pair in layout.partitions.windows(2) {
        assert!(pair[0].extent.end() <= pair[1].extent.start, "{pair:?}");
    }
    for extent in layout.partitions.iter().map(|partition| partition.extent).chain([layout.usable]) {
        assert!(extent.size > 0 && extent.end() <= disk.end(), "{extent:?}");
        assert!(!own.iter().any(|own| own.overlaps(&extent)), "{extent:?} is on the table: {own:?}");
    }
    assert!(own.iter().enumerate().all(|(at, a)| own[..at].iter().all(|b| !a.overlaps(b))), "{own:?}");
}

/// Nothing that acts on a terminal is shown, whatever a table has for names.
fn check_report(table: &Table, plan: &Plan, card: &Card) {
    let mut report = Report::default();
    report.read(table, card);
    report.planned(plan, card);
    let text = report.text(false) + &report.text(true) + &report.intention() + &table.repairs().concat();
    assert!(!text.contains(|char: char| char.is_control() && char != '\n'), "{text:?}");
    serde_json::from_str::<serde_json::Value>(&report.json()).unwrap();
}

/// Whether the primary has used entries that Linux does not show.
fn has_ignored_entries(card: &Card) -> bool {
    linux::gpt(card, 1).is_ok_and(|gpt| {
        let used = gpt.array.chunks(128).filter(|entry| entry[..16] != [0; 16]).count();
        used > gpt.partitions.len()
    })
}

/// Where the power fails.
struct Cut {
    /// After so many writes and flushes.
    after: usize,
    /// Which of the writes since the last flush are on the card, by bits.
    kept: u64,
    /// How many sectors the card has more when the next run sees it.
    grown_by: u64,
}

/// A run that was not cut.
struct Run<'a> {
    before: &'a Card,
    after: &'a Card,
    old: &'a [Seen],
    made: &'a [NewPartition],
    wishes: &'a [Declared],
    alignment: u64,
}

impl Cut {
    /// Linux sees the old or the new table, and the next run ends as the one that was not cut.
    fn check(&self, run: &Run) {
        let mut card = self.card(run);
        let whole = |card: &Card| run.made.iter().all(|new| file_system_is_whole(card, new.extent));
        let new = linux::partitions(run.after).unwrap();
        match linux::partitions(&card) {
            Ok(seen) => assert!(seen == run.old || seen == new && whole(&card), "neither old nor new: {seen:?}"),
            Err(why) => assert!(linux::partitions(run.before).is_err(), "{why}"),
        }
        // Without a primary, nobody knows any more where the backup of a card that grows is; and one that names an end
        // behind the card may name one on it when it has grown, and spare what is before that.
        let own_end = u64::from_le_bytes(run.before.sector(1)[32..40].try_into().unwrap());
        let grows = self.grown_by > 0 && linux::partitions(run.before).is_ok() && own_end < run.before.sectors;
        if grows {
            card.sectors = card.sectors.saturating_add(self.grown_by).min(u64::MAX / u64::from(card.sector_size));
        }
        // Perhaps only now: what was mended may be what the copy has.
        if looks_wrapped(&card) {
            return;
        }
        let (table, plan, steps) = match decide(&mut card, run.wishes, run.alignment) {
            // An entry, or a record of a hybrid MBR, that was behind the card may be on it when that has grown.
            Err(why) if grows && (has_ignored_entries(run.before) || why.contains("hybrid MBR")) => return,
            decided => decided.unwrap(),
        };
        if let Some(end) = &table.foreign_end {
            // What was behind the end of the card may be at its end when that has grown: bytes, or a hybrid MBR's partition.
            // And a signature may have been a part of a backup that was valid, and is torn now.
            let lba = end.at / u64::from(card.sector_size);
            let was_there = grows && end.what.contains("hybrid MBR") || card.sector(lba) == run.before.sector(lba);
            assert!(was_there, "what a run left is taken for something else: {end:?}");
            return;
        }
        apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).unwrap();
        let seen = linux::partitions(&card).unwrap();
        if grows {
            let is_there = |old: &Seen| seen.iter().any(|seen| *seen == old.up_to(seen.last) && seen.last >= old.last);
            assert!(run.old.iter().all(is_there) && seen.len() >= new.len(), "{seen:?}");
        } else {
            assert!(seen == new && whole(&card), "{seen:?}");
        }
        assert_eq!(linux::gpt(&card, card.sectors - 1).unwrap().partitions, seen);
        let (_, again, next) = decide(&mut card, run.wishes, run.alignment).unwrap();
        assert!(next.is_empty(), "a third run would write: {next:?} for {again:?} after {plan:?}");
    }

    /// What the power cut leaves.
    fn card(&self, run: &Run) -> Card {
        let mut card = Card { unreadable: None, ..run.before.clone() };
        let done = &run.after.events[..self.after.min(run.after.events.len())];
        let flushed = done.iter().rposition(|event| *event == Event::Flush).unwrap_or(0);
        for (at, event) in done.iter().enumerate() {
            if let Event::Write(lba, sector) = event
                && (at < flushed || self.kept >> (at % 16) & 1 == 1)
            {
                card.put(*lba, sector);
            }
        }
        card
    }
}
