//! The cards that the power is cut of.

use makeroom::apply::Step;
use makeroom::config::Declared;
use makeroom::plan::{self, Plan};
use makeroom::units::{Guid, KIB, MIB};

use crate::support::builder::{Builder, PARTITION_TYPE, mend};
use crate::support::card::Card;
use crate::support::{decide_by, declared, linux};

/// A card as it comes to makeroom, and what is damaged about it.
pub struct Situation {
    pub name: String,
    pub card: Card,
    /// Where the only valid copy is, when it is not the primary.
    pub valid_backup: Option<u64>,
    /// First LBA of the primary array, where it has to be in the end, too.
    pub home: u64,
    pub wishes: Vec<Declared>,
    /// Whether a factory reset is asked for, also of the runs after a cut.
    pub reset: bool,
}

impl Situation {
    fn wants(self, wishes: Vec<Declared>) -> Situation {
        Situation { wishes, ..self }
    }

    pub fn decide(&self, card: &mut Card) -> Result<(Plan, Vec<Step>), String> {
        let plan = if self.reset { plan::plan_reset } else { plan::plan };
        let (_, plan, steps) = decide_by(plan, card, &self.wishes, ALIGNMENT)?;
        Ok((plan, steps))
    }
}

/// All situations that a card can be in when makeroom first sees it.
pub fn situations() -> Vec<Situation> {
    let usual = Builder::new(512, 16);
    let sectors_4096 = Builder::new(4096, 16);
    let four = Builder { entries: 4, partitions: usual.partitions[..2].to_vec(), ..usual.clone() };
    let many = Builder { entries: 256, ..usual.clone() };
    let at_20 = Builder { array_lba: 20, ..usual.clone() };
    let small = Builder { spare_at_end: 100, ..usual.clone() };
    let behind = Builder { backup_array_behind_usable: true, ..small.clone() };
    let hybrid = Builder { hybrid_mbr: true, ..usual.clone() };
    let low = Builder { first_usable: 34, ..usual.clone() };
    // 40 sectors more, and the last whole MiB ends in what was its backup array.
    let ends_inside = Builder { sectors: 16 * 2048 + 11, ..usual.clone() };
    let header = |card: &mut Card| card.damage(1, 60);
    let no_header = |card: &mut Card| card.put(1, &vec![0; card.sector_size as usize]);
    let array = |lba: u64| move |card: &mut Card| card.damage(lba, 130);
    let end_header = |card: &mut Card| card.damage(card.sectors - 1, 60);
    let end_array = |card: &mut Card| card.damage(card.sectors - 32, 130);
    let both = |a: &dyn Fn(&mut Card), b: &dyn Fn(&mut Card), card: &mut Card| {
        a(card);
        b(card);
    };
    let much = grown_by(20_000);
    let little = grown_by(3);
    let twin = |card: &mut Card| {
        // A card that held the same image before, when it was larger: its backup is still at the end.
        let old = Builder { partitions: vec![(1, 2048, 9999, "boot")], sectors: card.sectors, ..Builder::new(512, 16) };
        let old = old.build();
        for lba in old.sectors - 33..old.sectors {
            card.put(lba, &old.sector(lba));
        }
    };
    let mut all = vec![
        situation("same size", &usual, |_| {}),
        situation("enlarged", &usual, &much),
        situation("enlarged by 3 sectors", &usual, &little),
        situation("primary header damaged", &usual, header),
        situation("primary header gone", &usual, no_header),
        situation("primary array damaged", &usual, array(2)),
        situation("primary header and array damaged", &usual, |card| both(&header, &array(2), card)),
        situation("primary header damaged, enlarged", &usual, |card| both(&header, &much, card)),
        situation("primary header gone, enlarged", &usual, |card| both(&no_header, &much, card)),
        situation("primary array damaged, enlarged by 3", &usual, |card| both(&array(2), &little, card)),
        situation("backup header damaged", &usual, end_header),
        situation("backup array damaged", &usual, end_array),
        situation("backup array damaged, enlarged", &usual, |card| both(&end_array, &much, card)),
        situation("old backup at the end of an enlarged card", &usual, |card| both(&much, &twin, card)),
        situation("4096-byte sectors", &sectors_4096, |_| {}),
        situation("4096-byte sectors, enlarged", &sectors_4096, grown_by(3000)),
        situation("4096-byte sectors, primary damaged", &sectors_4096, header),
        situation("4 entries", &four, &much),
        situation("256 entries", &many, &much),
        situation("array at LBA 20", &at_20, |_| {}),
        situation("array at LBA 20, enlarged", &at_20, &much),
        situation("array at LBA 20, header gone", &at_20, no_header),
        situation("array at LBA 20, array damaged", &at_20, array(20)),
        situation("small last usable LBA", &small, |_| {}),
        situation("small last usable LBA, enlarged", &small, &much),
        situation("backup array behind the usable range", &behind, |_| {}),
        situation("backup array behind the usable range, enlarged by 3", &behind, &little),
        situation("hybrid MBR, enlarged", &hybrid, &much),
        situation("first usable LBA 34", &low, &much),
        situation("primary header gone, the new area ends in its backup", &ends_inside, |card| {
            both(&no_header, &grown_by(40), card);
        }),
    ];
    // The twin of a damaged primary: two backups of different tables would be refused, so this one is alone.
    all.push(situation("backup in mid-disk, primary header damaged by one bit", &usual, |card| {
        both(&|card: &mut Card| card.damage(1, 16), &much, card);
    }));
    all.push(situation("what some tools leave of deleted entries", &usual, remnants));
    all.push(situation("what some tools leave of deleted entries, enlarged", &usual, |card| {
        both(&remnants, &much, card);
    }));
    all.extend(growth_and_resets());
    all
}

