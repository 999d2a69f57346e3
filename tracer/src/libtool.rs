// SPDX-License-Identifier: Apache-2.0
//! libtool's compiles without libtool: what its script would do ([`models::libtool`]) the recorder does, and defers the
//! compiles. Only for a script that was watched once, with a command of the same kind, and did just that: started these
//! compiles and wrote this text. Until then it runs. What was found out of a script counts for as long as its content
//! is the same, in later recordings too. In which language compilers speak is its business as well: which variables it
//! changes for them is taken from what was seen.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use models::libtool::{Compile, Configuration, GENERATED, Request, script};
use models::recognise::Program;
use models::{Invocation, World};
use observe::Event;
use thunk::trace::{Command, Disposition, Observed, Touch, Uses};
use thunk::{FileFacts, ObjectKind, ObjectName};

use crate::carry::{Move, observed, place, remove, touch, write};
use crate::context::{Role, Running};
use crate::decide::{Answer, deferred, took_us};
use crate::defer::{Deferred, gives_access};
use crate::plans::{carry_out, planned};
use crate::programs::Facts;
use crate::recorder::{Recorder, lock};
use crate::request::Exec;
use crate::shell;
use crate::undo::Put;
use crate::watch::environment;

/// All scripts that were watched.
#[derive(Debug)]
pub struct Scripts {
    /// In the store: for each script and kind of command, the line in which it names itself.
    directory: PathBuf,
    known: Mutex<HashMap<ObjectName, Known>>,
}

#[derive(Clone, Debug)]
enum Known {
    /// It does what was foretold, so.
    Does(Ways),
    /// It did otherwise.
    Differs,
    /// These are running.
    Watched(Vec<Arc<Watched>>),
}

/// What differs from script to script.
#[derive(Clone, Debug)]
struct Ways {
    /// The line in which it names itself.
    generated: String,
    /// The variables that it gives to compilers, `NAME=VALUE`.
    gives: Vec<OsString>,
}

impl Ways {
    /// One line for each.
    fn encode(&self) -> Vec<u8> {
        let lines = self.gives.iter().map(|variable| variable.as_bytes());
        std::iter::once(self.generated.as_bytes()).chain(lines).collect::<Vec<_>>().join(&b'\n')
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let mut lines = text.split(|&c| c == b'\n');
        let generated = String::from_utf8(lines.next()?.to_vec()).ok()?;
        let gives: Vec<_> = lines.map(|line| OsStr::from_bytes(line).to_os_string()).collect();
        let is_right =
            generated.starts_with(GENERATED) && gives.iter().all(|variable| is_given(name(variable)));
        is_right.then_some(Self { generated, gives })
    }
}

/// The name of a variable.
fn name(variable: &OsStr) -> &[u8] {
    variable.as_bytes().split(|&c| c == b'=').next().unwrap_or_default()
}

/// Does a script of libtool's take from a variable what it does beside compiling, or how it prints?
fn changes_scripts(name: &OsStr) -> bool {
    ["ECHO", "MKDIR", "MV", "RM", "debug_cmd"].iter().any(|known| name == *known)
}

fn is_locale(name: &[u8]) -> bool {
    name == b"LANG" || name == b"LANGUAGE" || name.starts_with(b"LC_")
}

/// What a script gives to compilers, whatever the command: beside the language what Autoconf's preamble sets for shells of long ago.
fn is_given(name: &[u8]) -> bool {
    is_locale(name) || name == b"BIN_SH" || name == b"DUALCASE"
}

/// A command that runs while it is watched.
#[derive(Debug)]
pub struct Watched {
    /// What it should do.
    compile: Compile,
    cwd: PathBuf,
    /// Its variables.
    has: Vec<OsString>,
    /// Our preload library.
    own: OsString,
    /// The compiles that it has started.
    started: Mutex<Vec<Started>>,
}

#[derive(Debug)]
struct Started {
    argv: Vec<OsString>,
    /// The variables that it was given; nothing where that is more than scripts give.
    gives: Option<Vec<OsString>>,
}

/// When so many run at once, no more are watched.
const MANY: usize = 64;

