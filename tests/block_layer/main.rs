//! The power is cut at the block layer: a real first boot's writes, with the real binary, kernel and mkfs, are recorded
//! on their way to the disk; the disk is rebuilt as a cut at any of them can leave it, and the next boot has to cope.
//! `tests/power_cut` does the same with a disk in memory and every order; this is what it takes for granted.
//!
//! `MAKEROOM_STATES` says how many states of each layout are looked at, 400 without it. `MAKEROOM_PROGRAM` names
//! another build of the program. As root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod growing;
mod judge;
#[path = "../support/mounted.rs"]
mod mounted;
mod others;
mod recorder;
mod states;
#[path = "../support/mod.rs"]
mod support;
mod write_log;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use judge::Judge;
use makeroom::units::{Extent, MIB};
use serde_json::Value;
use states::{Rebuilt, states};
use support::{extract, fixture_config, make_card, old_signatures, partition, program, text, whole};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;

/// A card and what it shall get.
struct Layout {
    name: &'static str,
    card: &'static str,
    size: u64,
    /// Labels and formats of the new partitions.
    wanted: &'static [(&'static str, &'static str)],
    /// Whether there are traces of other systems where they will be.
    used_before: bool,
}

const RASPBERRY_PI: Layout = Layout {
    name: "Raspberry Pi, xfs",
    card: "raspberry-pi",
    size: 3 * GIB / 2,
    wanted: &[("root", "xfs")],
    used_before: false,
};
const APPLIANCE: Layout = Layout {
    name: "appliance, ext4 and ext4",
    card: "appliance",
    size: 3 * GIB / 2,
    wanted: &[("home", "ext4"), ("var", "ext4")],
    used_before: false,
};

#[test]
fn a_cut_of_a_raspberry_pi_s_first_boot_is_healed_by_the_next() {
    assert_healed(&RASPBERRY_PI);
}

#[test]
fn a_cut_of_an_appliance_s_first_boot_is_healed_by_the_next() {
    assert_healed(&APPLIANCE);
}

#[test]
fn a_cut_on_a_card_with_old_signatures_is_healed_by_the_next_boot() {
    assert_healed(&Layout { name: "old signatures, xfs", used_before: true, ..RASPBERRY_PI });
}

#[test]
fn a_cut_of_mkfs_btrfs_is_healed_by_the_next_boot() {
    assert_healed(&Layout { name: "btrfs", wanted: &[("root", "btrfs")], ..RASPBERRY_PI });
}

#[test]
fn a_cut_of_mkfs_f2fs_is_healed_by_the_next_boot() {
    assert_healed(&Layout { name: "f2fs", wanted: &[("root", "f2fs")], ..RASPBERRY_PI });
}

fn assert_healed(layout: &Layout) {
    let bench = Bench::new(layout);
    let tally = campaign(&bench, wanted_states(), &|disk| bench.apply(disk));
    assert!(tally.faults.is_empty(), "{}", tally.example.unwrap());
}

/// What a campaign saw.
struct Tally {
    states: usize,
    /// How many states have each fault; one may have several.
    faults: BTreeMap<&'static str, usize>,
    failed: usize,
    /// The first one in words, with where its disk is kept.
    example: Option<String>,
}

