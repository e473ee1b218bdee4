//! What other software leaves on a device, as bytes: for each format that `makeroom::signature` knows, the least that
//! the format's own documentation and programs say has to be there. Uses nothing of it.
//!
//! A sample is the format's name and the pieces of it: a place in the device, and bytes. Where a format has variants,
//! it has several samples.

/// A format's name, and its bytes by place in the device.
pub type Sample = (&'static str, Vec<(u64, Vec<u8>)>);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What is at the end of a device of this size.
pub fn at_end(size: u64, sector_size: u32) -> Vec<Sample> {
    let sectors = size / 512;
    let last = (sectors - 1) * 512;
    let mut all: Vec<Sample> = Vec::new();
    let mut add = |name, at: u64, bytes: Vec<u8>| all.push((name, vec![(at, bytes)]));

    // mdadm, super1.c and md_p.h: 8 KiB before the end, on a multiple of 4 KiB.
    let md = (sectors - 16) / 8 * 8;
    add("linux_raid_member", md * 512, md_1(md));
    // mdadm, super0.c and md_p.h, `MD_NEW_SIZE_SECTORS`: the last 64 KiB that begin on a multiple of it.
    let md = size / (64 * KIB) * (64 * KIB) - 64 * KIB;
    add("linux_raid_member", md, md_0(md, u32::to_le_bytes));
    add("linux_raid_member", md, md_0(md, u32::to_be_bytes));
    // mdadm, super-intel.c, `load_imsm_mpb`: the anchor is two sectors before the end.
    let intel = bytes(512, &[(0, b"Intel Raid ISM Cfg Sig. 1.3.00\0\0"), (32, &[1, 2, 3, 4]), (36, &[0, 2, 0, 0])]);
    add("isw_raid_member", size - 1024, intel.clone());
    add("isw_raid_member", size - 2 * u64::from(sector_size), intel);
    // dmraid, lib/format/ataraid.
    add("lsi_mega_raid_member", last, bytes(512, &[(0, b"$XIDE$")]));
    add("via_raid_member", last, via());
    for area in 0..4 {
        add("silicon_medley_raid_member", last - area * 512 * 512, silicon());
    }
    add("nvidia_raid_member", (sectors - 2) * 512, nvidia());
    for back in [63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087] {
        let promise = bytes(512, &[(0, b"Promise Technology, Inc."), (32, &[0, 0, 2, 0])]);
        add("promise_fasttrack_raid_member", (sectors - back) * 512, promise);
    }
    for magic in [0x5a78_16f3u32, 0x5a78_16fd] {
        // Two disks in a mirror, of which this is the second.
        let array = bytes(512, &[(0, &magic.to_le_bytes()), (4, &[9; 8]), (16, &[6, 2, 1, 0])]);
        add("hpt45x_raid_member", (sectors - 11) * 512, array);
    }
    let adaptec = [(0, &0x37fc_4d1eu32.to_be_bytes()[..]), (63, &[8]), (256, b"DPTM")];
    add("adaptec_raid_member", last, bytes(512, &adaptec));
    add("jmicron_raid_member", last, jmicron());
    // drbd-utils, user/shared/drbdmeta.c, `v07_style_md_get_byte_offsets`.
    for magic in 0x8374_026bu32..=0x8374_026d {
        let magic = magic.to_be_bytes();
        let drbd = [(8, &[7; 8][..]), (60, &magic), (64, &[0, 0, 1, 0]), (80, &4096u32.to_be_bytes())];
        add("drbd", size / 4096 * 4096 - 4096, bytes(4096, &drbd));
    }
    // OpenZFS, module/zfs/vdev_label.c, `vdev_label_offset`.
    for label in [512 * KIB, 256 * KIB] {
        let label = size / (256 * KIB) * (256 * KIB) - label;
        add("zfs_member", label + 16 * KIB, zfs_values(1));
        add("zfs_member", label + 16 * KIB, zfs_values(0));
    }
    // bcachefs-tools, `sb_layout_init`: for a bucket of 512 bytes to 2 MiB.
    for bucket in [512, 128 * KIB, 256 * KIB, 512 * KIB, MIB, 2 * MIB] {
        let at = (size - MIB) / bucket * bucket;
        add("bcachefs", at, bcachefs(at));
    }
    // nilfs-utils, `NILFS_SB2_OFFSET_BYTES`.
    add("nilfs2", size / 4096 * 4096 - 4096, nilfs(size));
    // TN1150: the alternate volume header is 1024 bytes before the end.
    add("hfsplus", size - 1024, hfsplus(b"H+\0\x04"));
    add("hfsplus", size - 1024, hfsplus(b"HX\0\x05"));
    add("ntfs", size - u64::from(sector_size), ntfs(size));
    // The VHD specification; its footer of 511 bytes.
    add("vhd", last, vhd());
    add("vhd", last + 1, vhd()[..511].to_vec());
    // libdmg-hfsplus, `UDIFResourceFile`.
    add("udif", last, bytes(512, &[(0, b"koly"), (4, &[0, 0, 0, 4, 0, 0, 2, 0, 0, 0, 0, 1])]));
    // libavb, `AvbFooter`: version 1.0, an image of 1 MiB, its vbmeta behind it.
    let avb = [(0, &b"AVBf"[..]), (4, &[0, 0, 0, 1, 0, 0, 0, 0]), (12, &[0, 0, 0, 0, 0, 16, 0, 0])];
    add("avb", size - 64, bytes(64, &avb));
    // linux-ntfs, ldm.h: the third PRIVHEAD, version 2.11.
    add("ldm", last, bytes(512, &[(0, b"PRIVHEAD"), (12, &[0, 2, 0, 11])]));
    for magic in ["GEOM::MIRROR", "GEOM::LABEL", "GEOM::ELI", "GEOM::RAID3"] {
        add("geom", last, bytes(512, &[(0, magic.as_bytes()), (16, &[4])]));
    }
    // An anchor, and the primary header that it names. SNIA DDF 2.0; mdadm, super-ddf.c.
    for (back, magic) in [(1, 0xde11_de11u32.to_be_bytes()), (257, 0xde11_de11u32.to_be_bytes())] {
        let header = ddf(magic, sectors - 4000);
        all.push(("ddf_raid_member", vec![((sectors - back) * 512, header.clone()), ((sectors - 4000) * 512, header)]));
    }
    for back in [1, 257] {
        all.push(("ddf_raid_member", vec![((sectors - back) * 512, ddf(0xde11_de11u32.to_le_bytes(), 0))]));
    }
    for number in [u64::to_le_bytes, u64::to_be_bytes] {
        for label in [512 * KIB, 256 * KIB] {
            all.push(("zfs_member", zfs_ring(size / (256 * KIB) * (256 * KIB) - label, number)));
        }
    }
    all
}

/// What is at the start of a device of this size, which is at least 64 MiB.
pub fn at_start(size: u64, _sector_size: u32) -> Vec<Sample> {
    let mut all = members();
    all.extend(swaps());
    all.extend(file_systems(size));
    all
}

/// What belongs to something larger, or has something inside.
fn members() -> Vec<Sample> {
    let mut all: Vec<Sample> = Vec::new();
    let mut add = |name, at: u64, bytes: Vec<u8>| all.push((name, vec![(at, bytes)]));
    let uuid = b"0ddba11c-0000-4000-8000-000000000001";
    add("crypto_LUKS", 0, bytes(592, &[(0, b"LUKS\xba\xbe\0\x01"), (8, b"aes"), (40, b"xts"), (168, uuid)]));
    let luks2 = [(0, &b"LUKS\xba\xbe\0\x02"[..]), (8, &[0, 0, 0, 0, 0, 0, 64, 0]), (168, uuid)];
    add("crypto_LUKS", 0, bytes(4096, &luks2));
    // [MS-FVE] is not published; cryptsetup, lib/bitlk/bitlk.c, and dislocker agree.
    let boot = [0x55, 0xaa];
    add("BitLocker", 0, bytes(512, &[(0, b"\xeb\x52\x90-FVE-FS-"), (510, &boot)]));
    let guid = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
    let place = (1u64 << 16).to_le_bytes();
    let metadata = bytes(112, &[(0, b"-FVE-FS-"), (10, &[2]), (64, &[48]), (68, &[1]), (72, &[48]), (76, &[48])]);
    let seven = bytes(512, &[(0, b"\xeb\x58\x90-FVE-FS-"), (160, guid), (176, &place), (510, &boot)]);
    all.push(("BitLocker", vec![(0, seven), (1 << 16, metadata.clone())]));
    let to_go = bytes(512, &[(0, b"\xeb\x58\x90MSWIN4.1"), (424, guid), (440, &place), (510, &boot)]);
    all.push(("BitLocker", vec![(0, to_go), (1 << 16, metadata)]));
    let mut add = |name, at: u64, bytes: Vec<u8>| all.push((name, vec![(at, bytes)]));
    for sector in 0..4u64 {
        add("LVM2_member", sector * 512, lvm(sector));
    }
    add("linux_raid_member", 0, md_1(0));
    add("linux_raid_member", 4096, md_1(8));
    for magic in [0x5a78_16f0u32, 0x5a78_16fd] {
        add("hpt37x_raid_member", 9 * 512, bytes(512, &[(32, &magic.to_le_bytes()), (44, &[5])]));
    }
    add("bcache", 4096, bcache());
    add("bcachefs", 4096, bcachefs(4096));
    for label in [0, 256 * KIB] {
        add("zfs_member", label + 16 * KIB, zfs_values(1));
        add("zfs_member", label + 16 * KIB, zfs_values(0));
    }
    add("stratis", 512, stratis());
    add("stratis", 9 * 512, stratis());
    add("vdo", 0, bytes(4096, &[(0, b"dmvdo001"), (8, &[5, 0, 0, 0])]));
    add("ceph_bluestore", 0, bytes(4096, &[(0, b"bluestore block device\n"), (23, uuid), (59, b"\n")]));
    add("VMFS_volume_member", MIB, bytes(512, &[(0, &0xc001_d00du32.to_le_bytes()), (4, &[5])]));
    add("VMFS", 2 * MIB, bytes(512, &[(0, &0x2fab_f15eu32.to_le_bytes()), (4, &[5]), (8, &[5])]));
    add("DM_verity_hash", 0, bytes(512, &[(0, b"verity\0\0"), (8, &[1, 0, 0, 0, 1]), (32, b"sha256")]));
    add("DM_integrity", 0, bytes(512, &[(0, b"integrt\0"), (8, &[1, 15, 4, 0])]));
    add("DM_snapshot_cow", 0, bytes(512, &[(0, b"SnAp"), (4, &[1, 0, 0, 0, 1, 0, 0, 0, 8])]));
    add("ubi", 0, ubi());
    for number in [u64::to_le_bytes, u64::to_be_bytes] {
        for label in [0, 256 * KIB] {
            all.push(("zfs_member", zfs_ring(label, number)));
        }
    }
    all
}

/// util-linux, disk-utils/mkswap.c; kernel/power/swap.c for what is in it after hibernation. One per size of a page.
fn swaps() -> Vec<Sample> {
    let mut all = Vec::new();
    let magics: [(_, &[u8; 10]); 6] = [
        ("swap", b"SWAPSPACE2"),
        ("swap", b"SWAP-SPACE"),
        ("swsuspend", b"S1SUSPEND\0"),
        ("swsuspend", b"S2SUSPEND\0"),
        ("swsuspend", b"ULSUSPEND\0"),
        ("swsuspend", b"LINHIB0001"),
    ];
    for page in [4u64, 8, 16, 32, 64] {
        for (name, magic) in magics {
            let header = bytes(28, &[(0, &[1, 0, 0, 0, 99, 0, 0, 0]), (12, &[7; 16])]);
            all.push((name, vec![(1024, header), (page * KIB - 10, magic.to_vec())]));
        }
    }
    all
}

fn file_systems(size: u64) -> Vec<Sample> {
    let mut all: Vec<Sample> = Vec::new();
    let mut add = |name, at: u64, bytes: Vec<u8>| all.push((name, vec![(at, bytes)]));
    add("ext2", 1024, ext(0, 0x2, 0x1));
    add("ext3", 1024, ext(0x4, 0x2, 0x3));
    add("ext4", 1024, ext(0x4, 0x42, 0x9));
    add("jbd", 1024, ext(0, 0x8, 0));
    add("xfs", 0, xfs());
    add("btrfs", 64 * KIB, btrfs());
    let f2fs = [(0, &0xf2f5_2010u32.to_le_bytes()[..]), (4, &[1]), (8, &[9]), (12, &[3]), (16, &[12])];
    add("f2fs", 1024, bytes(3072, &f2fs));
    let squashfs = [(0, &b"hsqs"[..]), (12, &[0, 0, 2, 0]), (20, &[1]), (22, &[17]), (28, &[4])];
    add("squashfs", 0, bytes(96, &squashfs));
    add("erofs", 1024, bytes(128, &[(0, &0xe0f5_e1e2u32.to_le_bytes()), (12, &[12]), (36, &[1])]));
    let cramfs = bytes(76, &[(0, &0x28cd_3d45u32.to_le_bytes()), (4, &[0, 16]), (16, b"Compressed ROMFS")]);
    add("cramfs", 0, cramfs.clone());
    add("cramfs", 512, cramfs);
    add("romfs", 0, romfs());
    add("iso9660", 32 * KIB, iso9660());
    add("udf", 32 * KIB, bytes(2048, &[(1, b"BEA01\x01")]));
    add("exfat", 0, exfat());
    add("ReFS", 0, bytes(512, &[(3, b"ReFS")]));
    add("hfsplus", 1024, hfsplus(b"H+\0\x04"));
    add("hfsplus", 1024, hfsplus(b"HX\0\x05"));
    add("apfs", 0, apfs());
    add("gfs2", 64 * KIB, gfs2());
    for block in [512, 1024, 2048, 4096] {
        add("ocfs2", 2 * block, bytes(512, &[(0, b"OCFSV2"), (88, &[0, 0, 90])]));
    }
    for (at, magic) in [(8, &b"ReIsErFs"[..]), (64, b"ReIsErFs"), (64, b"ReIsEr2Fs"), (64, b"ReIsEr3Fs")] {
        add("reiserfs", at * KIB, bytes(512, &[(12, &[200]), (44, &[0, 16]), (52, magic)]));
    }
    add("reiser4", 64 * KIB, bytes(512, &[(0, b"ReIsEr4"), (18, &[0, 16])]));
    add("jfs", 32 * KIB, jfs());
    add("nilfs2", 1024, nilfs(size));
    for fat in [fat(16), fat(32)] {
        add("vfat", 0, fat);
    }
    let file = bytes(1024, &[(0, b"FILE"), (20, &[56]), (24, &[56]), (56, &[0xff; 4])]);
    all.push(("ntfs", vec![(0, ntfs(size)), (16 * KIB, file.clone()), (19 * KIB, file)]));
    all
}

/// `size` bytes, zeros but for these.
fn bytes(size: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

/// mdadm, super1.c: `calc_sb_1_csum`.
fn md_1(super_offset: u64) -> Vec<u8> {
    let fields = [(0, &0xa92b_4efcu32.to_le_bytes()[..]), (4, &[1]), (16, &[7; 16]), (32, b"host:0"), (72, &[1])];
    let mut superblock = bytes(256, &fields);
    superblock[144..152].copy_from_slice(&super_offset.to_le_bytes());
    let words = superblock.chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
    let sum = words.sum::<u64>();
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    superblock[216..220].copy_from_slice(&(sum as u32).to_le_bytes());
    superblock
}

/// mdadm, md_p.h, `mdp_super_t`: major, minor and size are words 1, 2 and 8.
fn md_0(at: u64, number: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let size = number((at / KIB) as u32);
    bytes(4096, &[(0, &number(0xa92b_4efc)), (8, &number(90)), (20, &[7; 4]), (28, &number(1)), (32, &size)])
}

/// The checksum counts its own bytes as 0xff, and is no complement (mdadm, crc32.c).
fn ddf(magic: [u8; 4], primary: u64) -> Vec<u8> {
    let primary = primary.to_be_bytes();
    let mut header = bytes(512, &[(0, &magic), (4, &[0xff; 4]), (8, b"LSI     "), (32, b"01.02.00"), (96, &primary)]);
    let sum = crc32(0, &header);
    header[4..8].copy_from_slice(&sum.to_be_bytes());
    header
}

/// A mirror of two.
fn via() -> Vec<u8> {
    let mut metadata = bytes(512, &[(0, &[0x55, 0xaa, 1]), (3, &[0b0000_1100, 0, 2]), (6, &[0, 0, 32])]);
    metadata[50] = metadata[..50].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    metadata
}

fn silicon() -> Vec<u8> {
    let fields = [(46, &b"2.0"[..]), (96, &0x2f00_0000u32.to_le_bytes()), (266, &[2]), (278, &[1, 1])];
    let mut metadata = bytes(512, &fields);
    let sum = sum16(&metadata[..318]).wrapping_neg();
    metadata[318..320].copy_from_slice(&sum.to_le_bytes());
    metadata
}

fn nvidia() -> Vec<u8> {
    let mut metadata = bytes(512, &[(0, b"NVIDIA  "), (8, &[30]), (16, &[100])]);
    let words = metadata[..120].chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let sum = words.fold(0, u32::wrapping_add).wrapping_neg();
    metadata[12..16].copy_from_slice(&sum.to_le_bytes());
    metadata
}

fn jmicron() -> Vec<u8> {
    let mut metadata = bytes(512, &[(0, b"JM"), (2, &[1, 0]), (32, b"array"), (48, &[1, 2])]);
    let sum = sum16(&metadata[..128]).wrapping_neg();
    metadata[4..6].copy_from_slice(&sum.to_le_bytes());
    metadata
}

fn sum16(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])))
}

