// SPDX-License-Identifier: Apache-2.0
//! The tracer: one loop that waits for a stop, decides, and lets the thread go on. Knows which threads there are and
//! in which of them a call is pending; what calls mean is `handle.rs`, what stops are is `stop.rs`.
//!
//! ptrace belongs to a thread, not to a process: everything here happens in one thread that has no other
//! children, so that waiting for "any of my children" is waiting for any tracee and reaps nobody else's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::calls::{Call, Meaning};
use crate::context::Context;
use crate::event::{Event, Sink};
use crate::handle::{self, Done, Request};
use crate::ptrace::Resume;
use crate::stop::{Stop, decode};
use crate::tracee::{self, View};
use crate::{Exec, Judge, Pid, Rest, Verdict, arch, ask, ptrace};

/// Where a traced thread is.
enum State {
    /// In the program, or in a call whose end is of no interest.
    Running,
    /// In a call whose end is awaited.
    InCall(Request),
    /// In an exec that is to end the process with this code.
    Deferred(Box<Deferred>),
}

struct Deferred {
    exec: Box<Exec>,
    code: u8,
    request: Request,
}

struct Thread {
    process: Pid,
    state: State,
}

/// The threads that can be killed: what the loop shares with whoever watches the clock.
#[derive(Default)]
pub(crate) struct Live(Mutex<Killable>);

#[derive(Default)]
struct Killable {
    threads: HashSet<Pid>,
    /// All are to die, those that are yet to be born too.
    doomed: bool,
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, Killable> {
        // What is behind the lock is never left half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills every thread, now and from now on.
    pub(crate) fn doom(&self) {
        let mut live = self.lock();
        live.doomed = true;
        live.threads.iter().for_each(|&tid| kill(tid));
    }

    fn insert(&self, tid: Pid) {
        let mut live = self.lock();
        live.threads.insert(tid);
        if live.doomed {
            kill(tid);
        }
    }

    /// The thread's id is free for reuse when this is called, but ids are handed out in ascending order: it is not
    /// in use again before the lock is taken.
    fn remove(&self, tid: Pid) {
        self.lock().threads.remove(&tid);
    }
}

fn kill(tid: Pid) {
    // SAFETY: takes numbers only. That the thread is gone already is fine.
    unsafe { libc::syscall(libc::SYS_tkill, tid, libc::SIGKILL) };
}

/// What the judge has said.
enum Answer {
    Go,
    Exit(Box<Exec>, u8),
    Fail(i32),
}

/// The loop's state.
pub(crate) struct Follow<'a> {
    root: Pid,
    rest: Rest,
    live: &'a Live,
    sink: &'a mut dyn Sink,
    judge: Option<&'a dyn Judge>,
    threads: HashMap<Pid, Thread>,
    /// Those of which a stop came before their parent told that it had made them, and perhaps their end did, too.
    unannounced: HashSet<Pid>,
    status: Option<ExitStatus>,
    stops: u64,
}

impl<'a> Follow<'a> {
    /// For a process that this thread has just seized.
    pub(crate) fn new(
        root: Pid,
        rest: Rest,
        live: &'a Live,
        sink: &'a mut dyn Sink,
        judge: Option<&'a dyn Judge>,
    ) -> Self {
        let (threads, unannounced) = (HashMap::new(), HashSet::new());
        let mut follow = Self { root, rest, live, sink, judge, threads, unannounced, status: None, stops: 0 };
        follow.thread(root, |_| root);
        follow
    }

    /// Until no tracee is left. The root's status, if nobody else reaped it, and the number of stops.
    pub(crate) fn run(mut self) -> io::Result<(Option<ExitStatus>, u64)> {
        while let Some((tid, status)) = wait()? {
            self.stops += 1;
            let resume = self.step(tid, decode(status));
            ptrace::resume(tid, resume);
        }
        Ok((self.status, self.stops))
    }

    /// The thread, which may be new: a child's first stop can come before its parent's.
    fn thread(&mut self, tid: Pid, process: impl FnOnce(Pid) -> Pid) -> &mut Thread {
        let live = self.live;
        self.threads.entry(tid).or_insert_with(|| {
            live.insert(tid);
            Thread { process: process(tid), state: State::Running }
        })
    }

