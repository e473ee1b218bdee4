//! What the system is asked for, apart from a disk's bytes: files, locks, holes, randomness, and who listens to us.
//!
//! With `disk/` the only place that touches the machine. `sysfs` is what the kernel tells of disks, `users` who uses
//! them, `uevent` what udev tells, `mount` a file system that only we see, `calls` the system calls without a safe wrapper: all `unsafe`
//! code there is.
#![allow(clippy::disallowed_methods)] // this is the door that the lint guards

pub mod calls;
pub mod mount;
pub mod sysfs;
pub mod uevent;
pub mod users;

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, openat, posix_fadvise};
use nix::libc::{EINVAL, EISDIR, EOPNOTSUPP, O_TMPFILE};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{AccessFlags, Whence, access, lseek};

use crate::units::show_seconds;

/// The error number of a drive without a medium.
pub const NO_MEDIUM: i32 = nix::libc::ENOMEDIUM;

/// At most `limit` bytes of a file, so that neither a device nor a wrong file fills the memory.
pub fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = open(path, false)?.take(limit);
    let (mut content, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(content),
            Ok(count) => content.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a path leads to a named pipe.
pub fn is_pipe(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    Ok(path.metadata()?.file_type().is_fifo())
}

/// Opens what is there; never creates or truncates.
pub fn open(path: &Path, writable: bool) -> io::Result<File> {
    let access = if writable { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    // Not through std: musl's open(3) takes two system calls, and most of what makeroom does at a boot is opening.
    Ok(openat(AT_FDCWD, path, access | OFlag::O_CLOEXEC, Mode::empty())?.into())
}

/// Fails where this process may not write; opens nothing.
pub fn check_writable(path: &Path) -> io::Result<()> {
    Ok(access(path, AccessFlags::W_OK)?)
}

/// Opens a disk for writing whole sectors past the system's cache. The cache writes blocks of 4096 bytes: around one
/// sector it would write seven more, with what it knows of them, and that may be older than what a mounted partition
/// has written there.
pub fn open_direct(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_DIRECT | OFlag::O_CLOEXEC;
    Ok(openat(AT_FDCWD, path, flags, Mode::empty())?.into())
}

/// Writes all of `bytes` to a file from [`open_direct`], which wants them aligned in memory.
pub fn write_direct(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    const ALIGNMENT: usize = 4096;
    let mut buffer = vec![0; bytes.len() + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let aligned = &mut buffer[start..start + bytes.len()];
    aligned.copy_from_slice(bytes);
    file.write_all_at(aligned, at)
}

/// Whether `path` is a file that somebody may execute.
pub fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Random bytes that never make the boot wait: a board without a seed may have too little entropy early on, and a
/// GUID needs to be different, not secret.
pub fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Whether stderr goes to the journal: `$JOURNAL_STREAM` names it by device and inode (systemd.exec(5)), and may
/// have been inherited from somebody whose stderr was another.
pub fn stderr_is_the_journal() -> bool {
    let is_stderr =
        |stream| fstat(io::stderr()).is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino));
    std::env::var("JOURNAL_STREAM").is_ok_and(is_stderr)
}

/// Whether stderr is a screen that somebody reads.
pub fn stderr_is_a_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether this is an initrd: it has `/etc/initrd-release`, unless `$SYSTEMD_IN_INITRD` says otherwise (the rule of
/// systemd's own tools, ENVIRONMENT.md).
pub fn in_initrd() -> bool {
    match std::env::var("SYSTEMD_IN_INITRD") {
        Ok(value) => matches!(value.as_str(), "1" | "yes" | "true" | "on" | "y" | "t"),
        Err(_) => Path::new("/etc/initrd-release").exists(),
    }
}

/// The kernel's log, for writing. One write is one record; more than 1024 bytes are refused, and after ten records
/// in five seconds the kernel may drop the rest (kernel/printk/printk.c, `devkmsg_write`).
pub fn kernel_log() -> io::Result<File> {
    OpenOptions::new().write(true).open("/dev/kmsg")
}

/// The arguments that the kernel was started with.
pub fn command_line() -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_file(Path::new("/proc/cmdline"), 64 << 10)?).into_owned())
}

/// Whether the machine was started through EFI.
pub fn has_efi() -> bool {
    is_there(Path::new("/sys/firmware/efi"))
}

/// The content of an EFI variable with its attributes, cut to what a variable of use here can have; nothing where there
/// is none.
pub fn efi_variable(name: &str, vendor: &str) -> io::Result<Option<Vec<u8>>> {
    if_there(&Path::new("/sys/firmware/efi/efivars").join(format!("{name}-{vendor}")))
}

/// Whether EFI remembers where a hibernated system lies (systemd, `HibernateLocation`).
pub fn has_hibernate_location() -> bool {
    const VARIABLE: &str = "HibernateLocation-8cf2644b-4b0b-428f-9387-6d876050dc67";
    is_there(&Path::new("/sys/firmware/efi/efivars").join(VARIABLE))
}

