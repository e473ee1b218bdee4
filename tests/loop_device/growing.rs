//! File systems that are smaller than their partitions.

use std::os::unix::fs::OpenOptionsExt;

use makeroom::kernel::calls::add_partition;
use makeroom::units::Extent;

use crate::searching::{boot_with_efi, disk, set_guid, variable};
use crate::waiting::waiting;
use crate::*;

/// A card of 1 GiB with a partition "root", in which `mkfs` has made something.
pub fn card(mkfs: &[&str]) -> Device {
    let device = Device::with_builder(&Builder::new(512, 16), GIB);
    device.json("apply", &device.config(&one_partition("root", "")));
    make(&device, mkfs);
    device
}

/// Runs a tool on the partition, whose node comes where `NODE` is.
pub fn make(device: &Device, words: &[&str]) {
    let node = device.partition(4);
    let words: Vec<&str> = words.iter().map(|word| if *word == "NODE" { &node } else { *word }).collect();
    let output = tool(words[0], &words[1..]);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    // Closing it writes what is cached only where nobody else has it open, as the udev of another test may have.
    File::open(node).unwrap().sync_all().unwrap();
}

pub const XFS: &[&str] = &["mkfs.xfs", "-q", "-f", "-d", "size=300m", "NODE"];
pub const BTRFS: &[&str] = &["mkfs.btrfs", "-q", "-f", "-K", "-b", "268435456", "NODE"];
const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard", "NODE", "128M"];

pub fn declared(device: &Device, format: &str) -> PathBuf {
    device.config(&one_partition("root", &format!("format=\"{format}\"")))
}

/// The size in bytes that a file system says it has, through a mount.
pub fn size_of(node: &str, format: &str) -> u64 {
    let mounted = Mounted::new(node);
    let path = mounted.directory.path().to_str().unwrap();
    let (said, key) = match format {
        "xfs" => (text(&tool("xfs_info", &[path]).stdout), "blocks="),
        "btrfs" => (text(&tool("btrfs", &["filesystem", "show", "--raw", path]).stdout), "size "),
        _ => (text(&tool("dumpe2fs", &["-h", node]).stdout), "Block count: "),
    };
    let line = said.lines().find(|line| line.contains(key) && !line.contains("realtime")).unwrap();
    let digits = |text: &str| text.trim().chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let count: u64 = digits(line.split_once(key).unwrap().1);
    if format == "btrfs" { count } else { count * 4096 }
}

/// That a run has nothing to do and writes nothing.
pub fn assert_idle(device: &Device, config: &Path) {
    let before = (device.written(), content_hash(&device.image()));
    let report = device.json("apply", config);
    assert_eq!(
        (&report["outcome"]["message"], &report["warnings"]),
        (&"nothing is missing".into(), &Value::Array(vec![]))
    );
    tool("sync", &[&device.node]);
    assert_eq!((device.written(), content_hash(&device.image())), before, "an idle run has written");
}

#[test]
fn a_file_system_comes_to_fill_its_partition() {
    if is_emulated() {
        return;
    }
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = card(mkfs);
        let node = device.partition(4);
        // As at a boot: what is read through the disk stays cached.
        let _held = File::open(device.partition(1)).unwrap();
        let mounted = Mounted::new(&node);
        fs::write(mounted.directory.path().join("letter"), "before").unwrap();
        drop(mounted);
        let config = declared(&device, format);
        let planned = device.run("plan", &config);
        let said = text(&planned.stdout);
        assert!(said.contains(&format!("root: its {format} grows from ")), "{said}{}", text(&planned.stderr));
        assert!(said.contains("would grow the file system of root; nothing was written"), "{said}");

        let report = device.json("apply", &config);
        assert_eq!(report["outcome"]["message"], "grew the file system of root");
        assert_eq!(report["warnings"], Value::Array(vec![]));
        let (root, room) = (partition(&report, "root"), device.shown()[3].2);
        let (before, after) = (&root["file_system_size"], root["file_system_grows_to"].as_u64().unwrap());
        assert_eq!(before, if format == "xfs" { 300 * MIB } else { 256 * MIB });
        assert!(after <= room && after > room - MIB, "{after} of {room}");
        // The kernel has let go of it when the run ends: nothing is mounted, and it could be had alone.
        File::options().read(true).custom_flags(0o200).open(&node).unwrap();
        assert_eq!(size_of(&node, format), after);
        let mounted = Mounted::new(&node);
        assert_eq!(fs::read_to_string(mounted.directory.path().join("letter")).unwrap(), "before");
        drop(mounted);
        check_file_system(&node, format);
        assert_idle(&device, &config);
    }
}

