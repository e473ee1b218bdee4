//! What other software leaves on a device to find its own again: the one list of signatures, by place and magic.
//!
//! Knows no table, and changes nothing. A device is the whole disk or a partition's place; software that keeps its
//! metadata at the end of a device looks for it where that device ends. All that is known of a format lies within one
//! piece of 512 bytes, so that a few small reads are enough.
//!
//! A magic of few bytes has further checks: random bytes match a row less often than once in 2^31.

use std::io;

use crate::disk::{Disk, read_sectors};
use crate::units::{Extent, round_down};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name, as blkid calls it in TYPE (`linux_raid_member`); for what blkid does not know, the format's usual
    /// name.
    pub name: &'static str,
    /// In words for a person: "a RAID (md 1.0)".
    pub what: &'static str,
    /// Where its signature begins, in bytes from the start of the disk.
    pub at: u64,
}

/// What other software keeps at the end of a device: of the part `extent` of the disk. Nothing when the extent ends
/// behind the disk. What a disk's last partition keeps at its own end may look as if it were at the disk's end, too:
/// [`Found::at`] tells.
pub fn at_end(disk: &mut dyn Disk, extent: Extent) -> io::Result<Option<Found>> {
    look(disk, extent, AT_END)
}

/// The same of what begins at a byte of the disk or behind it. What cannot be read is lost, and so of no software any more.
/// Only what `counts` by its name.
pub fn at_end_behind(
    disk: &mut dyn Disk,
    extent: Extent,
    from: u64,
    counts: fn(&str) -> bool,
) -> io::Result<Option<Found>> {
    Device { is_patient: true, ..Device::new(disk, extent)? }.find(AT_END, from, counts)
}

/// A GPT's backup header in the last sector of a partition, which has a table of its own: an image of a disk was
/// written into it. Not for the whole disk, whose own backup header is in that place.
pub fn nested_table_at_end(disk: &mut dyn Disk, extent: Extent) -> io::Result<Option<Found>> {
    look(disk, extent, NESTED)
}

/// What a device holds by the signature at its start: a file system, encryption, a member of something larger.
pub fn at_start(disk: &mut dyn Disk, extent: Extent) -> io::Result<Option<Found>> {
    look(disk, extent, AT_START)
}

fn look(disk: &mut dyn Disk, extent: Extent, rows: &[Row]) -> io::Result<Option<Found>> {
    Device::new(disk, extent)?.find(rows, 0, |_| true)
}

/// Bytes in a piece. Places are counted in pieces, whatever the disk's sectors are.
const PIECE: usize = 512;
type Piece = [u8; PIECE];

/// One signature.
struct Row {
    /// Its name, and behind a colon, what it is in words, where the name does not say it.
    text: &'static str,
    places: &'static [Place],
    check: Check,
    /// Where in the piece the magic is.
    magic_at: u16,
    magic_length: u16,
    magic: [u8; MAGIC],
}

/// A piece of the device by its number, below zero from the end, for which the device's size is taken for a multiple of
/// `step` pieces.
struct Place {
    number: i16,
    step: u16,
}

/// What else has to be right in a piece, whose number in the device is given.
type Check = fn(&Piece, u64) -> bool;

/// Bytes of a magic that are compared: more than enough, and few in every row.
const MAGIC: usize = 12;

const fn row(text: &'static str, places: &'static [Place], magic_at: u16, magic: &[u8], check: Check) -> Row {
    let (mut start, mut magic_length) = ([0; MAGIC], 0);
    while (magic_length as usize) < MAGIC && (magic_length as usize) < magic.len() {
        start[magic_length as usize] = magic[magic_length as usize];
        magic_length += 1;
    }
    Row { text, places, check, magic_at, magic_length, magic: start }
}

const fn at(number: i16) -> Place {
    aligned(number, 1)
}

const fn aligned(number: i16, step: u16) -> Place {
    Place { number, step }
}

/// Where the magic is enough.
const fn any(_: &Piece, _: u64) -> bool {
    true
}

