//! Which file system: one row each with its minimum, its label limit, its tool and the tool's arguments.
//!
//! Knows no disk and runs nothing. To add a file system, add a row here, what its superblock says in `superblock` where it
//! grows, and how it is seen in `made`.
//!
//! The defaults fit SD cards. No discard: a card can take a minute for it, and some break on it. No zeroing that
//! the kernel can do later: mkfs.ext4 alone would write 260 MiB into a 32 GiB partition.

pub mod made;
pub mod superblock;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::tools::{MissingTool, Tool};
use crate::units::{Guid, KIB, MIB};

/// What a declared partition shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Which file system.
    pub format: Format,
    /// The file system's own label, within its limit ([`Format::check_label`]).
    pub label: String,
    /// Arguments from the configuration, given to the tool after the defaults.
    pub options: Vec<String>,
    /// What is made in it, in this order.
    pub directories: Vec<Directory>,
    /// The directory of `directories`, a subvolume, that is mounted when nobody says which (btrfs-subvolume(8),
    /// `set-default`).
    pub default_subvolume: Option<String>,
}

/// A directory of a new file system, owned by root, mode 0755; those above it are made, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its absolute path in the file system, without `.` and `..`.
    pub path: String,
    /// Whether it is a btrfs subvolume, and of what kind.
    pub subvolume: Option<Subvolume>,
}

/// The kind of a btrfs subvolume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subvolume {
    /// Read-only once all is made.
    pub read_only: bool,
    /// Its files are neither copied on write nor have checksums (chattr(1), `C`).
    pub no_copy_on_write: bool,
}

/// A file system that makeroom can have made, or swap space. In the order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Format {
    Ext4,
    Xfs,
    Btrfs,
    F2fs,
    Vfat,
    Swap,
}

/// One command that makes a file system; the node or file to make it on is its last argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mkfs {
    /// Absolute path of the tool.
    pub tool: PathBuf,
    /// Arguments before the node.
    pub arguments: Vec<OsString>,
    /// Extra environment.
    pub environment: Vec<(&'static str, String)>,
    /// What it makes.
    pub format: Format,
    /// The label that it gives to that.
    pub label: String,
    /// Whether the configuration gives it options, which may change the label and the size.
    pub has_options: bool,
    /// What is made in that, in this order.
    pub directories: Vec<Directory>,
    /// The one of `directories` that is mounted when nobody says which.
    pub default_subvolume: Option<String>,
}

struct Row {
    format: Format,
    name: &'static str,
    tool: &'static str,
    /// The smallest partition in bytes that the tool accepts and the kernel mounts, with room to be of use.
    minimum: u64,
    /// Most sectors that the file system can use.
    maximum_sectors: Option<u64>,
    /// Longest label in bytes.
    label_limit: usize,
    /// Debian package and Nix package of the tool.
    packages: (&'static str, &'static str),
    arguments: fn(&Request) -> Vec<String>,
}

/// What the arguments depend on.
struct Request<'a> {
    label: &'a str,
    uuid: String,
    sector_size: u32,
}

#[rustfmt::skip]
const ROWS: [Row; 6] = [
    Row { format: Format::Ext4, name: "ext4", tool: "mkfs.ext4", minimum: 32 * MIB, maximum_sectors: None, label_limit: 16,
          packages: ("e2fsprogs", "e2fsprogs"), arguments: ext4 },
    Row { format: Format::Xfs, name: "xfs", tool: "mkfs.xfs", minimum: 300 * MIB, maximum_sectors: None, label_limit: 12,
          packages: ("xfsprogs", "xfsprogs"), arguments: xfs },
    Row { format: Format::Btrfs, name: "btrfs", tool: "mkfs.btrfs", minimum: 256 * MIB, maximum_sectors: None, label_limit: 255,
          packages: ("btrfs-progs", "btrfs-progs"), arguments: btrfs },
    // mkfs.f2fs dies of a division by zero on very small partitions and refuses below 52 MiB.
    Row { format: Format::F2fs, name: "f2fs", tool: "mkfs.f2fs", minimum: 64 * MIB, maximum_sectors: None, label_limit: 255,
          packages: ("f2fs-tools", "f2fs-tools"), arguments: f2fs },
    Row { format: Format::Vfat, name: "vfat", tool: "mkfs.vfat", minimum: MIB, maximum_sectors: Some(u32::MAX as u64), label_limit: 11,
          packages: ("dosfstools", "dosfstools"), arguments: vfat },
    // Ten pages, and a page may have 64 KiB.
    Row { format: Format::Swap, name: "swap", tool: "mkswap", minimum: 640 * KIB, maximum_sectors: None, label_limit: 15,
          packages: ("util-linux", "util-linux"), arguments: swap },
];