#[test]
fn an_xfs_whose_last_group_would_be_too_small_grows_once() {
    if is_emulated() {
        return;
    }
    // 1019 MiB are twelve groups and 32 blocks, of which the kernel makes no group.
    let group = 21_736 * 4096;
    let words = format!("agsize={group},size={}", 4 * group);
    let device = card(&["mkfs.xfs", "-q", "-f", "-d", &words, "NODE"]);
    let config = declared(&device, "xfs");
    let report = device.json("apply", &config);
    assert_eq!(partition(&report, "root")["file_system_grows_to"], 12 * group);
    assert_eq!(size_of(&device.partition(4), "xfs"), 12 * group);
    assert_idle(&device, &config);
}

#[test]
fn a_partition_and_its_file_system_grow_in_the_same_run() {
    if is_emulated() {
        return;
    }
    for (format, least, is_mounted) in
        [("xfs", "300M", false), ("btrfs", "256M", false), ("xfs", "300M", true), ("btrfs", "256M", true)]
    {
        let device = Device::with_builder(&Builder::new(512, 16), GIB);
        let small = format!("format=\"{format}\"\nsize-max=\"{least}\"");
        device.json("apply", &device.config(&one_partition("root", &small)));
        let config = declared(&device, format);
        let mounted = is_mounted.then(|| Mounted::new(&device.partition(4)));
        let planned = device.json("plan", &config);
        let report = device.json("apply", &config);
        drop(mounted);
        assert_eq!(report["outcome"]["message"], "grew root, grew the file system of root", "{report}");
        let size = |report: &Value| partition(report, "root")["file_system_grows_to"].as_u64().unwrap();
        assert_eq!(size(&planned), size(&report), "the plan shown is the plan applied");
        assert_eq!(size_of(&device.partition(4), format), size(&report));
        assert_eq!(device.shown()[3].2, 1019 * MIB);
        assert_idle(&device, &config);
    }
    // What cannot grow with its partition is named in that run, and not at every boot.
    let no_way = |what: &str| format!("root: its partition grows, but makeroom makes no {what} larger");
    let unknown = "root: its partition grows; what is in it is left alone: no format is declared".to_owned();
    for (format, wanted) in [("format=\"vfat\"", no_way("vfat")), ("format=\"swap\"", no_way("swap")), ("", unknown)] {
        let device = Device::with_builder(&Builder::new(512, 16), GIB);
        device.json("apply", &device.config(&one_partition("root", &format!("{format}\nsize-max=\"64M\""))));
        let config = device.config(&one_partition("root", format));
        let report = device.json("apply", &config);
        assert_eq!((&report["warnings"], &report["outcome"]["code"]), (&Value::Array(vec![wanted.into()]), &0.into()));
        assert_idle(&device, &config);
    }
}

#[test]
fn ext4_grows_where_the_kernel_lets_us() {
    if is_emulated() {
        return;
    }
    let device = card(EXT4);
    let config = declared(&device, "ext4");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    const SYS_RESOURCE: u64 = 1 << 24;
    let is_allowed = u64::from_str_radix(capabilities, 16).unwrap() & SYS_RESOURCE != 0;
    let report = device.json("apply", &config);
    let warnings = report["warnings"].as_array().unwrap();
    if is_allowed {
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(size_of(&device.partition(4), "ext4"), partition(&report, "root")["file_system_grows_to"]);
        assert_idle(&device, &config);
    } else {
        // What the kernel refuses stops no boot.
        let warning = "root: its ext4 stays at 128.0 MiB of 1019.0 MiB: growing it: Operation not permitted (os error 1); \
                       the next boot tries again, unless grow-file-system is off";
        assert_eq!((warnings.as_slice(), &report["outcome"]["code"]), (&[warning.into()][..], &0.into()));
        assert_eq!(size_of(&device.partition(4), "ext4"), 128 * MIB);
    }
    check_file_system(&device.partition(4), "ext4");
}

