//! What the fuzzers have found and what they begin with, on every run of the tests: each input of the corpus, and
//! mutations of it that are the same each time. `tests/fuzz` searches further.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use makeroom::config::MAX_FILE_SIZE;
use support::memory::Counting;
use support::{Random, fuzz};

/// How often the inputs of a target are mutated.
const MUTATIONS: usize = 3000;

#[global_allocator]
static MEMORY: Counting = Counting;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Runs a target on one input; names both where it fails, and shows the input as a Rust string.
fn run(target: &str, name: &str, input: &[u8]) {
    let result = panic::catch_unwind(|| fuzz::run(target, input));
    assert!(result.is_ok(), "{name}: b\"{}\"", input.escape_ascii());
}

/// A few of: a byte changed, inserted or taken out, a piece doubled or taken from another input.
fn mutated(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const LONGEST: usize = 4096;
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let from = if random.below(2) == 0 { other.to_vec() } else { bytes.clone() };
        let start = random.below(from.len() as u64 + 1) as usize;
        let piece = &from[start..(start + random.below(16) as usize).min(from.len())];
        match (random.below(5), bytes.get_mut(at)) {
            (0, Some(byte)) => *byte = random.below(256) as u8,
            (1, Some(byte)) => *byte ^= 1 << random.below(8),
            (2, Some(_)) => drop(bytes.remove(at)),
            (3, _) => bytes.insert(at, random.below(256) as u8),
            _ => drop(bytes.splice(at..at, piece.iter().copied())),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn replay(target: &str) {
    let inputs = corpus(target);
    assert!(inputs.len() >= 5, "{target}: only {} inputs", inputs.len());
    for (path, input) in &inputs {
        run(target, &path.display().to_string(), input);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..MUTATIONS {
        let mut pick = || &inputs[random.below(inputs.len() as u64) as usize].1;
        let (input, other) = (pick(), pick());
        run(target, target, &mutated(input, other, &mut random));
    }
}

#[test]
fn any_table_is_refused_or_extended_as_promised() {
    replay("table");
}

#[test]
fn any_declaration_on_any_layout_is_refused_or_fits() {
    replay("plan");
}

#[test]
fn any_text_is_a_configuration_or_a_clear_error() {
    replay("config");
}

#[test]
fn any_text_is_a_definition_or_a_clear_error() {
    replay("definitions");
}

#[test]
fn any_efi_variable_leads_to_a_disk_or_says_nothing() {
    replay("efi");
}

#[test]
fn any_device_tree_leads_to_a_disk_or_says_nothing() {
    replay("device_tree");
}

#[test]
fn any_message_of_a_device_can_be_read() {
    replay("uevent");
}

#[test]
fn any_superblock_is_of_a_file_system_that_stays_within_its_partition() {
    replay("superblock");
}

/// A file of the size that is still read, with nothing but the beginnings of lists: the parser noted 48 bytes for each.
#[test]
fn the_largest_configuration_does_not_fill_the_memory() {
    for start in ["x=", "[[partition]]\nlabel=\"", "", "[boot-disk]\nlabels=["] {
        for piece in ["[", "{", "a=1\n", "a.", "\n", "[[partition]]\n", "\u{200b}", "'"] {
            let length = usize::try_from(MAX_FILE_SIZE).unwrap();
            let text = format!("{start}{}", piece.repeat((length - start.len()) / piece.len()));
            run("config", &format!("{start}{piece}..."), text.as_bytes());
        }
    }
    for piece in ["\\\n", "MakeDirectories=/a\n", "/a ", "a=", "%o", "[", "=\n", "#\\\n"] {
        let start = "[Partition]\nType=home\nFormat=btrfs\nSubvolumes=";
        let length = usize::try_from(MAX_FILE_SIZE).unwrap();
        let text = format!("{start}{}", piece.repeat((length - start.len()) / piece.len()));
        run("definitions", &format!("{start}{piece}..."), text.as_bytes());
    }
}
