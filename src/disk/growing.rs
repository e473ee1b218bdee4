//! A file system becomes as large as its partition.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::disk::Growth;
use crate::filesystem::Format;
use crate::kernel;
use crate::kernel::calls::{grow_btrfs, grow_ext4, grow_xfs, is_frozen};
use crate::kernel::mount::{Mounted, Use, use_of};

/// A change that changes nothing takes microseconds; on a slow card behind a full queue of writes it may take long.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// By the kernel, whose journal, or copies on write, make it whole at every moment. It replays the journal when it mounts
/// it, so that one whose growing was cut short grows on.
pub fn grow(growth: &Growth, node: &Path) -> io::Result<()> {
    let used = use_of(node)?;
    if matches!(used, Use::Mounted | Use::Other) {
        let used = "it is mounted read-only, or in use by something other than a mount";
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, used));
    }
    let (to, superblock) = (growth.to, &growth.superblock);
    let file_system = Mounted::new(superblock.format.name(), node)?;
    // What only this process has mounted is not frozen.
    if used == Use::Written && is_frozen(file_system.root(), LONGEST_ANSWER)? {
        let frozen = "it is mounted and frozen (fsfreeze), and takes no change until it is thawed";
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, frozen));
    }
    let (root, blocks) = (file_system.root(), to / superblock.block_size);
    match superblock.format {
        Format::Ext4 => grow_ext4(root, blocks)?,
        Format::Xfs => grow_xfs(root, blocks)?,
        Format::Btrfs => grow_btrfs(root, superblock.device_id, to)?,
        Format::F2fs | Format::Vfat | Format::Swap => return Err(io::ErrorKind::Unsupported.into()),
    }
    // What xfs writes last, the copies of its superblock, has no flush behind it before the superblock itself comes home
    // from the journal: with that on the medium and them not, xfs_repair goes by them, and makes it small again.
    kernel::open(node, false)?.sync_all()?;
    file_system.end()
}
