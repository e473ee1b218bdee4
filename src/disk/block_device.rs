//! A real disk, with a kernel and udev in the way.
//!
//! Until something has to be written, the disk is open for reading only: when a disk that was open for writing is
//! closed, udev re-reads its table, and up to systemd 258 that removes and adds every partition, which kills the
//! mounts and checks of the boot. When it was open for writing, a partition is held open while it is closed and until
//! udev has answered: then the kernel refuses to drop the partitions, and udev only looks at them again.
//!
//! New partitions are known to the kernel before any table has them: the tool gets a real node, and after a power cut
//! there is nothing.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::mkfs::{self, Job};
use crate::disk::open::{OpenError, pretended};
use crate::disk::{AnnounceError, Disk, GrowError, Growth, MakeError, NewPartition, SECTOR_SIZES, Shown};
use crate::disk::{directories, growing, links, shown, udev};
use crate::filesystem::Mkfs;
use crate::kernel;
use crate::kernel::calls::{add_partition, remove_partition, sector_size};
use crate::kernel::mount::{Use, is_swap, use_of};
use crate::kernel::sysfs::{self, KernelPartition};
use crate::kernel::uevent::{self, Answers};
use crate::kernel::users;
use crate::units::{Extent, Label, MIB, show_exact, show_seconds};