    fn context(&mut self, tid: Pid) -> Context<'_> {
        let process = self.thread(tid, tracee::process_of).process;
        Context { view: View { tid, shared: false }, process, directory: None, sink: &mut *self.sink }
    }

    fn step(&mut self, tid: Pid, stop: Stop) -> Resume {
        match stop {
            Stop::Ended(status) => {
                self.ended(tid, status);
                Resume::Gone
            }
            Stop::Entry => self.entry(tid),
            Stop::Exit => {
                self.exit(tid);
                Resume::Run(0)
            }
            Stop::Born => {
                if let Some(child) = ptrace::event_message(tid) {
                    self.born(tid, child);
                }
                self.proceed(tid, 0)
            }
            Stop::Exec => self.exec(tid),
            Stop::Signal(signal) => self.proceed(tid, signal),
            Stop::Group => Resume::Listen,
            Stop::Attached => {
                if !self.threads.contains_key(&tid) {
                    self.unannounced.insert(tid);
                }
                self.thread(tid, tracee::process_of);
                self.proceed(tid, 0)
            }
            Stop::Other => self.proceed(tid, 0),
        }
    }

    /// On, to the next stop that matters.
    fn proceed(&self, tid: Pid, signal: i32) -> Resume {
        match self.threads.get(&tid).map(|thread| &thread.state) {
            Some(State::InCall(_) | State::Deferred(_)) => Resume::ToExit(signal),
            _ => Resume::Run(signal),
        }
    }

    fn leave(&mut self, tid: Pid) -> State {
        let thread = self.thread(tid, tracee::process_of);
        std::mem::replace(&mut thread.state, State::Running)
    }

    fn entry(&mut self, tid: Pid) -> Resume {
        let Some(entry) = ptrace::entry(tid) else { return Resume::Run(0) };
        // A number that is none is of no table.
        let nr = u32::try_from(entry.nr).unwrap_or(u32::MAX);
        match arch::meaning(entry.arch, nr, &entry.args) {
            Meaning::Foreign => {
                let mut context = self.context(tid);
                context.emit(Event::Foreign);
                let process = context.process;
                if let Some(judge) = self.judge.filter(|judge| judge.minds_foreign(process))
                    && let Verdict::Fail(errno) = judge.foreign(process)
                {
                    // A thread that cannot be made to fail is dead.
                    let _ = arch::fail_instead(tid, errno);
                }
                Resume::Run(0)
            }
            // A filter of the program's own asked for a tracer; it has one that does not care.
            Meaning::Nothing => Resume::Run(0),
            Meaning::Known(call) => match handle::decode(&mut self.context(tid), call, &entry.args) {
                None => Resume::Run(0),
                Some(request) => self.requested(tid, call, request, &entry),
            },
        }
    }

    fn requested(&mut self, tid: Pid, call: Call, mut request: Request, entry: &ptrace::Entry) -> Resume {
        let state = match self.ask(tid, call, &request, entry) {
            // A thread that cannot be made to fail is dead.
            Answer::Fail(errno) => {
                let _ = arch::fail_instead(tid, errno);
                return Resume::Run(0);
            }
            Answer::Exit(exec, code) => State::Deferred(Box::new(Deferred { exec, code, request })),
            Answer::Go => {
                request.prepare(View { tid, shared: false });
                State::InCall(request)
            }
        };
        self.thread(tid, tracee::process_of).state = state;
        Resume::ToExit(0)
    }

    fn ask(&mut self, tid: Pid, call: Call, request: &Request, entry: &ptrace::Entry) -> Answer {
        let Some(judge) = self.judge else { return Answer::Go };
        let context = self.context(tid);
        match (call, request) {
            (Call::Exec(_, argv), Request::Exec { path }) => {
                let Some(exec) = ask::exec(judge, &context, path, argv, &entry.args, &|| true) else {
                    return Answer::Go;
                };
                match judge.exec(&exec) {
                    Verdict::Go => Answer::Go,
                    Verdict::Exit(code) => Answer::Exit(Box::new(exec), code),
                    Verdict::Fail(errno) => Answer::Fail(errno),
                }
            }
            (_, Request::Open(open)) if ask::is_for_judge(judge, context.view, open) => {
                match judge.open(context.process, &open.path, open.mode().1) {
                    Verdict::Fail(errno) => Answer::Fail(errno),
                    Verdict::Go | Verdict::Exit(_) => Answer::Go,
                }
            }
            _ => Answer::Go,
        }
    }

    /// A call is over.
    fn exit(&mut self, tid: Pid) {
        let request = match self.leave(tid) {
            State::Running => return,
            State::InCall(request) => request,
            State::Deferred(deferred) => {
                let Deferred { exec, request, .. } = *deferred;
                if let Some(judge) = self.judge {
                    judge.not_deferred(&exec, false);
                }
                request
            }
        };
        if let Some(outcome) = ptrace::outcome(tid) {
            request.finish(&mut self.context(tid), outcome.map(Done::Returned));
        }
    }

    /// The process has become another program. Of its threads only one is left, under the process's id, whichever
    /// id it had when it made the call.
    fn exec(&mut self, tid: Pid) -> Resume {
        let former = ptrace::event_message(tid).unwrap_or(tid);
        let state = self.leave(former);
        if former != tid {
            self.threads.remove(&former);
            self.live.remove(former);
            // What the first thread was waiting for will not be heard of.
            self.leave(tid);
        }
        let request = match state {
            State::Running => return Resume::Run(0),
            State::InCall(request) => request,
            State::Deferred(deferred) => {
                let Deferred { exec, code, request } = *deferred;
                if arch::exit_instead(tid, code).is_ok() {
                    return Resume::Run(0);
                }
                if let Some(judge) = self.judge {
                    judge.not_deferred(&exec, true);
                }
                request
            }
        };
        request.finish(&mut self.context(tid), Ok(Done::Returned(0)));
        Resume::Run(0)
    }

    fn born(&mut self, parent: Pid, child: Pid) {
        // A parent that gets no processor after it has made its child may be outrun by it, up to its end. That it is gone is looked
        // for, since a parent that was killed never tells, and ids are given away again.
        let has_run = self.unannounced.remove(&child);
        if has_run && !self.threads.contains_key(&child) && tracee::has_ended(child) {
            return;
        }
        let process = self.thread(parent, tracee::process_of).process;
        let own = tracee::is_process(child);
        self.thread(child, |_| if own { child } else { process });
        if own {
            self.sink.event(process, Event::Forked(child));
        }
    }

    fn ended(&mut self, tid: Pid, status: ExitStatus) {
        self.live.remove(tid);
        let process = self.threads.remove(&tid).map(|thread| thread.process);
        if process == Some(tid) {
            self.sink.event(tid, Event::Ended(status));
        }
        if tid == self.root {
            self.status = Some(status);
            if self.rest == Rest::Kill {
                self.live.doom();
            }
        }
    }
}

