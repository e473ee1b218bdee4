//! Tables that other tools made, damaged tables and hostile ones: what is read, what is refused with which sentence,
//! and what other programs say of what we wrote.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use std::fmt::Write as _;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

use makeroom::apply;
use makeroom::plan::Plan;
use makeroom::table::copies::Table;
use makeroom::units::MIB;
use proptest::prelude::*;
use support::builder::{Builder, seal};
use support::card::Card;
use support::{decide, declared, dump, linux, removed, to_make};

/// Tables among the fixtures that makeroom must refuse.
const REFUSED: [&str; 3] = ["blank", "fat-superfloppy", "mbr-dos"];

fn sentence(result: Result<impl Sized, impl ToString>) -> String {
    result.err().map_or("accepted".to_owned(), |error| error.to_string())
}

/// Adds a partition "added" that fills the card; how it went.
fn add_a_partition(card: &mut Card) -> Result<Plan, String> {
    let mut wish = declared("added");
    wish.size_min = 1;
    let (_, plan, steps) = decide(card, &[wish], 4096)?;
    apply::carry_out(card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new())
        .map_err(|error| error.to_string())?;
    Ok(plan)
}

/// The recorded tables that can be extended, each on a card that is 100 MiB larger than the image.
fn flashed_fixtures() -> Vec<(String, Card)> {
    let usable = dump::names().into_iter().filter(|name| !REFUSED.contains(&name.as_str()));
    usable
        .map(|name| {
            let mut card = dump::load(&name);
            card.sectors += 100 * MIB / u64::from(card.sector_size);
            (name, card)
        })
        .collect()
}

#[test]
fn every_recorded_table_gets_a_partition_and_keeps_every_byte_of_the_others() {
    let fixtures = flashed_fixtures();
    assert!(fixtures.len() >= 20, "only {} fixtures", fixtures.len());
    for (name, card) in fixtures {
        let mut after = card.clone();
        let plan = add_a_partition(&mut after).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (old, new) = (linux::gpt(&card, 1).unwrap(), linux::gpt(&after, 1).unwrap());
        let number = plan.new[0].partition.number as usize;
        for (slot, (before, now)) in old.array.chunks(128).zip(new.array.chunks(128)).enumerate() {
            assert_eq!(before == now, slot + 1 != number, "{name}: slot {}", slot + 1);
        }
        assert_eq!(new.array_lba, old.array_lba, "{name}: the array has moved");
        let changed: Vec<usize> = (0..new.header.len()).filter(|at| old.header[*at] != new.header[*at]).collect();
        let allowed = |at: &usize| [16..20, 32..40, 48..56, 88..92].iter().any(|field| field.contains(at));
        assert!(changed.iter().all(allowed), "{name}: header bytes {changed:?} have changed");
        let mbr: Vec<usize> = (0..512).filter(|at| card.sector(0)[*at] != after.sector(0)[*at]).collect();
        assert!(mbr.iter().all(|at| (458..462).contains(at)), "{name}: LBA 0 has changed at {mbr:?}");
        let backup = linux::gpt(&after, after.sectors - 1).unwrap();
        assert_eq!((backup.array, backup.alternate_lba), (new.array, 1), "{name}");
        assert_eq!(decide(&mut after, &[declared("added")], 4096).unwrap().2, [], "{name}: the next run writes");
    }
}

#[test]
fn the_hybrid_mbr_and_its_boot_code_stay_byte_for_byte() {
    let (_, card) = flashed_fixtures().into_iter().find(|(name, _)| name == "hybrid-mbr").unwrap();
    let mut after = card.clone();
    add_a_partition(&mut after).unwrap();
    assert_eq!(card.sector(0), after.sector(0));
    assert!(card.sector(0).starts_with(b"BOOTCODE"));
}

