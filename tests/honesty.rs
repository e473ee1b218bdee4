//! Cards that are not what they say: refused before the user's data or the table is touched, with both sizes in the
//! message. `Card` has a cache as the system has, which shows whatever was written.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may panic

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use makeroom::apply;
use makeroom::config::Declared;
use makeroom::error::{Error, Exit};
use makeroom::units::MIB;
use support::builder::Builder;
use support::card::{Broken, Card, Fake};
use support::linux;
use support::{decide, declared, removed, to_make};

/// Sectors that a card says it has: 512 MiB.
const SAYS: u64 = 1 << 20;

fn card(fake: Option<Fake>) -> Card {
    let mut card = Builder::new(512, 16).build();
    card.sectors = SAYS;
    card.fake = fake;
    card
}

/// What a run says, and what it has changed of what the card holds.
fn run(card: &mut Card) -> (Result<(), String>, Vec<u64>) {
    run_for(card, &[declared("root")])
}

fn run_for(card: &mut Card, wishes: &[Declared]) -> (Result<(), String>, Vec<u64>) {
    let before = card.content.clone();
    let (_, plan, steps) = decide(card, wishes, MIB).unwrap();
    let result = apply::carry_out(card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new());
    let changed = changed(&before, &card.content);
    let result = result.map_err(|reason| {
        let said = reason.to_string();
        let exit = Error::Apply { disk: PathBuf::new(), reason }.exit();
        assert_eq!(exit as i32, Exit::Io as i32, "{said}");
        said
    });
    (result, changed)
}

/// Sectors that hold something else; one that is not there holds zeros.
fn changed(before: &BTreeMap<u64, Vec<u8>>, after: &BTreeMap<u64, Vec<u8>>) -> Vec<u64> {
    let zeros = vec![0; 512];
    let sector = |content: &BTreeMap<u64, Vec<u8>>, lba: &u64| content.get(lba).unwrap_or(&zeros).clone();
    let mut all: Vec<u64> = before.keys().chain(after.keys()).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().filter(|lba| sector(before, lba) != sector(after, lba)).collect()
}

#[test]
fn an_honest_card_is_taken() {
    assert_eq!(run(&mut card(None)).0, Ok(()));
}

#[test]
fn a_card_that_wraps_around_is_refused_without_a_write() {
    for real in [1 << 15, 1 << 17, 1 << 19] {
        let mut card = card(Some(Fake::WrapsAround(real)));
        let (result, changed) = run(&mut card);
        let said = result.unwrap_err();
        let (says, holds) =
            ("says it has 512.0 MiB (536870912 bytes)", format!("seen again behind {}.0 MiB", real >> 11));
        assert!(said.contains(says) && said.contains(&holds), "{said}");
        assert_eq!((changed, card.was_written()), (vec![], false));
    }
}

#[test]
fn a_card_that_forgets_is_refused_and_as_it_was() {
    let mut card = card(Some(Fake::Forgets(1 << 16)));
    let (result, changed) = run(&mut card);
    let said = result.unwrap_err();
    assert_eq!(
        said,
        "the disk says it has 512.0 MiB (536870912 bytes), but a sector written 511.9 MiB (536870400 bytes) from its \
         start did not come back: it holds less. It is a fake or it is broken: use another. What the sector held was \
         put back; nothing else was written"
    );
    assert_eq!(changed, Vec::<u64>::new());
}

#[test]
fn a_card_that_writes_the_far_end_over_its_start_is_refused_and_as_it_was() {
    // No power of two: the start is not seen again where it is looked for, but the probe lands in the entry array.
    let mut card = card(Some(Fake::WrapsAround(SAYS - 21)));
    let (result, changed) = run(&mut card);
    let said = result.unwrap_err();
    assert!(said.contains("appeared at its start"), "{said}");
    assert_eq!(changed, Vec::<u64>::new());
}

#[test]
fn a_card_that_goes_on_showing_what_it_held_is_refused_and_as_it_was() {
    let mut card = card(Some(Fake::Keeps(1 << 16)));
    for lba in (1 << 16..SAYS).step_by(2047) {
        card.put(lba, b"what an earlier owner wrote");
    }
    card.put(SAYS - 2049, b"and here");
    card.put(SAYS - 1, b"and at the end");
    let (result, changed) = run(&mut card);
    let said = result.unwrap_err();
    assert!(said.contains("says it has 512.0 MiB") && said.contains("did not come back"), "{said}");
    assert_eq!(changed, Vec::<u64>::new());
}

