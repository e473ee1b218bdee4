//! What belongs to other software or to another life of the disk: none of it is written to, grown over, or restored.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use makeroom::apply;
use makeroom::config::Declared;
use makeroom::plan::Plan;
use makeroom::table::copies::{Glance, Table};
use makeroom::units::{Extent, Guid, MIB};
use support::builder::{Builder, PARTITION_TYPE, mend, seal};
use support::card::Card;
use support::{decide, declared, linux, signatures, to_make};

const GIB: u64 = 1 << 30;

/// A wish for a partition that the builder makes.
fn existing(label: &str) -> Declared {
    Declared { partition_type: Guid::from_disk(*PARTITION_TYPE), size_min: 1, ..declared(label) }
}

/// A card of `mib` MiB onto which an image was flashed.
fn flashed(image: &Builder, mib: u64) -> Card {
    Card { sectors: mib * MIB / u64::from(image.sector_size), ..image.build() }
}

/// Runs; gives the outcome, and checks that a refusal has written nothing.
fn run(card: &mut Card, wishes: &[Declared]) -> Result<(Table, Plan), String> {
    let before = card.content.clone();
    let decided = decide(card, wishes, MIB);
    let (table, plan, steps) = decided.inspect_err(|_| assert!(card.content == before && !card.was_written()))?;
    apply::carry_out(card, &steps, &to_make(&plan), &[], &mut Vec::new()).map_err(|error| error.to_string())?;
    Ok((table, plan))
}

fn refusal(mut card: Card, wishes: &[Declared]) -> String {
    run(&mut card, wishes).map(|(_, plan)| plan).expect_err("it is not refused")
}

// --- a backup of an earlier life ---

/// A card that has its backup at its end, and whose primary header is gone.
fn without_header(builder: &Builder) -> Card {
    let mut card = builder.build();
    card.put(1, &vec![0; builder.sector_size as usize]);
    card
}

/// The same, and its entry array.
fn without_primary(builder: &Builder) -> Card {
    let mut card = without_header(builder);
    let array = builder.array_sectors() * u64::from(builder.sector_size);
    card.put(builder.array_lba, &vec![0; array as usize]);
    card
}

/// Neither found by a search nor by name.
fn assert_not_restored(mut card: Card, because: &str) {
    let before = card.content.clone();
    let glance = Glance::at(&mut card).map(|glance| glance.disk_guid()).unwrap_err().to_string();
    assert!(glance.contains(because), "{glance}");
    let said = refusal(card.clone(), &[declared("root")]);
    assert!(said.contains(because), "{said}");
    assert!(card.content == before);
}

#[test]
fn the_backup_of_a_damaged_table_is_restored_where_nothing_is_newer() {
    for sector_size in [512, 4096] {
        for make in [without_header, without_primary] {
            let mut card = make(&Builder::new(sector_size, 64));
            let old = linux::gpt(&card, card.sectors - 1).unwrap().partitions;
            run(&mut card, &[declared("root")]).unwrap();
            assert_eq!(linux::partitions(&card).unwrap()[..3], old);
        }
    }
}

/// With the whole entry array at the start of the disk, whatever the MBR says.
#[test]
fn the_table_of_a_hybrid_image_is_mended() {
    let mut card = without_header(&Builder::new(512, 64));
    // A record over two partitions, and ISO 9660 in front of the table, as images for optical media have it.
    card.put_bytes(462 + 4, &[0x0c]);
    card.put_bytes(462 + 8, &[0, 8, 0, 0, 0, 16, 0, 0]);
    card.put_bytes(32_768, b"\x01CD001\x01");
    run(&mut card, &[declared("root")]).unwrap();
}

/// Where an MBR says no end, and nothing else at the start is of the backup's table.
#[test]
fn a_backup_is_not_restored_where_nothing_says_that_it_is_of_this_disk() {
    for covered in [u32::MAX, 1 << 30] {
        let mut card = without_primary(&Builder::new(512, 64));
        card.put_bytes(458, &covered.to_le_bytes());
        assert_not_restored(card.clone(), "nothing at the start of the disk is of its table");
        // A rest of the header is enough.
        let mut header = Builder::new(512, 64).build().sector(1);
        header[20] ^= 1;
        card.put(1, &header);
        run(&mut card, &[declared("root")]).unwrap();
    }
}

