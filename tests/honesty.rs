//! Cards that are not what they say: refused before the user's data or the table is touched, with both sizes in the
//! message. `Card` has a cache as the system has, which shows whatever was written.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may panic

mod support;

use makeroom::apply;
use support::builder::Builder;
use support::card::{Card, Fake};
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
    let before = card.content.clone();
    let (_, plan, steps) = decide(card, &[declared("root")], 1 << 20).unwrap();
    let result = apply::carry_out(card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new());
    let all = before.keys().chain(card.content.keys());
    let zeros = vec![0; 512];
    let sector =
        |content: &std::collections::BTreeMap<u64, Vec<u8>>, lba: &u64| content.get(lba).unwrap_or(&zeros).clone();
    let changed = all.filter(|lba| sector(&before, lba) != sector(&card.content, lba)).copied().collect();
    (result.map_err(|error| error.to_string()), changed)
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
        "the disk says it has 512.0 MiB (536870912 bytes), but a sector written 510.9 MiB (535821824 bytes) from its \
         start did not come back: it holds less. It is a fake or it is broken: use another. What the sector held was \
         put back; nothing else was written"
    );
    assert_eq!(changed, Vec::<u64>::new());
}

#[test]
fn a_card_that_writes_the_far_end_over_its_start_is_refused_and_as_it_was() {
    // No power of two: the start is not seen again where it is looked for, but the probe lands in the entry array.
    let probe = SAYS - 2049;
    let mut card = card(Some(Fake::WrapsAround(probe - 20)));
    let (result, changed) = run(&mut card);
    let said = result.unwrap_err();
    assert!(said.contains("appeared at its start"), "{said}");
    assert_eq!(changed, Vec::<u64>::new());
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