#[test]
fn new_partitions_take_the_number_behind_the_highest_then_the_lowest_free_one() {
    let number = |name: &str| {
        let (_, mut card) = flashed_fixtures().into_iter().find(|(known, _)| known == name).unwrap();
        add_a_partition(&mut card).unwrap().new[0].partition.number
    };
    assert_eq!(number("holes-1-14-15"), 16);
    assert_eq!(number("entries-256"), 201);
    assert_eq!(number("sgdisk-512"), 3);
    let partitions = vec![(4, 2048, 4095, "last"), (2, 4096, 8191, "second")];
    let mut card = Builder { entries: 4, partitions, ..Builder::new(512, 64) }.build();
    assert_eq!(add_a_partition(&mut card).unwrap().new[0].partition.number, 1);
    let partitions = (1..=4).map(|n| (n, 2048 * u64::from(n), 2048 * u64::from(n) + 99, "full")).collect();
    let mut card = Builder { entries: 4, partitions, ..Builder::new(512, 64) }.build();
    let error = add_a_partition(&mut card).unwrap_err();
    assert_eq!(
        error,
        "the table has 4 entries, 4 are in use, 1 more are needed: make an image with a larger table (sfdisk: table-length)"
    );
    let partitions = vec![(255, 2048, 4095, "last that Linux shows")];
    let mut card = Builder { entries: 256, partitions, ..Builder::new(512, 64) }.build();
    assert_eq!(add_a_partition(&mut card).unwrap().new[0].partition.number, 1);
}

/// The card as a sparse file.
fn write_image(card: &Card, path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    file.set_len(card.sectors * u64::from(card.sector_size)).unwrap();
    for (lba, sector) in &card.content {
        file.seek(SeekFrom::Start(lba * u64::from(card.sector_size))).unwrap();
        file.write_all(sector).unwrap();
    }
}

#[test]
fn other_programs_read_what_we_wrote_and_find_nothing_wrong() {
    let directory = tempfile::tempdir().unwrap();
    for (name, mut card) in flashed_fixtures() {
        add_a_partition(&mut card).unwrap();
        let path = directory.path().join(format!("{name}.img"));
        write_image(&card, &path);
        let seen = linux::partitions(&card).unwrap();
        agrees_with_gptman(&name, &path, &card, &seen);
        agrees_with_gpt(&name, &path, &card, &seen);
        if card.sector_size == 512 {
            // Both tools take a file for a disk with 512-byte sectors.
            let sgdisk = tool("sgdisk", &["-v", path.to_str().unwrap()]);
            let sfdisk = tool("sfdisk", &["--verify", path.to_str().unwrap()]);
            // What was wrong with this one before is not ours to mend: a partition before the first usable LBA.
            if name != "low-start" {
                assert!(sgdisk.contains("No problems found"), "{name}: {sgdisk}");
                assert!(sfdisk.contains("No errors detected"), "{name}: {sfdisk}");
            }
        }
    }
}

fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{name} is needed for this test: {error}"));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn agrees_with_gptman(name: &str, path: &Path, card: &Card, seen: &[linux::Seen]) {
    let mut file = std::fs::File::open(path).unwrap();
    let table = gptman::GPT::read_from(&mut file, u64::from(card.sector_size)).unwrap();
    assert_eq!(table.header.backup_lba, card.sectors - 1, "{name}");
    let theirs = table.iter().filter(|(_, entry)| entry.is_used());
    let theirs: Vec<_> = theirs.map(|(number, entry)| (number, entry.starting_lba, entry.ending_lba)).collect();
    let ours: Vec<_> = seen.iter().map(|partition| (partition.number, partition.first, partition.last)).collect();
    assert_eq!(theirs, ours, "{name}");
}

fn agrees_with_gpt(name: &str, path: &Path, card: &Card, seen: &[linux::Seen]) {
    let block =
        if card.sector_size == 512 { gpt::disk::LogicalBlockSize::Lb512 } else { gpt::disk::LogicalBlockSize::Lb4096 };
    let disk = gpt::GptConfig::new().logical_block_size(block).open(path).unwrap();
    let mut theirs: Vec<_> = disk.partitions().iter().map(|(number, p)| (*number, p.first_lba, p.last_lba)).collect();
    theirs.sort_unstable();
    let ours: Vec<_> = seen.iter().map(|partition| (partition.number, partition.first, partition.last)).collect();
    assert_eq!(theirs, ours, "{name}");
}

