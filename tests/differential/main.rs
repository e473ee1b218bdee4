//! makeroom and systemd-repart on the same images and definitions: with `--align 4096` and one seed they end in the
//! same table, or differ by rules that README names. What either does is also compared with what these rules say
//! (`model`), so that a rule explains a difference only where it gives exactly these numbers.
//!
//! `MAKEROOM_CASES` says how many cases are made and `MAKEROOM_SEED` which; `MAKEROOM_CASE` shows the one with a
//! number. As root: systemd-repart is that of a Debian tree, see the script beside this.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod case;
mod generator;
mod model;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod tally;

use std::fs;
use std::path::Path;
use std::process::Command;

use case::{Case, Entry};
use makeroom::units::Guid;
use model::{Outcome, Refusal, outcome};
use rules::OURS;
use support::{program, text};
use tally::Tally;

/// Unless somebody says otherwise. Among them is every kind of difference, by 257 and by 262.
const CASES: u64 = 1000;
const SEED_OF_CASES: u64 = 1;
/// Of the GUIDs.
const SEED: &str = "01234567-89ab-4def-8123-456789abcdef";

#[test]
fn every_difference_from_systemd_repart_is_one_that_readme_names() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let (seed, shown) = (number("MAKEROOM_SEED").unwrap_or(SEED_OF_CASES), number("MAKEROOM_CASE"));
    let numbers = shown.map_or(0..number("MAKEROOM_CASES").unwrap_or(CASES), |only| only..only + 1);
    let directory = tempfile::tempdir().unwrap();
    let cases =
        || numbers.clone().map(|number| (generator::case(seed, number), directory.path().join(number.to_string())));
    cases().for_each(|(case, place)| case.write(&place));
    let version = systemd_repart(directory.path());
    let mut tally = Tally::new(version);
    for ((case, place), number) in cases().zip(numbers.clone()) {
        let (ours, theirs) = (makeroom(&case, &place), result(&case, &place));
        if shown.is_some() {
            show(&case, &place, version, [&ours, &theirs]);
        }
        tally.add(number, &case, &ours, &theirs);
    }
    println!("systemd-repart {version}, MAKEROOM_SEED={seed}, cases {numbers:?}\n{tally}");
    assert!(tally.faults.is_empty(), "{} faults:\n{}", tally.faults.len(), tally.faults.join("\n"));
    // Others may lack what is rare.
    if seed == SEED_OF_CASES && numbers == (0..CASES) {
        tally.assert_that_every_rule_is_needed_and_few_are();
    }
}

#[test]
fn readme_has_every_rule() {
    let readme = include_str!("../../README.md");
    let missing: Vec<_> = OURS.iter().filter(|rule| !readme.contains(&format!("| `{rule:?}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn makeroom(case: &Case, place: &Path) -> Outcome {
    let (definitions, card) = (place.join("repart.d"), place.join("card.img"));
    let mut command = program();
    command.args(["apply", "--align", "4096", "--seed", SEED, "--definitions"]).arg(definitions);
    let output = command.arg("--disk").arg(&card).output().unwrap();
    match output.status.code() {
        Some(0) => Ok(case.read(&card)),
        Some(65 | 73 | 78) => refused(case, &card, Refusal::Refuses),
        _ => panic!("{}: {}", place.display(), text(&output.stderr)),
    }
}

/// Lets it loose on all cases; its version.
fn systemd_repart(directory: &Path) -> u32 {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/systemd-repart");
    let output = Command::new(script).arg(directory).arg(SEED).output().unwrap();
    assert!(output.status.success(), "systemd-repart cannot be run: {}", text(&output.stderr));
    let version = fs::read_to_string(directory.join("version")).unwrap();
    version.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What it did to a case.
fn result(case: &Case, place: &Path) -> Outcome {
    let disk = place.join("disk.img");
    match fs::read_to_string(place.join("status")).unwrap().trim() {
        "0" => Ok(case.read(&disk)),
        "1" => refused(case, &disk, Refusal::Refuses),
        "134" => refused(case, &disk, Refusal::Aborts),
        status => panic!("status {status}: {}", fs::read_to_string(place.join("said")).unwrap()),
    }
}

fn refused(case: &Case, image: &Path, refusal: Refusal) -> Outcome {
    assert_eq!(case.read(image), case.partitions, "{} was refused, and has changed", image.display());
    Err(refusal)
}

/// All of a single case.
fn show(case: &Case, place: &Path, version: u32, [ours, theirs]: [&Outcome; 2]) {
    let Case { sector_size, entries, first_usable, image, disk, .. } = case;
    println!("sectors of {sector_size}, {entries} entries, an image of {image} bytes on a disk of {disk},");
    println!("usable {first_usable} to {}", case.usable_end());
    let mut files: Vec<_> = fs::read_dir(place.join("repart.d")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files {
        println!("{}", fs::read_to_string(file).unwrap().trim_end().replace('\n', " "));
    }
    println!("{}", fs::read_to_string(place.join("said")).unwrap().trim_end());
    let [our_rules, their_rules] = [OURS.into(), rules::theirs(version)].map(|rules| outcome(case, version, &rules));
    print("before", &Ok(case.partitions.clone()));
    print("makeroom", ours);
    print("its rules", &our_rules);
    print("systemd-repart", theirs);
    print("its rules", &their_rules);
}

fn print(who: &str, outcome: &Outcome) {
    println!("{who}: {}", outcome.as_ref().err().map_or(String::new(), |refusal| format!("{refusal:?}")));
    for Entry { number, start, size, kind, guid, attributes, label } in outcome.iter().flatten() {
        println!("{number:4} {start:>14} {size:>14} {label:12} {kind} {guid} {attributes:x}");
    }
}

/// What systemd-repart derives for the `earlier + 1`-th definition of a type.
fn seeded(kind: Guid, earlier: u64) -> Guid {
    let counter = earlier.to_le_bytes();
    Guid::derive(SEED.parse().unwrap(), &[&kind.0[..], if earlier == 0 { &[] } else { &counter }].concat())
}
