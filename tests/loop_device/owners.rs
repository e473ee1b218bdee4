//! What belongs to others: other disks whose nodes are in the way, what a hash tree protects, what loop devices and other
//! processes use, and what other software keeps at a disk's end.

use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use makeroom::units::Extent;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::growing::{BTRFS, XFS, card, declared, make, size_of};
use crate::support::cleanup::{assert_clean, clean};
use crate::support::{extract, signatures, wait_a_moment};
use crate::*;

const O_EXCL: i32 = 0o200;

/// A second partition that is wanted, whatever becomes of the first.
const MORE: &str = "[[partition]]\nlabel=\"more\"\ntype=\"home\"\nformat=\"ext4\"\n";

/// A program where /dev is no devtmpfs: in it are these nodes with the numbers of those devices, and no others.
fn with_static_dev(program: &Command, nodes: &[(&str, &str)]) -> Command {
    let number = |device: &str| {
        let name = device.strip_prefix("/dev/").unwrap();
        let number = fs::read_to_string(format!("/sys/class/block/{name}/dev")).unwrap();
        number.trim().replace(':', " ")
    };
    let nodes: String = nodes.iter().map(|(node, device)| format!("mknod {node} b {} && ", number(device))).collect();
    let usual = "mknod /dev/null c 1 3 && mknod /dev/zero c 1 5 && mknod /dev/urandom c 1 9";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("mount -t tmpfs none /dev && {usual} && {nodes} exec \"$@\"")]);
    command.arg("sh").arg(program.get_program()).args(program.get_args());
    command.env_remove("JOURNAL_STREAM").env("LC_ALL", "C");
    command
}

/// What is in a partition, by the image.
fn hash_of(device: &Device, number: u32) -> u32 {
    tool("sync", &[&device.partition(number)]);
    let (_, start, size) = device.shown().into_iter().find(|shown| shown.0 == number).unwrap();
    let part = device.directory.path().join("part");
    extract(&device.image(), Extent { start, size }, &part);
    content_hash(&part)
}

fn assert_warned(report: &Value, words: &str) {
    let warnings = report["warnings"].as_array().unwrap();
    assert_eq!(report["outcome"]["code"], 0, "{report}");
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains(words)), "{words}: {warnings:?}");
}

/// A container's /dev has the nodes of its start: one may be of a partition that another disk has got since.
#[test]
fn a_new_partition_whose_node_is_another_disks_is_refused_and_that_disk_stays_as_it_was() {
    if is_emulated() {
        return;
    }
    let (device, other) = (Device::with_builder(&Builder::new(512, 16), GIB), card(XFS));
    let config = device.config(&one_partition("root", "format=\"ext4\""));
    let state =
        || (hash_of(&other, 4), other.written(), content_hash(&device.image()), device.written(), device.shown());
    let before = state();
    let (node, stale, of_other) = (device.node.as_str(), device.partition(4), other.partition(4));
    let mut command = with_static_dev(&device.command("apply", &config), &[(node, node), (&stale, &of_other)]);
    let said = device.said(&command.output().unwrap());
    assert_eq!(state(), before, "{said}");
    let wanted = format!("[DISK]p4 is not the device that the kernel calls {}p4", device.name());
    assert!(said.starts_with("exit 69") && said.contains(&wanted), "{said}");
    check_file_system(&of_other, "xfs");
}

#[test]
fn a_file_system_whose_node_is_another_disks_does_not_grow_nor_does_the_others() {
    if is_emulated() {
        return;
    }
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let (device, other) = (card(mkfs), card(mkfs));
        let config = declared(&device, format);
        let state = || (hash_of(&other, 4), other.written(), hash_of(&device, 4), device.written());
        let before = state();
        let (node, stale, of_other) = (device.node.as_str(), device.partition(4), other.partition(4));
        let mut command = device.command("apply", &config);
        command.arg("--json");
        let output = with_static_dev(&command, &[(node, node), (&stale, &of_other)]).output().unwrap();
        assert_eq!(state(), before, "{format}: {}", device.said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_warned(&report, "is not the device that the kernel calls");
        assert_eq!(size_of(&of_other, format), if format == "xfs" { 300 * MIB } else { 256 * MIB });
    }
}

