//! Others on the same card, judged in the same way: the harness sees what they leave, and README has the figures.

use std::path::Path;
use std::process::Command;

use crate::support::text;
use crate::{Bench, Layout, RASPBERRY_PI, Tally, campaign, wanted_states};

#[test]
fn the_harness_finds_what_a_table_first_script_leaves() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/block_layer/table-first");
    let tally = campaign_with("table first", script);
    for fault in ["a partition in the table has no whole file system", "Linux finds no valid primary table"] {
        assert!(tally.faults.contains_key(fault), "{fault}: not found");
    }
}

#[test]
#[ignore = "for figures: MAKEROOM_OTHER is the command, to which the disk is added"]
fn another_program_is_judged_in_the_same_way() {
    let command = std::env::var("MAKEROOM_OTHER").expect("MAKEROOM_OTHER is needed for this test");
    println!("{}", campaign_with("another program", &command).example.unwrap_or_default());
}

/// A smaller campaign with a command instead of the program; it makes the root of a Raspberry Pi.
fn campaign_with(name: &'static str, command: &str) -> Tally {
    let layout = Layout { name, ..RASPBERRY_PI };
    let bench = Bench::new(&layout);
    campaign(&bench, wanted_states() / 4, &|disk| run(command, disk))
}

fn run(command: &str, disk: &Path) -> Result<(), String> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).arg(disk).output().unwrap();
    output.status.success().then_some(()).ok_or_else(|| text(&output.stderr))
}
