//! What is declared: the wishes of a configuration, checked and with their defaults filled in.
//!
//! Knows no disk. Two front ends, `toml` and `repart_d`, read texts into the same wishes; `wish` has the rules that make
//! a [`Declared`] of each, `place` says where a mistake is, `files` which files count.

mod files;
mod place;
mod repart_d;
mod specifiers;
mod syntax;
mod toml;
mod wish;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::filesystem::Content;
use crate::partition_type::Architecture;
use crate::units::{Guid, KIB, Label, MIB};
use place::Source;

pub use files::{SEARCH_PATH, find};

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from, where it was one.
    pub file: Option<PathBuf>,
    /// The directories of definitions that it was read from.
    pub directories: Vec<PathBuf>,
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
    /// What it was read from.
    pub fn sources(&self) -> impl Iterator<Item = &PathBuf> {
        self.file.iter().chain(&self.directories)
    }

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

impl Declared {
    /// Whether this label is what it is known by.
    fn is_known_by(&self, label: &Label) -> bool {
        self.identity == Identity::Label && self.label == *label
    }
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

/// Most files of definitions, drop-ins included: as many as a GPT usually has entries.
pub const MAX_FILES: usize = 128;
/// The configuration unless another is named.
pub const DEFAULT_CONFIG: &str = "/etc/makeroom.toml";

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
    #[error("{} is larger than {MAX_FILE_SIZE} bytes: that is not a makeroom configuration", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A directory of definitions that is named and cannot be listed.
    #[error("cannot read the definitions in {}: {reason}; name the directory that has the *.conf files", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A definition or a drop-in could not be read.
    #[error("cannot read {}: {reason}; a definition that nobody wants is empty, or a link to /dev/null", path.display())]
    UnreadableDefinition {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// More than [`MAX_FILES`].
    #[error("{}: there are more than {MAX_FILES} definitions and drop-ins: are these for one disk?", path.display())]
    TooManyFiles {
        /// The first that is too much.
        path: PathBuf,
    },
    /// Nothing is named, and nothing is where it would be looked for.
    #[error(
        "there is no configuration: neither {DEFAULT_CONFIG} nor a *.conf file in {}; write one, or name another with \
         --config or --definitions", SEARCH_PATH.join(", ")
    )]
    Nothing,
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

/// A file by its name and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// For messages.
    pub path: PathBuf,
    /// All of it, or more than [`MAX_FILE_SIZE`].
    pub content: Vec<u8>,
}

/// A definition of repart.d(5): its file and its drop-ins, in the order in which they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// `NAME.conf`.
    pub file: TextFile,
    /// `NAME.conf.d/*.conf`.
    pub drop_ins: Vec<TextFile>,
}

/// What a configuration may depend on beside its own text.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What `root` and `usr` mean.
    pub architecture: Architecture,
    /// Reads a file of the system: where a specifier asks for it, and only then.
    pub read: &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
}

impl From<Box<Error>> for Error {
    fn from(error: Box<Error>) -> Error {
        *error
    }
}

/// Reads a configuration from the text of a file. `path` is for messages; `root` and `usr` are those of
/// `architecture`.
pub fn read(path: &Path, content: &[u8], architecture: Architecture) -> Result<Config, Error> {
    toml::parse(Source::new(path, content)?, architecture, None).map_err(|error| *error)
}

/// Reads definitions, and the rest from `file` where there is one: a configuration without partitions.
pub fn read_definitions(
    definitions: &[Definition],
    file: Option<&TextFile>,
    surroundings: Surroundings,
) -> Result<Config, Error> {
    let mut warnings = Vec::new();
    let partitions = repart_d::parse(definitions, surroundings, &mut warnings)?;
    let Some(file) = file else {
        return Ok(Config { partitions, warnings, ..Config::default() });
    };
    let place = definitions.first().map_or("--definitions".to_owned(), |first| first.file.path.display().to_string());
    let defined = toml::Defined { partitions, place };
    let mut config = toml::parse(Source::new(&file.path, &file.content)?, surroundings.architecture, Some(defined))?;
    config.warnings.splice(0..0, warnings);
    Ok(config)
}