#[test]
fn a_backup_does_not_undo_a_table_for_sectors_of_another_size() {
    // Once in sectors of 4096 bytes, now in sectors of 512, through another reader; and the other way round.
    for (old, new) in [(4096, 512), (512, 4096)] {
        let mut card = without_primary(&Builder::new(old, 64));
        let newer = Builder::new(new, 16).build();
        let bytes: Vec<u8> = (0..34 * 4096 / u64::from(new)).flat_map(|lba| newer.sector(lba)).collect();
        card.put_bytes(0, &bytes[..if new == 512 { 34 * 512 } else { 6 * 4096 }]);
        // Its protective MBR says nothing of the old one's end.
        card.put_bytes(458, &u32::MAX.to_le_bytes());
        assert_not_restored(card, &format!("was made for sectors of {new} bytes"));
    }
}

#[test]
fn a_backup_does_not_undo_a_table_that_ends_elsewhere() {
    // An image over a card that had a table of its own: the image's copies are lost, the card's backup is whole.
    let mut card = without_primary(&Builder { disk_guid: *b"an earlier disk.", ..Builder::new(512, 64) });
    card.put(0, &Builder::new(512, 16).protective_mbr());
    assert_not_restored(card.clone(), "the protective MBR says that the table ends at LBA 32767");
    // The same where the MBR says no end, as many tools write it, and the image's entry array is still there.
    card.put_bytes(458, &u32::MAX.to_le_bytes());
    let image = Builder { partitions: vec![(1, 2048, 30_000, "photos")], ..Builder::new(512, 16) }.build();
    let mut array = image.piece(2, 32);
    array[16..32].copy_from_slice(b"another GUID ...");
    card.put(2, &array);
    assert_not_restored(card, "the start of the disk has 1 partition entries that it does not have");
}

#[test]
fn a_backup_does_not_undo_a_partition_that_the_mbr_has() {
    let mut card = without_primary(&Builder::new(512, 64));
    let mut mbr = card.sector(0);
    mbr[462 + 4] = 0x83;
    mbr[462 + 8..462 + 16].copy_from_slice(&[0, 0x40, 0, 0, 0, 0x40, 0, 0]);
    card.put(0, &mbr);
    assert_not_restored(card, "the MBR has partition 2 (type 0x83), of which the backup knows nothing");
}

#[test]
fn a_backup_does_not_undo_a_file_system_on_the_whole_disk() {
    let mut tried = 0;
    for sector_size in [512, 4096] {
        let size = 64 * MIB;
        for (name, pieces) in signatures::at_start(size, sector_size) {
            let mut card = without_primary(&Builder::new(sector_size, 64));
            let mbr = card.sector(0);
            pieces.iter().for_each(|(at, bytes)| card.put_bytes(*at, bytes));
            // What lies on the MBR takes its place; of the others it is still there.
            if card.sector(0)[446..512] == mbr[446..512] {
                tried += 1;
                assert_not_restored(card, "the disk itself holds");
            } else {
                let said = refusal(card, &[declared("root")]);
                assert!(said.contains("no partition table") || said.contains("MBR"), "{name}: {said}");
            }
        }
    }
    assert!(tried > 60, "only {tried}");
}

#[test]
fn a_header_that_was_disabled_on_purpose_is_no_damage() {
    let mut card = Builder::new(512, 64).build();
    card.put_bytes(512, b"IGNOREME");
    let said = refusal(card, &[declared("root")]);
    assert!(said.contains("its signature is IGNOREME") && said.contains("cgpt legacy -e"), "{said}");
}

// --- the end of the disk ---

/// File systems that had the whole card before the image was flashed: the table is where they began.
const DEAD: [&str; 5] = ["bcachefs", "hfsplus", "ldm", "nilfs2", "ntfs"];

/// An image of 16 MiB on a card of `size` bytes with something at its end.
fn with_end(sector_size: u32, size: u64, pieces: &[(u64, Vec<u8>)]) -> Card {
    let mut card = flashed(&Builder::new(sector_size, 16), size / MIB);
    card.sectors = size / u64::from(sector_size);
    pieces.iter().for_each(|(at, bytes)| card.put_bytes(*at, bytes));
    card
}

