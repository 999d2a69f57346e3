// SPDX-License-Identifier: Apache-2.0
//! What the kernel's side of the recorder asks and tells: execs and opens that no hook has asked about, and the events of all
//! processes. Knows nothing of how they were noticed.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use models::Invocation;
use observe::net::SharedSink;
use observe::{Event, Judge, Pid, Sink, Transfer, Verdict};
use wire::FdIdentity;

use crate::decide::{self, Answer};
use crate::log::Ways;
use crate::needed::pending;
use crate::process;
use crate::recipe::unforced;
use crate::recorder::{Recorder, Sight};
use crate::request::{Exec, Open};
use crate::server;

/// Asks the recorder, and tells it what happens.
#[derive(Clone)]
pub struct Kernel(pub Arc<Recorder>);

impl Judge for Kernel {
    fn knows(&self, pid: Pid, path: &Path, argv: &[OsString], parent: &dyn Fn() -> Option<Pid>) -> bool {
        // The first that asks is the build.
        self.0.build.get().is_some() && self.0.watch.is_announced(pid, &observe::tidy(path), argv, parent)
    }

    fn exec(&self, exec: &observe::Exec) -> Verdict {
        let recorder = &*self.0;
        let program = observe::tidy(&exec.path);
        // The first that asks is the build.
        recorder.build.get_or_init(|| exec.pid);
        // In place of a command that a hook has deferred.
        if program == recorder.install.standin {
            return Verdict::Go;
        }
        let session = exec.env.iter().find(|(name, _)| name == wire::SESSION_VARIABLE);
        let named = session.and_then(|(_, value)| process::command_in(value, &recorder.socket));
        if let Some(id) = named
            && recorder.watch.arrives(exec.pid, id, &program, &exec.argv)
        {
            return Verdict::Go;
        }
        if let Some(id) = named {
            recorder.watch.names_another(id);
        }
        let asks = exec.pid;
        let exec = Exec {
            pid: asks.cast_unsigned(),
            parent: recorder.watch.program_of(exec.pid),
            invocation: Invocation {
                program,
                argv: exec.argv.clone(),
                env: exec.env.iter().map(|(name, value)| (name, value)).collect(),
                cwd: exec.cwd.clone(),
            },
            umask: exec.umask,
            fds: Some(exec.fds.each_ref().map(|fd| fd.as_ref().map_or_else(FdIdentity::default, identity))),
            ..Exec::default()
        };
        match decide::exec(recorder, &Arc::new(exec), &decide::at_once) {
            Answer::Run { .. } => Verdict::Go,
            Answer::Exit { code, .. } => Verdict::Exit(code as u8),
            Answer::Killed => {
                // It has asked, and waits for this.
                let _ = observe::Process::open(asks).and_then(|process| process.signal(libc::SIGKILL));
                Verdict::Fail(libc::EIO)
            }
            Answer::Fail { errno, why } => failed(errno, &why),
        }
    }

    fn not_deferred(&self, exec: &observe::Exec, runs: bool) {
        if runs {
            // Its placeholders are overwritten by what it does, as part of the command that started it.
            let watch = &self.0.watch;
            watch.obstacle_of(exec.pid, "a part of it was to be deferred, and could not be");
        }
    }

    fn minds_streams(&self, pid: Pid, input: bool) -> bool {
        self.0.watch.minds_streams(pid, input)
    }

    fn answer(&self, pid: Pid, message: &[u8]) -> Option<Vec<u8>> {
        server::reply_to(&self.0, pid.cast_unsigned(), message)
    }

    fn may_be_placeholder(&self, size: u64) -> bool {
        wire::size_may_be_placeholder(size)
    }

    fn may_hold_placeholders(&self) -> bool {
        self.0.has_outputs()
    }

    fn way(&self, path: &Path) -> Option<observe::Way> {
        self.0.lasting_way(path).map(|way| way as observe::Way)
    }

    fn executed(&self, program: &Path) -> Option<Arc<[Event]>> {
        Some(Ways::executed(&*self.0, program))
    }