/// Names are those of libblkid/src/superblocks/ in util-linux, whose files are named. Where no bits are named, what is
/// compared has 48 or more. LVM's second metadata area has no fixed place: only the label at the start names it.
const AT_END: &[Row] = &[
    // linux_raid.c; drivers/md/md.c, `super_1_load`.
    row("linux_raid_member: a RAID (md 1.0)", &[aligned(-16, 8)], 0, &MD, md_1),
    // linux_raid.c; drivers/md/md.c, `super_90_load`; in the byte order of the machine that made it.
    row("linux_raid_member: a RAID (md 0.90)", &[aligned(-128, 128)], 0, &MD, md_0),
    row("linux_raid_member: a RAID (md 0.90)", &[aligned(-128, 128)], 0, &MD_BIG, md_0),
    // isw_raid.c; mdadm, super-intel.c: two sectors before the end, of 512 bytes or of the disk's own size.
    row("isw_raid_member: Intel RST RAID metadata", &[at(-2), at(-16)], 0, b"Intel Raid ISM Cfg Sig. ", any),
    // ddf_raid.c; dmraid, ddf1.h: Adaptec has it 257 sectors before the end, and in the other byte order.
    row("ddf_raid_member: DDF RAID metadata", &[at(-1), at(-257)], 0, &[0xde, 0x11, 0xde, 0x11], ddf),
    row("ddf_raid_member: DDF RAID metadata", &[at(-1), at(-257)], 0, &[0x11, 0xde, 0x11, 0xde], ddf),
    // lsi_raid.c; dmraid, lsi.h.
    row("lsi_mega_raid_member: LSI MegaRAID metadata", &[at(-1)], 0, b"$XIDE$", any),
    // via_raid.c; dmraid, via.h. 32 bits.
    row("via_raid_member: VIA RAID metadata", &[at(-1)], 0, &[0x55, 0xaa], via),
    // silicon_raid.c; dmraid, sil.h and sil.c: four copies. 45 bits.
    row("silicon_medley_raid_member: Silicon Image RAID metadata", SILICON, 96, &[0; 3], silicon),
    // nvidia_raid.c; dmraid, nv.h.
    row("nvidia_raid_member: NVIDIA RAID metadata", &[at(-2)], 0, b"NVIDIA", nvidia),
    // promise_raid.c; dmraid, pdc.h.
    row("promise_fasttrack_raid_member: Promise FastTrak RAID metadata", PROMISE, 0, b"Promise Technology, Inc.", any),
    // highpoint_raid.c; dmraid, hpt45x.h: an array that is whole, or not. 36 bits.
    row("hpt45x_raid_member: HighPoint RAID metadata", &[at(-11)], 1, &[0x16, 0x78, 0x5a], highpoint),
    // adaptec_raid.c; dmraid, asr.h.
    row("adaptec_raid_member: Adaptec RAID metadata", &[at(-1)], 0, &[0x37, 0xfc, 0x4d, 0x1e], adaptec),
    // jmicron_raid.c; dmraid, jm.h. 36 bits.
    row("jmicron_raid_member: JMicron RAID metadata", &[at(-1)], 0, b"JM", jmicron),
    // drbd.c; drbd-utils, user/shared/drbdmeta.c: versions 8, 8.4 after a crash, 9.
    row("drbd: DRBD metadata", &[aligned(-8, 8)], 60, &[0x83, 0x74, 0x02], drbd),
    // zfs.c; OpenZFS, include/sys/vdev_impl.h, `vdev_label_t`: the list of values in the third and the fourth label,
    // and their first uberblock in either byte order (include/sys/uberblock_impl.h).
    row("zfs_member: a ZFS label", &[aligned(-992, 512), aligned(-480, 512)], 24, b"version\0", zfs),
    row("zfs_member: a ZFS label", &[aligned(-768, 512), aligned(-256, 512)], 0, ZFS_BIG, any),
    row("zfs_member: a ZFS label", &[aligned(-768, 512), aligned(-256, 512)], 0, ZFS, any),
    // bcache.c; bcachefs-tools, src/wrappers/super_io.rs, `sb_layout_init`: the last copy of the superblock, 1 MiB
    // before the end, or before that where a bucket begins (128 KiB to 2 MiB).
    row("bcachefs: a bcachefs superblock", BUCKETS, 24, BCACHEFS, any),
    // nilfs.c; include/uapi/linux/nilfs2_ondisk.h, `NILFS_SB2_OFFSET_BYTES`. 64 bits.
    row("nilfs2: a nilfs2 superblock", &[aligned(-8, 8)], 6, &[0x34, 0x34], nilfs),
    // hfs.c; Apple Technical Note TN1150: the alternate volume header. 60 bits.
    row("hfsplus: an HFS+ volume header", &[at(-2)], 0, b"H", hfsplus),
    // ntfs.c; linux-ntfs, mkntfs: the copy of the boot sector is the partition's last sector.
    row("ntfs: the copy of an NTFS boot sector", &[at(-1), at(-8)], 3, b"NTFS    ", any),
    // The VHD specification (Microsoft, 2006), "Hard Disk Footer Format"; before Virtual PC 2004 it had 511 bytes.
    row("vhd: the footer of a VHD image", &[at(-1)], 0, b"conectix", any),
    row("vhd: the footer of a VHD image", &[at(-1)], 1, b"conectix", any),
    // QEMU, block/dmg.c; libdmg-hfsplus, `UDIFResourceFile`: version 4, 512 bytes.
    row("udif: the trailer of a UDIF (.dmg) image", &[at(-1)], 0, b"koly\0\0\0\x04\0\0\x02\0", any),
    // Android, external/avb/libavb/avb_footer.h: the last 64 bytes, version 1.
    row("avb: an Android Verified Boot footer", &[at(-1)], 448, b"AVBf\0\0\0\x01", any),
    // block/partitions/ldm.h, `OFF_PRIV3`: the end of the database is the end of the disk.
    row("ldm: a Windows dynamic disk's database", &[at(-1)], 0, b"PRIVHEAD", any),
    // FreeBSD, sys/geom/*/g_*.h: `G_MIRROR_MAGIC` and its like.
    row("geom: FreeBSD GEOM metadata", &[at(-1)], 0, b"GEOM::", any),
];

