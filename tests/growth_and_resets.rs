//! What growth and a factory reset must leave alone, on tables that are odd.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use makeroom::apply::{Action, Stage};
use makeroom::config::{Declared, Identity};
use makeroom::disk::Disk;
use makeroom::growth::{self, Candidate};
use makeroom::hibernation;
use makeroom::plan;
use makeroom::table::{Layout, Partition};
use makeroom::units::{Extent, Guid, KIB, Label, MIB};
use support::builder::{Builder, PARTITION_TYPE};
use support::rules::{applied, check_plan};
use support::{decide_by, declared, guids};

fn at(number: u32, start: u64, size: u64, label: &str, kind: u128) -> Partition {
    Partition {
        number,
        extent: Extent { start: start * MIB, size: size * MIB },
        label: Label::declared(label).unwrap(),
        partition_type: Guid::from_u128(kind),
        guid: Guid::from_u128(1000 + u128::from(number)),
        attributes: 0,
    }
}

fn by_type(label: &str, kind: u128, factory_reset: bool) -> Declared {
    Declared { identity: Identity::Type, partition_type: Guid::from_u128(kind), factory_reset, ..declared(label) }
}

fn layout(mib: u64, partitions: Vec<Partition>) -> Layout {
    Layout::new(512, Extent { start: MIB, size: mib * MIB }, 128, partitions)
}

#[test]
fn nothing_is_made_before_the_first_usable_sector() {
    let early = |first: u64, sectors: u64| Partition {
        extent: Extent { start: first * 512, size: sectors * 512 },
        ..at(1, 0, 0, "loader", 1)
    };
    let loader = Declared { partition_type: Guid::from_u128(1), size_min: 1, ..declared("loader") };
    let small = Declared { size_max: Some(MIB), ..loader.clone() };
    for wishes in [vec![declared("root")], vec![loader], vec![small, declared("root")]] {
        let before = Layout { usable: Extent { start: 16 * MIB, size: 984 * MIB }, ..layout(0, vec![early(64, 64)]) };
        let plan = plan::plan(&wishes, &before, MIB, &mut guids).unwrap();
        check_plan(&wishes, &before, &plan);
    }
}

/// The same on a card: a partition before an array that is not at LBA 2.
#[test]
fn the_primary_array_is_in_no_partition() {
    let builder =
        Builder { array_lba: 64, first_usable: 2048, partitions: vec![(1, 34, 63, "spl")], ..Builder::new(512, 64) };
    let mut card = builder.build();
    let (table, plan, _) = decide_by(plan::plan, &mut card, &[declared("root")], 4 * KIB).unwrap();
    let array = Extent { start: table.home * 512, size: 32 * 512 };
    assert!(plan.new.iter().all(|new| !new.partition.extent.overlaps(&array)), "{:?} on {array:?}", plan.new);
    let spl = Declared { partition_type: Guid::from_disk(*PARTITION_TYPE), size_min: 1, ..declared("spl") };
    let (_, plan, steps) = decide_by(plan::plan, &mut card, &[spl], 4 * KIB).unwrap();
    let over = plan.grown.iter().any(|grown| grown.partition.extent.overlaps(&array));
    if over {
        let mut done = Vec::new();
        makeroom::apply::carry_out(&mut card, &steps, &[], &[], &mut done).unwrap();
        let again = decide_by(plan::plan, &mut card, &[], 4 * KIB).map(|_| ());
        panic!("{:?} over {array:?}; the next run: {again:?}", plan.grown);
    }
}

#[test]
fn what_a_reset_deletes_is_not_probed_before() {
    let partition_type = Guid::from_disk(*PARTITION_TYPE);
    let builder = Builder {
        partitions: vec![(1, 2048, 4095, "boot"), (2, 4096, 6143, "store"), (5, 6144, 32_734, "data")],
        ..Builder::new(512, 16)
    };
    let store = Declared { partition_type, size_min: 64 * KIB, ..declared("store") };
    let data =
        Declared { partition_type, size_min: 64 * KIB, size_max: Some(MIB), factory_reset: true, ..declared("data") };
    let mut card = builder.build();
    let (_, plan, steps) = decide_by(plan::plan_reset, &mut card, &[store, data], MIB).unwrap();
    let removed = &plan.removed[0];
    for step in &steps {
        if let Action::Probe(lba) = step.action {
            let sector = Extent { start: lba * 512, size: 512 };
            assert!(!removed.extent.overlaps(&sector), "LBA {lba} of {removed:?} is written in {:?}", step.stage);
        }
        if step.stage == Stage::Remove {
            break;
        }
    }
}

/// The name "home" is taken by another type.
#[test]
fn each_is_known_again_by_the_name_that_it_got() {
    let wishes = [by_type("home", 7, true), by_type("home-2", 7, false)];
    let before = layout(1000, vec![at(1, 1, 50, "home", 1)]);
    let first = plan::plan(&wishes, &before, MIB, &mut guids).unwrap();
    let names: Vec<_> = first.new.iter().map(|new| (new.partition.number, new.partition.label.lossy())).collect();
    let found = plan::find_all(&wishes, &applied(&before, &first).partitions)
        .unwrap()
        .iter()
        .map(|p| p.unwrap().number)
        .collect::<Vec<_>>();
    assert_eq!(found, first.new.iter().map(|new| new.partition.number).collect::<Vec<_>>(), "{names:?}");
}

