//! A real disk, with a kernel and udev in the way.
//!
//! Until something has to be written, the disk is open for reading only: when a disk that was open for writing is
//! closed, udev re-reads its table, and up to systemd 258 that removes and adds every partition, which kills the
//! mounts and checks of the boot. When it was open for writing, a partition is held open while it is closed and until
//! udev has answered: then the kernel refuses to drop the partitions, and udev only looks at them again.
//!
//! New partitions are known to the kernel before any table has them: the tool gets a real node, and after a power cut
//! there is nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::mkfs::{self, Job};
use crate::disk::open::{OpenError, pretended};
use crate::disk::{AnnounceError, Disk, GrowError, Growth, MakeError, NewPartition, SECTOR_SIZES, Shown};
use crate::disk::{directories, growing, links, shown, udev};
use crate::filesystem::Mkfs;
use crate::kernel;
use crate::kernel::calls::{add_partition, remove_partition, sector_size};
use crate::kernel::sysfs::{self, KernelPartition};
use crate::kernel::uevent::{self, Answers};
use crate::units::{Extent, Label, MIB, show_exact, show_seconds};

/// An open block device.
#[derive(Debug)]
pub struct BlockDevice {
    kernel: sysfs::Disk,
    node: PathBuf,
    sector_size: u32,
    /// What is worked with, and what there is.
    size: u64,
    actual_size: u64,
    /// Not known of a disk that somebody only glanced at.
    identity: Option<sysfs::Identity>,
    writable: Option<File>,
    /// Carries the lock, too.
    readable: File,
    added: Vec<Added>,
    /// What the kernel showed in the way of the new partitions.
    removed: Vec<KernelPartition>,
}

/// A partition that the kernel has got from us, open for writing.
#[derive(Debug)]
struct Added {
    number: u32,
    node: PathBuf,
    file: File,
}

impl BlockDevice {
    /// Opens a whole disk for looking at it.
    pub fn open(kernel: sysfs::Disk) -> Result<BlockDevice, OpenError> {
        let mut disk = BlockDevice::glance(kernel)?;
        disk.identify()?;
        Ok(disk)
    }

    /// Opens a whole disk only to see what is on it: that it is the one with this name is not certain, and it cannot
    /// be locked before [`BlockDevice::identify`]. A search does this to every disk, at every boot.
    pub fn glance(kernel: sysfs::Disk) -> Result<BlockDevice, OpenError> {
        let path = kernel.node();
        let io_error = |reason| OpenError::Io { path: path.clone(), reason };
        let readable = kernel::open(&path, false).map_err(|reason| OpenError::from_io(&path, false, reason))?;
        let actual_size = kernel::end_of(&readable).map_err(io_error)?;
        if actual_size == 0 {
            return Err(OpenError::Empty { path });
        }
        kernel::read_what_is_asked_for(&readable).map_err(io_error)?;
        let found = sector_size(&readable).map_err(io_error)?;
        let known = SECTOR_SIZES.into_iter().find(|known| u64::from(*known) == found);
        let sector_size = known.ok_or(OpenError::OddSectorSize { path: path.clone(), found })?;
        Ok(BlockDevice {
            node: path,
            kernel,
            identity: None,
            sector_size,
            size: actual_size,
            actual_size,
            writable: None,
            readable,
            added: Vec::new(),
            removed: Vec::new(),
        })
    }

    /// Makes certain which disk this is, so that it is known when another takes its place.
    pub fn identify(&mut self) -> Result<(), OpenError> {
        let io_error = |reason| OpenError::Io { path: self.node.clone(), reason };
        let identity = self.kernel.identity().map_err(io_error)?;
        if !identity.is_of(&self.readable).map_err(io_error)? {
            return Err(OpenError::OtherDevice { path: self.node.clone(), name: self.kernel.name().to_owned() });
        }
        self.identity = Some(identity);
        Ok(())
    }