/// One is held open while the disk is closed, so that the kernel drops none of them: another disk's would not do.
#[test]
fn no_partition_of_another_disk_is_held_open_in_the_hand_over() {
    if is_emulated() {
        return;
    }
    let (device, other) = (Device::with_builder(&Builder::new(512, 16), GIB), card(&["true"]));
    device.json("apply", &device.config(&one_partition("root", "size-max=\"64M\"")));
    let trace = device.directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=openat", "-o"]).arg(&trace).arg(traceable());
    strace.args(["apply", "--architecture", "arm64", "--disk", &device.node, "--config"]);
    strace.arg(device.config(&one_partition("root", "")));
    let (node, of_other) = (device.node.as_str(), other.partition(1));
    let own: Vec<String> = (1..5).map(|number| device.partition(number)).collect();
    let mut nodes = vec![(node, node), (&own[0], of_other.as_str())];
    nodes.extend(own[1..].iter().map(|node| (node.as_str(), node.as_str())));
    let output = with_static_dev(&strace, &nodes).output().unwrap();
    assert!(text(&output.stdout).ends_with("grew root\n"), "{}", device.said(&output));
    let trace = fs::read_to_string(trace).unwrap();
    let opened: Vec<&str> = trace.lines().filter(|line| line.contains(&format!("\"{node}p"))).collect();
    let is_opened = |node: &str| opened.iter().any(|line| line.contains(&format!("\"{node}\"")));
    assert!(!is_opened(&own[0]) && is_opened(&own[1]), "{opened:?}");
}

/// A card with a hash tree's partition before "root", which has 400 MiB, and less in it; the rest is free.
fn protected(mkfs: &[&str], more: &str) -> Device {
    let partitions = vec![(1, 2048, 4095, "boot"), (2, 4096, 6143, "store")];
    let device = Device::with_builder(&Builder { partitions, ..Builder::new(512, 16) }, GIB);
    device.json("apply", &device.config(&with_hash(more, "size-max=\"400M\"")));
    make(&device, mkfs);
    device
}

fn with_hash(more: &str, root: &str) -> String {
    let hash = "[[partition]]\nlabel=\"hash\"\ntype=\"root-arm64-verity\"\nsize-max=\"10M\"\n";
    let hash = if more.is_empty() { hash.replace("root-arm64-verity", "linux-generic") } else { hash.to_owned() };
    one_partition("root", root).replacen("[[partition]]", &format!("{hash}[[partition]]"), 1)
}

/// That "root", whose partition could grow, or only its file system, stays as it is, and that the rest is made.
fn assert_left_alone(device: &Device, format: &str, more: &str, why: &str) {
    let before = (hash_of(device, 4), device.shown()[3]);
    for (size, rest) in [("size-max=\"400M\"", ""), ("", ""), ("", MORE)] {
        let config = device.config(&(with_hash(more, &format!("format=\"{format}\"\n{size}")) + rest));
        let report = device.json("apply", &config);
        assert_eq!((hash_of(device, 4), device.shown()[3]), before, "{format}, {size}: {report}");
        assert_warned(&report, why);
        let done = if rest.is_empty() { "nothing is missing" } else { "created more" };
        assert_eq!(report["outcome"]["message"], done, "{report}");
    }
    check_file_system(&device.partition(5), "ext4");
}

#[test]
fn what_the_table_has_as_read_only_does_not_grow() {
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = protected(mkfs, "");
        let output = tool("sgdisk", &["-A", "4:set:60", &device.node]);
        assert!(text(&tool("sgdisk", &["-i", "4", &device.node]).stdout).contains("flags: 1"), "{output:?}");
        assert_left_alone(&device, format, "", "the table has it as read-only (attribute bit 60)");
    }
}

/// Runs `veritysetup`, for which a hash tree is in the device of the first number.
fn veritysetup(device: &Device, command: &str, [hash, data]: [u32; 2], rest: &[&str], root: &[&str]) -> String {
    let (hash, data) = (device.partition(hash), device.partition(data));
    let output = tool("veritysetup", &[&[command], rest, &[&data, &hash], root].concat());
    assert!(output.status.success(), "{command}: {}{}", text(&output.stdout), text(&output.stderr));
    tool("sync", &[&data]);
    let said = text(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap_or_default();
    line.trim().to_owned()
}

#[test]
fn what_a_hash_tree_in_another_partition_protects_does_not_grow() {
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = protected(mkfs, "verity");
        let root = veritysetup(&device, "format", [3, 4], &[], &[]);
        veritysetup(&device, "verify", [3, 4], &[], &[&root]);
        assert_left_alone(
            &device,
            format,
            "verity",
            "partition 3 has a hash tree for partitions of its type (dm-verity)",
        );
        veritysetup(&device, "verify", [3, 4], &[], &[&root]);
    }
}

