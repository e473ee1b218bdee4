//! A run that is killed, at any moment, and what the next one makes of it: in the end the kernel shows what the table
//! says.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use makeroom::kernel::calls::{add_partition, remove_partition, resize_partition};
use makeroom::units::Extent;

use crate::*;

/// The partitions of the table, as sfdisk reads it: number, start and size in bytes.
fn in_table(device: &Device) -> Vec<(u32, u64, u64)> {
    let dump: Value = serde_json::from_slice(&tool("sfdisk", &["-J", &device.node]).stdout).unwrap();
    let number = |node: &Value| node.as_str().unwrap().rsplit_once('p').unwrap().1.parse().unwrap();
    let bytes = |sectors: &Value| sectors.as_u64().unwrap() * 512;
    let partitions = dump["partitiontable"]["partitions"].as_array().unwrap();
    partitions.iter().map(|it| (number(&it["node"]), bytes(&it["start"]), bytes(&it["size"]))).collect()
}

/// Lets the kernel show what the table has, as at a boot.
fn show(device: &Device) {
    let disk = File::open(&device.node).unwrap();
    for (number, start, size) in in_table(device) {
        add_partition(&disk, number, Extent { start, size }).unwrap();
    }
}

/// A kind of run.
struct Kind {
    what: &'static str,
    /// What a disk has had before: configurations, and what was done to it then.
    before: &'static [&'static str],
    change: fn(&File),
    /// What is declared, and with which argument it is run.
    now: &'static str,
    argument: Option<&'static str>,
    /// Formats by label, for the checks.
    formats: &'static [(&'static str, &'static str)],
}

const NOTHING: fn(&File) = |_| {};

const KINDS: &[Kind] = &[
    Kind {
        what: "two new partitions",
        before: &[],
        change: NOTHING,
        now: "a,max=100M b",
        argument: None,
        formats: &[],
    },
    Kind {
        what: "two new file systems",
        before: &[],
        change: NOTHING,
        now: "a,ext4,max=100M b,ext4",
        argument: None,
        formats: &[("a", "ext4"), ("b", "ext4")],
    },
    Kind {
        what: "a factory reset",
        before: &["a,reset,max=100M b,ext4,reset"],
        change: NOTHING,
        now: "a,reset,max=100M b,ext4,reset",
        argument: Some("--factory-reset"),
        formats: &[("b", "ext4")],
    },
    Kind {
        what: "a partition and its file system grow",
        before: &["a,xfs,max=300M"],
        change: NOTHING,
        now: "a,xfs",
        argument: None,
        formats: &[("a", "xfs")],
    },
    Kind {
        what: "a disk that has become larger",
        before: &["a,ext4,max=100M"],
        change: |image| image.set_len(2 * GIB).unwrap(),
        now: "a,ext4,max=100M",
        argument: None,
        formats: &[("a", "ext4")],
    },
    Kind {
        what: "a primary that is damaged",
        before: &["a,ext4,max=100M"],
        change: |image| image.write_all_at(&[0; 512], 512).unwrap(),
        now: "a,ext4,max=100M",
        argument: None,
        formats: &[("a", "ext4")],
    },
];

/// A configuration from words: label, then keys.
fn configuration(words: &str) -> String {
    let mut config = "[boot-disk]\nlabels=[\"boot\"]\nwait=\"30s\"\n".to_owned();
    for partition in words.split(' ') {
        let mut keys = partition.split(',');
        config += &format!("[[partition]]\nlabel=\"{}\"\ntype=\"linux-generic\"\n", keys.next().unwrap());
        for key in keys {
            config += &match key.strip_prefix("max=") {
                Some(size) => format!("size-max=\"{size}\"\n"),
                None if key == "reset" => "factory-reset=true\n".to_owned(),
                None => format!("format=\"{key}\"\n"),
            };
        }
    }
    config
}