#[test]
fn to_grow_a_file_system_the_disk_is_not_opened_for_writing() {
    if is_emulated() {
        return;
    }
    let device = card(XFS);
    let trace = device.directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=openat,open,flock,fsconfig,mount,move_mount", "-o"]).arg(&trace).arg(traceable());
    let config = declared(&device, "xfs");
    let output = strace
        .args(["apply", "--architecture", "arm64", "--disk", &device.node, "--config"])
        .arg(config)
        .output()
        .unwrap();
    assert!(text(&output.stdout).contains("grew the file system of root"), "{}", text(&output.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    let opened: Vec<&str> = trace.lines().filter(|line| line.contains("\"/dev/loop")).collect();
    assert!(opened.iter().all(|line| line.contains("O_RDONLY") || line.contains("fsconfig")), "{opened:?}");
    // No mount is seen by anybody, and the lock is given up before it.
    assert!(!trace.contains(" mount(") && !trace.contains("move_mount("), "{trace}");
    assert!(trace.find("LOCK_UN").unwrap() < trace.find("fsconfig(").unwrap(), "{trace}");
}

#[test]
fn a_file_system_that_was_not_unmounted_grows() {
    if is_emulated() {
        return;
    }
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = card(mkfs);
        let mounted = Mounted::new(&device.partition(4));
        fs::write(mounted.directory.path().join("letter"), "unsent").unwrap();
        tool("sync", &["-f", mounted.directory.path().to_str().unwrap()]);
        let directory = tempfile::tempdir().unwrap();
        fs::copy(device.image(), directory.path().join("disk.img")).unwrap();
        drop(mounted);
        let (number, start, size) = device.shown()[3];
        // Two file systems of one name cannot be mounted at once.
        drop(device);
        let device = Device::attach(directory, GIB, &[]);
        add_partition(&File::open(&device.node).unwrap(), number, Extent { start, size }).unwrap();
        let config = declared(&device, format);
        if format == "xfs" {
            let seen = tool("xfs_repair", &["-n", &device.partition(4)]);
            let said = text(&seen.stdout) + &text(&seen.stderr);
            assert!(said.contains("valuable metadata changes in a log"), "it is not dirty: {said}");
        }
        let report = device.json("apply", &config);
        assert_eq!(report["outcome"]["message"], "grew the file system of root", "{report}");
        assert_eq!(size_of(&device.partition(4), format), partition(&report, "root")["file_system_grows_to"]);
        let mounted = Mounted::new(&device.partition(4));
        assert_eq!(fs::read_to_string(mounted.directory.path().join("letter")).unwrap(), "unsent");
        drop(mounted);
        assert_idle(&device, &config);
    }
}

#[test]
fn what_is_mounted_for_writing_grows_under_it() {
    if is_emulated() {
        return;
    }
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = card(mkfs);
        let config = declared(&device, format);
        let mounted = Mounted::new(&device.partition(4));
        let report = device.json("apply", &config);
        assert_eq!(report["outcome"]["message"], "grew the file system of root", "{report}");
        fs::write(mounted.directory.path().join("letter"), "after").unwrap();
        drop(mounted);
        assert_eq!(size_of(&device.partition(4), format), partition(&report, "root")["file_system_grows_to"]);
        check_file_system(&device.partition(4), format);
        assert_idle(&device, &config);
    }
}

#[test]
fn what_is_mounted_read_only_or_used_otherwise_stays_as_it_is() {
    if is_emulated() {
        return;
    }
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = card(mkfs);
        let config = declared(&device, format);
        let run = || {
            let before = (device.written(), content_hash(&device.image()));
            let report = device.json("apply", &config);
            (report, (device.written(), content_hash(&device.image())) == before)
        };
        let read_only = Mounted::with(&["-o", "ro", &device.partition(4)]);
        let mounted = run();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = read_only.directory.path().to_str().unwrap();
        let line = mounts.lines().find(|line| line.contains(path)).unwrap();
        assert!(line.rsplit(' ').next().unwrap().starts_with("ro"), "it can be written to now: {line}");
        drop(read_only);
        let alone = File::options().read(true).custom_flags(0o200).open(device.partition(4)).unwrap();
        let held = run();
        drop(alone);
        for (report, is_untouched) in [mounted, held] {
            let warning = report["warnings"][0].as_str().unwrap();
            assert!(warning.contains("it is mounted read-only, or in use"), "{report}");
            assert_eq!(report["outcome"]["message"], "nothing is missing");
            assert!(is_untouched, "it was written to");
        }
        device.json("apply", &config);
        assert_idle(&device, &config);
    }
}

