//! What a file system says of itself: which it is, how large it is, how large the kernel would make it in a larger
//! partition, and what speaks against that. Out of the bytes of its superblock, which may be anybody's.
//!
//! Knows no disk. A size that is named here is one that the kernel makes exactly: were it only nearly so, every boot
//! would try again.

use crate::filesystem::Format;
use crate::units::{KIB, MIB, round_down, show_size};

/// Bytes that are read of a partition to know its file system: all that its superblock says is in them.
pub const WINDOW: usize = 4096;

/// A superblock, as far as growing the file system is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which file system.
    pub format: Format,
    /// Bytes that it has now.
    pub size: u64,
    /// Bytes in a block, in which the kernel counts (btrfs counts in bytes; its sectors).
    pub block_size: u64,
    /// The number that a device has in a btrfs.
    pub device_id: u64,
    /// Why it is not grown, as a sentence about it.
    pub obstacle: Option<&'static str>,
    groups: Groups,
    expense: Expense,
}

/// What growing costs beyond the bytes that it adds, by the file system's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expense {
    /// Nothing that is worth a word.
    None,
    /// xfs: every mount reads each group.
    Mounts,
    /// ext4: for each flex group that it adds, of so many groups, the kernel counts all that there are (fs/ext4/super.c,
    /// `ext4_calculate_overhead`, called by fs/ext4/resize.c); where groups have no checksums, it writes their inode tables,
    /// of so many bytes each.
    Counting { flex_groups: u64, tables: Option<u64> },
}

/// The parts that a file system is made of, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Groups {
    /// Blocks before the first one.
    first: u64,
    /// Blocks in each but the last.
    blocks: u64,
    /// A last one with fewer blocks than these is left out.
    least: u64,
    /// The same where only some have copies of the superblock and the descriptors, and it has none.
    least_without_copies: Option<u64>,
    /// Most blocks of all.
    limit: u64,
    /// Sizes are multiples of this many blocks.
    step: u64,
}

/// Where in a partition the window on a format's superblock begins.
pub fn place(format: Format) -> u64 {
    if format == Format::Btrfs { 64 * KIB } else { 0 }
}

/// The formats that say how large they are.
pub const FORMATS: [Format; 4] = [Format::Ext4, Format::Xfs, Format::F2fs, Format::Btrfs];

/// Reads a superblock out of the window on it; nothing when there is none of this format, or none that could be right.
pub fn read(format: Format, window: &[u8; WINDOW]) -> Option<Superblock> {
    match format {
        Format::Ext4 => ext4(&window[1024..2048]),
        Format::Xfs => xfs(window),
        Format::Btrfs => btrfs(window),
        Format::F2fs => f2fs(&window[1024..]),
        Format::Vfat | Format::Swap => None,
    }
}

impl Superblock {
    /// Bytes that it would have after growing in a partition of `partition` bytes: at least what it has now.
    pub fn size_in(&self, partition: u64) -> u64 {
        let Groups { first, blocks, limit, step, .. } = self.groups;
        let there = round_down((partition / self.block_size).min(limit), step);
        let usable = there.saturating_sub(first);
        let (whole, rest) = (usable / blocks, usable % blocks);
        let end = if rest < self.groups.least_of(whole) { there - rest } else { there };
        end.saturating_mul(self.block_size).max(self.size)
    }

    /// What there is to say before it grows to `to` bytes, where that takes long, or makes every later mount slow. The
    /// thresholds are where a slow machine needs about a minute, and a card a second for each mount.
    pub fn expense_of(&self, to: u64) -> Option<String> {
        const MOST_STEPS: u128 = 1 << 24;
        const MOST_TABLES: u64 = 1 << 30;
        const MOST_GROUPS: u64 = 400;
        let groups =
            |size: u64| (size / self.block_size).saturating_sub(self.groups.first).div_ceil(self.groups.blocks);
        let (before, after) = (groups(self.size), groups(to));
        match self.expense {
            Expense::Mounts if after > MOST_GROUPS && after > before => Some(format!(
                "its xfs will have {after} allocation groups, and every mount reads each: let makeroom make the partition, or \
                 make the image larger, and with mkfs.xfs -d agcount=2"
            )),
            Expense::Counting { flex_groups, tables } => {
                let square = |groups: u64| u128::from(groups).pow(2);
                let steps = square(after).saturating_sub(square(before)) / (2 * u128::from(flex_groups.max(1)));
                let written = tables.map_or(0, |bytes| after.saturating_sub(before).saturating_mul(bytes));
                if steps >= MOST_STEPS {
                    Some(format!(
                        "its ext4 will have {after} block groups, which takes the kernel minutes, or hours: let makeroom make \
                         the partition, or make the image with mkfs.ext4 -b 4096 -i 16384"
                    ))
                } else if written >= MOST_TABLES {
                    Some(format!(
                        "its ext4 has no checksums, so that the kernel writes {} of inode tables while it grows: let makeroom \
                         make the partition, or give the image checksums (tune2fs -O metadata_csum)",
                        show_size(written)
                    ))
                } else {
                    None
                }
            }
            _ => None,
        }
    }
}