/// UEFI 2.10, 5.3.2: revision 1.0, and the number of its own sector.
const NESTED: &[Row] =
    &[row("gpt: the end of a partition table of its own", &[at(-1), aligned(-8, 8)], 0, GPT, nested)];

const GPT: &[u8] = b"EFI PART\0\0\x01\0";
const MD: [u8; 4] = 0xa92b_4efcu32.to_le_bytes();
const MD_BIG: [u8; 4] = 0xa92b_4efcu32.to_be_bytes();
const SILICON: &[Place] = &[at(-1), at(-513), at(-1025), at(-1537)];
const PROMISE: &[Place] = &[
    at(-63),
    at(-255),
    at(-256),
    at(-16),
    at(-399),
    at(-591),
    at(-675),
    at(-735),
    at(-911),
    at(-974),
    at(-991),
    at(-951),
    at(-3087),
];
const BUCKETS: &[Place] = &[
    at(-2048),
    aligned(-2048, 256),
    aligned(-2048, 512),
    aligned(-2048, 1024),
    aligned(-2048, 2048),
    aligned(-4096, 2048),
];
const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
const PAGES: &[Place] = &[at(7), at(15), at(31), at(63), at(127)];

/// What can be at a start: first what something else may be inside of.
const AT_START: &[Row] = &[
    // luks.c; the LUKS1 and LUKS2 on-disk format specifications: magic and version.
    row("crypto_LUKS: LUKS encryption", &[at(0)], 0, b"LUKS\xba\xbe\0", luks),
    // bitlocker.c; cryptsetup, lib/bitlk/bitlk.c: from Vista on, and "to go", which has its GUID in a FAT boot sector.
    row("BitLocker: BitLocker encryption", &[at(0)], 3, b"-FVE-FS-", any),
    row("BitLocker: BitLocker encryption", &[at(0)], 424, BITLOCKER, any),
    // lvm.c; LVM2, lib/label/label.h: one of the first four sectors, which has its own number in it.
    row("LVM2_member: an LVM physical volume", &[at(0), at(1), at(2), at(3)], 0, b"LABELONE", lvm),
    // linux_raid.c; drivers/md/md.c, `super_1_load`.
    row("linux_raid_member: a RAID (md 1.1)", &[at(0)], 0, &MD, md_1),
    row("linux_raid_member: a RAID (md 1.2)", &[at(8)], 0, &MD, md_1),
    // highpoint_raid.c; dmraid, hpt37x.h. 60 bits.
    row("hpt37x_raid_member: HighPoint RAID metadata", &[at(9)], 33, &[0x16, 0x78, 0x5a], highpoint_37x),
    // bcache.c; include/uapi/linux/bcache.h and fs/bcachefs/bcachefs_format.h.
    row("bcache: a bcache device", &[at(8)], 24, BCACHE, any),
    row("bcachefs", &[at(8)], 24, BCACHEFS, any),
    // zfs.c; the first two labels, as at the end.
    row("zfs_member: a ZFS pool's member", &[at(32), at(544)], 24, b"version\0", zfs),
    row("zfs_member: a ZFS pool's member", &[at(256), at(768)], 0, ZFS, any),
    row("zfs_member: a ZFS pool's member", &[at(256), at(768)], 0, ZFS_BIG, any),
    // stratis.c; Stratis Software Design, "Static Header": two copies.
    row("stratis: a Stratis pool's member", &[at(1), at(9)], 4, b"!Stra0tis\x86\xff\x02^\x41rh", any),
    // vdo.c; drivers/md/dm-vdo, `geometry_block`.
    row("vdo: a VDO volume", &[at(0)], 0, b"dmvdo001", any),
    // bluestore.c.
    row("ceph_bluestore: a Ceph volume", &[at(0)], 0, b"bluestore block device", any),
    // vmfs.c; vmfs-tools, libvmfs/vmfs_fs.h and vmfs_lvm.h. 59 bits.
    row("VMFS_volume_member: a VMFS volume's member", &[at(2048)], 0, &[0x0d, 0xd0, 0x01, 0xc0], vmfs),
    row("VMFS", &[at(4096)], 0, &[0x5e, 0xf1, 0xab, 0x2f], vmfs),
    // lvm.c; Documentation/admin-guide/device-mapper/verity.rst; drivers/md/dm-integrity.c, `struct superblock`;
    // drivers/md/dm-snap-persistent.c, `struct disk_header`.
    row("DM_verity_hash: a dm-verity hash tree", &[at(0)], 0, b"verity\0\0\x01\0\0\0", any),
    row("DM_integrity: dm-integrity", &[at(0)], 0, b"integrt\0", any),
    row("DM_snapshot_cow: a device-mapper snapshot", &[at(0)], 0, b"SnAp", snapshot),
    // ubi.c; drivers/mtd/ubi/ubi-media.h, `struct ubi_ec_hdr`: version 1.
    row("ubi: UBI volumes", &[at(0)], 0, b"UBI#\x01\0\0\0", any),
    // swap.c; the end of the first page; an image of hibernation in it: kernel/power/swap.c, and others' of their own.
    row("swap: swap space", PAGES, 502, b"SWAPSPACE2", any),
    row("swap: swap space", PAGES, 502, b"SWAP-SPACE", any),
    row("swsuspend: swap space with a hibernated system", PAGES, 504, b"SUSPEND", any),
    row("swsuspend: swap space with a hibernated system", PAGES, 502, b"LINHIB0001", any),
    // ext.c; fs/ext4/ext4.h, `struct ext4_super_block`. 76 bits.
    row("jbd: an external ext4 journal", &[at(2)], 56, &EXT, jbd),
    row("ext4", &[at(2)], 56, &EXT, ext4),
    row("ext3", &[at(2)], 56, &EXT, ext3),
    row("ext2", &[at(2)], 56, &EXT, ext2),
    // xfs.c; fs/xfs/libxfs/xfs_format.h, `struct xfs_dsb`. 60 bits.
    row("xfs", &[at(0)], 0, b"XFSB", xfs),
    // btrfs.c; include/uapi/linux/btrfs_tree.h, `struct btrfs_super_block`.
    row("btrfs", &[at(128)], 64, b"_BHRfS_M", any),
    // f2fs.c; include/linux/f2fs_fs.h, `struct f2fs_super_block`. 61 bits.
    row("f2fs", &[at(2)], 0, &0xf2f5_2010u32.to_le_bytes(), f2fs),
    // squashfs.c; fs/squashfs/squashfs_fs.h: version 4. 88 bits.
    row("squashfs", &[at(0)], 0, b"hsqs", squashfs),
    // erofs.c; fs/erofs/erofs_fs.h: blocks of 512 bytes to 64 KiB. 37 bits.
    row("erofs", &[at(2)], 0, &0xe0f5_e1e2u32.to_le_bytes(), erofs),
    // cramfs.c, romfs.c; fs/cramfs and fs/romfs.
    row("cramfs", &[at(0), at(1)], 16, b"Compressed ROMFS", any),
    row("romfs", &[at(0)], 0, b"-rom1fs-", any),
    // iso9660.c, udf.c; ECMA-119, 8.1, and ECMA-167, 2/9: a descriptor of version 1. 53 bits.
    row("iso9660: ISO 9660", &[at(64)], 1, b"CD001\x01", descriptor),
    row("udf: UDF", &[at(64)], 1, b"BEA01\x01", descriptor),
    // exfat.c, ntfs.c, refs.c.
    row("exfat: exFAT", &[at(0)], 3, b"EXFAT   ", any),
    row("ntfs: NTFS", &[at(0)], 3, b"NTFS    ", any),
    row("ReFS", &[at(0)], 0, b"\0\0\0ReFS\0", any),
    // hfs.c; TN1150. 60 bits.
    row("hfsplus: HFS+", &[at(2)], 0, b"H", hfsplus),
    // apfs.c; Apple File System Reference, `nx_superblock_t`: blocks of 4 KiB. 128 bits.
    row("apfs: APFS", &[at(0)], 32, b"NXSB\0\x10\0\0", apfs),
    // gfs.c; include/uapi/linux/gfs2_ondisk.h, `struct gfs2_sb`. 89 bits.
    row("gfs2: GFS2", &[at(128)], 0, &[1, 0x16, 0x19, 0x70, 0, 0, 0, 1], gfs2),
    // ocfs.c; fs/ocfs2/ocfs2_fs.h: block 2 of 512 bytes to 4 KiB.
    row("ocfs2: OCFS2", &[at(2), at(4), at(8), at(16)], 0, b"OCFSV2", any),
    // reiserfs.c; fs/reiserfs/reiserfs.h, and reiser4's format40.
    row("reiserfs: ReiserFS", &[at(16), at(128)], 52, b"ReIsErFs", any),
    row("reiserfs: ReiserFS", &[at(128)], 52, b"ReIsEr2Fs", any),
    row("reiserfs: ReiserFS", &[at(128)], 52, b"ReIsEr3Fs", any),
    row("reiser4: Reiser4", &[at(128)], 0, b"ReIsEr4", any),
    // jfs.c; fs/jfs/jfs_superblock.h. 64 bits.
    row("jfs: JFS", &[at(64)], 0, b"JFS1", jfs),
    // nilfs.c; include/uapi/linux/nilfs2_ondisk.h. 64 bits.
    row("nilfs2", &[at(2)], 6, &[0x34, 0x34], nilfs),
    // vfat.c; fs/fat/inode.c, `fat_read_bpb`. 46 bits. Last: other boot sectors look like it.
    row("vfat: FAT", &[at(0)], 510, &[0x55, 0xaa], vfat),
];