impl Watched {
    /// It starts a compiler.
    pub fn starts(&self, invocation: &Invocation) {
        let has = environment::kept(&invocation.env, &self.own);
        let is_lost = |known: &OsString| !has.iter().any(|variable| name(variable) == name(known));
        let gives: Vec<_> = has.iter().filter(|variable| !self.has.contains(variable)).cloned().collect();
        let is_known = gives.iter().all(|variable| is_given(name(variable))) && !self.has.iter().any(is_lost);
        let gives = is_known.then_some(gives);
        lock(&self.started).push(Started { argv: invocation.argv.clone(), gives });
    }

    /// Whether it did what was foretold, once it can be told.
    fn verdict(&self) -> Option<Known> {
        let started = lock(&self.started);
        let gives = &started.first()?.gives;
        let is_foretold =
            |(one, foretold): (&Started, &Vec<OsString>)| one.argv == *foretold && one.gives == *gives;
        let is_foretold = started.iter().zip(&self.compile.commands).all(is_foretold);
        let Some(gives) = gives.as_ref().filter(|_| is_foretold) else {
            return Some(Known::Differs);
        };
        if started.len() > self.compile.commands.len() {
            return Some(Known::Differs);
        }
        // The text comes last.
        let text = fs::read(self.cwd.join(&self.compile.object)).ok()?;
        let is_done = started.len() == self.compile.commands.len();
        Some(match self.compile.generated(&text).filter(|_| is_done) {
            Some(line) => Known::Does(Ways { generated: line.to_owned(), gives: gives.clone() }),
            // One of an earlier build, perhaps.
            None if !is_done => return None,
            None => Known::Differs,
        })
    }
}

impl Scripts {
    /// In this directory of a store's cache.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, known: Mutex::default() }
    }

    /// What is known of commands with this key by now.
    fn known(&self, key: ObjectName) -> Known {
        let mut all = lock(&self.known);
        let known = all.entry(key).or_insert_with(|| {
            let ways = fs::read(self.path(&key)).ok().and_then(|text| Ways::decode(&text));
            ways.map_or_else(|| Known::Watched(Vec::new()), Known::Does)
        });
        if let Known::Watched(watched) = known
            && let Some(verdict) = watched.iter().find_map(|watched| watched.verdict())
        {
            if let Known::Does(ways) = &verdict {
                // What is not kept is found out again.
                let _ = thunk::write_atomically(&self.path(&key), &ways.encode(), 0o666);
            }
            *known = verdict;
        }
        known.clone()
    }

    fn watch(&self, key: ObjectName, watched: &Arc<Watched>) {
        if let Some(Known::Watched(all)) = lock(&self.known).get_mut(&key)
            && all.len() < MANY
        {
            all.push(Arc::clone(watched));
        }
    }

    fn path(&self, key: &ObjectName) -> PathBuf {
        self.directory.join(key.to_string())
    }
}

/// What a script is to do.
struct Foretold {
    key: ObjectName,
    script: PathBuf,
    content: ObjectName,
    compile: Compile,
}

/// What this command is to do, if it is libtool that is to compile something.
fn foretell(recorder: &Recorder, exec: &Exec, facts: &Facts) -> Option<Foretold> {
    let is_shell = match facts.program {
        Program::Libtool => false,
        Program::Shell => true,
        _ => return None,
    };
    let invocation = &exec.invocation;
    let (name, words) = script(&invocation.argv, is_shell)?;
    let request = Request::of(words)?;
    let path = if is_shell { invocation.absolute(name) } else { invocation.program.clone() };
    if is_shell && recorder.program(&path, name).ok()?.program != Program::Libtool
        || invocation
            .env
            .iter()
            .any(|variable| shell::changes_shells(variable) || changes_scripts(variable.0))
    {
        return None;
    }
    let file = FileFacts::of(&fs::metadata(&path).ok()?);
    let content = recorder.put(&path, &file).ok()?;
    let text = World::read(recorder, &path).ok()?;
    let text = std::str::from_utf8(&text).ok().filter(|text| text.len() as u64 == file.id.size)?;
    let compile =
        request.compile(&Configuration::of(text, &request.tag)?, Path::new(name).file_name()?.to_str()?)?;
    let language = invocation.env.of(|name| is_locale(name.as_bytes()));
    let key = format!("{content} {} {language:?}", request.manner());
    let key = ObjectName::of(ObjectKind::Value, key.as_bytes());
    Some(Foretold { key, script: path, content, compile })
}

