//! The one door to a disk. Everything that reads or changes one goes through [`Disk`], so that a test can stand
//! in for the card and cut its power at any write.
//!
//! Knows no table and no order of writes. `block_device` is the real thing, `image` a plain file; `mkfs` runs the
//! tools for both, `directories` fills what they made, `growing` makes it larger; `shown` is what the kernel shows, `udev`
//! looks at it, and makes `links` for the boot disk.

pub mod block_device;
mod directories;
mod growing;
pub mod image;
mod links;
mod mkfs;
pub mod open;
mod shown;
mod udev;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::open::OpenError;
use crate::filesystem::Mkfs;
use crate::filesystem::superblock::Superblock;
use crate::text::escape;
use crate::units::{Extent, Label, show_size};

/// A disk, in sectors of its own size.
///
/// What survives a power cut: everything written before the last `flush` that returned; of what was written
/// since, any subset of whole sectors, in any order.
pub trait Disk {
    /// Bytes in a logical sector: 512 or 4096.
    fn sector_size(&self) -> u32;

    /// How many whole sectors there are.
    fn sectors(&self) -> u64;

    /// Fills `buffer`, a whole number of sectors, from sector `lba` on.
    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes a whole number of sectors. Durable only after `flush`; a cut before may leave any of its sectors
    /// old and any new.
    fn write(&mut self, lba: u64, sectors: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is on the medium.
    fn flush(&mut self) -> io::Result<()>;

    /// Forgets what was cached, so that the next read asks the medium. False: there is no medium to ask, as with an
    /// image file. What is not flushed stays cached.
    fn forget(&mut self) -> io::Result<bool>;

    /// Makes a disk that was opened for looking ready for writing, alone: waits for its lock at most `wait`. What
    /// was read before may have changed. Writes nothing.
    fn lock(&mut self, wait: Duration) -> Result<(), OpenError>;

    /// Fails where `make` cannot make what is wanted, whatever else may be.
    fn check_make(&self, _new: &[NewPartition]) -> Result<(), MakeError> {
        Ok(())
    }

    /// Gets ready what `make` will need, and fails where `make` would be refused it, where one of `removed` is in use, or
    /// what the kernel shows in the way of `table`, as it will be. Called before the first write; writes nothing itself.
    fn prepare(&mut self, new: &[NewPartition], removed: &[u32], table: &[Shown]) -> Result<(), MakeError>;

    /// Makes the file systems of new partitions, which no table mentions yet, so that a cut leaves no trace of
    /// them. Writes inside their extents only, and leaves nothing of what the first and last MiB held before.
    /// Durable only after `flush`.
    fn make(&mut self, new: &[NewPartition]) -> Result<(), MakeError>;

    /// Who uses a part of these places without having it alone: loop devices, and processes that have a partition there open
    /// for writing. Names for messages.
    fn users(&self, _places: &[Extent]) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Makes the kernel show `table` where it shows less, as after a run that was killed; waits for the disk's lock at most
    /// `wait`. Whether there was anything to do. Writes nothing to the disk.
    fn show(&mut self, _table: &[Shown], _wait: Duration) -> Result<bool, AnnounceError> {
        Ok(false)
    }

    /// Whether the kernel shows all of these.
    fn shows(&self, _table: &[Shown]) -> bool {
        true
    }

    /// Ends a run that will not bring its new partitions into a table: takes back what `prepare` told the kernel. The
    /// kernel gets back what it was told to forget only where the table `still_has` it.
    fn abandon(&mut self, _still_has: bool) {}

    /// Ends a run that failed: closes what was open for writing and gives the lock up, so that udev can look at the disk.
    fn release(&mut self) {}

    /// Ends a run whose table is on the disk: makes the kernel show `partitions` and no others in their places, gives
    /// the lock up, and returns when udev has seen it all. Writes nothing to the disk.
    fn announce(&mut self, _partitions: &[Shown]) -> Result<(), AnnounceError> {
        Ok(())
    }

    /// Whether the file systems on it can be made larger. Those in an image grow when it has become a disk.
    fn can_grow(&self) -> bool {
        false
    }

    /// Makes a file system as large as its partition, which the kernel shows by now; gives the lock up before. A cut
    /// leaves the file system whole, of the old size or the new one. Writes nothing but what the kernel does.
    fn grow(&mut self, _growth: &Growth) -> Result<(), GrowError> {
        Err(GrowError { action: "making it larger", reason: io::ErrorKind::Unsupported.into() })
    }

    /// Fails where [`Disk::publish`] would.
    fn check_publish(&self) -> io::Result<()> {
        Ok(())
    }

    /// Publishes that this is the boot disk: its partitions, and no others, get links below `/dev/disk/by-makeroom`, now
    /// and whenever udev looks at them again, also after the initrd. Returns when they are there. `partitions` are those
    /// that Linux shows.
    fn publish(&mut self, _udevadm: &Path, _partitions: &[(u32, Label)]) -> io::Result<()> {
        Ok(())
    }

    /// The device node that a partition has or will have; nothing in an image.
    fn partition_node(&self, _number: u32) -> Option<String> {
        None
    }

    /// How much a card erases at a time, in bytes, where it says so.
    fn erase_size(&self) -> Option<u64> {
        None
    }

    /// Whether it is an image file, in which nothing is left by chance of what was there before.
    fn is_file(&self) -> bool {
        false
    }

    /// Whether the kernel lets nobody write to it.
    fn is_read_only(&self) -> bool {
        false
    }

    /// How many bytes the medium has been sent since it appeared, where that is counted.
    fn bytes_written(&self) -> Option<u64> {
        None
    }
}

/// How a sector begins with which a run asks a disk whether it holds what is written to it. A run that is stopped then
/// leaves it there.
pub const PROBE_MARK: &[u8] = b"makeroom asks whether LBA ";

/// The sector sizes that a GPT is made for.
pub const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// The last sector's number.
pub fn last_lba(disk: &dyn Disk) -> u64 {
    disk.sectors().saturating_sub(1)
}

/// Reads `count` sectors into memory. The caller bounds `count`.
pub fn read_sectors(disk: &mut dyn Disk, lba: u64, count: u64) -> io::Result<Vec<u8>> {
    let bytes = count.checked_mul(u64::from(disk.sector_size())).and_then(|bytes| usize::try_from(bytes).ok());
    let mut buffer = vec![0; bytes.ok_or(io::ErrorKind::InvalidInput)?];
    disk.read(lba, &mut buffer)?;
    Ok(buffer)
}

/// A partition to be made before the table knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// Its number, from 1, as in the device node.
    pub number: u32,
    /// Its label, for messages.
    pub label: Label,
    /// Its place in bytes.
    pub extent: Extent,
    /// The command that fills it; without one it is only cleared at both ends.
    pub mkfs: Option<Mkfs>,
}

