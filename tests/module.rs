//! The NixOS module and the files for other initrds: what they generate is what the program and systemd take, and what is
//! wrong fails with its sentence.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{text, tool};
use tempfile::TempDir;

/// Every case of `tests/support/configurations.nix`, evaluated.
fn cases() -> BTreeMap<String, Value> {
    evaluate("")
}

/// One configuration, or all cases.
fn evaluate(configuration: &str) -> BTreeMap<String, Value> {
    let mut nix = Command::new("nix-instantiate");
    // Without a store: nothing is built, and evaluations that start at once where Nix has never run get in each other's way
    // when each of them makes the store's database.
    nix.args(["--store", "dummy://", "--eval", "--strict", "--json", "tests/module.nix"]);
    nix.current_dir(env!("CARGO_MANIFEST_DIR"));
    // A home of its own: Nix leaves its cache there.
    let home = tempfile::tempdir().unwrap();
    let output = nix.env("HOME", home.path()).env("CONFIGURATION", configuration).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("evaluated with the lib of {}", result["lib"]);
    serde_json::from_value(result["cases"].clone()).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The messages of the program's own check of a generated configuration, as the build runs it; nothing when it is valid.
fn check(case: &Value, directory: &TempDir) -> Option<String> {
    let script = case["script"].as_str().unwrap();
    assert!(script.contains("makeroom check --config makeroom.toml --architecture arm64"), "{script}");
    let path = directory.path().join("makeroom.toml");
    fs::write(&path, case["toml"].as_str().unwrap()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_makeroom"));
    let output = program.args(["check", "--architecture", "arm64", "--config"]).arg(&path).output().unwrap();
    (!output.status.success()).then(|| text(&output.stderr))
}

#[test]
fn every_configuration_is_taken_by_the_program_or_fails_with_its_sentence() {
    let (directory, mut all) = (tempfile::tempdir().unwrap(), String::new());
    for (name, case) in cases() {
        let (failed, warnings) = (strings(&case["failed"]), strings(&case["warnings"]));
        all += &format!("# {name}\n");
        for message in failed.iter().map(|message| format!("error: {message}\n")) {
            all += &message;
        }
        for message in warnings.iter().map(|message| format!("warning: {message}\n")) {
            all += &message;
        }
        if failed.is_empty() {
            assert_eq!(check(&case, &directory), None, "{name}");
            let list = |field: &str| strings(&case[field]).join(" ");
            all += &format!("{}\n", case["toml"].as_str().unwrap().trim_end());
            all += &format!("initrd: {}\n", list("storePaths").replace("00000000000000000000000000000000-", ""));
            all += &format!(
                "file systems: {}; modules: {}\n",
                list("supportedFilesystems"),
                list("availableKernelModules")
            );
            let drop_ins = case["dropIns"].as_object().unwrap();
            assert!(drop_ins.values().all(|text| text == "asDropin\n[Unit]\nAfter=makeroom.service\n"));
            let kinds = ["label", "makeroom", "partlabel"].map(|kind| format!("dev-disk-by\\x2d{kind}-.device"));
            assert_eq!(drop_ins.keys().collect::<Vec<_>>(), kinds.iter().collect::<Vec<_>>());
        }
        all.push('\n');
    }
    snapbox::assert_data_eq!(all, snapbox::file!["snapshots/module.txt"].raw());
}

/// The walk-throughs as they stand in README.
#[test]
fn what_readme_says_to_write_is_what_the_cases_are() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = readme.split("```nix\n# configuration.nix\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let blocks: Vec<&str> = blocks.collect();
    let cases = cases();
    assert_eq!(blocks.len(), 2);
    for (block, case) in blocks.into_iter().zip(["raspberry-pi", "appliance"]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("configuration.nix");
        fs::write(&path, block).unwrap();
        let given = &evaluate(path.to_str().unwrap())["given"];
        for field in ["failed", "warnings", "toml", "unit", "dropIns", "storePaths"] {
            assert_eq!(given[field], cases[case][field], "{case}: {field}");
        }
    }
}

/// What Nix cannot know fails the build, with the program's own words.
#[test]
fn what_only_the_program_knows_fails_in_the_check_of_the_build() {
    let case = cases().remove("raspberry-pi").unwrap();
    for (old, new, wanted) in [
        ("\"type\" = \"root\"", "\"type\" = \"rot\"", "unknown type \"rot\""),
        ("\"format\" = \"xfs\"", "\"format\" = \"xfs\"\n\"size-min\" = \"1X\"", "1X"),
        ("\"label\" = \"root\"", "\"label\" = \"root\"\n\"wieght\" = 1", "did you mean \"weight\"?"),
    ] {
        let toml = case["toml"].as_str().unwrap().replace(old, new);
        let case = serde_json::json!({ "toml": toml, "script": case["script"] });
        let said = check(&case, &tempfile::tempdir().unwrap()).expect(wanted);
        assert!(said.contains(wanted), "{said}");
    }
}

/// That systemd has nothing to say of a unit.
fn verify(unit: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("makeroom.service");
    let program =
        |line: &str| if line.starts_with("ExecStart=") { "ExecStart=/bin/true apply".into() } else { line.to_owned() };
    fs::write(&path, unit.lines().map(|line| program(line) + "\n").collect::<String>()).unwrap();
    let output = tool("systemd-analyze", &["verify", path.to_str().unwrap()]);
    assert!(output.status.success() && output.stderr.is_empty(), "{unit}\n{}", text(&output.stderr));
}

/// A unit's settings, without order and comments; several in one line are several.
fn settings(unit: &str) -> Vec<String> {
    let setting = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        let lists = ["After", "Before", "Conflicts", "RequiredBy", "WantedBy"];
        let values: Vec<&str> = if lists.contains(&name) { value.split(' ').collect() } else { vec![value] };
        values.iter().map(|value| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let is_setting = |line: &&str| line.contains('=') && !line.starts_with('#') && !line.starts_with("ExecStart=");
    let mut settings: Vec<String> = unit.lines().filter(is_setting).flat_map(setting).collect();
    settings.sort();
    settings
}

#[test]
fn the_unit_of_the_module_and_the_plain_one_are_the_same_and_systemd_takes_both() {
    let cases = cases();
    let unit = |name: &str| cases[name]["unit"].as_str().unwrap();
    let plain = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("initrd/makeroom.service")).unwrap();
    let mut of_plain = settings(&plain);
    // NixOS puts units into the initrd, or does not; others may put this one into a system, too.
    // And dracut has a loop of its own that gives up.
    let of_others = ["ConditionPathExists=/etc/initrd-release", "Before=dracut-initqueue.service"];
    of_plain.retain(|setting| !of_others.contains(&&setting[..]));
    assert_eq!(of_plain, settings(unit("raspberry-pi")));
    verify(&plain);
    verify(unit("raspberry-pi"));
    verify(unit("every-option"));
    let all = format!("# stop\n{}\n# continue, verbose\n{}", unit("raspberry-pi"), unit("every-option"));
    // Nothing that the unit's text does not show: a Requires= or BindsTo= would unmount the system at switch-root, or have us
    // killed when a partition bounces.
    let shown =
        ["after", "before", "conflicts", "description", "requiredBy", "serviceConfig", "unitConfig", "wantedBy"];
    assert!(cases.values().all(|case| strings(&case["settings"]) == shown));
    assert!(!all.contains("Requires=") && !all.contains("RequiredBy=sysroot.mount"));
    snapbox::assert_data_eq!(all, snapbox::file!["snapshots/module_unit.txt"].raw());
}
