//! What is made: on the cards that people have, with every format, next to what must stay.

use crate::support::old_signatures;
use crate::*;

#[test]
fn a_raspberry_pi_card_gets_its_root() {
    let bench = Bench::with_card("raspberry-pi", 32 * GIB);
    let config = fixture_config("raspberry-pi");
    let before = File::open(bench.image()).unwrap();
    let mut old = vec![0; 200 << 20];
    before.read_exact_at(&mut old, MIB).unwrap();

    let planned = bench.json("plan", &config, &["--seed", "0123456789abcdef0123456789abcdef"]);
    let report = bench.json("apply", &config, &["--seed", "0123456789abcdef0123456789abcdef"]);
    assert_eq!(planned["partitions"], report["partitions"], "the plan shown is the plan applied");
    let root = partition(&report, "root");
    assert_eq!((&root["partno"], &root["type"], &root["format"]), (&4.into(), &"root-arm64".into(), &"xfs".into()));
    check_file_system(&bench, &report, "root", "xfs");

    let mut now = vec![0; 200 << 20];
    before.read_exact_at(&mut now, MIB).unwrap();
    assert!(old == now, "the boot partition has changed");
    let image = bench.image();
    assert!(text(&tool("sgdisk", &["-v", image.to_str().unwrap()]).stdout).contains("No problems found"));
    assert!(text(&tool("sfdisk", &["--verify", image.to_str().unwrap()]).stdout).contains("No errors detected"));

    let first = fingerprint(&bench.image());
    let again = bench.json("apply", &config, &[]);
    assert_eq!(again["outcome"]["message"], "nothing is missing");
    assert_eq!(fingerprint(&bench.image()), first, "the second run has written");
}

/// A console at every boot; whoever wants more says so.
#[test]
fn an_apply_that_has_nothing_to_do_says_so_in_one_line() {
    let bench = Bench::with_card("raspberry-pi", 32 * GIB);
    let config = fixture_config("raspberry-pi");
    let apply = |more: &[&str]| text(&bench.run("apply", &config, more).stdout);
    assert!(apply(&[]).lines().count() > 10);
    assert_eq!(apply(&[]), "nothing is missing\n");
    assert!(apply(&["--verbose"]).contains(" keep\n"));
    assert!(text(&bench.run("plan", &config, &[]).stdout).contains(" keep\n"));
}

#[test]
fn an_appliance_gets_home_and_var_with_the_sizes_of_systemd_repart() {
    let image = 570_748_928;
    let bench = Bench::with_card("appliance", image + 10 * GIB);
    let report = bench.json("apply", &fixture_config("appliance"), &["--align", "4096"]);
    let place = |label| (partition(&report, label)["offset"].clone(), partition(&report, label)["raw_size"].clone());
    assert_eq!(place("home"), (570_728_448u64.into(), 7_158_276_096u64.into()));
    assert_eq!(place("var"), (7_729_004_544u64.into(), 3_579_142_144u64.into()));
    check_file_system(&bench, &report, "home", "ext4");
    check_file_system(&bench, &report, "var", "ext4");
}

#[test]
fn the_same_appliance_on_a_card_with_4096_byte_sectors() {
    // boot of 200 MiB and nix-store of 343 MiB, as on the card with 512-byte sectors.
    let partitions = vec![(1, 256, 51_455, "boot"), (2, 51_456, 139_263, "nix-store")];
    let bench = Bench::with_builder(&Builder { partitions, ..Builder::new(4096, 546) }, 10 * GIB);
    let report = bench.json("apply", &fixture_config("appliance"), &[]);
    let size = |label| partition(&report, label)["raw_size"].as_u64().unwrap();
    assert!(size("home").abs_diff(2 * size("var")) <= 2 * MIB && size("home") + size("var") > 9 * GIB);
    check_file_system(&bench, &report, "home", "ext4");
    check_file_system(&bench, &report, "var", "ext4");
    assert_eq!(bench.json("apply", &fixture_config("appliance"), &[])["outcome"]["message"], "nothing is missing");
}

