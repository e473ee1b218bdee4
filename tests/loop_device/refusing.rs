//! What is refused, each with its exit status and its words, and that neither the disk nor the kernel's partitions
//! have changed then; and what fails half-way.

use std::time::Duration;

use makeroom::disk::Disk;
use makeroom::disk::block_device::BlockDevice;
use makeroom::disk::open::OpenError;
use makeroom::kernel::calls::add_partition;
use makeroom::kernel::sysfs;
use makeroom::units::Extent;

use crate::support::cleanup::assert_clean;
use crate::*;

const ROOT: &str = "format=\"ext4\"";

#[test]
fn refusals_name_the_fact_and_the_remedy_and_change_nothing() {
    let mut said = String::new();
    let mut note = |name: &str, text: String| said.push_str(&format!("# {name}\n{text}"));
    let usual = Builder::new(512, 64);
    let device = || Device::with_builder(&usual, GIB);
    let config = |device: &Device| device.config(&one_partition("root", ROOT));

    let locked = device();
    let held = File::open(&locked.node).unwrap();
    held.lock().unwrap();
    note("another process holds the lock", locked.refused(&config(&locked)));
    drop(held);

    let read_only = device();
    tool("blockdev", &["--setro", &read_only.node]);
    note("a read-only disk", read_only.refused(&config(&read_only)));
    tool("blockdev", &["--setrw", &read_only.node]);

    let four = [(1, 2048, 4095, "boot"), (2, 4096, 6143, "a"), (3, 6144, 8191, "b"), (4, 8192, 9999, "c")];
    let full = Device::with_builder(&Builder { entries: 4, partitions: four.into(), ..usual.clone() }, GIB);
    note("a full table", full.refused(&config(&full)));

    let all = vec![(1, 2048, 131_038, "boot")];
    let full = Device::with_builder(&Builder { partitions: all, ..usual.clone() }, 64 * MIB);
    note("a full disk", full.refused(&config(&full)));

    let in_use = device();
    let disk = File::open(&in_use.node).unwrap();
    add_partition(&disk, 4, Extent { start: 512 * MIB, size: 64 * MIB }).unwrap();
    let held = File::open(in_use.partition(4)).unwrap();
    note("the target is in use", in_use.refused(&config(&in_use)));
    drop(held);

    let missing = device();
    let tools = format!("{ROOT}\n[tools]\n\"mkfs.ext4\"=\"/nowhere/mkfs.ext4\"");
    note("a tool is missing", missing.refused(&missing.config(&one_partition("root", &tools))));

    let other_sectors = Device::with_builder(&usual, GIB);
    let image = other_sectors.image();
    let directory = tempfile::tempdir().unwrap();
    fs::copy(&image, directory.path().join("disk.img")).unwrap();
    let other_sectors = Device::attach(directory, GIB, &["--sector-size", "4096"]);
    note("a table for sectors of another size", other_sectors.refused(&config(&other_sectors)));

    let device = device();
    let output = device.command("plan", &config(&device)).args(["--sector-size", "4096"]).output().unwrap();
    note("--sector-size is not the disk's", device.said(&output));
    let output = device.command("plan", &config(&device)).args(["--size", "1M"]).output().unwrap();
    note("--size below the disk's", device.said(&output));
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/device_refusals.txt"].raw());
}

#[test]
fn a_user_who_may_not_is_told_before_anything_is_written() {
    let device = Device::with_builder(&Builder::new(512, 64), GIB);
    let config = device.config(&one_partition("root", ROOT));
    let run = || {
        // Where nobody can reach it.
        let mut words: Vec<String> = program().get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
        words.insert(0, program().get_program().to_str().unwrap().to_owned());
        let copy = device.directory.path().join("makeroom");
        fs::copy(words.pop().unwrap(), &copy).unwrap();
        let mut arguments = vec!["--reuid=65534", "--regid=65534", "--clear-groups"];
        arguments.extend(words.iter().map(String::as_str));
        let config = config.to_str().unwrap();
        arguments.extend([copy.to_str().unwrap(), "apply", "-c", config, "--disk", &device.node]);
        tool("setpriv", &arguments)
    };
    for path in [device.directory.path(), &config] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut said = String::new();
    let _restored = Permissions(&device.node, fs::metadata(&device.node).unwrap().permissions());
    let before = (content_hash(&device.image()), device.written(), device.shown());
    for (name, mode) in [("may not read", 0o600), ("may read", 0o644), ("may write, but is not root", 0o666)] {
        fs::set_permissions(&device.node, fs::Permissions::from_mode(mode)).unwrap();
        let output = run();
        let own =
            text(&output.stderr).lines().filter(|line| !line.contains("/run/makeroom")).collect::<Vec<_>>().join("\n");
        said += &format!("# {name}\nexit {}: {}\n", output.status.code().unwrap(), own.replace(&device.node, "[DISK]"));
    }
    assert_eq!((content_hash(&device.image()), device.written(), device.shown()), before);
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/device_permissions.txt"].raw());
}

