//! Definitions of systemd-repart: which files count, what is wrong with its message, and that they say the same as the
//! TOML.

use std::os::unix::fs::symlink;

use makeroom::config::{self, Declared, Definition, Surroundings, TextFile};
use makeroom::partition_type::Architecture;

use crate::*;

/// Wrong definitions: a name, and the text behind `[Partition]` and a type.
const WRONG: &[(&str, &str)] = &[
    ("unknown key", "Wieght=1000"),
    ("a key in other letters", "weight=1000"),
    ("unknown key, nothing near", "Colour=red"),
    ("unknown section", "[Partitions]\nWeight=1"),
    ("a section that does not end", "[Partition"),
    ("no assignment", "Weight"),
    ("no type", "Type="),
    ("unknown type", "Type=rot"),
    ("empty label", "Label="),
    ("label of 37 units", "Label=abcdefghijklmnopqrstuvwxyz01234567890"),
    ("label with an escape", "Label=a\u{1b}[2J"),
    ("a label that changes", "Label=%M_%A"),
    ("a specifier of the running system", "Label=%H"),
    ("unknown specifier", "Label=100%z"),
    ("weight out of range", "Weight=1000001"),
    ("weight as text", "PaddingWeight=heavy"),
    ("priority beyond 32 bits", "Priority=2147483648"),
    ("a size that is none", "SizeMinBytes=10 apples"),
    ("minimum above maximum", "SizeMinBytes=2G\nSizeMaxBytes=1G"),
    ("maximum below the default", "SizeMaxBytes=5M"),
    ("maximum below the file system's", "Format=xfs\nSizeMaxBytes=100M"),
    ("padding: minimum above maximum", "PaddingMinBytes=2M\nPaddingMaxBytes=1M"),
    ("a GUID that is none", "UUID=nil"),
    ("flags that are none", "Flags=many"),
    ("neither yes nor no", "NoAuto=maybe"),
    ("unknown format", "Format=ext5"),
    ("a format for an empty place", "Format=empty"),
    ("a format of files", "Format=squashfs"),
    ("an old format", "Format=ext3"),
    ("swap that is none", "Type=swap\nFormat=xfs"),
    ("a directory in swap space", "Type=swap\nMakeDirectories=/a"),
    ("a relative directory", "MakeDirectories=/a b"),
    ("a directory above", "MakeDirectories=/a/../b"),
    ("the root directory", "MakeDirectories=/"),
    ("a quote that does not end", "MakeDirectories=\"/a"),
    ("a subvolume without a file system", "Subvolumes=/a"),
    ("an unknown kind of subvolume", "Format=btrfs\nSubvolumes=/a:rw"),
    ("a default that is no subvolume", "Format=btrfs\nMakeDirectories=/a\nDefaultSubvolume=/a"),
    ("a value that goes on", "Label=a\nWeight=\\\n# a comment\n   \\\n   heavy"),
];

/// Every setting of the manual of systemd 262, in its order.
const SYSTEMD_262: &str = "Type Label UUID Priority Weight PaddingWeight SizeMinBytes SizeMaxBytes PaddingMinBytes \
    PaddingMaxBytes CopyBlocks Format CopyFiles ExcludeFiles ExcludeFilesTarget MakeDirectories MakeSymlinks Subvolumes \
    DefaultSubvolume Encrypt TPM2PCRs KeyFile EncryptKDF Discard Integrity IntegrityAlgorithm VolumeLabel Verity \
    VerityMatchKey VerityDataBlockSizeBytes VerityHashBlockSizeBytes FactoryReset Flags NoAuto ReadOnly GrowFileSystem \
    SplitName Minimize MountPoint EncryptedVolume Compression CompressionLevel SupplementFor AddValidateFS \
    FileSystemSectorSize BlockDeviceReplace VolumeName";

/// A directory of definitions, with a file in it.
fn definition(bench: &Bench, path: &str, text: &str) -> PathBuf {
    let path = bench.directory.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.parent().unwrap().to_owned()
}

fn check(bench: &Bench, arguments: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_makeroom"));
    program.arg("check").args(["--architecture", "arm64"]).env_remove("JOURNAL_STREAM");
    let output = program.args(arguments).current_dir(bench.directory.path()).output().unwrap();
    let stdout = text(&output.stdout).replace(bench.directory.path().to_str().unwrap(), "[DIR]");
    bench.said(&output) + &stdout
}