/// OpenZFS, module/nvpair/nvpair.c: XDR of version, state, txg and guid; `endian` is of the machine that wrote it.
fn zfs_values(endian: u8) -> Vec<u8> {
    let mut list = vec![1, endian, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for (name, value) in [("version", 5000u64), ("state", 0), ("txg", 4), ("guid", 0x1234_5678_9abc_def0)] {
        let padded = name.len().div_ceil(4) * 4;
        let size = (12 + padded + 8 + 8) as u32;
        list.extend(size.to_be_bytes());
        list.extend(40u32.to_be_bytes());
        list.extend((name.len() as u32).to_be_bytes());
        list.extend(bytes(padded, &[(0, name.as_bytes())]));
        list.extend([0, 0, 0, 8, 0, 0, 0, 1]);
        list.extend(value.to_be_bytes());
    }
    list.extend([0; 8]);
    list
}

/// Eight uberblocks of 1 KiB, of a label that begins here.
fn zfs_ring(label: u64, number: fn(u64) -> [u8; 8]) -> Vec<(u64, Vec<u8>)> {
    let uberblock = |slot: u64| {
        let fields = [(0, &number(0x00ba_b10c)[..]), (8, &number(5000)), (16, &number(128 + slot))];
        (label + 128 * KIB + slot * KIB, bytes(1024, &fields))
    };
    (0..8).map(uberblock).collect()
}

/// bcachefs_format.h, `struct bch_sb`, without a checksum.
fn bcachefs(at: u64) -> Vec<u8> {
    let magic = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    let sector = (at / 512).to_le_bytes();
    let fields: [(usize, &[u8]); 8] = [
        (16, &[0, 4]),
        (24, magic),
        (40, &[7; 32]),
        (104, &sector),
        (120, &[8]),
        (123, &[1]),
        (240, magic),
        (257, &[11, 3]),
    ];
    bytes(1024, &fields)
}

/// include/uapi/linux/bcache.h, `struct cache_sb`: a backing device.
fn bcache() -> Vec<u8> {
    let magic = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    let mut superblock = bytes(512, &[(8, &[8]), (16, &[1]), (24, magic), (40, &[7; 16]), (200, &[1])]);
    let sum = crc64(&superblock[8..208]);
    superblock[..8].copy_from_slice(&sum.to_le_bytes());
    superblock
}

/// CRC-64/WE, as lib/crc64.c in Linux, complemented at both ends.
fn crc64(bytes: &[u8]) -> u64 {
    let bit = |crc: u64| crc << 1 ^ if crc >> 63 == 1 { 0x42f0_e1eb_a9ea_3693 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u64::from(*byte) << 56, |crc, _| bit(crc)))
}

