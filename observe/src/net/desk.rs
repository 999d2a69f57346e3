// SPDX-License-Identifier: Apache-2.0
//! Where the calls lie that were taken and not answered: in memory that outlives whoever took them. The kernel itself writes a
//! call there as it gives it out, so there is no moment at which one has been taken and nobody could know. Knows nothing of
//! what the calls are about.

use std::io;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

/// More threads than this seldom wait for answers at once. One that finds no seat has its own memory.
const SEATS: usize = 1024;

/// Memory that a child made by `fork` shares.
#[derive(Debug)]
pub(crate) struct Desk {
    calls: NonNull<libc::seccomp_notif>,
    /// Which are sat at, which only this process knows.
    used: Box<[AtomicBool]>,
}

// SAFETY: each call is written to by whoever has its seat, and read by others only once that process is gone.
unsafe impl Send for Desk {}
// SAFETY: as above.
unsafe impl Sync for Desk {}

impl Desk {
    /// # Errors
    /// There is no memory left.
    pub(crate) fn new() -> io::Result<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let size = SEATS * size_of::<libc::seccomp_notif>();
        // SAFETY: asks for new memory, wherever there is some. It is zero, which is a value of this type.
        let memory = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let calls = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { calls, used: (0..SEATS).map(|_| AtomicBool::new(false)).collect() })
    }

    /// A place for one call at a time.
    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        let free = |used: &AtomicBool| !used.swap(true, Ordering::Relaxed);
        match self.used.iter().position(free) {
            Some(index) => Seat::At(Arc::clone(self), index),
            // SAFETY: all its fields are integers, for which zero is a value.
            None => Seat::Own(Box::new(unsafe { mem::zeroed() })),
        }
    }

    /// What lies there. For who takes over, once the process that has the seats is gone; many will be answered.
    pub(crate) fn left(&self) -> impl Iterator<Item = libc::seccomp_notif> {
        // SAFETY: the index is within the memory; nobody writes to it any more.
        (0..SEATS).map(|index| unsafe { self.calls.add(index).read() }).filter(|call| call.id != 0)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and no seat is left: they hold the desk.
        unsafe { libc::munmap(self.calls.as_ptr().cast(), SEATS * size_of::<libc::seccomp_notif>()) };
    }
}

/// The desk of those that have no guardian.
pub(super) fn unguarded() -> io::Result<Arc<Desk>> {
    static DESK: LazyLock<Result<Arc<Desk>, i32>> =
        LazyLock::new(|| Desk::new().map(Arc::new).map_err(|error| crate::tracee::errno(&error)));
    DESK.clone().map_err(io::Error::from_raw_os_error)
}

/// See [`Desk::seat`].
pub(super) enum Seat {
    At(Arc<Desk>, usize),
    Own(Box<libc::seccomp_notif>),
}

impl Seat {
    pub(super) fn call(&mut self) -> &mut libc::seccomp_notif {
        match self {
            // SAFETY: the index is within the memory, and this seat is the only one there.
            Seat::At(desk, index) => unsafe { desk.calls.add(*index).as_mut() },
            Seat::Own(call) => call,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Seat::At(desk, index) = self {
            desk.used[*index].store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_seen_by_a_child() {
        let desk = Arc::new(Desk::new().unwrap());
        let mut seats: Vec<_> = (0..SEATS + 2).map(|_| desk.seat()).collect();
        // SAFETY: the child makes system calls only.
        let child = unsafe { libc::fork() };
        if child == 0 {
            for (id, seat) in (1..).zip(&mut seats) {
                seat.call().id = id;
            }
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: waits for our child, without its status.
        unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
        let ids: Vec<_> = desk.left().map(|call| call.id).collect();
        assert_eq!(ids, (1..=SEATS as u64).collect::<Vec<_>>());
        drop(seats);
        assert!(matches!(desk.seat(), Seat::At(_, 0)));
    }
}
