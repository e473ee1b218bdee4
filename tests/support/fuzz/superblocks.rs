//! Partitions with any superblock: a usual one, and changes to it.

use makeroom::filesystem::Format;
use makeroom::filesystem::superblock::{self, FORMATS, Superblock, WINDOW};
use makeroom::growth::{self, Candidate};
use makeroom::units::{Extent, KIB, Label, MIB};

use super::Input;
use crate::support::card::Card;

const START: u64 = MIB;

/// What is in the partition is nothing, or can be made larger within it and then fills it.
pub fn superblock(data: &[u8]) {
    let mut input = Input(data);
    let format = input.pick(&FORMATS);
    let declared = [Some(format), None, Some(Format::Ext4), Some(Format::Btrfs), Some(Format::Swap)];
    let declared = input.pick(&declared);
    let size = input.number(&[256 * MIB, 0, 4 * KIB, 64 * KIB, 300 * MIB, 1 << 40]) % (1 << 52);
    let mut window = usual(format);
    while !input.is_empty() {
        let at = usize::from(input.u16()) % (WINDOW - 8);
        let length = input.pick(&[4, 1, 2, 8]);
        window[at..at + length].copy_from_slice(&input.bytes::<8>()[..length]);
    }
    for format in FORMATS.into_iter().chain([Format::Vfat, Format::Swap]) {
        if let Some(superblock) = superblock::read(format, &window) {
            assert_eq!(superblock.format, format);
            [size, 0, u64::MAX, superblock.size].into_iter().for_each(|size| check(&superblock, size));
        }
    }
    find(format, declared, size / 4096 * 4096, &window);
}

fn check(superblock: &Superblock, size: u64) {
    let to = superblock.size_in(size);
    assert!(to >= superblock.size && to <= superblock.size.max(size), "{superblock:?}: {to} in {size}");
    assert!(superblock.size_in(size.saturating_sub(1)) <= to, "{superblock:?}: less in more than {size}");
    assert_eq!(superblock.size_in(to), to, "{superblock:?}: not at once in {size}");
}

/// On a card whose partition it is.
fn find(format: Format, declared: Option<Format>, size: u64, window: &[u8; WINDOW]) {
    let mut card = Card::new(512, (START + size + MIB) / 512);
    if superblock::place(format) + WINDOW as u64 <= size {
        card.put((START + superblock::place(format)) / 512, window);
    }
    let label = Label::declared("root").unwrap();
    let extent = Extent { start: START, size };
    let candidate = Candidate { number: 1, label, extent, format: declared, has_grown: false, protection: None };
    let (growing, warnings) = growth::find(&mut card, &[candidate]);
    assert!(!card.was_written() && growing.len() <= 1 && warnings.len() <= 1, "{growing:?} {warnings:?}");
    for growth in growing {
        assert!(growth.to >= growth.superblock.size && growth.to <= size, "{growth:?}");
        assert!(
            growth.superblock.obstacle.is_none() && declared.is_none_or(|format| format == growth.superblock.format)
        );
        assert!(!growth.words().contains(char::is_control));
    }
    assert!(warnings.iter().all(|warning| !warning.contains(char::is_control)), "{warnings:?}");
}

/// A superblock without a checksum, of 128 MiB and more.
fn usual(format: Format) -> [u8; WINDOW] {
    let mut window = [0; WINDOW];
    let mut put = |at: usize, bytes: &[u8]| window[at..at + bytes.len()].copy_from_slice(bytes);
    match format {
        Format::Ext4 => {
            put(1024 + 4, &32_768u32.to_le_bytes());
            put(1024 + 24, &2u32.to_le_bytes());
            put(1024 + 28, &2u32.to_le_bytes());
            put(1024 + 32, &32_768u32.to_le_bytes());
            put(1024 + 40, &8192u32.to_le_bytes());
            put(1024 + 56, &[0x53, 0xef, 1, 0]);
            put(1024 + 76, &1u32.to_le_bytes());
            put(1024 + 88, &256u16.to_le_bytes());
            put(1024 + 92, &0x14u32.to_le_bytes());
            put(1024 + 96, &0xc0u32.to_le_bytes());
            put(1024 + 100, &1u32.to_le_bytes());
            put(1024 + 206, &63u16.to_le_bytes());
            put(1024 + 254, &64u16.to_le_bytes());
        }
        Format::Xfs => {
            put(0, b"XFSB");
            put(4, &4096u32.to_be_bytes());
            put(8, &49_152u64.to_be_bytes());
            put(48, &16_388u64.to_be_bytes());
            put(84, &16_384u32.to_be_bytes());
            put(100, &[0, 4, 2, 0]);
        }
        Format::Btrfs => {
            put(48, &65_536u64.to_le_bytes());
            put(64, b"_BHRfS_M");
            put(136, &1u64.to_le_bytes());
            put(144, &4096u32.to_le_bytes());
            put(196, &1u16.to_le_bytes());
            put(201, &1u64.to_le_bytes());
            put(209, &(256 * MIB).to_le_bytes());
        }
        _ => {
            put(1024, &0xf2f5_2010u32.to_le_bytes());
            put(1024 + 16, &12u32.to_le_bytes());
            put(1024 + 20, &9u32.to_le_bytes());
            put(1024 + 24, &1u32.to_le_bytes());
            put(1024 + 36, &32_768u64.to_le_bytes());
        }
    }
    window
}
