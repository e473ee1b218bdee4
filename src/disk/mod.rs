//! The one door to a disk. Everything that reads or changes one goes through [`Disk`], so that a test can stand
//! in for the card and cut its power at any write.
//!
//! Knows no table and no order of writes. `image` is a plain file; `mkfs` runs the tools for it.

pub mod image;
mod mkfs;

use std::io;

use crate::filesystem::Mkfs;
use crate::units::{Extent, Label};

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

    /// Gets ready what `make` will need, and fails where `make` would be refused it. Called before the first write;
    /// leaves no trace.
    fn prepare(&mut self, new: &[NewPartition]) -> Result<(), MakeError>;

    /// Makes the file systems of new partitions, which no table mentions yet, so that a cut leaves no trace of
    /// them. Writes inside their extents only, and leaves nothing of what the first and last MiB held before.
    /// Durable only after `flush`.
    fn make(&mut self, new: &[NewPartition]) -> Result<(), MakeError>;
}

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
