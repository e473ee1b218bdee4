//! What is shown: the plan, the bar, the JSON, the log.

use crate::*;

#[test]
fn the_plan_for_a_card_of_some_size_is_what_apply_makes_on_it() {
    let bench = Bench::with_card("raspberry-pi", 930_107_392);
    let config = fixture_config("raspberry-pi");
    let more = ["--seed", "0123456789abcdef0123456789abcdef"];
    let before = fingerprint(&bench.image());
    let planned = bench.json("plan", &config, &[&more[..], &["--size", "64G"]].concat());
    assert_eq!(fingerprint(&bench.image()), before, "plan has written");
    bench.enlarge(64 * GIB);
    let applied = bench.json("apply", &config, &more);
    assert_eq!(planned["partitions"], applied["partitions"]);
    assert_eq!(planned["disk"]["size"], 64 * GIB);
}

#[test]
fn the_table_and_the_bar_are_what_people_would_show() {
    let bench = Bench::with_card("raspberry-pi", 930_107_392);
    let output = bench.run("plan", &fixture_config("raspberry-pi"), &["--size", "32G"]);
    let shown = text(&output.stdout).replace(bench.directory.path().to_str().unwrap(), "[DIR]");
    assert!(shown.is_ascii() && shown.lines().all(|line| line.len() <= 80), "{shown}");
    let mut many = Builder::new(512, 64);
    many.partitions = (1..=30)
        .map(|n| (n, 2048 * u64::from(n), 2048 * u64::from(n) + 2047, "a label of thirty-six characters...."))
        .collect();
    let bench = Bench::with_builder(&many, 64 * GIB);
    let output = bench.command("plan", &fixture_config("every-format")).env("LC_ALL", "C.UTF-8").output().unwrap();
    let crowded = text(&output.stdout).replace(bench.directory.path().to_str().unwrap(), "[DIR]");
    assert!(crowded.lines().all(|line| line.chars().count() <= 80), "{crowded}");
    snapbox::assert_data_eq!(format!("{shown}\n\n{crowded}"), snapbox::file!["../snapshots/plan.txt"].raw());
}

#[test]
fn the_json_has_one_shape_on_success_and_on_a_refusal() {
    let bench = Bench::with_card("raspberry-pi", 4 * GIB);
    let success = bench.json("plan", &fixture_config("raspberry-pi"), &["--seed", &"01".repeat(16)]);
    let small = Bench::with_builder(&Builder::new(512, 64), 64 * MIB);
    let output = small.run("apply", &fixture_config("raspberry-pi"), &["--json"]);
    let refusal: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(refusal["outcome"]["code"], output.status.code().unwrap());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&success), keys(&refusal));
    let shown = serde_json::to_string_pretty(&success).unwrap();
    let shown = shown.replace(bench.directory.path().to_str().unwrap(), "[DIR]");
    snapbox::assert_data_eq!(shown, snapbox::file!["../snapshots/plan.json"].raw());
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
    let mut child = command.arg("--help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
    let output = command.arg("--help").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "a result that is lost is an error");
}

#[test]
fn the_journal_gets_levels_and_a_terminal_does_not() {
    let bench = Bench::new();
    let path = bench.directory.path().join("stderr");
    for (inode, expected) in [(0, "<3>unknown command"), (1, "makeroom: error: unknown command")] {
        let stderr = File::create(&path).unwrap();
        let metadata = stderr.metadata().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino() + inode));
        command.arg("nonsense").stderr(stderr).status().unwrap();
        let said = fs::read_to_string(&path).unwrap();
        assert!(said.starts_with(expected), "{said}");
    }
}

/// Names of files, too: of what is not there, of what is no disk, and of what is planned and made.
#[test]
fn nothing_that_is_shown_acts_on_a_console() {
    let bench = Bench::with_builder(&Builder::new(512, 64), GIB);
    let odd = |name: &str| bench.directory.path().join(format!("\u{1b}[31m\r\u{9b}{name}"));
    fs::rename(bench.image(), odd("card.img")).unwrap();
    fs::create_dir(odd("directory")).unwrap();
    fs::write(odd("makeroom.toml"), "[boot-disk]\nlabels=[\"boot\"]\n[[partition]]\nlabel=\"root\"\ntype=\"root\"\n")
        .unwrap();
    fs::write(odd("wrong.toml"), "[boot-disk]\nlabels=1\n").unwrap();
    let path = |name: &str| odd(name).to_str().unwrap().to_owned();
    for (line, code) in [
        (["plan", "--disk", &path("card.img"), "--config", &path("makeroom.toml")], 0),
        (["apply", "--disk", &path("card.img"), "--config", &path("makeroom.toml")], 0),
        (["plan", "--disk", &path("nothing"), "--config", &path("makeroom.toml")], 69),
        (["plan", "--disk", &path("directory"), "--config", &path("makeroom.toml")], 69),
        (["plan", "--disk", &path("card.img"), "--json", &format!("--config={}", path("makeroom.toml"))], 0),
        (["check", "--verbose", "--verbose", "--config", &path("makeroom.toml")], 0),
        (["check", "--verbose", "--verbose", "--config", &path("wrong.toml")], 78),
        (["check", "--verbose", "--verbose", "--definitions", &path("nothing")], 78),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        let output = program.args(line).env_remove("JOURNAL_STREAM").output().unwrap();
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{shown}");
        let is_harmful = |char: char| char.is_control() && char != '\n';
        assert!(shown.contains("[31m") && !shown.contains(is_harmful), "{shown:?}");
        if line.contains(&"--json") {
            let report: Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(report["disk"]["node"], path("card.img"));
        }
    }
}
