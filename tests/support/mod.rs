//! What the tests share: a card in memory, a table builder and the kernel's rules. None of it uses the program's
//! own reader or writer of tables.
#![allow(dead_code)] // each test uses its part
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test may panic

pub mod builder;
pub mod card;
pub mod cleanup;
pub mod dump;
pub mod fuzz;
pub mod linux;
pub mod loops;
pub mod machine;
pub mod memory;
pub mod rules;
pub mod signatures;
pub mod wrong_orders;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use makeroom::apply::{self, Step};
use makeroom::config::{Declared, Identity, Padding};
use makeroom::disk::{Disk, NewPartition};
use makeroom::filesystem::{Content, Format};
use makeroom::growth;
use makeroom::partition_type::{Architecture, by_name};
use makeroom::plan::{self, Guids, Plan};
use makeroom::table::Layout;
use makeroom::table::copies::Table;
use makeroom::units::{Extent, Guid, Label, MIB};
use serde_json::Value;

/// A wish with the given label, type `linux-generic`, without a file system and with the usual weight.
pub fn declared(label: &str) -> Declared {
    Declared {
        label: Label::declared(label).unwrap(),
        identity: Identity::Label,
        partition_type: by_name("linux-generic", Architecture::native()).unwrap(),
        uuid: None,
        attributes: 0,
        content: None,
        weight: 1000,
        size_min: 10 * MIB,
        size_max: None,
        padding: Padding::default(),
        priority: 0,
        grow: true,
        grow_file_system: true,
        factory_reset: false,
    }
}

/// The wish for which a partition with this label was made: one that is known by its type may have got a number behind
/// its name.
pub fn wish_of<'a>(wishes: &'a [Declared], label: &Label) -> &'a Declared {
    let exact = wishes.iter().find(|wish| wish.label == *label);
    let is_meant = |wish: &&Declared| label.lossy().starts_with(&wish.label.lossy());
    exact.or(wishes.iter().rfind(is_meant)).unwrap()
}

/// Content of the given format.
pub fn content(format: Format, label: &str) -> Option<Content> {
    Some(Content {
        format,
        label: label.to_owned(),
        options: Vec::new(),
        directories: Vec::new(),
        default_subvolume: None,
    })
}

/// GUIDs that are the same in every run.
pub fn guids(partition_type: Guid, ordinal: u64, attempt: u32) -> Option<Guid> {
    let seed = Guid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    Some(Guid::derive(seed, &[&partition_type.0[..], &ordinal.to_le_bytes(), &attempt.to_le_bytes()].concat()))
}

/// What a run decides: as `makeroom::run` does, without configuration and tools.
pub fn decide(disk: &mut dyn Disk, declared: &[Declared], alignment: u64) -> Result<(Table, Plan, Vec<Step>), String> {
    decide_by(plan::plan, disk, declared, alignment)
}

/// The same by another planner, [`plan::plan_reset`].
pub fn decide_by(
    plan: fn(&[Declared], &Layout, u64, &mut Guids) -> Result<Plan, plan::Error>,
    disk: &mut dyn Disk,
    declared: &[Declared],
    alignment: u64,
) -> Result<(Table, Plan, Vec<Step>), String> {
    let table = Table::read(disk).map_err(|error| error.to_string())?;
    let mut plan = |layout: &Layout| plan(declared, layout, alignment, &mut guids);
    let plan = growth::plan(disk, table.layout(), &mut plan).map_err(|error| error.to_string())?;
    let steps = apply::steps(&table, &plan);
    Ok((table, plan, steps))
}

/// The new partitions of a plan, without commands.
pub fn to_make(plan: &Plan) -> Vec<NewPartition> {
    let new = plan.new.iter().map(|new| &new.partition);
    new.map(|p| NewPartition { number: p.number, label: p.label.clone(), extent: p.extent, mkfs: None }).collect()
}

/// The numbers of the partitions that a plan removes.
pub fn removed(plan: &Plan) -> Vec<u32> {
    plan.removed.iter().map(|partition| partition.number).collect()
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration of `fixtures/configs`.
pub fn fixture_config(name: &str) -> PathBuf {
    dump::fixtures().join(format!("configs/{name}.toml"))
}

/// Runs a tool that the test needs.
pub fn tool(name: &str, arguments: &[&str]) -> Output {
    try_tool(name, arguments).unwrap_or_else(|error| panic!("{name} is needed for this test: {error}"))
}

fn try_tool(name: &str, arguments: &[&str]) -> std::io::Result<Output> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    Command::new(name).args(arguments).env("LC_ALL", "C").env("PATH", path).output()
}

/// The program that is tested, as whoever runs it by hand. `MAKEROOM_PROGRAM` names another build of it, with what runs
/// it: `qemu-aarch64-static PATH`.
pub fn program() -> Command {
    // A fuzzer shares this file, and has no program.
    let built = option_env!("CARGO_BIN_EXE_makeroom");
    let words =
        std::env::var("MAKEROOM_PROGRAM").unwrap_or_else(|_| built.expect("cargo builds it for a test").to_owned());
    let mut words = words.split_whitespace();
    let mut program = Command::new(words.next().unwrap());
    program.args(words).env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").env("LC_ALL", "C");
    program
}

