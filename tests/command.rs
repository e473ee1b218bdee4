//! The program as its user runs it, on real images with real file systems: what it makes, what it says, and that a
//! refusal leaves every byte as it was.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use makeroom::disk::image::Image;
use serde_json::Value;
use support::builder::Builder;
use support::dump::fixtures;
use support::{decide, declared, to_make};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A directory with an image and a configuration in it.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { directory: tempfile::tempdir().unwrap() }
    }

    /// With a card made by `fixtures/cards/make`, flashed to a card of `size` bytes.
    fn with_card(name: &str, size: u64) -> Bench {
        let bench = Bench::new();
        let made = Command::new(fixtures().join("cards/make")).arg(name).arg(bench.image()).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        bench.enlarge(size);
        bench
    }

    fn with_builder(builder: &Builder, size: u64) -> Bench {
        let bench = Bench::new();
        let card = builder.build();
        let file = File::create(bench.image()).unwrap();
        for (lba, sector) in &card.content {
            file.write_all_at(sector, lba * u64::from(card.sector_size)).unwrap();
        }
        bench.enlarge(size);
        bench
    }

    fn enlarge(&self, size: u64) {
        File::options().write(true).open(self.image()).unwrap().set_len(size).unwrap();
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("card.img")
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("makeroom.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, command: &str, config: &Path) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        program.arg(command).arg("--config").arg(config).arg("--disk").arg(self.image());
        program.args(["--architecture", "arm64"]).env_remove("JOURNAL_STREAM").env("LC_ALL", "C");
        program
    }

    fn run(&self, command: &str, config: &Path, more: &[&str]) -> Output {
        self.command(command, config).args(more).output().unwrap()
    }

    /// Runs, expects success, and returns the JSON.
    fn json(&self, command: &str, config: &Path, more: &[&str]) -> Value {
        let output = self.command(command, config).args(more).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A run that must not change the image: exit status and what it said.
    fn refused(&self, config: &Path, more: &[&str]) -> String {
        let before = fingerprint(&self.image());
        let output = self.run("apply", config, more);
        assert_eq!(fingerprint(&self.image()), before, "a refusal has written: {}", text(&output.stderr));
        self.said(&output)
    }

    /// Exit status and stderr, without the directory's name.
    fn said(&self, output: &Output) -> String {
        let stderr = text(&output.stderr).replace(self.directory.path().to_str().unwrap(), "[DIR]");
        format!("exit {}: {stderr}", output.status.code().map_or("by signal".into(), |code| code.to_string()))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Time of the last change, and the content of every part that is not a hole.
fn fingerprint(path: &Path) -> (i64, i64, u64, u32) {
    let metadata = fs::metadata(path).unwrap();
    let file = File::open(path).unwrap();
    let mut hash = crc32fast::Hasher::new();
    let mut at = 0;
    while let Ok(Some((start, end))) = makeroom::kernel::next_data(&file, at) {
        let mut part = vec![0; (end - start) as usize];
        file.read_exact_at(&mut part, start).unwrap();
        hash.update(&start.to_le_bytes());
        hash.update(&part);
        at = end;
    }
    (metadata.ctime(), metadata.ctime_nsec(), metadata.len(), hash.finalize())
}

fn fixture_config(name: &str) -> PathBuf {
    fixtures().join(format!("configs/{name}.toml"))
}

fn tool(name: &str, arguments: &[&str]) -> Output {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(name).args(arguments).env("LC_ALL", "C").env("PATH", path).output();
    output.unwrap_or_else(|error| panic!("{name} is needed for this test: {error}"))
}

/// Copies a partition of an image into a file of its own.
fn extract(image: &Path, partition: &Value, to: &Path) {
    let (offset, size) = (partition["offset"].as_u64().unwrap(), partition["raw_size"].as_u64().unwrap());
    let (from, into) = (File::open(image).unwrap(), File::create(to).unwrap());
    into.set_len(size).unwrap();
    let mut at = offset;
    while let Ok(Some((start, end))) = makeroom::kernel::next_data(&from, at) {
        let (start, end) = (start.max(offset), end.min(offset + size));
        if start >= end {
            break;
        }
        let mut part = vec![0; (end - start) as usize];
        from.read_exact_at(&mut part, start).unwrap();
        into.write_all_at(&part, start - offset).unwrap();
        at = end;
    }
}

fn partition<'a>(report: &'a Value, label: &str) -> &'a Value {
    report["partitions"].as_array().unwrap().iter().find(|partition| partition["label"] == label).unwrap()
}

/// Lets the file system's own checker look at a partition.
fn check_file_system(bench: &Bench, report: &Value, label: &str, format: &str) {
    let path = bench.directory.path().join("part");
    extract(&bench.image(), partition(report, label), &path);
    let path = path.to_str().unwrap();
    let output = match format {
        "ext4" => tool("e2fsck", &["-fn", path]),
        "xfs" => tool("xfs_repair", &["-n", path]),
        "btrfs" => tool("btrfs", &["check", path]),
        "f2fs" => tool("fsck.f2fs", &["--dry-run", path]),
        "vfat" => tool("fsck.vfat", &["-n", path]),
        _ => tool("blkid", &["-p", path]),
    };
    assert!(output.status.success(), "{format}: {}{}", text(&output.stdout), text(&output.stderr));
    let seen = text(&tool("blkid", &["-p", path]).stdout);
    assert!(seen.contains(&format!(" TYPE=\"{format}\"")), "{seen}");
    assert!(!seen.contains("ambivalent"), "{seen}");
}

#[test]
fn a_raspberry_pi_card_gets_its_root() {
    let bench = Bench::with_card("raspberry-pi", 32 * GIB);
    let config = fixture_config("raspberry-pi");
    let before = File::open(bench.image()).unwrap();
    let mut old = vec![0; 200 << 20];
    before.read_exact_at(&mut old, MIB).unwrap();

    let planned = bench.json("plan", &config, &["--seed", "0123456789abcdef0123456789abcdef"]);
    let report = bench.json("apply", &config, &["--seed", "0123456789abcdef0123456789abcdef"]);
    assert_eq!(planned["partitions"], report["partitions"], "the plan shown is the plan applied");
    let root = partition(&report, "root");
    assert_eq!((&root["partno"], &root["type"], &root["format"]), (&4.into(), &"root-arm64".into(), &"xfs".into()));
    check_file_system(&bench, &report, "root", "xfs");

    let mut now = vec![0; 200 << 20];
    before.read_exact_at(&mut now, MIB).unwrap();
    assert!(old == now, "the boot partition has changed");
    let image = bench.image();
    assert!(text(&tool("sgdisk", &["-v", image.to_str().unwrap()]).stdout).contains("No problems found"));
    assert!(text(&tool("sfdisk", &["--verify", image.to_str().unwrap()]).stdout).contains("No errors detected"));

    let first = fingerprint(&bench.image());
    let again = bench.json("apply", &config, &[]);
    assert_eq!(again["outcome"]["message"], "nothing is missing");
    assert_eq!(fingerprint(&bench.image()), first, "the second run has written");
}

#[test]
fn an_appliance_gets_home_and_var_with_the_sizes_of_systemd_repart() {
    let image = 570_748_928;
    let bench = Bench::with_card("appliance", image + 10 * GIB);
    let report = bench.json("apply", &fixture_config("appliance"), &["--align", "4096"]);
    let place = |label| (partition(&report, label)["offset"].clone(), partition(&report, label)["raw_size"].clone());
    assert_eq!(place("home"), (570_728_448u64.into(), 7_158_276_096u64.into()));
    assert_eq!(place("var"), (7_729_004_544u64.into(), 3_579_142_144u64.into()));
    check_file_system(&bench, &report, "home", "ext4");
    check_file_system(&bench, &report, "var", "ext4");
}

#[test]
fn the_same_appliance_on_a_card_with_4096_byte_sectors() {
    // boot of 200 MiB and nix-store of 343 MiB, as on the card with 512-byte sectors.
    let partitions = vec![(1, 256, 51_455, "boot"), (2, 51_456, 139_263, "nix-store")];
    let bench = Bench::with_builder(&Builder { partitions, ..Builder::new(4096, 546) }, 10 * GIB);
    let report = bench.json("apply", &fixture_config("appliance"), &[]);
    let size = |label| partition(&report, label)["raw_size"].as_u64().unwrap();
    assert!(size("home").abs_diff(2 * size("var")) <= 2 * MIB && size("home") + size("var") > 9 * GIB);
    check_file_system(&bench, &report, "home", "ext4");
    check_file_system(&bench, &report, "var", "ext4");
    assert_eq!(bench.json("apply", &fixture_config("appliance"), &[])["outcome"]["message"], "nothing is missing");
}

#[test]
fn every_format_is_made_on_both_sector_sizes_and_passes_its_own_check() {
    for sector_size in [512, 4096] {
        let bench = Bench::with_builder(&Builder::new(sector_size, 16), 8 * GIB);
        let report = bench.json("apply", &fixture_config("every-format"), &[]);
        assert_eq!(report["disk"]["sector_size"], sector_size);
        let formats = [("e", "ext4"), ("x", "xfs"), ("b", "btrfs"), ("f", "f2fs"), ("v", "vfat"), ("s", "swap")];
        for (label, format) in formats {
            check_file_system(&bench, &report, label, format);
        }
        assert_eq!(partition(&report, "nothing")["format"], Value::Null);
        let sizes = (&partition(&report, "s")["raw_size"], &partition(&report, "v")["raw_size"]);
        assert_eq!(sizes, (&(128 * MIB).into(), &(64 * MIB).into()));
        let again = bench.json("apply", &fixture_config("every-format"), &[]);
        assert_eq!(again["outcome"]["message"], "nothing is missing");
    }
}

#[test]
fn the_plan_for_a_card_of_some_size_is_what_apply_makes_on_it() {
    let bench = Bench::with_card("raspberry-pi", 930_107_392);
    let config = fixture_config("raspberry-pi");
    let more = ["--seed", "0123456789abcdef0123456789abcdef"];
    let before = fingerprint(&bench.image());
    let planned = bench.json("plan", &config, &[&more[..], &["--size", "64G"]].concat());
    assert_eq!(fingerprint(&bench.image()), before, "plan has written");
    bench.enlarge(64 * GIB);
    let applied = bench.json("apply", &config, &more);
    assert_eq!(planned["partitions"], applied["partitions"]);
    assert_eq!(planned["disk"]["size"], 64 * GIB);
}

#[test]
fn boot_loaders_and_the_gap_before_the_first_partition_are_left_alone() {
    // U-Boot at LBA 64 and 16384, the first partition at LBA 32768: a gap of 16 MiB that no table mentions.
    let first = 32_768;
    let partitions = vec![(1, first, first + 2047, "boot"), (2, first + 2048, first + 4095, "nix-store")];
    let builder = Builder { first_usable: 34, partitions, ..Builder::new(512, 64) };
    let bench = Bench::with_builder(&builder, 4 * GIB);
    let file = File::options().read(true).write(true).open(bench.image()).unwrap();
    for lba in [64u64, 16_384] {
        file.write_all_at(b"U-Boot", lba * 512).unwrap();
    }
    let gap = |file: &File| {
        let mut bytes = vec![0; (first as usize - 34) * 512];
        file.read_exact_at(&mut bytes, 34 * 512).unwrap();
        bytes
    };
    let before = gap(&file);
    let report = bench.json("apply", &fixture_config("appliance"), &[]);
    assert!(gap(&file) == before, "the gap before the first partition was written to");
    assert!(partition(&report, "home")["offset"].as_u64().unwrap() > first * 512);
}

#[test]
fn a_hole_before_the_first_partition_stays_empty_and_the_card_is_used() {
    let first = 65 * 2048;
    let partitions = vec![(1, first, first + 2047, "boot"), (2, first + 2048, first + 4095, "nix-store")];
    let bench = Bench::with_builder(&Builder { partitions, ..Builder::new(512, 128) }, 8 * GIB);
    let report = bench.json("apply", &fixture_config("appliance"), &[]);
    let size = |label| partition(&report, label)["raw_size"].as_u64().unwrap();
    assert!(size("home") + size("var") > 7 * GIB, "{report}");
    assert!(partition(&report, "home")["offset"].as_u64().unwrap() > first * 512);
}

#[test]
fn nothing_of_what_a_card_held_before_can_be_found_in_a_new_partition() {
    let bench = Bench::with_builder(&Builder::new(512, 64), 2 * GIB);
    let file = File::options().read(true).write(true).open(bench.image()).unwrap();
    // The old system's data everywhere, and its signatures at both ends of what will be a partition.
    for mib in (16..2047).step_by(7) {
        file.write_all_at(b"the previous owner's letters", mib * MIB + 12_345).unwrap();
    }
    let config = bench.config(
        "[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\n\
         [[partition]]\nlabel=\"raw\"\ntype=\"linux-generic\"\n",
    );
    let planned = bench.json("plan", &config, &[]);
    for label in ["root", "raw"] {
        let place = partition(&planned, label);
        let (start, size) = (place["offset"].as_u64().unwrap(), place["raw_size"].as_u64().unwrap());
        for (offset, signature) in old_signatures(size) {
            file.write_all_at(&signature, start + offset).unwrap();
        }
        let path = bench.directory.path().join("before");
        extract(&bench.image(), place, &path);
        let seen = text(&tool("wipefs", &["--noheadings", path.to_str().unwrap()]).stdout);
        assert!(seen.lines().count() >= 4, "the signatures are not there to begin with: {seen}");
    }
    let report = bench.json("apply", &config, &[]);
    for (label, signatures) in [("root", 1), ("raw", 0)] {
        let path = bench.directory.path().join("after");
        extract(&bench.image(), partition(&report, label), &path);
        let seen = text(&tool("wipefs", &["--noheadings", path.to_str().unwrap()]).stdout);
        assert_eq!(seen.lines().count(), signatures, "{label}: {seen}");
        let mut content = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut content).unwrap();
        let letters = content.windows(18).any(|window| window == b"the previous owner");
        assert!(!letters, "{label}: old data can still be read");
    }
}