fn wishes() -> Vec<Declared> {
    let mut root = declared("root");
    let mut var = declared("var");
    (root.size_min, root.weight) = (64 * KIB, 2000);
    var.size_min = 64 * KIB;
    vec![root, var]
}

fn situation(name: &str, builder: &Builder, change: impl Fn(&mut Card)) -> Situation {
    let mut card = builder.build();
    change(&mut card);
    let valid_backup = linux::gpt(&card, 1).is_err().then_some(builder.sectors - 1);
    Situation { name: name.to_owned(), card, valid_backup, home: builder.array_lba, wishes: wishes(), reset: false }
}

/// What is on the card from the beginning, so that it may grow, or be made anew.
fn existing(label: &str) -> Declared {
    let partition_type = Guid::from_disk(*PARTITION_TYPE);
    Declared { partition_type, size_min: 64 * KIB, factory_reset: true, ..declared(label) }
}

/// The last partition grows, or two that have room behind them do; some are made anew.
fn growth_and_resets() -> Vec<Situation> {
    let usual = Builder::new(512, 16);
    let gap = Builder {
        partitions: vec![(1, 2048, 4095, "boot"), (2, 4096, 6143, "store"), (5, 12288, 14335, "_empty")],
        ..usual.clone()
    };
    let last = || vec![existing("_empty")];
    let mixed = || [wishes(), vec![existing("store"), existing("_empty")]].concat();
    let reset = |situation: Situation| Situation { reset: true, ..situation };
    let much = grown_by(20_000);
    let damaged = |card: &mut Card| {
        card.damage(1, 60);
        much(card);
    };
    vec![
        situation("the last grows", &usual, |_| {}).wants(last()),
        situation("the last grows, enlarged", &usual, &much).wants(last()),
        situation("the last grows, primary header damaged, enlarged", &usual, damaged).wants(last()),
        situation("two grow beside two new", &gap, &much).wants(mixed()),
        situation("the last grows, 4096-byte sectors", &Builder::new(4096, 16), grown_by(3000)).wants(last()),
        reset(situation("factory reset of the last", &usual, |_| {}).wants(last())),
        reset(situation("factory reset of two, enlarged", &gap, &much).wants(mixed())),
        reset(situation("factory reset, primary header damaged", &usual, damaged).wants(last())),
        reset(
            situation("factory reset of all", &usual, |_| {}).wants(["boot", "store", "_empty"].map(existing).to_vec()),
        ),
    ]
}

/// Entries 4 and 5, in two sectors, without a type and with all else, or without places either.
fn remnants(card: &mut Card) {
    for lba in [1, card.sectors - 1] {
        let array_lba = u64::from_le_bytes(card.sector(lba)[72..80].try_into().unwrap());
        for (sector, at, place) in [(array_lba, 384, 9000u64), (array_lba + 1, 0, 0)] {
            let mut entries = card.sector(sector);
            entries[at + 16..at + 32].fill(0xa5);
            entries[at + 32..at + 40].copy_from_slice(&place.to_le_bytes());
            entries[at + 40..at + 48].copy_from_slice(&place.to_le_bytes());
            entries[at + 56..at + 60].copy_from_slice(b"a\0b\0");
            card.put(sector, &entries);
        }
        mend(card, lba);
    }
}

fn grown_by(sectors: u64) -> impl Fn(&mut Card) {
    move |card| card.sectors += sectors
}

/// Of all plans here.
pub const ALIGNMENT: u64 = MIB;
