//! The system calls that have no safe wrapper: all `unsafe` code of makeroom.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long, c_uint};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{
    _exit, F_GETFD, F_SETFD, O_RDONLY, O_RDWR, PR_SET_PDEATHSIG, SIGKILL, SYS_close_range, SYS_fsconfig, SYS_fsmount,
    SYS_fsopen, close, fcntl, fremovexattr, open, poll, pollfd, prctl, syscall,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::kernel;
use crate::units::Extent;

/// Tells the kernel that a disk has a partition, without writing anything to the disk: number from 1, place in bytes.
/// `EBUSY` when the number or a part of the place is taken (block/partitions/core.c, `bdev_add_partition`).
pub fn add_partition(disk: &File, number: u32, extent: Extent) -> io::Result<()> {
    change_partition(disk, BLKPG_ADD_PARTITION, number, extent)
}

/// Lets the kernel forget a partition; the disk keeps it. `EBUSY` when it is open or mounted.
pub fn remove_partition(disk: &File, number: u32) -> io::Result<()> {
    change_partition(disk, BLKPG_DEL_PARTITION, number, Extent { start: 0, size: 0 })
}

/// Tells the kernel of a partition's new size; its start has to be the old one (block/partitions/core.c,
/// `bdev_resize_partition`). It may be in use.
pub fn resize_partition(disk: &File, number: u32, extent: Extent) -> io::Result<()> {
    change_partition(disk, BLKPG_RESIZE_PARTITION, number, extent)
}

// include/uapi/linux/blkpg.h
const BLKPG_ADD_PARTITION: c_int = 1;
const BLKPG_DEL_PARTITION: c_int = 2;
const BLKPG_RESIZE_PARTITION: c_int = 3;

#[repr(C)]
struct BlkpgIoctlArg {
    op: c_int,
    flags: c_int,
    datalen: c_int,
    data: *mut BlkpgPartition,
}

#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    pno: c_int,
    devname: [c_char; 64],
    volname: [c_char; 64],
}

// _IO(0x12, 105) of include/uapi/linux/blkpg.h, _IO(0x12, 104) of linux/fs.h; the module keeps the functions, which are
// unsafe, from the other files.
mod ioctl {
    nix::ioctl_write_ptr_bad!(
        #[allow(missing_docs)]
        blkpg,
        nix::request_code_none!(0x12, 105),
        super::BlkpgIoctlArg
    );
    nix::ioctl_read_bad!(
        #[allow(missing_docs)]
        blksszget,
        nix::request_code_none!(0x12, 104),
        super::c_int
    );
    // fs/ext4/ext4.h
    nix::ioctl_write_ptr!(
        #[allow(missing_docs)]
        ext4_resize_fs,
        b'f',
        16,
        u64
    );
    // fs/xfs/libxfs/xfs_fs.h
    nix::ioctl_read!(
        #[allow(missing_docs)]
        xfs_fsgeometry,
        b'X',
        126,
        super::XfsGeometry
    );
    nix::ioctl_write_ptr!(
        #[allow(missing_docs)]
        xfs_fsgrowfsdata,
        b'X',
        110,
        super::XfsGrowfsData
    );
    // include/uapi/linux/btrfs.h
    nix::ioctl_write_ptr!(
        #[allow(missing_docs)]
        btrfs_resize,
        0x94,
        3,
        super::BtrfsName
    );
    nix::ioctl_write_ptr!(
        #[allow(missing_docs)]
        btrfs_subvol_create,
        0x94,
        14,
        super::BtrfsName
    );
    nix::ioctl_readwrite!(
        #[allow(missing_docs)]
        btrfs_ino_lookup,
        0x94,
        18,
        super::BtrfsPlace
    );
    nix::ioctl_write_ptr!(
        #[allow(missing_docs)]
        btrfs_default_subvol,
        0x94,
        19,
        u64
    );
    nix::ioctl_write_ptr!(
        #[allow(missing_docs)]
        btrfs_subvol_setflags,
        0x94,
        26,
        u64
    );
    // include/uapi/linux/fs.h: the numbers say long, the kernel takes an int.
    nix::ioctl_read_bad!(
        #[allow(missing_docs)]
        fs_getflags,
        nix::request_code_read!(b'f', 1, size_of::<super::c_long>()),
        super::c_int
    );
    nix::ioctl_write_ptr_bad!(
        #[allow(missing_docs)]
        fs_setflags,
        nix::request_code_write!(b'f', 2, size_of::<super::c_long>()),
        super::c_int
    );
}

