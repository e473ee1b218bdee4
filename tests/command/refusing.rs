//! What is refused, and that nothing is written then; locks; tools that fail.

use crate::support::cleanup::Running;
use crate::*;

#[test]
fn refusals_name_the_fact_and_the_remedy_and_write_nothing() {
    let rpi = fs::read_to_string(fixture_config("raspberry-pi")).unwrap();
    let mut said = String::new();
    let mut note = |name: &str, text: String| said.push_str(&format!("# {name}\n{text}\n"));

    let small = Bench::with_builder(&Builder::new(512, 200), 200 * MIB);
    note("too small", small.refused(&fixture_config("raspberry-pi"), &[]));
    let hole = vec![(1, 409_000, 409_099, "boot"), (2, 409_100, 409_199, "nix-store")];
    let only_hole = Bench::with_builder(&Builder { partitions: hole, ..Builder::new(512, 200) }, 200 * MIB);
    note("only the gap before the first partition", only_hole.refused(&fixture_config("appliance"), &[]));

    let bench = Bench::with_card("raspberry-pi", 4 * GIB);
    let missing = bench.config(&format!("{rpi}[tools]\n\"mkfs.xfs\" = \"/nowhere/mkfs.xfs\"\n"));
    note("a tool is missing", bench.refused(&missing, &[]));
    let twice = Builder::new(512, 64);
    let partitions = twice.partitions.iter().map(|(n, first, last, _)| (*n, *first, *last, "root")).collect();
    let twice = Bench::with_builder(&Builder { partitions, ..twice }, 2 * GIB);
    note("the label twice on the disk", twice.refused(&fixture_config("raspberry-pi"), &[]));
    let odd = bench.config(&rpi.replace("weight = 1000", "size-min = \"400M\"\nsize-max = \"401M\""));
    note("no aligned size", bench.refused(&odd, &["--align", "64M"]));
    let none = bench.config(&rpi.replace("[boot-disk]\nlabels = [\"boot\", \"nix-store_*\"]", ""));
    let output = Command::new(env!("CARGO_BIN_EXE_makeroom")).args(["check", "-c"]).arg(&none).output().unwrap();
    note("no [boot-disk] and no --disk", bench.said(&output));

    let other = |disk: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        command.args(["plan", "-c"]).arg(fixture_config("raspberry-pi")).args(["--disk", disk]).output().unwrap()
    };
    let directory = bench.directory.path().to_str().unwrap();
    note("no such image", bench.said(&other(&format!("{directory}/none.img"))));
    note("a directory", bench.said(&other(directory)));
    note("a device", bench.said(&other("/dev/null")));
    let empty = bench.directory.path().join("empty.img");
    File::create(&empty).unwrap();
    note("an empty file", bench.said(&other(empty.to_str().unwrap())));
    fs::write(&empty, "no disk").unwrap();
    note("a file of 7 bytes", bench.said(&other(empty.to_str().unwrap())));
    let output = bench.run("plan", &fixture_config("raspberry-pi"), &["--size", "1G"]);
    note("--size below the image", bench.said(&output));

    let impatient = bench.config(&rpi.replace("[boot-disk]", "[boot-disk]\nwait = \"1s\""));
    let held = File::open(bench.image()).unwrap();
    held.lock().unwrap();
    note("locked by another process", bench.refused(&impatient, &[]));
    drop(held);
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/refusals.txt"].raw());
}

#[test]
fn a_lock_that_is_given_up_in_time_is_waited_for() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let output = apply_while_locked(&bench, || {});
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_table_that_changed_meanwhile_is_not_overwritten() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let image = bench.image();
    let output = apply_while_locked(&bench, || {
        assert!(tool("sgdisk", &["-c", "3:renamed", image.to_str().unwrap()]).status.success());
    });
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(stderr.contains("the partition table changed while makeroom was looking at it"), "{stderr}");
    let report = bench.json("plan", &fixture_config("raspberry-pi"), &[]);
    assert_eq!(partition(&report, "renamed")["partno"], 3);
}

#[test]
fn an_image_that_was_enlarged_meanwhile_is_not_treated_as_the_old_one() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let output = apply_while_locked(&bench, || bench.enlarge(4 * GIB));
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    let report = bench.json("apply", &fixture_config("raspberry-pi"), &[]);
    assert!(partition(&report, "root")["raw_size"].as_u64().unwrap() > 3 * GIB);
}

