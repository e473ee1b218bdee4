//! The system calls that have no safe wrapper: all `unsafe` code of makeroom.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc::{F_SETFD, PR_SET_PDEATHSIG, SIGKILL, fcntl, getppid, prctl};

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
}

/// Bytes in a logical sector of an open disk: `BLKSSZGET` (block/ioctl.c).
pub fn sector_size(disk: &File) -> io::Result<u64> {
    let mut size: c_int = 0;
    // SAFETY: the descriptor is open, and the number that the kernel writes to outlives the call.
    unsafe { ioctl::blksszget(disk.as_raw_fd(), &raw mut size) }?;
    u64::try_from(size).map_err(|_| io::ErrorKind::InvalidData.into())
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

/// Ties a child to this process: it is killed when the thread that started it ends without waiting for it, and holds
/// `lock` open for as long as it lives. A tool that outlived us would write into what the next run is making.
pub fn tie_to_us(command: &mut Command, lock: Option<&File>) {
    let parent = i32::try_from(std::process::id()).unwrap_or(0);
    let lock = lock.map(AsRawFd::as_raw_fd);
    let tie = move || {
        // SAFETY: prctl, getppid and fcntl are async-signal-safe, and only they run here, between fork and exec;
        // the descriptor is the parent's, which has it open until the child has ended.
        unsafe {
            Errno::result(prctl(PR_SET_PDEATHSIG, SIGKILL))?;
            if getppid() != parent {
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