#[test]
fn every_format_is_made_on_both_sector_sizes_and_passes_its_own_check() {
    for sector_size in [512, 4096] {
        let bench = Bench::with_builder(&Builder::new(sector_size, 16), 8 * GIB);
        let report = bench.json("apply", &fixture_config("every-format"), &[]);
        assert_eq!(report["disk"]["sector_size"], sector_size);
        let formats = [("e", "ext4"), ("x", "xfs"), ("b", "btrfs"), ("f", "f2fs"), ("v", "vfat"), ("s", "swap")];
        for (label, format) in formats {
            check_file_system(&bench, &report, label, format);
        }
        assert_eq!(partition(&report, "nothing")["format"], Value::Null);
        let sizes = (&partition(&report, "s")["raw_size"], &partition(&report, "v")["raw_size"]);
        assert_eq!(sizes, (&(128 * MIB).into(), &(64 * MIB).into()));
        let again = bench.json("apply", &fixture_config("every-format"), &[]);
        assert_eq!(again["outcome"]["message"], "nothing is missing");
    }
}

#[test]
fn boot_loaders_and_the_gap_before_the_first_partition_are_left_alone() {
    // U-Boot at LBA 64 and 16384, the first partition at LBA 32768: a gap of 16 MiB that no table mentions.
    let first = 32_768;
    let partitions = vec![(1, first, first + 2047, "boot"), (2, first + 2048, first + 4095, "nix-store")];
    let builder = Builder { first_usable: 34, partitions, ..Builder::new(512, 64) };
    let bench = Bench::with_builder(&builder, 4 * GIB);
    let file = File::options().read(true).write(true).open(bench.image()).unwrap();
    for lba in [64u64, 16_384] {
        file.write_all_at(b"U-Boot", lba * 512).unwrap();
    }
    let gap = |file: &File| {
        let mut bytes = vec![0; (first as usize - 34) * 512];
        file.read_exact_at(&mut bytes, 34 * 512).unwrap();
        bytes
    };
    let before = gap(&file);
    let report = bench.json("apply", &fixture_config("appliance"), &[]);
    assert!(gap(&file) == before, "the gap before the first partition was written to");
    assert!(partition(&report, "home")["offset"].as_u64().unwrap() > first * 512);
}

#[test]
fn a_hole_before_the_first_partition_stays_empty_and_the_card_is_used() {
    let first = 65 * 2048;
    let partitions = vec![(1, first, first + 2047, "boot"), (2, first + 2048, first + 4095, "nix-store")];
    let bench = Bench::with_builder(&Builder { partitions, ..Builder::new(512, 128) }, 8 * GIB);
    let report = bench.json("apply", &fixture_config("appliance"), &[]);
    let size = |label| partition(&report, label)["raw_size"].as_u64().unwrap();
    assert!(size("home") + size("var") > 7 * GIB, "{report}");
    assert!(partition(&report, "home")["offset"].as_u64().unwrap() > first * 512);
}

#[test]
fn nothing_of_what_a_card_held_before_can_be_found_in_a_new_partition() {
    let bench = Bench::with_builder(&Builder::new(512, 64), 2 * GIB);
    let file = File::options().read(true).write(true).open(bench.image()).unwrap();
    // The old system's data everywhere, and its signatures at both ends of what will be a partition.
    for mib in (16..2047).step_by(7) {
        file.write_all_at(b"the previous owner's letters", mib * MIB + 12_345).unwrap();
    }
    let config = bench.config(
        "[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\n\
         [[partition]]\nlabel=\"raw\"\ntype=\"linux-generic\"\n",
    );
    let planned = bench.json("plan", &config, &[]);
    for label in ["root", "raw"] {
        let place = partition(&planned, label);
        let (start, size) = (place["offset"].as_u64().unwrap(), place["raw_size"].as_u64().unwrap());
        for (offset, signature) in old_signatures(size) {
            file.write_all_at(&signature, start + offset).unwrap();
        }
        let path = bench.directory.path().join("before");
        extract(&bench.image(), place, &path);
        let seen = text(&tool("wipefs", &["--noheadings", path.to_str().unwrap()]).stdout);
        assert!(seen.lines().count() >= 4, "the signatures are not there to begin with: {seen}");
    }
    let report = bench.json("apply", &config, &[]);
    for (label, signatures) in [("root", 1), ("raw", 0)] {
        let path = bench.directory.path().join("after");
        extract(&bench.image(), partition(&report, label), &path);
        let seen = text(&tool("wipefs", &["--noheadings", path.to_str().unwrap()]).stdout);
        assert_eq!(seen.lines().count(), signatures, "{label}: {seen}");
        let mut content = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut content).unwrap();
        let letters = content.windows(18).any(|window| window == b"the previous owner");
        assert!(!letters, "{label}: old data can still be read");
    }
}

