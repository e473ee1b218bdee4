//! Directories and subvolumes in new file systems.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use makeroom::kernel::mount::Mounted as PrivateMount;

use crate::*;

const O_EXCL: i32 = 0o200;

fn card() -> Device {
    Device::with_builder(&Builder::new(512, 16), GIB)
}

/// Mode, owner and group of a directory.
fn rights(path: &Path) -> (u32, u32, u32) {
    let metadata = path.symlink_metadata().unwrap();
    assert!(metadata.is_dir(), "{}", path.display());
    (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
}

fn assert_nothing_to_do(device: &Device, config: &Path) {
    let before = (device.written(), content_hash(&device.image()));
    assert_eq!(device.json("apply", config)["outcome"]["message"], "nothing is missing");
    assert_eq!((device.written(), content_hash(&device.image())), before);
}

#[test]
fn a_new_file_system_has_its_directories_with_all_above_them() {
    if is_emulated() {
        return;
    }
    for format in ["ext4", "xfs", "btrfs"] {
        let device = card();
        let config = device.config(&one_partition(
            "root",
            &format!("format=\"{format}\"\ndirectories=[\"/nix/store\", \"/var/lib/a b\", \"/var\"]"),
        ));
        // Whatever mask it is started with.
        let program = device.command("apply", &config);
        let mut masked = Command::new("sh");
        masked.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
        let output = masked.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mounted = Mounted::new(&device.partition(4));
        for path in ["nix", "nix/store", "var", "var/lib", "var/lib/a b"] {
            assert_eq!(rights(&mounted.directory.path().join(path)), (0o755, 0, 0), "{format}: {path}");
        }
        drop(mounted);
        check_file_system(&device.partition(4), format);
        assert_nothing_to_do(&device, &config);
    }
}

#[test]
fn a_new_btrfs_has_its_subvolumes() {
    if is_emulated() {
        return;
    }
    let device = card();
    let config = device.config(&one_partition(
        "root",
        "format=\"btrfs\"\ndirectories=[\"/@/etc\", \"/@/frozen/in\"]\ndefault-subvolume=\"/@\"\n\
         subvolumes=[\"/@/frozen:ro\", \"/@\", \"/deep/er/log:nodatacow\", \"/both:ro,nodatacow\"]",
    ));
    let report = device.json("apply", &config);
    assert_eq!(report["outcome"]["message"], "created root");
    let mounted = Mounted::new(&device.partition(4));
    let top = mounted.directory.path();
    let said = |words: &[&str]| text(&tool("btrfs", words).stdout);
    // Mounted is the default one.
    assert_eq!((rights(&top.join("etc")), top.join("deep").exists()), ((0o755, 0, 0), false));
    let list = said(&["subvolume", "list", "-o", top.to_str().unwrap()]);
    assert!(list.trim().ends_with("path @/frozen") && list.lines().count() == 1, "{list}");
    let all = said(&["subvolume", "list", top.to_str().unwrap()]);
    for path in ["@", "frozen", "deep/er/log", "both"] {
        assert!(all.lines().any(|line| line.ends_with(&format!(" path {path}"))), "{path}: {all}");
    }
    assert_eq!(all.lines().count(), 4, "{all}");
    assert!(fs::create_dir(top.join("frozen/more")).is_err() && top.join("frozen/in").is_dir());
    drop(mounted);
    let mounted = Mounted::with(&["-o", "subvolid=5", &device.partition(4)]);
    let top = mounted.directory.path();
    let read_only = said(&["subvolume", "list", "-r", top.to_str().unwrap()]);
    let flags = |path: &str| text(&tool("lsattr", &["-d", top.join(path).to_str().unwrap()]).stdout);
    let (log, both, plain) = (flags("deep/er/log"), flags("both"), flags("@"));
    let mode = rights(&top.join("deep/er/log"));
    drop(mounted);
    assert_eq!(read_only.lines().count(), 2, "{read_only}");
    assert!(read_only.contains(" path both") && read_only.contains(" path @/frozen"), "{read_only}");
    let has_c = |flags: &str| flags.split(' ').next().unwrap().contains('C');
    assert_eq!((has_c(&log), has_c(&both), has_c(&plain)), (true, true, false), "{log}{both}{plain}");
    assert_eq!(mode, (0o755, 0, 0));
    check_file_system(&device.partition(4), "btrfs");
    assert_nothing_to_do(&device, &config);
}

#[test]
fn what_the_kernel_cannot_mount_is_refused_before_the_first_write() {
    if is_emulated() {
        return;
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    let mut seen = 0;
    for (format, directories) in [("f2fs", "/a/b"), ("vfat", "/EFI/Linux")] {
        let device = card();
        let more = format!("format=\"{format}\"\ndirectories=[\"{directories}\"]");
        let config = device.config(&one_partition("root", &more));
        if known.lines().any(|line| line.trim_start() == format) {
            device.json("apply", &config);
            let mounted = Mounted::new(&device.partition(4));
            assert!(mounted.directory.path().join(&directories[1..]).is_dir());
            continue;
        }
        seen += 1;
        let said = device.refused(&config);
        let wanted = format!(
            "exit 73: makeroom: error: [DISK]: root: the kernel has no {format}, so that no directories can be made in it: \
             put its module into the initrd (on NixOS: boot.initrd.supportedFilesystems), or leave the directories out; \
             nothing was written\n"
        );
        assert_eq!(said, wanted);
        let plan = device.json("plan", &config);
        assert!(
            plan["warnings"][0].as_str().unwrap().starts_with("apply would refuse: root: the kernel has no"),
            "{plan}"
        );
    }
    println!("{seen} of 2 file systems cannot be mounted here");
}

#[test]
fn a_directory_that_cannot_be_made_leaves_the_table_and_the_kernel_as_they_were() {
    if is_emulated() {
        return;
    }
    let device = card();
    // More than it has inodes for.
    let many: String = (0..150).map(|number| format!("\"/{number}/in\",")).collect();
    let few = format!("format=\"ext4\"\nmkfs-options=[\"-N\", \"16\"]\ndirectories=[{many}]");
    let config = device.config(&one_partition("root", &few));
    let before = device.shown();
    let said = device.said(&device.run("apply", &config));
    assert!(said.starts_with("exit 74: ") && said.contains("root: making the directory \"/"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    // The mount is gone: else the kernel would have kept the partition.
    assert_eq!(device.shown(), before);
    let good = device.config(&one_partition("root", "format=\"ext4\"\ndirectories=[\"/a\"]"));
    assert_eq!(device.json("apply", &good)["outcome"]["message"], "created root");
    assert_nothing_to_do(&device, &good);
}

#[test]
fn the_kernel_has_let_go_of_a_device_when_its_mount_has_ended() {
    // Between fork and exec, a child of another test has what we have open.
    if std::env::var_os("IS_ALONE").is_none() {
        let name = "directories::the_kernel_has_let_go_of_a_device_when_its_mount_has_ended";
        let alone =
            Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env("IS_ALONE", "1").output();
        let alone = alone.unwrap();
        assert!(alone.status.success(), "{}{}", text(&alone.stdout), text(&alone.stderr));
        return;
    }
    for (format, options) in [("xfs", "-f"), ("btrfs", "-f"), ("ext4", "-F")] {
        let device = card();
        device.json("apply", &device.config(&one_partition("root", "")));
        let node = device.partition(4);
        assert!(tool(&format!("mkfs.{format}"), &["-q", options, &node]).status.success());
        for _ in 0..50 {
            let mounted = PrivateMount::new(format, Path::new(&node)).unwrap();
            let exclusive = || File::options().read(true).custom_flags(O_EXCL).open(&node);
            assert!(exclusive().is_err(), "it is not mounted");
            mounted.end().unwrap();
            exclusive().unwrap();
        }
    }
}

#[test]
fn the_table_is_written_when_all_directories_are_on_the_disk() {
    if is_emulated() {
        return;
    }
    let device = card();
    let config = device.config(&one_partition("root", "format=\"xfs\"\ndirectories=[\"/a/b\"]"));
    let trace = device.directory.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", "trace=execve,fsmount,mkdirat,syncfs,fsync,pwrite64,move_mount,mount"]);
    strace.arg("-o").arg(&trace).arg(traceable());
    let output = strace.args(["apply", "--disk", &device.node, "--config"]).arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let first = |from: usize, what: &str, whose: &str| {
        let is_it = |line: &&str| line.contains(what) && line.contains(whose);
        from + lines[from..].iter().position(is_it).unwrap_or_else(|| panic!("no {what} {whose}: {trace}"))
    };
    let made = first(0, "execve(", "mkfs.xfs");
    let mounted = first(made, "fsmount(", "");
    let synced = first(first(mounted, "mkdirat(", "\"b\""), "syncfs(", "");
    let flushed = first(synced, "fsync(", &device.partition(4));
    let table = first(made, "pwrite64(", &format!("<{}>", device.node));
    assert!(table > flushed, "the table is written before its file system is whole: {trace}");
    assert!(!trace.contains(" mount(") && !trace.contains("move_mount("), "{trace}");
}
