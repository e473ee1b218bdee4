//! Tools that do not do what they say, and what outlives them.

use std::thread::sleep;
use std::time::Duration;

use crate::support::wait_a_moment;
use crate::*;

/// The entries of a table, as sfdisk reads them.
fn entries(disk: &str) -> Vec<String> {
    let dump = text(&tool("sfdisk", &["-d", disk]).stdout);
    let parts = dump.lines().filter_map(|line| Some(line.split_once(" : ")?.1.to_owned()));
    parts.collect()
}

/// The same card as an image that no loop device has.
fn image_beside(device: &Device, sector_size: u32, size: u64) -> PathBuf {
    let image = device.directory.path().join("copy.img");
    write_image(&Builder::new(sector_size, 16), &image);
    File::options().write(true).open(&image).unwrap().set_len(size).unwrap();
    image
}

/// A tool said yes, the partition was committed, and every later boot found nothing missing.
#[test]
fn a_tool_that_makes_nothing_or_something_else_gets_no_partition() {
    let device = Device::with_builder(&Builder::new(512, 16), GIB);
    let copy = image_beside(&device, 512, GIB);
    let script = device.directory.path().join("mkfs");
    let last = "for node; do :; done;";
    let scripts = [
        ("exit 0", "there is no ext4 where it should be"),
        (&format!("{last} exec mkfs.vfat \"$node\""), "there is no ext4 where it should be"),
        (&format!("mkfs.ext4 \"$@\" && {last} exec tune2fs -L other \"$node\""), "has the label \"other\""),
        ("exec mkfs.ext4 \"$@\" 64M", "the ext4 has only 64.0 MiB"),
        (
            &format!("mkfs.ext4 \"$@\" && {last} exec dd if=/dev/zero of=\"$node\" bs=4k count=1 conv=notrunc"),
            "there is no ext4 where it should be",
        ),
    ];
    let root = one_partition("root", "format=\"ext4\"");
    let false_tool = device.config(&format!("{root}[tools]\n\"mkfs.ext4\" = \"{}\"\n", script.display()));
    let good = device.directory.path().join("good.toml");
    fs::write(&good, root).unwrap();
    for disk in [&device.node, copy.to_str().unwrap()] {
        let apply = |config: &Path| program().args(["apply", "--disk", disk, "-c"]).arg(config).output().unwrap();
        let before = (entries(disk), device.shown());
        for (body, what) in scripts {
            executable(&script, body);
            let output = apply(&false_tool);
            let said = device.said(&output);
            assert_eq!((entries(disk), device.shown()), before, "{body}: {said}");
            assert!(said.starts_with("exit 74") && said.contains("ended without an error, but"), "{body}: {said}");
            assert!(said.contains(what), "{body}: {said}");
        }
        let output = apply(&good);
        assert!(text(&output.stdout).ends_with("created root\n"), "{}", device.said(&output));
        assert_eq!(entries(disk).len(), before.0.len() + 1);
    }
    check_file_system(&device.partition(4), "ext4");
}

