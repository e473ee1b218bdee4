//! Configurations: the wrong ones with their messages, and those that must be valid.

use crate::*;

/// Wrong configurations: a name, and the text.
const WRONG: &[(&str, &str)] = &[
    ("empty", ""),
    ("only comments", "# nothing\n\n"),
    ("not TOML", "[[partition]\nlabel = \"root\"\n"),
    ("a value that is not there", "[[partition]]\nlabel =\n"),
    ("unknown section", "[bootdisk]\nlabels = [\"boot\"]\n"),
    ("unknown key", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nwieght = 1000\n"),
    ("unknown key, nothing near", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\ncolour = \"red\"\n"),
    ("unknown key in [boot-disk]", "[boot-disk]\nlabel = [\"boot\"]\n"),
    ("a section that is a list", "[[boot-disk]]\nlabels = [\"boot\"]\n"),
    ("a list that is a section", "[partition]\nlabel = \"root\"\n"),
    ("no label", "[[partition]]\ntype = \"root\"\n"),
    ("no type", "[[partition]]\nlabel = \"root\"\n"),
    ("empty label", "[[partition]]\nlabel = \"\"\ntype = \"root\"\n"),
    ("label of 37 units", "[[partition]]\nlabel = \"abcdefghijklmnopqrstuvwxyz01234567890\"\ntype = \"root\"\n"),
    ("label with an escape", "[[partition]]\nlabel = \"a\\u001b[2J\"\ntype = \"root\"\n"),
    (
        "label twice",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\n\n[[partition]]\nlabel = \"root\"\ntype = \"var\"\n",
    ),
    ("label of another type", "[[partition]]\nlabel = 7\ntype = \"root\"\n"),
    ("unknown type", "[[partition]]\nlabel = \"root\"\ntype = \"rot\"\n"),
    ("the type that means unused", "[[partition]]\nlabel = \"a\"\ntype = \"00000000-0000-0000-0000-000000000000\"\n"),
    ("unknown format", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"ext5\"\n"),
    ("swap that is none", "[[partition]]\nlabel = \"s\"\ntype = \"swap\"\nformat = \"xfs\"\n"),
    ("weight out of range", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = 1000001\n"),
    ("weight negative", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = -1\n"),
    ("weight as text", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = \"heavy\"\n"),
    ("weight with a fraction", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nweight = 1.5\n"),
    ("priority beyond 32 bits", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\npriority = 2147483648\n"),
    ("a size that is none", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-min = \"10 apples\"\n"),
    ("a negative size", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-max = -5\n"),
    ("a size of another type", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-max = true\n"),
    (
        "minimum above maximum",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-min = \"2G\"\nsize-max = \"1G\"\n",
    ),
    ("maximum below the default", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nsize-max = \"5M\"\n"),
    (
        "maximum below the file system's",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"xfs\"\nsize-max = \"100M\"\n",
    ),
    (
        "fs-label too long",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"xfs\"\nfs-label = \"thirteen-byte\"\n",
    ),
    (
        "fs-label with a slash on vfat",
        "[[partition]]\nlabel = \"b\"\ntype = \"esp\"\nformat = \"vfat\"\nfs-label = \"a/b\"\n",
    ),
    ("fs-label without format", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nfs-label = \"x\"\n"),
    ("mkfs-options without format", "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nmkfs-options = []\n"),
    (
        "mkfs-options of another type",
        "[[partition]]\nlabel = \"root\"\ntype = \"root\"\nformat = \"xfs\"\nmkfs-options = [\"-f\", 1]\n",
    ),
    ("a device that is no path", "[boot-disk]\ndevice = \"mmcblk0\"\n"),
    ("a time that is none", "[boot-disk]\nlabels = [\"boot\"]\nwait = \"soon\"\n"),
    (
        "an anchor that is yet to be made",
        "[boot-disk]\nlabels = [\"boot\", \"root\"]\n[[partition]]\nlabel = \"root\"\ntype = \"root\"\n",
    ),
    ("a flag that is none", "[boot-disk]\nlabels = [\"boot\"]\nallow-loop = 1\n"),
    ("unknown tool", "[tools]\n\"mkfs.xfss\" = \"/bin/mkfs.xfs\"\n"),
    ("a tool without a path", "[tools]\n\"mkfs.xfs\" = \"mkfs.xfs\"\n"),
    ("a GUID that is none", "[[partition]]\nlabel = \"a\"\ntype = \"var\"\nuuid = \"nil\"\n"),
    ("a GUID twice", UUID_TWICE),
    ("flags below 0", "[[partition]]\nlabel = \"a\"\ntype = \"var\"\nflags = -1\n"),
    ("padding above its maximum", "[[partition]]\nlabel = \"a\"\ntype = \"var\"\npadding-min = 2\npadding-max = 1\n"),
    ("a padding weight out of range", "[[partition]]\nlabel = \"a\"\ntype = \"var\"\npadding-weight = 1000001\n"),
    ("a directory without format", "[[partition]]\nlabel = \"a\"\ntype = \"var\"\ndirectories = [\"/a\"]\n"),
    (
        "a directory with a control character",
        "[[partition]]\nlabel = \"a\"\ntype = \"var\"\nformat = \"ext4\"\ndirectories = [\"/a\\u001b\"]\n",
    ),
    (
        "a default that is no subvolume",
        "[[partition]]\nlabel = \"a\"\ntype = \"var\"\nformat = \"btrfs\"\nsubvolumes = [\"/a\"]\ndefault-subvolume = \"/b\"\n",
    ),
    ("a key twice", "[[partition]]\nlabel = \"a\"\nlabel = \"b\"\n"),
];

const UUID_TWICE: &str = "\
[[partition]]
label = \"a\"
type = \"var\"
uuid = \"null\"
[[partition]]
label = \"b\"
type = \"var\"
uuid = \"0fc63daf-8483-4772-8e79-3d69d8477de4\"
[[partition]]
label = \"c\"
type = \"var\"
uuid = \"null\"
[[partition]]
label = \"d\"
type = \"var\"
uuid = \"0FC63DAF848347728E793D69D8477DE4\"
";

#[test]
fn a_wrong_configuration_gives_one_error_with_its_place() {
    let bench = Bench::new();
    let mut said = String::new();
    for (name, config) in WRONG {
        let path = bench.config(config);
        said.push_str(&format!("# {name}\n{}\n", checked(&bench, &path)));
    }
    let long = format!("[[partition]]\nlabel = \"a\" # {}\ntype = \"{}\"\n", "x".repeat(300), "y".repeat(300));
    said.push_str(&format!("# a very long line\n{}\n", checked(&bench, &bench.config(&long))));
    let path = bench.directory.path().join("makeroom.toml");
    fs::write(&path, b"[[partition]]\nlabel = \"\xff\xfe\"\n").unwrap();
    said.push_str(&format!("# not UTF-8\n{}\n", checked(&bench, &path)));
    said.push_str(&format!("# a directory\n{}\n", checked(&bench, bench.directory.path())));
    said.push_str(&format!("# a file that is not there\n{}\n", checked(&bench, &bench.directory.path().join("none"))));
    let mut garbage = vec![0u8; 10 << 20];
    garbage.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 7919 % 251) as u8);
    fs::write(&path, garbage).unwrap();
    said.push_str(&format!("# 10 MB of garbage\n{}\n", checked(&bench, &path)));
    assert!(said.is_ascii(), "nothing raw reaches the console");
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/wrong_configurations.txt"].raw());
}

/// What `check` says of a configuration that is wrong.
fn checked(bench: &Bench, path: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_makeroom"))
        .args(["check", "--disk", "card.img", "-c"])
        .arg(path)
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    bench.said(&output)
}

#[test]
fn the_configurations_of_the_fixtures_and_the_readme_are_valid() {
    for name in ["raspberry-pi", "appliance", "every-format", "every-key"] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_makeroom")).args(["check", "-c"]).arg(fixture_config(name)).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let examples: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    let bench = Bench::new();
    for example in examples {
        let path = bench.config(example);
        let output = Command::new(env!("CARGO_BIN_EXE_makeroom")).args(["check", "-c"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}\n{example}", text(&output.stderr));
    }
}
