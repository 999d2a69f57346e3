// SPDX-License-Identifier: Apache-2.0
//! What the kernel reads to execute a program: the program, the interpreters of scripts, the loader. Told after the fact,
//! from what the process has become, or beforehand, from what the path leads to; then also what the loader always looks for, of which the
//! kernel is not told to ask (`net/loader.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::Context;
use crate::event::{Access, Event, Kind, Place, Role, Sink};
use crate::image::{self, Image};
use crate::net::loader::{self, Loader};
use crate::tracee::{self, View};
use crate::{Judge, Pid};

/// How many interpreters of interpreters the kernel follows.
const MAX_INTERPRETERS: usize = 5;

/// What the kernel does to the file system when a process of ours executes the program at this path, or tries to: for
/// who does it without being watched. Without the directory in which it does that, nothing where it depends on that; nor of what each
/// process has of its own (`/proc/self/exe`).
#[must_use]
pub fn executed(path: &Path, directory: Option<&Path>) -> Vec<Event> {
    /// Takes the events of one process.
    struct Events(Vec<Event>);

    impl Sink for Events {
        fn event(&mut self, _: Pid, event: Event) {
            self.0.push(event);
        }
    }

    let view = View::own();
    let mut events = Events(Vec::new());
    let mut context = Context { view, process: view.tid, directory, sink: &mut events };
    let path = context.absolute(path.to_owned());
    if tracee::leads_to_own(&path) {
        return Vec::new();
    }
    let chain = chain(&context, path.clone());
    if chain.relative && directory.is_none() {
        return Vec::new();
    }
    tell(&mut context, path, chain);
    events.0
}

/// The same for a process of a build, by who may know; nothing where that cannot be told.
pub(crate) fn known(judge: &dyn Judge, context: &Context, path: &Path) -> Option<Arc<[Event]>> {
    let events = if context.view.shared { judge.executed(path) } else { None };
    events.filter(|events| !events.is_empty())
}

/// The program runs: report it, and what else the kernel opened on the way.
pub(crate) fn report(context: &mut Context, path: PathBuf) {
    let view = context.view;
    let mut path = path;
    let mut role = Role::Program;
    for _ in 0..=MAX_INTERPRETERS {
        let script = view
            .open_regular(&path)
            .ok()
            .and_then(|file| Some((image::read(&file).ok()?, view.real_of(&file))));
        let Some((Image::Script(interpreter), real)) = script else { break };
        context.emit(Event::Executed(Place::new(path, real), role));
        path = context.absolute(interpreter);
        role = Role::Interpreter;
    }
    // The last one is what runs now. Its own link says where it is, and gives it to us even when its path does not.
    let exe = view.link("exe");
    context.emit(Event::Executed(Place::new(path, exe), role));
    let image = view.own_image().ok();
    if let Some(Ok(Image::Dynamic(loader))) = image.as_ref().map(image::read) {
        let loader = context.absolute(loader);
        let real = view.open_regular(&loader).ok().and_then(|file| view.real_of(&file));
        context.emit(Event::Executed(Place::new(loader, real), Role::Loader));
    }
}

/// What the kernel will find out about a program.
#[derive(Debug, Default)]
struct Chain {
    /// What it opens, in this order, and why.
    places: Vec<(Place, Role)>,
    /// Why it does not execute it, if so.
    error: Option<i32>,
    /// An interpreter or loader is named from the directory on in which the process is.
    relative: bool,
    /// It is begun by the loader of which nobody asks what it looks for.
    is_loaded: bool,
}

/// Follows a program as the kernel will, from script to interpreter to loader.
fn chain(context: &Context, path: PathBuf) -> Chain {
    let view = context.view;
    let mut chain = Chain::default();
    let mut path = path;
    let mut role = Role::Program;
    for _ in 0..=MAX_INTERPRETERS {
        let file = match view.executable(&path) {
            Ok(file) => file,
            Err(errno) => return Chain { error: Some(errno), ..chain },
        };
        let real = view.real_of(&file);
        chain.places.push((Place::new(path, real), role));
        // It can be called like a program, too.
        chain.is_loaded = loader::known().is_some_and(|loader| loader.is(&file));
        match image::read(&file) {
            Ok(Image::Script(interpreter)) => {
                chain.relative |= interpreter.is_relative();
                (path, role) = (context.absolute(interpreter), Role::Interpreter);
            }
            Ok(Image::Dynamic(loader)) => {
                chain.relative |= loader.is_relative();
                let loader = context.absolute(loader);
                match view.open_regular(&loader) {
                    Ok(file) => {
                        let real = view.real_of(&file);
                        chain.is_loaded = loader::known().is_some_and(|known| known.is(&file));
                        chain.places.push((Place::new(loader, real), Role::Loader));
                    }
                    Err(error) => chain.error = Some(error.raw_os_error().unwrap_or(libc::EACCES)),
                }
                return chain;
            }
            Ok(Image::Static) => return chain,
            Ok(Image::Unknown) => return Chain { error: Some(libc::ENOEXEC), ..chain },
            Err(error) => return Chain { error: Some(error.raw_os_error().unwrap_or(libc::EIO)), ..chain },
        }
    }
    Chain { error: Some(libc::ELOOP), ..chain }
}

/// Will the kernel execute the program at this path?
pub(crate) fn will_run(judge: &dyn Judge, context: &Context, path: &Path) -> bool {
    match known(judge, context, path) {
        Some(events) => events.iter().any(|event| matches!(event, Event::Executed(..))),
        None => chain(context, path.to_owned()).error.is_none(),
    }
}

/// The program is about to be executed: reports what the kernel will do.
pub(crate) fn foresee(context: &mut Context, path: PathBuf) {
    let chain = chain(context, path.clone());
    tell(context, path, chain);
}

fn tell(context: &mut Context, path: PathBuf, chain: Chain) {
    match chain.error {
        None => {
            for (place, role) in chain.places {
                context.emit(Event::Executed(place, role));
            }
            if chain.is_loaded {
                for mut request in loader::known().into_iter().flat_map(Loader::requests) {
                    let outcome = request.foresee(context.view);
                    request.finish(context, outcome);
                }
            }
        }
        Some(errno) => report_failure(context, path, errno),
    }
}

/// The program does not run: for want of the file, of its interpreter or loader, or because of what is in it.
pub(crate) fn report_failure(context: &mut Context, path: PathBuf, errno: i32) {
    let mut path = path;
    for _ in 0..=MAX_INTERPRETERS {
        let Ok(file) = context.view.open_regular(&path) else { break };
        if errno != libc::ENOENT && errno != libc::ENOEXEC {
            break;
        }
        // The kernel has read the file to know that it cannot execute it.
        let real = context.view.real_of(&file);
        let access = Access { reads: true, writes: false, created: false, emptied: false };
        context.emit(Event::Opened(Place::new(path, real), Kind::File, access));
        let (Ok(Image::Script(next)) | Ok(Image::Dynamic(next))) = image::read(&file) else { return };
        path = context.absolute(next);
    }
    context.looked_up(path, Some(errno));
}