    /// Takes the disk for a larger one of `size` bytes, to see what would be planned: what it does not have reads as
    /// zeros. Its sectors have the size that the kernel says, which `sector_size` must not contradict.
    pub fn pretend(&mut self, size: Option<u64>, sector_size: Option<u32>) -> Result<(), OpenError> {
        let found = self.sector_size;
        if let Some(wish) = sector_size.filter(|wish| *wish != found) {
            return Err(OpenError::DeviceSectorSize { path: self.node.clone(), wish, found });
        }
        self.size = pretended(&self.node, self.actual_size, size)?;
        Ok(())
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its device node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Removes what the kernel shows where a partition that is new or grows will be, and no table has: from a run that was
    /// stopped in this boot, or of another program.
    fn clear_the_way(&mut self, wanted: &Shown, is_new: bool) -> Result<(), MakeError> {
        let all = self.kernel.partitions();
        for other in all.map_err(|reason| MakeError::io(&wanted.label, "reading the kernel's partitions", reason))? {
            let is_itself = !is_new && shown::is_same(&other, wanted);
            if !is_itself && shown::is_in_the_way(&other, wanted) {
                self.remove_leftover(&wanted.label, other)?;
            }
        }
        Ok(())
    }

    /// Lets the kernel have a new partition.
    fn add(&mut self, partition: &NewPartition) -> Result<(), MakeError> {
        let io_error = |action| move |reason| MakeError::io(&partition.label, action, reason);
        let (number, extent) = (partition.number, partition.extent);
        add_partition(&self.readable, number, extent).map_err(io_error("telling the kernel of it"))?;
        let open = |added: KernelPartition| kernel::open(&added.node, true).map(|file| (added.node, file));
        match self.find(number).and_then(|added| added.ok_or(io::ErrorKind::NotFound.into())).and_then(open) {
            Ok((node, file)) => self.added.push(Added { number, node, file }),
            Err(reason) => {
                remove_partition(&self.readable, number).map_err(io_error("taking it back"))?;
                return Err(MakeError::io(&partition.label, "opening its device node", reason));
            }
        }
        Ok(())
    }

    /// Lets the kernel forget what a factory reset will delete: nobody can open it any more, and what is open stays.
    fn forget_partitions(&mut self, numbers: &[u32]) -> Result<(), MakeError> {
        let all = self.kernel.partitions();
        let all = all.map_err(|reason| MakeError::Reset { node: self.node.display().to_string(), reason })?;
        for partition in all.into_iter().filter(|partition| numbers.contains(&partition.number)) {
            let node = partition.node.display().to_string();
            remove_partition(&self.readable, partition.number).map_err(|reason| match reason.kind() {
                io::ErrorKind::ResourceBusy => MakeError::ResetInUse { node },
                _ => MakeError::Reset { node, reason },
            })?;
            self.removed.push(partition);
        }
        Ok(())
    }

    /// What the kernel shows in a place where no table has anything.
    fn remove_leftover(&mut self, label: &Label, leftover: KernelPartition) -> Result<(), MakeError> {
        let node = leftover.node.display().to_string();
        match remove_partition(&self.readable, leftover.number) {
            Ok(()) => {
                log::info!(
                    "the kernel has shown {node} where {label} will be, perhaps since a run was stopped: removed"
                );
                self.removed.push(leftover);
                Ok(())
            }
            Err(reason) if reason.kind() == io::ErrorKind::ResourceBusy => {
                Err(MakeError::InUse { label: label.clone(), node })
            }
            Err(reason) => Err(MakeError::io(label, "removing what an earlier run left in the kernel", reason)),
        }
    }

    fn make_directories(&mut self, partition: &NewPartition, mkfs: &Mkfs) -> Result<(), MakeError> {
        let added = self.added.iter_mut().find(|added| added.number == partition.number);
        let Added { node, file, .. } = added.expect("it has just been made");
        // A kernel may mount nothing that anybody has open for writing (CONFIG_BLK_DEV_WRITE_MOUNTED).
        *file =
            kernel::open(node, false).map_err(|reason| MakeError::io(&partition.label, "opening it again", reason))?;
        directories::make(partition, mkfs, node)?;
        file.sync_all().map_err(|reason| MakeError::io(&partition.label, "flushing its directories", reason))
    }

    fn find(&self, number: u32) -> io::Result<Option<KernelPartition>> {
        Ok(self.kernel.partitions()?.into_iter().find(|partition| partition.number == number))
    }

    /// Closes what was open for writing and gives the lock up, and returns when udev has looked at the partitions
    /// `new`, or at any when there are none. That udev cannot be told is no reason to stop: the disk is as it shall be.
    fn hand_over(&mut self, new: &[u32]) {
        let warn = |reason: io::Error| log::warn!("{}: telling udev of the changes: {reason}", self.node.display());
        let partitions = self.kernel.partitions().unwrap_or_else(|reason| {
            warn(reason);
            Vec::new()
        });
        let held = partitions.iter().find_map(|partition| kernel::open(&partition.node, false).ok());
        let answers = Answers::listen().unwrap_or_else(|reason| {
            warn(reason);
            None
        });
        self.added.clear();
        self.writable = None;
        if let Err(reason) = self.readable.unlock() {
            log::warn!("{}: giving its lock up: {reason}", self.node.display());
        }
        let is_new = |partition: &&KernelPartition| new.contains(&partition.number);
        let mut changed: Vec<_> = partitions.iter().filter(is_new).collect();
        if changed.is_empty() {
            changed.extend(partitions.first());
        }
        let told = match answers {
            Some(answers) => udev::look_at(&self.node, answers, &changed),
            // Whatever else manages devices may listen.
            None => changed.iter().try_for_each(|partition| udev::trigger(&partition.node).map(|_| ())),
        };
        if let Err(reason) = told {
            log::warn!("{}: telling udev of the changes: {reason}", self.node.display());
        }
        drop(held);
    }

    fn sequence(&self) -> Option<u64> {
        self.identity.and_then(|identity| identity.sequence())
    }
}

impl Disk for BlockDevice {
    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn sectors(&self) -> u64 {
        self.size / u64::from(self.sector_size)
    }