#[test]
fn a_wrong_definition_gives_one_error_with_its_place() {
    let bench = Bench::new();
    let mut said = String::new();
    for (name, wrong) in WRONG {
        definition(&bench, "d/10-x.conf", &format!("[Partition]\nType=home\n{wrong}\n"));
        let answer = check(&bench, &["--definitions", "d"]);
        assert!(answer.starts_with("exit 78: "), "{name}: {answer}");
        said.push_str(&format!("# {name}\n{answer}\n"));
    }
    for key in SYSTEMD_262.split(' ') {
        definition(&bench, "d/10-x.conf", &format!("[Partition]\nType=home\n{key}=\n"));
        let answer = check(&bench, &["--definitions", "d"]);
        // An empty one is as if it had not been said, but for a name and a type.
        if answer.starts_with("exit 78: ") && !["Type", "Label"].contains(&key) {
            assert!(answer.contains(&format!("d/10-x.conf:3:1: {key}=: ")), "{answer}");
            said.push_str(&format!("# {key}\n{}\n", answer.lines().next().unwrap()));
        }
    }
    said.push_str(&format!("# no such directory\n{}\n", check(&bench, &["--definitions", "none"])));
    said.push_str(&format!("# a file\n{}\n", check(&bench, &["--definitions", "d/10-x.conf"])));
    fs::remove_file(bench.directory.path().join("d/10-x.conf")).unwrap();
    for number in 0..129 {
        definition(&bench, &format!("d/{number:03}.conf"), "[Partition]\nType=home\n");
    }
    said.push_str(&format!("# too many\n{}\n", check(&bench, &["--definitions", "d"])));
    assert!(said.is_ascii(), "nothing raw reaches the console");
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/wrong_definitions.txt"].raw());
}

#[test]
fn definitions_are_checked_against_each_other_and_beside_a_configuration() {
    let bench = Bench::new();
    let mut said = String::new();
    let mut note = |name: &str, arguments: &[&str]| {
        let answer = check(&bench, arguments);
        said.push_str(&format!("# {name}\n{answer}\n"));
    };
    definition(&bench, "twice/1.conf", "[Partition]\nType=home\nLabel=data\n");
    definition(&bench, "twice/2.conf", "[Partition]\nType=var\n\nLabel=data\n");
    note("a label twice", &["--definitions", "twice"]);
    let uuid = "UUID=0fc63daf-8483-4772-8e79-3d69d8477de4";
    definition(&bench, "uuid/1.conf", &format!("[Partition]\nType=home\n{uuid}\n"));
    definition(&bench, "uuid/2.conf", &format!("[Partition]\nType=home\n{uuid}\n"));
    note("a GUID twice", &["--definitions", "uuid"]);
    definition(&bench, "null/1.conf", "[Partition]\nType=home\nUUID=null\n");
    definition(&bench, "null/2.conf", "[Partition]\nType=home\nUUID=null\n");
    note("no GUID twice", &["--definitions", "null"]);

    let warned = "Flags=1\nNoAuto=yes\nReadOnly=no\nGrowFileSystem=yes\nFormat=ext4\nMakeDirectories=/a\n\
                  Subvolumes=/b\nSizeMinBytes=1M\n";
    definition(&bench, "warned/1.conf", &format!("[Partition]\nType=linux-generic\n{warned}"));
    note("what is said and does nothing", &["--definitions", "warned"]);

    let file = bench.config("[boot-disk]\nlabels = [\"boot\", \"home\"]\n");
    let file = file.to_str().unwrap();
    definition(&bench, "home/1.conf", "[Partition]\nType=home\nLabel=home\n");
    note("an anchor that is yet to be made", &["--definitions", "home", "-c", file]);
    bench.config("[boot-disk]\nlabels = [\"boot\"]\n[[partition]]\nlabel = \"var\"\ntype = \"var\"\n");
    note("partitions in both", &["--definitions", "home", "-c", file]);
    bench.config("[boot-disk]\nlabels = [\"boot\"]\n[tools]\nmkswap = \"/opt/mkswap\"\n");
    definition(&bench, "home/2.conf", "[Partition]\nType=swap\n");
    note("the disk and the tools from the file", &["--definitions", "home", "-c", file]);
    definition(&bench, "empty/none", "");
    note("no definition", &["--definitions", "empty"]);
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/definitions.txt"].raw());
}

#[test]
fn without_a_disk_only_check_takes_definitions() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let definitions = fixtures().join("definitions/raspberry-pi");
    let program = |command: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        program.args([command, "--architecture", "arm64", "--definitions"]).arg(&definitions);
        program.env_remove("JOURNAL_STREAM");
        program
    };
    let said = bench.said(&program("plan").output().unwrap());
    assert!(said.starts_with("exit 78: ") && said.contains("no disk is named") && said.contains("--disk"), "{said}");
    let output = program("plan").arg("--disk").arg(bench.image()).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let by_toml = bench.json("plan", &fixture_config("raspberry-pi"), &[]);
    let place = |report: &Value| {
        let root = partition(report, "root");
        ["type_uuid", "offset", "raw_size", "format"].map(|field| root[field].clone())
    };
    assert_eq!(place(&report), place(&by_toml));
}