const EXT: [u8; 2] = 0xef53u16.to_le_bytes();
const ZFS: &[u8] = &0x00ba_b10cu64.to_le_bytes();
const ZFS_BIG: &[u8] = &0x00ba_b10cu64.to_be_bytes();
const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
/// 4967d63b-2e29-4ad8-8399-f6a339e3d001, as on disk.
const BITLOCKER: &[u8] = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";

/// A part of a disk as a device of its own.
struct Device<'a> {
    disk: &'a mut dyn Disk,
    /// Where it begins on the disk.
    start: u64,
    /// How many pieces it has.
    pieces: u64,
    /// Its bytes that the disk has.
    there: u64,
    /// What was read of it, and where that begins in it.
    read: Vec<(u64, Vec<u8>)>,
    /// Whether what cannot be read is passed over.
    is_patient: bool,
}

impl Device<'_> {
    fn new(disk: &mut dyn Disk, extent: Extent) -> io::Result<Device<'_>> {
        let sector = u64::from(disk.sector_size());
        if !extent.start.is_multiple_of(sector) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let size = round_down(extent.size, sector);
        let there = disk.sectors().saturating_mul(sector).saturating_sub(extent.start).min(size);
        Ok(Device {
            disk,
            start: extent.start,
            pieces: size / PIECE as u64,
            there,
            read: Vec::new(),
            is_patient: false,
        })
    }

    fn find(mut self, rows: &[Row], from: u64, counts: fn(&str) -> bool) -> io::Result<Option<Found>> {
        for row in rows {
            let pieces = self.pieces;
            for number in row.places.iter().filter_map(|place| place.piece_of(pieces)) {
                let Some(piece) = self.piece(number)? else { continue };
                let is_it = row.is_in(piece, number);
                let at = self.start + number * PIECE as u64 + u64::from(row.magic_at);
                let (name, what) = row.text.split_once(": ").unwrap_or((row.text, row.text));
                if is_it && at >= from && counts(name) {
                    return Ok(Some(Found { name, what, at }));
                }
            }
        }
        Ok(None)
    }

    /// A piece by its number; nothing where the disk has not all of it.
    fn piece(&mut self, number: u64) -> io::Result<Option<&Piece>> {
        /// Bytes that are read at a time, whole sectors of either size.
        const BLOCK: u64 = 4096;
        if number >= self.there / PIECE as u64 {
            return Ok(None);
        }
        let at = number * PIECE as u64;
        let start = round_down(at, BLOCK);
        let known = self.read.iter().position(|(place, _)| *place == start);
        let index = match known {
            Some(index) => index,
            None => {
                let sector = u64::from(self.disk.sector_size());
                let count = BLOCK.min(self.there - start) / sector;
                let bytes = match read_sectors(self.disk, (self.start + start) / sector, count) {
                    Err(_) if self.is_patient => Vec::new(),
                    bytes => bytes?,
                };
                self.read.push((start, bytes));
                self.read.len() - 1
            }
        };
        let pieces = self.read[index].1.as_chunks().0;
        Ok(pieces.get(usize::try_from(at - start).unwrap_or(usize::MAX) / PIECE))
    }
}

