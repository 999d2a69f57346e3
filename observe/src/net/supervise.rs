// SPDX-License-Identifier: Apache-2.0
//! The threads that answer calls. Each receives one, finds out what it is about, tells the sink and lets the call go on. Where
//! the judge is asked, which may take long, another thread takes over the receiving.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use std::{mem, ptr, thread};

use super::SharedSink;
use super::desk::Desk;
use super::listener::{Listener, Notification};
use super::memory::Memory;
use super::redirect::{self, Redirected};
use crate::calls::{Call, Meaning};
use crate::context::Context;
use crate::event::Event;
use crate::handle::{self, Request};
use crate::tracee::{self, View};
use crate::{Exec, Judge, Pid, Sink, Verdict, arch, ask, executed};

/// One thread receives for so many processors, but there are two where two processes can run at once. An answer wakes who asked on
/// the processor of who answers: with one thread, of two that ask in one moment, as compilers do when they are loaded, one would have to
/// stay behind the other's compiler, while its own processor has nothing to do until the kernel spreads the load anew, 1 to 4 ms later.
/// More would take turns, which costs about 2 µs for each call.
const PROCESSORS: usize = 4;
const PAIR: usize = 2;
/// If nobody has taken a call for that long, although one waits, the receivers are held up by something, be it a slow disk:
/// then there is another one.
const TICK: Duration = Duration::from_millis(50);
/// Nobody asks in a longer message.
const LONGEST_MESSAGE: u64 = 1 << 16;
/// How often a thread is asked to stop, which may have looked just before it began to wait.
const PATIENCE: Duration = Duration::from_millis(1);

/// What the threads share.
pub(super) struct Supervise {
    listener: Listener,
    /// Where the calls lie that were taken.
    desk: Arc<Desk>,
    sink: Arc<dyn SharedSink>,
    judge: Option<Arc<dyn Judge>>,
    /// How many threads receive, and how many shall.
    receivers: AtomicUsize,
    wanted: usize,
    /// How many calls have been taken.
    taken: AtomicUsize,
    /// Those that may have taken a call.
    threads: Mutex<HashSet<Pid>>,
    stop: AtomicBool,
    /// Nobody has changed root or mounts yet: all processes find the same files as we do.
    shared_view: AtomicBool,
    /// Those that have made a call that is not decoded, each of which is told once.
    foreign: Mutex<HashSet<Pid>>,
    memory: Memory,
}

/// What is behind these locks is never left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`Supervise::taking`].
struct Taking<'a> {
    tid: Pid,
    threads: &'a Mutex<HashSet<Pid>>,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        lock(self.threads).remove(&self.tid);
    }
}

/// The events of one call, until it is known that they are of the process that it seems.
struct Buffer(Vec<Event>);

impl Sink for Buffer {
    fn event(&mut self, _: Pid, event: Event) {
        self.0.push(event);
    }
}

/// What is to be done about a call.
enum Step {
    Answer(Verdict),
    /// The exec is let through and made to exit with this code.
    Exit(Box<Exec>, u8),
}

const GO: Step = Step::Answer(Verdict::Go);

/// How many threads receive where there are so many processors.
fn receivers(processors: usize) -> usize {
    processors.div_ceil(PROCESSORS).max(processors.min(PAIR))
}