#[test]
fn a_file_system_that_cannot_punch_holes_gives_the_same_card() {
    // ramfs can neither punch nor find holes; the new area is full of the old system's data.
    let bench = Bench::with_builder(&Builder::new(512, 16), 160 * MIB);
    let file = File::options().write(true).open(bench.image()).unwrap();
    file.write_all_at(&vec![0xa5; 140 << 20], 8 * MIB).unwrap();
    let config =
        bench.config("[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\n");
    let script = "set -e; mkdir ram; mount -t ramfs none ram; cp card.img ram/card.img; \
                  \"$1\" apply -c makeroom.toml --disk ram/card.img; cp --sparse=always ram/card.img card.img";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_makeroom")]);
    let output = command.current_dir(bench.directory.path()).output().unwrap();
    assert!(output.status.success(), "this test mounts: run it as root: {}", text(&output.stderr));
    let report = bench.json("plan", &config, &[]);
    check_file_system(&bench, &report, "root", "ext4");
    let path = bench.directory.path().join("part");
    let stale = fs::read(&path).unwrap().windows(64).any(|window| window == [0xa5; 64]);
    assert!(!stale, "old data can still be read");
}

/// A fresh card beside a bench's own.
fn fixture_card(bench: &Bench) -> PathBuf {
    let path = bench.directory.path().join("fresh.img");
    let made = Command::new(fixtures().join("cards/make")).arg("raspberry-pi").arg(&path).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    File::options().write(true).open(&path).unwrap().set_len(2 * GIB).unwrap();
    path
}

