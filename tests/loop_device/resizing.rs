//! Partitions that grow, and those that a factory reset makes anew, in use or not.

use crate::*;

use makeroom::kernel::calls::add_partition;
use makeroom::units::Extent;

/// An appliance with xfs, which every kernel that mounts it can grow, after its first boot, on a card that has become
/// larger since; and its configuration.
fn moved_to_a_larger_card() -> (Device, PathBuf) {
    let device = Device::with_card("appliance", 3 * GIB);
    let text = fs::read_to_string(fixture_config("appliance")).unwrap();
    let config = device.config(&text.replace("ext4", "xfs"));
    device.json("apply", &config);
    File::options().write(true).open(device.image()).unwrap().set_len(5 * GIB).unwrap();
    assert!(tool("losetup", &["--set-capacity", &device.node]).status.success());
    (device, config)
}

/// What the kernel shows of a partition: start and size.
fn place(device: &Device, number: u32) -> (u64, u64) {
    let shown = device.shown().into_iter().find(|shown| shown.0 == number).unwrap();
    (shown.1, shown.2)
}

#[test]
fn the_last_partition_of_a_card_that_was_moved_to_a_larger_one_grows() {
    if is_emulated() {
        return;
    }
    let (device, config) = moved_to_a_larger_card();
    let before = device.shown();
    let uuids = |report: &Value| ["home", "var"].map(|label| partition(report, label)["uuid"].clone());
    let planned = device.json("plan", &config);
    assert_eq!(partition(&planned, "var")["activity"], "resize");
    assert_eq!(partition(&planned, "home")["activity"], "unchanged", "nothing is free behind it");
    let report = device.json("apply", &config);
    assert_eq!(report["outcome"]["message"], "grew var, grew the file system of var");
    assert_eq!(uuids(&planned), uuids(&report));
    let (var, after) = (before.iter().find(|shown| shown.0 == 4).unwrap(), place(&device, 4));
    assert_eq!(after.0, var.1);
    assert!(after.1 > var.2 + 2 * GIB - 2 * MIB, "{after:?}");
    assert_eq!((device.shown()[..3].to_vec(), device.shown().len()), (before[..3].to_vec(), 4));
    check_file_system(&device.partition(4), "xfs");
    assert!(text(&tool("sgdisk", &["-v", &device.node]).stdout).contains("No problems found"));
    tool("sync", &[]);
    let written = device.written();
    assert_eq!(device.json("apply", &config)["outcome"]["message"], "nothing is missing");
    assert_eq!(device.written(), written);
}

/// The kernel changes the size of what is mounted; it must not be taken away and given back.
#[test]
fn a_mounted_partition_grows_and_stays_mounted() {
    if is_emulated() {
        return;
    }
    let (device, config) = moved_to_a_larger_card();
    let mounted = Mounted::new(&device.partition(4));
    let held = File::create(mounted.directory.path().join("held")).unwrap();
    let before = place(&device, 4);
    device.json("apply", &config);
    assert!(place(&device, 4).1 > before.1 + GIB);
    held.write_all_at(b"still there", 0).unwrap();
    held.sync_all().unwrap();
}

/// As another program leaves it that deletes a partition from the table and cannot tell the kernel.
#[test]
fn what_is_in_use_where_a_partition_would_grow_is_not_written_over() {
    if is_emulated() {
        return;
    }
    let (device, config) = moved_to_a_larger_card();
    let (start, size) = place(&device, 4);
    let disk = File::open(&device.node).unwrap();
    add_partition(&disk, 9, Extent { start: start + size + 8 * MIB, size: MIB }).unwrap();
    let held = File::open(device.partition(9)).unwrap();
    tool("sync", &[]);
    let before = (content_hash(&device.image()), device.shown());
    let output = device.run("apply", &config);
    let said = device.said(&output);
    assert!(said.starts_with("exit 0") && said.contains("[DISK]p9") && said.contains("nothing was written"), "{said}");
    assert_eq!((content_hash(&device.image()), device.shown()), before);
    drop(held);
    assert_eq!(device.json("apply", &config)["outcome"]["message"], "grew var, grew the file system of var");
    assert_eq!(device.shown().len(), 4);
}