/// Bytes in a logical sector of an open disk: `BLKSSZGET` (block/ioctl.c).
pub fn sector_size(disk: &File) -> io::Result<u64> {
    let mut size: c_int = 0;
    // SAFETY: the descriptor is open, and the number that the kernel writes to outlives the call.
    unsafe { ioctl::blksszget(disk.as_raw_fd(), &raw mut size) }?;
    u64::try_from(size).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Begins a mount that nobody else sees: of the kind of file system that the kernel calls `name`, for which it loads its
/// module. `ENODEV` when it has none (fs/fsopen.c, since Linux 5.2).
pub fn fsopen(name: &CStr) -> io::Result<OwnedFd> {
    const CLOSE_ON_EXEC: c_uint = 1;
    // SAFETY: the name is a C string that outlives the call.
    let context = Errno::result(unsafe { syscall(SYS_fsopen, name.as_ptr(), CLOSE_ON_EXEC) })?;
    descriptor(context)
}

/// Names the device of a mount that was begun.
pub fn fsconfig_source(context: &OwnedFd, node: &CStr) -> io::Result<()> {
    const SET_STRING: c_uint = 1;
    let (key, node) = (c"source".as_ptr(), node.as_ptr());
    // SAFETY: the descriptor is open, and key and value are C strings that outlive the call.
    Errno::result(unsafe { syscall(SYS_fsconfig, context.as_raw_fd(), SET_STRING, key, node, 0) })?;
    Ok(())
}

/// Makes the kernel take the device and read its file system, for writing.
pub fn fsconfig_create(context: &OwnedFd) -> io::Result<()> {
    const CREATE: c_uint = 6;
    let nothing = std::ptr::null::<c_char>();
    // SAFETY: the descriptor is open, and the command takes neither key nor value.
    Errno::result(unsafe { syscall(SYS_fsconfig, context.as_raw_fd(), CREATE, nothing, nothing, 0) })?;
    Ok(())
}

/// The mount itself, which is in no name space and ends when the last descriptor of it is closed.
pub fn fsmount(context: &OwnedFd) -> io::Result<OwnedFd> {
    const CLOSE_ON_EXEC: c_uint = 1;
    // include/uapi/linux/mount.h: MOUNT_ATTR_NOSUID, NODEV, NOEXEC and NOATIME.
    const ATTRIBUTES: c_uint = 0x2 | 0x4 | 0x8 | 0x10;
    // SAFETY: the descriptor is open; the rest are numbers.
    let mount = Errno::result(unsafe { syscall(SYS_fsmount, context.as_raw_fd(), CLOSE_ON_EXEC, ATTRIBUTES) })?;
    descriptor(mount)
}

fn descriptor(number: c_long) -> io::Result<OwnedFd> {
    let number = c_int::try_from(number).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes the ext4 that an open directory is in as large as `blocks` (fs/ext4/ioctl.c). Needs `CAP_SYS_RESOURCE`.
pub fn grow_ext4(root: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the number outlives the call.
    unsafe { ioctl::ext4_resize_fs(root.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

/// Makes the xfs that an open directory is in as large as `blocks`, unless it is larger, and its copies of the superblock
/// in any case (fs/xfs/xfs_fsops.c). What may be used for inodes, which goes with it, stays as it is.
pub fn grow_xfs(root: &File, blocks: u64) -> io::Result<()> {
    let mut geometry = XfsGeometry { sizes: [0; 7], imaxpct: 0, datablocks: 0, rest: [0; 27] };
    // SAFETY: the descriptor is open, and what the kernel writes to has its layout and outlives the call.
    unsafe { ioctl::xfs_fsgeometry(root.as_raw_fd(), &raw mut geometry) }?;
    if geometry.datablocks > blocks {
        return Ok(());
    }
    let wish = XfsGrowfsData { newblocks: blocks, imaxpct: geometry.imaxpct };
    // SAFETY: as above; the kernel only reads it.
    unsafe { ioctl::xfs_fsgrowfsdata(root.as_raw_fd(), &raw const wish) }?;
    Ok(())
}

/// Makes a device of the btrfs that an open directory is in as large as `bytes` (fs/btrfs/ioctl.c).
pub fn grow_btrfs(root: &File, device_id: u64, bytes: u64) -> io::Result<()> {
    let wish = BtrfsName { fd: 0, name: padded(format!("{device_id}:{bytes}").as_bytes())? };
    // SAFETY: the descriptor is open, and the argument has the kernel's layout and outlives the call, which keeps
    // nothing of it.
    unsafe { ioctl::btrfs_resize(root.as_raw_fd(), &raw const wish) }?;
    Ok(())
}

/// Makes a btrfs subvolume of this name in an open directory (fs/btrfs/ioctl.c).
pub fn make_subvolume(directory: &File, name: &str) -> io::Result<()> {
    let wish = BtrfsName { fd: 0, name: padded(name.as_bytes())? };
    // SAFETY: the descriptor is open, and the argument has the kernel's layout and outlives the call.
    unsafe { ioctl::btrfs_subvol_create(directory.as_raw_fd(), &raw const wish) }?;
    Ok(())
}

/// Makes an open subvolume, by its top directory, the one that is mounted when nobody says which.
pub fn make_default_subvolume(subvolume: &File) -> io::Result<()> {
    // include/uapi/linux/btrfs_tree.h, BTRFS_FIRST_FREE_OBJECTID: the top directory of any.
    const TOP: u64 = 256;
    let mut place = BtrfsPlace { tree: 0, object: TOP, name: [0; 4080] };
    // SAFETY: the descriptor is open, and what the kernel reads and writes has its layout and outlives the call.
    unsafe { ioctl::btrfs_ino_lookup(subvolume.as_raw_fd(), &raw mut place) }?;
    // SAFETY: the descriptor is open, and the number outlives the call.
    unsafe { ioctl::btrfs_default_subvol(subvolume.as_raw_fd(), &raw const place.tree) }?;
    Ok(())
}

/// Lets nothing in an open subvolume be written to any more.
pub fn make_read_only(subvolume: &File) -> io::Result<()> {
    let read_only: u64 = 1 << 1;
    // SAFETY: the descriptor is open, and the number outlives the call.
    unsafe { ioctl::btrfs_subvol_setflags(subvolume.as_raw_fd(), &raw const read_only) }?;
    Ok(())
}

/// Lets files that will be made in an open directory be overwritten in place, without checksums.
pub fn disable_copy_on_write(directory: &File) -> io::Result<()> {
    const NO_COPY_ON_WRITE: c_int = 0x0080_0000;
    let mut flags: c_int = 0;
    // SAFETY: the descriptor is open, and the number that the kernel writes to outlives the call.
    unsafe { ioctl::fs_getflags(directory.as_raw_fd(), &raw mut flags) }?;
    flags |= NO_COPY_ON_WRITE;
    // SAFETY: as above; the kernel only reads it.
    unsafe { ioctl::fs_setflags(directory.as_raw_fd(), &raw const flags) }?;
    Ok(())
}

/// With zeros up to the end, at least one.
fn padded<const N: usize>(text: &[u8]) -> io::Result<[u8; N]> {
    let mut padded = [0; N];
    let room = padded.get_mut(..text.len()).filter(|_| text.len() < N);
    room.ok_or(io::ErrorKind::InvalidFilename)?.copy_from_slice(text);
    Ok(padded)
}

// fs/xfs/libxfs/xfs_fs.h, `struct xfs_fsop_geom` (256 bytes) and `struct xfs_growfs_data`.
#[repr(C)]
struct XfsGeometry {
    sizes: [u32; 7],
    imaxpct: u32,
    datablocks: u64,
    rest: [u64; 27],
}

#[repr(C)]
struct XfsGrowfsData {
    newblocks: u64,
    imaxpct: u32,
}

// include/uapi/linux/btrfs.h, `struct btrfs_ioctl_ino_lookup_args` and `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct BtrfsPlace {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

#[repr(C)]
struct BtrfsName {
    fd: i64,
    name: [u8; 4088],
}

fn change_partition(disk: &File, op: c_int, number: u32, extent: Extent) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = BlkpgPartition {
        start: extent.start.try_into().map_err(too_large)?,
        length: extent.size.try_into().map_err(too_large)?,
        pno: number.try_into().map_err(too_large)?,
        devname: [0; 64],
        volname: [0; 64],
    };
    let datalen = size_of::<BlkpgPartition>().try_into().map_err(too_large)?;
    let argument = BlkpgIoctlArg { op, flags: 0, datalen, data: &raw mut partition };
    // SAFETY: the descriptor is open, and the argument and the partition that it points to have the kernel's layout
    // and outlive the call, which keeps neither.
    unsafe { ioctl::blkpg(disk.as_raw_fd(), &raw const argument) }?;
    Ok(())
}

/// Whether a file system takes no change for `longest`: then it is frozen (ioctl_fifreeze(2)), and whatever wants to change
/// it waits, and cannot be killed, until it is thawed. Asked by a child, which waits in the place of this process.
pub fn is_frozen(root: &File, longest: Duration) -> io::Result<bool> {
    let descriptor = root.as_raw_fd();
    // SAFETY: the child makes system calls and nothing else, until it ends without running any destructor.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            // Removing an attribute that is not there asks for the right to change the file system, and changes nothing.
            // SAFETY: the name is a C string; the other descriptors are closed so that nothing stays locked or mounted by
            // a child that waits.
            unsafe {
                close_all_but(descriptor);
                fremovexattr(descriptor, c"user.makeroom.none".as_ptr());
                _exit(0)
            }
        }
        ForkResult::Parent { child } => child,
    };
    let has_answered = || Ok(waitpid(child, Some(WaitPidFlag::WNOHANG))? != WaitStatus::StillAlive);
    Ok(!kernel::wait_until(longest, has_answered)?)
}

/// # Safety
/// Whatever has one of these descriptors must not use it any more.
unsafe fn close_all_but(kept: c_int) {
    let kept = kept.unsigned_abs();
    for (first, last) in [(0, kept.saturating_sub(1)), (kept + 1, c_uint::MAX)] {
        if first != kept {
            // SAFETY: the caller's duty. A kernel before 5.9 does not know the call and leaves all open.
            unsafe { syscall(SYS_close_range, first, last, 0) };
        }
    }
}

/// Lets a thread's next child, and all that this one starts, end together: the kernel kills what is left in a name space for
/// processes when its first process has ended (pid_namespaces(7)). Needs `CAP_SYS_ADMIN`; without it, only the child itself
/// is tied to this process.
pub fn separate_processes() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWPID)?)
}