#[test]
fn what_other_software_keeps_at_the_end_of_a_disk_stays() {
    for (sector_size, size) in [(512, 64 * MIB), (512, 65 * MIB + 12_288), (4096, 64 * MIB), (4096, 67 * MIB + 4096)] {
        for (name, pieces) in signatures::at_end(size, sector_size) {
            if DEAD.contains(&name) {
                let mut card = with_end(sector_size, size, &pieces);
                run(&mut card, &[declared("root")]).unwrap();
                continue;
            }
            let card = with_end(sector_size, size, &pieces);
            let said = refusal(card.clone(), &[declared("root")]);
            assert!(said.starts_with("root would be made, and "), "{name}: {said}");
            assert!(said.contains("the partition table ends at byte 16777216"), "{name}: {said}");
            // Nothing missing, and the last partition could grow.
            let mut same = card.clone();
            let (table, plan) = run(&mut same, &[existing("boot"), existing("_empty")]).unwrap();
            assert!(plan.is_empty() && table.foreign_end.is_some() && same.content == card.content, "{name}");
            // Without its primary, it is not mended either.
            let mut damaged = card.clone();
            damaged.put(1, &vec![0; sector_size as usize]);
            assert!(refusal(damaged, &[existing("boot")]).contains("is not mended"), "{name}");
        }
    }
}

#[test]
fn what_the_table_covers_is_the_table_s() {
    // A superblock of md 0.90 lies before where a backup table is: here it is left of an earlier life.
    let size = 64 * MIB;
    let md = size - 64 * 1024;
    let samples = signatures::at_end(size, 512);
    let mut tried = 0;
    for (_, pieces) in samples.iter().filter(|(name, pieces)| *name == "linux_raid_member" && pieces[0].0 == md) {
        let mut card = Builder::new(512, 64).build();
        pieces.iter().for_each(|(at, bytes)| card.put_bytes(*at, bytes));
        let (table, plan) = run(&mut card, &[declared("root")]).unwrap();
        assert_eq!((table.foreign_end, plan.new.len()), (None, 1));
        tried += 1;
    }
    assert_eq!(tried, 2);
    // The backup itself, written over by an array that was made of the disk.
    let at_backup = samples.iter().filter(|(name, pieces)| pieces[0].0 >= size - 33 * 512 && !DEAD.contains(name));
    for (name, pieces) in at_backup {
        let mut card = Builder::new(512, 64).build();
        pieces.iter().for_each(|(at, bytes)| card.put_bytes(*at, bytes));
        let before = card.content.clone();
        if linux::gpt(&card, card.sectors - 1).is_ok() {
            // It lies behind the header in its sector.
            assert_eq!(*name, "avb");
            continue;
        }
        let answer = run(&mut card, &[existing("boot")]);
        assert!(answer.is_ok_and(|(table, _)| table.foreign_end.is_some()) && card.content == before, "{name}");
    }
}

#[test]
fn what_was_appended_to_an_image_stays() {
    // Of a kind that is on no list: a signature, and what has no end where it could be looked for.
    for sectors in [1, 7, 33, 127] {
        let mut card = Builder::new(512, 16).build();
        card.sectors += sectors;
        let at = (card.sectors - 1) * 512;
        card.put_bytes(at + 500, b"-----SIGNED-");
        let said = refusal(card.clone(), &[declared("root")]);
        assert!(said.contains("something that is no table is at byte"), "{said}");
        let mut same = card.clone();
        run(&mut same, &[existing("boot")]).unwrap();
        assert!(same.content == card.content, "{sectors}");
        // Erased flash is nothing.
        card.put_bytes(at, &[0xff; 512]);
        run(&mut card, &[declared("root")]).unwrap();
    }
    // A card is larger than its image by more: there anything may be left of what was there before.
    let mut card = flashed(&Builder::new(512, 16), 64);
    card.put_bytes(63 * MIB, b"a photo");
    card.put_bytes(64 * MIB - 600, b"another");
    run(&mut card, &[declared("root")]).unwrap();
}

// --- the end of a partition ---