impl Place {
    /// The number of the piece in a device that has so many; nothing where it would be before the first one.
    fn piece_of(&self, pieces: u64) -> Option<u64> {
        let distance = u64::from(self.number.unsigned_abs());
        if self.number >= 0 { Some(distance) } else { round_down(pieces, self.step.into()).checked_sub(distance) }
    }
}

impl Row {
    fn is_in(&self, piece: &Piece, number: u64) -> bool {
        let magic = &self.magic[..usize::from(self.magic_length)];
        piece[usize::from(self.magic_at)..].starts_with(magic) && (self.check)(piece, number)
    }
}

/// Version 1, and its own place.
fn md_1(piece: &Piece, number: u64) -> bool {
    le32(piece, 4) == 1 && le64(piece, 144) == number
}

/// Versions 0.90 and 0.91 (while it is reshaped), in its own byte order.
fn md_0(piece: &Piece, _: u64) -> bool {
    let number = if piece[..4] == MD { le32 } else { be32 };
    number(piece, 4) == 0 && matches!(number(piece, 8), 90 | 91)
}

/// SNIA DDF 2.0, 5.5: the revision is text, "01.02.00".
fn ddf(piece: &Piece, _: u64) -> bool {
    piece[32] == b'0' && piece[33].is_ascii_digit() && piece[34] == b'.'
}

