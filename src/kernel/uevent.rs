//! What udev tells its listeners when it has dealt with an event.
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

/// udev's answers from now on.
pub struct Answers {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Answers {
    /// Starts to listen; `None` where no udev runs.
    pub fn listen() -> io::Result<Option<Answers>> {
        if !Path::new("/run/udev/control").exists() {
            return Ok(None);
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // At a boot udev has hundreds of events to tell of; what the buffer cannot hold is lost.
        // As large as we may: it is no reason to fail.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
        // Group 1 is the kernel's, group 2 udev's (systemd, sd-device: device-monitor).
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 2))?;
        Ok(Some(Answers { socket, buffer: vec![0; 64 << 10] }))
    }

    /// Waits until there was an answer to each of the triggers with these tokens. False: the time was up before.
    pub fn wait(&mut self, tokens: &[String], until: Instant) -> io::Result<bool> {
        let mut missing: Vec<String> = tokens.iter().map(|token| format!("SYNTH_UUID={token}\0")).collect();
        while !missing.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => missing.retain(|wanted| !contains(&self.buffer[..length], wanted.as_bytes())),
                // ENOBUFS: some were lost. If ours is among them, the time limit ends the wait.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

fn contains(message: &[u8], wanted: &[u8]) -> bool {
    message.windows(wanted.len()).any(|part| part == wanted)
}