impl Kind {
    /// The image as it is before such a run.
    fn image(&self, directory: &Path) -> PathBuf {
        let (image, config) = (directory.join("before.img"), directory.join("before.toml"));
        write_image(&Builder { user_data: false, ..Builder::new(512, 16) }, &image);
        let file = File::options().read(true).write(true).open(&image).unwrap();
        file.set_len(GIB).unwrap();
        for words in self.before {
            fs::write(&config, configuration(words)).unwrap();
            let output = program().args(["apply", "-c"]).arg(&config).arg("--disk").arg(&image).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        (self.change)(&file);
        file.sync_all().unwrap();
        image
    }

    /// The same as a disk.
    fn device(&self, image: &Path) -> Device {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("disk.img");
        let copied = tool("cp", &["--sparse=always", image.to_str().unwrap(), copy.to_str().unwrap()]);
        assert!(copied.status.success());
        let device = Device::attach(directory, image.metadata().unwrap().len(), &[]);
        // Of one without a primary the kernel shows nothing.
        if !self.what.contains("damaged") {
            show(&device);
        }
        device
    }

    /// Starts a run of the kind.
    fn start(&self, device: &Device, config: &Path) -> Running {
        let mut command = device.command("apply", config);
        Running::start(command.args(self.argument).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// A run that is killed after this time, and then a plain one. Whether it was killed.
    fn round(&self, image: &Path, delay: Duration) -> bool {
        let device = self.device(image);
        let config = device.config(&configuration(self.now));
        let mut run = self.start(&device, &config);
        std::thread::sleep(delay);
        let is_killed = run.try_wait().unwrap().is_none();
        run.kill().unwrap();
        run.wait().unwrap();
        let output = device.command("apply", &config).output().unwrap();
        let what = format!("{}, killed after {delay:?}: {}", self.what, device.said(&output));
        assert!(output.status.success(), "{what}");
        assert_eq!(device.shown(), in_table(&device), "{what}");
        let report = device.json("apply", &config);
        assert_eq!(report["outcome"]["message"], "nothing is missing", "{what}");
        for (label, format) in self.formats {
            let output = fsck(partition(&report, label)["node"].as_str().unwrap(), format);
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(output.status.success(), "{what}: {label}: {said}");
        }
        is_killed
    }
}

#[test]
fn after_a_kill_at_any_moment_a_plain_run_makes_the_kernel_show_what_the_table_says() {
    const ROUNDS: u32 = 15;
    if is_emulated() {
        return;
    }
    // A search waits until no more disks appear, and every round brings one: those of the tests of links would wait for longer
    // than they have time.
    let _alone = crate::linking::LINKS.lock().unwrap_or_else(PoisonError::into_inner);
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let image = kind.image(directory.path());
        let device = kind.device(&image);
        let (started, config) = (Instant::now(), device.config(&configuration(kind.now)));
        assert!(kind.start(&device, &config).wait().unwrap().success(), "{}", kind.what);
        let length = started.elapsed();
        drop(device);
        let killed = (0..ROUNDS).filter(|round| kind.round(&image, length * *round / ROUNDS)).count();
        println!("{}: {length:?}, {killed} of {ROUNDS} runs were killed", kind.what);
        assert!(killed > 3, "{}: only {killed} runs were killed", kind.what);
    }
}

/// A card with "root" in the table and in the kernel.
fn complete() -> (Device, PathBuf) {
    let device = Device::with_builder(&Builder::new(512, 16), GIB);
    let config = device.config(&one_partition("root", "format=\"ext4\"\nsize-max=\"64M\""));
    device.json("apply", &config);
    assert_eq!(device.shown(), in_table(&device));
    tool("sync", &[]);
    (device, config)
}

/// As a factory reset leaves them that is killed before its first write.
#[test]
fn what_the_kernel_has_lost_it_shows_again_though_nothing_is_missing_and_nothing_is_written() {
    if is_emulated() {
        return;
    }
    let (device, config) = complete();
    let disk = File::open(&device.node).unwrap();
    let before = (device.written(), content_hash(&device.image()), device.shown());
    let (_, start, size) = device.shown()[3];
    let lost: [&[u32]; 4] = [&[4], &[2], &[1, 2, 3, 4], &[]];
    for numbers in lost {
        numbers.iter().for_each(|number| remove_partition(&disk, *number).unwrap());
        if numbers.is_empty() {
            resize_partition(&disk, 4, Extent { start, size: size - MIB }).unwrap();
        }
        assert_ne!(device.shown(), before.2);
        let report = device.json("apply", &config);
        assert_eq!(report["outcome"]["message"], "nothing is missing", "{numbers:?}");
        assert_eq!((device.written(), content_hash(&device.image()), device.shown()), before, "{numbers:?}");
    }
    check_file_system(&device.partition(4), "ext4");
}

/// As a run leaves it that is killed between the table and the kernel.
#[test]
fn a_partition_that_has_grown_in_the_table_alone_is_shown_and_its_file_system_grows() {
    if is_emulated() {
        return;
    }
    let device = crate::growing::card(crate::growing::XFS);
    let config = crate::growing::declared(&device, "xfs");
    let (_, start, size) = device.shown()[3];
    let disk = File::open(&device.node).unwrap();
    resize_partition(&disk, 4, Extent { start, size: 400 * MIB }).unwrap();
    let report = device.json("apply", &config);
    assert_eq!(report["outcome"]["message"], "grew the file system of root", "{report}");
    assert_eq!(report["warnings"], Value::Array(vec![]));
    assert_eq!(device.shown()[3], (4, start, size));
    check_file_system(&device.partition(4), "xfs");
}

#[test]
fn what_is_in_use_at_another_place_stops_a_boot_only_where_it_is_declared() {
    let (device, config) = complete();
    let disk = File::open(&device.node).unwrap();
    let shown = device.shown();
    for number in [4, 2] {
        let (_, start, size) = shown[number as usize - 1];
        remove_partition(&disk, number).unwrap();
        add_partition(&disk, number, Extent { start: 512 * MIB, size }).unwrap();
        let held = File::open(device.partition(number)).unwrap();
        let before = (device.written(), content_hash(&device.image()), device.shown());
        let output = device.run("apply", &config);
        let said = device.said(&output);
        assert_eq!((device.written(), content_hash(&device.image()), device.shown()), before, "{said}");
        match number {
            4 => assert!(said.starts_with("exit 75") && said.contains("table on the disk is complete"), "{said}"),
            _ => assert!(said.starts_with("exit 0") && said.contains("a reboot shows it"), "{said}"),
        }
        drop(held);
        assert!(device.run("apply", &config).status.success());
        assert_eq!(device.shown()[number as usize - 1], (number, start, size));
    }
}
