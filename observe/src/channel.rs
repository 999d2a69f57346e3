// SPDX-License-Identifier: Apache-2.0
//! A pair of sockets between a child that has not yet executed its program, and its parent: one message at a time, each with
//! an errno, some with a descriptor, and the kernel says who sent it. What the child does here is async-signal-safe and
//! allocates nothing.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::Pid;

/// What is said, and an errno where that belongs to it.
const LENGTH: usize = 1 + size_of::<i32>();

/// Room for the control messages of one message, aligned as their headers must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// What the parent has received.
#[derive(Debug)]
pub(crate) struct Message {
    /// What was said.
    pub what: u8,
    /// The errno that was said with it.
    pub errno: i32,
    /// Who said it, as we see it.
    pub sender: Option<Pid>,
    /// What came along.
    pub fd: Option<OwnedFd>,
}

/// The parent's end and the child's; both are closed on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors to `fds`.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are new and nobody else's.
    let [parent, child] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, and its size is given.
    let set = unsafe {
        libc::setsockopt(
            parent.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        )
    };
    if set == 0 { Ok((parent, child)) } else { Err(io::Error::last_os_error()) }
}

/// Says something to the parent.
pub(crate) fn say(fd: RawFd, what: u8, errno: i32) -> io::Result<()> {
    send(fd, what, errno, None)
}

/// Says something and hands over a descriptor.
pub(crate) fn hand_over(fd: RawFd, what: u8, handed: RawFd) -> io::Result<()> {
    send(fd, what, 0, Some(handed))
}

fn send(fd: RawFd, what: u8, errno: i32, handed: Option<RawFd>) -> io::Result<()> {
    let mut message = [what; LENGTH];
    message[1..].copy_from_slice(&errno.to_ne_bytes());
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: LENGTH };
    let mut header = header(&mut part);
    if let Some(handed) = handed {
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: both only compute with numbers.
        let (space, length) = unsafe {
            (libc::CMSG_SPACE(size_of::<RawFd>() as u32), libc::CMSG_LEN(size_of::<RawFd>() as u32))
        };
        header.msg_controllen = space as _;
        // SAFETY: `control` has room for this one header and the descriptor after it.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = length as _;
            libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(handed);
        }
    }
    // SAFETY: `header` describes `message` and `control`, which live on.
    let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One message; nothing if there is nobody left to send one.
pub(crate) fn receive(parent: &OwnedFd, flags: i32) -> io::Result<Option<Message>> {
    let mut message = [0; LENGTH];
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: LENGTH };
    let mut header = header(&mut part);
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let received = loop {
        // SAFETY: `header` describes `message` and `control`, which live on; the kernel writes no further than told.
        let received =
            unsafe { libc::recvmsg(parent.as_raw_fd(), &raw mut header, flags | libc::MSG_CMSG_CLOEXEC) };
        let error = io::Error::last_os_error();
        match received {
            0.. => break received,
            _ if error.raw_os_error() == Some(libc::EINTR) => {}
            _ if error.raw_os_error() == Some(libc::ECONNRESET) => return Ok(None),
            _ => return Err(error),
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let [what, errno @ ..] = message;
    let mut message = Message { what, errno: i32::from_ne_bytes(errno), sender: None, fd: None };
    // SAFETY: the kernel has filled `header` in; each header lies within `control`, or is null.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: as above.
    while let Some(this) = unsafe { next.as_ref() } {
        // SAFETY: what follows the header is of the type that it says; it may lie at any address.
        unsafe {
            let data = libc::CMSG_DATA(this);
            match (this.cmsg_level, this.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                    message.sender = Some(data.cast::<libc::ucred>().read_unaligned().pid);
                }
                // The descriptor is new and nobody else's.
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    message.fd = Some(OwnedFd::from_raw_fd(data.cast::<RawFd>().read_unaligned()));
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(&raw const header, this);
        }
    }
    Ok(Some(message))
}

fn header(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes is a valid `msghdr`: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header
}
