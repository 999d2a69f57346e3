// SPDX-License-Identifier: Apache-2.0
//! Answers interceptors. Any number of threads wait on one listening socket; a request may take long (a placeholder
//! is forced meanwhile, or a compiler asked that asks in turn), so there is always one more thread that waits.

use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wire::{Plain as _, Reply, reply_kind};

use crate::decide::{self, Answer, Pending};
use crate::recorder::{OWN, Recorder};
use crate::request::{self, Request};

/// The server.
pub struct Server {
    recorder: Arc<Recorder>,
    listener: UnixListener,
    idle: AtomicUsize,
}

const _: () = assert!(
    wire::CALL == observe::net::REQUEST && wire::mark_of_streams(1) == observe::net::mark_of_streams(1)
);

/// More idle threads than this end.
const MAX_IDLE: usize = 8;
/// A process of the build that connects and then says nothing does not hold a thread forever.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    /// Starts to answer on the recorder's socket.
    ///
    /// # Errors
    /// The socket or a thread cannot be made.
    pub fn start(recorder: Arc<Recorder>) -> io::Result<()> {
        let listener = UnixListener::bind(&recorder.socket)?;
        let server = Arc::new(Self { recorder, listener, idle: AtomicUsize::new(0) });
        server.add_thread()
    }

    fn add_thread(self: &Arc<Self>) -> io::Result<()> {
        let server = Arc::clone(self);
        self.idle.fetch_add(1, Ordering::SeqCst);
        let started = std::thread::Builder::new().name("answers".into()).spawn(move || server.work());
        if started.is_err() {
            self.idle.fetch_sub(1, Ordering::SeqCst);
        }
        started.map(|_| ())
    }

    fn work(self: &Arc<Self>) {
        loop {
            let Ok((stream, _)) = self.listener.accept() else {
                // Out of descriptors, most likely: others will close theirs.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            if self.idle.fetch_sub(1, Ordering::SeqCst) == 1 && self.add_thread().is_err() {
                // No further thread to be had: requests wait for this one.
            }
            let _ = stream.set_read_timeout(Some(PATIENCE));
            // An error means that the process has gone: nobody waits for an answer.
            let _ = serve(&self.recorder, &stream);
            drop(stream);
            // In one step: a thread that is counted must not end, or nobody might be left to wait.
            let stay = |idle| (idle < MAX_IDLE).then_some(idle + 1);
            if self.idle.fetch_update(Ordering::SeqCst, Ordering::SeqCst, stay).is_err() {
                return;
            }
        }
    }
}

fn reply() -> Reply {
    Reply { magic: wire::MAGIC, ..Reply::default() }
}

/// The command of a process that says that it belongs to this one. A program that a static one has started has the number of that one in
/// its environment.
fn command_of(recorder: &Recorder, pid: u32, said: u32) -> u32 {
    if recorder.sight.is_complete() && said != OWN {
        recorder.watch.program_with_hooks(pid.cast_signed(), said)
    } else {
        said
    }
}

/// The process at the other end.
fn peer(stream: &UnixStream) -> Option<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of_val(&peer) as libc::socklen_t;
    // SAFETY: the kernel writes no more than `size` bytes, to `peer`, which is as large.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    };
    u32::try_from(peer.pid).ok().filter(|&pid| result == 0 && pid > 0)
}

fn serve(recorder: &Recorder, mut stream: &UnixStream) -> io::Result<()> {
    let request = request::read(&mut stream)?;
    let pending = || {
        let reply = Reply { kind: reply_kind::PENDING, ..reply() };
        // Who is not there any more does not wait.
        let _ = { stream }.write_all(reply.as_bytes());
    };
    let reply = answer(recorder, request, peer(stream), &pending);
    stream.write_all(&reply)
}

/// The reply to a message, and its text. Nothing to what is no message of ours.
pub fn reply_to(recorder: &Recorder, peer: u32, message: &[u8]) -> Option<Vec<u8>> {
    let request = request::read(&mut { message }).ok()?;
    let mut reply = answer(recorder, request, Some(peer), &decide::at_once);
    // Nobody reads more.
    reply.truncate(size_of::<Reply>() + wire::PRINT_MAX);
    Some(reply)
}

/// `peer`: who asks, as we number it: in a namespace of its own it has another number.
fn answer(recorder: &Recorder, request: Request, peer: Option<u32>, pending: Pending<'_>) -> Vec<u8> {
    let answer = match request {
        Request::Exec(mut exec) => {
            exec.pid = peer.unwrap_or(exec.pid);
            exec.parent = command_of(recorder, exec.pid, exec.parent);
            decide::exec(recorder, &Arc::new(*exec), pending)
        }
        Request::Open(mut open) => {
            open.pid = peer.unwrap_or(open.pid);
            open.command = command_of(recorder, open.pid, open.command);
            decide::open(recorder, &open)
        }
        Request::Change { path, pid, command } => {
            let pid = peer.unwrap_or(pid);
            let command = command_of(recorder, pid, command);
            recorder.keep(pid, command, &path);
            Answer::Run { command: 0, flags: 0 }
        }
        Request::Undo { command } => {
            recorder.placed.take_back(command);
            Answer::GO
        }
        Request::Placed { path, old, directory } => {
            if let Err(error) = recorder.note_placed(&path, old.as_deref(), directory) {
                recorder.complain(&error);
            }
            Answer::GO
        }
    };
    let mut reply = reply();
    let mut message = Vec::new();
    match answer {
        Answer::Run { command, flags } => {
            reply.kind = reply_kind::RUN;
            reply.command = command;
            reply.flags = flags;
        }
        Answer::Exit { command, code, prints } => {
            reply.kind = reply_kind::EXIT;
            reply.command = command;
            reply.value = code;
            message = prints;
        }
        Answer::Killed => {
            reply.kind = reply_kind::KILLED;
            reply.value = libc::EIO;
        }
        Answer::Fail { errno, why } => {
            reply.kind = reply_kind::FAIL;
            reply.value = errno;
            if !why.is_empty() {
                message = format!("ggtrace: {why}\n").into_bytes();
            }
        }
    }
    reply.len = message.len() as u32;
    let mut bytes = reply.as_bytes().to_vec();
    bytes.extend(message);
    bytes
}
