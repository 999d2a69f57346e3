// SPDX-License-Identifier: Apache-2.0
//! Streams to the tracer.

use core::ffi::{c_int, c_void};

use super::{Errno, O_CLOEXEC, check, close, marked};
use crate::arch::{nr, syscall};

/// `struct sockaddr_un`.
#[repr(C)]
pub(crate) struct SocketAddress {
    pub(crate) family: u16,
    pub(crate) path: [u8; 108],
}

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoSlice {
    pub(crate) base: *const u8,
    pub(crate) length: usize,
}

/// A stream connected to a Unix socket. Never descriptor 0, 1 or 2, which programs take for granted.
pub(crate) fn connect(address: &SocketAddress) -> Result<c_int, Errno> {
    const AF_UNIX: c_int = 1;
    const STREAM_CLOEXEC: c_int = 1 | O_CLOEXEC;
    const F_DUPFD_CLOEXEC: c_int = 1030;
    let mut fd = call!(nr::SOCKET, AF_UNIX, STREAM_CLOEXEC, 0)? as c_int;
    if fd <= 2 {
        let high = call!(nr::FCNTL, fd, F_DUPFD_CLOEXEC, 3);
        close(fd);
        fd = high? as c_int;
    }
    loop {
        match call!(nr::CONNECT, fd, core::ptr::from_ref(address), size_of::<SocketAddress>()) {
            Ok(_) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(errno) => {
                close(fd);
                return Err(errno);
            }
        }
    }
}

/// Sends what it can of `slices`; no SIGPIPE.
///
/// # Safety
/// All slices must be readable.
pub(crate) unsafe fn send(fd: c_int, slices: &[IoSlice]) -> Result<usize, Errno> {
    #[repr(C)]
    struct Message {
        name: *const c_void,
        name_length: usize,
        slices: *const IoSlice,
        count: usize,
        control: *const c_void,
        control_length: usize,
        flags: c_int,
    }
    const MSG_NOSIGNAL: c_int = 0x4000;
    let message = Message {
        name: core::ptr::null(),
        name_length: 0,
        slices: slices.as_ptr(),
        count: slices.len(),
        control: core::ptr::null(),
        control_length: 0,
        flags: 0,
    };
    loop {
        match call!(nr::SENDMSG, fd, &raw const message, MSG_NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Receives up to a buffer full; 0 at the end of the stream.
pub(crate) fn receive(fd: c_int, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        // SAFETY: the buffer with its length; no address is wanted.
        let received = unsafe {
            syscall(nr::RECVFROM, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0])
        };
        match check(received) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
