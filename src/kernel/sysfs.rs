//! What the kernel tells of its disks and of the partitions that it shows. Asked of sysfs and of nothing else: links
//! below /dev/disk are udev's, which may be late, wrong, or not there.
#![allow(clippy::disallowed_methods)] // this is the door that the lint guards

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, makedev, minor};

use crate::kernel::{self, write_into};
use crate::units::Extent;

/// sysfs counts in sectors of 512 bytes, whatever the disk's own are (Documentation/ABI/stable/sysfs-block).
const SECTOR: u64 = 512;

/// A whole disk: `sda`, `mmcblk0`, `nvme0n1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    name: String,
}

/// A partition as the kernel shows it, whatever the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPartition {
    /// Its number, from 1.
    pub number: u32,
    /// Its place in bytes.
    pub extent: Extent,
    /// Its device node.
    pub node: PathBuf,
}

impl KernelPartition {
    /// Its kernel name.
    pub fn name(&self) -> String {
        self.node.strip_prefix("/dev").unwrap_or(&self.node).to_string_lossy().replace('/', "!")
    }

    /// Its device number; nothing when it has gone.
    pub fn device(&self) -> io::Result<Option<u64>> {
        let text = read(&Path::new("/sys/class/block").join(self.name()).join("dev"))?;
        let parse = |text: String| {
            let (major, minor) = text.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            Ok(makedev(number(major)?, number(minor)?))
        };
        text.map(parse).transpose()
    }

    /// Whether its node leads to it. In a /dev that is no devtmpfs a node may be left of another device, whose number the
    /// kernel has given to this one, or the other way round.
    pub fn has_its_node(&self) -> io::Result<bool> {
        let metadata = self.node.metadata()?;
        Ok(metadata.file_type().is_block_device() && Some(metadata.rdev()) == self.device()?)
    }

    /// Opens it, or fails where its node is that of another device.
    pub fn open(&self, writable: bool) -> io::Result<File> {
        // Before it is opened: closing another disk's partition that was open for writing has consequences there.
        if !self.has_its_node()? {
            let node = self.node.display();
            return Err(io::Error::other(format!("{node} is not the device that the kernel calls {}", self.name())));
        }
        kernel::open(&self.node, writable)
    }
}

/// Tells a device from another that has its name by now, or has its node by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    major: Option<u64>,
    minor: Option<u64>,
    /// Counts up with each medium (kernel 5.15 and later).
    sequence: Option<u64>,
}

impl Identity {
    /// From the text of a device's `uevent` attribute.
    pub fn parse(text: &str) -> io::Result<Identity> {
        let value = |key: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            values.next().map(number).transpose()
        };
        Ok(Identity { major: value("MAJOR")?, minor: value("MINOR")?, sequence: value("DISKSEQ")? })
    }

    /// The disk's sequence number, where the kernel has them.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Whether `file` is this device.
    pub fn is_of(&self, file: &File) -> io::Result<bool> {
        let metadata = file.metadata()?;
        let number = (Some(major(metadata.rdev())), Some(minor(metadata.rdev())));
        Ok(metadata.file_type().is_block_device() && (self.major, self.minor) == number)
    }
}