/// As Yocto's dm-verity-img makes it.
#[test]
fn what_a_hash_tree_behind_it_protects_does_not_grow() {
    for (format, mkfs, size) in [("xfs", XFS, 300 * MIB), ("btrfs", BTRFS, 256 * MIB)] {
        let device = protected(mkfs, "");
        let (offset, blocks) = (format!("--hash-offset={size}"), format!("--data-blocks={}", size / 4096));
        let root = veritysetup(&device, "format", [4, 4], &[&offset, &blocks], &[]);
        veritysetup(&device, "verify", [4, 4], &[&offset], &[&root]);
        assert_left_alone(&device, format, "", "something is behind its file system");
        veritysetup(&device, "verify", [4, 4], &[&offset], &[&root]);
    }
}

#[test]
fn what_a_loop_device_or_a_process_uses_without_having_it_alone_grows_when_they_are_gone() {
    if is_emulated() {
        return;
    }
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = card(mkfs);
        let config = declared(&device, format);
        let left_alone = |user: &str| {
            let before = (hash_of(&device, 4), device.written());
            let report = device.json("apply", &config);
            assert_eq!((hash_of(&device, 4), device.written()), before, "{report}");
            assert_warned(&report, &format!("is left alone: {user} uses it"));
        };
        let attached = Attached::new(Path::new(&device.partition(4)), &[]);
        left_alone(&attached.node);
        // A virtual machine, that is.
        drop(attached);
        let written = File::options().write(true).open(device.partition(4)).unwrap();
        left_alone(&format!("{} (process {})", own_name(), std::process::id()));
        drop(written);
        let report = device.json("apply", &config);
        assert_eq!(report["outcome"]["message"], "grew the file system of root", "{report}");
    }
}

fn own_name() -> String {
    fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned()
}

/// A card with "root" of 64 MiB, which is marked for a factory reset; the rest is free.
fn to_reset() -> (Device, PathBuf) {
    let device = Device::with_builder(&Builder::new(512, 16), GIB);
    let config = device.config(&one_partition("root", "format=\"ext4\"\nsize-max=\"64M\"\nfactory-reset=true"));
    device.json("apply", &config);
    (device, config)
}

/// What a run that must change nothing says, with more arguments.
fn refused(device: &Device, config: &Path, more: &[&str]) -> String {
    let state = || (content_hash(&device.image()), device.written(), device.shown());
    let before = state();
    let said = device.said(&device.command("apply", config).args(more).output().unwrap());
    assert_eq!(state(), before, "it has changed something: {said}");
    said
}

#[test]
fn a_loop_device_over_a_place_keeps_it_from_being_made_or_deleted_and_one_elsewhere_does_not() {
    let (device, config) = to_reset();
    let over = |start: u64, size: u64| {
        let options = ["--offset", &start.to_string(), "--sizelimit", &size.to_string()];
        Attached::new(Path::new(&device.node), &options)
    };
    let (_, start, size) = device.shown()[3];
    let attached = over(start, size);
    let said = refused(&device, &config, &["--factory-reset"]);
    assert!(said.starts_with("exit 75") && said.contains(&attached.node), "{said}");
    // Where nothing is yet, too.
    drop(attached);
    let attached = over(start + size + 8 * MIB, MIB);
    let more = device.directory.path().join("more.toml");
    fs::write(&more, fs::read_to_string(&config).unwrap() + MORE).unwrap();
    let said = refused(&device, &more, &[]);
    assert!(said.starts_with("exit 75") && said.contains(&attached.node), "{said}");
    drop(attached);

    let _elsewhere = over(MIB, MIB);
    let output = device.command("apply", &config).arg("--factory-reset").output().unwrap();
    assert!(output.status.success(), "{}", device.said(&output));
    device.json("apply", &more);
    check_file_system(&device.partition(4), "ext4");
}