#[test]
fn a_file_system_that_cannot_punch_holes_gives_the_same_card() {
    // ramfs can neither punch nor find holes; the new area is full of the old system's data.
    let bench = Bench::with_builder(&Builder::new(512, 16), 160 * MIB);
    let file = File::options().write(true).open(bench.image()).unwrap();
    file.write_all_at(&vec![0xa5; 140 << 20], 8 * MIB).unwrap();
    let config =
        bench.config("[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\n");
    let script = "set -e; mkdir ram; mount -t ramfs none ram; cp card.img ram/card.img; \
                  \"$1\" apply -c makeroom.toml --disk ram/card.img; cp --sparse=always ram/card.img card.img";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_makeroom")]);
    let output = command.current_dir(bench.directory.path()).output().unwrap();
    assert!(output.status.success(), "this test mounts: run it as root: {}", text(&output.stderr));
    let report = bench.json("plan", &config, &[]);
    check_file_system(&bench, &report, "root", "ext4");
    let path = bench.directory.path().join("part");
    let stale = fs::read(&path).unwrap().windows(64).any(|window| window == [0xa5; 64]);
    assert!(!stale, "old data can still be read");
}

/// Signatures of other systems at both ends of a partition: btrfs, ext4, RAID 1.0 and 1.2, LVM, ZFS, swap.
fn old_signatures(size: u64) -> Vec<(u64, Vec<u8>)> {
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

/// A fresh card beside a bench's own.
fn fixture_card(bench: &Bench) -> PathBuf {
    let path = bench.directory.path().join("fresh.img");
    let made = Command::new(fixtures().join("cards/make")).arg("raspberry-pi").arg(&path).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    File::options().write(true).open(&path).unwrap().set_len(2 * GIB).unwrap();
    path
}

#[test]
fn no_root_is_needed_for_an_image() {
    let bench = Bench::with_card("raspberry-pi", 4 * GIB);
    let config = bench.config(&fs::read_to_string(fixture_config("raspberry-pi")).unwrap());
    let nobody = 65_534;
    for path in [bench.directory.path(), &bench.image(), &config] {
        std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).expect("this test changes owners: run it as root");
    }
    // The program, too, must be where nobody can reach it.
    let program = bench.directory.path().join("makeroom");
    fs::copy(env!("CARGO_BIN_EXE_makeroom"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = tool(
        "setpriv",
        &[
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            program.to_str().unwrap(),
            "apply",
            "-c",
            config.to_str().unwrap(),
            "--disk",
            bench.image().to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    check_file_system(&bench, &bench.json("plan", &config, &[]), "root", "xfs");

    let closed = bench.directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let image = closed.join("card.img");
    fs::copy(fixture_card(&bench), &image).unwrap();
    std::os::unix::fs::chown(&image, Some(nobody), Some(nobody)).unwrap();
    let before = fingerprint(&image);
    let arguments = ["--reuid=65534", "--regid=65534", "--clear-groups", program.to_str().unwrap(), "apply", "-c"];
    let more = [config.to_str().unwrap(), "--disk", image.to_str().unwrap()];
    let output = tool("setpriv", &[&arguments[..], &more[..]].concat());
    assert_eq!(
        bench.said(&output),
        "exit 77: makeroom: error: [DIR]/closed/card.img: root: making a temporary file beside the image: Permission \
         denied (os error 13); nothing was written\n"
    );
    assert_eq!(fingerprint(&image), before);

    let locked_away = bench.directory.path().join("secret.img");
    fs::copy(bench.image(), &locked_away).unwrap();
    fs::set_permissions(&locked_away, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["--reuid=65534", "--regid=65534", "--clear-groups", program.to_str().unwrap(), "plan", "-c"];
    let more = [config.to_str().unwrap(), "--disk", locked_away.to_str().unwrap()];
    let output = tool("setpriv", &[&arguments[..], &more[..]].concat());
    assert_eq!(bench.said(&output), "exit 77: makeroom: error: no permission to read [DIR]/secret.img\n");
}

#[test]
fn refusals_name_the_fact_and_the_remedy_and_write_nothing() {
    let rpi = fs::read_to_string(fixture_config("raspberry-pi")).unwrap();
    let mut said = String::new();
    let mut note = |name: &str, text: String| said.push_str(&format!("# {name}\n{text}\n"));

    let small = Bench::with_builder(&Builder::new(512, 200), 200 * MIB);
    note("too small", small.refused(&fixture_config("raspberry-pi"), &[]));
    let hole = vec![(1, 409_000, 409_099, "boot"), (2, 409_100, 409_199, "nix-store")];
    let only_hole = Bench::with_builder(&Builder { partitions: hole, ..Builder::new(512, 200) }, 200 * MIB);
    note("only the gap before the first partition", only_hole.refused(&fixture_config("appliance"), &[]));

    let bench = Bench::with_card("raspberry-pi", 4 * GIB);
    let missing = bench.config(&format!("{rpi}[tools]\n\"mkfs.xfs\" = \"/nowhere/mkfs.xfs\"\n"));
    note("a tool is missing", bench.refused(&missing, &[]));
    let twice = Builder::new(512, 64);
    let partitions = twice.partitions.iter().map(|(n, first, last, _)| (*n, *first, *last, "root")).collect();
    let twice = Bench::with_builder(&Builder { partitions, ..twice }, 2 * GIB);
    note("the label twice on the disk", twice.refused(&fixture_config("raspberry-pi"), &[]));
    let odd = bench.config(&rpi.replace("weight = 1000", "size-min = \"400M\"\nsize-max = \"401M\""));
    note("no aligned size", bench.refused(&odd, &["--align", "64M"]));
    let search = bench.config(&rpi);
    let output = Command::new(env!("CARGO_BIN_EXE_makeroom")).args(["apply", "-c"]).arg(&search).output().unwrap();
    note("no --disk", bench.said(&output));
    let none = bench.config(&rpi.replace("[boot-disk]\nlabels = [\"boot\", \"nix-store_*\"]", ""));
    let output = Command::new(env!("CARGO_BIN_EXE_makeroom")).args(["check", "-c"]).arg(&none).output().unwrap();
    note("no [boot-disk] and no --disk", bench.said(&output));

    let other = |disk: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        command.args(["plan", "-c"]).arg(fixture_config("raspberry-pi")).args(["--disk", disk]).output().unwrap()
    };
    let directory = bench.directory.path().to_str().unwrap();
    note("no such image", bench.said(&other(&format!("{directory}/none.img"))));
    note("a directory", bench.said(&other(directory)));
    note("a device", bench.said(&other("/dev/null")));
    let empty = bench.directory.path().join("empty.img");
    File::create(&empty).unwrap();
    note("an empty file", bench.said(&other(empty.to_str().unwrap())));
    fs::write(&empty, "no disk").unwrap();
    note("a file of 7 bytes", bench.said(&other(empty.to_str().unwrap())));
    let output = bench.run("plan", &fixture_config("raspberry-pi"), &["--size", "1G"]);
    note("--size below the image", bench.said(&output));

    let impatient = bench.config(&rpi.replace("[boot-disk]", "[boot-disk]\nwait = \"1s\""));
    let held = File::open(bench.image()).unwrap();
    held.lock().unwrap();
    note("locked by another process", bench.refused(&impatient, &[]));
    drop(held);
    snapbox::assert_data_eq!(said, snapbox::file!["snapshots/refusals.txt"].raw());
}

#[test]
fn a_lock_that_is_given_up_in_time_is_waited_for() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let output = apply_while_locked(&bench, || {});
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_table_that_changed_meanwhile_is_not_overwritten() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let image = bench.image();
    let output = apply_while_locked(&bench, || {
        assert!(tool("sgdisk", &["-c", "3:renamed", image.to_str().unwrap()]).status.success());
    });
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(stderr.contains("the partition table changed while makeroom was looking at it"), "{stderr}");
    let report = bench.json("plan", &fixture_config("raspberry-pi"), &[]);
    assert_eq!(partition(&report, "renamed")["partno"], 3);
}

#[test]
fn an_image_that_was_enlarged_meanwhile_is_not_treated_as_the_old_one() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let output = apply_while_locked(&bench, || bench.enlarge(4 * GIB));
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    let report = bench.json("apply", &fixture_config("raspberry-pi"), &[]);
    assert!(partition(&report, "root")["raw_size"].as_u64().unwrap() > 3 * GIB);
}

/// Starts `apply` while another process holds the lock; `meanwhile` happens when it says that it waits.
fn apply_while_locked(bench: &Bench, meanwhile: impl FnOnce()) -> Output {
    let held = File::open(bench.image()).unwrap();
    held.lock().unwrap();
    let mut command = bench.command("apply", &fixture_config("raspberry-pi"));
    let mut waiting = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut line = [0; 17];
    waiting.stderr.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(text(&line), "makeroom: waiting");
    meanwhile();
    drop(held);
    waiting.wait_with_output().unwrap()
}

#[test]
fn a_tool_that_fails_leaves_the_old_table_and_the_next_run_finishes() {
    let rpi = fs::read_to_string(fixture_config("raspberry-pi")).unwrap();
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let script = bench.directory.path().join("mkfs");
    let config = bench.config(&format!("{rpi}[tools]\n\"mkfs.xfs\" = \"{}\"\n", script.display()));
    let mut said = String::new();
    let scripts = [
        ("fails", "echo 'mkfs.xfs: \x1b[2Jno luck' >&2; exit 3"),
        ("is killed", "kill -9 $$"),
        ("fills stderr", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1"),
        ("says nothing", "exit 1"),
    ];
    let partitions = |bench: &Bench| -> Vec<String> {
        let dump = text(&tool("sfdisk", &["-d", bench.image().to_str().unwrap()]).stdout);
        dump.lines().filter(|line| line.contains("start=")).map(str::to_owned).collect()
    };
    let before = partitions(&bench);
    for (name, body) in scripts {
        fs::write(&script, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let output = bench.run("apply", &config, &[]);
        said.push_str(&format!("# {name}\n{}\n", bench.said(&output)));
        assert_eq!(partitions(&bench), before, "{name}: the table has changed");
    }
    fs::write(&script, "not a program").unwrap();
    said.push_str(&format!("# is no program\n{}\n", bench.said(&bench.run("apply", &config, &[]))));
    snapbox::assert_data_eq!(said, snapbox::file!["snapshots/failing_tools.txt"].raw());

    let report = bench.json("apply", &fixture_config("raspberry-pi"), &[]);
    check_file_system(&bench, &report, "root", "xfs");
    let left: Vec<_> = fs::read_dir(bench.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".makeroom")), "{left:?}");
}

#[test]
fn the_next_run_finishes_from_every_step_of_an_earlier_one() {
    // The real program, on what each step of an interrupted run leaves; `power_cut` has every torn state of it.
    let config =
        String::from("[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"linux-generic\"\n");
    let places = |bench: &Bench, config: &Path| -> Vec<Value> {
        let report = bench.json("plan", config, &[]);
        assert_eq!(report["outcome"]["message"], "nothing is missing");
        let all = report["partitions"].as_array().unwrap();
        all.iter().map(|p| Value::from(vec![p["label"].clone(), p["offset"].clone(), p["raw_size"].clone()])).collect()
    };
    let mut wanted = None;
    for done in 0.. {
        let bench = Bench::with_card("raspberry-pi", 2 * GIB);
        let path = bench.config(&config);
        let mut image = Image::lock(&bench.image(), 512, Duration::ZERO).unwrap();
        let (_, plan, steps) = decide(&mut image, &[declared("root")], MIB).unwrap();
        if done > steps.len() {
            assert!(done > 15, "only {done} steps");
            break;
        }
        makeroom::apply::carry_out(&mut image, &steps[..done], &to_make(&plan)).unwrap();
        drop(image);
        bench.json("apply", &path, &[]);
        let found = places(&bench, &path);
        assert_eq!(wanted.get_or_insert(found.clone()), &found, "after {done} steps");
        let seen = text(&tool("sgdisk", &["-v", bench.image().to_str().unwrap()]).stdout);
        assert!(seen.contains("No problems found"), "after {done} steps: {seen}");
    }
}

#[test]
fn damage_to_either_copy_is_mended_by_the_next_run() {
    let config = fixture_config("raspberry-pi");
    let damages = [(1u64, vec![0u8; 512]), (2, vec![0xff; 512]), (4_194_303, vec![0; 512]), (4_194_280, vec![1; 512])];
    for (lba, content) in damages {
        let bench = Bench::with_card("raspberry-pi", 2 * GIB);
        bench.json("apply", &config, &[]);
        let whole = bench.json("plan", &config, &[])["partitions"].clone();
        let file = File::options().write(true).open(bench.image()).unwrap();
        file.write_all_at(&content, lba * 512).unwrap();
        let report = bench.json("apply", &config, &[]);
        assert_eq!(report["repairs"].as_array().unwrap().len(), 1, "LBA {lba}: {report}");
        let again = bench.json("plan", &config, &[]);
        assert_eq!((&again["outcome"]["message"], &again["partitions"]), (&"nothing is missing".into(), &whole));
    }
}

#[test]
fn a_complete_disk_that_linux_reads_never_stops_a_boot() {
    // Nothing is missing; something about the table is odd, or cannot be mended.
    let usual = Builder::new(512, 64);
    let complete =
        "[boot-disk]\nlabels=[\"boot\"]\nwait=\"200ms\"\n[[partition]]\nlabel=\"store\"\ntype=\"linux-generic\"\n";
    let incomplete = complete.replace("store", "missing");
    let with = |partition| Builder { partitions: [&usual.partitions[..], &[partition]].concat(), ..usual.clone() };
    let tables = [
        ("no room for the array", Builder { first_usable: 33, ..usual.clone() }),
        ("overlapping partitions", with((4, 3000, 5000, "over"))),
        ("a partition on the backup", with((4, 100_000, 131_060, "long"))),
        ("a partition before the table's end", with((4, 10, 20, "early"))),
    ];
    let mut said = String::new();
    for (name, builder) in tables {
        let bench = Bench::with_builder(&Builder { user_data: false, ..builder }, 64 * MIB);
        let before = fingerprint(&bench.image());
        let output = bench.run("apply", &bench.config(complete), &[]);
        said.push_str(&format!("# {name}\n{}{}", bench.said(&output), text(&output.stdout)));
        assert_eq!(fingerprint(&bench.image()), before, "{name}");
        let output = bench.run("apply", &bench.config(&incomplete), &[]);
        assert_eq!(output.status.code(), Some(65), "{name}: {}", text(&output.stderr));
    }
    let bench = Bench::with_builder(&usual, 80 * MIB);
    let held = File::open(bench.image()).unwrap();
    held.lock().unwrap();
    let output = bench.run("apply", &bench.config(complete), &[]);
    said.push_str(&format!("# the backup has to move, and the disk is locked\n{}", bench.said(&output)));
    let output = bench.run("apply", &bench.config(&incomplete), &[]);
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    snapbox::assert_data_eq!(said, snapbox::file!["snapshots/tolerated.txt"].raw());
}

#[test]
fn the_sector_size_is_where_the_table_is() {
    let bench = Bench::with_builder(&Builder::new(4096, 16), 4 * GIB);
    let config = fixture_config("raspberry-pi");
    // What is left of a header for 512-byte sectors does not count; a whole one does.
    let small = Builder::new(512, 16).build();
    let file = File::options().write(true).open(bench.image()).unwrap();
    file.write_all_at(&small.sector(1)[..64], 512).unwrap();
    assert_eq!(bench.json("plan", &config, &[])["disk"]["sector_size"], 4096);
    let mut said = bench.said(&bench.run("plan", &config, &["--sector-size", "512"]));
    file.write_all_at(&small.sector(1), 512).unwrap();
    said += &bench.said(&bench.run("plan", &config, &[]));
    assert_eq!(
        said,
        "exit 64: makeroom: error: --sector-size 512: the partition table of [DIR]/card.img was made for sectors of \
         4096 bytes; leave the option out\nexit 64: makeroom: error: [DIR]/card.img has a partition table for sectors \
         of 512 and one for sectors of 4096 bytes: say with --sector-size which one is meant\n"
    );
    assert_eq!(bench.json("plan", &config, &["--sector-size", "4096"])["disk"]["sector_size"], 4096);
}

#[test]
fn the_table_and_the_bar_are_what_people_would_show() {
    let bench = Bench::with_card("raspberry-pi", 930_107_392);
    let output = bench.run("plan", &fixture_config("raspberry-pi"), &["--size", "32G"]);
    let shown = text(&output.stdout).replace(bench.directory.path().to_str().unwrap(), "[DIR]");
    assert!(shown.is_ascii() && shown.lines().all(|line| line.len() <= 80), "{shown}");
    let mut many = Builder::new(512, 64);
    many.partitions = (1..=30)
        .map(|n| (n, 2048 * u64::from(n), 2048 * u64::from(n) + 2047, "a label of thirty-six characters...."))
        .collect();
    let bench = Bench::with_builder(&many, 64 * GIB);
    let output = bench.command("plan", &fixture_config("every-format")).env("LC_ALL", "C.UTF-8").output().unwrap();
    let crowded = text(&output.stdout).replace(bench.directory.path().to_str().unwrap(), "[DIR]");
    assert!(crowded.lines().all(|line| line.chars().count() <= 80), "{crowded}");
    snapbox::assert_data_eq!(format!("{shown}\n\n{crowded}"), snapbox::file!["snapshots/plan.txt"].raw());
}

#[test]
fn the_json_has_one_shape_on_success_and_on_a_refusal() {
    let bench = Bench::with_card("raspberry-pi", 4 * GIB);
    let success = bench.json("plan", &fixture_config("raspberry-pi"), &["--seed", &"01".repeat(16)]);
    let small = Bench::with_builder(&Builder::new(512, 64), 64 * MIB);
    let output = small.run("apply", &fixture_config("raspberry-pi"), &["--json"]);
    let refusal: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(refusal["outcome"]["code"], output.status.code().unwrap());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&success), keys(&refusal));
    let shown = serde_json::to_string_pretty(&success).unwrap();
    let shown = shown.replace(bench.directory.path().to_str().unwrap(), "[DIR]");
    snapbox::assert_data_eq!(shown, snapbox::file!["snapshots/plan.json"].raw());
}

