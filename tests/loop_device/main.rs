//! The program on block devices: loop devices, as root. What the kernel shows afterwards, what was written and in
//! which order, and that a refusal changes neither the disk nor the kernel's partitions.
//!
//! `MAKEROOM_PROGRAM` names another build of the program, with what runs it: `qemu-aarch64-static PATH`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod cards;
mod directories;
mod firmware;
mod growing;
mod initrd;
mod killed;
mod limits;
mod linking;
mod machines;
mod making;
#[path = "../support/mounted.rs"]
mod mounted;
mod owners;
mod refusing;
mod resizing;
mod search_cost;
mod searching;
#[path = "../support/mod.rs"]
mod support;
mod telling;
mod tools;
mod waiting;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mounted::Mounted;
use serde_json::Value;
use support::builder::Builder;
use support::cleanup::{Daemon, Running};
use support::loops::{self, Attached};
use support::memory::Counting;
use support::{
    content_hash, fixture_config, fsck, make_card, old_signatures, partition, program, text, tool, wait_for,
};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[global_allocator]
static MEMORY: Counting = Counting;

/// A loop device over a file in a directory of its own. In this order it goes away again.
struct Device {
    node: String,
    _attached: Attached,
    /// What stands between the file and the loop device.
    _daemon: Option<Daemon>,
    directory: TempDir,
}

impl Device {
    /// A card made by `fixtures/cards/make`, flashed to a card of `size` bytes.
    fn with_card(name: &str, size: u64) -> Device {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk.img");
        make_card(name, &image);
        Device::attach(directory, size, &[])
    }

    fn with_builder(builder: &Builder, size: u64) -> Device {
        Device::with_options(builder, size, &[])
    }

    fn with_options(builder: &Builder, size: u64, options: &[&str]) -> Device {
        let directory = tempfile::tempdir().unwrap();
        write_image(builder, &directory.path().join("disk.img"));
        let sector_size = builder.sector_size.to_string();
        Device::attach(directory, size, &[options, &["--sector-size", &sector_size]].concat())
    }

    fn attach(directory: TempDir, size: u64, options: &[&str]) -> Device {
        let image = directory.path().join("disk.img");
        File::options().write(true).open(&image).unwrap().set_len(size).unwrap();
        Device::over(Attached::new(&image, options), None, directory)
    }

    fn over(attached: Attached, daemon: Option<Daemon>, directory: TempDir) -> Device {
        Device { node: attached.node.clone(), _attached: attached, _daemon: daemon, directory }
    }

    fn name(&self) -> &str {
        self.node.strip_prefix("/dev/").unwrap()
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("makeroom.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, command: &str, config: &Path) -> Command {
        let mut program = program();
        program.arg(command).arg("--config").arg(config).args(["--disk", &self.node, "--architecture", "arm64"]);
        program
    }

    fn run(&self, command: &str, config: &Path) -> Output {
        self.command(command, config).output().unwrap()
    }

    /// Runs, expects success, and returns the JSON.
    fn json(&self, command: &str, config: &Path) -> Value {
        let output = self.command(command, config).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", self.said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A run that must change neither the disk nor what the kernel shows of it: exit status and what it said.
    fn refused(&self, config: &Path) -> String {
        let before = (content_hash(&self.image()), self.written(), self.shown());
        let output = self.run("apply", config);
        let said = self.said(&output);
        assert_eq!((content_hash(&self.image()), self.written(), self.shown()), before, "it has written: {said}");
        said
    }

    /// Exit status and stderr, without this device's and directory's names.
    fn said(&self, output: &Output) -> String {
        let stderr = text(&output.stderr);
        let stderr = stderr.replace(&self.node, "[DISK]").replace(self.directory.path().to_str().unwrap(), "[DIR]");
        format!("exit {}: {stderr}", output.status.code().map_or("by signal".into(), |code| code.to_string()))
    }

    /// Bytes written to it since it was attached or before.
    fn written(&self) -> u64 {
        self.sectors(6) * 512
    }

    /// Bytes read from it, as `written`: what the cache did not have, and what the kernel read ahead.
    fn read(&self) -> u64 {
        self.sectors(2) * 512
    }

    /// A field of its statistics (Documentation/block/stat.rst).
    fn sectors(&self, field: usize) -> u64 {
        let stat = fs::read_to_string(format!("/sys/block/{}/stat", self.name())).unwrap();
        stat.split_whitespace().nth(field).unwrap().parse().unwrap()
    }

    /// What the kernel shows: number, start and size of each partition, in bytes.
    fn shown(&self) -> Vec<(u32, u64, u64)> {
        let directory = PathBuf::from(format!("/sys/block/{}", self.name()));
        let number = |path: PathBuf| fs::read_to_string(path).unwrap().trim().parse::<u64>().unwrap();
        let mut shown = Vec::new();
        for entry in fs::read_dir(&directory).unwrap() {
            let partition = entry.unwrap().path();
            if partition.join("partition").exists() {
                let (start, size) = (number(partition.join("start")), number(partition.join("size")));
                shown.push((number(partition.join("partition")) as u32, start * 512, size * 512));
            }
        }
        shown.sort_unstable();
        shown
    }

    fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.node)
    }
}

fn write_image(builder: &Builder, image: &Path) {
    let card = builder.build();
    let file = File::create(image).unwrap();
    for (lba, sector) in &card.content {
        file.write_all_at(sector, lba * u64::from(card.sector_size)).unwrap();
    }
}

/// Makes a shell script.
fn executable(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Lets a script know its process number: in the name space for processes that a tool has, `$$` is another.
const OWN_NUMBER: &str = "read pid rest < /proc/self/stat";

/// The program for strace, which does not see through an emulator.
fn traceable() -> String {
    let given = std::env::var("MAKEROOM_PROGRAM").ok().filter(|words| !words.contains(' '));
    given.unwrap_or(env!("CARGO_BIN_EXE_makeroom").to_owned())
}

/// Whether the program can neither mount for itself alone nor resize what the kernel shows: an emulator (qemu-user) does
/// not know these calls. Says so.
fn is_emulated() -> bool {
    let is_emulated = std::env::var("MAKEROOM_PROGRAM").is_ok_and(|words| words.contains(' '));
    if is_emulated {
        println!("SKIPPED: under an emulator nothing can be mounted or resized");
    }
    is_emulated
}

/// That a new partition holds a working file system: mounted and written to where this kernel can, else checked.
fn check_file_system(node: &str, format: &str) {
    if matches!(format, "ext4" | "xfs" | "btrfs") {
        let mounted = Mounted::new(node);
        let file = mounted.directory.path().join("file");
        fs::write(&file, "written").unwrap();
        drop(mounted);
        let mounted = Mounted::new(node);
        assert_eq!(fs::read_to_string(mounted.directory.path().join("file")).unwrap(), "written");
    }
    let output = fsck(node, format);
    assert!(output.status.success(), "{format}: {}{}", text(&output.stdout), text(&output.stderr));
    let seen = text(&tool("blkid", &["-p", node]).stdout);
    assert!(seen.contains(&format!(" TYPE=\"{format}\"")), "{seen}");
}

/// A configuration for one partition, with more keys for it.
fn one_partition(label: &str, more: &str) -> String {
    format!("[boot-disk]\nlabels=[\"boot\"]\nwait=\"300ms\"\n[[partition]]\nlabel=\"{label}\"\ntype=\"root\"\n{more}\n")
}
