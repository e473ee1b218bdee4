//! What other software leaves on a device is found, by blkid's name for it, on disks with sectors of either size and in
//! partitions; what blkid and the formats' own tools say; and that nothing else is taken for it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use std::fs::File;
use std::io;
use std::ops::Range;
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

/// What the blkid of Debian 12 (2.38) does not confirm: at the end or not, the name, which samples of that name, and
/// why.
type Unconfirmed = (bool, &'static str, Range<usize>, &'static str);
const UNCONFIRMED: &[Unconfirmed] = &[
    (
        true,
        "silicon_medley_raid_member",
        1..4,
        "blkid looks at the first of the four areas only (dmraid, sil.c, has all)",
    ),
    (true, "zfs_member", 0..4, "blkid 2.38 counts uberblocks; newer ones read the list of values"),
    (false, "zfs_member", 0..4, "blkid 2.38 counts uberblocks; newer ones read the list of values"),
    (true, "bcachefs", 0..6, "blkid 2.38 does not know bcachefs"),
    (false, "bcachefs", 0..1, "blkid 2.38 does not know bcachefs"),
    (true, "hfsplus", 0..2, "blkid does not look at the alternate volume header"),
    (true, "ntfs", 0..1, "blkid does not look at the copy of the boot sector"),
    (true, "vhd", 0..2, "blkid knows no formats of images"),
    (true, "udif", 0..1, "blkid knows no formats of images"),
    (true, "avb", 0..1, "blkid does not know Android's footers"),
    (true, "ldm", 0..1, "blkid knows the partition type only"),
    (true, "geom", 0..4, "blkid knows nothing of FreeBSD's GEOM"),
    (false, "cramfs", 1..2, "blkid does not look behind a boot sector (fs/cramfs/inode.c does)"),
    (false, "udf", 0..1, "blkid wants the rest of the volume, too: mkudffs makes it"),
];

/// This blkid has no --sector-size. Of what is in another place on a disk with sectors of 4096 bytes, it can tell
/// nothing.
#[test]
fn blkid_gives_what_it_knows_the_same_name() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("device");
    for (at_end, (_, samples)) in [true, false].into_iter().zip(BOTH) {
        for size in SIZES {
            let all = samples(size, 512);
            for (index, (name, parts)) in all.iter().enumerate() {
                let nth = all[..index].iter().filter(|before| before.0 == *name).count();
                let is_excused =
                    |(end, of, which, _): &&Unconfirmed| *end == at_end && of == name && which.contains(&nth);
                write(&image, size, parts);
                let said = blkid(&image);
                let excuse = UNCONFIRMED.iter().find(is_excused).map(|excuse| excuse.3);
                assert!(
                    said == *name || excuse.is_some() && said.is_empty(),
                    "{name} {nth} of {size}: {said:?} {excuse:?}"
                );
            }
            let large = samples(size, 4096).into_iter().filter(|sample| !all.contains(sample));
            let large: Vec<&str> = large.map(|sample| sample.0).collect();
            assert_eq!(large, if at_end { &["isw_raid_member", "ntfs"][..] } else { &[] });
        }
    }
}