/// A change to a header field of both copies, sealed again, and a change to the array.
fn with_header(change: impl Fn(&mut [u8])) -> Card {
    let mut card = Builder::new(512, 64).build();
    for lba in [1, card.sectors - 1] {
        let mut header = card.sector(lba);
        change(&mut header);
        seal(&mut header);
        card.put(lba, &header);
    }
    card
}

/// A table of which header fields of 8 bytes are changed in both copies.
fn with_fields(builder: &Builder, fields: &[(usize, u64)]) -> Card {
    let mut card = builder.build();
    for lba in [1, card.sectors - 1] {
        let mut header = card.sector(lba);
        fields.iter().for_each(|(at, value)| put(*at, *value, 8)(&mut header));
        seal(&mut header);
        card.put(lba, &header);
    }
    card
}

fn with_entry(number: usize, first: u64, last: u64) -> Card {
    let mut builder = Builder { user_data: false, ..Builder::new(512, 64) };
    (builder.partitions[number - 1].1, builder.partitions[number - 1].2) = (first, last);
    builder.build()
}

fn put(at: usize, value: impl Into<u128>, bytes: usize) -> impl Fn(&mut [u8]) {
    let value = value.into().to_le_bytes();
    move |header| header[at..at + bytes].copy_from_slice(&value[..bytes])
}

