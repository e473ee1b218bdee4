//! What is made, and how the kernel shows it.

use std::io::Read;

use makeroom::kernel::calls::add_partition;
use makeroom::units::Extent;

use crate::*;

/// What the kernel shows is what the report says.
fn assert_shown(device: &Device, report: &Value) {
    let number = |value: &Value| value.as_u64().unwrap();
    let mut wanted: Vec<_> = report["partitions"].as_array().unwrap().iter().collect();
    wanted.sort_by_key(|partition| number(&partition["partno"]));
    let wanted: Vec<_> =
        wanted.iter().map(|p| (number(&p["partno"]) as u32, number(&p["offset"]), number(&p["raw_size"]))).collect();
    assert_eq!(device.shown(), wanted);
    for partition in report["partitions"].as_array().unwrap() {
        assert!(Path::new(partition["node"].as_str().unwrap()).exists(), "{partition}");
    }
}

/// A run that has nothing to do writes nothing.
fn assert_nothing_to_do(device: &Device, config: &Path) {
    let before = (device.written(), content_hash(&device.image()), device.shown());
    let report = device.json("apply", config);
    assert_eq!(report["outcome"]["message"], "nothing is missing");
    tool("sync", &[&device.node]);
    assert_eq!((device.written(), content_hash(&device.image()), device.shown()), before);
}

#[test]
fn a_raspberry_pi_card_gets_its_root() {
    let device = Device::with_card("raspberry-pi", 8 * GIB);
    let config = fixture_config("raspberry-pi");
    let planned = device.json("plan", &config);
    let report = device.json("apply", &config);
    let places = |report: &Value| -> Vec<Value> {
        let keys = ["label", "partno", "node", "offset", "raw_size", "type_uuid"];
        let all = report["partitions"].as_array().unwrap();
        all.iter().map(|partition| keys.iter().map(|key| partition[*key].clone()).collect()).collect()
    };
    assert_eq!(places(&planned), places(&report), "the plan shown is the plan applied");
    assert_eq!(partition(&report, "root")["node"], device.partition(4));
    assert_shown(&device, &report);
    check_file_system(&device.partition(4), "xfs");
    assert!(text(&tool("sgdisk", &["-v", &device.node]).stdout).contains("No problems found"));
    assert!(text(&tool("sfdisk", &["--verify", &device.node]).stdout).contains("No errors detected"));
    assert_nothing_to_do(&device, &config);
}

#[test]
fn an_appliance_gets_home_and_var() {
    let device = Device::with_card("appliance", 8 * GIB);
    let config = fixture_config("appliance");
    let report = device.json("apply", &config);
    assert_shown(&device, &report);
    check_file_system(&device.partition(3), "ext4");
    check_file_system(&device.partition(4), "ext4");
    assert_nothing_to_do(&device, &config);
}

#[test]
fn every_format_is_made_on_both_sector_sizes() {
    for sector_size in [512, 4096] {
        let device = Device::with_builder(&Builder::new(sector_size, 16), 4 * GIB);
        let config = fixture_config("every-format");
        let report = device.json("apply", &config);
        assert_eq!(report["disk"]["sector_size"], sector_size);
        assert_shown(&device, &report);
        for (label, format) in
            [("e", "ext4"), ("x", "xfs"), ("b", "btrfs"), ("f", "f2fs"), ("v", "vfat"), ("s", "swap")]
        {
            check_file_system(partition(&report, label)["node"].as_str().unwrap(), format);
        }
        assert_nothing_to_do(&device, &config);
    }
}

#[test]
fn a_run_with_nothing_to_do_opens_nothing_for_writing() {
    let device = Device::with_card("appliance", 2 * GIB);
    let config = fixture_config("appliance");
    device.json("apply", &config);
    let trace = device.directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&trace).arg(traceable());
    let output = strace.args(["apply", "--disk", &device.node, "--config"]).arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    let lines = || trace.lines().filter(|line| line.contains("open") && line.contains("\"/dev/loop"));
    assert!(lines().count() > 0, "the disk was not even looked at: {trace}");
    assert!(lines().all(|line| line.contains("O_RDONLY")), "{trace}");
    // What a boot pays for it; the debug build and glibc make more of it.
    let calls = trace.lines().count();
    println!("{calls} system calls with nothing to do");
    assert!(calls <= 120 || traceable().contains("/debug/"), "{calls} system calls");
    // The card is slow, and the system wants to start: no more comes from it than what is asked for. The searches of other
    // tests read this one, too, but not always.
    let read = (0..50).map(|_| {
        let before = device.read();
        assert!(device.run("apply", &config).status.success());
        device.read() - before
    });
    assert!(read.into_iter().any(|bytes| bytes <= 64 << 10), "a boot reads more than 64 KiB");
    // The record of the boot is the one thing that is written, and not to the disk.
    let writing = |line: &&str| {
        ["O_WRONLY", "O_RDWR", "O_CREAT", "ioctl("].iter().any(|flag| line.contains(flag))
            && !line.contains("BLKSSZGET")
    };
    let written: Vec<&str> = trace.lines().filter(writing).collect();
    assert!(written.iter().all(|line| line.contains("/run/makeroom/")), "{written:?}");
}

