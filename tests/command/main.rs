//! The program as its user runs it, on real images with real file systems: what it makes, what it says, and that a
//! refusal leaves every byte as it was.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_possible_truncation)] // a test may panic

mod configuration;
mod definitions;
mod growing;
mod making;
mod refusing;
mod showing;
#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use makeroom::disk::Disk;
use makeroom::disk::image::Image;
use makeroom::units::Extent;
use serde_json::Value;
use support::builder::Builder;
use support::dump::fixtures;
use support::{
    content_hash, decide, declared, fixture_config, fsck, make_card, partition, removed, text, to_make, tool,
};
use tempfile::TempDir;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A directory with an image and a configuration in it.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { directory: tempfile::tempdir().unwrap() }
    }

    /// With a card made by `fixtures/cards/make`, flashed to a card of `size` bytes.
    fn with_card(name: &str, size: u64) -> Bench {
        let bench = Bench::new();
        make_card(name, &bench.image());
        bench.enlarge(size);
        bench
    }

    fn with_builder(builder: &Builder, size: u64) -> Bench {
        let bench = Bench::new();
        let card = builder.build();
        let file = File::create(bench.image()).unwrap();
        for (lba, sector) in &card.content {
            file.write_all_at(sector, lba * u64::from(card.sector_size)).unwrap();
        }
        bench.enlarge(size);
        bench
    }

    fn enlarge(&self, size: u64) {
        File::options().write(true).open(self.image()).unwrap().set_len(size).unwrap();
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("card.img")
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("makeroom.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, command: &str, config: &Path) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_makeroom"));
        program.arg(command).arg("--config").arg(config).arg("--disk").arg(self.image());
        program.args(["--architecture", "arm64"]).env_remove("JOURNAL_STREAM").env("LC_ALL", "C");
        program
    }

    fn run(&self, command: &str, config: &Path, more: &[&str]) -> Output {
        self.command(command, config).args(more).output().unwrap()
    }

    /// Runs, expects success, and returns the JSON.
    fn json(&self, command: &str, config: &Path, more: &[&str]) -> Value {
        let output = self.command(command, config).args(more).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A run that must not change the image: exit status and what it said.
    fn refused(&self, config: &Path, more: &[&str]) -> String {
        let before = fingerprint(&self.image());
        let output = self.run("apply", config, more);
        assert_eq!(fingerprint(&self.image()), before, "a refusal has written: {}", text(&output.stderr));
        self.said(&output)
    }

    /// Exit status and stderr, without the directory's name.
    fn said(&self, output: &Output) -> String {
        let stderr = text(&output.stderr).replace(self.directory.path().to_str().unwrap(), "[DIR]");
        format!("exit {}: {stderr}", output.status.code().map_or("by signal".into(), |code| code.to_string()))
    }
}

/// Time of the last change, and the content of every part that is not a hole.
fn fingerprint(path: &Path) -> (i64, i64, u64, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ctime(), metadata.ctime_nsec(), metadata.len(), content_hash(path))
}

/// Copies a partition of an image into a file of its own.
fn extract(image: &Path, partition: &Value, to: &Path) {
    let number = |key: &str| partition[key].as_u64().unwrap();
    support::extract(image, Extent { start: number("offset"), size: number("raw_size") }, to);
}

/// Lets the file system's own checker look at a partition.
fn check_file_system(bench: &Bench, report: &Value, label: &str, format: &str) {
    let path = bench.directory.path().join("part");
    extract(&bench.image(), partition(report, label), &path);
    let path = path.to_str().unwrap();
    let output = fsck(path, format);
    assert!(output.status.success(), "{format}: {}{}", text(&output.stdout), text(&output.stderr));
    let seen = text(&tool("blkid", &["-p", path]).stdout);
    assert!(seen.contains(&format!(" TYPE=\"{format}\"")), "{seen}");
    assert!(!seen.contains("ambivalent"), "{seen}");
}