/// Bytes at either end of a disk that a table usually has.
const TABLE: u64 = 34 * 512;

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
    partition: KernelPartition,
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

    /// Removes what the kernel shows in the way of the table as it will be: from a run that was stopped in this boot, of
    /// another program, or of a table that was changed elsewhere.
    fn clear_the_way(&mut self, table: &[Shown], new: &[NewPartition]) -> Result<(), MakeError> {
        let Some(first) = table.first() else { return Ok(()) };
        let all = self.kernel.partitions();
        let mut all = all.map_err(|reason| MakeError::io(&first.label, "reading the kernel's partitions", reason))?;
        for wanted in table {
            let is_new = new.iter().any(|new| new.number == wanted.number);
            let is_itself = |other: &KernelPartition| !is_new && shown::is_same(other, wanted);
            let in_the_way = |other: &KernelPartition| !is_itself(other) && shown::is_in_the_way(other, wanted);
            let (others, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(in_the_way);
            all = rest;
            for other in others {
                self.remove_leftover(wanted, is_new, other)?;
            }
        }
        Ok(())
    }

    /// Refuses where a loop device or another process uses what would be written to.
    fn check_users(&self, new: &[NewPartition], removed: &[u32], table: &[Shown]) -> Result<(), MakeError> {
        let label = |reason| MakeError::Disk { action: "looking for what uses the disk", reason };
        let shown = self.kernel.partitions().map_err(label)?;
        let removed = shown.iter().filter(|shown| removed.contains(&shown.number)).map(|shown| shown.extent);
        let changed = table.iter().filter(|shown| shown.has_changed).map(|shown| shown.extent);
        let ends = [0, self.actual_size.saturating_sub(TABLE)].map(|start| Extent { start, size: TABLE });
        let places: Vec<Extent> = new.iter().map(|new| new.extent).chain(removed).chain(changed).chain(ends).collect();
        match self.users(&places).map_err(label)?.into_iter().next() {
            None => Ok(()),
            Some(user) => Err(MakeError::Used { user }),
        }
    }

    /// Whether no other process has the whole disk for itself. The kernel gives a partition to one that wants it alone
    /// only where nothing else has the disk alone, and the disk not while a partition is taken so (block/bdev.c,
    /// `bd_may_claim`): a partition that can be had, or is mounted, says that the disk is free. The new ones come first,
    /// which nothing else wants.
    fn is_alone(&self) -> Result<bool, MakeError> {
        let failed = |reason| MakeError::Disk { action: "looking for what uses the disk", reason };
        let shown = self.kernel.partitions().map_err(failed)?;
        let all = self.added.iter().map(|added| &added.partition).chain(&shown);
        let mut nodes = all.filter(|partition| partition.has_its_node().unwrap_or(false)).map(|it| it.node.as_path());
        let is_free = |node: &Path| Ok::<bool, io::Error>(use_of(node)? != Use::Other || is_swap(node)?);
        let known = nodes.try_fold(false, |known, node| Ok(known || is_free(node)?)).map_err(failed)?;
        Ok(known || use_of(&self.node).map_err(failed)? != Use::Other)
    }

    /// Lets the kernel have a new partition.
    fn add(&mut self, partition: &NewPartition) -> Result<(), MakeError> {
        let io_error = |action| move |reason| MakeError::io(&partition.label, action, reason);
        let (number, extent) = (partition.number, partition.extent);
        add_partition(&self.readable, number, extent).map_err(io_error("telling the kernel of it"))?;
        match self.open_added(partition) {
            Ok(added) => self.added.push(added),
            Err(reason) => {
                remove_partition(&self.readable, number).map_err(io_error("taking it back"))?;
                return Err(reason);
            }
        }
        Ok(())
    }

    fn open_added(&self, new: &NewPartition) -> Result<Added, MakeError> {
        let failed = |reason| MakeError::io(&new.label, "opening its device node", reason);
        let partition = self.find(new.number).and_then(|added| added.ok_or(io::ErrorKind::NotFound.into()));
        let partition = partition.map_err(failed)?;
        if !partition.has_its_node().map_err(failed)? {
            let (label, name) = (new.label.clone(), partition.name());
            return Err(MakeError::OtherDevice { label, node: partition.node, name });
        }
        let file = partition.open(true).map_err(failed)?;
        Ok(Added { partition, file })
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

    /// What the kernel shows in a place where no table has anything, or has something else.
    fn remove_leftover(&mut self, wanted: &Shown, is_new: bool, leftover: KernelPartition) -> Result<(), MakeError> {
        let (label, node) = (wanted.label.clone(), leftover.node.display().to_string());
        match remove_partition(&self.readable, leftover.number) {
            Ok(()) => {
                log::info!(
                    "the kernel has shown {node} in the way of {label}, perhaps since a run was stopped: removed"
                );
                self.removed.push(leftover);
                Ok(())
            }
            Err(reason) if reason.kind() == io::ErrorKind::ResourceBusy => {
                Err(match leftover.number == wanted.number {
                    true if !is_new => {
                        MakeError::Elsewhere { label, node, is: leftover.extent.start, wanted: wanted.extent.start }
                    }
                    _ => MakeError::InUse { label, node },
                })
            }
            Err(reason) => Err(MakeError::io(&label, "removing what an earlier run left in the kernel", reason)),
        }
    }

    fn make_directories(&mut self, partition: &NewPartition, mkfs: &Mkfs) -> Result<(), MakeError> {
        let added = self.added.iter_mut().find(|added| added.partition.number == partition.number);
        let Added { partition: shown, file } = added.expect("it has just been made");
        // A kernel may mount nothing that is open for writing (CONFIG_BLK_DEV_WRITE_MOUNTED).
        *file = shown.open(false).map_err(|reason| MakeError::io(&partition.label, "opening it again", reason))?;
        directories::make(partition, mkfs, &shown.node)?;
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
        let held = partitions.iter().find_map(|partition| partition.open(false).ok());
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
        kernel::check_writable(&self.node).map_err(|reason| OpenError::from_io(&self.node, true, reason))?;
        // A partitioning tool that does not lock, a virtual machine: the kernel keeps neither from it.
        let device = self.readable.metadata().map_err(io_error)?.rdev();
        let mut writers = Vec::new();
        let is_alone = kernel::wait_until(wait, || {
            writers = users::writers_of(&[device])?;
            Ok(writers.is_empty())
        });
        match is_alone.map_err(io_error)? {
            true => Ok(()),
            false => Err(OpenError::Used { path: path(), user: writers.join(", ") }),
        }
    }

    fn check_make(&self, new: &[NewPartition]) -> Result<(), MakeError> {
        directories::check(new)
    }

    /// The kernel gets the new partitions here and not only in `make`: whatever it refuses is a refusal before the
    /// first write.
    fn prepare(&mut self, new: &[NewPartition], removed: &[u32], table: &[Shown]) -> Result<(), MakeError> {
        self.check_make(new)?;
        self.check_users(new, removed, table)?;
        self.forget_partitions(removed)?;
        self.clear_the_way(table, new)?;
        for partition in new {
            self.add(partition)?;
        }
        // A program that looks at the disk may want it alone for a moment.
        const LONGEST: Duration = Duration::from_secs(5);
        let mut looked = Ok(false);
        let is_over = kernel::wait_until(LONGEST, || {
            looked = self.is_alone();
            Ok(!matches!(looked, Ok(false)))
        });
        let failed = |reason| MakeError::Disk { action: "looking for what uses the disk", reason };
        match is_over.map_err(failed).and(looked)? {
            true => Ok(()),
            false => Err(MakeError::Held),
        }
    }

    fn users(&self, places: &[Extent]) -> io::Result<Vec<String>> {
        let is_used = |extent: &Extent| places.iter().any(|place| place.overlaps(extent));
        let mut devices = Vec::new();
        for partition in self.kernel.partitions()? {
            devices.extend(partition.device()?.map(|device| (device, partition.extent)));
        }
        let written: Vec<u64> =
            devices.iter().filter(|(_, extent)| is_used(extent)).map(|(device, _)| *device).collect();
        devices.push((self.readable.metadata()?.rdev(), Extent { start: 0, size: self.actual_size }));
        let place = |backing: &Metadata| {
            let found = devices.iter().find(|(device, _)| *device == backing.rdev());
            found.filter(|_| backing.file_type().is_block_device()).map(|(_, extent)| *extent)
        };
        let loops = users::loops_over(place)?.into_iter().filter(|it| is_used(&it.window)).map(|it| it.node);
        Ok(loops.chain(users::writers_of(&written)?).collect())
    }

    fn shows(&self, table: &[Shown]) -> bool {
        self.kernel.partitions().is_ok_and(|shown| shown::are_all_shown(&shown, table))
    }

    fn show(&mut self, table: &[Shown], wait: Duration) -> Result<bool, AnnounceError> {
        let io_error =
            |action: &str, reason| AnnounceError::Io { action: format!("{action} {}", self.node.display()), reason };
        let reading = |reason| io_error("reading the kernel's partitions of", reason);
        let wanted = table.iter().filter(|wanted| wanted.number <= shown::MAX_NUMBER);
        if self.kernel.shows(wanted.map(|wanted| (wanted.number, wanted.extent))).map_err(reading)? {
            return Ok(false);
        }
        let shown = self.kernel.partitions().map_err(reading)?;
        if shown::are_all_shown(&shown, table) {
            return Ok(false);
        }
        log::info!("the kernel does not show what the table has, perhaps since a run was stopped: it is told");
        if !kernel::lock(&self.readable, &self.node, wait).map_err(|reason| io_error("locking", reason))? {
            return Err(io_error("locking", io::ErrorKind::WouldBlock.into()));
        }
        let missing: Vec<u32> = table.iter().filter(|it| !shown::is_shown(&shown, it)).map(|it| it.number).collect();
        let reconciled = shown::reconcile(&self.readable, &self.kernel, table);
        self.hand_over(&missing);
        reconciled.map(|()| true)
    }

    fn make(&mut self, new: &[NewPartition]) -> Result<(), MakeError> {
        let added = |partition: &NewPartition| {
            let added = self.added.iter().find(|added| added.partition.number == partition.number);
            added.expect("make without prepare would leave partitions unformatted")
        };
        for partition in new {
            clear_ends(&added(partition).file, partition.extent)
                .map_err(|reason| MakeError::io(&partition.label, "clearing its ends", reason))?;
        }
        let job = |partition| {
            Some(Job { partition, mkfs: partition.mkfs.as_ref()?, node: added(partition).partition.node.clone() })
        };
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
        for Added { partition, file } in std::mem::take(&mut self.added) {
            drop(file);
            if let Err(reason) = remove_partition(&self.readable, partition.number) {
                let node = partition.node.display();
                log::warn!("the kernel keeps {node}, which no table has, until the next run: {reason}");
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
        let shown = shown.ok_or_else(elsewhere).map_err(failed("finding its device node"))?;
        if !shown.has_its_node().map_err(failed("looking at its device node"))? {
            let words = format!("{} is not the device that the kernel calls {}", shown.node.display(), shown.name());
            return Err(failed("finding its device node")(io::Error::other(words)));
        }
        if let Some(user) = self.users(&[growth.extent]).map_err(failed("looking for what uses it"))?.first() {
            return Err(failed("looking for what uses it")(io::Error::other(format!("{user} does"))));
        }
        let node = shown.node;
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
        Some(self.node.with_file_name(self.kernel.partition_name(number)).display().to_string())
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