/// A card on which "_empty", the last partition, may grow, with something at its end.
fn with_partition_end(sector_size: u32, pieces: impl Fn(Extent) -> Vec<(u64, Vec<u8>)>) -> (Card, Extent) {
    let per_mib = MIB / u64::from(sector_size);
    let partitions = vec![(1, per_mib, 2 * per_mib - 1, "boot"), (3, 2 * per_mib, 10 * per_mib - 1, "_empty")];
    let mut card = flashed(&Builder { partitions, user_data: false, ..Builder::new(sector_size, 16) }, 64);
    let extent = Extent { start: 2 * MIB, size: 8 * MIB };
    pieces(extent).iter().for_each(|(at, bytes)| card.put_bytes(extent.start + at, bytes));
    (card, extent)
}

fn assert_stays(card: &mut Card, extent: Extent, what: &str) -> Vec<String> {
    let size = u64::from(card.sector_size);
    let before = card.piece(extent.start / size, extent.size / size);
    let last = linux::partitions(card).unwrap().last().unwrap().clone();
    let (_, plan) = run(card, &[existing("_empty"), declared("root")]).unwrap();
    assert!(plan.grown.is_empty() && plan.kept_size == [last.number], "{what}: {:?}", plan.grown);
    assert_eq!(plan.new.len(), 1, "{what}: what is missing is made beside it");
    assert!(card.piece(extent.start / size, extent.size / size) == before, "{what}");
    assert!(linux::partitions(card).unwrap().contains(&last), "{what}");
    plan.warnings
}

#[test]
fn a_partition_with_metadata_at_its_end_does_not_grow() {
    for sector_size in [512, 4096] {
        let samples = |extent: Extent| signatures::at_end(extent.size, sector_size);
        let count = samples(Extent { start: 0, size: 8 * MIB }).len();
        for index in 0..count {
            let (mut card, extent) = with_partition_end(sector_size, |extent| samples(extent)[index].1.clone());
            let name = samples(extent)[index].0;
            let warnings = assert_stays(&mut card, extent, name).concat();
            assert!(warnings.contains("_empty: neither its partition nor its file system grows: "), "{warnings}");
            assert!(warnings.contains(" is at its end, at byte "), "{warnings}");
        }
        // A disk image with a table of its own, as virtual machines have them in a partition.
        let nested = Builder::new(sector_size, 8).build();
        let (mut card, extent) = with_partition_end(sector_size, |_| {
            nested.content.iter().map(|(lba, sector)| (lba * u64::from(sector_size), sector.clone())).collect()
        });
        let warnings = assert_stays(&mut card, extent, "a table of its own").concat();
        assert!(warnings.contains("the end of a partition table of its own is at its end"), "{warnings}");
        // And without any of it, it grows.
        let (mut card, _) = with_partition_end(sector_size, |_| Vec::new());
        let (_, plan) = run(&mut card, &[existing("_empty")]).unwrap();
        assert_eq!((plan.grown.len(), plan.warnings.len()), (1, 0));
    }
}

/// An ext4 without a checksum, of this size, by its superblock alone.
fn ext4(size: u64) -> Vec<(u64, Vec<u8>)> {
    let mut superblock = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| superblock[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &1024u32.to_le_bytes());
    put(4, &((size / 4096) as u32).to_le_bytes());
    put(24, &2u32.to_le_bytes());
    put(32, &32_768u32.to_le_bytes());
    put(40, &1024u32.to_le_bytes());
    put(56, &0xef53u16.to_le_bytes());
    put(76, &1u32.to_le_bytes());
    put(88, &256u16.to_le_bytes());
    put(92, &4u32.to_le_bytes());
    vec![(1024, superblock)]
}

#[test]
fn a_partition_with_something_behind_its_file_system_does_not_grow() {
    for sector_size in [512, 4096] {
        for at in [0, 4095, 65_535] {
            let pieces = |_| [ext4(6 * MIB), vec![(6 * MIB + at, vec![7])]].concat();
            let (mut card, extent) = with_partition_end(sector_size, pieces);
            let warnings = assert_stays(&mut card, extent, "a hash tree").concat();
            assert!(warnings.contains("something is behind its file system, at byte"), "{warnings}");
        }
        let (mut card, _) = with_partition_end(sector_size, |_| ext4(6 * MIB));
        assert_eq!(run(&mut card, &[existing("_empty")]).unwrap().1.grown.len(), 1);
    }
}