/// Starts `apply` while another process holds the lock; `meanwhile` happens when it says that it waits.
fn apply_while_locked(bench: &Bench, meanwhile: impl FnOnce()) -> Output {
    let held = File::open(bench.image()).unwrap();
    held.lock().unwrap();
    let mut command = bench.command("apply", &fixture_config("raspberry-pi"));
    let mut waiting = Running::start(command.stderr(Stdio::piped()).stdout(Stdio::null()));
    let mut line = [0; 17];
    waiting.stderr.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(text(&line), "makeroom: waiting");
    meanwhile();
    drop(held);
    waiting.wait_with_output()
}

#[test]
fn a_tool_that_fails_leaves_the_old_table_and_the_next_run_finishes() {
    let rpi = fs::read_to_string(fixture_config("raspberry-pi")).unwrap();
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let script = bench.directory.path().join("mkfs");
    let config = bench.config(&format!("{rpi}[tools]\n\"mkfs.xfs\" = \"{}\"\n", script.display()));
    let mut said = String::new();
    let scripts = [
        ("fails", "echo 'mkfs.xfs: \x1b[2Jno luck' >&2; exit 3"),
        // In its own name space for processes it cannot kill itself; the system can.
        ("is killed", "ulimit -t 1; while :; do :; done"),
        ("fills stderr", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1"),
        ("says nothing", "exit 1"),
    ];
    let partitions = |bench: &Bench| -> Vec<String> {
        let dump = text(&tool("sfdisk", &["-d", bench.image().to_str().unwrap()]).stdout);
        dump.lines().filter(|line| line.contains("start=")).map(str::to_owned).collect()
    };
    let before = partitions(&bench);
    for (name, body) in scripts {
        fs::write(&script, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let output = bench.run("apply", &config, &[]);
        said.push_str(&format!("# {name}\n{}\n", bench.said(&output)));
        assert_eq!(partitions(&bench), before, "{name}: the table has changed");
    }
    // glibc gives such a file to a shell, musl does not: the words differ.
    fs::write(&script, "not a program").unwrap();
    assert_eq!(bench.run("apply", &config, &[]).status.code(), Some(74));
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/failing_tools.txt"].raw());

    let report = bench.json("apply", &fixture_config("raspberry-pi"), &[]);
    check_file_system(&bench, &report, "root", "xfs");
    let left: Vec<_> = fs::read_dir(bench.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".makeroom")), "{left:?}");
}

#[test]
fn a_complete_disk_that_linux_reads_never_stops_a_boot() {
    // Nothing is missing; something about the table is odd, or cannot be mended.
    let usual = Builder::new(512, 64);
    let complete =
        "[boot-disk]\nlabels=[\"boot\"]\nwait=\"200ms\"\n[[partition]]\nlabel=\"store\"\ntype=\"linux-generic\"\n";
    let incomplete = complete.replace("store", "missing");
    let optional = |least: &str| {
        format!("{complete}[[partition]]\nlabel=\"more\"\ntype=\"srv\"\nsize-min=\"{least}\"\npriority=10\n")
    };
    let with = |partition| Builder { partitions: [&usual.partitions[..], &[partition]].concat(), ..usual.clone() };
    let tables = [
        ("no room for the array", Builder { first_usable: 33, ..usual.clone() }),
        ("overlapping partitions", with((4, 3000, 5000, "over"))),
        ("a partition on the backup", with((4, 100_000, 131_060, "long"))),
        ("a partition before the table's end", with((4, 10, 20, "early"))),
    ];
    let mut said = String::new();
    for (name, builder) in tables {
        let bench = Bench::with_builder(&Builder { user_data: false, ..builder }, 64 * MIB);
        let before = fingerprint(&bench.image());
        let output = bench.run("apply", &bench.config(complete), &[]);
        said.push_str(&format!("# {name}\n{}{}", bench.said(&output), text(&output.stdout)));
        let output = bench.run("apply", &bench.config(complete), &["--factory-reset"]);
        assert_eq!(output.status.code(), Some(0), "{name}, nothing is marked: {}", text(&output.stderr));
        let output = bench.run("apply", &bench.config(&optional("1T")), &[]);
        assert_eq!(output.status.code(), Some(0), "{name}, without an optional one: {}", text(&output.stderr));
        assert_eq!(fingerprint(&bench.image()), before, "{name}");
        let output = bench.run("apply", &bench.config(&incomplete), &[]);
        assert_eq!(output.status.code(), Some(65), "{name}: {}", text(&output.stderr));
    }
    let bench = Bench::with_builder(&usual, 80 * MIB);
    let held = File::open(bench.image()).unwrap();
    held.lock().unwrap();
    let output = bench.run("apply", &bench.config(complete), &[]);
    said.push_str(&format!("# the backup has to move, and the disk is locked\n{}", bench.said(&output)));
    let output = bench.run("apply", &bench.config(&incomplete), &[]);
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/tolerated.txt"].raw());
}

