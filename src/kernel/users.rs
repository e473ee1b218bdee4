//! Who uses a disk or a file without having it alone: loop devices, and processes that have it open for writing. The kernel
//! refuses nothing for these, so that only looking for them tells.
#![allow(clippy::disallowed_methods)] // this is the door that the lint guards

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};

use crate::kernel::{self, sysfs};
use crate::units::Extent;

/// A loop device and the part of its file or disk that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Its node, for messages.
    pub node: String,
    /// The bytes that it shows, in what was looked for.
    pub window: Extent,
}

/// The loop devices over what `place` knows: it gives the place of a file or a device in what is looked for (Documentation/
/// admin-guide/blockdev has nothing on it; drivers/block/loop.c, `loop_attr_backing_file_show`). A path of another mount name
/// space, and a file that was deleted, are not recognised.
pub fn loops_over(place: impl Fn(&Metadata) -> Option<Extent>) -> io::Result<Vec<Loop>> {
    let mut loops = Vec::new();
    // Without a /sys, as where images are built, nothing is known of loop devices.
    let disks = match sysfs::Disk::all() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        disks => disks?,
    };
    for disk in disks {
        let Some(path) = disk.text("loop/backing_file")? else { continue };
        let Some(place) = Path::new(&path).metadata().ok().and_then(|backing| place(&backing)) else { continue };
        let number = |attribute| Ok::<u64, io::Error>(disk.number(attribute)?.unwrap_or(0));
        let (offset, limit) = (number("loop/offset")?, number("loop/sizelimit")?);
        let there = place.size.saturating_sub(offset);
        let size = if limit == 0 { there } else { limit.min(there) };
        let window = Extent { start: place.start.saturating_add(offset), size };
        loops.push(Loop { node: disk.node().display().to_string(), window });
    }
    Ok(loops)
}

/// Other processes that have one of some block devices open for writing, as `qemu-system-x86 (process 123)`. Processes that this one
/// may not look at, or that end meanwhile, are left out.
pub fn writers_of(devices: &[u64]) -> io::Result<Vec<String>> {
    let own = std::process::id().to_string();
    let mut writers = Vec::new();
    let processes = match kernel::names_in(Path::new("/proc")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    for name in processes {
        let name = name.to_string_lossy().into_owned();
        if name != own && name.bytes().all(|byte| byte.is_ascii_digit()) && has_open(&name, devices) {
            let path = Path::new("/proc").join(&name).join("comm");
            let command = kernel::read_file(&path, 64).unwrap_or_default();
            writers.push(format!("{} (process {name})", String::from_utf8_lossy(&command).trim()));
        }
    }
    Ok(writers)
}

fn has_open(process: &str, devices: &[u64]) -> bool {
    let directory = Path::new("/proc").join(process);
    let descriptors = kernel::names_in(&directory.join("fd")).unwrap_or_default();
    descriptors.iter().any(|descriptor| {
        let link = directory.join("fd").join(descriptor);
        // The link's text first: following it costs more, and most lead to no device.
        let is_node = std::fs::read_link(&link).is_ok_and(|target| target.starts_with("/dev"));
        let is_device = |file: Metadata| file.file_type().is_block_device() && devices.contains(&file.rdev());
        is_node && link.metadata().is_ok_and(is_device) && may_write(&directory.join("fdinfo").join(descriptor))
    })
}

/// Whether a descriptor was opened for writing (proc_pid_fdinfo(5): `flags` in octal).
fn may_write(fdinfo: &Path) -> bool {
    const ACCESS: u32 = 0o3;
    let text = kernel::read_file(fdinfo, 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & ACCESS != 0)
}

/// Whether another process has a part of an open file locked, as QEMU does with its images (fcntl_locking(2); its locks
/// belong to the open file).
pub fn is_locked_in_part(file: &File) -> io::Result<bool> {
    let mut lock = flock {
        l_type: i16::try_from(F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != F_UNLCK)
}