/// A file system that grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The number of its partition, from 1.
    pub number: u32,
    /// Its partition's label.
    pub label: Label,
    /// Its partition's place in bytes.
    pub extent: Extent,
    /// What it says of itself.
    pub superblock: Superblock,
    /// Bytes that it gets.
    pub to: u64,
}

impl Growth {
    /// In words: `its ext4 grows from 2.0 GiB to 29.1 GiB`.
    pub fn words(&self) -> String {
        let Superblock { format, size, .. } = &self.superblock;
        let (format, size, to) = (format.name(), show_size(*size), show_size(self.to));
        format!("its {format} grows from {size} to {to}")
    }
}

/// A partition of the table as the kernel shall show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its number, from 1.
    pub number: u32,
    /// Its label, for messages.
    pub label: Label,
    /// Its place in bytes.
    pub extent: Extent,
    /// Whether this run has made it or its size, so that udev has to look at it again.
    pub has_changed: bool,
}

/// Why the kernel does not show what the table says. Exit status 74.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The kernel refused, or sysfs could not be read.
    #[error("{action}: {reason}")]
    Io {
        /// What was being done.
        action: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The kernel shows another place than the table has, or none.
    #[error("the kernel shows partition {number} {}; the table has it at byte {}, {} bytes long",
        shown.map_or("nowhere".to_owned(), |shown| format!("at byte {}, {} bytes long", shown.start, shown.size)),
        wanted.start, wanted.size)]
    Misplaced {
        /// Its number.
        number: u32,
        /// Where the kernel shows it.
        shown: Option<Extent>,
        /// Where the table has it.
        wanted: Extent,
    },
}

/// Why a file system was not made larger. It is as it was, and no reason to stop.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {reason}")]
pub struct GrowError {
    /// What was being done.
    pub action: &'static str,
    /// What the system said.
    pub reason: io::Error,
}