#[test]
fn damaged_and_hostile_tables_are_refused_with_a_sentence_and_nothing_is_written() {
    let usual = || Builder::new(512, 64).build();
    let mut both_headers_gone = usual();
    both_headers_gone.damage(1, 60);
    both_headers_gone.damage(131_071, 60);
    let mut no_mbr = usual();
    no_mbr.put(0, &[0; 512]);
    let mut misplaced = usual();
    misplaced.damage(0, 454);
    let mut twin = Builder { sectors: 200_000, disk_guid: *b"another disk ...", ..Builder::new(512, 64) }.build();
    for lba in (0..3000).chain(131_071 - 33..131_072) {
        twin.put(lba, &usual().sector(lba));
    }
    twin.damage(1, 60);
    let mut shrunk = usual();
    shrunk.sectors -= 1000;
    let mut tail_in_use = Builder { array_lba: 20, ..Builder::new(512, 64) }.build();
    let mut header = tail_in_use.sector(1);
    header[500] = 1;
    tail_in_use.put(1, &header);
    // A card that is smaller than the image, with the valid backup of what it held before at its end.
    let mut smaller = Builder { sectors: 200_000, ..Builder::new(512, 64) }.build();
    smaller.sectors = 131_072;
    let before = Builder { disk_guid: *b"another disk ...", ..Builder::new(512, 64) }.build();
    for lba in 131_072 - 33..131_072 {
        smaller.put(lba, &before.sector(lba));
    }
    let mut other_disk = usual();
    other_disk.damage(2, 130);
    for lba in 131_072 - 33..131_072 {
        other_disk.put(lba, &before.sector(lba));
    }
    let unreadable = |lba| Card { unreadable: Some((lba, 0)), ..usual() };
    let mut many = Builder { entries: 8320, first_usable: 2082, ..Builder::new(512, 64) };
    many.partitions.iter_mut().for_each(|(_, first, last, _)| (*first, *last) = (*first + 2048, *last + 2048));
    let mut many = many.build();
    for lba in 131_072 - 33..131_072 {
        many.put(lba, &usual().sector(lba));
    }
    let mut boot_loader = usual();
    boot_loader.put(1, &[0; 512]);
    for lba in 2..34 {
        boot_loader.put(lba, &[0xe5; 512]);
    }
    let late = Builder { first_usable: 131_050, ..Builder::new(512, 64) };
    let late = with_fields(&late, &[(48, 131_060)]);
    let mut dos_over_gpt = usual();
    dos_over_gpt.put(0, &dump::load("mbr-dos").sector(0));
    // The boot ROM of some boards wants its loader at LBA 2, where a table of 4 entries has its only array sector.
    let four =
        Builder { entries: 4, partitions: Builder::new(512, 64).partitions[..2].to_vec(), ..Builder::new(512, 64) };
    let mut loader_on_small_array = four.build();
    loader_on_small_array.put(2, &[0xe5; 1024]);
    // A primary array behind the usable range for good, as nobody is known to do it, and a boot loader at LBA 2.
    let mut array_at_end = Builder { spare_at_end: 64, array_lba: 131_000, ..Builder::new(512, 64) }.build();
    array_at_end.put(2, &[0xe5; 8192]);
    let mut array_in_use = usual();
    array_in_use.put(1, &[0; 512]);
    let array: Vec<u8> = (2..34).flat_map(|lba| array_in_use.sector(lba)).collect();
    array_in_use.put(100_000, &array);
    let mut header = array_in_use.sector(131_071);
    put(72, 100_000u64, 8)(&mut header);
    seal(&mut header);
    array_in_use.put(131_071, &header);
    let mut one_sector = usual();
    one_sector.sectors = 1;
    let cases = [
        ("a card of one sector", one_sector),
        ("damaged primary, a backup with its array in the usable range", array_in_use),
        ("a boot loader over an array of one sector", loader_on_small_array),
        ("an array behind the usable range, a boot loader at LBA 2", array_at_end),
        ("card smaller than its image, with an old table at its end", smaller),
        ("damaged primary array, backup of another disk", other_disk),
        ("primary header unreadable", unreadable(1)),
        ("primary array unreadable", unreadable(5)),
        ("more entries than we believe, and an old backup", many),
        ("a boot loader where the primary array was", boot_loader),
        ("no room for the backup behind the first usable LBA", late),
        ("an MBR over an old GPT", dos_over_gpt),
        ("both headers damaged", both_headers_gone),
        ("no protective MBR", no_mbr),
        ("protective MBR at another LBA", misplaced),
        ("damaged primary, two different backups", twin),
        ("disk smaller than its table", shrunk),
        ("entries of 256 bytes", with_header(put(84, 256u32, 4))),
        ("entries of 0 bytes", with_header(put(84, 0u32, 4))),
        ("4 thousand million entries", with_header(put(80, u32::MAX, 4))),
        ("no entries", with_header(put(80, 0u32, 4))),
        ("header of 4 GiB", with_header(put(12, u32::MAX, 4))),
        ("header of 91 bytes", with_header(put(12, 91u32, 4))),
        ("array at the end of the number range", with_header(put(72, u64::MAX, 8))),
        ("array on the header", with_header(put(72, 1u64, 8))),
        ("array with another CRC", with_header(put(88, 1u32, 4))),
        ("usable range reversed", with_header(put(40, 131_039u64, 8))),
        ("usable range beyond the disk", with_header(put(48, u64::MAX, 8))),
        ("array in the usable range", Builder { array_lba: 100, first_usable: 50, ..Builder::new(512, 64) }.build()),
        ("no room for the array before the usable range", with_header(put(40, 20u64, 8))),
        ("overlapping partitions", with_entry(2, 3000, 5000)),
        ("a partition on the table", with_entry(1, 10, 4000)),
        ("a partition on LBA 0", with_entry(1, 0, 4000)),
        ("a partition beyond the disk", with_entry(3, 100_000, u64::MAX)),
        ("a partition of the whole number range", with_entry(3, 0, u64::MAX)),
        ("a partition on the backup", with_entry(3, 100_000, 131_060)),
        ("reserved bytes in use, array at LBA 20", tail_in_use),
    ];
    let mut sentences = String::new();
    for name in REFUSED {
        let mut card = dump::load(name);
        writeln!(sentences, "{name}\n  {}", sentence(Table::read(&mut card).map(|_| ()))).unwrap();
    }
    for (name, mut card) in cases {
        writeln!(sentences, "{name}\n  {}", sentence(add_a_partition(&mut card))).unwrap();
        assert!(!card.was_written(), "{name}: something was written");
    }
    assert!(!sentences.contains("accepted"), "{sentences}");
    snapbox::assert_data_eq!(sentences, snapbox::file!["snapshots/refused_tables.txt"].raw());
}