/// Version, kind of array, and the sum of the 50 bytes before it.
fn via(piece: &Piece, _: u64) -> bool {
    let sum = piece[..50].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    piece[2] <= 2 && matches!(piece[3] >> 3 & 0xf, 0 | 1 | 8 | 9) && sum == piece[50]
}

/// The rest of the magic, the disk's number and the checksum.
fn silicon(piece: &Piece, _: u64) -> bool {
    piece[99] & 3 == 3 && piece[278] < 8 && sum16(&piece[..320]) == 0
}

/// How many words it has.
fn nvidia(piece: &Piece, _: u64) -> bool {
    le32(piece, 8) == 30
}

/// The rest of the magic, and the disk's number.
fn highpoint(piece: &Piece, _: u64) -> bool {
    matches!(piece[0], 0xf3 | 0xfd) && piece[18] < 8
}

/// The rest of the magic, and what kind of array it is.
fn highpoint_37x(piece: &Piece, _: u64) -> bool {
    matches!(piece[32], 0xf0 | 0xfd) && le32(piece, 44) <= 7
}

/// The second magic, `smagic`.
fn adaptec(piece: &Piece, _: u64) -> bool {
    piece[256..260] == *b"DPTM"
}

/// The level, and a sum that is 0, or 1 in older ones.
fn jmicron(piece: &Piece, _: u64) -> bool {
    piece[48] <= 5 && sum16(&piece[..128]) <= 1
}