#[test]
fn nothing_of_what_a_disk_held_can_be_found_in_a_new_file_system() {
    let device = Device::with_builder(&Builder::new(512, 64), GIB);
    let config = device.config(
        "[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\n\
         [[partition]]\nlabel=\"xfs\"\ntype=\"root\"\nformat=\"xfs\"\n\
         [[partition]]\nlabel=\"raw\"\ntype=\"linux-generic\"\n",
    );
    let planned = device.json("plan", &config);
    let disk = File::options().write(true).open(&device.node).unwrap();
    for mib in 16..1023 {
        disk.write_all_at(b"the previous owner's letters", mib * MIB + 12_345).unwrap();
    }
    for label in ["root", "xfs", "raw"] {
        let place = partition(&planned, label);
        let (start, size) = (place["offset"].as_u64().unwrap(), place["raw_size"].as_u64().unwrap());
        for (offset, signature) in old_signatures(size) {
            disk.write_all_at(&signature, start + offset).unwrap();
        }
        let range = [start.to_string(), size.to_string()];
        let seen = tool("blkid", &["-p", "--offset", &range[0], "--size", &range[1], &device.node]);
        assert!(text(&seen.stdout).contains("raid"), "the signatures are not there: {}", text(&seen.stdout));
    }
    disk.sync_all().unwrap();
    drop(disk);
    let report = device.json("apply", &config);
    for (label, signatures) in [("root", 1), ("xfs", 1), ("raw", 0)] {
        let node = partition(&report, label)["node"].as_str().unwrap();
        let seen = text(&tool("wipefs", &["--noheadings", node]).stdout);
        assert_eq!(seen.lines().count(), signatures, "{label}: {seen}");
    }
    for label in ["root", "xfs"] {
        let mounted = Mounted::new(partition(&report, label)["node"].as_str().unwrap());
        let left: Vec<_> =
            fs::read_dir(mounted.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "lost+found"), "{left:?}");
        // A file over blocks that held the letters shows zeros where nothing was written to it.
        let file = File::create_new(mounted.directory.path().join("sparse")).unwrap();
        let allocated = tool("fallocate", &["-l", "100M", mounted.directory.path().join("sparse").to_str().unwrap()]);
        assert!(allocated.status.success());
        drop(file);
        let mut content = Vec::new();
        File::open(mounted.directory.path().join("sparse")).unwrap().read_to_end(&mut content).unwrap();
        assert!(content.len() as u64 == 100 * MIB && content.iter().all(|byte| *byte == 0), "{label}");
    }
}

#[test]
fn a_damaged_primary_is_mended_and_the_kernel_shows_its_partitions() {
    // The kernel shows nothing of such a disk; after the repair the boot can go on without another look.
    let device = Device::with_card("appliance", 2 * GIB);
    let config = fixture_config("appliance");
    let whole = device.json("apply", &config);
    loops::forget_partitions(&device.node).unwrap();
    let disk = File::options().write(true).open(&device.node).unwrap();
    disk.write_all_at(&[0; 512], 512).unwrap();
    drop(disk);
    let report = device.json("apply", &config);
    assert_eq!(report["outcome"]["message"], "repaired the table");
    assert_eq!(report["partitions"], whole["partitions"].as_array().unwrap().iter().map(kept).collect::<Value>());
    assert_shown(&device, &report);
    check_file_system(&device.partition(3), "ext4");
}

/// A partition as a later run reports it.
fn kept(partition: &Value) -> Value {
    let mut partition = partition.clone();
    partition["activity"] = "unchanged".into();
    partition["format"] = Value::Null;
    partition["old_size"] = partition["raw_size"].clone();
    partition
}