#[test]
fn the_sector_size_is_where_the_table_is() {
    let bench = Bench::with_builder(&Builder::new(4096, 16), 4 * GIB);
    let config = fixture_config("raspberry-pi");
    // What is left of a header for 512-byte sectors does not count; a whole one does.
    let small = Builder::new(512, 16).build();
    let file = File::options().write(true).open(bench.image()).unwrap();
    file.write_all_at(&small.sector(1)[..64], 512).unwrap();
    assert_eq!(bench.json("plan", &config, &[])["disk"]["sector_size"], 4096);
    let mut said = bench.said(&bench.run("plan", &config, &["--sector-size", "512"]));
    file.write_all_at(&small.sector(1), 512).unwrap();
    said += &bench.said(&bench.run("plan", &config, &[]));
    assert_eq!(
        said,
        "exit 64: makeroom: error: --sector-size 512: the partition table of [DIR]/card.img was made for sectors of \
         4096 bytes; leave the option out\nexit 64: makeroom: error: [DIR]/card.img has a partition table for sectors \
         of 512 and one for sectors of 4096 bytes: say with --sector-size which one is meant\n"
    );
    assert_eq!(bench.json("plan", &config, &["--sector-size", "4096"])["disk"]["sector_size"], 4096);
}

/// A card one sector of 4096 bytes larger than its image, which ends one of 512 behind a multiple of 4096: the old backup
/// was taken for a table for large sectors, and a flashed card refused.
#[test]
fn an_old_backup_is_no_table_for_other_sectors() {
    let usual = Builder::new(512, 512);
    let image = Builder { sectors: usual.sectors + 1, ..usual };
    let bench = Bench::with_builder(&image, 512 * MIB + 4096);
    let config = fixture_config("raspberry-pi");
    assert_eq!(bench.json("plan", &config, &[])["disk"]["sector_size"], 512);
}

#[test]
fn the_command_line_is_strict() {
    let mut said = String::new();
    let lines: [&[&str]; 17] = [
        &[],
        &["aply"],
        &["apply", "plan"],
        &["--sise", "1G", "plan"],
        &["plan", "--nonsense"],
        &["plan", "-x"],
        &["plan", "--disk"],
        &["plan", "--json=yes"],
        &["apply", "--size", "1G"],
        &["plan", "--size", "big"],
        &["plan", "--size", "99999999P"],
        &["plan", "--sector-size", "1024"],
        &["plan", "--align", "1000"],
        &["plan", "--align", "0"],
        &["plan", "--architecture", "arm65"],
        &["plan", "--seed", "xyz"],
        &["check", "-c", "/nowhere/makeroom.toml"],
    ];
    for line in lines {
        let output =
            Command::new(env!("CARGO_BIN_EXE_makeroom")).args(line).env_remove("JOURNAL_STREAM").output().unwrap();
        let code = output.status.code().unwrap();
        said.push_str(&format!("makeroom {}\n{code}: {}", line.join(" "), text(&output.stderr)));
        assert!(output.stdout.is_empty(), "{line:?}");
    }
    snapbox::assert_data_eq!(said, snapbox::file!["../snapshots/command_line.txt"].raw());
    for (option, expected) in [("--help", "Usage: makeroom"), ("-V", "makeroom 0.1.0\n")] {
        let output = Command::new(env!("CARGO_BIN_EXE_makeroom")).arg(option).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains(expected));
    }
}

/// After a power cut between its deletion and its making, no disk would carry the label.
#[test]
fn a_factory_reset_keeps_what_the_disk_is_known_by() {
    let bench = Bench::with_card("raspberry-pi", 2 * GIB);
    let config = bench.config(
        "[boot-disk]\nlabels=[\"boot\",\"nix-store_*\"]\n[[partition]]\nlabel=\"nix-store_v0\"\ntype=\"linux-generic\"\n\
         factory-reset=true\n",
    );
    let output = bench.command("apply", &config).arg("--factory-reset").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("would delete \"nix-store_v0\", by which [boot-disk] labels knows the disk"), "{said}");
}