/// The rest of the magic, and the bytes that a bit stands for.
fn drbd(piece: &Piece, _: u64) -> bool {
    let bytes = be32(piece, 80);
    matches!(piece[63], 0x6b..=0x6d) && bytes.is_power_of_two() && bytes >= 4096
}

/// XDR, from a machine of either byte order; names are unique; the first one is "version".
fn zfs(piece: &Piece, _: u64) -> bool {
    piece[0] == 1 && piece[1] <= 1 && piece[2..8] == [0; 6] && be32(piece, 8) == 1 && be32(piece, 20) == 7
}

/// The number of its own sector, of either size.
fn nested(piece: &Piece, number: u64) -> bool {
    let my_lba = le64(piece, 24);
    my_lba == number || my_lba.checked_mul(8) == Some(number)
}

fn luks(piece: &Piece, _: u64) -> bool {
    matches!(piece[7], 1 | 2)
}

fn lvm(piece: &Piece, number: u64) -> bool {
    le64(piece, 8) == number
}

/// A version that is not absurd.
fn vmfs(piece: &Piece, _: u64) -> bool {
    le32(piece, 4) < 32
}

/// Whether it is valid, and version 1.
fn snapshot(piece: &Piece, _: u64) -> bool {
    le32(piece, 4) <= 1 && le32(piece, 8) == 1
}

fn jbd(piece: &Piece, _: u64) -> bool {
    ext_version(piece) == Some(0)
}

fn ext2(piece: &Piece, _: u64) -> bool {
    ext_version(piece) == Some(2)
}

fn ext3(piece: &Piece, _: u64) -> bool {
    ext_version(piece) == Some(3)
}

fn ext4(piece: &Piece, _: u64) -> bool {
    ext_version(piece) == Some(4)
}

/// Which ext file system has these features, as blkid tells them apart; 0 is a journal alone. Nothing where the size of
/// a block or the revision cannot be.
fn ext_version(piece: &Piece) -> Option<u8> {
    const HAS_JOURNAL: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    // FILETYPE, RECOVER, META_BG; SPARSE_SUPER, LARGE_FILE, BTREE_DIR.
    const OLD: u32 = 0x2 | 0x4 | 0x10;
    const OLD_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    let (compatible, incompatible, read_only) = (le32(piece, 92), le32(piece, 96), le32(piece, 100));
    if le32(piece, 24) > 6 || le32(piece, 76) > 1 {
        return None;
    }
    Some(if incompatible & JOURNAL_DEVICE != 0 {
        0
    } else if incompatible & !OLD != 0 || read_only & !OLD_READ_ONLY != 0 {
        4
    } else if compatible & HAS_JOURNAL != 0 {
        3
    } else {
        2
    })
}