/// Whose metadata, where it looks, and the command that makes it; IMAGE, OTHER, KEY and DIRECTORY are there before.
/// Made by hand as well were those of mkfs.exfat, mkntfs, mkfs.erofs, mkfs.jfs, mkfs.nilfs2, mkreiserfs, mkfs.reiser4,
/// mkfs.cramfs, genromfs, genisoimage, mkudffs, mkfs.ocfs2 and ubinize. mdadm, pvcreate and integritysetup want the
/// kernel's drivers: their layouts are those of libblkid and of the kernel's headers, as in `support::signatures`.
const TOOLS: &[(&str, Look, &str)] = &[
    ("vhd", signature::at_end, "qemu-img convert -O vpc -o subformat=fixed,force_size=on OTHER IMAGE"),
    ("vhd", signature::at_end, "qemu-img convert -O vpc -o subformat=fixed OTHER IMAGE"),
    ("drbd", signature::at_end, "drbdmeta --force - v08 IMAGE internal create-md"),
    ("drbd", signature::at_end, "drbdmeta --force - v09 IMAGE internal create-md 1"),
    ("DM_verity_hash", signature::at_start, "veritysetup format OTHER IMAGE"),
    (
        "crypto_LUKS",
        signature::at_start,
        "cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 IMAGE KEY",
    ),
    (
        "crypto_LUKS",
        signature::at_start,
        "cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 IMAGE KEY",
    ),
    ("bcache", signature::at_start, "make-bcache -B IMAGE"),
    ("bcache", signature::at_start, "make-bcache -C IMAGE"),
    ("swap", signature::at_start, "mkswap IMAGE"),
    ("swap", signature::at_start, "mkswap -p 16384 IMAGE"),
    ("swap", signature::at_start, "mkswap -p 65536 IMAGE"),
    ("ext2", signature::at_start, "mkfs.ext2 -q -F IMAGE"),
    ("ext3", signature::at_start, "mkfs.ext3 -q -F IMAGE"),
    ("ext4", signature::at_start, "mkfs.ext4 -q -F IMAGE"),
    ("jbd", signature::at_start, "mkfs.ext4 -q -F -O journal_dev IMAGE"),
    ("xfs", signature::at_start, "mkfs.xfs -q IMAGE"),
    ("btrfs", signature::at_start, "mkfs.btrfs -q IMAGE"),
    ("f2fs", signature::at_start, "mkfs.f2fs -q IMAGE"),
    ("vfat", signature::at_start, "mkfs.vfat -F 12 IMAGE 65536"),
    ("vfat", signature::at_start, "mkfs.vfat -F 16 IMAGE"),
    ("vfat", signature::at_start, "mkfs.vfat -F 32 IMAGE"),
    ("vfat", signature::at_start, "mkfs.vfat -F 32 -S 4096 IMAGE"),
    ("squashfs", signature::at_start, "mksquashfs DIRECTORY IMAGE -quiet -noappend"),
];