impl Supervise {
    pub(super) fn new(
        listener: Listener,
        desk: Arc<Desk>,
        sink: Arc<dyn SharedSink>,
        judge: Option<Arc<dyn Judge>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            listener,
            desk,
            sink,
            judge,
            receivers: AtomicUsize::new(0),
            wanted: thread::available_parallelism().map_or(1, |count| receivers(count.get())),
            taken: AtomicUsize::new(0),
            threads: Mutex::default(),
            stop: AtomicBool::new(false),
            shared_view: AtomicBool::new(true),
            foreign: Mutex::default(),
            memory: Memory::default(),
        })
    }

    /// Answers calls until no process is left. When it returns, nothing more is told, and no thread is left either.
    pub(super) fn run(self: Arc<Self>) {
        for _ in 0..self.wanted {
            self.add_receiver();
        }
        if self.receivers.load(Ordering::Relaxed) == 0 {
            // No thread to be had: this one has to do.
            self.receivers.store(1, Ordering::Relaxed);
            self.receive();
        }
        let mut before = 0;
        while !self.listener.is_over_within(TICK) {
            let taken = self.taken.load(Ordering::Relaxed);
            if taken == before && self.listener.is_asked() {
                self.add_receiver();
            }
            before = taken;
        }
        // Since Linux 6.11 they stop by themselves.
        self.stop();
    }

    fn add_receiver(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.receivers.fetch_add(1, Ordering::Relaxed);
        if thread::Builder::new().name("net".into()).spawn(move || this.receive()).is_err() {
            // Those that are left have to do.
            self.receivers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Returns when all calls that were taken are answered, and no thread takes any more.
    pub(super) fn stop(&self) {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: all zeroes is a valid `sigaction`: no flags, so that waiting is interrupted and not resumed.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = nothing as *const () as libc::sighandler_t;
        // SAFETY: the handler does nothing. Nobody is there who would want this signal, which by default does nothing, too.
        unsafe { libc::sigaction(libc::SIGURG, &raw const action, ptr::null_mut()) };
        self.stop.store(true, Ordering::Relaxed);
        loop {
            let threads: Vec<_> = lock(&self.threads).iter().copied().collect();
            if threads.is_empty() {
                return;
            }
            for tid in threads {
                // SAFETY: takes numbers only. One that has ended meanwhile is none of ours any more, and not found.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGURG) };
            }
            thread::sleep(PATIENCE);
        }
    }

    /// Notes that this thread may have taken a call, as long as what is returned lives.
    fn taking(&self) -> Taking<'_> {
        // SAFETY: takes nothing and cannot fail.
        let tid = unsafe { libc::gettid() };
        lock(&self.threads).insert(tid);
        Taking { tid, threads: &self.threads }
    }

    fn receive(self: &Arc<Self>) {
        let _taking = self.taking();
        let mut buffer = Buffer(Vec::new());
        let mut seat = self.desk.seat();
        let mut last = None;
        while let Some(call) = self.listener.receive(&self.stop, seat.call()) {
            self.taken.fetch_add(1, Ordering::Relaxed);
            // Calls of one process come one after the other, while its libraries are loaded, say. Its id is another's
            // only some 30,000 processes later.
            let process = if last == Some(call.tid) { call.tid } else { tracee::process_of(call.tid) };
            last = (process == call.tid).then_some(process);
            self.handle(&call, process, seat.call(), &mut buffer);
            // In one step: a thread that is counted must not end, or nobody might be left to receive.
            let leave = |count| (count > self.wanted).then(|| count - 1);
            if self.receivers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, leave).is_ok() {
                return;
            }
        }
    }

    /// Does what may take long.
    fn aside<T>(self: &Arc<Self>, slow: impl FnOnce() -> T) -> T {
        if self.receivers.fetch_sub(1, Ordering::Relaxed) <= self.wanted {
            self.add_receiver();
        }
        let result = slow();
        self.receivers.fetch_add(1, Ordering::Relaxed);
        result
    }

    fn handle(
        self: &Arc<Self>,
        call: &Notification,
        process: Pid,
        raw: &libc::seccomp_notif,
        buffer: &mut Buffer,
    ) {
        if (call.arch, call.nr) == (arch::AUDIT_ARCH, arch::REQUEST) {
            return self.tell(call, process);
        }
        buffer.0.clear();
        let shared = self.shared_view.load(Ordering::Relaxed);
        let view = View { tid: call.tid, shared };
        let mut context = Context { view, process, directory: None, sink: buffer };
        let step = self.decide(call, &mut context);
        // What was read may be another's, if the thread was killed and its id given away. Of nothing, nothing is wrong.
        let tells = !buffer.0.is_empty() || !matches!(step, Step::Answer(Verdict::Go));
        if tells && !self.listener.is_valid(call.id) {
            return;
        }
        for event in buffer.0.drain(..) {
            self.sink.event(process, event);
        }
        match step {
            Step::Answer(verdict) => {
                self.listener.answer(call.id, verdict);
            }
            Step::Exit(exec, code) => self.exit(*raw, exec, code),
        }
    }

    /// A process asks by itself: what it is told is written where its question stood.
    fn tell(&self, call: &Notification, process: Pid) {
        let [buffer, length, size, ..] = call.args;
        let asked = self.judge.as_deref().filter(|_| length <= size && size <= LONGEST_MESSAGE);
        let answer = asked.and_then(|judge| {
            let mut message = vec![0; length as usize];
            let read = tracee::read_memory(call.tid, buffer, &mut message);
            if read != Some(message.len()) || !self.listener.is_valid(call.id) {
                return None;
            }
            // If it takes long after all, there will be another receiver (`TICK`).
            judge.answer(process, &message)
        });
        match answer {
            // Who was killed meanwhile may have left its id to another one.
            Some(_) if !self.listener.is_valid(call.id) => {}
            Some(told) if told.len() as u64 <= size && tracee::write_memory(call.tid, buffer, &told) => {
                self.listener.give(call.id, told.len() as i64);
            }
            Some(_) => {
                self.listener.answer(call.id, Verdict::Fail(libc::EIO));
            }
            // As where there is no such call.
            None => {
                self.listener.answer(call.id, Verdict::Fail(libc::ENOSYS));
            }
        }
    }

    fn decide(self: &Arc<Self>, call: &Notification, context: &mut Context) -> Step {
        let what = match arch::meaning(call.arch, call.nr, &call.args) {
            Meaning::Known(what) => what,
            Meaning::Nothing => return GO,
            Meaning::Foreign => return self.foreign(call, context),
        };
        match what {
            Call::Exit(code) => {
                let code = call.args[usize::from(code)] as i32 & 0xff;
                context.emit(Event::Ended(ExitStatus::from_raw(code << 8)));
                return GO;
            }
            Call::Remount(_) | Call::Depart(_) => self.shared_view.store(false, Ordering::Relaxed),
            // Nearly half of all that a configure script is asked about, and all in vain.
            Call::Input(_) | Call::Print(..) | Call::Pass(..) => {
                let input = matches!(what, Call::Input(_));
                if self.judge.as_ref().is_some_and(|judge| !judge.minds_streams(context.process, input)) {
                    return GO;
                }
            }
            _ => {}
        }
        let Some(mut request) = handle::decode(context, what, &call.args) else { return GO };
        let judge = self.judge.as_deref();
        let knows = judge.filter(|_| context.view.shared);
        let asked = knows.and_then(|judge| Memory::asked(judge, &request));
        if let (Some(judge), Some(asked)) = (knows, &asked)
            && let Some(outcome) = self.memory.answer(judge, asked)
        {
            request.finish(context, outcome);
            return GO;
        }
        let judged = judge.and_then(|judge| self.ask(judge, call, what, &request, context));
        // What the judge was asked about he wants to be asked about again.
        let asked = asked.filter(|_| judged.is_none());
        match judged {
            None | Some(Step::Answer(Verdict::Go)) => {}
            Some(step) => return step,
        }
        if let (Some(judge), Request::Exec { path }) = (judge, &request)
            && let Some(events) = executed::known(judge, context, path)
        {
            events.iter().for_each(|event| context.emit(event.clone()));
            return GO;
        }
        let outcome = request.foresee(context.view);
        if let Some(asked) = asked {
            self.memory.remember(asked, &outcome);
        }
        request.finish(context, outcome);
        GO
    }

    /// A call that is not decoded.
    fn foreign(self: &Arc<Self>, call: &Notification, context: &mut Context) -> Step {
        let judge = self.judge.as_ref().filter(|judge| judge.minds_foreign(context.process));
        if lock(&self.foreign).insert(context.process) || judge.is_some() {
            context.emit(Event::Foreign);
        }
        match judge {
            Some(judge) if self.listener.is_valid(call.id) => {
                Step::Answer(self.aside(|| judge.foreign(context.process)))
            }
            _ => GO,
        }
    }

    /// Puts a call before the judge, if it is one for him.
    fn ask(
        self: &Arc<Self>,
        judge: &dyn Judge,
        call: &Notification,
        what: Call,
        request: &Request,
        context: &Context,
    ) -> Option<Step> {
        match (what, request) {
            (Call::Exec(_, argv), Request::Exec { path }) => {
                let waits = || self.listener.is_valid(call.id);
                let exec = ask::exec(judge, context, path, argv, &call.args, &waits)?;
                if !waits() {
                    return None;
                }
                Some(match self.aside(|| judge.exec(&exec)) {
                    Verdict::Exit(code) => Step::Exit(Box::new(exec), code),
                    verdict => Step::Answer(verdict),
                })
            }
            (_, Request::Open(open)) => {
                if !ask::is_for_judge(judge, context.view, open) || !self.listener.is_valid(call.id) {
                    return None;
                }
                Some(match self.aside(|| judge.open(context.process, &open.path, open.mode().1)) {
                    Verdict::Fail(errno) => Step::Answer(Verdict::Fail(errno)),
                    Verdict::Go | Verdict::Exit(_) => GO,
                })
            }
            _ => None,
        }
    }

    /// In a thread of its own, because tracing is a thread's business.
    fn exit(self: &Arc<Self>, raw: libc::seccomp_notif, exec: Box<Exec>, code: u8) {
        let this = Arc::clone(self);
        let call = Notification::of(&raw);
        let id = call.id;
        let (ready, taken) = mpsc::channel();
        let redirect = move || {
            let _taking = this.taking();
            let mut seat = this.desk.seat();
            *seat.call() = raw;
            // The one that took the call waits for this: there is always one that answers for it.
            let _ = ready.send(());
            let redirected = redirect::exit(call.tid, code, || this.listener.answer(call.id, Verdict::Go));
            this.redirected(&exec, redirected);
        };
        if thread::Builder::new().name("net exit".into()).spawn(redirect).is_err() {
            // What must not run cannot be made to exit: it fails, as it would have for want of a process.
            self.listener.answer(id, Verdict::Fail(libc::EAGAIN));
        }
        let _ = taken.recv();
    }

    fn redirected(&self, exec: &Exec, redirected: Redirected) {
        let runs = match redirected {
            Redirected::Done => return,
            Redirected::Failed => false,
            Redirected::Runs => true,
        };
        if let Some(judge) = &self.judge {
            judge.not_deferred(exec, runs);
        }
        if runs {
            for event in executed(&exec.path, Some(&exec.cwd)) {
                self.sink.event(exec.pid, event);
            }
        }
    }
}