/// Lets a write behind the limit for files (`RLIMIT_FSIZE`) fail with an error, which can be told, and not end the process.
pub fn take_file_limits_as_errors() {
    // SAFETY: ignoring a signal runs no code.
    if let Err(reason) = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) } {
        log::debug!("SIGXFSZ cannot be ignored: {reason}");
    }
}

/// The runtime of Rust opens /dev/null in the place of a closed standard descriptor, and aborts without a word where there
/// is none. So a directory takes the place before: what is written to it fails, as it would to a closed descriptor.
#[used]
#[unsafe(link_section = ".init_array")]
// SAFETY: the linker puts the address into the list of functions that the C library calls before `main`; it only makes
// system calls.
static OCCUPY: extern "C" fn() = occupy_standard_descriptors;

extern "C" fn occupy_standard_descriptors() {
    for descriptor in 0..=2 {
        // SAFETY: asking for the flags of a descriptor changes nothing; opening takes the lowest number that is free, which
        // is this one, because those below are open.
        unsafe {
            if fcntl(descriptor, F_GETFD) == -1 && open(c"/dev/null".as_ptr(), O_RDWR) == -1 {
                open(c"/".as_ptr(), O_RDONLY);
            }
        }
    }
}

/// Ties a child to this process: it is killed when the thread that started it ends without waiting for it, and holds
/// `lock` open for as long as it lives. A tool that outlived us would write into what the next run is making. `alive` is
/// the reading end of a pipe whose writing end only this process has.
pub fn tie_to_us(command: &mut Command, lock: Option<&File>, alive: &PipeReader, ours: &PipeWriter) {
    let lock = lock.map(AsRawFd::as_raw_fd);
    let (alive, ours) = (alive.as_raw_fd(), ours.as_raw_fd());
    let tie = move || {
        // SAFETY: prctl, close, poll and fcntl are async-signal-safe, and only they run here, between fork and exec;
        // the descriptors are copies of the parent's, which has them open until the child has ended.
        unsafe {
            Errno::result(prctl(PR_SET_PDEATHSIG, SIGKILL))?;
            // A parent that has ended before that sends no signal. Its number says nothing: in a name space of its own a
            // child sees no parent. The pipe has no writer any more then.
            close(ours);
            let mut wait = pollfd { fd: alive, events: 0, revents: 0 };
            if poll(&raw mut wait, 1, 0) != 0 {
                return Err(Errno::ESRCH.into());
            }
            if let Some(lock) = lock {
                // Without close-on-exec: the lock belongs to the open file, and is given up with its last descriptor.
                Errno::result(fcntl(lock, F_SETFD, 0))?;
            }
        }
        Ok(())
    };
    // SAFETY: the closure does nothing but the calls above and touches no memory that the parent changes.
    unsafe { command.pre_exec(tie) };
}

/// An unwinder that does not unwind, for the release build: a panic aborts there, and there are no unwind tables. With
/// the real one come its 30 KB and, for backtraces without tables, 160 KB of std that put names to addresses.
#[cfg(all(target_env = "musl", panic = "abort"))]
mod no_unwinder {
    /// For a backtrace: the stack is at its end.
    // SAFETY: the name is that of the Itanium C++ ABI (Base ABI, 1.3), and nobody else defines it; it takes its two
    // arguments in registers, looks at neither, and returns _URC_END_OF_STACK.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_: usize, _: usize) -> i32 {
        5
    }

    macro_rules! never_called {
        ($($name:ident)*) => {
            $(
                // SAFETY: as above; it is reached only by unwinding, which panic=abort never starts, and does not
                // return.
                #[unsafe(no_mangle)]
                extern "C" fn $name() -> ! {
                    std::process::abort()
                }
            )*
        };
    }

    never_called! {
        _Unwind_DeleteException _Unwind_FindEnclosingFunction _Unwind_GetCFA _Unwind_GetDataRelBase _Unwind_GetIP
        _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase
        _Unwind_RaiseException _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
    }
}