fn ext4(request: &Request) -> Vec<String> {
    // 4096-byte blocks and 256-byte inodes even where a small partition would get less: it may grow later, and
    // smaller inodes have no room for dates after 2038.
    let fixed = ["-q", "-b", "4096", "-I", "256", "-m", "0"];
    let lazy = ["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"];
    words(fixed, ["-L", request.label, "-U", &request.uuid], lazy)
}

fn xfs(request: &Request) -> Vec<String> {
    let sector_size = format!("size={}", request.sector_size);
    words(["-q", "-K"], ["-L", request.label, "-m", &format!("uuid={}", request.uuid)], ["-s", &sector_size])
}

fn btrfs(request: &Request) -> Vec<String> {
    // Older tools take the page size of the machine that formats: 16 KiB on a Raspberry Pi 5.
    let sector_size = request.sector_size.max(4096).to_string();
    words(["-q", "-K"], ["-L", request.label, "-U", &request.uuid], ["--sectorsize", &sector_size])
}

fn f2fs(request: &Request) -> Vec<String> {
    let sector_size = request.sector_size.to_string();
    words(["-q", "-t", "0"], ["-l", request.label, "-U", &request.uuid], ["-w", &sector_size])
}

fn vfat(request: &Request) -> Vec<String> {
    let volume_id: String = request.uuid.chars().take(8).collect();
    words([], ["-n", request.label, "-i", &volume_id], ["-S", &request.sector_size.to_string()])
}

fn swap(request: &Request) -> Vec<String> {
    words(["-q"], ["-L", request.label, "-U", &request.uuid], [])
}

fn words<const A: usize, const B: usize>(fixed: [&str; A], names: [&str; 4], rest: [&str; B]) -> Vec<String> {
    fixed.into_iter().chain(names).chain(rest).map(str::to_owned).collect()
}

impl Format {
    /// By its name in the configuration.
    pub fn by_name(name: &str) -> Option<Format> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.format)
    }

    /// The name in the configuration, which is the kernel's name too (`swap` aside).
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The tool that makes it.
    pub fn tool(self) -> &'static str {
        self.row().tool
    }

    /// All names, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        ROWS.iter().map(|row| row.name)
    }

    /// The smallest size in bytes of a partition for it.
    pub fn minimum(self) -> u64 {
        self.row().minimum
    }

    /// The most bytes it can use of a partition, where that is less than disks have.
    pub fn maximum(self, sector_size: u32) -> Option<u64> {
        self.row().maximum_sectors.map(|sectors| sectors * u64::from(sector_size))
    }

    /// Why `label` cannot be this file system's label, as a sentence; `None` when it can.
    pub fn check_label(self, label: &str) -> Option<String> {
        let row = self.row();
        if label.len() > row.label_limit {
            return Some(format!("has {} bytes, {} takes {}", label.len(), row.name, row.label_limit));
        }
        if let Some(bad) = label.chars().find(|c| c.is_control()) {
            return Some(format!("has a control character ({}) in it", bad.escape_unicode()));
        }
        if self == Format::Vfat && label.starts_with(' ') {
            return Some("begins with a blank, which vfat does not take".to_owned());
        }
        let bad = label.chars().find(|c| self == Format::Vfat && !fat_allows(*c))?;
        Some(format!("has \"{bad}\" in it, which vfat does not take"))
    }

    /// The label for this file system that comes nearest to the partition's: cut to what fits; vfat's in upper
    /// case and with `_` for what it does not take.
    pub fn fit_label(self, label: &str) -> String {
        let fat = |c: char| {
            if fat_allows(c) { c.to_ascii_uppercase() } else { '_' }
        };
        let adapted: String = match self {
            Format::Vfat => label.trim_start().chars().map(fat).collect(),
            _ => label.to_owned(),
        };
        let limit = adapted.floor_char_boundary(self.row().label_limit);
        adapted[..limit].to_owned()
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

fn fat_allows(char: char) -> bool {
    (char.is_ascii_graphic() || char == ' ') && !r#""*+,./:;<=>?[\]|"#.contains(char)
}

/// The tools that make file systems.
pub fn tool_names() -> impl Iterator<Item = &'static str> + Clone {
    ROWS.iter().map(|row| row.tool)
}