#[test]
fn the_command_line_is_strict() {
    let mut said = String::new();
    let lines: [&[&str]; 17] = [
        &[],
        &["aply"],
        &["apply", "plan"],
        &["--sise", "1G", "plan"],
        &["plan", "--nonsense"],
        &["plan", "-x"],
        &["plan", "--disk"],
        &["plan", "--json=yes"],
        &["apply", "--size", "1G"],
        &["plan", "--size", "big"],
        &["plan", "--size", "99999999P"],
        &["plan", "--sector-size", "1024"],
        &["plan", "--align", "1000"],
        &["plan", "--align", "0"],
        &["plan", "--architecture", "arm65"],
        &["plan", "--seed", "xyz"],
        &["check", "-c", "/nowhere/makeroom.toml"],
    ];
    for line in lines {
        let output =
            Command::new(env!("CARGO_BIN_EXE_makeroom")).args(line).env_remove("JOURNAL_STREAM").output().unwrap();
        let code = output.status.code().unwrap();
        said.push_str(&format!("makeroom {}\n{code}: {}", line.join(" "), text(&output.stderr)));
        assert!(output.stdout.is_empty(), "{line:?}");
    }
    snapbox::assert_data_eq!(said, snapbox::file!["snapshots/command_line.txt"].raw());
    for (option, expected) in [("--help", "Usage: makeroom"), ("-V", "makeroom 0.1.0\n")] {
        let output = Command::new(env!("CARGO_BIN_EXE_makeroom")).arg(option).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains(expected));
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
    let mut child = command.arg("--help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
    let output = command.arg("--help").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "a result that is lost is an error");
}