/// What to watch while this command runs, if it is the first of its kind.
pub fn watched(recorder: &Recorder, exec: &Exec, facts: &Facts) -> Option<Arc<Watched>> {
    let Foretold { key, compile, .. } = foretell(recorder, exec, facts)?;
    let Known::Watched(_) = recorder.libtool.known(key) else { return None };
    let own = recorder.install.interceptor.clone().into_os_string();
    let has = environment::kept(&exec.invocation.env, &own);
    let cwd = exec.invocation.cwd.clone();
    let watched = Arc::new(Watched { compile, cwd, has, own, started: Mutex::default() });
    recorder.libtool.watch(key, &watched);
    Some(watched)
}

/// Does what libtool is to do, and moves what it gives; the answer for the process that was to become libtool, or a
/// shell that only starts it. Nothing where libtool is to do it itself: it then does again what was done.
pub fn compile(
    recorder: &Recorder,
    exec: &Exec,
    parent: &Running,
    facts: &Facts,
    command: &Command,
    prints: Vec<u8>,
    moves: &[Move],
) -> Option<Answer> {
    let Foretold { key, script, content, compile } = foretell(recorder, exec, facts)?;
    let Known::Does(Ways { generated, gives }) = recorder.libtool.known(key) else { return None };
    let prints = [prints, compile.prints.clone()].concat();
    if !recorder.is_ours(exec.pid) || !(prints.is_empty() || exec.prints) || prints.len() > wire::PRINT_MAX {
        return None;
    }
    let libtool = parent.start(Role::Libtool, exec.fds.as_ref());
    let id = recorder.start(exec.parent, parent, libtool.clone());
    let doing = Doing { recorder, exec, id, libtool, compile: &compile, moves };
    let mut touches = vec![Touch {
        before: Some(content),
        ..touch(&place(&script), Uses::FOUND | Uses::READ | Uses::INPUT)
    }];
    let plans = doing.plan(&gives, &mut touches)?;
    let given = doing.put(plans, compile.text(&generated), &mut touches)?;
    if let Some(failed) = doing.tell(command, touches, given) {
        return Some(failed);
    }
    let is_moved = moves.iter().all(|moved| moved.make(recorder).is_ok());
    is_moved.then_some(Answer::Exit { command: id, code: 0, prints })
}

/// What is done in libtool's place.
struct Doing<'a> {
    recorder: &'a Recorder,
    exec: &'a Exec,
    /// Its command.
    id: u32,
    libtool: Running,
    compile: &'a Compile,
    moves: &'a [Move],
}

/// One of the compiles, as libtool would start it.
struct Planned {
    exec: Exec,
    kind: String,
    plan: Box<models::Plan>,
}

