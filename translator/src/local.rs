// SPDX-License-Identifier: Apache-2.0
//! The names of local sockets. A path is below the root like any other. Abstract names, which all processes of a
//! machine share, are put behind a mark of this root: so a command meets the sockets that it makes itself, under
//! whatever name it gave them, and nobody else's. Some programs ask for a socket's name and connect to that, so what is
//! marked already stays.

use core::ffi::{c_int, c_uint, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use crate::root::{Room, Root};
use crate::sys::{self, AT_FDCWD, Errno, SocketAddress};
use crate::text::Text;

const AF_UNIX: [u8; 2] = 1u16.to_ne_bytes();
const MARK: usize = 10;

/// A call that takes an address of this length.
pub(crate) type Call<'a, R> = &'a dyn Fn(*mut c_void, c_uint) -> Option<R>;

/// What stands for an address.
enum Other {
    /// Itself.
    Same,
    /// This, of this length.
    Address(SocketAddress, usize),
}

/// `connect`, `sendto` and their like.
///
/// # Safety
/// `address` is null or has `length` bytes; `call` makes the call with another address.
pub(crate) unsafe fn reaches<R>(
    root: &Root,
    address: *mut c_void,
    length: c_uint,
    call: Call<'_, R>,
) -> Result<R, Errno> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { content(address, length) };
    with(other(root, bytes)?, address, length, call)
}

/// `bind`. For a socket that is to get any name the kernel would choose one that everybody can guess.
///
/// # Safety
/// As [`reaches`].
pub(crate) unsafe fn binds(
    root: &Root,
    address: *mut c_void,
    length: c_uint,
    call: Call<'_, c_int>,
) -> Result<c_int, Errno> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // SAFETY: as the caller promises.
    let bytes = unsafe { content(address, length) };
    if bytes != AF_UNIX {
        return with(other(root, bytes)?, address, length, call);
    }
    let mut name = [0; 32];
    let mut text = Text::new(&mut name);
    text.push_number(sys::getpid()).push(b".").push_number(COUNT.fetch_add(1, Ordering::Relaxed));
    with(marked(root, text.bytes())?, address, length, call)
}

/// `struct msghdr`: here only the address counts.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Message {
    address: *mut c_void,
    length: c_uint,
    others: [usize; 5],
}

/// `sendmsg`.
///
/// # Safety
/// `message` is null or a `struct msghdr`; `call` makes the call with another one.
pub(crate) unsafe fn sends(
    root: &Root,
    message: *const c_void,
    call: &dyn Fn(*const c_void) -> Option<isize>,
) -> Result<isize, Errno> {
    // SAFETY: as the caller promises.
    let Some(&given) = (unsafe { message.cast::<Message>().as_ref() }) else {
        return call(message).ok_or(Errno::NOSYS);
    };
    let send = |address, length| {
        let other = Message { address, length, ..given };
        call((&raw const other).cast())
    };
    // SAFETY: as the caller promises of the message.
    unsafe { reaches(root, given.address, given.length, &send) }
}

/// `struct mmsghdr`.
#[repr(C)]
pub(crate) struct Counted {
    message: Message,
    sent: c_uint,
}

/// `sendmmsg`, one message after the other.
///
/// # Safety
/// There are `count` messages; `call` sends one.
pub(crate) unsafe fn sends_many(
    root: &Root,
    messages: *mut c_void,
    count: c_uint,
    call: &dyn Fn(*const c_void) -> Option<isize>,
) -> Result<c_int, Errno> {
    for at in 0..count {
        // SAFETY: as the caller promises.
        let one = unsafe { &mut *messages.cast::<Counted>().add(at as usize) };
        // SAFETY: as above.
        match unsafe { sends(root, (&raw const one.message).cast(), call) }? {
            // Of what was sent before, the caller has to be told.
            -1 => return Ok(if at == 0 { -1 } else { at as c_int }),
            sent => one.sent = sent as c_uint,
        }
    }
    Ok(count as c_int)
}

/// # Safety
/// `address` is null or has `length` bytes.
unsafe fn content<'a>(address: *mut c_void, length: c_uint) -> &'a [u8] {
    /// `struct sockaddr_storage`: the kernel takes nothing longer.
    const LONGEST: c_uint = 128;
    if address.is_null() || length > LONGEST {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { core::slice::from_raw_parts(address.cast::<u8>(), length as usize) }
}

fn with<R>(other: Other, address: *mut c_void, length: c_uint, call: Call<'_, R>) -> Result<R, Errno> {
    let done = match other {
        Other::Same => call(address, length),
        Other::Address(mut other, length) => call((&raw mut other).cast(), length as c_uint),
    };
    done.ok_or(Errno::NOSYS)
}

fn other(root: &Root, address: &[u8]) -> Result<Other, Errno> {
    match address.strip_prefix(&AF_UNIX) {
        None | Some([]) => Ok(Other::Same),
        Some([0, name @ ..]) if name.starts_with(&mark(root)) => Ok(Other::Same),
        Some([0, name @ ..]) => marked(root, name),
        Some(path) => {
            let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
            let mut name = [0; 128];
            let mut text = Text::new(&mut name);
            text.push(path);
            let mut room = Room::uninit();
            let outside = root.outside(AT_FDCWD, text.finish().ok_or(Errno::NAMETOOLONG)?, &mut room)?;
            let mut other = SocketAddress { family: 1, path: [0; 108] };
            let space = other.path.get_mut(..outside.count_bytes()).ok_or(Errno::NAMETOOLONG)?;
            space.copy_from_slice(outside.to_bytes());
            Ok(Other::Address(other, size_of::<SocketAddress>()))
        }
    }
}

/// The abstract name behind the mark. Programs that give the length of the whole structure have zeros in their names,
/// for which there may be no room.
fn marked(root: &Root, name: &[u8]) -> Result<Other, Errno> {
    let mut other = SocketAddress { family: 1, path: [0; 108] };
    let (head, room) = other.path.split_at_mut(1 + MARK);
    head[1..].copy_from_slice(&mark(root));
    let name = match name.split_at_checked(room.len()) {
        Some((name, rest)) if rest.iter().all(|&byte| byte == 0) => name,
        Some(_) => return Err(Errno::NAMETOOLONG),
        None => name,
    };
    room[..name.len()].copy_from_slice(name);
    Ok(Other::Address(other, 2 + 1 + MARK + name.len()))
}

/// A number of the root's (FNV-1a), so that names stay short.
fn mark(root: &Root) -> [u8; MARK] {
    let number = root.path().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut mark = *b"gg........";
    mark[2..].copy_from_slice(&number.to_ne_bytes());
    mark
}
