//! What a path names, and why it cannot be opened as a disk.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kernel::sysfs;
use crate::units::{show_exact, show_seconds};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block device; a partition stands for its whole disk.
    BlockDevice(sysfs::Disk),
    /// A plain file.
    Image,
}

/// Finds out what a path names, without opening it: opening a FIFO would wait for its other end.
pub fn kind(path: &Path) -> Result<Kind, OpenError> {
    let io_error = |reason| OpenError::from_io(path, false, reason);
    #[allow(clippy::disallowed_methods)] // this is the door that the lint guards
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    let unsuitable = |kind| Err(OpenError::NotADisk { path: path.to_owned(), kind });
    match metadata.file_type() {
        kind if kind.is_block_device() => {
            let disk = sysfs::Disk::of_node(path).map_err(io_error)?;
            disk.map(Kind::BlockDevice).map_or_else(|| unsuitable("no longer a block device"), Ok)
        }
        kind if kind.is_file() => Ok(Kind::Image),
        kind if kind.is_dir() => unsuitable("a directory"),
        _ => unsuitable("neither a file nor a disk"),
    }
}

/// The size that is worked with: the disk's own, or a larger one that somebody wants to see planned.
pub(super) fn pretended(path: &Path, actual: u64, wish: Option<u64>) -> Result<u64, OpenError> {
    match wish {
        Some(wish) if wish < actual => Err(OpenError::Shrunk { path: path.to_owned(), wish, size: actual }),
        wish => Ok(wish.unwrap_or(actual)),
    }
}

/// Why a disk or an image cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the sentences say it
pub enum OpenError {
    /// Exit status 69.
    #[error("there is no \"{}\": check the path, and whether the disk is connected", path.display())]
    NotFound { path: PathBuf },
    /// Exit status 69.
    #[error("{} is {kind}: give a disk, or an image file with --disk", path.display())]
    NotADisk { path: PathBuf, kind: &'static str },
    /// Exit status 69: the kernel's name and the node in /dev do not belong together.
    #[error("{} is not the device that the kernel calls {name}: is /dev a devtmpfs?", path.display())]
    OtherDevice { path: PathBuf, name: String },
    /// Exit status 69.
    #[error("{} has no medium in it", path.display())]
    Empty { path: PathBuf },
    /// Exit status 77. The action is "read" or "write".
    #[error("no permission to {action} {}", path.display())]
    Permission { path: PathBuf, action: &'static str },
    /// Exit status 75.
    #[error("{} cannot be written: {reason}", path.display())]
    ReadOnly { path: PathBuf, reason: String },
    /// Exit status 75.
    #[error("another process has {} locked and kept it so for {} s; run makeroom again when it is done",
        path.display(), show_seconds(*waited))]
    Locked { path: PathBuf, waited: Duration },
    /// Exit status 75.
    #[error("{} is in use by {user}: stop that, then run makeroom again", path.display())]
    Used { path: PathBuf, user: String },
    /// Exit status 75.
    #[error("{} is no longer the disk that makeroom looked at: it was exchanged or has changed its size meanwhile; \
        run makeroom again", path.display())]
    Replaced { path: PathBuf },
    /// Exit status 75.
    #[error("{} is a part of {holders}: its sectors are not its own. Name that device with --disk \
        or, at boot, with makeroom.disk=",
        path.display())]
    PartOf { path: PathBuf, holders: String },
    /// Exit status 65.
    #[error("{} has sectors of {found} bytes; makeroom knows 512 and 4096", path.display())]
    OddSectorSize { path: PathBuf, found: u64 },
    /// Exit status 64.
    #[error("--size {} is less than what {} has, {}: a smaller card cannot hold the image",
        show_exact(*wish), path.display(), show_exact(*size))]
    Shrunk { path: PathBuf, wish: u64, size: u64 },
    /// Exit status 64: an image whose table says otherwise.
    #[error("--sector-size {wish}: the partition table of {} was made for sectors of {found} bytes; leave the \
        option out", path.display())]
    SectorSize { path: PathBuf, wish: u32, found: u32 },
    /// Exit status 64: a device knows better.
    #[error("--sector-size {wish}: {} has sectors of {found} bytes; leave the option out", path.display())]
    DeviceSectorSize { path: PathBuf, wish: u32, found: u32 },
    /// Exit status 64.
    #[error("{} has a partition table for sectors of 512 and one for sectors of 4096 bytes: say with --sector-size \
        which one is meant", path.display())]
    SectorSizes { path: PathBuf },
    /// Exit status 74.
    #[error("cannot open {}: {reason}", path.display())]
    Io { path: PathBuf, reason: io::Error },
}

impl OpenError {
    /// What the system said of opening `path`.
    pub(super) fn from_io(path: &Path, writable: bool, reason: io::Error) -> OpenError {
        let path = path.to_owned();
        match reason.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::NotFound { path },
            io::ErrorKind::PermissionDenied => {
                OpenError::Permission { path, action: if writable { "write" } else { "read" } }
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ExecutableFileBusy => {
                OpenError::ReadOnly { path, reason: reason.to_string() }
            }
            _ if reason.raw_os_error() == Some(crate::kernel::NO_MEDIUM) => OpenError::Empty { path },
            _ => OpenError::Io { path, reason },
        }
    }
}