/// The size of a block, and its logarithm; the size of a sector.
fn xfs(piece: &Piece, _: u64) -> bool {
    let (block, sector) = (be32(piece, 4), be16(piece, 102));
    (512..=1 << 16).contains(&block) && 1u32.checked_shl(piece[120].into()) == Some(block) && sector.is_power_of_two()
}

/// The logarithms of the sizes of a sector and a block.
fn f2fs(piece: &Piece, _: u64) -> bool {
    (9..=16).contains(&le32(piece, 8)) && (12..=16).contains(&le32(piece, 16))
}

/// The version, the size of a block and its logarithm.
fn squashfs(piece: &Piece, _: u64) -> bool {
    le16(piece, 28) == 4 && 1u32.checked_shl(le16(piece, 22).into()) == Some(le32(piece, 12))
}

/// The logarithm of the size of a block.
fn erofs(piece: &Piece, _: u64) -> bool {
    (9..=16).contains(&piece[12])
}

/// Its type.
fn descriptor(piece: &Piece, _: u64) -> bool {
    matches!(piece[0], 0..=3 | 255)
}

/// The rest of the magic with the version that belongs to it, and the size of a block.
fn hfsplus(piece: &Piece, _: u64) -> bool {
    let block = be32(piece, 40);
    matches!(piece[1..4], [b'+', 0, 4] | [b'X', 0, 5]) && block.is_power_of_two() && block >= 512
}

/// The object's type and subtype, and zeros.
fn apfs(piece: &Piece, _: u64) -> bool {
    le16(piece, 24) == 1 && piece[28..32] == [0; 4]
}

/// The formats on disk and between hosts.
fn gfs2(piece: &Piece, _: u64) -> bool {
    (1800..1900).contains(&be32(piece, 24)) && (1900..2000).contains(&be32(piece, 28))
}

/// The sizes of a block and of a sector, and their logarithms.
fn jfs(piece: &Piece, _: u64) -> bool {
    let is_size = |size, log| 1u32.checked_shl(le16(piece, log).into()) == Some(le32(piece, size));
    is_size(16, 20) && is_size(24, 28)
}

/// Revision 2.0, and how many bytes it has.
fn nilfs(piece: &Piece, _: u64) -> bool {
    le32(piece, 0) == 2 && le16(piece, 4) == 0 && (64..=1024).contains(&le16(piece, 8))
}

/// The fields that Linux wants, tables that are smaller than the file system, and no protective MBR of a GPT.
fn vfat(piece: &Piece, _: u64) -> bool {
    let either = |small: usize, large: usize| match le16(piece, small) {
        0 => le32(piece, large),
        number => number.into(),
    };
    let (sector, reserved, tables) = (le16(piece, 11), le16(piece, 14), piece[16]);
    let (sectors, length) = (u64::from(either(19, 32)), u64::from(either(22, 36)));
    let is_protective = (446..510).step_by(16).any(|entry| piece[entry + 4] == 0xee && le32(piece, entry + 8) == 1);
    (512..=4096).contains(&sector)
        && sector.is_power_of_two()
        && piece[13].is_power_of_two()
        && matches!(tables, 1 | 2)
        && matches!(piece[21], 0xf0 | 0xf8..)
        && reserved > 0
        && length > 0
        && u64::from(reserved) + length * u64::from(tables) < sectors
        && !is_protective
}

/// The sum of 16-bit words.
fn sum16(bytes: &[u8]) -> u16 {
    let words = bytes.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word));
    words.fold(0, u16::wrapping_add)
}

fn part<const N: usize>(piece: &Piece, at: usize) -> [u8; N] {
    std::array::from_fn(|index| piece[at + index])
}

fn le16(piece: &Piece, at: usize) -> u16 {
    u16::from_le_bytes(part(piece, at))
}

fn le32(piece: &Piece, at: usize) -> u32 {
    u32::from_le_bytes(part(piece, at))
}

fn le64(piece: &Piece, at: usize) -> u64 {
    u64::from_le_bytes(part(piece, at))
}

fn be16(piece: &Piece, at: usize) -> u16 {
    u16::from_be_bytes(part(piece, at))
}

fn be32(piece: &Piece, at: usize) -> u32 {
    u32::from_be_bytes(part(piece, at))
}