/// An xfs of this size without a checksum, by its superblock alone.
fn xfs(size: u64) -> Vec<(u64, Vec<u8>)> {
    let mut superblock = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| superblock[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"XFSB");
    put(4, &4096u32.to_be_bytes());
    put(8, &(size / 4096).to_be_bytes());
    put(32, b"an xfs, and none");
    put(48, &4u64.to_be_bytes());
    put(84, &512u32.to_be_bytes());
    put(102, &512u16.to_be_bytes());
    vec![(0, superblock)]
}

/// A power cut leaves a part of a growth: groups of an xfs that its superblock does not have yet, or an ext4 of any size
/// in a partition whose end was cleared.
#[test]
fn what_a_power_cut_left_of_a_growth_is_no_obstacle() {
    let own_group = |_: Extent| {
        let mut group = xfs(6 * MIB)[0].1.clone();
        group[8] ^= 1;
        [xfs(6 * MIB), vec![(6 * MIB, group)]].concat()
    };
    let other_group = |_: Extent| {
        let mut group = xfs(6 * MIB)[0].1.clone();
        group[40] ^= 1;
        [xfs(6 * MIB), vec![(6 * MIB, group)]].concat()
    };
    let garbage = |_: Extent| [ext4(6 * MIB), vec![(6 * MIB, vec![7; 4096])]].concat();
    let marked = |extent: Extent| {
        let last = extent.size - 512;
        [garbage(extent), vec![(last, makeroom::growth::GROWN_MARK.to_vec())]].concat()
    };
    let grows = |pieces: &dyn Fn(Extent) -> Vec<(u64, Vec<u8>)>| {
        let (mut card, _) = with_partition_end(512, pieces);
        run(&mut card, &[existing("_empty")]).unwrap().1.grown.len()
    };
    assert_eq!([grows(&own_group), grows(&other_group), grows(&garbage), grows(&marked)], [1, 0, 0, 1]);
}

/// What a partition grows over is not empty on a card that was used before: a run that is stopped before the file system
/// has grown must not take it for something that belongs to that.
#[test]
fn what_a_partition_has_grown_over_does_not_keep_its_file_system_from_growing() {
    let (mut card, _) = with_partition_end(512, |_| ext4(8 * MIB));
    (0..54 * 16).for_each(|piece| card.put_bytes(10 * MIB + piece * 65_536, b"of an earlier life"));
    let wish = Declared { size_max: Some(20 * MIB), ..existing("_empty") };
    let (_, plan) = run(&mut card, std::slice::from_ref(&wish)).unwrap();
    assert_eq!(plan.grown.len(), 1, "{:?}", plan.warnings);
    let (_, plan) = run(&mut card, &[Declared { size_max: None, ..wish }]).unwrap();
    assert_eq!(plan.grown.len(), 1, "{:?}", plan.warnings);
}

#[test]
fn a_read_only_partition_and_one_with_a_hash_tree_beside_it_do_not_grow() {
    let entry = |card: &mut Card, number: u64, at: u64, bytes: &[u8]| {
        for array in [2, card.sectors - 33] {
            card.put_bytes(array * 512 + (number - 1) * 128 + at, bytes);
        }
        [1, card.sectors - 1].into_iter().for_each(|lba| mend(card, lba));
    };
    let per_mib = 2048;
    let partitions = vec![(1, per_mib, 2 * per_mib - 1, "boot"), (3, 2 * per_mib, 10 * per_mib - 1, "_empty")];
    let image = Builder { partitions, ..Builder::new(512, 64) };
    let extent = Extent { start: 2 * MIB, size: 8 * MIB };
    let mut read_only = image.build();
    entry(&mut read_only, 3, 48, &(1u64 << 60).to_le_bytes());
    let warnings = assert_stays(&mut read_only, extent, "read-only").concat();
    assert!(warnings.contains("the table has it as read-only (attribute bit 60)"), "{warnings}");

    use makeroom::partition_type::{Architecture, by_name};
    let type_of = |name: &str| by_name(name, Architecture::native()).unwrap();
    for (data, verity, protects) in [
        ("root-x86-64", "root-x86-64-verity", true),
        ("usr-arm64", "usr-arm64-verity", true),
        ("root-x86-64", "root-arm64-verity", false),
        ("root-x86-64", "usr-x86-64-verity", false),
        ("srv", "root-x86-64-verity", false),
    ] {
        let mut card = image.build();
        entry(&mut card, 1, 0, &type_of(verity).to_disk());
        entry(&mut card, 3, 0, &type_of(data).to_disk());
        let wish = Declared { partition_type: type_of(data), ..existing("_empty") };
        let (_, plan) = run(&mut card, &[wish]).unwrap();
        assert_eq!(plan.grown.is_empty(), protects, "{data} beside {verity}: {:?}", plan.warnings);
        assert_eq!(plan.warnings.concat().contains("partition 1 has a hash tree"), protects);
    }
}