/// The next stop or end of any tracee; nothing when there is none left.
fn wait() -> io::Result<Option<(Pid, i32)>> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int to `status`.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if tid > 0 {
            return Ok(Some((tid, status)));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    struct Told(Vec<Event>);

    impl Sink for Told {
        fn event(&mut self, _: Pid, event: Event) {
            self.0.push(event);
        }
    }

    /// What is told of a child by its end and by its parent, in this order or in the other.
    fn told(end_comes_first: bool) -> Vec<Event> {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id() as Pid;
        let mut sink = Told(Vec::new());
        let live = Live::default();
        let me = std::process::id() as Pid;
        let mut follow = Follow::new(me, Rest::Wait, &live, &mut sink, None);
        if !end_comes_first {
            follow.born(me, pid);
        }
        follow.step(pid, Stop::Attached);
        while !tracee::has_ended(pid) {
            std::thread::yield_now();
        }
        follow.step(pid, Stop::Ended(ExitStatus::from_raw(0)));
        if end_comes_first {
            follow.born(me, pid);
        }
        assert!(!follow.threads.contains_key(&pid));
        assert!(follow.unannounced.is_empty());
        child.wait().unwrap();
        sink.0
    }

    #[test]
    fn a_child_of_which_the_parent_tells_after_its_end_does_not_live_for_ever() {
        assert!(matches!(told(false)[..], [Event::Forked(_), Event::Ended(_)]));
        assert!(matches!(told(true)[..], [Event::Ended(_)]));
    }
}