#[test]
fn what_a_partition_writes_beside_the_table_meanwhile_is_not_overwritten() {
    // The last partition ends in the middle of the 4096 bytes in which the backup table begins. The system's cache
    // writes such blocks whole.
    let partitions = vec![(1, 2048, 4095, "boot"), (2, 100_000, 131_038, "data")];
    let device = Device::with_builder(&Builder { partitions, ..Builder::new(512, 64) }, 64 * MIB);
    let (start, size) = (100_000 * 512, 31_039 * 512);
    add_partition(&File::open(&device.node).unwrap(), 2, Extent { start, size }).unwrap();
    // While the file system is made, somebody reads the end of the disk, and the partition writes.
    let script = device.directory.path().join("mkfs");
    let block = (start + size) / 4096;
    let last = (start + size) / 512 - 8;
    executable(
        &script,
        &format!(
            "dd if={0} of=/dev/null bs=4096 skip={block} count=1 2>/dev/null\n\
             printf '%04096d' 7 | dd of={1} bs=512 seek={2} conv=fsync 2>/dev/null\nexec mkfs.ext4 \"$@\"",
            device.node,
            device.partition(2),
            last - 100_000,
        ),
    );
    let tools = format!("format=\"ext4\"\n[tools]\n\"mkfs.ext4\" = \"{}\"", script.display());
    device.json("apply", &device.config(&one_partition("root", &tools)));
    let mut tail = [0; 4096];
    File::open(device.image()).unwrap().read_exact_at(&mut tail, start + size - 4096).unwrap();
    let written = format!("{:04096}", 7);
    assert!(tail == *written.as_bytes(), "the partition's last sectors are not what it wrote");
}

#[test]
fn what_a_killed_run_left_in_the_kernel_is_taken_away_by_the_next() {
    for signal in ["-KILL", "-TERM"] {
        let device = Device::with_builder(&Builder::new(512, 64), GIB);
        let script = device.directory.path().join("mkfs");
        let (pid, open) = (device.directory.path().join("pid"), device.directory.path().join("open"));
        let note = format!("{OWN_NUMBER}; readlink /proc/$pid/fd/* > {}", open.display());
        executable(&script, &format!("{note}; echo $pid > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()));
        let tools = format!("format=\"ext4\"\n[tools]\n\"mkfs.ext4\" = \"{}\"", script.display());
        let config = device.config(&one_partition("root", &tools).replace("300ms", "30s"));
        let mut stopped = Running::start(device.command("apply", &config).stderr(Stdio::null()));
        wait_for(&pid);
        let mkfs = fs::read_to_string(&pid).unwrap().trim().to_owned();
        tool("kill", &[signal, &stopped.id().to_string()]);
        assert!(!stopped.wait().unwrap().success());
        // The tool had the lock open, too, which is not given up before it has ended.
        assert!(fs::read_to_string(&open).unwrap().lines().any(|path| path == device.node));
        assert_eq!(device.shown().iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [4], "{signal}");

        let good = device.directory.path().join("good.toml");
        fs::write(&good, one_partition("root", "format=\"ext4\"").replace("300ms", "30s")).unwrap();
        let report = device.json("apply", &good);
        // The tool did not outlive its run, or the new one would have waited for it to give the lock up.
        let state = fs::read_to_string(format!("/proc/{mkfs}/stat")).unwrap_or("(mkfs) Z".to_owned());
        assert!(state.contains(") Z"), "{signal}: the tool is still at work: {state}");
        assert_shown(&device, &report);
        check_file_system(&device.partition(4), "ext4");
    }
}

#[test]
fn whatever_the_kernel_shows_in_the_way_is_moved_or_stays_as_it_was() {
    let device = Device::with_builder(&Builder::new(512, 64), GIB);
    let disk = File::open(&device.node).unwrap();
    let two = format!(
        "{}[[partition]]\nlabel=\"more\"\ntype=\"home\"\nsize-max=\"64M\"\n",
        one_partition("root", "size-max=\"64M\"")
    );
    let config = device.config(&two);
    let place = |label: &str| partition(&device.json("plan", &config), label)["offset"].as_u64().unwrap();
    // Under another number, in the place of the first; and in use, in the place of the second.
    add_partition(&disk, 9, Extent { start: place("root") + MIB, size: MIB }).unwrap();
    add_partition(&disk, 8, Extent { start: place("more") + MIB, size: MIB }).unwrap();
    let held = File::open(device.partition(8)).unwrap();
    let before = device.shown();
    assert_eq!(device.run("apply", &config).status.code(), Some(75));
    assert_eq!(device.shown(), before, "a refusal has changed what the kernel shows");
    drop(held);
    // An old idea of a partition of the table, and one over another.
    add_partition(&disk, 2, Extent { start: 33 * MIB, size: MIB }).unwrap();
    add_partition(&disk, 7, Extent { start: 2048 * 512, size: MIB }).unwrap();
    let report = device.json("apply", &config);
    assert_shown(&device, &report);
}

#[test]
fn a_partition_of_the_disk_stands_for_the_disk() {
    let device = Device::with_builder(&Builder::new(512, 64), GIB);
    let config = device.config(&one_partition("root", ""));
    device.json("apply", &config);
    let output =
        program().args(["plan", "--json", "--disk", &device.partition(2), "-c"]).arg(&config).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["disk"]["node"], &report["disk"]["size"]), (&device.node.clone().into(), &GIB.into()));
}