#[test]
fn no_root_is_needed_for_an_image() {
    let bench = Bench::with_card("raspberry-pi", 4 * GIB);
    let config = bench.config(&fs::read_to_string(fixture_config("raspberry-pi")).unwrap());
    let nobody = 65_534;
    for path in [bench.directory.path(), &bench.image(), &config] {
        std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).expect("this test changes owners: run it as root");
    }
    // The program, too, must be where nobody can reach it.
    let program = bench.directory.path().join("makeroom");
    fs::copy(env!("CARGO_BIN_EXE_makeroom"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = tool(
        "setpriv",
        &[
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            program.to_str().unwrap(),
            "apply",
            "-c",
            config.to_str().unwrap(),
            "--disk",
            bench.image().to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    check_file_system(&bench, &bench.json("plan", &config, &[]), "root", "xfs");

    let closed = bench.directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let image = closed.join("card.img");
    fs::copy(fixture_card(&bench), &image).unwrap();
    std::os::unix::fs::chown(&image, Some(nobody), Some(nobody)).unwrap();
    let before = fingerprint(&image);
    let arguments = ["--reuid=65534", "--regid=65534", "--clear-groups", program.to_str().unwrap(), "apply", "-c"];
    let more = [config.to_str().unwrap(), "--disk", image.to_str().unwrap()];
    let output = tool("setpriv", &[&arguments[..], &more[..]].concat());
    assert_eq!(
        bench.said(&output),
        "exit 77: makeroom: error: [DIR]/closed/card.img: root: making a temporary file beside the image: Permission \
         denied (os error 13); nothing was written\n"
    );
    assert_eq!(fingerprint(&image), before);

    let locked_away = bench.directory.path().join("secret.img");
    fs::copy(bench.image(), &locked_away).unwrap();
    fs::set_permissions(&locked_away, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["--reuid=65534", "--regid=65534", "--clear-groups", program.to_str().unwrap(), "plan", "-c"];
    let more = [config.to_str().unwrap(), "--disk", locked_away.to_str().unwrap()];
    let output = tool("setpriv", &[&arguments[..], &more[..]].concat());
    assert_eq!(bench.said(&output), "exit 77: makeroom: error: no permission to read [DIR]/secret.img\n");
}

#[test]
fn the_next_run_finishes_from_every_step_of_an_earlier_one() {
    // The real program, on what each step of an interrupted run leaves; `power_cut` has every torn state of it.
    let config =
        String::from("[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"linux-generic\"\n");
    let places = |bench: &Bench, config: &Path| -> Vec<Value> {
        let report = bench.json("plan", config, &[]);
        assert_eq!(report["outcome"]["message"], "nothing is missing");
        let all = report["partitions"].as_array().unwrap();
        all.iter().map(|p| Value::from(vec![p["label"].clone(), p["offset"].clone(), p["raw_size"].clone()])).collect()
    };
    let mut wanted = None;
    for done in 0.. {
        let bench = Bench::with_card("raspberry-pi", 2 * GIB);
        let path = bench.config(&config);
        let mut image = Image::open(&bench.image(), None).unwrap();
        image.lock(Duration::ZERO).unwrap();
        let (_, plan, steps) = decide(&mut image, &[declared("root")], MIB).unwrap();
        if done > steps.len() {
            assert!(done > 15, "only {done} steps");
            break;
        }
        makeroom::apply::carry_out(&mut image, &steps[..done], &to_make(&plan), &removed(&plan), &mut Vec::new())
            .unwrap();
        drop(image);
        bench.json("apply", &path, &[]);
        let found = places(&bench, &path);
        assert_eq!(wanted.get_or_insert(found.clone()), &found, "after {done} steps");
        let seen = text(&tool("sgdisk", &["-v", bench.image().to_str().unwrap()]).stdout);
        assert!(seen.contains("No problems found"), "after {done} steps: {seen}");
    }
}

#[test]
fn damage_to_either_copy_is_mended_by_the_next_run() {
    let config = fixture_config("raspberry-pi");
    let damages = [(1u64, vec![0u8; 512]), (2, vec![0xff; 512]), (4_194_303, vec![0; 512]), (4_194_280, vec![1; 512])];
    for (lba, content) in damages {
        let bench = Bench::with_card("raspberry-pi", 2 * GIB);
        bench.json("apply", &config, &[]);
        let whole = bench.json("plan", &config, &[])["partitions"].clone();
        let file = File::options().write(true).open(bench.image()).unwrap();
        file.write_all_at(&content, lba * 512).unwrap();
        let report = bench.json("apply", &config, &[]);
        assert_eq!(report["repairs"].as_array().unwrap().len(), 1, "LBA {lba}: {report}");
        let again = bench.json("plan", &config, &[]);
        assert_eq!((&again["outcome"]["message"], &again["partitions"]), (&"nothing is missing".into(), &whole));
    }
}

#[test]
fn a_label_that_a_file_system_cannot_hold_is_cut_with_a_warning() {
    let bench = Bench::with_builder(&Builder::new(512, 64), 2 * GIB);
    let config = bench.config(
        "[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"a-rather-long-label\"\ntype=\"root\"\nformat=\"xfs\"\n",
    );
    let report = bench.json("apply", &config, &[]);
    assert_eq!(
        report["warnings"][0],
        "a-rather-long-label: xfs cannot have this label and gets \"a-rather-lon\"; set fs-label to choose another"
    );
    let path = bench.directory.path().join("part");
    extract(&bench.image(), partition(&report, "a-rather-long-label"), &path);
    let seen = text(&tool("blkid", &["-p", path.to_str().unwrap()]).stdout);
    assert!(seen.contains("LABEL=\"a-rather-lon\""), "{seen}");
}

#[test]
fn ext4_on_32_gib_writes_no_more_than_15_mb() {
    let bench = Bench::with_builder(&Builder::new(512, 16), 32 * GIB);
    let config =
        bench.config("[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\nformat=\"ext4\"\n");
    let blocks = || fs::metadata(bench.image()).unwrap().blocks() * 512;
    let before = blocks();
    bench.json("apply", &config, &[]);
    let written = blocks() - before;
    println!("{written} bytes of the image are in use by ext4 on 32 GiB");
    assert!(written <= 15_000_000, "{written} bytes");
}
