//! Cuts the power at every write of a run, with every subset of what was not yet flushed, and looks at the card as
//! Linux would: promises 2, 3 and 4 of README.
//!
//! A state is what a cut leaves: everything up to the last flush that returned, and any subset of the sectors
//! written since (a sample where there are too many). In each state the primary table alone must be the old or the
//! new one, nothing that was there may have changed, every new partition in the table must be whole, and the next
//! run must end as the uninterrupted one did. The last test runs the orders that other tools use and must fail.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod situations;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use makeroom::apply::{self, Step};
use makeroom::disk::NewPartition;
use makeroom::units::Extent;
use situations::{ALIGNMENT, Situation, situations};
use support::card::{Card, Event, file_system_is_whole};
use support::linux::{self, Seen};
use support::rules::{own_extents, stray_write};
use support::{Random, decide, removed, to_make, wrong_orders};

/// What a situation may look like, for judging states.
struct Judge<'a> {
    situation: &'a Situation,
    old: Vec<Seen>,
    /// Without what a factory reset removes.
    between: Vec<Seen>,
    new: Vec<Seen>,
    made: Vec<NewPartition>,
    /// What may be written to, apart from the table.
    own: Vec<Extent>,
    /// Everything that an uninterrupted run leaves.
    settled: Card,
}

impl<'a> Judge<'a> {
    /// Runs uninterrupted, checks the result, and returns what was written.
    fn new(situation: &'a Situation, order: &dyn Fn(Vec<Step>) -> Vec<Step>) -> (Judge<'a>, Vec<Event>) {
        let mut card = situation.card.clone();
        let old = match situation.valid_backup {
            None => linux::partitions(&card).unwrap(),
            Some(lba) => linux::gpt(&card, lba).unwrap().partitions,
        };
        let (plan, steps) = situation.decide(&mut card).unwrap();
        let (made, own, removed) = (to_make(&plan), own_extents(&plan), removed(&plan));
        apply::carry_out(&mut card, &order(steps), &made, &removed, &mut Vec::new()).unwrap();
        let events = std::mem::take(&mut card.events);
        let new = linux::partitions(&card).unwrap();
        let between: Vec<Seen> = old.iter().filter(|old| !removed.contains(&old.number)).cloned().collect();
        let is_kept = |old: &&Seen| new.iter().any(|new| *new == old.up_to(new.last) && new.last >= old.last);
        assert!(between.iter().all(|old| is_kept(&old)), "{}: what was there has changed", situation.name);
        assert_eq!(new.len(), between.len() + made.len(), "{}", situation.name);
        assert!(!plan.is_empty(), "{}", situation.name);
        assert_eq!(linux::gpt(&card, 1).unwrap().array_lba, situation.home, "{}: the array has moved", situation.name);
        (Judge { situation, old, between, new, made, own, settled: card }, events)
    }

    /// Why a state breaks a promise; `durable` is what the last flush left.
    fn violation(&self, durable: &Card, card: &Card) -> Option<String> {
        match (linux::partitions(card), self.situation.valid_backup) {
            (Ok(seen), _) if seen == self.old => {
                // Also of what a factory reset will delete: it is whole or gone.
                if let Some(sector) =
                    self.old.iter().flat_map(|old| [old.first, old.last]).find(|lba| self.differs(card, *lba))
                {
                    return Some(format!("LBA {sector} of an old partition has changed"));
                }
            }
            (Ok(seen), _) if seen == self.between => {}
            (Ok(seen), _) if seen == self.new || seen == self.reset_again() => {
                let is_seen = |new: &&NewPartition| seen.iter().any(|seen| seen.number == new.number);
                let torn = self.made.iter().filter(is_seen).find(|new| !file_system_is_whole(card, new.extent));
                if let Some(new) = torn {
                    return Some(format!("{} is in the table and not whole", new.label));
                }
            }
            (Ok(seen), _) => return Some(format!("neither the old nor the new table: {seen:?}")),
            (Err(_), Some(lba))
                if linux::partitions(durable).is_err()
                    && linux::gpt(card, lba).is_ok_and(|copy| copy.partitions == self.old) => {}
            (Err(why), _) => return Some(format!("Linux sees no partitions: {why}")),
        }
        if let Ok(primary) = linux::gpt(card, 1) {
            let backup = Extent { start: primary.alternate_lba, size: 1 };
            let size = u64::from(card.sector_size);
            let inside = |new: &&NewPartition| {
                let area = Extent { start: new.extent.start / size, size: new.extent.size / size };
                area.overlaps(&backup) && new_data(card, &self.situation.card, new.extent)
            };
            if let Some(new) = self.made.iter().find(inside) {
                return Some(format!("firmware would repair the table into {}", new.label));
            }
        }
        None
    }