    fn read(&mut self, lba: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = self.offset(lba)?;
        let there = usize::try_from(self.actual_size.saturating_sub(start)).unwrap_or(usize::MAX).min(buffer.len());
        let (there, pretended) = buffer.split_at_mut(there);
        pretended.fill(0);
        self.readable.read_exact_at(there, start)
    }

    fn write(&mut self, lba: u64, sectors: &[u8]) -> io::Result<()> {
        let start = self.offset(lba)?;
        kernel::write_direct(self.writable()?, sectors, start)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writable()?.sync_all()
    }

    fn forget(&mut self) -> io::Result<bool> {
        kernel::forget(&self.readable).map(|()| true)
    }

    fn lock(&mut self, wait: Duration) -> Result<(), OpenError> {
        let path = || self.node.clone();
        let io_error = |reason| OpenError::Io { path: path(), reason };
        if !kernel::lock(&self.readable, &self.node, wait).map_err(io_error)? {
            return Err(OpenError::Locked { path: path(), waited: wait });
        }
        let identity = self.kernel.identity().map_err(io_error)?;
        let size = self.kernel.size().map_err(io_error)?;
        if (Some(identity), size) != (self.identity, self.actual_size) {
            return Err(OpenError::Replaced { path: path() });
        }
        // Opening a read-only disk for writing works; the writes then fail, one after the other.
        if self.kernel.number("ro").map_err(io_error)? == Some(1) {
            return Err(OpenError::ReadOnly {
                path: path(),
                reason: "the kernel has it as read-only (a card may have a lock switch)".to_owned(),
            });
        }
        let holders = self.kernel.holders().map_err(io_error)?;
        if !holders.is_empty() {
            return Err(OpenError::PartOf { path: path(), holders: holders.join(", ") });
        }
        kernel::check_writable(&self.node).map_err(|reason| OpenError::from_io(&self.node, true, reason))
    }

    fn check_make(&self, new: &[NewPartition]) -> Result<(), MakeError> {
        directories::check(new)
    }

    /// The kernel gets the new partitions here and not only in `make`: whatever it refuses is a refusal before the
    /// first write.
    fn prepare(&mut self, new: &[NewPartition], removed: &[u32], table: &[Shown]) -> Result<(), MakeError> {
        self.check_make(new)?;
        self.forget_partitions(removed)?;
        for wanted in table.iter().filter(|wanted| wanted.has_changed) {
            self.clear_the_way(wanted, new.iter().any(|new| new.number == wanted.number))?;
        }
        for partition in new {
            self.add(partition)?;
        }
        Ok(())
    }

    fn make(&mut self, new: &[NewPartition]) -> Result<(), MakeError> {
        let added = |partition: &NewPartition| {
            let added = self.added.iter().find(|added| added.number == partition.number);
            added.expect("make without prepare would leave partitions unformatted")
        };
        for partition in new {
            clear_ends(&added(partition).file, partition.extent)
                .map_err(|reason| MakeError::io(&partition.label, "clearing its ends", reason))?;
        }
        let job =
            |partition| Some(Job { partition, mkfs: partition.mkfs.as_ref()?, node: added(partition).node.clone() });
        let jobs: Vec<Job> = new.iter().filter_map(job).collect();
        mkfs::run_all(&jobs, Some(&self.readable))?;
        for partition in new {
            // Opened before the tool ran, so that an error in writing what it left in the cache is not missed.
            let synced = added(partition).file.sync_all();
            synced.map_err(|reason| MakeError::io(&partition.label, "flushing its file system", reason))?;
        }
        for partition in new {
            if let Some(mkfs) = directories::wanted(partition) {
                self.make_directories(partition, mkfs)?;
            }
        }
        Ok(())
    }

    fn abandon(&mut self, still_has: bool) {
        for Added { number, node, file } in std::mem::take(&mut self.added) {
            drop(file);
            if let Err(reason) = remove_partition(&self.readable, number) {
                log::warn!("the kernel keeps {}, which no table has, until the next run: {reason}", node.display());
            }
        }
        for KernelPartition { number, extent, node, .. } in std::mem::take(&mut self.removed) {
            if still_has && let Err(reason) = add_partition(&self.readable, number, extent) {
                log::warn!("the kernel does not show {} any more: {reason}", node.display());
            }
        }
    }