impl Disk {
    /// All whole disks, by name: `sdz` before `sdaa`, `loop9` before `loop10`.
    pub fn all() -> io::Result<Vec<Disk>> {
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| Disk { name: entry.file_name().to_string_lossy().into_owned() })
        };
        let mut disks: Vec<Disk> = std::fs::read_dir("/sys/block")?.map(name).collect::<Result<_, _>>()?;
        disks.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        Ok(disks)
    }

    /// The disk of a block device node; a partition means its whole disk. `None`: the path is no block device.
    pub fn of_node(path: &Path) -> io::Result<Option<Disk>> {
        let metadata = path.metadata()?;
        if !metadata.file_type().is_block_device() {
            return Ok(None);
        }
        let link = format!("/sys/dev/block/{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
        let directory = Path::new("/sys/dev/block").join(std::fs::read_link(link)?);
        let partition = directory.join("partition").exists();
        let whole = if partition { directory.parent() } else { Some(directory.as_path()) };
        let name = whole.and_then(Path::file_name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Some(Disk { name: name.to_string_lossy().into_owned() }))
    }

    /// Its kernel name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its device node, which devtmpfs makes and names.
    pub fn node(&self) -> PathBuf {
        node(&self.name)
    }

    /// Which device this is at the moment, among all that had its name since the kernel was started.
    pub fn identity(&self) -> io::Result<Identity> {
        Identity::parse(&self.text("uevent")?.ok_or(io::ErrorKind::NotFound)?)
    }

    /// An attribute, without the line's end; `None` when the disk has no such attribute.
    pub fn text(&self, attribute: &str) -> io::Result<Option<String>> {
        read(&self.directory().join(attribute))
    }

    /// An attribute that is a number.
    pub fn number(&self, attribute: &str) -> io::Result<Option<u64>> {
        self.text(attribute)?.map(|text| number(&text)).transpose()
    }

    /// Where it is connected, as sysfs has it: `/devices/pci0000:00/.../block/sda`.
    pub fn path(&self) -> io::Result<String> {
        let target = std::fs::read_link(self.directory())?;
        let target = target.to_string_lossy();
        Ok(format!("/{}", target.trim_start_matches("../")))
    }

    /// Its size in bytes; 0 without a medium.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.number("size")?.unwrap_or(0).saturating_mul(SECTOR))
    }

    /// How many bytes were written to it since it appeared (Documentation/block/stat.rst, field 7).
    pub fn bytes_written(&self) -> io::Result<u64> {
        let stat = self.text("stat")?.unwrap_or_default();
        number(stat.split_whitespace().nth(6).unwrap_or_default()).map(|sectors| sectors.saturating_mul(SECTOR))
    }

    /// Devices that are built on the whole disk, such as a RAID.
    pub fn holders(&self) -> io::Result<Vec<String>> {
        match std::fs::read_dir(self.directory().join("holders")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        }
    }

    /// Whether the kernel shows partitions of these numbers at these places. In few system calls, for every boot does it:
    /// what there is, and how large, is in one file (/proc/partitions, in KiB), and only starts are asked for one by one.
    /// Where that is not there, the answer is no.
    pub fn shows(&self, wanted: impl Iterator<Item = (u32, Extent)>) -> io::Result<bool> {
        const LONGEST: u64 = 1 << 20;
        let all = match kernel::read_file(Path::new("/proc/partitions"), LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            all => all?,
        };
        let all = String::from_utf8_lossy(&all);
        for (number, extent) in wanted {
            let name = self.partition_name(number);
            let mut lines = all.lines().map(|line| line.split_whitespace().rev());
            let size = lines.find_map(|mut words| words.next().filter(|last| **last == name).and(words.next()));
            let start = || read(&self.directory().join(&name).join("start"));
            let is_there = size == Some(&(extent.size / 1024).to_string())
                && start()?.is_some_and(|start| start == (extent.start / SECTOR).to_string());
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The kernel's name of a partition that it has or would have (block/partitions/core.c, `add_partition`).
    pub fn partition_name(&self, number: u32) -> String {
        let separator = if self.name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        format!("{}{separator}{number}", self.name)
    }

    /// The partitions that the kernel shows, by number.
    pub fn partitions(&self) -> io::Result<Vec<KernelPartition>> {
        let mut partitions = Vec::new();
        for entry in std::fs::read_dir(self.directory())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&self.name) {
                partitions.extend(self.partition(&name)?);
            }
        }
        partitions.sort_by_key(|partition| partition.number);
        Ok(partitions)
    }

    fn partition(&self, name: &str) -> io::Result<Option<KernelPartition>> {
        let directory = self.directory().join(name);
        let value = |attribute: &str| read(&directory.join(attribute))?.map(|text| number(&text)).transpose();
        // Gone again between two looks: it is not there.
        let (Some(number), Some(start), Some(size)) = (value("partition")?, value("start")?, value("size")?) else {
            return Ok(None);
        };
        let number = u32::try_from(number).map_err(|_| io::ErrorKind::InvalidData)?;
        let extent = Extent { start: start.saturating_mul(SECTOR), size: size.saturating_mul(SECTOR) };
        Ok(Some(KernelPartition { number, extent, node: node(name) }))
    }

    fn directory(&self) -> PathBuf {
        Path::new("/sys/block").join(&self.name)
    }
}

/// Lets udev look at a partition again, by its node. `token`, a UUID, comes back with its answer as `SYNTH_UUID`
/// (Documentation/ABI/testing/sysfs-uevent).
pub fn trigger(node: &Path, token: &str) -> io::Result<()> {
    let name = node.strip_prefix("/dev").unwrap_or(node).to_string_lossy().replace('/', "!");
    write_into(&Path::new("/sys/class/block").join(name).join("uevent"), &format!("change {token}"))
}

/// An attribute by its path as [`Disk::path`] has it.
pub fn text(path: &str) -> io::Result<Option<String>> {
    read(Path::new(&format!("/sys{path}")))
}

/// The bytes of such an attribute, for one that is not text.
pub fn bytes(path: &str) -> io::Result<Vec<u8>> {
    kernel::read_file(Path::new(&format!("/sys{path}")), PAGE as u64)
}

/// The names in a directory of sysfs.
pub fn names(path: &str) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(format!("/sys{path}"))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// An attribute of sysfs is at most a page.
const PAGE: usize = 4096;

/// `!` stands for the `/` that a directory of sysfs cannot have in its name.
fn node(name: &str) -> PathBuf {
    Path::new("/dev").join(name.replace('!', "/"))
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

fn read(path: &Path) -> io::Result<Option<String>> {
    // One read: it comes in one piece.
    let mut page = [0; PAGE];
    let length = match kernel::open(path, false).and_then(|mut file| file.read(&mut page)) {
        // ENODEV: the attribute is there, the device behind it is just going.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV) => {
            return Ok(None);
        }
        length => length?,
    };
    Ok(Some(String::from_utf8_lossy(&page[..length]).trim().to_owned()))
}
