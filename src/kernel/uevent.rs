//! What the kernel tells of devices that come, and udev when it has dealt with them.
#![allow(clippy::disallowed_methods)] // this is the door that the lint guards

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};

/// Whether there is a udev.
pub fn is_running() -> bool {
    Path::new("/run/udev/control").exists()
}

/// udev's answers from now on.
pub struct Answers {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Answers {
    /// Starts to listen; `None` where no udev runs.
    pub fn listen() -> io::Result<Option<Answers>> {
        if !is_running() {
            return Ok(None);
        }
        let socket = listen(UDEV)?;
        Ok(Some(Answers { socket, buffer: vec![0; 64 << 10] }))
    }

    /// Waits until there was an answer to each of the triggers with these tokens. False: the time was up before.
    pub fn wait(&mut self, tokens: &[String], until: Instant) -> io::Result<bool> {
        let mut missing: Vec<&String> = tokens.iter().collect();
        while !missing.is_empty() {
            match receive(&self.socket, &mut self.buffer, until)? {
                Received::Message(message) => missing.retain(|token| !is_answer(message, token)),
                // If one that counts is among them, the time limit ends the wait.
                Received::Lost => {}
                Received::Nothing => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Events of disks and partitions from now on, the kernel's own and udev's: a link is there only after the latter.
pub struct BlockEvents {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl BlockEvents {
    /// Starts to listen.
    pub fn listen() -> io::Result<BlockEvents> {
        Ok(BlockEvents { socket: listen(KERNEL | UDEV)?, buffer: vec![0; 64 << 10] })
    }

    /// Waits for the next, and takes all that have come by then. False: the time was up before.
    pub fn wait(&mut self, until: Instant) -> io::Result<bool> {
        let mut seen = false;
        loop {
            // Whatever is there already costs no more than one look at the disks.
            let until = if seen { Instant::now() } else { until };
            match receive(&self.socket, &mut self.buffer, until)? {
                Received::Message(message) => seen |= is_of_a_disk(message),
                // Nobody knows what was lost.
                Received::Lost => seen = true,
                Received::Nothing => return Ok(seen),
            }
        }
    }
}

// Groups of NETLINK_KOBJECT_UEVENT (systemd, sd-device: device-monitor).
const KERNEL: u32 = 1;
const UDEV: u32 = 2;

fn listen(groups: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkKObjectUEvent)?;
    // At a boot there are hundreds of events; what the buffer cannot hold is lost. As large as we may: it is no reason
    // to fail.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// What came.
enum Received<'a> {
    Message(&'a [u8]),
    /// More than the buffer could hold.
    Lost,
    /// The time is up.
    Nothing,
}

fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8], until: Instant) -> io::Result<Received<'a>> {
    let length = loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(Received::Nothing),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => break length,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::ENOBUFS) => return Ok(Received::Lost),
            Err(error) => return Err(error.into()),
        }
    };
    Ok(Received::Message(&buffer[..length]))
}

/// Whether a message tells of a disk or a partition. The bytes may be anything: the kernel's and udev's differ.
pub fn is_of_a_disk(message: &[u8]) -> bool {
    contains(message, b"SUBSYSTEM=block\0")
}

/// Whether a message is udev's answer to the trigger with this token.
pub fn is_answer(message: &[u8], token: &str) -> bool {
    contains(message, format!("SYNTH_UUID={token}\0").as_bytes())
}

fn contains(message: &[u8], wanted: &[u8]) -> bool {
    message.windows(wanted.len()).any(|part| part == wanted)
}