/// The longest label of each format, in what it has of characters.
fn longest_labels() -> [(&'static str, String); 6] {
    let repeated = |word: &str, bytes: usize| {
        let mut label = word.repeat(bytes / word.len());
        label.push_str(&"x".repeat(bytes - label.len()));
        label
    };
    [
        ("ext4", repeated("\u{e9}", 16)),
        ("xfs", repeated("\u{65e5}", 12)),
        ("btrfs", repeated("\u{1f4be}", 255)),
        ("f2fs", repeated("\u{1f4be}", 255)),
        ("vfat", "ABCDEFG HIJ".to_owned()),
        ("swap", repeated("\u{65e5}", 15)),
    ]
}

/// One partition for each format, with more keys for it.
fn of_every_format(keys: impl Fn(&str) -> String) -> String {
    let mut config = "[boot-disk]\nlabels=[\"boot\"]\n".to_owned();
    for (format, _) in longest_labels() {
        let keys = keys(format);
        config += &format!("[[partition]]\nlabel=\"{format}\"\ntype=\"linux-generic\"\nformat=\"{format}\"\n{keys}\n");
    }
    config
}

fn assert_all_made(sector_size: u32, config: &str) {
    let device = Device::with_builder(&Builder::new(sector_size, 16), 4 * GIB);
    let copy = image_beside(&device, sector_size, 4 * GIB);
    let config = device.config(config);
    let report = device.json("apply", &config);
    for (format, _) in longest_labels() {
        let node = partition(&report, format)["node"].as_str().unwrap().to_owned();
        let output = fsck(&node, format);
        assert!(output.status.success(), "{format}: {}{}", text(&output.stdout), text(&output.stderr));
    }
    let mut command = program();
    command.args(["apply", "--sector-size", &sector_size.to_string(), "-c"]).arg(&config);
    let output = command.arg("--disk").arg(&copy).output().unwrap();
    assert!(output.status.success(), "{}", device.said(&output));
}

#[test]
fn what_the_real_tools_make_is_taken_with_the_longest_labels() {
    let labels = longest_labels();
    let label = |format: &str| labels.iter().find(|(name, _)| *name == format).unwrap().1.clone();
    for sector_size in [512, 4096] {
        assert_all_made(sector_size, &of_every_format(|format| format!("fs-label=\"{}\"", label(format))));
    }
}

/// Blanks and other characters at the ends, and the words that a tool has for a label that is none.
#[test]
fn what_the_real_tools_make_is_taken_with_odd_labels() {
    for label in ["a ", " a", "a\u{a0}", "NO NAME", "\u{3000}", ""] {
        // mkfs.vfat takes no blank at the start.
        let key = |format: &str| if format == "vfat" && (!label.is_ascii() || label == " a") { "lower" } else { label };
        assert_all_made(512, &of_every_format(|format| format!("fs-label='{}'", key(format))));
    }
}

#[test]
fn what_the_real_tools_make_is_taken_in_the_smallest_partitions() {
    let smallest = |format: &str| match format {
        "ext4" => "32M",
        "xfs" => "300M",
        "btrfs" => "256M",
        "f2fs" => "64M",
        _ => "1M",
    };
    for sector_size in [512, 4096] {
        let keys = |format: &str| format!("size-min=\"{0}\"\nsize-max=\"{0}\"", smallest(format));
        assert_all_made(sector_size, &of_every_format(keys));
    }
}

#[test]
fn what_options_make_of_size_and_label_is_taken() {
    let options = |format: &str| {
        let options = match format {
            "ext4" => r#""-L", "other", "-O", "^has_journal""#,
            "xfs" => r#""-d", "size=300m""#,
            "btrfs" => r#""-b", "268435456", "-L", "other""#,
            "f2fs" => r#""-l", "other""#,
            "vfat" => r#""-n", "OTHER", "-F", "32", "-s", "1""#,
            _ => r#""-L", "other""#,
        };
        format!("mkfs-options=[{options}]")
    };
    for sector_size in [512, 4096] {
        assert_all_made(sector_size, &of_every_format(options));
    }
}

/// A tool is a wrapper that leaves something behind, which holds nothing of what it was given, and writes later.
fn leaving(then: &str, device: &Device) -> (PathBuf, PathBuf) {
    let (script, pid) = (device.directory.path().join("mkfs"), device.directory.path().join("pid"));
    let (late, marker) = (device.directory.path().join("late"), device.directory.path().join("written"));
    let note = format!("{OWN_NUMBER}; echo $pid > {0}.new; mv {0}.new {0}", pid.display());
    executable(&late, &format!("{note}; sleep 2; echo late > {}; exec mkfs.xfs -q -f \"$1\"", marker.display()));
    let closed: String = (3..10).map(|number| format!(" {number}>&-")).collect();
    let leave = format!(
        "for node; do :; done\nsetsid {} \"$node\" < /dev/null > /dev/null 2>&1{closed} &\n\
         while ! test -e {}; do sleep 0.1; done",
        late.display(),
        pid.display()
    );
    executable(&script, &format!("mkfs.ext4 \"$@\" || exit\n{leave}\n{then}"));
    (script, pid)
}

/// Nothing of a process is left, or only its number, which a parent has not asked for.
fn has_ended(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"))
}

#[test]
fn what_a_tool_leaves_behind_ends_with_it_and_writes_nothing_later() {
    for is_killed in [false, true] {
        let device = Device::with_builder(&Builder::new(512, 16), GIB);
        let (script, pid) = leaving(if is_killed { "sleep 1000" } else { "exit 0" }, &device);
        let root = one_partition("root", "format=\"ext4\"").replace("300ms", "30s");
        let config = device.config(&format!("{root}[tools]\n\"mkfs.ext4\" = \"{}\"\n", script.display()));
        let mut run = Running::start(device.command("apply", &config).stderr(Stdio::null()).stdout(Stdio::null()));
        wait_for(&pid);
        if is_killed {
            run.kill().unwrap();
        }
        assert_eq!(run.wait().unwrap().success(), !is_killed);
        let left = fs::read_to_string(&pid).unwrap().trim().to_owned();
        assert!((0..20).any(|_| has_ended(&left) || wait_a_moment()), "it is there still");
        if is_killed {
            let good = device.directory.path().join("good.toml");
            fs::write(&good, &root).unwrap();
            assert_eq!(device.json("apply", &good)["outcome"]["message"], "created root");
        }
        sleep(Duration::from_secs(3));
        assert!(!device.directory.path().join("written").exists(), "it has written");
        check_file_system(&device.partition(4), "ext4");
    }
}