/// The primary array is damaged and the backup is another disk's, which the primary header tells. A header that could be
/// read once and not again was taken for one that is gone, and the other disk's table came back.
#[test]
fn a_primary_header_that_stops_being_readable_does_not_let_another_disk_s_table_in() {
    let mut damaged = Builder::new(512, 64).build();
    damaged.damage(2, 130);
    let foreign = Builder { disk_guid: *b"another disk ...", ..Builder::new(512, 64) }.build();
    for lba in 131_072 - 33..131_072 {
        damaged.put(lba, &foreign.sector(lba));
    }
    for reads in 0..8 {
        let mut card = Card { unreadable: Some((1, reads)), ..damaged.clone() };
        assert!(add_a_partition(&mut card).is_err(), "after {reads} reads");
        assert!(!card.was_written(), "after {reads} reads");
    }
}

/// 100 sectors are spared before the backup header, its array lies before them: what is in them nobody knows. When the
/// header could not be read, the array was written into them.
#[test]
fn a_backup_that_cannot_be_read_does_not_move_into_spared_sectors() {
    let builder = Builder { spare_at_end: 100, backup_array_behind_usable: true, ..Builder::new(512, 64) };
    let mut card = Card { unreadable: Some((131_071, 0)), ..builder.build() };
    let error = add_a_partition(&mut card).err();
    assert_eq!(
        error.as_deref(),
        Some("cannot read the partition table at LBA 131071: Input/output error (os error 5)")
    );
    assert!(!card.was_written());
}

#[test]
fn what_may_be_left_of_an_array_is_written_over() {
    // Erased flash pages, and entries that a tool deleted by zeroing their type only.
    let mut erased = Builder::new(512, 64).build();
    (2..10).for_each(|lba| erased.put(lba, &[0xff; 512]));
    let mut deleted = Builder::new(512, 64).build();
    for array_lba in [2, 131_071 - 32] {
        for lba in [array_lba + 3, array_lba + 5] {
            deleted.put(lba, &[&[0; 16][..], &[0x77; 112]].concat());
        }
    }
    let array: Vec<u8> = (2..34).flat_map(|lba| deleted.sector(lba)).collect();
    for lba in [1, 131_071] {
        let mut header = deleted.sector(lba);
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
        seal(&mut header);
        deleted.put(lba, &header);
    }
    deleted.damage(2, 140);
    let wanted = linux::gpt(&Builder::new(512, 64).build(), 1).unwrap().partitions;
    for (name, mut card) in [("erased", erased), ("deleted", deleted)] {
        let (_, plan, steps) = decide(&mut card, &[declared("boot")], MIB).unwrap_or_else(|e| panic!("{name}: {e}"));
        apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).unwrap();
        assert_eq!(linux::partitions(&card).unwrap(), wanted, "{name}");
    }
}

#[test]
fn only_our_own_old_backup_in_free_space_is_cleared() {
    // The protective MBR still covers the disk up to `old_end`, where something looks like a backup header.
    let old_end = 100_000;
    let covering = Builder { sectors: old_end + 1, ..Builder::new(512, 64) }.protective_mbr();
    let card = |partitions: &[(u32, u64, u64, &'static str)], owner: &Builder| {
        let usual = Builder::new(512, 64);
        let partitions = [&usual.partitions[..], partitions].concat();
        let mut card = Builder { partitions, ..usual }.build();
        let backup = Builder { sectors: old_end + 1, ..owner.clone() }.build();
        card.put(old_end, &backup.sector(old_end));
        card.put(0, &covering);
        card
    };
    let ours = Builder::new(512, 64);
    let foreign = Builder { disk_guid: *b"another disk ...", ..ours.clone() };
    let over_it = [(4, old_end - 10, old_end + 10, "user data")];
    for (name, mut card, cleared) in [
        ("ours, in free space", card(&[], &ours), true),
        ("another disk's", card(&[], &foreign), false),
        ("in a partition", card(&over_it, &ours), false),
    ] {
        let before = card.sector(old_end);
        let (_, plan, steps) = decide(&mut card, &[], MIB).unwrap();
        apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).unwrap();
        assert_eq!(card.sector(old_end) != before, cleared, "{name}");
        assert!(decide(&mut card, &[], MIB).unwrap().2.is_empty(), "{name}");
    }
}