/// What a node has again when this goes: it is there for whatever is attached next.
struct Permissions<'a>(&'a str, fs::Permissions);

impl Drop for Permissions<'_> {
    fn drop(&mut self) {
        let restored = fs::set_permissions(self.0, self.1.clone());
        assert_clean(restored.map_err(|error| format!("the permissions of {}: {error}", self.0)));
    }
}

#[test]
fn a_tool_that_fails_leaves_the_old_table_and_a_kernel_without_the_partition() {
    let device = Device::with_card("raspberry-pi", 2 * GIB);
    let script = device.directory.path().join("mkfs");
    let pid = device.directory.path().join("pid");
    let card = fs::read_to_string(fixture_config("raspberry-pi")).unwrap();
    let config = device.config(&format!("{card}[tools]\n\"mkfs.xfs\" = \"{}\"\n", script.display()));
    let hangs = format!("{OWN_NUMBER}; echo $pid > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
    let scripts = [
        ("fails", "echo 'mkfs.xfs: no luck' >&2; exit 3"),
        ("hangs up to a signal", &hangs),
        ("fills stderr", "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"),
        ("writes half of it", "for node; do :; done; dd if=/dev/zero of=\"$node\" bs=1M count=3 2>/dev/null; exit 1"),
    ];
    let entries = || {
        let dump = text(&tool("sfdisk", &["-d", &device.node]).stdout);
        dump.lines().filter(|line| line.contains("start=")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (before, shown) = (entries(), device.shown());
    let mut said = String::new();
    for (name, body) in scripts {
        executable(&script, body);
        let mut command = device.command("apply", &config);
        let running = Running::start(command.stderr(Stdio::piped()).stdout(Stdio::null()));
        if body == hangs {
            wait_for(&pid);
            tool("kill", &["-KILL", fs::read_to_string(&pid).unwrap().trim()]);
        }
        // A udev that another test has started looks at this disk, too.
        let waited = "makeroom: waiting up to 30.0 s for another process that has [DISK] locked\n";
        said += &format!("# {name}\n{}", device.said(&running.wait_with_output()).replace(waited, ""));
        assert_eq!((entries(), device.shown()), (before.clone(), shown.clone()), "{name}");
    }
    // glibc gives such a file to a shell, musl does not: the words differ.
    fs::write(&script, "not a program").unwrap();
    assert_eq!(device.run("apply", &config).status.code(), Some(74));
    assert_eq!((entries(), device.shown()), (before, shown));
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/device_failing_tools.txt"].raw());
    let report = device.json("apply", &fixture_config("raspberry-pi"));
    check_file_system(partition(&report, "root")["node"].as_str().unwrap(), "xfs");
}

#[test]
fn an_io_error_anywhere_ends_with_74_and_a_rerun_completes() {
    // A disk on a tmpfs that is full: each run gets one page further than the one before, then its write fails. The
    // disk is held open, so that the kernel keeps what it has cached of it from run to run.
    let mounted = Mounted::with(&["-t", "tmpfs", "-o", "size=64M", "none"]);
    let path = mounted.directory.path().to_str().unwrap();
    let directory = tempfile::tempdir_in(path).unwrap();
    let card = Builder::new(512, 16).build();
    let file = File::create(directory.path().join("disk.img")).unwrap();
    for (lba, sector) in &card.content {
        file.write_all_at(sector, lba * 512).unwrap();
    }
    drop(file);
    let config = directory.path().join("makeroom.toml");
    fs::write(
        &config,
        one_partition("root", "size-min=\"64K\"\nsize-max=\"64K\"\ntype = \"linux-generic\"")
            .replace("type=\"root\"\n", ""),
    )
    .unwrap();
    let device = Device::attach(directory, 64 * MIB, &[]);
    let _held = File::open(&device.node).unwrap();
    let pages = |count: u64| {
        let size = format!("remount,size={}", count * 4096);
        tool("mount", &["-o", &size, path]).status.success()
    };
    let used = (1..16_384).find(|count| pages(*count)).unwrap();
    let repairs = |disk: &str| -> Value {
        let output = program().args(["plan", "--json", "--disk", disk, "-c"]).arg(&config).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["repairs"].clone()
    };
    let mut failures = 0;
    for limit in used.. {
        assert!(pages(limit) && limit < used + 100, "it does not come to an end");
        let output = device.command("apply", &config).args(["--align", "4096"]).output().unwrap();
        let said = device.said(&output);
        // What counts is on the medium, not in the cache.
        let on_the_medium = support::linux::labels_in(&device.image(), 512);
        let labels: Vec<String> = on_the_medium.unwrap_or_else(|why| panic!("{why} after {said}"));
        assert!(labels[..3] == ["boot", "store", "_empty"], "{labels:?}");
        if output.status.success() {
            assert_eq!(labels.len(), 4, "it says it is done: {said}");
            break;
        }
        failures += 1;
        assert_eq!(
            repairs(&device.node),
            repairs(device.image().to_str().unwrap()),
            "the next run sees what is not there"
        );
        assert_eq!(output.status.code(), Some(74), "{said}");
    }
    // Both copies of the table, from the medium again.
    let seen = text(&tool("sgdisk", &["-v", device.image().to_str().unwrap()]).stdout);
    assert!(seen.contains("No problems found"), "{seen}");
    // The first to fail is the probe, whose page the backup header gets later.
    assert!(failures > 3, "only {failures} failures");
    let again = device.command("apply", &config).args(["--align", "4096"]).output().unwrap();
    assert!(text(&again.stdout).ends_with("nothing is missing\n"), "{}", device.said(&again));
}

#[test]
fn a_disk_that_was_exchanged_meanwhile_is_not_written_to() {
    let open = |device: &Device| {
        let kernel = sysfs::Disk::of_node(Path::new(&device.node)).unwrap().unwrap();
        BlockDevice::open(kernel).unwrap()
    };
    let grown = Device::with_builder(&Builder::new(512, 64), GIB);
    let mut disk = open(&grown);
    File::options().write(true).open(grown.image()).unwrap().set_len(2 * GIB).unwrap();
    assert!(tool("losetup", &["--set-capacity", &grown.node]).status.success());
    assert!(matches!(disk.lock(Duration::ZERO), Err(OpenError::Replaced { .. })));

    // Another medium of the same size in the same drive. LOOP_CHANGE_FD is for read-only loop devices.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("disk.img"), vec![0; 64 << 20]).unwrap();
    fs::write(directory.path().join("other.img"), vec![1; 64 << 20]).unwrap();
    let other = directory.path().join("other.img").to_str().unwrap().to_owned();
    let exchanged = Device::attach(directory, 64 * MIB, &["--read-only"]);
    let mut disk = open(&exchanged);
    let script = "open(D, '<', $ARGV[0]) and open(F, '<', $ARGV[1]) and ioctl(D, 0x4C06, fileno(F)) or die $!";
    let output = tool("perl", &["-e", script, &exchanged.node, &other]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(matches!(disk.lock(Duration::ZERO), Err(OpenError::Replaced { .. })));
}

#[test]
fn a_drive_without_a_medium_is_named_as_such() {
    let free = || text(&tool("losetup", &["--find"]).stdout).trim().to_owned();
    // Another test may attach something just then.
    let found = (0..50).find_map(|_| {
        let node = free();
        let output = program().args(["plan", "--disk", &node, "-c"]).arg(fixture_config("appliance")).output().unwrap();
        (free() == node).then(|| (output.status.code(), text(&output.stderr).replace(&node, "[DISK]")))
    });
    let (code, said) = found.unwrap();
    assert_eq!((code, &said[..]), (Some(69), "makeroom: error: [DISK] has no medium in it\n"));
}