impl Doing<'_> {
    fn path(&self, path: &Path) -> PathBuf {
        self.exec.invocation.cwd.join(path)
    }

    /// What is planned for the compiles, where all can be deferred, and give what is to be moved.
    fn plan(&self, gives: &[OsString], touches: &mut Vec<Touch>) -> Option<Vec<Planned>> {
        // What is compiled goes there.
        if let Some(directory) = &self.compile.makes {
            touches.extend(make(self.recorder, self.id, &self.path(directory), self.exec.umask)?);
        }
        let plans = self.compile.commands.iter().map(|argv| self.one(argv, gives));
        let plans = plans.collect::<Option<Vec<_>>>()?;
        let gives = |moved: &Move| {
            plans.iter().all(|one| one.plan.outputs.iter().any(|output| output.path == moved.from))
        };
        self.moves.iter().all(gives).then_some(plans)
    }

    fn one(&self, argv: &[OsString], gives: &[OsString]) -> Option<Planned> {
        let recorder = self.recorder;
        let mut exec = shell::started(recorder, self.exec, argv.to_vec())?;
        for variable in gives {
            let (name, value) = thunk::split_variable(variable);
            exec.invocation.env.set(name, value);
        }
        let program = &exec.invocation.program;
        if !recorder.placeholders([program.as_path()].into_iter()).is_empty() {
            return None;
        }
        let facts = recorder.program(program, argv.first()?).ok()?;
        let (kind, plan) = planned(recorder, &exec, &self.libtool, facts.program)?;
        Some(Planned { kind: kind.to_string(), plan: plan.ok()?, exec })
    }

    /// Puts everything in place.
    fn put(
        &self,
        plans: Vec<Planned>,
        text: Vec<u8>,
        touches: &mut Vec<Touch>,
    ) -> Option<Vec<(Planned, Deferred)>> {
        let recorder = self.recorder;
        for path in &self.compile.removes {
            touches.push(remove(recorder, self.id, &self.path(path))?);
        }
        let mut done = Vec::new();
        for one in plans {
            let given = carry_out(recorder, &one.exec, &self.libtool, &one.plan).ok()?;
            done.push((one, given));
        }
        let object = self.path(&self.compile.object);
        touches.push(write(recorder, self.id, &object, &text, self.exec.umask)?);
        let placeholders = |(_, given): &(Planned, Deferred)| {
            let moved = self.moves.iter().map(|moved| moved.to.clone());
            Put::Placeholders(given.thunk, given.outputs.iter().cloned().chain(moved).collect())
        };
        let put = done.iter().map(placeholders).chain([Put::Text(object, text)]).collect();
        recorder.placed.note(self.id, put);
        Some(done)
    }

    /// Writes down what was done: libtool ran, and started compiles. An answer only where that is not possible.
    fn tell(&self, command: &Command, touches: Vec<Touch>, done: Vec<(Planned, Deferred)>) -> Option<Answer> {
        let Self { recorder, exec, id, libtool, moves, .. } = self;
        let of = |exec: &Exec| {
            let Invocation { program, argv, cwd, .. } = exec.invocation.clone();
            Command { program, argv, cwd, took_us: took_us(recorder, command), ..command.clone() }
        };
        let record = observed(recorder, *id, touches, Observed::PART_DEFERRED);
        let recorded = recorder.record(&Command { id: *id, ..of(exec) });
        let recorded = recorded.and_then(|()| recorder.trace.observed(&record));
        recorded.unwrap_or_else(|error| recorder.complain(&error));
        let last = done.len();
        for (number, (one, given)) in done.into_iter().enumerate() {
            let inner = Command {
                parent: *id,
                kind: one.kind,
                disposition: Disposition::Deferred,
                thunk: Some(given.thunk),
                outputs: given.outputs,
                ..of(&one.exec)
            };
            let moves = if number + 1 == last { moves } else { &[][..] };
            if let failed @ Answer::Fail { .. } = deferred(recorder, libtool, inner, Vec::new(), moves) {
                return Some(failed);
            }
        }
        None
    }
}

/// `mkdir -p`.
fn make(recorder: &Recorder, id: u32, path: &Path, umask: u32) -> Option<Vec<Touch>> {
    if path.is_dir() {
        return Some(vec![touch(&place(path), Uses::FOUND)]);
    }
    let above = path.parent()?;
    let mut touches = if above.is_dir() { Vec::new() } else { make(recorder, id, above, umask)? };
    if gives_access(above) {
        return None;
    }
    let place = place(path);
    let mode = 0o777 & !umask;
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            let has = fs::metadata(path).ok()?.mode();
            // The recorder has a umask of its own.
            if has & mode != mode {
                fs::set_permissions(path, fs::Permissions::from_mode(has & 0o7777 | mode)).ok()?;
            }
            recorder.did(id, &Event::Made(place.clone()));
        }
        // By another one of these, at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(_) => return None,
    }
    touches.push(touch(&place, Uses::MISSING | Uses::CREATED | Uses::OUTPUT));
    Some(touches)
}