/// The command that makes `content` on a partition with the given GUID.
///
/// `configured` gives the path from the configuration for a tool, `is_executable` looks at the machine.
pub fn mkfs(
    content: &Content,
    partition: Guid,
    sector_size: u32,
    configured: impl Fn(&str) -> Option<PathBuf>,
    is_executable: impl Fn(&Path) -> bool,
) -> Result<Mkfs, MissingTool> {
    let row = content.format.row();
    let request = Request { label: &content.label, uuid: file_system_uuid(partition).to_string(), sector_size };
    let arguments = (row.arguments)(&request).into_iter().chain(content.options.iter().cloned());
    let tool = Tool { name: row.tool, needed_for: format!("formatting as {}", row.name), packages: row.packages };
    Ok(Mkfs {
        tool: tool.find(configured(row.tool), is_executable)?,
        arguments: arguments.map(OsString::from).collect(),
        environment: vec![("MKE2FS_DEVICE_SECTSIZE", sector_size.to_string())],
        format: content.format,
        label: content.label.clone(),
        has_options: !content.options.is_empty(),
        directories: content.directories.clone(),
        default_subvolume: content.default_subvolume.clone(),
    })
}

/// A file system's UUID, derived from its partition's as systemd-repart does.
fn file_system_uuid(partition: Guid) -> Guid {
    Guid::derive(partition, b"file-system-uuid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(format: Format, label: &str, sector_size: u32) -> Mkfs {
        let content = Content {
            format,
            label: label.to_owned(),
            options: vec!["--extra".to_owned()],
            directories: vec![],
            default_subvolume: None,
        };
        mkfs(&content, Guid::from_u128(7), sector_size, |_| None, |path| path.starts_with("/bin")).unwrap()
    }

    #[test]
    fn every_format_has_its_own_row() {
        for row in &ROWS {
            assert_eq!(Format::by_name(row.name), Some(row.format));
            assert_eq!(row.format.name(), row.name);
        }
    }

    #[test]
    fn the_defaults_neither_discard_nor_zero_what_the_kernel_can_zero_later() {
        let arguments = |format, sector_size| {
            let words = request(format, "root", sector_size).arguments;
            words.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let uuid = file_system_uuid(Guid::from_u128(7)).to_string();
        assert_eq!(
            arguments(Format::Ext4, 512),
            format!(
                "-q -b 4096 -I 256 -m 0 -L root -U {uuid} \
                 -E nodiscard,lazy_itable_init=1,lazy_journal_init=1 --extra"
            )
        );
        assert_eq!(arguments(Format::Xfs, 4096), format!("-q -K -L root -m uuid={uuid} -s size=4096 --extra"));
        assert_eq!(arguments(Format::Btrfs, 512), format!("-q -K -L root -U {uuid} --sectorsize 4096 --extra"));
        assert_eq!(arguments(Format::F2fs, 512), format!("-q -t 0 -l root -U {uuid} -w 512 --extra"));
        assert_eq!(arguments(Format::Vfat, 512), format!("-n root -i {} -S 512 --extra", &uuid[..8]));
        assert_eq!(arguments(Format::Swap, 512), format!("-q -L root -U {uuid} --extra"));
    }

    #[test]
    fn a_label_is_cut_to_what_the_file_system_takes_but_a_wish_is_checked() {
        assert_eq!(Format::Xfs.fit_label("a-rather-long-name"), "a-rather-lon");
        assert_eq!(Format::Ext4.fit_label("fifteen-bytes-xx\u{e9}"), "fifteen-bytes-xx");
        assert_eq!(Format::Ext4.fit_label("fifteen-bytes-x\u{e9}"), "fifteen-bytes-x");
        assert_eq!(Format::Vfat.fit_label("my.boot:\u{e9}"), "MY_BOOT__");
        assert!(Format::Xfs.check_label("thirteen-byte").unwrap().contains("13 bytes, xfs takes 12"));
        assert!(Format::Vfat.check_label("a/b").unwrap().contains("\"/\""));
        assert!(Format::Vfat.check_label(" a").unwrap().contains("begins with a blank"));
        assert_eq!(Format::Vfat.fit_label(" a b"), "A B");
        assert!(Format::Ext4.check_label("a\nb").unwrap().contains("control character"));
        assert_eq!(Format::Btrfs.check_label("any thing"), None);
    }

    #[test]
    fn a_missing_tool_names_the_package_and_where_it_was_looked_for() {
        let content = Content {
            format: Format::Xfs,
            label: "root".to_owned(),
            options: vec![],
            directories: vec![],
            default_subvolume: None,
        };
        let guid = Guid::from_u128(7);
        let error = mkfs(&content, guid, 512, |_| None, |_| false).unwrap_err().to_string();
        assert!(error.contains("mkfs.xfs is not there") && error.contains("xfsprogs"), "{error}");
        assert!(error.contains("searched /usr/sbin /sbin"), "{error}");
        let configured = |_: &str| Some(PathBuf::from("/nix/store/x/mkfs.xfs"));
        let error = mkfs(&content, guid, 512, configured, |_| false).unwrap_err().to_string();
        assert!(error.contains("[tools] says /nix/store/x/mkfs.xfs"), "{error}");
        assert_eq!(request(Format::Swap, "s", 512).tool, Path::new("/bin/mkswap"));
    }
}
