//! A plain image file as a disk: what a card will hold when the file is written onto it. Needs no root.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::directories;
use crate::disk::mkfs::{self, Job};
use crate::disk::open::{OpenError, pretended};
use crate::disk::{Disk, MakeError, NewPartition, SECTOR_SIZES, Shown};
use crate::kernel::{self, users};
use crate::units::Extent;

/// An open image file.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
    sector_size: u32,
    size: u64,
    /// For each file system to be made: where it is made, and a path for its tool.
    sparse_files: Vec<(File, PathBuf)>,
}

impl Image {
    /// Opens an image for looking at it, with sectors of 512 bytes. `size` in bytes pretends that the file were
    /// larger; what it does not have reads as zeros.
    pub fn open(path: &Path, size: Option<u64>) -> Result<Image, OpenError> {
        let file = kernel::open(path, false).map_err(|reason| OpenError::from_io(path, false, reason))?;
        let actual = file.metadata().map_err(|reason| OpenError::Io { path: path.to_owned(), reason })?.len();
        let size = pretended(path, actual, size)?;
        Ok(Image { file, path: path.to_owned(), sector_size: SECTOR_SIZES[0], size, sparse_files: Vec::new() })
    }

    /// Takes the image in sectors of another size.
    pub fn set_sector_size(&mut self, sector_size: u32) {
        self.sector_size = sector_size;
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
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

    fn forget(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn is_file(&self) -> bool {
        true
    }

    fn lock(&mut self, wait: Duration) -> Result<(), OpenError> {
        let path = || self.path.clone();
        self.file = kernel::open(&self.path, true).map_err(|reason| OpenError::from_io(&self.path, true, reason))?;
        let io_error = |reason| OpenError::Io { path: path(), reason };
        if !kernel::lock(&self.file, &self.path, wait).map_err(io_error)? {
            return Err(OpenError::Locked { path: path(), waited: wait });
        }
        // Neither takes the lock: a loop device, which shows the old table on, and QEMU, which has locks of its own.
        let metadata = self.file.metadata().map_err(io_error)?;
        let place = Extent { start: 0, size: metadata.len() };
        let own = |other: &std::fs::Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
        let loops = users::loops_over(|backing| own(backing).then_some(place)).map_err(io_error)?;
        if let Some(user) = loops.first() {
            return Err(OpenError::Used { path: path(), user: user.node.clone() });
        }
        if users::is_locked_in_part(&self.file).map_err(io_error)? {
            let user = "another program, which has locked a part of it: a virtual machine, perhaps".to_owned();
            return Err(OpenError::Used { path: path(), user });
        }
        // The lock's last holder may have changed the size.
        self.size = self.file.metadata().map_err(io_error)?.len();
        Ok(())
    }

    fn check_make(&self, new: &[NewPartition]) -> Result<(), MakeError> {
        let refused = new.iter().find(|partition| directories::wanted(partition).is_some());
        refused.map_or(Ok(()), |partition| Err(MakeError::InAnImage { label: partition.label.clone() }))
    }

    /// A sparse file beside the image for each file system, without a name.
    fn prepare(&mut self, new: &[NewPartition], _removed: &[u32], _table: &[Shown]) -> Result<(), MakeError> {
        self.check_make(new)?;
        let formatted = new.iter().filter(|partition| partition.mkfs.is_some());
        let sparse_file = |partition: &NewPartition| {
            let image = kernel::real_path(&self.path)?;
            let (file, node) = kernel::unnamed_file(image.parent().unwrap_or(&image))?;
            file.set_len(partition.extent.size)?;
            Ok((file, node))
        };
        let action = "making a temporary file beside the image";
        let files = formatted
            .map(|partition| sparse_file(partition).map_err(|reason| MakeError::io(&partition.label, action, reason)));
        self.sparse_files = files.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Each file system is made in its sparse file, and what the tool wrote is copied in.
    fn make(&mut self, new: &[NewPartition]) -> Result<(), MakeError> {
        for partition in new {
            self.clear(partition.extent)
                .map_err(|reason| MakeError::io(&partition.label, "clearing its area", reason))?;
        }
        let formatted: Vec<_> = new.iter().filter_map(|new| Some((new, new.mkfs.as_ref()?))).collect();
        let (files, nodes): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sparse_files).into_iter().unzip();
        assert_eq!(formatted.len(), files.len(), "make without prepare would leave partitions unformatted");
        let jobs = formatted.into_iter().zip(nodes).map(|((partition, mkfs), node)| Job { partition, mkfs, node });
        let jobs: Vec<Job> = jobs.collect();
        mkfs::run_all(&jobs, None)?;
        for (file, job) in files.iter().zip(&jobs) {
            copy_data(file, &self.file, job.partition.extent).map_err(|reason| {
                MakeError::io(&job.partition.label, "copying the file system into the image", reason)
            })?;
        }
        Ok(())
    }
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