// --- a hybrid MBR ---

/// A card with a record for these sectors beside the protective one.
fn hybrid(first: u32, sectors: u32) -> Card {
    let mut card = Builder::new(512, 64).build();
    let mut mbr = card.sector(0);
    mbr[462 + 4] = 0x0c;
    mbr[462 + 8..462 + 12].copy_from_slice(&first.to_le_bytes());
    mbr[462 + 12..462 + 16].copy_from_slice(&sectors.to_le_bytes());
    card.put(0, &mbr);
    card
}

#[test]
fn a_partition_that_only_the_mbr_has_is_not_free() {
    // Behind the last partition; in the middle; over the end of the last one; and at the end.
    for (first, sectors) in [(8192, 2048), (50_000, 9000), (7000, 20_000), (120_000, 11_000)] {
        let mut card = hybrid(first, sectors);
        let mbr = card.sector(0);
        let (table, plan) = run(&mut card, &[existing("_empty"), declared("root")]).unwrap();
        let theirs = Extent { start: u64::from(first) * 512, size: u64::from(sectors) * 512 };
        assert_eq!(plan.new.len(), 1);
        assert!(!plan.new[0].partition.extent.overlaps(&theirs), "{:?} on {theirs:?}", plan.new);
        assert!(plan.grown.iter().all(|grown| !grown.tail().overlaps(&theirs)), "{:?} on {theirs:?}", plan.grown);
        assert_eq!(card.sector(0), mbr);
        let remarks = table.remarks().concat();
        assert!(remarks.contains("partition 2 (type 0x0c) of the hybrid MBR has bytes"), "{remarks}");
    }
    let said = refusal(hybrid(8192, 122_000), &[declared("root")]);
    assert!(said.contains("are partition 2 (type 0x0c) of the hybrid MBR"), "{said}");
    // One that mirrors a partition, or lies in one, changes nothing.
    for (first, sectors) in [(2048, 2048), (4100, 100)] {
        let (mut plain, mut card) = (Builder::new(512, 64).build(), hybrid(first, sectors));
        let wishes = [existing("_empty"), declared("root")];
        let (table, plan) = run(&mut card, &wishes).unwrap();
        let same = run(&mut plain, &wishes).unwrap().1;
        assert_eq!((plan.new, plan.grown, table.remarks()), (same.new, same.grown, vec![]));
    }
}

/// The header of an old backup is cleared in free space only.
#[test]
fn an_old_backup_in_a_partition_that_only_the_mbr_has_stays() {
    let mut card = flashed(&Builder::new(512, 16), 64);
    card.put(0, &hybrid(31_000, 2000).sector(0));
    let before = card.sector(32_767);
    assert!(before.starts_with(b"EFI PART"));
    run(&mut card, &[declared("root")]).unwrap();
    assert_eq!(card.sector(32_767), before);
}

#[test]
fn the_backup_does_not_move_onto_a_partition_that_only_the_mbr_has() {
    let mut card = hybrid(120_000, 100_000);
    card.sectors = 100 * 2048;
    let said = refusal(card.clone(), &[declared("root")]);
    assert!(said.contains("partition 2 (type 0x0c) of the hybrid MBR is at byte 61440000"), "{said}");
    let before = card.content.clone();
    run(&mut card, &[existing("boot")]).unwrap();
    assert!(card.content == before);
}

// --- entries that Linux ignores ---

