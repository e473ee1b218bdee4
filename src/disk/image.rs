//! A plain image file as a disk: what a card will hold when the file is written onto it. Needs no root.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::mkfs::{self, Job};
use crate::disk::{Disk, MakeError, NewPartition};
use crate::kernel;
use crate::units::{Extent, show_exact};

/// An open image file.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
    sector_size: u32,
    size: u64,
}

/// How an image is to be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Geometry {
    /// Bytes in a sector; found out from the GPT where absent.
    pub sector_size: Option<u32>,
    /// Pretend that the file had this size in bytes; what it does not have reads as zeros.
    pub size: Option<u64>,
}

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Exit status 69.
    #[error("there is no {}", path.display())]
    NotFound {
        /// What was given as an image.
        path: PathBuf,
    },
    /// Exit status 77.
    #[error("no permission to {action} {}", path.display())]
    Permission {
        /// The image.
        path: PathBuf,
        /// "read" or "write".
        action: &'static str,
    },
    /// Exit status 75.
    #[error("{} cannot be written: {reason}", path.display())]
    ReadOnly {
        /// The image.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Exit status 75.
    #[error("another process has {} locked and kept it so for {waited_s} s; run makeroom again when it is done", path.display())]
    Locked {
        /// The image.
        path: PathBuf,
        /// How long it was waited for, in seconds.
        waited_s: u64,
    },
    /// Exit status 69.
    #[error("{} is {kind}, not an image file", path.display())]
    NotAnImage {
        /// What was given as an image.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Exit status 64.
    #[error("--size {} is less than what {} has, {}: a smaller card cannot hold the image",
        show_exact(*wish), path.display(), show_exact(*size))]
    Shrunk {
        /// The image.
        path: PathBuf,
        /// What --size says.
        wish: u64,
        /// What the file has.
        size: u64,
    },
    /// Exit status 74.
    #[error("cannot open {}: {reason}", path.display())]
    Io {
        /// The image.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

impl Image {
    /// Opens an image for looking at it.
    pub fn open(path: &Path, geometry: Geometry) -> Result<Image, OpenError> {
        Image::open_as(path, geometry, false)
    }

    /// Opens an image for writing, alone: waits for its lock at most `wait`.
    pub fn lock(path: &Path, geometry: Geometry, wait: Duration) -> Result<Image, OpenError> {
        let image = Image::open_as(path, geometry, true)?;
        match kernel::lock(&image.file, wait) {
            Ok(true) => Ok(image),
            Ok(false) => Err(OpenError::Locked { path: path.to_owned(), waited_s: wait.as_secs() }),
            Err(reason) => Err(OpenError::Io { path: path.to_owned(), reason }),
        }
    }

    fn open_as(path: &Path, geometry: Geometry, writable: bool) -> Result<Image, OpenError> {
        let io_error = |reason: io::Error| open_error(path, writable, reason);
        // The kind first: opening a FIFO would wait for its other end.
        #[allow(clippy::disallowed_methods)] // this is the door that the lint guards
        let metadata = std::fs::metadata(path).map_err(io_error)?;
        if let Some(kind) = unsuitable(metadata.file_type()) {
            return Err(OpenError::NotAnImage { path: path.to_owned(), kind });
        }
        let file = kernel::open(path, writable).map_err(io_error)?;
        let real_size = metadata.len();
        let size = geometry.size.unwrap_or(real_size);
        if size < real_size {
            return Err(OpenError::Shrunk { path: path.to_owned(), wish: size, size: real_size });
        }
        let sector_size = match geometry.sector_size {
            Some(sector_size) => sector_size,
            None => find_sector_size(&file, real_size).map_err(io_error)?,
        };
        Ok(Image { file, path: path.to_owned(), sector_size, size })
    }

    fn offset(&self, lba: u64) -> io::Result<u64> {
        lba.checked_mul(u64::from(self.sector_size)).ok_or(io::ErrorKind::InvalidInput.into())
    }

    /// Makes an area read as zeros. All of it: what a tool zeroed in its sparse file looks like a hole there, as does
    /// what it never touched, so that neither is copied.
    fn clear(&self, area: Extent) -> io::Result<()> {
        if kernel::punch_hole(&self.file, area.start, area.size)? {
            return Ok(());
        }
        let zeros = vec![0; CHUNK];
        let mut at = area.start;
        while let Some((start, end)) = kernel::next_data(&self.file, at)?.filter(|(start, _)| *start < area.end()) {
            at = start.max(area.start);
            while at < end.min(area.end()) {
                let chunk = chunk_size(end.min(area.end()) - at);
                self.file.write_all_at(&zeros[..chunk], at)?;
                at += chunk as u64;
            }
        }
        Ok(())
    }
}

/// Bytes that are copied or cleared at a time.
const CHUNK: usize = 64 << 10;

fn chunk_size(left: u64) -> usize {
    usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK))
}