/// Makes the image of a card as `fixtures/cards/make` does.
pub fn make_card(name: &str, image: &Path) {
    let made = Command::new(dump::fixtures().join("cards/make")).arg(name).arg(image).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// What a file system's own checker says of a device or a file; it changes nothing.
pub fn fsck(path: &str, format: &str) -> Output {
    match format {
        "ext4" => tool("e2fsck", &["-fn", path]),
        "xfs" => tool("xfs_repair", &["-n", path]),
        "btrfs" => tool("btrfs", &["check", path]),
        "f2fs" => tool("fsck.f2fs", &["--dry-run", path]),
        "vfat" => tool("fsck.vfat", &["-n", path]),
        _ => tool("blkid", &["-p", path]),
    }
}

/// False, so that it can be tried again.
pub fn wait_a_moment() -> bool {
    std::thread::sleep(std::time::Duration::from_millis(50));
    false
}

/// Waits until a file is there.
pub fn wait_for(path: &Path) {
    assert!((0..600).any(|_| path.exists() || wait_a_moment()), "{} does not appear", path.display());
}

/// Calls `visit` with every part of a file's range that is not a hole, and where it begins in the file.
pub fn each_part(path: &Path, range: Extent, mut visit: impl FnMut(u64, &[u8])) {
    let file = File::open(path).unwrap();
    let mut at = range.start;
    while let Ok(Some((start, end))) = makeroom::kernel::next_data(&file, at) {
        let (start, end) = (start.max(range.start), end.min(range.end()));
        if start >= end {
            break;
        }
        let mut part = vec![0; usize::try_from(end - start).unwrap()];
        file.read_exact_at(&mut part, start).unwrap();
        visit(start, &part);
        at = end;
    }
}

/// All of a file.
pub fn whole(path: &Path) -> Extent {
    Extent { start: 0, size: path.metadata().unwrap().len() }
}

/// Copies a part of a file into a file of its own, holes as holes.
pub fn extract(from: &Path, range: Extent, to: &Path) {
    let into = File::create(to).unwrap();
    into.set_len(range.size).unwrap();
    each_part(from, range, |at, part| into.write_all_at(part, at - range.start).unwrap());
}

/// A partition of a report by its label.
pub fn partition<'a>(report: &'a Value, label: &str) -> &'a Value {
    report["partitions"].as_array().unwrap().iter().find(|partition| partition["label"] == label).unwrap()
}

/// A hash of all that is not zeros in a file: what of the rest is a hole changes while the system writes a disk's cache to
/// it.
pub fn content_hash(path: &Path) -> u32 {
    const BLOCK: usize = 4096;
    let mut hash = crc32fast::Hasher::new();
    each_part(path, whole(path), |start, part| {
        for (at, block) in (start..).step_by(BLOCK).zip(part.chunks(BLOCK)) {
            if block.iter().any(|byte| *byte != 0) {
                hash.update(&at.to_le_bytes());
                hash.update(block);
            }
        }
    });
    hash.finalize()
}

/// Signatures of other systems at both ends of a partition: btrfs, ext4, RAID 1.0 and 1.2, LVM, ZFS, swap.
pub fn old_signatures(size: u64) -> Vec<(u64, Vec<u8>)> {
    let raid = |version: u32| {
        let mut superblock = vec![0; 256];
        superblock[..4].copy_from_slice(&0xa92b_4efcu32.to_le_bytes());
        superblock[4..8].copy_from_slice(&1u32.to_le_bytes());
        superblock[8..12].copy_from_slice(&version.to_le_bytes());
        superblock
    };
    let mut raid_at_start = raid(0);
    raid_at_start[144..152].copy_from_slice(&8u64.to_le_bytes());
    let mut raid_at_end = raid(0);
    let end_sector = (size / 512 - 16) & !7;
    raid_at_end[144..152].copy_from_slice(&end_sector.to_le_bytes());
    let zfs = |label: u64| -> Vec<(u64, Vec<u8>)> {
        (0..8).map(|block| (label + (128 << 10) + block * 1024, 0x00ba_b10cu64.to_le_bytes().to_vec())).collect()
    };
    let mut all = vec![
        (0x438, vec![0x53, 0xef]),
        (0x10040, b"_BHRfS_M".to_vec()),
        (4096, raid_at_start),
        (end_sector * 512, raid_at_end),
        (4086, b"SWAPSPACE2".to_vec()),
        (512, b"LABELONE\x01\0\0\0\0\0\0\0".to_vec()),
    ];
    all.extend(zfs(0));
    all.extend(zfs(size / 262_144 * 262_144 - 262_144));
    all
}

/// Small reproducible random numbers (xorshift64*), for sampling.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}