/// var is deleted, the power fails before it is made anew, and the word is still there.
#[test]
fn a_reset_that_was_cut_deletes_nothing_else() {
    let wishes = [by_type("var", 7, true)];
    let before = layout(1000, vec![at(1, 1, 50, "boot", 1), at(2, 51, 100, "precious", 7), at(3, 151, 100, "var", 7)]);
    let Ok(first) = plan::plan_reset(&wishes, &before, MIB, &mut guids) else { return };
    assert_eq!(first.removed.iter().map(|p| p.number).collect::<Vec<_>>(), [3]);
    let mut cut = before;
    cut.remove(3);
    let second = plan::plan_reset(&wishes, &cut, MIB, &mut guids).unwrap();
    assert!(second.removed.is_empty(), "deletes {:?}", second.removed);
}

/// Two definitions of one type on an image whose labels are others; only the first is marked.
#[test]
fn a_reset_of_one_leaves_the_other_for_ever() {
    let wishes = [by_type("home", 7, true), by_type("home-2", 7, false)];
    let before = layout(1000, vec![at(1, 1, 50, "boot", 1), at(2, 51, 100, "scratch", 7), at(3, 151, 100, "keep", 7)]);
    let Ok(first) = plan::plan_reset(&wishes, &before, MIB, &mut guids) else { return };
    assert_eq!(first.removed.iter().map(|p| p.number).collect::<Vec<_>>(), [2]);
    let second = plan::plan_reset(&wishes, &applied(&before, &first), MIB, &mut guids).unwrap();
    assert!(second.removed.iter().all(|p| p.label.lossy() != "keep"), "deletes {:?}", second.removed);
}

#[test]
fn a_reset_leaves_what_is_of_another_type() {
    let wishes = [Declared { partition_type: Guid::from_u128(9), factory_reset: true, ..declared("data") }];
    let before = layout(1000, vec![at(1, 1, 50, "boot", 1), at(2, 51, 100, "data", 7)]);
    let plan = plan::plan_reset(&wishes, &before, MIB, &mut guids).unwrap();
    assert!(plan.removed.is_empty(), "deletes {:?}; warnings {:?}", plan.removed, plan.warnings);
}

/// A physical volume of LVM, made where an ext4 was: its label is at byte 512, and byte 1024 is as before.
#[test]
fn an_old_superblock_below_something_else_is_not_mounted() {
    let mut card = Builder::new(512, 16).build();
    let start = 2048u64;
    let mut sectors = vec![0u8; 4096];
    sectors[512..520].copy_from_slice(b"LABELONE");
    let sb = &mut sectors[1024..2048];
    let mut put = |at: usize, bytes: &[u8]| sb[at..at + bytes.len()].copy_from_slice(bytes);
    put(4, &128u32.to_le_bytes());
    put(24, &2u32.to_le_bytes());
    put(32, &32768u32.to_le_bytes());
    put(40, &64u32.to_le_bytes());
    put(56, &0xef53u16.to_le_bytes());
    put(76, &1u32.to_le_bytes());
    put(88, &256u16.to_le_bytes());
    put(92, &4u32.to_le_bytes());
    card.write(start, &sectors).unwrap();
    let candidate = Candidate {
        number: 1,
        label: Label::declared("pv").unwrap(),
        extent: Extent { start: MIB, size: 200 * MIB },
        format: None,
        has_grown: false,
        protection: None,
    };
    let (growing, warnings) = growth::find(&mut card, &[candidate]);
    assert!(growing.is_empty(), "mounts {growing:?} {warnings:?}");
}

/// A system that sleeps has mounted what would grow.
#[test]
fn a_sign_of_hibernation_is_found_wherever_it_is_left() {
    let mut card = Builder::new(512, 16).build();
    let swap = Extent { start: MIB, size: MIB };
    let empty = Extent { start: 2 * MIB, size: MIB };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut sign = |swaps: &[Extent], line: &str, location| hibernation::sign(&mut card, swaps, &words(line), location);
    assert_eq!(sign(&[empty], "quiet resume=/dev/sda3", false), None, "the swap of this disk holds none");
    assert!(sign(&[], "quiet resume=/dev/sda3", false).unwrap().contains("resume="), "nobody knows");
    assert!(sign(&[empty], "resume=/dev/sda3 resume_offset=7", false).unwrap().contains("resume_offset="));
    assert!(sign(&[empty], "quiet", true).unwrap().contains("HibernateLocation"));
    assert_eq!(sign(&[], "resume=/dev/sda3 noresume", true), None);
    for page in [4096, 16384, 65536] {
        let mut card = Builder::new(512, 16).build();
        let mut sector = vec![0; 512];
        sector[502..511].copy_from_slice(b"S1SUSPEND");
        card.put((swap.start + page) / 512 - 1, &sector);
        let found = hibernation::sign(&mut card, &[empty, swap], &words("quiet"), false);
        assert!(found.unwrap().contains("byte 1048576"), "{page}");
    }
}
