//! A file system that is mounted for us alone: in no name space, so that nothing else sees it come or go, and gone when
//! we are.
#![allow(clippy::disallowed_methods)] // this is the door that the lint guards

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, major, minor, mkdirat, umask};
use nix::unistd::syncfs;

use crate::kernel::{self, calls};

/// The error number of a kind of file system that the kernel does not have.
pub const NO_SUCH_KIND: i32 = nix::libc::ENODEV;

/// A mounted file system. What was written to it is on the medium when [`Mounted::end`] has returned.
#[derive(Debug)]
pub struct Mounted {
    /// Its root directory.
    root: File,
    _mount: OwnedFd,
}

impl Mounted {
    /// Mounts the file system of a device, of the kind that the kernel calls `name`. One that is mounted already is
    /// shared. `EBUSY` when that is mounted read-only, or something else uses the device.
    pub fn new(name: &str, node: &Path) -> io::Result<Mounted> {
        let context = calls::fsopen(&CString::new(name)?)?;
        calls::fsconfig_source(&context, &CString::new(node.as_os_str().as_bytes())?)?;
        calls::fsconfig_create(&context)?;
        let mount = calls::fsmount(&context)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = openat(&mount, ".", flags, Mode::empty())?.into();
        Ok(Mounted { root, _mount: mount })
    }

    /// Its root directory.
    pub fn root(&self) -> &File {
        &self.root
    }

    /// Writes back what is left of it, and unmounts it. The kernel has given the device up when this returns: what it
    /// puts off, it does before it lets a process go on.
    pub fn end(self) -> io::Result<()> {
        Ok(syncfs(&self.root)?)
    }
}

/// Fails with `ENODEV` where the kernel has neither this kind of file system nor a module of it.
pub fn check(name: &str) -> io::Result<()> {
    calls::fsopen(&CString::new(name)?).map(drop)
}

/// Makes a directory in another, or takes the one that there is; mode 0755. Follows no link.
pub fn make_directory(parent: &File, name: &str) -> io::Result<File> {
    take_nothing_but_writing();
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => open_directory(parent, name),
        Err(reason) => Err(reason.into()),
    }
}

/// Makes a btrfs subvolume in a directory; mode 0755.
pub fn make_subvolume(parent: &File, name: &str) -> io::Result<File> {
    take_nothing_but_writing();
    calls::make_subvolume(parent, name)?;
    open_directory(parent, name)
}

/// From others, whatever mask we were started with.
fn take_nothing_but_writing() {
    umask(Mode::from_bits_truncate(0o022));
}

fn open_directory(parent: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?.into())
}

/// How a block device is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nobody has it.
    Free,
    /// It is mounted, and written to.
    Written,
    /// It is mounted read-only.
    Mounted,
    /// It is in use otherwise.
    Other,
}

/// How a device is used by others. A file system that is mounted read-only must not be mounted for writing beside that:
/// btrfs would make the other mount writable, too (fs/btrfs/super.c, `btrfs_reconfigure_for_mount`, Linux 6.8).
pub fn use_of(node: &Path) -> io::Result<Use> {
    let exclusively = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    match openat(AT_FDCWD, node, exclusively, Mode::empty()) {
        Ok(_) => return Ok(Use::Free),
        Err(Errno::EBUSY) => {}
        Err(reason) => return Err(reason.into()),
    }
    const LARGEST: u64 = 1 << 20;
    let device = node.metadata()?.rdev();
    let number = format!("{}:{}", major(device), minor(device));
    let mounts = kernel::read_file(Path::new("/proc/self/mountinfo"), LARGEST)?;
    let mounts = String::from_utf8_lossy(&mounts);
    let options = mounts.lines().filter_map(|line| {
        // proc_pid_mountinfo(5): behind the dash are type, source and the file system's own options. A btrfs has a
        // number of its own.
        let (mount, file_system) = line.split_once(" - ").unwrap_or_default();
        let mut words = file_system.split(' ').skip(1);
        let (source, options) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_it = mount.split(' ').nth(2) == Some(&number)
            || Path::new(source).metadata().is_ok_and(|source| source.rdev() == device);
        is_it.then(|| options.split(',').next() == Some("rw"))
    });
    Ok(match options.collect::<Vec<_>>() {
        all if all.contains(&true) => Use::Written,
        all if all.is_empty() => Use::Other,
        _ => Use::Mounted,
    })
}

/// Whether a device is used as swap space (proc_swaps(5)).
pub fn is_swap(node: &Path) -> io::Result<bool> {
    let device = node.metadata()?.rdev();
    let swaps = kernel::read_file(Path::new("/proc/swaps"), 64 << 10)?;
    let paths = String::from_utf8_lossy(&swaps);
    let mut paths = paths.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(paths.any(|path| Path::new(path).metadata().is_ok_and(|metadata| metadata.rdev() == device)))
}
