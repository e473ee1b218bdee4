//! Which disk: found by its labels among all, named, or refused. Each test has labels of its own, as the search sees
//! every disk of the machine.

use crate::waiting::waiting;
use crate::*;

/// A disk of 64 MiB with partitions of these labels.
pub fn disk(labels: &[&'static str]) -> Device {
    let partitions = labels
        .iter()
        .zip(0..)
        .map(|(label, n)| (n + 1, 2048 + 2048 * u64::from(n), 4095 + 2048 * u64::from(n), *label));
    let builder = Builder { partitions: partitions.collect(), user_data: false, ..Builder::new(512, 32) };
    Device::with_builder(&builder, 64 * MIB)
}

/// A configuration that looks for `labels` and wants a small partition.
pub fn config(device: &Device, labels: &str) -> PathBuf {
    let wish = "[[partition]]\nlabel=\"wished\"\ntype=\"linux-generic\"\nsize-max=\"10M\"\n";
    device.config(&format!("[boot-disk]\nallow-loop=true\nwait=\"1s\"\nlabels={labels}\n{wish}"))
}

/// Without `--disk`, as the unit runs it; with the kernel command line that is given.
pub fn boot(command: &str, kernel_arguments: &str, config: &Path, more: &[&str]) -> Output {
    boot_with_efi(command, kernel_arguments, &[], config, more)
}

/// As `boot`, on a machine whose firmware has these variables: name and content with attributes.
pub fn boot_with_efi(
    command: &str,
    kernel_arguments: &str,
    variables: &[(&str, Vec<u8>)],
    config: &Path,
    more: &[&str],
) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let (line, firmware) = (directory.path().join("cmdline"), directory.path().join("firmware"));
    fs::write(&line, format!("console=ttyS0 {kernel_arguments} quiet\n")).unwrap();
    fs::create_dir_all(firmware.join("efi/efivars")).unwrap();
    for (name, content) in variables {
        let name = format!("efi/efivars/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
        fs::write(firmware.join(name), content).unwrap();
    }
    let run = program();
    let mut namespace = Command::new("unshare");
    let script = "mount --bind \"$1\" /proc/cmdline && mount -t tmpfs none /run && mount --bind \"$2\" /sys/firmware && \
                  shift 2 && exec \"$@\"";
    namespace.args(["--mount", "sh", "-c", script, "sh"]).arg(&line).arg(&firmware);
    namespace.arg(run.get_program()).args(run.get_args());
    namespace.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").env("LC_ALL", "C");
    namespace.args([command, "--config"]).arg(config).args(more).output().unwrap()
}

/// A variable as systemd-boot writes it.
pub fn variable(guid: &str) -> Vec<u8> {
    let units = guid.to_uppercase();
    [6, 0, 0, 0].into_iter().chain(units.encode_utf16().chain([0]).flat_map(u16::to_le_bytes)).collect()
}

/// Gives the first partition of a disk a GUID of its own.
pub fn set_guid(device: &Device, guid: &str) {
    assert!(tool("sgdisk", &["-u", &format!("1:{guid}"), &device.node]).status.success());
}

/// Exit status and stderr; of the disks, only ours.
pub fn said(output: &Output, devices: &[&Device]) -> String {
    let mut stderr = text(&output.stderr);
    for (index, device) in devices.iter().enumerate() {
        // Whole words: loop1 is not loop10.
        stderr = stderr.replace(&format!("{} ", device.node), &format!("[DISK {}] ", index + 1));
    }
    let ours = |line: &&str| !line.starts_with("  /dev/");
    let lines: Vec<&str> = stderr.lines().filter(ours).collect();
    format!("exit {}: {}\n", output.status.code().unwrap(), lines.join("\n"))
}

pub fn labels_of(device: &Device) -> Vec<String> {
    support::linux::labels_in(&device.image(), 512).unwrap()
}

#[test]
fn the_only_disk_with_every_label_is_found_and_no_other_is_touched() {
    let others =
        [disk(&["find-boot"]), disk(&["find-store_v0", "x"]), disk(&["find-boot", "find-boot", "find-store_1"])];
    let wanted = disk(&["find-boot", "find-store_v0", "find-store_v1"]);
    let config = config(&wanted, "[\"find-boot\", \"find-store_*\"]");
    let before = others.each_ref().map(|other| (content_hash(&other.image()), other.written(), other.shown()));
    let output = boot("apply", "", &config, &["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["disk"]["node"], wanted.node);
    assert_eq!(report["disk"]["evidence"][0], "the only disk that carries \"find-boot\", \"find-store_*\"");
    let verdict = |device: &Device| {
        let candidates = report["candidates"].as_array().unwrap();
        let candidate = candidates.iter().find(|candidate| candidate["node"] == device.node).unwrap();
        (candidate["verdict"].as_str().unwrap().to_owned(), candidate["why"][0].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict(&wanted).0, "chosen");
    let rejected = |why: &str| ("rejected".to_owned(), why.to_owned());
    assert_eq!(verdict(&others[0]), rejected("no partition \"find-store_*\""));
    assert_eq!(verdict(&others[1]), rejected("no partition \"find-boot\""));
    assert_eq!(verdict(&others[2]), rejected("2 partitions \"find-boot\""));
    assert_eq!(labels_of(&wanted)[3], "wished");
    let after = others.each_ref().map(|other| (content_hash(&other.image()), other.written(), other.shown()));
    assert_eq!(before, after);
}

#[test]
fn none_or_several_are_refused_with_all_candidates_and_nothing_is_written() {
    let devices = [disk(&["many-boot", "many-a"]), disk(&["many-boot", "many-b"])];
    let mut devices: Vec<&Device> = devices.iter().collect();
    devices.sort_by_key(|device| (device.node.len(), &device.node));
    let state = || devices.iter().map(|device| (content_hash(&device.image()), device.shown())).collect::<Vec<_>>();
    let before = state();
    let mut all = String::new();
    for labels in ["[\"many-boot\"]", "[\"many-boot\", \"many-?\"]", "[\"many-boot\", \"many-c\"]"] {
        let output = boot("apply", "", &config(devices[0], labels), &[]);
        all += &format!("# {labels}\n{}", said(&output, &devices));
    }
    // A loop device is no disk unless somebody says so.
    let text = fs::read_to_string(config(devices[0], "[\"many-a\"]")).unwrap().replace("allow-loop=true", "");
    let output = boot("apply", "", &devices[0].config(&text), &[]);
    assert!(!output.status.success() && !crate::text(&output.stderr).contains("/dev/loop"), "{}", said(&output, &[]));
    assert_eq!(state(), before);
    snapbox::assert_data_eq!(all, snapbox::file!["../snapshots/search_refusals.txt"].raw());
    let output = boot("apply", "", &config(devices[0], "[\"many-boot\"]"), &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let possible = report["candidates"].as_array().unwrap().iter().filter(|disk| disk["verdict"] == "possible").count();
    assert_eq!((&report["disk"], possible), (&Value::Null, 2));
}

#[test]
fn a_twin_never_stops_a_boot_on_which_nothing_is_missing() {
    let devices = [disk(&["twin-boot"]), disk(&["twin-boot"])];
    let config = config(&devices[0], "[\"twin-boot\"]");
    for device in &devices {
        assert!(device.run("apply", &config).status.success());
    }
    let before = devices.each_ref().map(|device| (content_hash(&device.image()), device.written()));
    let output = boot("apply", "", &config, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output, &[]));
    assert_eq!(text(&output.stdout), "nothing is missing, whichever disk was booted\n");
    assert!(text(&output.stderr).contains("warning: nothing is missing on any of them"), "{}", text(&output.stderr));
    assert_eq!(devices.each_ref().map(|device| (content_hash(&device.image()), device.written())), before);
    // But which of them it is stays a question without an answer.
    assert_eq!(boot("locate", "", &config, &[]).status.code(), Some(69));
    // An optional partition is missing where there is room for it, and nowhere else.
    let text_of = fs::read_to_string(&config).unwrap();
    for (least, code) in [("1T", 0), ("1M", 69)] {
        let more = format!("[[partition]]\nlabel=\"more\"\ntype=\"srv\"\nsize-min=\"{least}\"\npriority=10\n");
        let output = boot("apply", "", &devices[0].config(&(text_of.clone() + &more)), &[]);
        assert_eq!(output.status.code(), Some(code), "{least}: {}", said(&output, &[]));
    }
    assert_eq!(devices.each_ref().map(|device| (content_hash(&device.image()), device.written())), before);
}

/// One that is left out at every boot must not cost each of them the wait for a twin.
#[test]
fn an_optional_partition_without_room_is_nothing_to_wait_for() {
    let device = disk(&["spare-boot"]);
    let config = config(&device, "[\"spare-boot\"]");
    let more = "[[partition]]\nlabel=\"more\"\ntype=\"srv\"\nsize-min=\"1T\"\npriority=10\n";
    let config = device.config(&(fs::read_to_string(config).unwrap() + more));
    assert!(boot("apply", "", &config, &[]).status.success());
    let output = boot("apply", "", &config, &[]);
    assert!(output.status.success() && !text(&output.stderr).contains("waiting"), "{}", said(&output, &[&device]));
}

#[test]
fn a_disk_with_a_damaged_primary_is_found_and_mended() {
    let device = disk(&["torn-boot"]);
    let config = config(&device, "[\"torn-boot\"]");
    assert!(boot("apply", "", &config, &[]).status.success());
    File::options().write(true).open(&device.node).unwrap().write_all_at(&[0xff; 512], 512).unwrap();
    let output = boot("apply", "", &config, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(labels_of(&device), ["torn-boot", "wished"]);
}

#[test]
fn a_write_protected_disk_counts_and_boots_as_long_as_nothing_is_missing() {
    let device = disk(&["lock-boot"]);
    let config = config(&device, "[\"lock-boot\"]");
    assert!(boot("apply", "", &config, &[]).status.success());
    tool("blockdev", &["--setro", &device.node]);
    let output = boot("apply", "", &config, &[]);
    assert!(text(&output.stdout).ends_with("nothing is missing\n"), "{}", said(&output, &[&device]));
    // Its clone must not be taken for it because it can be written.
    let other = disk(&["lock-boot"]);
    let before = content_hash(&other.image());
    assert_eq!(boot("apply", "", &config, &[]).status.code(), Some(69));
    assert_eq!(content_hash(&other.image()), before);
    tool("blockdev", &["--setrw", &device.node]);
}

#[test]
fn locate_names_the_disk_and_the_evidence_and_writes_nothing() {
    let devices = [disk(&["seek-boot", "seek-a"]), disk(&["seek-boot"])];
    let config = config(&devices[0], "[\"seek-boot\", \"seek-a\"]");
    let before = devices.each_ref().map(Device::written);
    let output = boot("locate", "", &config, &[]);
    let stdout = text(&output.stdout).replace(&format!("{}:", devices[0].node), "[DISK 1]:");
    let stdout = stdout.replace(&format!("{}\n", devices[0].node), "[DISK 1]\n");
    let stdout = stdout.replace(&format!("is {} ", devices[0].node), "is [DISK 1] ");
    let stdout = stdout.replace(&devices[1].node, "[DISK 2]");
    let lines: Vec<&str> = stdout.lines().filter(|line| !line.starts_with("not /dev/")).collect();
    assert_eq!(
        lines,
        [
            "[DISK 1]: 64.0 MiB, 512-byte sectors",
            "GPT 6b736964-672d-6975-642d-6e756d626572",
            "",
            "evidence: the only disk that carries \"seek-boot\", \"seek-a\"",
            "is [DISK 1] (64.0 MiB)",
            "   seek-boot 74726170-7469-6f69-6e20-6e6f20303031",
            "   seek-a 74726170-7469-6f69-6e20-6e6f20303032",
            "not [DISK 2] (64.0 MiB): no partition \"seek-a\"",
            "the boot disk is [DISK 1]",
        ]
    );
    assert_eq!(devices.each_ref().map(Device::written), before);
}

#[test]
fn the_kernel_command_line_and_device_name_a_disk_or_stop_everything() {
    let devices = [disk(&["name-boot"]), disk(&["name-boot"])];
    let labels = config(&devices[0], "[\"name-boot\"]");
    let state = || devices.each_ref().map(|device| (content_hash(&device.image()), device.shown()));
    let (before, mut all) = (state(), String::new());
    let output = boot("apply", "makeroom=off", &labels, &[]);
    let message = "makeroom=off on the kernel command line: nothing was done\n";
    assert_eq!((output.status.code(), &text(&output.stdout)[..]), (Some(0), message));
    for wrong in ["makeroom=of", "makeroom.disk=loop1", "makeroom.device=/dev/sda"] {
        let output = boot("apply", wrong, &labels, &[]);
        assert_eq!(output.status.code(), Some(64), "{wrong}");
        assert!(text(&output.stderr).contains(&format!("kernel command line: {wrong}: ")), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("makeroom.disk=/dev/..."), "{}", text(&output.stderr));
    }
    // What cannot be used tells who named it.
    for (named, config) in [
        ("makeroom.disk=/dev/nope", labels.clone()),
        ("", devices[1].config("[boot-disk]\nwait=\"200ms\"\ndevice=\"/dev/nope\"")),
        ("makeroom.disk=/etc/passwd", labels.clone()),
    ] {
        let output = boot("apply", named, &config, &[]);
        all += &format!("# {named}\n{}", said(&output, &[]));
    }
    snapbox::assert_data_eq!(all, snapbox::file!["../snapshots/named_disks.txt"].raw());
    let name_second = format!("makeroom.disk={}", devices[1].node);
    let output = boot("apply", &format!("{name_second} makeroom=plan"), &labels, &[]);
    assert!(text(&output.stdout).ends_with("would create wished; nothing was written\n"), "{}", text(&output.stderr));
    assert_eq!(state(), before);
    // The disk of a boot that shall only show something may take its time, too.
    let output = boot("apply", "makeroom=plan", &config(&devices[0], "[\"no-such-boot\"]"), &[]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("waiting up to 1.0 s for the boot disk"), "{}", text(&output.stderr));
    // What our own command line names is what somebody wants now, whatever the machine was booted with.
    let output = boot("plan", "makeroom=off makeroom.disk=/dev/null", &labels, &["--disk", &devices[0].node]);
    assert!(text(&output.stdout).ends_with("would create wished; nothing was written\n"), "{}", text(&output.stderr));

    let output = boot("apply", &name_second, &labels, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!((labels_of(&devices[0]).len(), labels_of(&devices[1]).len()), (1, 2));

    let link = devices[0].directory.path().join("by-path");
    std::os::unix::fs::symlink(&devices[0].node, &link).unwrap();
    let device =
        fs::read_to_string(&labels).unwrap().replace("labels", &format!("device=\"{}\"\nlabels", link.display()));
    let output = boot("apply", "", &devices[0].config(&device), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(labels_of(&devices[0]).len(), 2);
}

#[test]
fn a_disk_that_is_exchanged_between_search_and_lock_is_not_written_to() {
    let device = disk(&["swap-boot"]);
    let config = device.config(&fs::read_to_string(config(&device, "[\"swap-boot\"]")).unwrap().replace("1s", "30s"));
    let held = File::open(&device.node).unwrap();
    held.lock().unwrap();
    let waiting = waiting(&config, "locked");
    File::options().write(true).open(device.image()).unwrap().set_len(128 * MIB).unwrap();
    assert!(tool("losetup", &["--set-capacity", &device.node]).status.success());
    let before = content_hash(&device.image());
    drop(held);
    let output = waiting.wait_with_output();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    assert_eq!(content_hash(&device.image()), before);
}

#[test]
fn odd_disks_beside_the_boot_disk_are_no_trouble_and_odd_labels_are_never_raw_on_a_console() {
    let many: Vec<(u32, u64, u64, &'static str)> =
        (0..256u32).map(|n| (n + 1, 4096 + u64::from(n) * 8, 4103 + u64::from(n) * 8, "many")).collect();
    let many = Builder { partitions: many, entries: 256, user_data: false, ..Builder::new(512, 32) };
    let many = Device::with_builder(&many, 64 * MIB);
    let unreadable = disk(&["odd-boot"]);
    File::options().write(true).open(unreadable.image()).unwrap().set_len(512).unwrap();
    let directory = tempfile::tempdir().unwrap();
    File::create(directory.path().join("disk.img")).unwrap();
    let empty = Device::attach(directory, 0, &[]);
    let odd = disk(&["odd-boot", "a/b c", "\u{1b}[2J\nx"]);
    let config = config(&odd, "[\"odd-boot\", \"a/b c\", \"*2J*\"]");
    let output = boot("locate", "", &config, &[]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("\n   a/b c ") && stdout.contains("\n   \\u{1b}[2J\\u{a}x "), "{stdout}");
    assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'));
    assert!(stdout.contains(&format!("not {} (64.0 MiB): no partition", many.node)), "{stdout}");
    assert!(!stdout.contains(&format!("{} ", empty.node)), "{stdout}");
    // What cannot be read could be its twin.
    let warning = format!("warning: {} could not be looked at, and may carry the labels, too: ", unreadable.node);
    assert!(stderr.contains(&warning), "{stderr}");
    let output = boot("apply", "", &config, &[]);
    assert!(output.status.success() && text(&output.stderr).contains(&warning), "{}", text(&output.stderr));
}