impl Groups {
    /// Without any: every block can be the last.
    fn none() -> Groups {
        Groups { first: 0, blocks: u64::MAX, least: 0, least_without_copies: None, limit: u64::MAX, step: 1 }
    }

    /// Fewest blocks that the group of this number, from 0, may have at the end.
    fn least_of(&self, number: u64) -> u64 {
        // fs/ext4/balloc.c, ext4_bg_has_super: groups 0 and 1, and the powers of 3, 5 and 7.
        let is_power = |base: u64| std::iter::successors(Some(base), |n| n.checked_mul(base)).any(|n| n == number);
        let has_copies = || number <= 1 || [3, 5, 7].into_iter().any(is_power);
        self.least_without_copies.filter(|_| !has_copies()).unwrap_or(self.least)
    }
}

const WRONG_CHECKSUM: &str = "its superblock has a wrong checksum";

/// include/uapi/linux/ext4.h and fs/ext4/ext4.h, `struct ext4_super_block`; what becomes of its end is decided in
/// `ext4_resize_fs` (fs/ext4/resize.c).
fn ext4(bytes: &[u8]) -> Option<Superblock> {
    const HAS_JOURNAL: u32 = 0x4;
    const SPARSE_SUPER2: u32 = 0x200;
    const JOURNAL_DEVICE: u32 = 0x8;
    const META_BG: u32 = 0x10;
    const WIDE: u32 = 0x80;
    const SPARSE_SUPER: u32 = 0x1;
    const BIGALLOC: u32 = 0x200;
    const CHECKSUMS: u32 = 0x400;
    const GROUP_CHECKSUMS: u32 = 0x10;
    const FLEX_GROUPS: u32 = 0x200;
    const ERRORS: u16 = 2;

    let (compatible, incompatible, read_only) = (le32(bytes, 92), le32(bytes, 96), le32(bytes, 100));
    if le16(bytes, 56) != 0xef53 || incompatible & JOURNAL_DEVICE != 0 {
        return None;
    }
    let block_size = KIB.checked_shl(le32(bytes, 24)).filter(|size| (KIB..=64 * KIB).contains(size))?;
    let is_wide = incompatible & WIDE != 0;
    let blocks = u64::from(le32(bytes, 4)) | if is_wide { u64::from(le32(bytes, 336)) << 32 } else { 0 };
    let (first, per_group, inodes) = (u64::from(le32(bytes, 20)), u64::from(le32(bytes, 32)), le32(bytes, 40));
    let inode_size = if le32(bytes, 76) == 0 { 128 } else { u64::from(le16(bytes, 88)) };
    let descriptor_size = if is_wide { u64::from(le16(bytes, 254)) } else { 32 };
    let cluster = match read_only & BIGALLOC {
        0 => 1,
        _ => KIB.checked_shl(le32(bytes, 28)).filter(|size| *size <= 1 << 30)? / block_size,
    };
    let whole_clusters = cluster > 0 && per_group % cluster == 0 && (cluster == 1 || first == 0);
    let sane = whole_clusters && (1..=64 * KIB * 8 * cluster).contains(&per_group) && inodes > 0 && first <= 1;
    if !sane || blocks <= first {
        return None;
    }
    let size = blocks.checked_mul(block_size)?;
    let inode_table = (u64::from(inodes) * inode_size).div_ceil(block_size);
    let descriptors = (blocks - first).div_ceil(per_group).saturating_mul(descriptor_size).div_ceil(block_size);
    let (bare, copies) = (2 + inode_table + cluster + 1, 1 + descriptors + u64::from(le16(bytes, 206)));
    let is_sparse = read_only & SPARSE_SUPER != 0 && incompatible & META_BG == 0;
    // The kernel refuses more inodes than 32 bits count.
    let limit = u64::from(u32::MAX / inodes).saturating_mul(per_group).saturating_add(first);
    let groups = Groups {
        first,
        blocks: per_group,
        least: bare + copies,
        least_without_copies: is_sparse.then_some(bare),
        limit: if is_wide { limit } else { limit.min(u32::MAX.into()) },
        step: cluster,
    };
    let obstacle = if read_only & CHECKSUMS != 0 && !crc32c(&bytes[..1020]) != le32(bytes, 1020) {
        Some(WRONG_CHECKSUM)
    } else if le16(bytes, 58) & ERRORS != 0 {
        Some("errors were found in it: check it with e2fsck while it is not mounted")
    } else if compatible & HAS_JOURNAL == 0 {
        Some("it has no journal, and a power cut would damage it: grow it by hand with resize2fs")
    } else if compatible & SPARSE_SUPER2 != 0 {
        Some("the kernel does not grow it (sparse_super2): grow it by hand with resize2fs while it is not mounted")
    } else {
        None
    };
    let flex_groups = match (incompatible & FLEX_GROUPS, bytes[372]) {
        (FLEX_GROUPS, log @ 1..=14) => 1 << log,
        (FLEX_GROUPS, 15..=31) => 1 << 14,
        _ => 1,
    };
    let tables = (read_only & (CHECKSUMS | GROUP_CHECKSUMS) == 0).then(|| u64::from(inodes).saturating_mul(inode_size));
    let expense = Expense::Counting { flex_groups, tables };
    Some(Superblock { format: Format::Ext4, size, block_size, device_id: 0, obstacle, groups, expense })
}