#[test]
fn what_the_tools_make_is_found() {
    const SIZE: u64 = 320 * MIB;
    for (name, look, command) in TOOLS {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["IMAGE", "OTHER"] {
            File::create(path(name)).unwrap().set_len(SIZE).unwrap();
        }
        std::fs::write(path("KEY"), "key").unwrap();
        std::fs::create_dir(path("DIRECTORY")).unwrap();
        std::fs::write(path("DIRECTORY/file"), "content").unwrap();
        let in_place = |word: &str| match word {
            "IMAGE" | "OTHER" | "KEY" | "DIRECTORY" => path(word).to_str().unwrap().to_owned(),
            word => word.to_owned(),
        };
        let words: Vec<String> = command.split(' ').map(in_place).collect();
        let output = tool(&words[0], &words[1..].iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        let mut card = read(&path("IMAGE"));
        let extent = whole(&card);
        let found = look(&mut card, extent).unwrap();
        assert_eq!(found.map(|found| found.name), Some(*name), "{command}");
        let said = blkid(&path("IMAGE"));
        assert!(said == *name || *name == "vhd" && said.is_empty(), "{command}: {said}");
    }
}

/// A file as a card.
fn read(image: &Path) -> Card {
    let extent = support::whole(image);
    let mut card = card(extent.size, 512);
    support::each_part(image, extent, |start, part| {
        let sectors = (start / 512..).zip(part.chunks(512));
        sectors
            .filter(|(_, sector)| sector.iter().any(|byte| *byte != 0))
            .for_each(|(lba, sector)| card.put(lba, sector));
    });
    card
}

fn whole(disk: &dyn Disk) -> Extent {
    Extent { start: 0, size: disk.sectors() * u64::from(disk.sector_size()) }
}

/// A sparse file with these bytes.
fn write(image: &Path, size: u64, parts: &[(u64, Vec<u8>)]) {
    let file = File::create(image).unwrap();
    file.set_len(size).unwrap();
    parts.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
}

/// The TYPE that blkid gives a file.
fn blkid(image: &Path) -> String {
    let output = tool("blkid", &["-p", "-o", "value", "-s", "TYPE", image.to_str().unwrap()]);
    text(&output.stdout).trim().to_owned()
}

/// At the end or not, a name, which sample of that name, and bytes of its first part that make it something else, with
/// a checksum that is right where it is not the checksum that is wrong.
type NearMiss = (bool, &'static str, usize, &'static [(usize, u8)]);
const NEAR_MISSES: &[NearMiss] = &[
    (true, "linux_raid_member", 0, &[(4, 2)]),      // version
    (true, "linux_raid_member", 0, &[(144, 0xff)]), // its own place
    (true, "linux_raid_member", 1, &[(4, 1)]),      // version
    (true, "linux_raid_member", 1, &[(8, 89)]),
    (true, "linux_raid_member", 2, &[(11, 92)]),
    (true, "ddf_raid_member", 0, &[(32, b' ')]), // revision
    (true, "ddf_raid_member", 2, &[(34, b' ')]),
    (true, "via_raid_member", 0, &[(2, 3), (8, 30)]), // version
    (true, "via_raid_member", 0, &[(3, 0b0001_0100), (8, 24)]), // kind of array
    (true, "via_raid_member", 0, &[(20, 1)]),         // checksum
    (true, "silicon_medley_raid_member", 0, &[(99, 0), (201, 0x2f)]),
    (true, "silicon_medley_raid_member", 0, &[(278, 8), (46, 43)]), // number of the disk
    (true, "silicon_medley_raid_member", 0, &[(200, 1)]),           // checksum
    (true, "nvidia_raid_member", 0, &[(8, 31)]),                    // length
    (true, "hpt45x_raid_member", 0, &[(0, 0xf0)]),
    (true, "hpt45x_raid_member", 0, &[(18, 8)]), // number of the disk
    (true, "adaptec_raid_member", 0, &[(256, 0)]),
    (true, "jmicron_raid_member", 0, &[(48, 6), (32, 92)]), // level
    (true, "jmicron_raid_member", 0, &[(100, 9)]),          // checksum
    (true, "drbd", 0, &[(63, 0x6a)]),
    (true, "drbd", 0, &[(83, 1)]),        // bytes per bit
    (true, "zfs_member", 0, &[(0, 0)]),   // encoding
    (true, "zfs_member", 0, &[(1, 2)]),   // byte order
    (true, "nilfs2", 0, &[(0, 1)]),       // revision
    (true, "nilfs2", 0, &[(9, 0)]),       // length
    (true, "hfsplus", 0, &[(3, 5)]),      // version
    (true, "hfsplus", 0, &[(43, 1)]),     // size of a block
    (false, "crypto_LUKS", 0, &[(7, 3)]), // version
    (false, "LVM2_member", 0, &[(8, 1)]), // its own place
    (false, "linux_raid_member", 0, &[(144, 8)]),
    (false, "linux_raid_member", 1, &[(4, 0)]),
    (false, "zfs_member", 0, &[(11, 0)]),
    (false, "udf", 0, &[(0, 9)]),
    (false, "hfsplus", 1, &[(3, 4)]),
    (false, "nilfs2", 0, &[(4, 1)]),
    (false, "hpt37x_raid_member", 0, &[(32, 0)]),
    (false, "hpt37x_raid_member", 0, &[(44, 8)]), // kind of array
    (false, "VMFS", 0, &[(4, 32)]),               // version
    (false, "VMFS_volume_member", 0, &[(4, 32)]), // version
    (false, "DM_snapshot_cow", 0, &[(4, 2)]),     // whether it is valid
    (false, "DM_snapshot_cow", 0, &[(8, 2)]),     // version
    (false, "ext4", 0, &[(24, 7)]),               // size of a block
    (false, "ext4", 0, &[(76, 2)]),               // revision
    (false, "xfs", 0, &[(6, 17)]),                // size of a block
    (false, "xfs", 0, &[(103, 1)]),               // size of a sector
    (false, "f2fs", 0, &[(8, 8)]),                // size of a sector
    (false, "f2fs", 0, &[(16, 17)]),              // size of a block
    (false, "squashfs", 0, &[(28, 3)]),           // version
    (false, "squashfs", 0, &[(22, 16)]),          // size of a block
    (false, "erofs", 0, &[(12, 8)]),              // size of a block
    (false, "iso9660", 0, &[(0, 9)]),             // type
    (false, "apfs", 0, &[(24, 2)]),               // type
    (false, "apfs", 0, &[(30, 1)]),
    (false, "gfs2", 0, &[(26, 1)]), // format
    (false, "gfs2", 0, &[(30, 1)]), // format between hosts
    (false, "jfs", 0, &[(20, 13)]), // size of a block
    (false, "jfs", 0, &[(28, 10)]), // size of a sector
    (false, "vfat", 0, &[(11, 1)]), // size of a sector
    (false, "vfat", 0, &[(13, 3)]), // size of a cluster
    (false, "vfat", 0, &[(14, 0)]), // reserved sectors
    (false, "vfat", 0, &[(16, 0)]), // tables
    (false, "vfat", 0, &[(21, 0)]), // medium
    (false, "vfat", 0, &[(22, 0)]), // length of a table
    (false, "vfat", 0, &[(34, 0)]), // length
];

#[test]
fn a_short_magic_alone_is_taken_for_nothing() {
    for (at_end, name, nth, wrong) in NEAR_MISSES {
        let (look, samples) = BOTH[usize::from(!at_end)];
        let samples = samples(SIZES[0], 512);
        let mut parts = samples.iter().filter(|sample| sample.0 == *name).nth(*nth).unwrap().1.clone();
        parts.truncate(1);
        let look_at = |parts: &[(u64, Vec<u8>)]| {
            let mut card = card(SIZES[0], 512);
            parts.iter().for_each(|(at, bytes)| put(&mut card, *at, bytes));
            look(&mut card, Extent { start: 0, size: SIZES[0] }).unwrap().map(|found| found.name)
        };
        assert_eq!(look_at(&parts), Some(*name));
        wrong.iter().for_each(|(at, byte)| parts[0].1[*at] = *byte);
        assert_eq!(look_at(&parts), None, "{name} {nth} with {wrong:?}");
    }
}

#[test]
fn a_protective_mbr_is_no_fat_whatever_boot_code_is_in_it() {
    let samples = signatures::at_start(SIZES[0], 512);
    let (_, parts) = samples.iter().find(|sample| sample.0 == "vfat").unwrap();
    let mut card = card(SIZES[0], 512);
    put(&mut card, 0, &parts[0].1);
    put(&mut card, 450, &[0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    let extent = whole(&card);
    assert_eq!(signature::at_start(&mut card, extent).unwrap(), None);
}

#[test]
fn a_table_within_a_partition_is_found_and_the_disks_own_is_not_asked_for() {
    for (sector_size, table_sector) in [(512, 512), (512, 4096), (4096, 4096), (4096, 512)] {
        let mut card = card(SIZES[1] + 2 * START, sector_size);
        let partition = Extent { start: START, size: SIZES[1] };
        let my_lba = SIZES[1] / table_sector - 1;
        let header =
            [&b"EFI PART\0\0\x01\0\x5c\0\0\0"[..], &[9; 8], &my_lba.to_le_bytes(), &1u64.to_le_bytes()].concat();
        put(&mut card, partition.end() - table_sector, &header);
        let found = signature::nested_table_at_end(&mut card, partition).unwrap().unwrap();
        assert_eq!((found.name, found.at), ("gpt", partition.end() - table_sector));
        assert_eq!(signature::at_end(&mut card, partition).unwrap(), None);
        // The header of the disk that the partition ends with is another device's.
        put(&mut card, partition.end() - table_sector + 24, &(my_lba + START / table_sector).to_le_bytes());
        assert_eq!(signature::nested_table_at_end(&mut card, partition).unwrap(), None);
    }
}

#[test]
fn nothing_is_seen_in_recorded_tables_zeros_ones_and_noise() {
    let looks: [Look; 3] = [signature::at_end, signature::at_start, signature::nested_table_at_end];
    for name in dump::names() {
        let mut card = dump::load(&name);
        let extent = whole(&card);
        assert_eq!(signature::at_end(&mut card, extent).unwrap(), None, "{name}");
        // One of them is no table at all.
        let expected = (name == "fat-superfloppy").then_some("vfat");
        let found = signature::at_start(&mut card, extent).unwrap();
        assert_eq!(found.map(|found| found.name), expected, "{name}");
    }
    let mut random = Random(7);
    for round in 0..8 {
        let mut card = card(3 * MIB, 4096);
        for lba in 0..card.sectors {
            let byte = |_| [0, 0xff, 0x55].get(round).copied().unwrap_or_else(|| random.below(256) as u8);
            let sector: Vec<u8> = (0..4096).map(byte).collect();
            card.put(lba, &sector);
        }
        for look in looks {
            assert_eq!(look(&mut card, Extent { start: 4096, size: 3 * MIB - 8192 }).unwrap(), None);
        }
    }
}

/// A card that may be read within an extent only, in whole sectors; it counts, and may fail.
struct Watched {
    card: Card,
    extent: Extent,
    reads: u64,
    bytes: u64,
    fails: bool,
}

impl Disk for Watched {
    fn sector_size(&self) -> u32 {
        self.card.sector_size
    }

    fn sectors(&self) -> u64 {
        self.card.sectors
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (size, count) = (u64::from(self.card.sector_size), buffer.len() as u64);
        assert!(count > 0 && count % size == 0, "reads are whole sectors");
        assert!(lba * size >= self.extent.start && lba * size + count <= self.extent.end(), "reads are in the extent");
        assert!(lba * size + count <= self.card.sectors * size, "reads are on the disk");
        (self.reads, self.bytes) = (self.reads + 1, self.bytes + count);
        if self.fails { Err(io::ErrorKind::TimedOut.into()) } else { self.card.read(lba, buffer) }
    }

    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn flush(&mut self) -> io::Result<()> {
        unreachable!("nothing is written")
    }

    fn forget(&mut self) -> io::Result<bool> {
        unreachable!("nothing is forgotten")
    }

    fn lock(&mut self, _: Duration) -> Result<(), OpenError> {
        unreachable!("nothing is locked")
    }

    fn prepare(&mut self, _: &[NewPartition], _: &[u32], _: &[Shown]) -> Result<(), MakeError> {
        unreachable!("nothing is made")
    }

    fn make(&mut self, _: &[NewPartition]) -> Result<(), MakeError> {
        unreachable!("nothing is made")
    }
}

#[test]
fn little_is_read_and_what_cannot_be_read_is_an_error() {
    let extent = Extent { start: START, size: SIZES[2] };
    for sector_size in [512, 4096] {
        for (look, _) in BOTH {
            let card = card(SIZES[2] + 2 * START, sector_size);
            let mut disk = Watched { card, extent, reads: 0, bytes: 0, fails: false };
            assert_eq!(look(&mut disk, extent).unwrap(), None);
            assert!(disk.reads <= 32 && disk.bytes <= 128 << 10, "{} reads, {} bytes", disk.reads, disk.bytes);
            disk.fails = true;
            assert_eq!(look(&mut disk, extent).unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }
}

/// Any place and size, and such as are on a small disk and around it.
fn extents() -> impl Strategy<Value = Extent> {
    let near = (0..32u64, 0..5000u64, 0..3u64).prop_map(|(start, size, odd)| (start * 4096, size * 512 + odd));
    let odd = (0..20000u64, 0..5_000_000u64);
    let anywhere = (any::<u64>(), any::<u64>());
    let far = (0..4u64, any::<u64>()).prop_map(|(back, size)| (u64::MAX / 4096 * 4096 - back * 4096, size));
    prop_oneof![4 => near, 1 => odd, 1 => anywhere, 1 => far].prop_map(|(start, size)| Extent { start, size })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Samples of the right size, of which bytes are changed, at places that are right or not.
    #[test]
    fn no_bytes_and_no_extent_make_it_panic_or_read_elsewhere(
        extent in extents(),
        sector_size in prop_oneof![Just(512u32), Just(4096)],
        sectors in 0..6000u64,
        end in any::<bool>(),
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((0..512usize, any::<u8>()), 0..3),
    ) {
        let mut card = Card::new(sector_size, sectors);
        let bytes = sectors * u64::from(sector_size);
        let samples = if end { signatures::at_end(extent.size.clamp(4 * MIB, 1 << 40), sector_size) }
            else { signatures::at_start(64 * MIB, sector_size) };
        let (_, parts) = which.get(&samples);
        for (at, part) in parts {
            let mut part = part.clone();
            for (place, byte) in &changes {
                if let Some(old) = part.get_mut(*place) { *old = *byte; }
            }
            let at = extent.start.saturating_add(*at);
            if at.checked_add(part.len() as u64).is_some_and(|end| end <= bytes) { put(&mut card, at, &part); }
        }
        let mut disk = Watched { card, extent, reads: 0, bytes: 0, fails: false };
        for look in [signature::at_end, signature::at_start, signature::nested_table_at_end] {
            match look(&mut disk, extent) {
                Ok(Some(found)) => prop_assert!(found.at >= extent.start && found.at < extent.end().min(bytes)),
                Ok(None) => {}
                Err(reason) => prop_assert_eq!(reason.kind(), io::ErrorKind::InvalidInput),
            }
        }
    }
}