    /// What another factory reset after a whole one removes.
    fn reset_again(&self) -> Vec<Seen> {
        let (plan, _) = self.situation.decide(&mut self.settled.clone()).unwrap();
        self.new.iter().filter(|seen| !removed(&plan).contains(&seen.number)).cloned().collect()
    }

    fn differs(&self, card: &Card, lba: u64) -> bool {
        card.sector(lba) != self.situation.card.sector(lba)
    }

    /// Lets the next run finish, and compares with the uninterrupted one. `events` tells what that run wrote.
    fn convergence(&self, card: &Card) -> (Option<String>, Vec<Event>) {
        let mut card = card.clone();
        card.events.clear();
        let failed = |why: String| (Some(format!("the next run: {why}")), Vec::new());
        let (plan, steps) = match self.situation.decide(&mut card) {
            Ok(decided) => decided,
            Err(why) => return failed(why),
        };
        if let Err(error) = apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()) {
            return failed(error.to_string());
        }
        let events = std::mem::take(&mut card.events);
        if let Some(why) = self.unsettled(&mut card) {
            return failed(why);
        }
        (None, events)
    }

    /// Why a card is not as an uninterrupted run leaves it.
    fn unsettled(&self, card: &mut Card) -> Option<String> {
        if linux::partitions(card).as_ref() != Ok(&self.new) {
            return Some(format!("another table: {:?}", linux::partitions(card)));
        }
        if let Some(new) = self.made.iter().find(|new| !file_system_is_whole(card, new.extent)) {
            return Some(format!("{} is not whole", new.label));
        }
        let home = |card: &Card| linux::gpt(card, 1).map(|gpt| (gpt.array_lba, gpt.alternate_lba, gpt.last_usable));
        if home(card) != home(&self.settled) || card.sector(0) != self.settled.sector(0) {
            return Some(format!("other places: {:?} instead of {:?}", home(card), home(&self.settled)));
        }
        let backup = linux::gpt(card, card.sectors - 1).map(|gpt| (gpt.partitions, gpt.alternate_lba));
        if backup != Ok((self.new.clone(), 1)) {
            return Some(format!("the backup is not whole: {backup:?}"));
        }
        let (_, _, steps) = decide(card, &self.situation.wishes, ALIGNMENT).unwrap();
        (!steps.is_empty()).then(|| format!("a further run would write: {steps:?}"))
    }

    fn stray_write(&self, events: &[Event]) -> Option<u64> {
        stray_write(&self.settled, &self.situation.card, &self.own, events)
    }
}

/// Whether anything in an extent differs from what was there before.
fn new_data(card: &Card, before: &Card, extent: Extent) -> bool {
    let size = u64::from(card.sector_size);
    let range = extent.start / size..extent.end() / size;
    let backup = linux::gpt(before, 1).map_or(0, |gpt| gpt.alternate_lba);
    card.content.range(range).any(|(lba, sector)| *lba != backup && *sector != before.sector(*lba))
}