/// fs/xfs/libxfs/xfs_format.h, `struct xfs_dsb`, big-endian; what becomes of its end is decided in
/// `xfs_growfs_data_private` (fs/xfs/xfs_fsops.c).
fn xfs(bytes: &[u8]) -> Option<Superblock> {
    const LEAST: u64 = 64;
    const LAST_VERSION: u16 = 5;
    let (block_size, sector_size) = (u64::from(be32(bytes, 4)), usize::from(be16(bytes, 102)));
    let (blocks, per_group) = (be64(bytes, 8), u64::from(be32(bytes, 84)));
    let sane = block_size.is_power_of_two() && (512..=64 * KIB).contains(&block_size) && per_group >= LEAST;
    if bytes[..4] != *b"XFSB" || !sane || !(512..=WINDOW).contains(&sector_size) {
        return None;
    }
    let sector = &bytes[..sector_size];
    let sealed = [&sector[..224], &[0; 4], &sector[228..]].concat();
    let obstacle = if be16(bytes, 100) & 0xf >= LAST_VERSION && crc32c(&sealed) != le32(bytes, 224) {
        Some(WRONG_CHECKSUM)
    } else if be64(bytes, 48) == 0 {
        Some("its log is on another device")
    } else {
        None
    };
    // Numbers of groups have 32 bits, of which the highest means none.
    let limit = per_group * (u64::from(u32::MAX) - 1);
    let groups = Groups { blocks: per_group, least: LEAST, limit, ..Groups::none() };
    let size = blocks.checked_mul(block_size)?;
    let expense = Expense::Mounts;
    Some(Superblock { format: Format::Xfs, size, block_size, device_id: 0, obstacle, groups, expense })
}

/// include/uapi/linux/btrfs_tree.h, `struct btrfs_super_block` and in it `struct btrfs_dev_item`; the new size is
/// rounded in `btrfs_grow_device` (fs/btrfs/volumes.c), and refused below 256 MiB by `btrfs_ioctl_resize`.
fn btrfs(bytes: &[u8]) -> Option<Superblock> {
    const SEEDING: u64 = 1 << 32;
    const CRC32C: u16 = 0;
    const DEVICE: usize = 201;
    let block_size = u64::from(le32(bytes, 144));
    let sane = block_size.is_power_of_two() && (4 * KIB..=64 * KIB).contains(&block_size);
    if bytes[64..72] != *b"_BHRfS_M" || le64(bytes, 48) != place(Format::Btrfs) || !sane {
        return None;
    }
    let obstacle = if le16(bytes, 196) == CRC32C && crc32c(&bytes[32..]) != le32(bytes, 0) {
        Some(WRONG_CHECKSUM)
    } else if le64(bytes, 136) != 1 {
        Some("it has more than one device: grow it by hand with btrfs filesystem resize")
    } else if le64(bytes, 56) & SEEDING != 0 {
        Some("it is the seed of others and cannot be written to")
    } else {
        None
    };
    Some(Superblock {
        format: Format::Btrfs,
        size: le64(bytes, DEVICE + 8),
        block_size,
        device_id: le64(bytes, DEVICE),
        obstacle,
        groups: Groups { least: 256 * MIB / block_size, ..Groups::none() },
        expense: Expense::None,
    })
}

/// include/linux/f2fs_fs.h, `struct f2fs_super_block`. It is seen, but not grown: `resize.f2fs` 1.15 moves its tables
/// in place, and of its states about a third fail `fsck.f2fs` when the power is cut.
fn f2fs(bytes: &[u8]) -> Option<Superblock> {
    // A segment has 2 MiB.
    const SEGMENT: u64 = 512;
    let block_size = 1u64.checked_shl(le32(bytes, 16)).filter(|size| (4 * KIB..=64 * KIB).contains(size))?;
    if le32(bytes, 0) != 0xf2f5_2010 {
        return None;
    }
    Some(Superblock {
        format: Format::F2fs,
        size: le64(bytes, 36).checked_mul(block_size)?,
        block_size,
        device_id: 0,
        obstacle: Some("resize.f2fs does not survive a power cut: run it by hand while it is not mounted"),
        groups: Groups { step: SEGMENT, ..Groups::none() },
        expense: Expense::None,
    })
}

/// CRC-32C (Castagnoli, reflected), with which file systems seal their metadata.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(part(bytes, at))
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(part(bytes, at))
}

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(part(bytes, at))
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(part(bytes, at))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(part(bytes, at))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(part(bytes, at))
}