/// CRC-32 without a complement.
fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!seed);
    hasher.update(bytes);
    !hasher.finalize()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

/// LVM2, lib/label/label.c: the sum begins with a seed of its own, and covers what follows it.
fn lvm(sector: u64) -> Vec<u8> {
    let fields = [(0, &b"LABELONE"[..]), (8, &sector.to_le_bytes()), (20, &[32]), (24, b"LVM2 001"), (32, &[b'a'; 32])];
    let mut label = bytes(512, &fields);
    let sum = crc32(0xf597_a6cf, &label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    label
}

/// drivers/mtd/ubi/ubi-media.h, `struct ubi_ec_hdr`.
fn ubi() -> Vec<u8> {
    let mut header = bytes(64, &[(0, b"UBI#"), (4, &[1]), (15, &[3])]);
    let sum = crc32(!0, &header[..60]);
    header[60..].copy_from_slice(&sum.to_be_bytes());
    header
}

fn stratis() -> Vec<u8> {
    let mut header = bytes(512, &[(4, b"!Stra0tis\x86\xff\x02^\x41rh"), (20, &[0, 0, 2]), (32, &[b'a'; 64])]);
    let sum = crc32c(&header[4..]);
    header[..4].copy_from_slice(&sum.to_le_bytes());
    header
}

/// nilfs-utils, lib/sb.c: the sum counts its own bytes as zeros.
fn nilfs(size: u64) -> Vec<u8> {
    let fields = [(0, &[2][..]), (6, &[0x34, 0x34, 24, 1]), (12, &[1, 2, 3, 4]), (20, &[2]), (32, &size.to_le_bytes())];
    let mut superblock = bytes(1024, &fields);
    let sum = crc32(0x0403_0201, &superblock[..280]);
    superblock[16..20].copy_from_slice(&sum.to_le_bytes());
    superblock
}

/// TN1150, `HFSPlusVolumeHeader`: blocks of 4 KiB, a catalog in block 20.
fn hfsplus(magic: &[u8; 4]) -> Vec<u8> {
    let catalog = [0, 0, 0, 20, 0, 0, 0, 4];
    bytes(512, &[(0, magic), (8, b"10.0"), (40, &[0, 0, 16, 0]), (44, &[0, 0, 64, 0]), (288, &catalog)])
}

/// Sectors of 512 bytes, clusters of 4 KiB, the master file table in the fifth.
fn ntfs(size: u64) -> Vec<u8> {
    let sectors = (size / 512 - 1).to_le_bytes();
    let fields: [(usize, &[u8]); 9] = [
        (0, b"\xeb\x52\x90NTFS    "),
        (11, &[0, 2]),
        (13, &[8]),
        (21, &[0xf8]),
        (40, &sectors),
        (48, &[4]),
        (56, &[8]),
        (64, &[0xf6]),
        (510, &[0x55, 0xaa]),
    ];
    bytes(512, &fields)
}

/// A fixed disk of version 1.0.
fn vhd() -> Vec<u8> {
    let mut footer =
        bytes(512, &[(0, b"conectix"), (8, &[0, 0, 0, 2, 0, 1, 0, 0]), (16, &[0xff; 8]), (60, &[0, 0, 0, 2])]);
    let sum = !footer.iter().fold(0, |sum: u32, byte| sum + u32::from(*byte));
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
    footer
}

/// Blocks of 4 KiB, revision 1, and these features.
fn ext(compatible: u8, incompatible: u8, read_only: u8) -> Vec<u8> {
    let fields: [(usize, &[u8]); 10] = [
        (0, &[0, 1]),
        (4, &[0, 64]),
        (24, &[2]),
        (32, &[0, 128]),
        (56, &[0x53, 0xef]),
        (76, &[1]),
        (92, &[compatible]),
        (96, &[incompatible]),
        (100, &[read_only]),
        (104, &[7; 16]),
    ];
    bytes(1024, &fields)
}

/// Version 4, blocks of 4 KiB, sectors of 512 bytes, inodes of 256.
fn xfs() -> Vec<u8> {
    let fields: [(usize, &[u8]); 14] = [
        (0, b"XFSB"),
        (4, &[0, 0, 16, 0]),
        (8, &[0, 0, 0, 0, 0, 0, 64, 0]),
        (32, &[7; 16]),
        (80, &[0, 0, 0, 1]),
        (84, &[0, 0, 16, 0]),
        (88, &[0, 0, 0, 4]),
        (100, &[0xb4, 0xa4]),
        (102, &[2, 0]),
        (104, &[1, 0]),
        (106, &[0, 16]),
        (120, &[12, 9, 8, 4, 12]),
        (127, &[25]),
        (200, &[0, 0, 0, 0]),
    ];
    bytes(512, &fields)
}

fn btrfs() -> Vec<u8> {
    let fields: [(usize, &[u8]); 6] =
        [(32, &[7; 16]), (48, &[0, 0, 1]), (64, b"_BHRfS_M"), (136, &[1]), (144, &[0, 16]), (148, &[0, 64])];
    let mut superblock = bytes(4096, &fields);
    let sum = crc32c(&superblock[32..]);
    superblock[..4].copy_from_slice(&sum.to_le_bytes());
    superblock
}

/// Documentation/filesystems/romfs.rst: the words of the first 512 bytes have the sum 0.
fn romfs() -> Vec<u8> {
    let mut image = bytes(512, &[(0, b"-rom1fs-"), (8, &[0, 0, 4, 0]), (16, b"label")]);
    let words = image.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
    let sum = words.fold(0, u32::wrapping_add).wrapping_neg();
    image[12..16].copy_from_slice(&sum.to_be_bytes());
    image
}

/// A primary volume descriptor, and the end of the set.
fn iso9660() -> Vec<u8> {
    let primary = [(0, &b"\x01CD001\x01"[..]), (40, b"LABEL"), (80, &[100]), (128, &[0, 8, 8, 0])];
    let mut set = bytes(2048, &primary);
    set.extend(bytes(2048, &[(0, b"\xffCD001\x01")]));
    set
}

/// exFAT specification, 3.1: sectors of 512 bytes, clusters of 4 KiB; the sum of eleven sectors fills the twelfth.
fn exfat() -> Vec<u8> {
    let fields: [(usize, &[u8]); 12] = [
        (0, b"\xeb\x76\x90EXFAT   "),
        (72, &[0, 0, 2, 0]),
        (80, &[128]),
        (84, &[128]),
        (88, &[0, 1]),
        (92, &[0, 16]),
        (96, &[4]),
        (104, &[0, 1]),
        (108, &[9, 3]),
        (110, &[1]),
        (111, &[0x80]),
        (510, &[0x55, 0xaa]),
    ];
    let mut region = bytes(12 * 512, &fields);
    let counted = (0..11 * 512).filter(|at| ![106, 107, 112].contains(at));
    let sum = counted.fold(0u32, |sum, at| sum.rotate_right(1).wrapping_add(u32::from(region[at])));
    region[11 * 512..].chunks_mut(4).for_each(|word| word.copy_from_slice(&sum.to_le_bytes()));
    region
}

/// Apple File System Reference, "Object checksum": Fletcher's, over all but itself.
fn apfs() -> Vec<u8> {
    let fields: [(usize, &[u8]); 6] =
        [(8, &[1]), (16, &[2]), (24, &[1, 0, 0, 0x80]), (32, b"NXSB"), (36, &[0, 16]), (40, &[0, 64])];
    let mut superblock = bytes(4096, &fields);
    let words = superblock[8..].chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
    let (low, high) = words.fold((0, 0), |(low, high), word| (low + word, high + low + word));
    let below = u64::from(u32::MAX);
    let first = below - (low + high) % below;
    let second = below - (low + first) % below;
    superblock[..8].copy_from_slice(&(second << 32 | first).to_le_bytes());
    superblock
}

/// gfs2_ondisk.h: a superblock's header, formats 1801 and 1900.
fn gfs2() -> Vec<u8> {
    let (format, hosts) = (1801u32.to_be_bytes(), 1900u32.to_be_bytes());
    bytes(512, &[(0, &[1, 0x16, 0x19, 0x70, 0, 0, 0, 1]), (24, &format), (28, &hosts), (36, &[0, 0, 16, 0])])
}

/// jfsutils, include/jfs_superblock.h: blocks of 4 KiB on sectors of 512 bytes.
fn jfs() -> Vec<u8> {
    bytes(512, &[(0, b"JFS1"), (4, &[1]), (16, &[0, 16]), (20, &[12]), (22, &[3]), (24, &[0, 2]), (28, &[9])])
}

/// fatgen103: 64 MiB in clusters of 2 KiB (FAT16) or 512 bytes (FAT32).
fn fat(bits: u32) -> Vec<u8> {
    let mut fields: Vec<(usize, &[u8])> = vec![
        (0, b"\xeb\x3c\x90mkfs.fat"),
        (11, &[0, 2]),
        (16, &[2]),
        (21, &[0xf8]),
        (32, &[0, 0, 2, 0]),
        (510, &[0x55, 0xaa]),
    ];
    if bits == 16 {
        fields.extend([(13, &[4][..]), (14, &[4]), (17, &[0, 2]), (22, &[128]), (38, &[0x29]), (54, b"FAT16   ")]);
    } else {
        fields.extend([(13, &[1][..]), (14, &[32]), (36, &[0, 4]), (44, &[2]), (66, &[0x29]), (82, b"FAT32   ")]);
    }
    bytes(512, &fields)
}