/// Records a run, looks at all that a cut can leave of it, and says what was seen.
fn campaign(bench: &Bench, wanted: usize, run: judge::Run) -> Tally {
    let name = bench.layout.name;
    let (before, done) = (bench.card(), bench.file("done"));
    extract(&before, whole(&before), &done);
    let epochs = recorder::record(&done, |disk| run(disk).unwrap());
    let writes: usize = epochs.iter().map(Vec::len).sum();
    println!("{name}: {writes} writes between {} flushes", epochs.len());
    let rebuilt = Rebuilt::new(&epochs, &before, &bench.file("rebuilt")).finish();
    assert_eq!(
        judge::content(&rebuilt, whole(&rebuilt)),
        judge::content(&done, whole(&done)),
        "the log is not complete"
    );

    let judge = Judge::new(&before, &done, bench.layout.wanted, run);
    let (started, mut tally) = (Instant::now(), Tally::new());
    let mut disk = Rebuilt::new(&epochs, &before, &bench.file("durable"));
    for state in states(&epochs, bench.layout.size, wanted) {
        let file = bench.file("state");
        disk.rebuild(state, &file);
        let faults = judge.faults(&file);
        if !faults.is_empty() && tally.example.is_none() {
            disk.rebuild(state, &file);
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.img").replace([' ', ','], "-"));
            extract(&file, whole(&file), &kept);
            tally.example = Some(format!("{name}: {state:?}: {faults:#?}; the disk is {}", kept.display()));
        }
        tally.note(&faults);
    }
    let (states, seconds) = (tally.states, started.elapsed().as_secs());
    println!("{name}: {states} states in {seconds} s, {} of them bad: {:#?}", tally.failed, tally.faults);
    tally
}

fn wanted_states() -> usize {
    std::env::var("MAKEROOM_STATES").map_or(400, |number| number.parse().expect("MAKEROOM_STATES is a number"))
}

impl Tally {
    fn new() -> Tally {
        Tally { states: 0, faults: BTreeMap::new(), failed: 0, example: None }
    }

    fn note(&mut self, faults: &judge::Faults) {
        self.states += 1;
        self.failed += usize::from(!faults.is_empty());
        faults.keys().for_each(|fault| *self.faults.entry(fault).or_default() += 1);
    }
}

/// A directory with a card and a configuration in it.
struct Bench<'a> {
    layout: &'a Layout,
    directory: TempDir,
}

impl<'a> Bench<'a> {
    fn new(layout: &'a Layout) -> Bench<'a> {
        let bench = Bench { layout, directory: tempfile::tempdir().unwrap() };
        fs::write(bench.file("toml"), bench.configuration()).unwrap();
        make_card(layout.card, &bench.card());
        let card = File::options().write(true).open(bench.card()).unwrap();
        card.set_len(layout.size).unwrap();
        // A boot loader in the gap.
        for lba in 34..2048 {
            card.write_all_at(format!("boot loader, sector {lba}").as_bytes(), lba * 512).unwrap();
        }
        if layout.used_before {
            bench.use_before(&card);
        }
        bench
    }

    /// The one of the card's fixture, with the formats of this layout.
    fn configuration(&self) -> String {
        let text = fs::read_to_string(fixture_config(self.layout.card)).unwrap();
        let format = |line: &str| match line.strip_prefix("format = ") {
            Some(_) => format!("format = \"{}\"", self.layout.wanted[0].1),
            None => line.to_owned(),
        };
        text.lines().map(format).collect::<Vec<_>>().join("\n")
    }

    fn use_before(&self, card: &File) {
        let output = self.program("plan", &self.card()).arg("--json").output().unwrap();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (label, _) in self.layout.wanted {
            let number = |key: &str| partition(&plan, label)[key].as_u64().unwrap();
            let place = Extent { start: number("offset"), size: number("raw_size") };
            for at in (place.start..place.end()).step_by(MIB as usize) {
                card.write_all_at(b"the previous owner's letters", at + 12_345).unwrap();
            }
            for (offset, signature) in old_signatures(place.size) {
                card.write_all_at(&signature, place.start + offset).unwrap();
            }
        }
    }

    fn card(&self) -> PathBuf {
        self.file("card")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, command: &str, disk: &Path) -> std::process::Command {
        let mut program = program();
        program.arg(command).arg("--disk").arg(disk).arg("--config").arg(self.file("toml"));
        program.args(["--architecture", "arm64", "--seed", "01234567-89ab-4def-8123-456789abcdef"]);
        program
    }

    /// A boot.
    fn apply(&self, disk: &Path) -> Result<(), String> {
        let output = self.program("apply", disk).output().unwrap();
        output.status.success().then_some(()).ok_or_else(|| text(&output.stderr))
    }
}
