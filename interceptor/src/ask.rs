// SPDX-License-Identifier: Apache-2.0
//! One request to the tracer and its reply, over a connection of its own or in a system call. Knows the messages of [`wire`] and
//! nothing of what they are about.

use core::ffi::{CStr, c_int};

use crate::room::Room;
use crate::session::Session;
use crate::sys::{self, Errno, IoSlice};
use crate::text::Strings;
use wire::{Descriptor, FdIdentity, MAGIC, PRINT_MAX, Plain, Reply, reply_kind, request_flags};

/// How many pieces go into one system call.
const BATCH: usize = 48;

/// How often a tracer is asked that hangs up: one that is being killed does so before its socket refuses.
const TRIES: u32 = 3;

/// How many milliseconds a killed tracer's guardian has time to end this process, on a busy machine.
const ORPHANED: u32 = 20_000;

/// What is sent.
pub(crate) struct Request<'a> {
    /// One of [`wire::request_kind`].
    pub(crate) kind: u32,
    /// Bits of [`wire::request_flags`].
    pub(crate) flags: u32,
    /// The command of which this process is a part.
    pub(crate) command: u32,
    /// Goes into the header as it is.
    pub(crate) umask: u32,
    /// Goes into the header as it is.
    pub(crate) fds: [FdIdentity; 3],
    /// What comes before the strings.
    pub(crate) others: &'a [Descriptor],
    /// The strings before `argv`, in pieces, NULs included.
    pub(crate) parts: &'a [&'a [u8]],
    /// Arguments.
    pub(crate) argv: Strings,
    /// Environment.
    pub(crate) envp: Strings,
    /// Where the message of a failure is written.
    pub(crate) stderr: Option<c_int>,
}

/// What comes with a reply.
pub(crate) struct Rest {
    /// What the process, or its child, is to print before it exits, or why the call fails. A NUL follows the text.
    bytes: [u8; PRINT_MAX + 1],
    length: usize,
    /// Where the answer comes, if it is pending.
    pub(crate) connection: Option<c_int>,
}

impl Rest {
    pub(crate) const fn nothing() -> Self {
        Self { bytes: [0; PRINT_MAX + 1], length: 0, connection: None }
    }

    pub(crate) fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The text as a C string; nothing where there is none to be printed.
    pub(crate) fn string(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.bytes).ok().filter(|_| self.length > 0)
    }
}

impl Request<'_> {
    /// Sends the request and waits for the reply, whose message is then written. Nothing where no tracer answers as one should: the
    /// program then goes on as if there were none.
    ///
    /// A tracer that ends takes its socket along. Where the socket is there and nobody listens, the tracer was killed in the midst of a
    /// build. Its guardian will end this process, by a signal, and until then the answer is awaited. Then it is
    /// [`reply_kind::KILLED`], because tools that cannot read placeholders any more would leave wrong files behind, an empty archive
    /// for one.
    pub(crate) fn ask(&self, session: &Session) -> Option<Reply> {
        self.ask_all(session, &mut Rest::nothing())
    }

    /// The same; what is to be printed before exiting, and where a child is to wait, is left to the caller.
    pub(crate) fn ask_all(&self, session: &Session, rest: &mut Rest) -> Option<Reply> {
        if session.is_answered_at_once()
            && let Some(reply) = self.call(rest)
        {
            say(self.stderr, &reply, rest);
            return Some(reply);
        }
        for _ in 0..TRIES {
            let fd = match sys::connect(&session.address) {
                Ok(fd) => fd,
                Err(Errno::CONNREFUSED) if self.flags & request_flags::REMOVES == 0 => {
                    sys::await_termination(ORPHANED);
                    let value = Errno::IO.0;
                    return Some(Reply { magic: MAGIC, kind: reply_kind::KILLED, value, ..Reply::default() });
                }
                Err(_) => return None,
            };
            let reply = self.send(fd).and_then(|()| receive_reply(fd, rest));
            match reply {
                Some(reply) if reply.kind == reply_kind::PENDING => rest.connection = Some(fd),
                _ => sys::close(fd),
            }
            if let Some(reply) = reply {
                say(self.stderr, &reply, rest);
                return Some(reply);
            }
        }
        None
    }

    fn strings(&self) -> impl Iterator<Item = &'static CStr> {
        self.argv.iter().chain(self.envp.iter())
    }

    fn header(&self) -> Option<wire::Request> {
        let fixed = size_of_val(self.others) + self.parts.iter().map(|part| part.len()).sum::<usize>();
        let strings: usize = self.strings().map(|text| text.to_bytes_with_nul().len()).sum();
        Some(wire::Request {
            magic: MAGIC,
            kind: self.kind,
            len: u32::try_from(fixed + strings).ok()?,
            flags: self.flags,
            pid: sys::getpid(),
            command: self.command,
            umask: self.umask,
            argc: self.argv.len() as u32,
            envc: self.envp.len() as u32,
            others: self.others.len() as u32,
            fds: self.fds,
        })
    }

    /// Gives all pieces of the message, of which `header` is the first. Nothing if one is not taken.
    fn pieces(&self, header: &wire::Request, mut take: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
        take(header.as_bytes())?;
        self.others.iter().try_for_each(|other| take(other.as_bytes()))?;
        self.parts.iter().try_for_each(|part| take(part))?;
        self.strings().try_for_each(|text| take(text.to_bytes_with_nul()))
    }

    fn send(&self, fd: c_int) -> Option<()> {
        let header = self.header()?;
        let mut batch = Batch::new(fd);
        self.pieces(&header, |piece| batch.push(piece))?;
        batch.flush()?;
        // Another thread may have changed its environment while we read it: the tracer would wait for the rest.
        (batch.sent == size_of::<wire::Request>() + header.len as usize).then_some(())
    }

    /// Asks in a call, by which the kernel goes from us to who answers and back on one processor; a connection wakes another one
    /// twice. Nothing where nobody was asked: the request is long, or no filter is there.
    fn call(&self, rest: &mut Rest) -> Option<Reply> {
        let mut room = Room::<4>::new()?;
        let buffer = room.buffers().as_flattened_mut();
        let header = self.header()?;
        let mut length = 0;
        self.pieces(&header, |piece| {
            buffer.get_mut(length..)?.get_mut(..piece.len())?.copy_from_slice(piece);
            length += piece.len();
            Some(())
        })?;
        if length != size_of::<wire::Request>() + header.len as usize {
            return None;
        }
        let answered = match sys::ask(buffer, length) {
            Ok(answered) => buffer.get(..answered)?,
            Err(Errno::IO) => &[],
            Err(_) => return None,
        };
        let lost = Reply { magic: MAGIC, kind: reply_kind::FAIL, value: Errno::IO.0, ..Reply::default() };
        let Some((head, text)) = answered.split_at_checked(size_of::<Reply>()) else { return Some(lost) };
        let mut reply = Reply::default();
        reply.as_bytes_mut().copy_from_slice(head);
        // A message that is longer is cut.
        rest.length = text.len().min(PRINT_MAX);
        rest.bytes.get_mut(..rest.length)?.copy_from_slice(text.get(..rest.length)?);
        Some(if reply.magic == MAGIC { reply } else { lost })
    }
}

