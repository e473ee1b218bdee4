//! A system that has less than others: no /dev/null, closed descriptors, limits.

use crate::*;

/// The program, started by a shell that has done something before.
fn after(setting: &str, program: &Command) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{setting}; exec \"$@\""), "sh"]).arg(program.get_program()).args(program.get_args());
    command.env_remove("JOURNAL_STREAM").env("LC_ALL", "C").output().unwrap()
}

/// That a run has ended by itself, and has said why if it failed.
fn assert_in_words(what: &str, output: &Output) {
    let said = text(&output.stderr);
    let code = output.status.code();
    assert!(code.is_some_and(|code| code < 128), "{what}: {}: {said}", output.status);
    assert!(code == Some(0) || said.contains("error: "), "{what}: {}: {said}", output.status);
}

#[test]
fn without_dev_null_and_with_closed_descriptors_a_run_ends_in_words() {
    if is_emulated() {
        return;
    }
    for more in ["", "format=\"ext4\""] {
        let device = Device::with_builder(&Builder::new(512, 16), GIB);
        let config = device.config(&one_partition("root", more));
        let number = fs::read_to_string(format!("/sys/block/{}/dev", device.name())).unwrap();
        let mount = "mount -t tmpfs none /dev && mknod /dev/urandom c 1 9";
        let empty = format!("{mount} && mknod {} b {}", device.node, number.trim().replace(':', " "));
        for closed in ["<&-", ">&-", "<&- >&-"] {
            for command in ["check", "plan", "apply"] {
                let mut program = program();
                program.arg(command).arg("-c").arg(&config);
                if command != "check" {
                    program.args(["--disk", &device.node]);
                }
                let mut separate = Command::new("unshare");
                separate.args(["--mount", "sh", "-c", &format!("{empty}; exec \"$@\" {closed}"), "sh"]);
                separate.arg(program.get_program()).args(program.get_args());
                let output = separate.env_remove("JOURNAL_STREAM").env("LC_ALL", "C").output().unwrap();
                assert_in_words(&format!("{command} {closed}"), &output);
            }
            // Nothing can be said there.
            let output = after("exec <&- >&- 2>&-", &device.command("apply", &config));
            assert!(output.status.code().is_some_and(|code| code < 128), "{}", output.status);
        }
    }
}

#[test]
fn a_limit_for_files_is_an_error_in_words_and_a_run_without_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (image, config) = (directory.path().join("disk.img"), directory.path().join("makeroom.toml"));
    write_image(&Builder::new(512, 16), &image);
    File::options().write(true).open(&image).unwrap().set_len(64 * MIB).unwrap();
    // A file system gets a file of its own first.
    for (format, code) in [("", 74), ("format=\"ext4\"", 73)] {
        fs::write(&config, one_partition("root", format)).unwrap();
        let mut program = program();
        program.args(["apply", "-c"]).arg(&config).arg("--disk").arg(&image);
        let output = after("ulimit -f 1", &program);
        assert_in_words("ulimit -f", &output);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let labels = support::linux::labels_in(&image, 512).unwrap();
        assert_eq!(labels, ["boot", "store", "_empty"]);
    }
    let output = program().args(["apply", "-c"]).arg(&config).arg("--disk").arg(&image).output().unwrap();
    assert!(text(&output.stdout).ends_with("created root\n"), "{}", text(&output.stderr));
}

/// The kernel does not start what it cannot map, and the loader says so by a signal.
#[test]
fn with_too_little_memory_a_run_ends_in_words_or_does_not_start() {
    if is_emulated() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (image, config) = (directory.path().join("disk.img"), directory.path().join("makeroom.toml"));
    let mut ends = Vec::new();
    for more in ["", "format=\"ext4\""] {
        fs::write(&config, one_partition("root", more)).unwrap();
        for kib in (800..6000).step_by(200).chain([8000, 20_000]) {
            write_image(&Builder::new(512, 16), &image);
            File::options().write(true).open(&image).unwrap().set_len(64 * MIB).unwrap();
            let before = content_hash(&image);
            let mut program = program();
            program.args(["apply", "-c"]).arg(&config).arg("--disk").arg(&image);
            let output = after(&format!("ulimit -v {kib}"), &program);
            let said = text(&output.stderr);
            ends.push(output.status.success());
            if output.status.success() {
                continue;
            }
            let mut version = support::program();
            version.arg("--version");
            let does_start = after(&format!("ulimit -v {kib}"), &version).status.success();
            assert!(
                !does_start || said.contains("error: ") || said.contains("memory"),
                "{kib}: {}: {said}",
                output.status
            );
            // Without a word, nothing has been done.
            assert!(said.contains("error: ") || content_hash(&image) == before, "{kib}: {}: {said}", output.status);
        }
    }
    assert!(ends.contains(&true) && ends.contains(&false), "{ends:?}");
}