/// Every state that a cut in `events` can leave, each with the events' position. At most `limit` subsets for each
/// stretch between two flushes; always among them: nothing, everything, every prefix, every sector alone, and all
/// but one.
fn states(start: &Card, events: &[Event], limit: usize, random: &mut Random, mut visit: impl FnMut(&Card, &Card)) {
    let mut durable = start.clone();
    durable.events.clear();
    for epoch in events.split(|event| *event == Event::Flush) {
        let mut now = durable.clone();
        let mut pending: Vec<(u64, &[u8])> = Vec::new();
        for event in epoch {
            if let Event::Write(lba, sector) = event
                && now.sector(*lba) != *sector
            {
                pending.push((*lba, sector));
                now.put(*lba, sector);
            }
        }
        for subset in subsets(pending.len(), limit, random) {
            let mut state = durable.clone();
            for ((lba, sector), _) in pending.iter().zip(&subset).filter(|(_, kept)| **kept) {
                state.put(*lba, sector);
            }
            visit(&durable, &state);
        }
        durable = now;
    }
}

fn subsets(count: usize, limit: usize, random: &mut Random) -> BTreeSet<Vec<bool>> {
    if count < 20 && 1 << count <= limit {
        return (0..1usize << count).map(|bits| (0..count).map(|at| bits >> at & 1 == 1).collect()).collect();
    }
    let prefixes = (0..=count).map(|end| (0..count).map(|at| at < end).collect::<Vec<bool>>());
    let alone = (0..count).map(|one| (0..count).map(|at| at == one).collect());
    let all_but_one = (0..count).map(|one| (0..count).map(|at| at != one).collect());
    let mut all: BTreeSet<Vec<bool>> = prefixes.chain(alone).chain(all_but_one).collect();
    for _ in 0..limit {
        all.insert((0..count).map(|_| random.below(2) == 1).collect());
    }
    all
}

/// What a campaign over one situation saw.
#[derive(Default)]
struct Tally {
    states: usize,
    violations: Vec<String>,
}

fn as_decided(steps: Vec<Step>) -> Vec<Step> {
    steps
}

/// Cuts one run everywhere; when `double` is not 0, cuts the runs after every so-manieth cut, too.
fn campaign(situation: &Situation, order: &dyn Fn(Vec<Step>) -> Vec<Step>, limit: usize, double: u64) -> Tally {
    let (judge, events) = Judge::new(situation, order);
    let mut tally = Tally::default();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    if let Some(lba) = judge.stray_write(&events) {
        tally.violations.push(format!("{}: wrote to LBA {lba}", situation.name));
    }
    let mut second = Random(42);
    states(&situation.card, &events, limit, &mut random, |durable, card| {
        let (diverged, next_events) = judge.convergence(card);
        tally.note(&judge, judge.violation(durable, card).or(diverged));
        if double > 0 && second.below(double) == 0 {
            let stray = judge.stray_write(&next_events).map(|lba| format!("the next run wrote to LBA {lba}"));
            tally.note(&judge, stray);
            let mut sample = Random(7);
            states(card, &next_events, 8, &mut sample, |durable, twice| {
                tally.note(&judge, judge.violation(durable, twice).or_else(|| judge.convergence(twice).0));
            });
        }
    });
    tally
}

impl Tally {
    fn note(&mut self, judge: &Judge, violation: Option<String>) {
        self.states += 1;
        self.violations.extend(violation.map(|what| format!("{}: {what}", judge.situation.name)));
    }
}

#[test]
fn a_power_cut_at_any_write_leaves_a_valid_table_and_the_next_run_finishes() {
    let mut states = 0;
    for situation in situations() {
        let tally = campaign(&situation, &as_decided, 256, 4);
        assert!(tally.violations.is_empty(), "{} of {}: {}", tally.violations.len(), tally.states, tally.violations[0]);
        states += tally.states;
    }
    println!("{states} states, 0 violations");
    assert!(states > 100_000, "only {states} states were looked at");
}