/// Says why a call fails, if it does.
fn say(stderr: Option<c_int>, reply: &Reply, rest: &Rest) {
    if let Some(stderr) = stderr.filter(|_| reply.kind == reply_kind::FAIL) {
        write_all(stderr, rest.text());
    }
}

/// What follows a reply that is pending.
pub(crate) enum Heard {
    Reply(Reply),
    /// The tracer has ended in the meantime, as it does when the build does: nobody is to be asked any more.
    Ended,
    /// It was killed.
    Killed,
}

/// Waits here for what follows a reply that is pending. `stderr` is as in [`Request`].
pub(crate) fn wait_for_reply(session: &Session, rest: &mut Rest, stderr: Option<c_int>) -> Heard {
    let Some(fd) = rest.connection.take() else { return Heard::Ended };
    let heard = loop {
        match hear(session, fd, rest) {
            Heard::Reply(reply) if reply.kind == reply_kind::PENDING => {}
            heard => break heard,
        }
    };
    sys::close(fd);
    if let Heard::Reply(reply) = &heard {
        say(stderr, reply, rest);
    }
    heard
}

/// The next reply after one that is pending.
pub(crate) fn hear(session: &Session, fd: c_int, rest: &mut Rest) -> Heard {
    if let Some(reply) = receive_reply(fd, rest) {
        return Heard::Reply(reply);
    }
    match sys::connect(&session.address) {
        // Its socket goes first when it ends.
        Err(Errno::NOENT) => Heard::Ended,
        Ok(fd) => {
            sys::close(fd);
            Heard::Killed
        }
        Err(_) => Heard::Killed,
    }
}

/// A reply and what comes with it. Nothing where the tracer has gone, or is not one.
fn receive_reply(fd: c_int, rest: &mut Rest) -> Option<Reply> {
    let mut reply = Reply::default();
    receive_all(fd, reply.as_bytes_mut())?;
    // A message that is longer is cut.
    rest.length = (reply.len as usize).min(PRINT_MAX);
    receive_all(fd, rest.bytes.get_mut(..rest.length)?)?;
    (reply.magic == MAGIC).then_some(reply)
}

/// Fills the buffer; nothing where the other end says less.
fn receive_all(fd: c_int, buffer: &mut [u8]) -> Option<()> {
    let mut filled = 0;
    while let Some(space @ [_, ..]) = buffer.get_mut(filled..) {
        filled += sys::receive(fd, space).ok().filter(|&count| count > 0)?;
    }
    Some(())
}

/// Pieces that go out together.
struct Batch {
    fd: c_int,
    sent: usize,
    count: usize,
    slices: [IoSlice; BATCH],
}

impl Batch {
    const fn new(fd: c_int) -> Self {
        Self { fd, sent: 0, count: 0, slices: [IoSlice { base: core::ptr::null(), length: 0 }; BATCH] }
    }

    /// Adds a piece, which must stay until the next [`Self::flush`].
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        if self.count == BATCH {
            self.flush()?;
        }
        if !bytes.is_empty() {
            *self.slices.get_mut(self.count)? = IoSlice { base: bytes.as_ptr(), length: bytes.len() };
            self.count += 1;
        }
        Some(())
    }

    fn flush(&mut self) -> Option<()> {
        let mut slices = self.slices.get_mut(..self.count)?;
        while !slices.is_empty() {
            // SAFETY: each slice is a piece that was pushed since the last flush.
            let mut count = unsafe { sys::send(self.fd, slices) }.ok()?;
            self.sent += count;
            while let Some(first) = slices.first_mut() {
                if count < first.length {
                    first.base = first.base.wrapping_add(count);
                    first.length -= count;
                    break;
                }
                count -= first.length;
                slices = slices.get_mut(1..)?;
            }
        }
        self.count = 0;
        Some(())
    }
}

/// Writes all of it, or as much as can be.
pub(crate) fn write_all(fd: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sys::write(fd, bytes) {
            Ok(count) if count > 0 => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            _ => return,
        }
    }
}