#[test]
fn what_is_not_certain_is_left_alone_and_named() {
    let mut all = String::new();
    let mut left_alone = |what: &str, format: &str, mkfs: &[&[&str]]| {
        let device = card(mkfs[0]);
        mkfs[1..].iter().for_each(|words| make(&device, words));
        all += &format!("# {what}\n{}\n", device.refused(&declared(&device, format)));
    };
    left_alone("another format is declared", "ext4", &[XFS]);
    left_alone("the same, and the other way round", "btrfs", &[EXT4]);
    left_alone("errors were found", "ext4", &[EXT4, &["debugfs", "-w", "-R", "ssv state 3", "NODE"]]);
    let no_journal = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^has_journal", "NODE", "128M"];
    left_alone("no journal", "ext4", &[&no_journal]);
    let sparse_super2 = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^resize_inode,sparse_super2", "NODE", "128M"];
    left_alone("sparse_super2", "ext4", &[&sparse_super2]);
    left_alone("a torn superblock", "xfs", &[XFS, &["xfs_io", "-c", "pwrite -q -S 7 130 1", "NODE"]]);
    left_alone("a torn superblock", "btrfs", &[BTRFS, &["xfs_io", "-c", "pwrite -q -S 7 65800 1", "NODE"]]);
    left_alone("the seed of others", "btrfs", &[BTRFS, &["btrfstune", "-f", "-S", "1", "NODE"]]);
    left_alone("f2fs", "f2fs", &[&["mkfs.f2fs", "-q", "-f", "NODE", "262144"]]);
    // Of these nobody knows whether they fill their partition.
    left_alone("swap", "swap", &[&["mkswap", "NODE"]]);
    left_alone("nothing at all", "xfs", &[&["true"]]);
    snapbox::assert_data_eq!(all, snapbox::file!["../snapshots/left_alone.txt"].raw());
}

#[test]
fn the_boot_disk_is_proven_before_a_file_system_grows() {
    if is_emulated() {
        return;
    }
    // Where no partition is missing a search does not wait for a twin; before anything is written it does.
    let builder = Builder { partitions: vec![(1, 2048, 4095, "grow-boot")], ..Builder::new(512, 16) };
    let device = Device::with_builder(&builder, GIB);
    let boot_disk = "[boot-disk]\nlabels=[\"grow-boot\"]\nallow-loop=true\nwait=\"30s\"\n";
    let small = "format=\"xfs\"\nmkfs-options=[\"-d\", \"size=300m\"]\n";
    let root = "[[partition]]\nlabel=\"root\"\ntype=\"linux-generic\"\n";
    let config = device.config(&format!("{boot_disk}{root}{small}"));
    device.json("apply", &config);
    let before = (device.written(), content_hash(&device.image()));
    let run = waiting(&config, "until no more disks appear");
    let twin = Device::with_builder(&builder, GIB);
    let output = run.wait_with_output();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the boot goes on, but: ") && said.contains("2 disks carry"), "{said}");
    assert_eq!((device.written(), content_hash(&device.image())), before, "it was written to");
    drop(twin);
    let output = program().args(["apply", "-c"]).arg(&config).output().unwrap();
    assert!(text(&output.stdout).ends_with("grew the file system of root\n"), "{}", text(&output.stderr));
}

/// Only a boot that writes says so.
#[test]
fn a_file_system_grows_with_the_warning_that_the_firmware_names_another_disk() {
    if is_emulated() {
        return;
    }
    const OTHER: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
    let builder = Builder { partitions: vec![(1, 2048, 4095, "told-boot")], ..Builder::new(512, 16) };
    let (device, other) = (Device::with_builder(&builder, GIB), disk(&["told-other"]));
    set_guid(&other, OTHER);
    let boot_disk = "[boot-disk]\nlabels=[\"told-boot\"]\nallow-loop=true\nwait=\"1s\"\n";
    let small = "format=\"xfs\"\nmkfs-options=[\"-d\", \"size=300m\"]\n";
    let config = format!("{boot_disk}[[partition]]\nlabel=\"root\"\ntype=\"linux-generic\"\n{small}");
    let config = device.config(&config);
    device.json("apply", &config);
    let boot = || boot_with_efi("apply", "", &[("LoaderDevicePartUUID", variable(OTHER))], &config, &[]);
    let output = boot();
    assert!(text(&output.stdout).ends_with("grew the file system of root\n"), "{}", text(&output.stderr));
    let warning = "warning: the machine was not started from this disk: LoaderDevicePartUUID names partition";
    assert!(text(&output.stderr).contains(warning), "{}", text(&output.stderr));
    assert!(!text(&boot().stderr).contains("not started"));
}