#[test]
fn the_whole_order_is_as_it_was_reviewed() {
    let device = Device::with_builder(&Builder::new(512, 64), GIB);
    let root = one_partition("root", "format=\"ext4\"\nsize-max=\"64M\"");
    let mut order = format!("# a new partition\n{}", trace(&device, &root, 0));
    // Now the kernel shows partitions, one of which has to be held open.
    let script = device.directory.path().join("mkfs.xfs");
    executable(&script, "exit 1");
    let more = "[[partition]]\nlabel=\"more\"\ntype=\"home\"\nformat=\"xfs\"\n";
    let failing = format!("{root}{more}[tools]\n\"mkfs.xfs\"=\"{}\"\n", script.display());
    order += &format!("\n# a tool that fails\n{}", trace(&device, &failing, 74));
    File::options().write(true).open(&device.node).unwrap().write_all_at(&[0; 512], 512).unwrap();
    order += &format!("\n# a damaged primary header, and nothing is missing\n{}", trace(&device, &root, 0));
    order += &format!("\n# nothing to do\n{}", trace(&device, &root, 0));
    snapbox::assert_data_eq!(order, snapbox::file!["../snapshots/order.txt"].raw());
}

/// What a run does to the disk and the kernel, in order.
fn trace(device: &Device, config: &str, code: i32) -> String {
    let config = device.config(config);
    let trace = device.directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", "trace=openat,pwrite64,write,fsync,ioctl,flock,close,fadvise64,execve,exit_group"]);
    strace.arg("-o").arg(&trace).arg(traceable()).args(["apply", "--disk", &device.node, "--config"]).arg(&config);
    let output = strace.env_remove("JOURNAL_STREAM").output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    let trace = fs::read_to_string(&trace).unwrap();
    let own = trace.split_whitespace().next().unwrap().to_owned();
    trace.lines().filter_map(|line| readable(line, &own, device.name())).collect()
}

/// A line of strace in a few words; nothing for what has to do neither with the disk nor with a tool.
fn readable(line: &str, own: &str, disk: &str) -> Option<String> {
    let (process, call) = line.split_once(' ')?;
    let call = call.trim().replace(&format!("{disk}p"), "part").replace(disk, "disk");
    let (name, arguments) = call.split_once('(')?;
    let nodes = ["/dev/part5", "/dev/part4", "/dev/part1", "/dev/disk"];
    let target = nodes.into_iter().find(|node| arguments.contains(node));
    let last = |text: &str| text.rsplit_once(", ").map(|(_, last)| last.to_owned());
    let (arguments, _) = arguments.rsplit_once(") ").or(arguments.rsplit_once(" <unfinished"))?;
    let arguments = arguments.trim_end();
    if name == "execve" && process != own && arguments.contains("mkfs") {
        return Some(format!("run    {}\n", arguments.split('"').nth(1)?.rsplit_once('/')?.1));
    }
    if name == "write" && arguments.contains("/uevent") {
        let (_, path) = arguments.split_once("/sys/")?;
        return Some(format!("write  {} \"change\"\n", path.split_once('>')?.0.rsplit_once("block/")?.1));
    }
    let target = target.filter(|_| process == own)?.trim_start_matches("/dev/");
    Some(match name {
        "openat" => format!(
            "open   {target} {}\n",
            arguments.split(", ").nth(2)?.replace("|O_LARGEFILE", "").replace("|O_CLOEXEC", "")
        ),
        "close" => format!("close  {target}\n"),
        "flock" => format!("lock   {target} {}\n", last(arguments)?),
        "fsync" => format!("flush  {target}\n"),
        "fadvise64" if arguments.contains("RANDOM") => return None,
        "fadvise64" => format!("forget {target}\n"),
        "pwrite64" => {
            let mut fields = arguments.rsplit(", ");
            let (offset, length) = (fields.next()?, fields.next()?);
            format!("write  {target} {length} bytes at {offset}\n")
        }
        "ioctl" if arguments.contains("BLKPG") => {
            let op = if arguments.contains("DEL") { "remove" } else { "add" };
            let number = arguments.split_once("pno=")?.1.split_once(',')?.0.to_owned();
            format!("kernel {op} {target} {number}\n")
        }
        "ioctl" if arguments.contains("BLKSSZGET") => return None,
        "ioctl" => format!("ioctl  {target} {arguments}\n"),
        _ => return None,
    })
}