#[test]
fn a_disk_that_another_process_has_for_itself_or_writes_to_is_not_written_to() {
    let (device, config) = to_reset();
    let more = device.directory.path().join("more.toml");
    fs::write(&more, fs::read_to_string(&config).unwrap().replace("ext4", "vfat") + MORE).unwrap();
    let raw = device.directory.path().join("raw.toml");
    fs::write(&raw, fs::read_to_string(&config).unwrap() + &MORE.replace("format=\"ext4\"\n", "")).unwrap();
    let runs = [(&config, &["--factory-reset"][..]), (&more, &[]), (&raw, &[])];

    let alone = File::options().read(true).custom_flags(O_EXCL).open(&device.node).unwrap();
    for (config, arguments) in runs {
        let said = refused(&device, config, arguments);
        assert!(said.starts_with("exit 75") && said.contains("has the whole disk for itself (O_EXCL)"), "{said}");
    }
    drop(alone);
    let written = File::options().write(true).open(&device.node).unwrap();
    for (config, arguments) in runs {
        let started = Instant::now();
        let said = refused(&device, config, arguments);
        let user = format!("{} (process {})", own_name(), std::process::id());
        assert!(said.starts_with("exit 75") && said.contains(&user), "{said}");
        // It may be about to close it.
        assert!(started.elapsed() >= Duration::from_millis(300), "it did not wait");
    }
    drop(written);
    device.json("apply", &raw);
}

/// As QEMU locks its images.
fn lock_in_part(file: &File) {
    let lock =
        libc::flock { l_type: libc::F_RDLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 100, l_len: 1, l_pid: 0 };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
}

#[test]
fn an_image_that_a_loop_device_or_a_virtual_machine_has_is_not_written_to() {
    let device = Device::with_builder(&Builder::new(512, 16), GIB);
    let config = device.config(&one_partition("root", "format=\"ext4\""));
    let apply = |image: &Path| {
        let output = program().args(["apply", "-c"]).arg(&config).arg("--disk").arg(image).output().unwrap();
        device.said(&output)
    };
    let before = (content_hash(&device.image()), device.written());
    let said = apply(&device.image());
    assert_eq!((content_hash(&device.image()), device.written()), before, "{said}");
    assert!(said.starts_with("exit 75") && said.contains("[DISK]"), "{said}");

    let copy = device.directory.path().join("copy.img");
    write_image(&Builder::new(512, 16), &copy);
    File::options().write(true).open(&copy).unwrap().set_len(GIB).unwrap();
    let machine = File::open(&copy).unwrap();
    lock_in_part(&machine);
    let said = apply(&copy);
    assert_eq!(content_hash(&copy), before.0, "{said}");
    assert!(said.starts_with("exit 75") && said.contains("a virtual machine, perhaps"), "{said}");
    drop(machine);
    let said = apply(&copy);
    assert!(said.starts_with("exit 0"), "{said}");
}