    fn keeps(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| self.0.may_have_changed(name.as_bytes()))
    }

    fn open(&self, pid: Pid, path: &Path, writes: bool) -> Verdict {
        let verdict = self.opens(pid, path);
        if writes && verdict == Verdict::Go && self.keeps(path) {
            self.0.keep(pid.cast_unsigned(), self.0.watch.program_of(pid), path);
        }
        verdict
    }

    fn minds_foreign(&self, pid: Pid) -> bool {
        self.0.may_miss(self.0.watch.program_of(pid))
    }

    /// Nobody knows what it looks at: everything that is pending must be there. Where it cannot be had no such call is made, and whoever
    /// makes another one meanwhile waits, too.
    fn foreign(&self, pid: Pid) -> Verdict {
        let recorder = &*self.0;
        let Err(why) = recorder.force(&pending(recorder)) else {
            recorder.misses_nothing(recorder.watch.program_of(pid));
            return Verdict::Go;
        };
        let what = format!("what process {pid}, whose calls are not understood, may need");
        verdict(unforced(recorder, pid.cast_unsigned(), &what, &why))
    }
}

impl Kernel {
    fn opens(&self, pid: Pid, path: &Path) -> Verdict {
        let recorder = &*self.0;
        let command = recorder.watch.program_of(pid);
        let program = recorder.command(command);
        // What its hooks let it open they tell of: it is carried along. Of a file that it opens by a call of its own, as programs in Rust
        // without the C library's functions do, nobody would say where it has put it.
        if (program.carries || program.names) && path.is_dir() {
            return Verdict::Go;
        }
        let open = Open { path: path.to_path_buf(), pid: pid.cast_unsigned(), command, looks: false };
        verdict(decide::open(recorder, &open))
    }

    /// A call is about to do this for which a hook would have asked: of what it renames or gives another mode, and of what a driver
    /// removes, nobody else could tell afterwards what it was. A tracer is told when it is done.
    fn keep_before(&self, pid: Pid, event: &Event) {
        let recorder = &*self.0;
        let (paths, removes) = match event {
            Event::Removed(place) => ([Some(place.real()), None], true),
            Event::Transferred(how, from, to) if *how != Transfer::Link => {
                ([Some(from.real()), Some(to.real())], false)
            }
            Event::Attributes(path) => ([Some(&**path), None], false),
            _ => return,
        };
        if recorder.sight != Sight::Net {
            return;
        }
        for path in paths.into_iter().flatten().filter(|path| self.keeps(path)) {
            let program = recorder.watch.program_of(pid);
            if !removes || recorder.command(program).drives {
                recorder.keep(pid.cast_unsigned(), program, path);
            }
        }
    }
}

/// What becomes of a call about which this was answered.
fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::Fail { errno, why } => failed(errno, &why),
        Answer::Run { .. } | Answer::Exit { .. } | Answer::Killed => Verdict::Go,
    }
}

/// The hooks of a program would say it on its standard error; here it is said on ours.
fn failed(errno: i32, why: &str) -> Verdict {
    if !why.is_empty() {
        thunk::say!("ggtrace: {why}");
    }
    Verdict::Fail(errno)
}

/// What a descriptor leads to.
pub fn identity(metadata: &Metadata) -> FdIdentity {
    FdIdentity {
        dev: metadata.dev(),
        ino: metadata.ino(),
        rdev: metadata.rdev(),
        mode: metadata.mode(),
        nlink: metadata.nlink() as u32,
    }
}

impl SharedSink for Kernel {
    fn event(&self, process: Pid, event: Event) {
        self.keep_before(process, &event);
        self.0.changes(&event);
        if let Event::Transferred(how, from, to) = &event {
            self.0.transferred(*how, from.real(), to.real());
        }
        let watch = &self.0.watch;
        if matches!(event, Event::Traces) {
            self.0.refuse_tracers();
            return watch.obstacle_of(process, "traces processes, which are traced already");
        }
        watch.event(process, watch.next(), event);
    }
}

impl Sink for Kernel {
    fn event(&mut self, process: Pid, event: Event) {
        SharedSink::event(self, process, event);
    }
}