/// Why a new partition could not be made. The table has not been touched for it.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Reading, writing or clearing its area.
    #[error("{label}: {action}: {reason}")]
    Io {
        /// The partition.
        label: Label,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// Asking about the whole disk.
    #[error("{action}: {reason}")]
    Disk {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// The kernel shows another partition in its place or under its number, and somebody uses it. Exit status 75.
    #[error(
        "{label}: {node} is in its place and in use, though the partition table does not have it; unmount it or stop \
         what uses it, then run makeroom again"
    )]
    InUse {
        /// The partition.
        label: Label,
        /// The device node that is in use.
        node: String,
    },
    /// The kernel shows a partition at another place than the table has it, and it is in use there. Exit status 75.
    #[error(
        "{label}: the kernel shows {node} at byte {is}, the table has it at byte {wanted}, and it is in use: the table was changed \
         elsewhere meanwhile. Unmount it, or reboot, so that the kernel shows what the table says"
    )]
    Elsewhere {
        /// The partition.
        label: Label,
        /// Its device node.
        node: String,
        /// The byte where the kernel shows it.
        is: u64,
        /// The byte where the table has it.
        wanted: u64,
    },
    /// A loop device or a process uses a place that would be written to, through the whole disk. Exit status 75.
    #[error(
        "{user} uses a part of the disk that would be written to: end that (losetup --detach LOOP, or stop the process), \
             then run makeroom again"
    )]
    Used {
        /// Its name.
        user: String,
    },
    /// Another process has opened the whole disk exclusively. Exit status 75.
    #[error("another process has the whole disk for itself (O_EXCL): stop it, then run makeroom again")]
    Held,
    /// A node is that of another device. Exit status 69.
    #[error(
        "{label}: {} is not the device that the kernel calls {name}: what would be written there would go to another disk. \
         Run makeroom with a devtmpfs on /dev", node.display()
    )]
    OtherDevice {
        /// The partition.
        label: Label,
        /// The node.
        node: PathBuf,
        /// The kernel's name of the partition.
        name: String,
    },
    /// The tool said yes and has not made what it was asked for.
    #[error("{label}: {tool} ended without an error, but {what}")]
    NotMade {
        /// The partition.
        label: Label,
        /// The tool's path.
        tool: String,
        /// What is there instead.
        what: String,
    },
    /// A partition that a factory reset would make anew is in use. Exit status 75.
    #[error("{node} would be deleted by the factory reset, and it is in use: unmount it, then run makeroom again")]
    ResetInUse {
        /// The device node that is in use.
        node: String,
    },
    /// The kernel did not forget a partition that a factory reset would make anew.
    #[error("telling the kernel that {node} will be deleted: {reason}")]
    Reset {
        /// Its device node.
        node: String,
        /// What the system said.
        reason: io::Error,
    },
    /// Its directories need a mount, which the kernel does not know how to make. Exit status 73.
    #[error(
        "{label}: the kernel has no {format}, so that no directories can be made in it: put its module into the initrd \
         (on NixOS: boot.initrd.supportedFilesystems), or leave the directories out"
    )]
    NotMountable {
        /// The partition.
        label: Label,
        /// The file system's name.
        format: &'static str,
    },
    /// Its directories need a mount, which an image file cannot have. Exit status 73.
    #[error(
        "{label}: directories are made by the kernel, which mounts no part of an image file: attach it \
         (losetup --find --show FILE) and name the loop device with --disk"
    )]
    InAnImage {
        /// The partition.
        label: Label,
    },
    /// A directory could not be made in it.
    #[error("{label}: making the directory \"{}\" in it: {reason}", escape(path))]
    Directory {
        /// The partition.
        label: Label,
        /// The directory's path in the file system.
        path: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The tool could not be started.
    #[error("{label}: cannot run {tool}: {reason}")]
    Start {
        /// The partition.
        label: Label,
        /// The tool's path.
        tool: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The tool said no, or was killed.
    #[error("{label}: {tool} failed ({status}). It said:\n{output}")]
    Failed {
        /// The partition.
        label: Label,
        /// The tool's path.
        tool: String,
        /// Its exit status or signal.
        status: std::process::ExitStatus,
        /// The beginning and the end of its output.
        output: String,
    },
}

impl MakeError {
    /// The system's answer to `action`.
    pub fn io(label: &Label, action: &'static str, reason: io::Error) -> MakeError {
        MakeError::Io { label: label.clone(), action, reason }
    }
}