#[test]
fn an_entry_that_linux_ignores_stays_and_is_named() {
    for (first, last) in [(5000u64, 4000u64), (1 << 40, (1 << 40) + 9), (u64::MAX - 1, u64::MAX)] {
        let mut builder = Builder { user_data: false, ..Builder::new(512, 64) };
        (builder.partitions[2].1, builder.partitions[2].2) = (first, last);
        let mut card = builder.build();
        // The last one: its number is not free.
        let entry = |card: &Card| card.piece(2, 1)[256..384].to_vec();
        let before = entry(&card);
        let (table, plan) = run(&mut card, &[declared("root")]).unwrap();
        assert_eq!((plan.new[0].partition.number, entry(&card)), (4, before));
        let remarks = table.remarks().concat();
        assert!(
            remarks.contains(&format!("partition 3 (\"_empty\") has LBA {first} to {last}, and the disk ends")),
            "{remarks}"
        );
        // A second one of its name could not be told from it.
        let said = refusal(builder.build(), &[declared("_empty")]);
        assert!(
            said.contains(&format!("partition 3 (\"_empty\") has LBA {first} to {last}, where the disk has nothing")),
            "{said}"
        );
    }
}

// --- words ---

#[test]
fn a_table_that_ends_long_before_its_backup_is_named() {
    let large = Builder { spare_at_end: 2 * GIB / 512, ..Builder::new(512, 4096) };
    let mut card = large.build();
    let (table, _) = run(&mut card, &[declared("root")]).unwrap();
    let remarks = table.remarks().concat();
    assert!(remarks.contains("2.0 GiB (2147483648 bytes) before its backup: sgdisk -e DISK frees them"), "{remarks}");
    let full = Builder { spare_at_end: 4090 * 2048 - 100, ..Builder::new(512, 4096) };
    let said = refusal(full.build(), &[declared("root")]);
    assert!(said.contains("sgdisk -e DISK frees them") && !said.contains("Use a larger card"), "{said}");
    // A few MiB are left out on purpose.
    let small = Builder { spare_at_end: 4096, ..Builder::new(512, 64) };
    assert_eq!(run(&mut small.build(), &[declared("root")]).unwrap().0.remarks(), [""; 0]);
}

#[test]
fn a_remedy_fits_what_is_wrong() {
    // The disk is smaller than its table: everything fits, or it does not.
    let cut = |image: Builder, mib: u64| refusal(flashed(&image, mib), &[declared("root")]);
    assert!(cut(Builder::new(512, 64), 16).contains("every partition fits all the same. sgdisk -e DISK"));
    let large = Builder { partitions: vec![(1, 2048, 100_000, "boot")], ..Builder::new(512, 64) };
    assert!(cut(large.clone(), 16).contains("the card is smaller than its image. Use a larger card"));
    // The last partition ends where the backup would be.
    let full = Builder { partitions: vec![(1, 2048, 32_740, "boot")], ..Builder::new(512, 64) };
    assert!(cut(full, 16).contains("Use a larger card"));
    // A partition behind the last usable LBA.
    let behind = |last: u64| {
        let image = Builder { partitions: vec![(1, 2048, last, "boot")], spare_at_end: 1000, ..Builder::new(512, 64) };
        refusal(Builder { user_data: false, ..image }.build(), &[declared("root")])
    };
    assert!(behind(131_000).contains("sgdisk -e DISK makes the usable range end"), "{}", behind(131_000));
    assert!(behind(131_060).contains("use a larger disk"), "{}", behind(131_060));
    // A boot loader in the entry array: gdisk would overwrite it.
    let mut card = Builder::new(512, 64).build();
    (16..34).for_each(|lba| card.put(lba, &[0xe5; 512]));
    let said = refusal(card, &[declared("root")]);
    assert!(
        said.contains("needs LBA 2 to 33, and from LBA 16 on") && said.contains("sfdisk: table-length: 56"),
        "{said}"
    );
    assert!(!said.contains("repair"), "{said}");
}

/// That the helper of these tests makes what it says.
#[test]
fn a_sealed_header_is_valid() {
    let card = Builder::new(512, 64).build();
    let mut header = card.sector(1);
    seal(&mut header);
    assert_eq!(header, card.sector(1));
}