/// The signature of a RAID is at the end of what is its part, and would be taken for this partition's.
#[test]
fn what_was_at_the_end_of_the_free_space_is_cleared() {
    let (device, config) = moved_to_a_larger_card();
    let end = partition(&device.json("plan", &config), "var")["raw_size"].as_u64().unwrap() + place(&device, 4).0;
    let file = File::options().read(true).write(true).open(&device.node).unwrap();
    file.write_all_at(&[0x5a; 4096], end - 4096).unwrap();
    file.sync_all().unwrap();
    drop(file);
    device.json("apply", &config);
    let mut last = [0xff; 4096];
    File::open(&device.node).unwrap().read_exact_at(&mut last, end - 4096).unwrap();
    // But for the mark in its last sector.
    let mark = makeroom::growth::GROWN_MARK;
    assert!(last[3584..].starts_with(mark), "{last:?}");
    last[3584..][..mark.len()].fill(0);
    assert_eq!(last, [0; 4096]);
}

/// The appliance's configuration with the last partition marked for a factory reset.
fn with_reset(device: &Device) -> PathBuf {
    let text = fs::read_to_string(fixture_config("appliance")).unwrap();
    device.config(&(text + "factory-reset = true\n"))
}

#[test]
fn a_factory_reset_makes_anew_what_is_marked_for_it_and_nothing_else() {
    let device = Device::with_card("appliance", 3 * GIB);
    let config = with_reset(&device);
    let first = device.json("apply", &config);
    let mounted = Mounted::new(&device.partition(4));
    fs::write(mounted.directory.path().join("canary"), "old data").unwrap();
    drop(mounted);
    let home = content_of(&device, 3);
    let output = device.command("apply", &config).args(["--factory-reset", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", device.said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"]["message"], "deleted var, created var");
    assert_eq!(report["deleted"], serde_json::json!(["var"]));
    assert_ne!(partition(&report, "var")["uuid"], partition(&first, "var")["uuid"]);
    assert_eq!(*partition(&report, "home"), kept(partition(&first, "home")));
    assert_eq!(content_of(&device, 3), home, "home has changed");
    let mounted = Mounted::new(&device.partition(4));
    assert!(!mounted.directory.path().join("canary").exists());
    drop(mounted);
    check_file_system(&device.partition(4), "ext4");
    assert_eq!(device.json("apply", &config)["outcome"]["message"], "nothing is missing");
}

#[test]
fn a_factory_reset_of_what_is_in_use_is_refused_without_a_write() {
    let device = Device::with_card("appliance", 3 * GIB);
    let config = with_reset(&device);
    device.json("apply", &config);
    let mounted = Mounted::new(&device.partition(4));
    tool("sync", &[]);
    let before = (content_hash(&device.image()), device.shown());
    let output = device.command("apply", &config).arg("--factory-reset").output().unwrap();
    let said = device.said(&output);
    let node = "[DISK]p4 would be deleted by the factory reset, and it is in use";
    assert!(said.starts_with("exit 75") && said.contains(node), "{said}");
    assert_eq!((content_hash(&device.image()), device.shown()), before);
    drop(mounted);
}

/// A tool that fails leaves the disk without what was deleted, in the kernel, too; the next run makes it.
#[test]
fn a_factory_reset_whose_mkfs_fails_is_finished_by_the_next_run() {
    let device = Device::with_card("appliance", 3 * GIB);
    let config = with_reset(&device);
    device.json("apply", &config);
    let broken = device.directory.path().join("mkfs.ext4");
    executable(&broken, "exit 1");
    let text = format!("{}\n[tools]\n\"mkfs.ext4\" = {:?}\n", fs::read_to_string(&config).unwrap(), broken);
    let other = device.directory.path().join("broken.toml");
    fs::write(&other, text).unwrap();
    let output = device.command("apply", &other).arg("--factory-reset").output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", device.said(&output));
    assert_eq!(device.shown().iter().map(|shown| shown.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(device.json("apply", &config)["outcome"]["message"], "created var");
    check_file_system(&device.partition(4), "ext4");
}

/// A hash of what is in a partition.
fn content_of(device: &Device, number: u32) -> Vec<u8> {
    let mut file = File::open(device.partition(number)).unwrap();
    let mut first = vec![0; 1 << 20];
    std::io::Read::read_exact(&mut file, &mut first).unwrap();
    first
}

/// The report of a new partition as a later run has it.
fn kept(new: &Value) -> Value {
    let mut kept = new.clone();
    kept["old_size"] = kept["raw_size"].clone();
    kept["format"] = Value::Null;
    kept["activity"] = "unchanged".into();
    kept
}