#[test]
fn the_first_directory_wins_and_what_is_masked_is_not_there() {
    let bench = Bench::new();
    let home = |label: &str| format!("[Partition]\nType=home\nLabel={label}\n");
    definition(&bench, "etc/30-c.conf", &home("c of etc"));
    definition(&bench, "usr/30-c.conf", &home("c of usr"));
    definition(&bench, "usr/10-a.conf", &home("a"));
    definition(&bench, "usr/20-b.conf", &home("b"));
    definition(&bench, "usr/20-b.conf.d/x.conf", "this is not read");
    definition(&bench, "usr/40-d.conf", &home("d"));
    definition(&bench, "etc/40-d.conf", "");
    symlink("/dev/null", bench.directory.path().join("etc/20-b.conf")).unwrap();
    // Neither of the drop-ins is next to the file that it belongs to, and one hides another.
    definition(&bench, "usr/30-c.conf.d/20.conf", "[Partition]\nLabel=by a drop-in\n");
    definition(&bench, "etc/10-a.conf.d/20.conf", "[Partition]\nLabel=last\n");
    definition(&bench, "usr/10-a.conf.d/20.conf", "[Partition]\nLabel=hidden\n");
    definition(&bench, "usr/10-a.conf.d/10.conf", "[Partition]\nLabel=first\n");
    for other in ["50-e.conf~", ".60-f.conf", "70-g.txt", "80-h"] {
        definition(&bench, &format!("usr/{other}"), "this is not read");
    }
    let said = check(&bench, &["--definitions", "etc", "--definitions=usr"]);
    assert_eq!(said, "exit 0: etc with usr is valid: it declares last, by a drop-in\n");
    let said = check(&bench, &["--definitions", "usr"]);
    assert!(said.contains("x.conf:1:1: before [Partition]"), "{said}");
}

/// Reads a directory of `fixtures/definitions` as the library does.
fn defined(name: &str) -> Vec<Declared> {
    let directory = fixtures().join("definitions").join(name);
    let architecture = Architecture::by_name("arm64").unwrap();
    config::find(None, &[directory], architecture).unwrap().partitions
}

#[test]
fn both_front_ends_declare_the_same() {
    for name in ["raspberry-pi", "appliance", "every-key"] {
        let path = fixture_config(name);
        let arm64 = Architecture::by_name("arm64").unwrap();
        let by_toml = config::read(&path, &fs::read(&path).unwrap(), arm64).unwrap().partitions;
        assert_eq!(defined(name), by_toml, "{name}");
    }
    let every = defined("every-key");
    let content = every[0].content.as_ref().unwrap();
    let paths: Vec<&str> = content.directories.iter().map(|directory| &directory.path[..]).collect();
    assert_eq!(paths, ["/@", "/@/etc", "/@/with blank", "/@/.snapshots", "/@/var"], "a subvolume before what is in it");
    assert_eq!(content.default_subvolume.as_deref(), Some("/@"));
    let bits = every.iter().map(|declared| declared.attributes).collect::<Vec<_>>();
    assert_eq!(bits, [0x8801_0000_0000_0004, 0, 1 << 60]);
    assert!(every[0].grow_file_system && !every[1].grow_file_system && !every[2].grow_file_system);
    assert!(every.iter().all(|declared| declared.grow));
}

/// Reads definitions of a text each, without drop-ins.
fn declared_by(texts: &[&str]) -> Vec<Declared> {
    let file = |text: &&str| TextFile { path: "x.conf".into(), content: format!("[Partition]\n{text}\n").into_bytes() };
    let definitions: Vec<_> = texts.iter().map(|text| Definition { file: file(text), drop_ins: Vec::new() }).collect();
    let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let surroundings = Surroundings { architecture: Architecture::by_name("arm64").unwrap(), read: &nothing };
    config::read_definitions(&definitions, None, surroundings).unwrap().partitions
}

#[test]
fn sizes_are_rounded_as_systemd_repart_rounds_them() {
    let text = "Type=var\nSizeMinBytes=10485761\nSizeMaxBytes=20971521\nPaddingMinBytes=1\nPaddingMaxBytes=8191";
    let declared = declared_by(&[text]).remove(0);
    assert_eq!((declared.size_min, declared.size_max), (10_489_856, Some(20_971_520)));
    assert_eq!((declared.padding.min, declared.padding.max), (4096, Some(4096)));
}

#[test]
fn a_definition_without_a_label_is_called_by_its_type() {
    let texts =
        ["Type=home", "Type=home", "Type=usr", "Type=1b5fd6d3-1d2f-4b0a-8b3a-1f0f9ee3b6a4", "Type=var\nLabel=home-2"];
    let partitions = declared_by(&texts);
    let labels: Vec<String> = partitions.iter().map(|declared| declared.label.to_string()).collect();
    // Not the name that somebody has asked for.
    assert_eq!(labels, ["home", "home-3", "usr-arm64", "linux", "home-2"]);
    let by_type = |declared: &Declared| declared.identity == config::Identity::Type;
    assert_eq!(partitions.iter().map(by_type).collect::<Vec<_>>(), [true, true, true, true, false]);
}

/// Opening it would wait for ever, and the boot with it.
#[test]
fn a_pipe_among_the_definitions_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("10-root.conf");
    assert!(tool("mkfifo", &[path.to_str().unwrap()]).status.success());
    let output = crate::support::program().args(["check", "--definitions"]).arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("10-root.conf: it is a pipe"), "{}", text(&output.stderr));
}