#[test]
fn the_journal_gets_levels_and_a_terminal_does_not() {
    let bench = Bench::new();
    let path = bench.directory.path().join("stderr");
    for (inode, expected) in [(0, "<3>unknown command"), (1, "makeroom: error: unknown command")] {
        let stderr = File::create(&path).unwrap();
        let metadata = stderr.metadata().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino() + inode));
        command.arg("nonsense").stderr(stderr).status().unwrap();
        let said = fs::read_to_string(&path).unwrap();
        assert!(said.starts_with(expected), "{said}");
    }
}

/// Wrong configurations: a name, and the text.
const WRONG: &[(&str, &str)] = &[
    ("empty", ""),
    ("only comments", "# nothing\n\n"),
    ("not TOML", "[[partition]\nlabel = \"root\"\n"),
    ("a value that is not there", "[[partition]]\nlabel =\n"),
    ("unknown section", "[bootdisk]\nlabels = [\"boot\"]\n"),
    ("unknown key", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nwieght = 1000\n"),
    ("unknown key, nothing near", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\ncolour = \"red\"\n"),
    ("unknown key in [boot-disk]", "[boot-disk]\nlabel = [\"boot\"]\n"),
    ("a section that is a list", "[[boot-disk]]\nlabels = [\"boot\"]\n"),
    ("a list that is a section", "[partition]\nlabel = \"root\"\n"),
    ("no label", "[[partition]]\ntype = \"root\"\n"),
    ("no type", "[[partition]]\nlabel = \"root\"\n"),
    ("empty label", "[[partition]]\nlabel = \"\"\ntype = \"root\"\n"),
    ("label of 37 units", "[[partition]]\nlabel = \"abcdefghijklmnopqrstuvwxyz01234567890\"\ntype = \"root\"\n"),
    ("label with an escape", "[[partition]]\nlabel = \"a\\u001b[2J\"\ntype = \"root\"\n"),
    (
        "label twice",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\n\n[[partition]]\nlabel = \"root\"\ntype = \"var\"\n",
    ),
    ("label of another type", "[[partition]]\nlabel = 7\ntype = \"root\"\n"),
    ("unknown type", "[[partition]]\nlabel = \"root\"\ntype = \"rot\"\n"),
    ("the type that means unused", "[[partition]]\nlabel = \"a\"\ntype = \"00000000-0000-0000-0000-000000000000\"\n"),
    ("unknown format", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"ext5\"\n"),
    ("swap that is none", "[[partition]]\nlabel = \"s\"\ntype = \"swap\"\nformat = \"xfs\"\n"),
    ("weight out of range", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = 1000001\n"),
    ("weight negative", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = -1\n"),
    ("weight as text", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = \"heavy\"\n"),
    ("weight with a fraction", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = 1.5\n"),
    ("priority beyond 32 bits", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\npriority = 2147483648\n"),
    ("a size that is none", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-min = \"10 apples\"\n"),
    ("a negative size", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-max = -5\n"),
    ("a size of another type", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-max = true\n"),
    (
        "minimum above maximum",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-min = \"2G\"\nsize-max = \"1G\"\n",
    ),
    ("maximum below the default", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-max = \"5M\"\n"),
    (
        "maximum below the file system's",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"xfs\"\nsize-max = \"100M\"\n",
    ),
    (
        "fs-label too long",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"xfs\"\nfs-label = \"thirteen-byte\"\n",
    ),
    (
        "fs-label with a slash on vfat",
        "[[partition]]\nlabel = \"b\"\ntype = \"esp\"\nformat = \"vfat\"\nfs-label = \"a/b\"\n",
    ),
    ("fs-label without format", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nfs-label = \"x\"\n"),
    ("mkfs-options without format", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nmkfs-options = []\n"),
    (
        "mkfs-options of another type",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"xfs\"\nmkfs-options = [\"-f\", 1]\n",
    ),
    ("a device that is no path", "[boot-disk]\ndevice = \"mmcblk0\"\n"),
    ("a time that is none", "[boot-disk]\nlabels = [\"boot\"]\nwait = \"soon\"\n"),
    ("a flag that is none", "[boot-disk]\nlabels = [\"boot\"]\nallow-loop = 1\n"),
    ("unknown tool", "[tools]\n\"mkfs.xfss\" = \"/bin/mkfs.xfs\"\n"),
    ("a tool without a path", "[tools]\n\"mkfs.xfs\" = \"mkfs.xfs\"\n"),
    ("a key twice", "[[partition]]\nlabel = \"a\"\nlabel = \"b\"\n"),
];

#[test]
fn a_wrong_configuration_gives_one_error_with_its_place() {
    let bench = Bench::new();
    let mut said = String::new();
    for (name, config) in WRONG {
        let path = bench.config(config);
        said.push_str(&format!("# {name}\n{}\n", checked(&bench, &path)));
    }
    let long = format!("[[partition]]\nlabel = \"a\" # {}\ntype = \"{}\"\n", "x".repeat(300), "y".repeat(300));
    said.push_str(&format!("# a very long line\n{}\n", checked(&bench, &bench.config(&long))));
    let path = bench.directory.path().join("makeroom.toml");
    fs::write(&path, b"[[partition]]\nlabel = \"\xff\xfe\"\n").unwrap();
    said.push_str(&format!("# not UTF-8\n{}\n", checked(&bench, &path)));
    said.push_str(&format!("# a directory\n{}\n", checked(&bench, bench.directory.path())));
    said.push_str(&format!("# a file that is not there\n{}\n", checked(&bench, &bench.directory.path().join("none"))));
    let mut garbage = vec![0u8; 10 << 20];
    garbage.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 7919 % 251) as u8);
    fs::write(&path, garbage).unwrap();
    said.push_str(&format!("# 10 MB of garbage\n{}\n", checked(&bench, &path)));
    assert!(said.is_ascii(), "nothing raw reaches the console");
    snapbox::assert_data_eq!(said, snapbox::file!["snapshots/wrong_configurations.txt"].raw());
}

/// What `check` says of a configuration that is wrong.
fn checked(bench: &Bench, path: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_makeroom"))
        .args(["check", "--disk", "card.img", "-c"])
        .arg(path)
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    bench.said(&output)
}

#[test]
fn the_configurations_of_the_fixtures_and_the_readme_are_valid() {
    for name in ["raspberry-pi", "appliance", "every-format"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_makeroom")).args(["check", "-c"]).arg(fixture_config(name)).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let examples: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    let bench = Bench::new();
    for example in examples {
        let path = bench.config(example);
        let output = Command::new(env!("CARGO_BIN_EXE_makeroom")).args(["check", "-c"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}\n{example}", text(&output.stderr));
    }
}

#[test]
fn a_label_that_a_file_system_cannot_hold_is_cut_with_a_warning() {
    let bench = Bench::with_builder(&Builder::new(512, 64), 2 * GIB);
    let config = bench.config(
        "[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"a-rather-long-label\"\ntype=\"root\"\nformat=\"xfs\"\n",
    );
    let report = bench.json("apply", &config, &[]);
    assert_eq!(
        report["warnings"][0],
        "a-rather-long-label: xfs cannot have this label and gets \"a-rather-lon\"; set fs-label to choose another"
    );
    let path = bench.directory.path().join("part");
    extract(&bench.image(), partition(&report, "a-rather-long-label"), &path);
    let seen = text(&tool("blkid", &["-p", path.to_str().unwrap()]).stdout);
    assert!(seen.contains("LABEL=\"a-rather-lon\""), "{seen}");
}

#[test]
fn ext4_on_32_gib_writes_no_more_than_15_mb() {
    let bench = Bench::with_builder(&Builder::new(512, 16), 32 * GIB);
    let config =
        bench.config("[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\n");
    let blocks = || fs::metadata(bench.image()).unwrap().blocks() * 512;
    let before = blocks();
    bench.json("apply", &config, &[]);
    let written = blocks() - before;
    println!("{written} bytes of the image are in use by ext4 on 32 GiB");
    assert!(written <= 15_000_000, "{written} bytes");
}
