//! What is made in a new file system, before any table has it: directories and btrfs subvolumes.

use std::io;
use std::path::Path;

use crate::disk::{MakeError, NewPartition};
use crate::filesystem::{Mkfs, Subvolume};
use crate::kernel::calls::{disable_copy_on_write, make_default_subvolume, make_read_only};
use crate::kernel::mount::{self, Mounted, make_directory, make_subvolume};

/// A partition whose file system gets directories, with what makes it.
pub fn wanted(partition: &NewPartition) -> Option<&Mkfs> {
    partition.mkfs.as_ref().filter(|mkfs| !mkfs.directories.is_empty())
}

/// Fails where the kernel cannot mount what the partitions get.
pub fn check(new: &[NewPartition]) -> Result<(), MakeError> {
    for (partition, mkfs) in new.iter().filter_map(|partition| Some((partition, wanted(partition)?))) {
        let (label, format) = (&partition.label, mkfs.format.name());
        mount::check(format).map_err(|reason| match reason.raw_os_error() {
            Some(mount::NO_SUCH_KIND) => MakeError::NotMountable { label: label.clone(), format },
            _ => MakeError::io(&partition.label, "asking the kernel for its file system", reason),
        })?;
    }
    Ok(())
}

/// Makes the directories of one new file system. All is on the medium when this returns, and the device free again.
pub fn make(partition: &NewPartition, mkfs: &Mkfs, node: &Path) -> Result<(), MakeError> {
    let failed = |action| move |reason| MakeError::io(&partition.label, action, reason);
    let mounted = Mounted::new(mkfs.format.name(), node).map_err(failed("mounting it to make its directories"))?;
    let mut read_only = Vec::new();
    for directory in &mkfs.directories {
        let of_this = |reason| {
            let (label, path) = (partition.label.clone(), directory.path.clone());
            MakeError::Directory { label, path, reason }
        };
        let is_default = mkfs.default_subvolume.as_ref() == Some(&directory.path);
        let made = make_one(&mounted, &directory.path, directory.subvolume, is_default).map_err(of_this)?;
        read_only.extend(directory.subvolume.filter(|subvolume| subvolume.read_only).map(|_| made));
    }
    for subvolume in &read_only {
        make_read_only(subvolume).map_err(failed("making its subvolumes read-only"))?;
    }
    drop(read_only);
    mounted.end().map_err(failed("flushing its directories"))
}

fn make_one(
    mounted: &Mounted,
    path: &str,
    subvolume: Option<Subvolume>,
    is_default: bool,
) -> io::Result<std::fs::File> {
    let mut parent = mounted.root().try_clone()?;
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        parent = match subvolume.filter(|_| names.peek().is_none()) {
            None => make_directory(&parent, name)?,
            Some(kind) => {
                let made = make_subvolume(&parent, name)?;
                if kind.no_copy_on_write {
                    disable_copy_on_write(&made)?;
                }
                made
            }
        };
    }
    if is_default {
        make_default_subvolume(&parent)?;
    }
    Ok(parent)
}