#[test]
fn a_disk_that_grows_between_a_cut_and_the_next_run_is_extended_all_the_same() {
    for situation in situations().into_iter().filter(|situation| situation.valid_backup.is_none()) {
        let (judge, events) = Judge::new(&situation, &as_decided);
        for grown in [3, 40_000] {
            states(&situation.card, &events, 8, &mut Random(3), |_, card| {
                let mut card = card.clone();
                card.sectors += grown;
                let (plan, steps) = situation.decide(&mut card).unwrap();
                apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).unwrap();
                let seen = linux::partitions(&card).unwrap();
                let is_kept = |old: &Seen| seen.iter().any(|new| *new == old.up_to(new.last) && new.last >= old.last);
                assert!(judge.between.iter().all(is_kept), "{}", situation.name);
                assert_eq!(seen.len(), judge.new.len(), "{}", situation.name);
                let size = u64::from(card.sector_size);
                for new in seen.iter().filter(|seen| to_make(&plan).iter().any(|new| new.number == seen.number)) {
                    let extent = Extent { start: new.first * size, size: (new.last + 1 - new.first) * size };
                    assert!(file_system_is_whole(&card, extent), "{}", situation.name);
                }
                assert!(decide(&mut card, &situation.wishes, ALIGNMENT).unwrap().2.is_empty(), "{}", situation.name);
            });
        }
    }
}

#[test]
fn a_run_that_fails_at_any_write_or_flush_can_be_run_again() {
    for situation in situations() {
        let (judge, events) = Judge::new(&situation, &as_decided);
        for failing in 0..events.len() {
            let mut card = situation.card.clone();
            let (plan, steps) = situation.decide(&mut card).unwrap();
            card.fail_after = Some(failing);
            if apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).is_ok() {
                break;
            }
            card.fail_after = None;
            // What the kernel was told to forget comes back as long as the table has it, and then alone.
            let seen = linux::partitions(&card).unwrap_or(judge.old.clone());
            let tried = seen != judge.old || matches!(events.get(card.events.len()), Some(Event::Write(1, _)));
            let is_right = match card.still_has {
                Some(true) => seen == judge.old,
                Some(false) => tried,
                // From the commit on, it has the new ones, or may have.
                None => seen == judge.between || seen == judge.new,
            };
            assert!(is_right, "{}, failing at {failing}: {:?}, {seen:?}", situation.name, card.still_has);
            let found = judge.violation(&situation.card, &card).or_else(|| judge.convergence(&card).0);
            assert_eq!(found, None, "{}, failing at {failing}", situation.name);
        }
    }
}

#[test]
fn the_test_fails_for_the_orders_that_other_tools_use() {
    type Order = fn(Vec<Step>) -> Vec<Step>;
    let orders: [(&str, &str, Order); 10] = [
        ("table first", "same size", wrong_orders::table_first),
        ("one flush", "same size", wrong_orders::one_flush),
        ("primary before backup", "same size", wrong_orders::primary_before_backup),
        ("in place", "same size", wrong_orders::in_place),
        ("no flush after the file systems", "same size", wrong_orders::unflushed_file_systems),
        ("no flush before the commit", "same size", wrong_orders::unflushed_backup),
        ("no flush after the commit", "same size", wrong_orders::unflushed_commit),
        ("no flush before settling", "same size", wrong_orders::unflushed_home),
        ("the end after the file systems", "enlarged", wrong_orders::end_after_make),
        ("the end before the primary", "primary array damaged, enlarged by 3", wrong_orders::end_before_primary),
    ];
    let situations = situations();
    for (name, situation, order) in orders {
        let situation = situations.iter().find(|known| known.name == situation).unwrap();
        let tally = campaign(situation, &order, 256, 0);
        println!("{name}: {} of {} states are bad", tally.violations.len(), tally.states);
        assert!(!tally.violations.is_empty(), "{name}: nothing was found");
    }
}