/// A property of the device tree that the firmware has passed, by its path from the root; nothing where there is none.
pub fn device_tree_property(path: &str) -> io::Result<Option<Vec<u8>>> {
    if_there(&Path::new("/sys/firmware/devicetree/base").join(path))
}

fn if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    const LONGEST: u64 = 4096;
    match read_file(path, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        content => content.map(Some),
    }
}

/// The size of an open file or disk in bytes: its end. Nothing else tells a disk's in one call.
pub fn end_of(file: &File) -> io::Result<u64> {
    u64::try_from(lseek(file, 0, Whence::SeekEnd)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Tells the service manager how it stands (sd_notify(3)): lines such as `STATUS=...`. Nothing when there is none.
pub fn notify(state: &str) -> io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    let ours = UnixDatagram::unbound()?;
    // One that does not listen must not hold a run up that has a disk locked.
    ours.set_nonblocking(true)?;
    ours.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

/// Whether something has this name.
pub fn is_there(path: &Path) -> bool {
    path.exists()
}

/// Puts a file in place, whole or not at all, and its directory where that is missing.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut written = std::fs::write(&temporary, content);
    if let (Err(error), Some(directory)) = (&written, path.parent())
        && error.kind() == io::ErrorKind::NotFound
    {
        std::fs::create_dir_all(directory)?;
        written = std::fs::write(&temporary, content);
    }
    let replaced = written.and_then(|()| std::fs::rename(&temporary, path));
    replaced.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

/// Reads nothing ahead: behind a table nobody wants the 128 KiB that would come with each piece of it.
pub fn read_what_is_asked_for(file: &File) -> io::Result<()> {
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM)?)
}

/// Forgets what the system has cached of a file or disk, so that the next read asks the medium. What is not yet
/// written stays: flush first.
pub fn forget(file: &File) -> io::Result<()> {
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

/// Writes into a file that is there already, such as one of sysfs.
pub fn write_into(path: &Path, content: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(content.as_bytes())
}

/// The file itself behind symbolic links, `.` and `..`.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// The names in a directory.
pub fn names_in(directory: &Path) -> io::Result<Vec<OsString>> {
    std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The symbolic links in a directory, with where each leads; none where there is no such directory.
pub fn links_in(directory: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut links = Vec::new();
    for entry in entries {
        let path = entry?.path();
        match real_path(&path) {
            Ok(target) => links.push((path, target)),
            // Leads nowhere, or was a name for a moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(links)
}

/// Tries something until it is so, or until `wait` is over: whether it is.
pub fn wait_until(wait: Duration, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    const PAUSE: Duration = Duration::from_millis(20);
    let until = Instant::now() + wait;
    loop {
        match is_so()? {
            true => return Ok(true),
            false if Instant::now() >= until => return Ok(false),
            false => thread::sleep(PAUSE),
        }
    }
}

/// Takes the exclusive flock that udev respects, waiting for it at most `wait`. False: another process holds it.
pub fn lock(file: &File, path: &Path, wait: Duration) -> io::Result<bool> {
    // flock has no time limit of its own, and a thread that waits in it would still take the lock when nobody wants it
    // any more.
    const PAUSE: Duration = Duration::from_millis(20);
    let (mut is_said, until) = (false, Instant::now() + wait);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(false),
            Err(TryLockError::WouldBlock) if is_said => {}
            Err(TryLockError::WouldBlock) => {
                let (path, seconds) = (path.display(), show_seconds(wait));
                log::info!("waiting up to {seconds} s for another process that has {path} locked");
                is_said = true;
            }
        }
        thread::sleep(PAUSE);
    }
}

/// An empty file in `directory` that has no name any more, so that nothing is left of it whatever happens, and a
/// path by which a child process can open it.
pub fn unnamed_file(directory: &Path) -> io::Result<(File, PathBuf)> {
    let process = std::process::id();
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let file = match options.clone().custom_flags(O_TMPFILE).open(directory) {
        // Not every file system makes files without a name; there, one is given and taken away at once.
        Err(error) if matches!(error.raw_os_error(), Some(EOPNOTSUPP | EISDIR | EINVAL)) => {
            let name = u128::from_le_bytes(random_bytes()?);
            let path = directory.join(format!(".makeroom-{process}-{name:x}"));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            file
        }
        result => result?,
    };
    let by_descriptor = PathBuf::from(format!("/proc/{process}/fd/{}", file.as_raw_fd()));
    // Without /proc a tool could not open it: better known now than half-way.
    by_descriptor.metadata()?;
    Ok((file, by_descriptor))
}

/// Makes a range of a file read as zeros without using space. False: the file system cannot do that.
pub fn punch_hole(file: &File, start: u64, length: u64) -> io::Result<bool> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match fallocate(file, flags, offset(start)?, offset(length)?) {
        Ok(()) => Ok(true),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The next range of a file, at or behind `from`, that is not a hole: start and end.
pub fn next_data(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match lseek(file, offset(from)?, Whence::SeekData) {
        Ok(start) => start,
        Err(Errno::ENXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = lseek(file, start, Whence::SeekHole)?;
    let unsigned = |at: i64| u64::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    Ok(Some((unsigned(start)?, unsigned(end)?)))
}

fn offset(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