    fn release(&mut self) {
        if self.writable.is_some() {
            return self.hand_over(&[]);
        }
        if let Err(reason) = self.readable.unlock() {
            log::warn!("{}: giving its lock up: {reason}", self.node.display());
        }
    }

    fn announce(&mut self, partitions: &[Shown]) -> Result<(), AnnounceError> {
        let reconciled = shown::reconcile(&self.readable, &self.kernel, partitions);
        let changed: Vec<u32> = partitions.iter().filter(|shown| shown.has_changed).map(|shown| shown.number).collect();
        self.hand_over(&changed);
        reconciled
    }

    fn can_grow(&self) -> bool {
        true
    }

    fn grow(&mut self, growth: &Growth) -> Result<(), GrowError> {
        let failed = |action| move |reason| GrowError { action, reason };
        // udev, which waits for it, may look at what is mounted meanwhile.
        self.readable.unlock().map_err(failed("giving the disk's lock up"))?;
        let shown = self.find(growth.number).map_err(failed("reading the kernel's partitions"))?;
        let shown = shown.filter(|shown| shown.extent == growth.extent);
        let elsewhere = || io::Error::other("the kernel does not show the partition as the table has it");
        let node = shown.ok_or_else(elsewhere).map_err(failed("finding its device node"))?.node;
        log::info!("growing {}: {}", growth.label, growth.words());
        let started = Instant::now();
        let what = format!("growing {} to {}", growth.label, show_exact(growth.to));
        mkfs::while_saying(&what, || growing::grow(growth, &node)).map_err(failed("growing it"))?;
        log::info!("grown {} in {} s", growth.label, show_seconds(started.elapsed()));
        Ok(())
    }

    fn check_publish(&self) -> io::Result<()> {
        if self.sequence().is_none() {
            return Err(io::Error::other("the kernel has no sequence numbers for disks; Linux 5.15 has them"));
        }
        if uevent::is_running() { Ok(()) } else { Err(io::Error::other("no udev is running")) }
    }

    fn publish(&mut self, udevadm: &Path, partitions: &[(u32, Label)]) -> io::Result<()> {
        self.check_publish()?;
        let (Some(sequence), Some(answers)) = (self.sequence(), Answers::listen()?) else {
            return Err(io::Error::other("udev has ended"));
        };
        let shown = self.kernel.partitions()?;
        links::publish(&self.node, sequence, udevadm, answers, &shown, partitions)
    }

    fn partition_node(&self, number: u32) -> Option<String> {
        let node = self.node.display().to_string();
        let separator = if node.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        Some(format!("{node}{separator}{number}"))
    }

    fn erase_size(&self) -> Option<u64> {
        // An attribute that cannot be read is one that the card does not have: it only makes places prettier.
        self.kernel.number("device/preferred_erase_size").unwrap_or(None)
    }

    fn is_read_only(&self) -> bool {
        self.kernel.number("ro").is_ok_and(|value| value == Some(1))
    }

    fn bytes_written(&self) -> Option<u64> {
        self.kernel.bytes_written().ok()
    }
}

/// However a run ends, udev must not find the disk closed and no partition open.
impl Drop for BlockDevice {
    fn drop(&mut self) {
        if self.writable.is_some() {
            self.hand_over(&[]);
        }
    }
}

impl BlockDevice {
    fn offset(&self, lba: u64) -> io::Result<u64> {
        lba.checked_mul(u64::from(self.sector_size)).ok_or(io::ErrorKind::InvalidInput.into())
    }

    /// Opened when the first write comes and not before: closing it has consequences.
    fn writable(&mut self) -> io::Result<&File> {
        if self.writable.is_none() {
            let file = kernel::open_direct(&self.node)?;
            if !self.identity.is_some_and(|identity| identity.is_of(&file).unwrap_or(false)) {
                return Err(io::Error::other("its node has become that of another device"));
            }
            self.writable = Some(file);
        }
        Ok(self.writable.as_ref().expect("it was just opened"))
    }
}

/// Overwrites the first and the last MiB with zeros, so that nothing of what was there can be taken for a file system:
/// signatures are at either end. Through the partition's own node, whose cache the tool reads.
fn clear_ends(partition: &File, extent: Extent) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(extent.size.min(MIB)).unwrap_or_default()];
    partition.write_all_at(&zeros, 0)?;
    partition.write_all_at(&zeros, extent.size - zeros.len() as u64)?;
    partition.sync_all()
}
