// SPDX-License-Identifier: Apache-2.0
//! Sockets: those with a name in the file system are paths like others; those that lead out of the machine are told once, when they
//! are made.

use core::ffi::{c_char, c_int, c_void};

use crate::arch::nr;
use crate::libc::cancellable;
use crate::log::{Log, What};
use crate::place::At;
use crate::record::{none, note};
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, Errno, five};
use wire::log::kind;

const AF_UNIX: c_int = 1;
const AF_NETLINK: c_int = 16;
const AF_ALG: c_int = 38;

/// `socket`.
pub(crate) fn socket(
    session: &Session,
    next: &dyn Fn() -> c_int,
    [domain, kind_of, protocol]: [c_int; 3],
) -> Result<c_int, Errno> {
    // SAFETY: numbers only.
    let socket = unsafe { none(session, next, nr::SOCKET, five!(domain, kind_of, protocol)) }?;
    let leads_out = socket >= 0 && !matches!(domain, AF_UNIX | AF_NETLINK | AF_ALG);
    if let Some(log) = Log::ready(session).filter(|_| leads_out) {
        log.append(session, What::new(kind::NETWORK, Ok(0)), &[], &[]);
    }
    Ok(socket)
}

/// `connect` and `bind`.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn address(
    session: &Session,
    next: &dyn Fn() -> c_int,
    number: usize,
    fd: c_int,
    address: *const c_void,
    length: u32,
) -> Result<c_int, Errno> {
    let Some(log) = Log::ready(session) else { return Ok(next()) };
    // SAFETY: as the caller promises.
    let result = cancellable(|| unsafe { sys::marked(number, five!(fd, address, length)) });
    let mut name = [0; 109];
    // SAFETY: as the caller promises.
    if unsafe { name_in(address, length, result, &mut name) } {
        let kind = if number == nr::BIND { kind::MAKE } else { kind::LOOKUP };
        note(session, &log, What::new(kind, result), At(AT_FDCWD, name.as_ptr()));
    }
    result.map(|value| value as c_int)
}

/// Copies the path in a socket's address, with a NUL; `false` where there is none.
///
/// # Safety
/// The address was given to a call that had this result.
unsafe fn name_in(
    address: *const c_void,
    length: u32,
    result: Result<usize, Errno>,
    name: &mut [c_char; 109],
) -> bool {
    let read_by_kernel = !matches!(result, Err(Errno::FAULT | Errno::BADF | Errno::NOTSOCK | Errno::INVAL));
    let length = (length as usize).min(size_of::<sys::SocketAddress>());
    if address.is_null() || !read_by_kernel || length <= size_of::<u16>() {
        return false;
    }
    // SAFETY: the kernel has read as many bytes.
    let bytes = unsafe { core::slice::from_raw_parts(address.cast::<u8>(), length) };
    let Some((family, path)) = bytes.split_first_chunk() else { return false };
    for (to, &from) in name.iter_mut().zip(path) {
        *to = from as c_char;
    }
    c_int::from(u16::from_ne_bytes(*family)) == AF_UNIX && path.first() != Some(&0)
}
