//! What other software leaves on a device is found, by blkid's name for it, on disks with sectors of either size and in
//! partitions; what blkid and the formats' own tools say; and that nothing else is taken for it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use makeroom::disk::open::OpenError;
use makeroom::disk::{Disk, MakeError, NewPartition, Shown};
use makeroom::signature::{self, Found};
use makeroom::units::{Extent, MIB};
use proptest::prelude::*;
use support::card::Card;
use support::signatures::{self, Sample};
use support::{Random, dump, text, tool};

/// A device's size: a multiple of 1 MiB, and odd multiples of 4096.
const SIZES: [u64; 3] = [64 * MIB, 64 * MIB + 4096, 101 * MIB - 3 * 4096];
/// Where a partition begins.
const START: u64 = MIB + 5 * 4096;

type Look = fn(&mut dyn Disk, Extent) -> io::Result<Option<Found>>;
type Samples = fn(u64, u32) -> Vec<Sample>;
const BOTH: [(Look, Samples); 2] =
    [(signature::at_end, signatures::at_end), (signature::at_start, signatures::at_start)];

fn card(size: u64, sector_size: u32) -> Card {
    Card::new(sector_size, size / u64::from(sector_size))
}

/// Puts bytes anywhere on a card.
fn put(card: &mut Card, at: u64, bytes: &[u8]) {
    let size = u64::from(card.sector_size);
    for (at, byte) in (at..).zip(bytes) {
        let mut sector = card.content.remove(&(at / size)).unwrap_or_else(|| vec![0; size as usize]);
        sector[(at % size) as usize] = *byte;
        card.content.insert(at / size, sector);
    }
}

#[test]
fn every_signature_is_found_by_its_name_on_a_disk_and_in_a_partition() {
    for (index, (look, samples)) in BOTH.into_iter().enumerate() {
        for (size, sector_size) in SIZES.into_iter().flat_map(|size| [(size, 512), (size, 4096)]) {
            for ((name, parts), start) in
                samples(size, sector_size).iter().flat_map(|sample| [(sample, 0), (sample, START)])
            {
                let mut card = card(size + 2 * start, sector_size);
                parts.iter().for_each(|(at, bytes)| put(&mut card, start + at, bytes));
                let extent = Extent { start, size };
                let found = look(&mut card, extent).unwrap();
                let context = format!("{name} at {:?} of {size}+{start}, {sector_size}", parts[0].0);
                let found = found.unwrap_or_else(|| panic!("not found: {context}"));
                assert_eq!(found.name, *name, "{context}: {}", found.what);
                let is_in =
                    |(at, bytes): &(u64, Vec<u8>)| (at + start..at + start + bytes.len() as u64).contains(&found.at);
                assert!(parts.iter().any(is_in), "{context}: {}", found.at);
                assert_eq!(BOTH[1 - index].0(&mut card, extent).unwrap(), None, "{context}");
            }
        }
    }
}