#[test]
fn a_table_is_mended_even_when_nothing_is_missing() {
    let wishes = [declared("boot"), declared("store")];
    let mut sentences = String::new();
    let mut grown = Builder::new(512, 64).build();
    grown.sectors += 5000;
    let mut header = Builder::new(512, 64).build();
    header.damage(1, 60);
    let mut backup = Builder::new(512, 64).build();
    backup.damage(131_071 - 20, 0);
    let mut other_backup = Builder::new(512, 64).build();
    let other = Builder { partitions: vec![(1, 2048, 9999, "boot")], ..Builder::new(512, 64) }.build();
    for lba in 131_071 - 32..131_072 {
        other_backup.put(lba, &other.sector(lba));
    }
    for (name, mut card) in [
        ("enlarged", grown),
        ("primary header damaged", header),
        ("backup array damaged", backup),
        ("backup of another table", other_backup),
    ] {
        let partitions = linux::gpt(&Builder::new(512, 64).build(), 1).unwrap().partitions;
        let (table, plan, steps) = decide(&mut card, &wishes, MIB).unwrap();
        writeln!(sentences, "{name}\n  {}", table.repairs().join("\n  ")).unwrap();
        apply::carry_out(&mut card, &steps, &to_make(&plan), &removed(&plan), &mut Vec::new()).unwrap();
        assert_eq!(linux::partitions(&card).unwrap(), partitions, "{name}");
        assert_eq!(linux::gpt(&card, card.sectors - 1).unwrap().partitions, partitions, "{name}");
        assert!(decide(&mut card, &wishes, MIB).unwrap().2.is_empty(), "{name}");
    }
    snapbox::assert_data_eq!(sentences, snapbox::file!["snapshots/repairs.txt"].raw());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Any header fields and any entries with right CRCs: a refusal or a correct run, never a panic, and never a
    /// card that Linux could read before and cannot read after.
    #[test]
    fn no_field_values_lead_to_a_panic_or_to_a_lost_table(
        fields in prop::collection::vec((prop::sample::select(vec![24usize, 32, 40, 48, 72, 80, 84]), number()), 0..3),
        entries in prop::collection::vec((0..128usize, number(), number()), 0..3),
        backup_too in any::<bool>(), primary in any::<bool>(), bytes in prop::collection::vec((0..512usize, any::<u8>()), 0..2),
        grown in prop_oneof![Just(0u64), 1..5000u64],
    ) {
        let builder = Builder::new(512, 64);
        let mut card = builder.build();
        let places = [(1, 2, primary), (builder.sectors - 1, builder.sectors - 33, backup_too)];
        for (lba, array_lba, _) in places.into_iter().filter(|(_, _, change)| *change) {
            let mut array: Vec<u8> = (0..32).flat_map(|index| card.sector(array_lba + index)).collect();
            for (slot, first, last) in &entries {
                let entry = &mut array[slot * 128..slot * 128 + 128];
                entry[..16].copy_from_slice(b"some type GUID..");
                entry[32..40].copy_from_slice(&first.to_le_bytes());
                entry[40..48].copy_from_slice(&last.to_le_bytes());
            }
            card.put(array_lba, &array);
            let mut header = card.sector(lba);
            header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
            for (at, value) in &fields {
                let bytes = if *at >= 80 { 4 } else { 8 };
                header[*at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            }
            seal(&mut header);
            for (at, value) in &bytes {
                header[*at] = *value;
            }
            card.put(lba, &header);
        }
        card.sectors += grown;
        let before = linux::partitions(&card);
        match add_a_partition(&mut card) {
            Err(_) => prop_assert!(!card.was_written()),
            Ok(plan) => {
                let after = linux::partitions(&card);
                prop_assert!(after.is_ok(), "{:?}", after);
                let old = before.map_or(after.as_ref().unwrap().len() - plan.new.len(), |old| old.len());
                prop_assert_eq!(after.unwrap().len(), old + plan.new.len());
            }
        }
    }
}

/// Numbers near everything that matters.
fn number() -> impl Strategy<Value = u64> {
    let near = |value: u64| (0..5u64).prop_map(move |offset| value.wrapping_add(offset).wrapping_sub(2));
    prop_oneof![
        any::<u64>(),
        0..140_000u64,
        near(0),
        near(34),
        near(2048),
        near(131_038),
        near(131_071),
        near(u64::MAX),
        near(128),
        near(1 << 32)
    ]
}
