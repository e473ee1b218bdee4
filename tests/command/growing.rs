//! What superblocks say, as the tools write them; and images, in which nothing grows.

use makeroom::filesystem::Format;
use makeroom::filesystem::superblock::{self, Superblock, WINDOW};

use crate::*;

/// A file of `size` bytes in which a tool has made a file system: `FILE` stands for its path.
fn made(words: &[&str], size: u64) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("partition");
    File::create(&path).unwrap().set_len(size).unwrap();
    let words: Vec<&str> =
        words.iter().map(|word| if *word == "FILE" { path.to_str().unwrap() } else { *word }).collect();
    let output = tool(words[0], &words[1..]);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    (directory, path)
}

fn read(format: Format, path: &Path) -> Option<Superblock> {
    let mut window = [0; WINDOW];
    File::open(path).unwrap().read_exact_at(&mut window, superblock::place(format)).unwrap();
    superblock::read(format, &window)
}

#[test]
fn a_file_system_that_was_just_made_fills_its_partition() {
    let all: [(Format, &[&str]); 12] = [
        (Format::Ext4, &["mkfs.ext4", "-q", "FILE"]),
        (Format::Ext4, &["mkfs.ext4", "-q", "-b", "4096", "-I", "256", "-m", "0", "FILE"]),
        (Format::Ext4, &["mkfs.ext4", "-q", "-b", "1024", "FILE"]),
        (Format::Ext4, &["mkfs.ext4", "-q", "-O", "^64bit,^metadata_csum", "FILE"]),
        (Format::Ext4, &["mkfs.ext4", "-q", "-O", "bigalloc", "FILE"]),
        (Format::Ext4, &["mkfs.ext4", "-q", "-O", "meta_bg,^resize_inode", "FILE"]),
        (Format::Xfs, &["mkfs.xfs", "-q", "FILE"]),
        (Format::Xfs, &["mkfs.xfs", "-q", "-s", "size=4096", "FILE"]),
        (Format::Xfs, &["mkfs.xfs", "-q", "-m", "crc=0", "FILE"]),
        (Format::Btrfs, &["mkfs.btrfs", "-q", "FILE"]),
        (Format::Btrfs, &["mkfs.btrfs", "-q", "--csum", "xxhash", "--sectorsize", "4096", "FILE"]),
        (Format::F2fs, &["mkfs.f2fs", "-q", "FILE"]),
    ];
    // Whole groups, and ends of every length.
    for size in [512 * MIB, 640 * MIB + 4096 * 7, 896 * MIB + 60 * 4096 + 512] {
        for (format, words) in all {
            let (_directory, path) = made(words, size);
            let superblock = read(format, &path).unwrap_or_else(|| panic!("{words:?} is not seen"));
            let others = superblock::FORMATS.into_iter().filter(|other| *other != format);
            assert!(others.into_iter().all(|other| read(other, &path).is_none()), "{words:?}");
            assert_eq!(superblock.size_in(size), superblock.size, "{words:?} in {size}");
            assert!(superblock.size <= size && superblock.size > size - 4 * MIB, "{words:?}: {superblock:?}");
            assert_eq!(superblock.obstacle.is_some(), format == Format::F2fs, "{words:?}: {superblock:?}");
        }
    }
}

#[test]
fn the_size_that_a_file_system_gets_is_the_one_that_its_tool_gives_it() {
    // A group has 128 MiB, and the kernel wants room in the last one for 2048 blocks of inodes and two bitmaps; in the
    // ninth, for a copy of the superblock and the descriptors with their reserve, too.
    let whole = 1152 * MIB;
    let ends =
        [(0, 0), (3, 0), (9, 9), (128, 128), (131, 128), (2944, 2944)].map(|(more, end)| (whole + more * MIB, end));
    for (size, end) in ends.into_iter().chain([(whole + 2068 * 4096, 0), (whole + 512, 0)]) {
        let (_directory, path) = made(&["mkfs.ext4", "-q", "-b", "4096", "FILE"], 128 * MIB);
        let superblock = read(Format::Ext4, &path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
        let wanted = superblock.size_in(size);
        assert!(tool("resize2fs", &[path.to_str().unwrap(), &format!("{}", wanted / 4096)]).status.success());
        let grown = read(Format::Ext4, &path).unwrap();
        assert_eq!((grown.size, grown.size_in(size)), (wanted, wanted), "{size}");
        assert_eq!(wanted, whole + end * MIB, "in {size}");
        // One block more than is left out; resize2fs would want 48 more.
        assert_eq!(superblock.size_in(whole + 2069 * 4096), whole + 2069 * 4096);
    }
}

#[test]
fn in_an_image_nothing_grows_and_the_plan_says_when_it_will() {
    let bench = Bench::with_builder(&Builder::new(512, 16), GIB);
    let config = bench
        .config("[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"xfs\"\nmkfs-options=[\"-d\", \"size=300m\"]\n");
    bench.json("apply", &config, &[]);
    let before = fingerprint(&bench.image());
    for command in ["plan", "apply"] {
        let output = bench.run(command, &config, &[]);
        let said = text(&output.stdout);
        assert!(said.contains("\nroot: its xfs grows from 300.0 MiB to 1019.0 MiB at the next boot\n"), "{said}");
        assert!(said.ends_with("nothing is missing\n") && output.stderr.is_empty(), "{said}{}", text(&output.stderr));
    }
    assert_eq!(fingerprint(&bench.image()), before);
}

#[test]
fn directories_in_an_image_are_refused_with_what_to_do_instead() {
    let bench = Bench::with_builder(&Builder::new(512, 16), GIB);
    let config = "[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\ndirectories=[\"/a\"]\n";
    let before = fingerprint(&bench.image());
    let output = bench.run("apply", &bench.config(config), &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{said}");
    let wanted = "root: directories are made by the kernel, which mounts no part of an image file: attach it \
                  (losetup --find --show FILE) and name the loop device with --disk; nothing was written\n";
    assert!(said.ends_with(wanted), "{said}");
    let planned = bench.json("plan", &bench.config(config), &[]);
    assert!(planned["warnings"][0].as_str().unwrap().starts_with("apply would refuse: root: directories"), "{planned}");
    assert_eq!(fingerprint(&bench.image()), before);
}