#[test]
fn a_card_that_forgets_only_where_the_backup_table_belongs_is_refused_and_as_it_was() {
    // The new partition is on what the card has; between commit and settle Linux reads the array at the end.
    let small = Declared { size_max: Some(64 * MIB), ..declared("root") };
    let mut card = card(Some(Fake::Forgets(1 << 19)));
    let (result, changed) = run_for(&mut card, &[small]);
    let said = result.unwrap_err();
    assert!(said.contains("says it has 512.0 MiB") && said.contains("did not come back"), "{said}");
    assert_eq!(changed, Vec::<u64>::new());
}

#[test]
fn a_fake_card_from_which_nothing_is_missing_is_as_it_was() {
    // Its backup table goes to the end that the card claims to have; that of the first lands in the primary's array.
    for fake in [Fake::WrapsAround(SAYS - 21), Fake::Forgets(1 << 16), Fake::Keeps(1 << 16)] {
        let mut card = card(Some(fake));
        let (result, changed) = run_for(&mut card, &[]);
        assert_eq!(changed, Vec::<u64>::new(), "{fake:?}: {result:?}");
        assert!(result.unwrap_err().contains("says it has 512.0 MiB"), "{fake:?}");
    }
}

#[test]
fn a_card_that_fails_from_some_sector_on_is_refused_and_as_it_was() {
    let says = "says it has 512.0 MiB (536870912 bytes), but";
    for from in [1 << 15, 1 << 17, SAYS - 4096, SAYS - 1] {
        for broken in [Broken::ReadsFrom(from), Broken::WritesFrom(from), Broken::AllFrom(from), Broken::Flushes] {
            let mut card = card(None);
            card.broken = Some(broken);
            let (result, changed) = run(&mut card);
            let said = result.unwrap_err();
            assert!(said.contains(says) && said.contains(" from its start cannot be tried: "), "{broken:?}: {said}");
            assert!(said.contains("Input/output error"), "{broken:?}: {said}");
            let end = "That sector, which no partition has, may have changed; nothing else was written";
            assert!(said.ends_with(end), "{broken:?}: {said}");
            assert!(changed.iter().all(|lba| *lba == SAYS - 1), "{broken:?}: {changed:?}");
        }
    }
}

#[test]
fn a_last_sector_that_cannot_be_read_before_it_is_written_is_no_sign() {
    let mut card = card(None);
    card.broken = Some(Broken::ReadsUntilWritten(SAYS - 1));
    assert_eq!(run(&mut card).0, Ok(()));
    assert_eq!(linux::gpt(&card, SAYS - 1).unwrap().partitions, linux::partitions(&card).unwrap());
}

#[test]
fn what_a_card_that_fails_is_said_to_hold_it_holds() {
    let flashed = card(None);
    let mut damaged = card(None);
    damaged.damage(1, 20);
    for original in [flashed, damaged] {
        let mut ends = BTreeSet::new();
        for failing in 0.. {
            let mut card = Card { fail_after: Some(failing), ..original.clone() };
            let (Err(said), changed) = run(&mut card) else { break };
            ends.insert(true_end(&said, &original, &card, &changed));
        }
        assert_eq!(ends.len(), 3, "{ends:?}");
    }
}

/// How a message ends, which has to be so.
fn true_end(said: &str, before: &Card, after: &Card, changed: &[u64]) -> &'static str {
    let old = linux::partitions(&card(None)).unwrap();
    let seen = linux::partitions(after);
    let is_mended = seen.as_ref() == Ok(&old);
    let ends = [
        ("nothing else was written", changed.iter().all(|lba| *lba == SAYS - 1)),
        ("no partition was added; running again is safe", is_mended),
        ("the table may have been written in part; running again finishes it", true),
    ];
    let (end, is_so) = *ends.iter().find(|(end, _)| said.ends_with(end)).unwrap_or_else(|| panic!("{said}"));
    assert!(is_so, "{said}: {changed:?}");
    assert!(seen.is_ok_and(|seen| seen.starts_with(&old)) || linux::partitions(before).is_err(), "{said}");
    let stray = changed.iter().find(|lba| old.iter().any(|used| (used.first..=used.last).contains(*lba)));
    assert_eq!(stray, None, "{said}");
    end
}

#[test]
fn old_data_that_looks_like_a_part_of_the_start_is_no_sign() {
    // A copy of the header alone, and a bad sector, where a card that wraps around would show its start.
    let mut card = card(None);
    let header = card.sector(1);
    card.put((1 << 16) + 1, &header);
    card.unreadable = Some(((1 << 17) + 1, 0));
    let (_, plan, steps) = decide(&mut card, &[declared("root")], 1 << 20).unwrap();
    apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).unwrap();
}