/// That neither an image nor a loop device over it is written to where something is missing, or the backup could move.
fn assert_end_is_not_written_over(what: &str, end: impl Fn(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let (image, config) = (directory.path().join("disk.img"), directory.path().join("whole.toml"));
    write_image(&Builder::new(512, 64), &image);
    let whole = one_partition("root", "size-max=\"16M\"");
    fs::write(&config, &whole).unwrap();
    let apply =
        |config: &Path, disk: &Path| program().args(["apply", "-c"]).arg(config).arg("--disk").arg(disk).output();
    assert!(apply(&config, &image).unwrap().status.success());
    end(&image);
    let size = image.metadata().unwrap().len();
    let missing = directory.path().join("missing.toml");
    fs::write(&missing, whole + MORE).unwrap();
    let before = content_hash(&image);
    let check = |disk: &Path| {
        for (config, code) in [(&config, 0), (&missing, 65), (&config, 0)] {
            let output = apply(config, disk).unwrap();
            let said = text(&output.stderr);
            assert_eq!((output.status.code(), content_hash(&image)), (Some(code), before), "{what}: {said}");
            assert!(said.contains(what), "{what}: {said}");
        }
    };
    check(&image);
    assert_eq!(image.metadata().unwrap().len(), size);
    let device = Device::attach(directory, size, &[]);
    let written = device.written();
    check(Path::new(&device.node));
    // What the table has is shown, and nothing is written for it.
    assert_eq!((device.written(), device.shown().len()), (written, 4));
}

#[test]
fn the_footer_of_a_fixed_vhd_is_not_written_over() {
    assert_end_is_not_written_over("the footer of a VHD image", |image| {
        let vhd = image.with_extension("vhd");
        let (from, to) = (image.to_str().unwrap(), vhd.to_str().unwrap());
        let options = ["-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", from, to];
        let output = tool("qemu-img", &[&["convert"], &options[..]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::rename(&vhd, image).unwrap();
        assert_eq!(image.metadata().unwrap().len(), 64 * MIB + 512);
    });
}

#[test]
fn the_metadata_of_a_raid_behind_the_table_is_not_written_over() {
    for (name, what) in [("linux_raid_member", "a RAID (md 1.0)"), ("isw_raid_member", "Intel RST RAID metadata")] {
        assert_end_is_not_written_over(what, |image| {
            let file = File::options().write(true).open(image).unwrap();
            file.set_len(GIB).unwrap();
            let samples = signatures::at_end(GIB, 512);
            let (_, pieces) = samples.into_iter().find(|sample| sample.0 == name).unwrap();
            pieces.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
            file.sync_all().unwrap();
            assert!(text(&tool("blkid", &["-p", image.to_str().unwrap()]).stdout).contains(name));
        });
    }
}

/// Frozen for as long as this lives.
struct Frozen<'a>(&'a Path);

impl Frozen<'_> {
    fn new(directory: &Path) -> Frozen<'_> {
        let output = tool("fsfreeze", &["-f", directory.to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        Frozen(directory)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        assert_clean(clean("fsfreeze", &["-u", self.0.to_str().unwrap()]));
    }
}

/// What wants to change it waits in the kernel, and cannot be killed.
#[test]
fn a_frozen_file_system_stops_no_run_and_grows_when_it_is_thawed() {
    if is_emulated() {
        return;
    }
    for (format, mkfs) in [("xfs", XFS), ("btrfs", BTRFS)] {
        let device = card(mkfs);
        let config = declared(&device, format);
        let mounted = Mounted::new(&device.partition(4));
        let path = mounted.directory.path();
        let frozen = Frozen::new(path);
        let (started, mut command) = (Instant::now(), device.command("apply", &config));
        let mut run = Running::start(command.arg("--json").stdout(Stdio::piped()));
        let has_ended = (0..400).any(|_| run.try_wait().unwrap().is_some() || wait_a_moment());
        let took = started.elapsed();
        drop(frozen);
        assert!(has_ended && took < Duration::from_secs(15), "{format}: {took:?}");
        let report: Value = serde_json::from_slice(&run.wait_with_output().stdout).unwrap();
        assert_warned(&report, "it is mounted and frozen (fsfreeze)");
        // The one who asked has gone, too.
        let report = device.json("apply", &config);
        assert_eq!(report["outcome"]["message"], "grew the file system of root", "{report}");
        drop(mounted);
        check_file_system(&device.partition(4), format);
    }
}

/// Another program has changed the table meanwhile.
#[test]
fn what_is_mounted_at_another_place_than_the_table_has_it_is_a_refusal_before_the_first_write() {
    if is_emulated() {
        return;
    }
    let (device, config) = to_reset();
    let mounted = Mounted::new(&device.partition(4));
    let (start, end) = (256 * MIB / 512, 300 * MIB / 512);
    let moved = ["-d", "4", "-n", &format!("4:{start}:{end}"), "-c", "4:root", "-t", "4:8305", &device.node];
    let output = tool("sgdisk", &moved);
    assert!(output.status.success(), "{output:?}");
    tool("sync", &[]);
    for more in ["", MORE] {
        let config = device.config(&(fs::read_to_string(&config).unwrap() + more));
        let said = refused(&device, &config, &[]);
        assert!(said.starts_with("exit 75") && said.contains("the kernel shows"), "{said}");
    }
    drop(mounted);
    device.json("apply", &config);
    assert_eq!(device.shown()[3].1, 256 * MIB);
}
