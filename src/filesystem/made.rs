//! Whether a tool has made what it was asked for. An exit status of 0 says so; what is on the disk proves it. A partition
//! that enters the table without its file system would be complete for every later boot.
//!
//! Knows no disk: looks at the bytes at the start of a partition.

use crate::filesystem::superblock::{self, WINDOW, le16, le32};
use crate::filesystem::{Format, Mkfs};
use crate::units::{KIB, show_exact};

/// Bytes of a partition's start that tell: the superblock of btrfs is the one that ends last.
pub const START: usize = (64 << 10) + WINDOW;

/// What a file system says of itself.
struct Made {
    /// Its size in bytes.
    size: u64,
    label: Vec<u8>,
}

/// Why the start of a partition of `partition` bytes is not what `mkfs` was asked for, as a part of a sentence; nothing when
/// it is. Sectors have `sector_size` bytes.
pub fn check(mkfs: &Mkfs, start: &[u8; START], partition: u64, sector_size: u32) -> Result<(), String> {
    let name = mkfs.format.name();
    let Some(made) = read(mkfs.format, start) else {
        return Err(format!("there is no {name} where it should be"));
    };
    let (size, room) = (show_exact(made.size), mkfs.format.maximum(sector_size).unwrap_or(u64::MAX).min(partition));
    if made.size > partition {
        return Err(format!("the {name} has {size}, and its partition {}", show_exact(partition)));
    }
    if mkfs.has_options {
        return Ok(());
    }
    // Groups and segments at the end that would be too small are left out, but never so much.
    if made.size < room / 4 * 3 {
        return Err(format!("the {name} has only {size} of {}", show_exact(room)));
    }
    let label = until_zero(&made.label);
    let label = label.trim_ascii_end();
    if has_label(mkfs, label) {
        return Ok(());
    }
    let label = String::from_utf8_lossy(label);
    Err(format!("the {name} has the label \"{}\", asked for was \"{}\"", label.escape_debug(), mkfs.label))
}

fn has_label(mkfs: &Mkfs, label: &[u8]) -> bool {
    /// mkfs.btrfs of some versions (6.2) takes 255 bytes and leaves the last one out.
    const BTRFS_KEEPS: usize = 254;
    /// What stands in the place of none in a FAT.
    const FAT_HAS_NONE: &[u8] = b"NO NAME";
    let asked = mkfs.label.as_bytes();
    if mkfs.format == Format::Vfat && asked.trim_ascii().is_empty() && label == FAT_HAS_NONE {
        return true;
    }
    let kept = if mkfs.format == Format::Btrfs { asked.len().min(BTRFS_KEEPS) } else { asked.len() };
    [asked, &asked[..kept]].into_iter().any(|asked| label.eq_ignore_ascii_case(asked.trim_ascii_end()))
}

fn read(format: Format, start: &[u8; START]) -> Option<Made> {
    let label_at = |at: usize, length: usize| start[at..at + length].to_vec();
    let made = |place: usize, label: Vec<u8>| {
        let window: &[u8; WINDOW] = start[place..].first_chunk()?;
        superblock::read(format, window).map(|superblock| Made { size: superblock.size, label })
    };
    match format {
        Format::Ext4 => made(0, label_at(1024 + 120, 16)),
        Format::Xfs => made(0, label_at(108, 12)),
        Format::Btrfs => made(64 << 10, until_zero(&start[(64 << 10) + 299..][..256])),
        Format::F2fs => made(0, utf16(&start[1024 + 124..][..1024])),
        Format::Vfat => vfat(start),
        Format::Swap => swap(start),
    }
}

/// The boot sector of FAT (Microsoft, FAT32 File System Specification, "Boot Sector and BPB").
fn vfat(start: &[u8; START]) -> Option<Made> {
    const EXTENDED: u8 = 0x29;
    let (sector_size, fat_size) = (le16(start, 11), le16(start, 22));
    let sectors = match le16(start, 19) {
        0 => le32(start, 32),
        small => u32::from(small),
    };
    let extended = if fat_size == 0 { 66 } else { 38 };
    let is_one = start[510..512] == [0x55, 0xaa] && start[extended] == EXTENDED && sector_size.is_power_of_two();
    let label = start[extended + 5..][..11].to_vec();
    is_one.then(|| Made { size: u64::from(sectors) * u64::from(sector_size), label })
}

/// The header of swap space, at whose page's end its signature is (include/linux/swap.h, `union swap_header`).
fn swap(start: &[u8; START]) -> Option<Made> {
    const PAGES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
    let page = PAGES.into_iter().find(|page| start[page - 10..].starts_with(b"SWAPSPACE2"))?;
    let (version, last_page) = (le32(start, 1024), u64::from(le32(start, 1028)));
    (version == 1).then(|| Made { size: (last_page + 1) * page as u64, label: start[1052..1068].to_vec() })
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|byte| *byte != 0).collect()
}

fn utf16(bytes: &[u8]) -> Vec<u8> {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units).into_bytes()
}

/// The smallest partition of any format has more than [`START`] bytes.
const _: () = assert!(START as u64 <= 640 * KIB);
