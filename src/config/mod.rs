//! What is declared: the wishes of a configuration, checked and with their defaults filled in.
//!
//! Knows no disk. `toml` reads the one file format there is; what it yields is the same for every front end.

mod toml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::filesystem::Content;
use crate::partition_type::Architecture;
use crate::units::{Guid, KIB, Label, MIB};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[boot-disk]`; where it names no disk, only `--disk` can.
    pub boot_disk: BootDisk,
    /// `[[partition]]`, in the order of the file, which is the order on the disk.
    pub partitions: Vec<Declared>,
    /// `[tools]`: absolute path by tool name.
    pub tools: Vec<(String, PathBuf)>,
    /// Things worth saying that are not errors, such as a label that had to be cut.
    pub warnings: Vec<String>,
}

impl Config {
    /// The path that `[tools]` gives for a tool.
    pub fn tool(&self, name: &str) -> Option<PathBuf> {
        self.tools.iter().find(|(tool, _)| tool == name).map(|(_, path)| path.clone())
    }
}

/// How to know the boot disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDisk {
    /// Anchors: partition labels that must all be on one disk; `*` and `?` are wildcards.
    pub labels: Vec<String>,
    /// The escape hatch: a device path that overrides the search.
    pub device: Option<PathBuf>,
    /// How long to wait for the disk to appear, or for another process to unlock it.
    pub wait: Duration,
    /// Whether its partitions get links below `/dev/disk/by-makeroom`.
    pub links: bool,
    /// For tests: loop devices count as disks.
    pub allow_loop: bool,
}

impl BootDisk {
    /// Whether there is anything to find the disk by.
    pub fn names_a_disk(&self) -> bool {
        !self.labels.is_empty() || self.device.is_some()
    }
}

impl Default for BootDisk {
    fn default() -> BootDisk {
        BootDisk { labels: Vec::new(), device: None, wait: DEFAULT_WAIT, links: false, allow_loop: false }
    }
}

/// How long to wait unless the configuration says otherwise.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// A partition that shall exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name on the disk; of a definition without one, the name that a new one gets.
    pub label: Label,
    /// What tells it from the others on the disk.
    pub identity: Identity,
    /// Its partition type.
    pub partition_type: Guid,
    /// Its own GUID when it is made; without a wish it is derived or random. Nil is a wish, too.
    pub uuid: Option<Guid>,
    /// Its attribute bits when it is made (UEFI 5.3.3; 48 to 63 by type).
    pub attributes: u64,
    /// What it shall hold; where this is absent it is only cleared.
    pub content: Option<Content>,
    /// Share of the free space relative to the others, 0 to 1000000.
    pub weight: u32,
    /// Smallest size in bytes: the wish or its default, and never less than the file system needs.
    pub size_min: u64,
    /// Largest size in bytes.
    pub size_max: Option<u64>,
    /// What shall stay free behind it.
    pub padding: Padding,
    /// Above 0: may be left out when the space is short, highest number first.
    pub priority: i32,
    /// Whether it grows, where it is there already and has room behind it.
    pub grow: bool,
    /// Whether its file system is made as large as the partition, where it is smaller.
    pub grow_file_system: bool,
    /// Whether a factory reset makes it anew.
    pub factory_reset: bool,
}

/// What tells a declared partition from the others on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Its label.
    Label,
    /// Its type (repart.d(5): a definition without `Label=`): the one that also has the name which a new one gets, else
    /// those of this type in the order of the table, leaving out what is known by a label.
    Type,
}

/// Free space that belongs to a partition (repart.d(5): `PaddingWeight=`, `PaddingMinBytes=`, `PaddingMaxBytes=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Share of the free space relative to the others, 0 to 1000000.
    pub weight: u32,
    /// Smallest size in bytes.
    pub min: u64,
    /// Largest size in bytes.
    pub max: Option<u64>,
}

/// Weight unless the configuration says otherwise (repart.d(5)).
pub const DEFAULT_WEIGHT: u32 = 1000;
/// Largest weight (repart.d(5)).
pub const MAX_WEIGHT: u32 = 1_000_000;
/// `size-min` unless the configuration says otherwise (repart.d(5)).
pub const DEFAULT_SIZE_MIN: u64 = 10 * MIB;
/// A configuration is a page of text; more than this is some other file. The parser may want 48 bytes for each of its
/// bytes, and a small board has to have them.
pub const MAX_FILE_SIZE: u64 = 128 * KIB;

/// A configuration that cannot be used. Every variant ends the run with exit status 78 before any disk is opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read at all.
    #[error("cannot read the configuration {}: {reason}; --config names another", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// More than [`MAX_FILE_SIZE`].
    #[error(
        "{} is larger than {MAX_FILE_SIZE} bytes: that is not a makeroom configuration", path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A mistake at one place of the file, with the line it is in.
    #[error("{}:{line}:{column}: {message}{excerpt}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The mistake and its remedy.
        message: String,
        /// The line itself with a mark below the place, or nothing.
        excerpt: String,
    },
}

/// Reads a configuration from the text of a file. `path` is for messages; `root` and `usr` are those of
/// `architecture`.
pub fn read(path: &Path, content: &[u8], architecture: Architecture) -> Result<Config, Error> {
    if content.len() as u64 > MAX_FILE_SIZE {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    let text = str::from_utf8(content).map_err(|error| {
        let valid = str::from_utf8(&content[..error.valid_up_to()]).unwrap_or_default();
        let (line, column) = line_and_column(valid, valid.len());
        let message = format!("byte 0x{:02x} is not UTF-8: is this a text file?", content[valid.len()]);
        Error::At { path: path.to_owned(), line, column, message, excerpt: String::new() }
    })?;
    toml::parse(text, architecture).map_err(|problem| problem.at(path, text))
}

/// A mistake at a byte range of the text, before it is put into words for people.
struct Problem {
    span: std::ops::Range<usize>,
    message: String,
}

impl Problem {
    fn at(self, path: &Path, text: &str) -> Error {
        let start = text.floor_char_boundary(self.span.start.min(text.len()));
        let (line, column) = line_and_column(text, start);
        let length = text[start..text.floor_char_boundary(self.span.end.clamp(start, text.len()))].chars().count();
        let excerpt = excerpt(text.lines().nth(line - 1).unwrap_or_default(), line, column, length);
        Error::At { path: path.to_owned(), line, column, message: self.message, excerpt }
    }
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The line and a mark below it. A long line is shown around the mark only: consoles are narrow.
fn excerpt(line: &str, number: usize, column: usize, length: usize) -> String {
    if line.is_empty() {
        return String::new();
    }
    const WIDTH: usize = 64;
    let skip = if column > WIDTH { column - WIDTH / 2 } else { 0 };
    let shown: String = line
        .chars()
        .skip(skip)
        .take(WIDTH)
        .map(|c| {
            if c == '\t' {
                ' '
            } else if crate::text::escape(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8() {
                '?'
            } else {
                c
            }
        })
        .collect();
    let gutter = number.to_string();
    let mark = "^".repeat(length.clamp(1, WIDTH - (column - 1 - skip).min(WIDTH - 1)));
    format!("\n {gutter} | {shown}\n {} | {}{mark}", " ".repeat(gutter.len()), " ".repeat(column - 1 - skip))
}