impl Disk for Image {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn sectors(&self) -> u64 {
        self.size / u64::from(self.sector_size)
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut offset = self.offset(lba)?;
        let mut rest = buffer;
        while !rest.is_empty() {
            match self.file.read_at(rest, offset) {
                // Behind the end of the file: the part of the card that the image will not cover.
                Ok(0) => {
                    return {
                        rest.fill(0);
                        Ok(())
                    };
                }
                Ok(count) => {
                    rest = &mut rest[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self, lba: u64, sectors: &[u8]) -> io::Result<()> {
        self.file.write_all_at(sectors, self.offset(lba)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Each file system is made in a sparse file beside the image, and what the tool wrote is copied in.
    fn make(&mut self, new: &[NewPartition]) -> Result<(), MakeError> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let io = |new: &NewPartition, action| {
            let label = new.label.clone();
            move |reason| MakeError::Io { label, action, reason }
        };
        let mut files = Vec::new();
        let mut jobs = Vec::new();
        for partition in new {
            self.clear(partition.extent).map_err(io(partition, "clearing its area"))?;
            let Some(mkfs) = &partition.mkfs else { continue };
            let sparse_file = kernel::unnamed_file(directory)
                .and_then(|(file, node)| file.set_len(partition.extent.size).map(|()| (file, node)));
            let (file, node) = sparse_file.map_err(io(partition, "making a temporary file beside the image"))?;
            files.push(file);
            jobs.push(Job { partition, mkfs, node });
        }
        mkfs::run_all(&jobs)?;
        for (file, job) in files.iter().zip(&jobs) {
            copy_data(file, &self.file, job.partition.extent)
                .map_err(io(job.partition, "copying the file system into the image"))?;
        }
        Ok(())
    }
}

fn open_error(path: &Path, writable: bool, reason: io::Error) -> OpenError {
    let path = path.to_owned();
    match reason.kind() {
        io::ErrorKind::NotFound => OpenError::NotFound { path },
        io::ErrorKind::PermissionDenied => {
            OpenError::Permission { path, action: if writable { "write" } else { "read" } }
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ExecutableFileBusy => OpenError::ReadOnly { path, reason },
        _ => OpenError::Io { path, reason },
    }
}

fn unsuitable(kind: std::fs::FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_block_device() => Some("a block device, which this version cannot work on"),
        _ if !kind.is_file() => Some("no regular file"),
        _ => None,
    }
}

/// The sector size under which a GPT header stands where it must: LBA 1, or the last LBA when the first is gone.
fn find_sector_size(file: &File, size: u64) -> io::Result<u32> {
    let sizes = [512u32, 4096];
    let first = sizes.map(|sector_size| (u64::from(sector_size), sector_size));
    let last = sizes.map(|sector_size| (size - size.min(u64::from(sector_size)), sector_size));
    for (offset, sector_size) in first.into_iter().chain(last) {
        let mut signature = [0; 8];
        if offset + 8 <= size {
            file.read_exact_at(&mut signature, offset)?;
        }
        if &signature == b"EFI PART" {
            return Ok(sector_size);
        }
    }
    Ok(sizes[0])
}

/// Copies what is neither a hole nor zeros: the target was cleared, and the image stays small.
fn copy_data(from: &File, to: &File, target: Extent) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while let Some((start, end)) = kernel::next_data(from, at)? {
        at = start;
        while at < end.min(target.size) {
            let chunk = &mut buffer[..chunk_size(end.min(target.size) - at)];
            from.read_exact_at(chunk, at)?;
            if chunk.iter().any(|byte| *byte != 0) {
                to.write_all_at(chunk, target.start + at)?;
            }
            at += chunk.len() as u64;
        }
        at = end;
        if end >= target.size {
            break;
        }
    }
    Ok(())
}
