// SPDX-License-Identifier: Apache-2.0
//! One recording from beginning to end: sets up the store, trace and socket, starts the build, waits for it, and ends
//! as it ended.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context as _, Result, bail};
use models::Invocation;
use observe::net::{self, Supervisor};
use observe::{Gate, Guardian, Options};
use thunk::{FailedThunks, Placeholder, Store, trace};
use wire::FdIdentity;

use crate::context::Running;
use crate::decide::{self, Answer};
use crate::following::{self, Following};
use crate::install::Install;
use crate::judge::Kernel;
use crate::learned;
use crate::linked::Linked;
use crate::log::Log;
use crate::recorder::{Parts, Recorder, Sight};
use crate::request::Exec;
use crate::server::Server;
use crate::session_directory::SessionDirectory;
use crate::watch::Watch;
use crate::{Arguments, Method, given, process, recorder, termination};

/// The build's command does not exist.
#[derive(Debug)]
pub struct NotFound(PathBuf);

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: command not found", self.0.display())
    }
}

impl std::error::Error for NotFound {}

/// Runs a build and records it.
///
/// # Errors
/// It cannot be recorded or started. How the build itself ends is no error: it is the exit code.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let session = Session::open(arguments)?;
    let recorder = Arc::clone(&session.recorder);
    Server::start(Arc::clone(&recorder)).context("cannot answer on the session's socket")?;
    Watch::start(&recorder).context("cannot start a thread")?;
    if arguments.force {
        recorder.follow(following::Options { jobs: arguments.jobs, keep_going: arguments.keep_going })?;
    }

    let guardian = session.guardian.as_ref();
    let Built { status, supervisor } = build(&recorder, &arguments.command, session.fds, guardian)?;
    let mut code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    session.close(code, supervisor)?;
    if arguments.verbose {
        tell(&recorder);
    }
    if let Some(following) = recorder.following() {
        let forced = finish_forcing(&recorder, following, code);
        code = if code == 0 { forced } else { code };
    }
    if let Some(signal) = status.signal() {
        die_of(signal);
    }
    Ok(ExitCode::from(code as u8))
}

/// What a recording needs for as long as its build runs.
struct Session {
    recorder: Arc<Recorder>,
    guardian: Option<Guardian>,
    directory: SessionDirectory,
    /// Where the build's standard streams lead.
    fds: [FdIdentity; 3],
}

impl Session {
    /// Everything is there for the build to be started; no thread is.
    fn open(arguments: &Arguments) -> Result<Self> {
        let (fds, given) = (given::streams(), given::others());
        let install = Install::find()?;
        let store = Store::open_default()?;
        store.sweep();
        let cwd = std::env::current_dir().context("cannot tell the current directory")?;
        // Which these are is forgotten next.
        let failed = learned::failed(&store);
        let mut left = left_before(&store, &cwd)?;
        // A file beside the build's that is not the build's, and none of the sources for which it looks.
        left.extend(arguments.output.as_deref().and_then(file_at));
        let trace =
            trace::Writer::create(&store, arguments.output.as_deref(), &cwd, &arguments.command, &left)?;
        let directory = SessionDirectory::create()?;
        let sight = sight(arguments);
        let guardian = guardian(sight, &directory)?;
        let cookie = random()?;
        let recorder = Arc::new(Recorder::new(Parts {
            install,
            store,
            trace,
            left,
            failed,
            directory: directory.path().to_path_buf(),
            project: cwd,
            root: Running::root(&fds),
            defers: !arguments.run,
            sight,
            log: log(sight),
            given,
            cookie: if sight == Sight::Net { cookie } else { 0 },
        })?);
        Ok(Self { recorder, guardian, directory, fds })
    }

    /// The build has ended with this code: so does its trace. What it has left running is let go.
    fn close(self, code: i32, supervisor: Option<Supervisor>) -> Result<()> {
        let Self { recorder, guardian, directory, fds: _ } = self;
        recorder.watch.close();
        Linked::take_back(&recorder);
        // What ended the build is more to the caller than what ended its trace.
        if let Err(error) = recorder.end(code) {
            if code == 0 {
                return Err(error.into());
            }
            thunk::say!("ggtrace: {error}");
        }
        recorder.store.files().flush();
        drop(directory);
        if let Some(Err(error)) = supervisor.map(|supervisor| supervisor.leave()) {
            thunk::say!("ggtrace: what the build has left running will not be able to go on: {error}");
        }
        drop(guardian);
        Ok(())
    }
}

/// What an earlier recording left to be forced, and is still to be forced after this one.
fn left_before(store: &Store, cwd: &Path) -> Result<Vec<PathBuf>> {
    let previous = trace::Trace::all_latest(store, cwd)?;
    let previous = previous.iter().filter_map(|path| trace::Trace::read(path).ok());
    let left: BTreeSet<PathBuf> = previous.flat_map(|previous| previous.left(store)).collect();
    let mut left: Vec<PathBuf> = left.into_iter().collect();
    left.retain(|path| matches!(Placeholder::read_to_replace(path), Ok(Some(_))));
    clear_failed(store, &mut left)?;
    Ok(left)
}

/// Where a file that is written to this path will be; `None` where there is a device or a pipe.
fn file_at(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = std::fs::canonicalize(path) {
        return real.is_file().then_some(real);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(std::fs::canonicalize(directory).ok()?.join(path.file_name()?))
}

/// How much can be seen of what was asked for.
fn sight(arguments: &Arguments) -> Sight {
    match arguments.method {
        Method::Preload => Sight::Hooks,
        Method::Ptrace => Sight::Tracer,
        Method::Auto => match net::available() {
            Ok(()) => Sight::Net,
            Err(why) => {
                if arguments.verbose {
                    thunk::say!("ggtrace: only what hooks see is recorded: {why}");
                }
                Sight::Hooks
            }
        },
    }
}

/// Where hooks write down what they see. Without one, they mark nothing, and everything goes through the net.
fn log(sight: Sight) -> Option<Arc<Log>> {
    if sight == Sight::Tracer {
        return None;
    }
    let log = Log::create().map(Arc::new);
    log.inspect_err(|error| thunk::say!("ggtrace: hooks cannot write down what they see: {error}")).ok()
}

/// Who ends the build if this process is killed; what is traced dies with its tracer. Called before a thread is started.
fn guardian(sight: Sight, directory: &SessionDirectory) -> Result<Option<Guardian>> {
    if sight == Sight::Tracer {
        return Ok(None);
    }
    let socket = recorder::socket_in(directory.path());
    // SAFETY: no thread has been started yet; the one that tried the net has been waited for.
    let guardian =
        unsafe { Guardian::start(directory.lock(), |entry| process::is_of_session(entry, &socket)) };
    guardian.context("cannot start a process that would end the build if this one were killed").map(Some)
}

/// What came of it, for people.
fn tell(recorder: &Recorder) {
    thunk::say!(
        "ggtrace: {} in {:.2} s; trace {}",
        recorder.counts(),
        recorder.started.elapsed().as_secs_f64(),
        recorder.trace.path().display()
    );
}

/// Removes placeholders of what could not be computed. A plain build would have left nothing there either: make makes it anew, and
/// nothing is built on top of it, as an archive is on the one that is there.
fn clear_failed(store: &Store, left: &mut Vec<PathBuf>) -> Result<()> {
    let mut failed = FailedThunks::of(store);
    if failed.is_empty() {
        return Ok(());
    }
    let mut cleared = Ok(());
    left.retain(|path| {
        let Ok(Some(placeholder)) = Placeholder::read(path) else { return false };
        if !failed.reach(&placeholder.output.thunk) {
            return true;
        }
        let removed = std::fs::remove_file(path);
        let removed =
            removed.with_context(|| format!("cannot remove {}, which failed to be made", path.display()));
        if cleared.is_ok() {
            cleared = removed;
        }
        false
    });
    cleared?;
    Ok(failed.clear_reached()?)
}

/// Waits until what the build has left is forced; tells the exit code for it. A build that was interrupted wants no more.
fn finish_forcing(recorder: &Recorder, following: &Following, code: i32) -> i32 {
    let interrupts = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGKILL, libc::SIGTERM];
    if interrupts.contains(&(code - 128)) {
        following.abandon();
        return code;
    }
    // From here on these end the recorder, and the engine with it: the trace is written.
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: restores an action; no handler of ours is needed any more, the build having ended.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    match following.finish(recorder.outputs()) {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => code,
            (None, signal) => {
                let signal = signal.unwrap_or(0);
                thunk::say!("ggtrace: ggforce was ended by signal {signal}; run it again to force the rest");
                128 + signal
            }
        },
        Err(error) => {
            thunk::say!("ggtrace: cannot wait for ggforce: {error}");
            1
        }
    }
}

/// A build that has ended.
struct Built {
    status: ExitStatus,
    /// Who sees the calls of what it has left running.
    supervisor: Option<Supervisor>,
}

/// Starts the build and waits for it. It asks as any other command does: `ggtrace gcc -c x.c` defers the compile.
fn build(
    recorder: &Arc<Recorder>,
    argv: &[OsString],
    fds: [FdIdentity; 3],
    guardian: Option<&Guardian>,
) -> Result<Built> {
    let (name, cwd) = (&argv[0], recorder.project.as_path());
    let called = find_program(name, cwd).ok_or_else(|| NotFound(name.into()))?;
    let program = cwd.join(&called);
    // As a shell would call it: a script's `$0` is this path, and configure scripts write down what it is.
    let mut command = Command::new(&called);
    command.arg0(name).args(&argv[1..]);
    // A tracer is asked about the build's command as about any other.
    if recorder.sight != Sight::Tracer
        && let Some(status) = preload(recorder, &mut command, &program, argv, cwd, fds)?
    {
        return Ok(Built { status, supervisor: None });
    }
    leave_interrupts_to_the_build(&mut command);
    // SAFETY: between fork and exec, it is async-signal-safe.
    unsafe { command.pre_exec(given::close_again) };
    let cannot = || format!("cannot run {}", program.display());
    match (recorder.sight, guardian) {
        (Sight::Hooks, Some(guardian)) => {
            let ward = guardian.ward();
            // SAFETY: between fork and exec, entering is async-signal-safe.
            unsafe {
                // A guardian that has been killed cannot take over; all else is as ever.
                command.pre_exec(move || {
                    let _ = ward.enter();
                    Ok(())
                });
            }
            let child = command.spawn().with_context(cannot)?;
            ignore_interrupts();
            Ok(Built { status: wait(recorder, child)?, supervisor: None })
        }
        (Sight::Net, Some(guardian)) => netted(recorder, command, guardian, cannot),
        (Sight::Tracer, _) | (_, None) => {
            Ok(Built { status: traced(recorder, command).with_context(cannot)?, supervisor: None })
        }
    }
}

/// Runs the build under the kernel's net.
fn netted(
    recorder: &Arc<Recorder>,
    mut command: Command,
    guardian: &Guardian,
    cannot: impl FnOnce() -> String,
) -> Result<Built> {
    let (entrance, net) = net::guarded_pair(recorder.cookie(), guardian)?;
    let kernel = Arc::new(Kernel(Arc::clone(recorder)));
    let supervisor = net.start(Arc::clone(&kernel) as _, Some(kernel))?;
    // SAFETY: between fork and exec, entering is async-signal-safe.
    unsafe {
        // Without a net the hooks have to do, and it is said below.
        command.pre_exec(move || {
            let _ = entrance.enter();
            Ok(())
        });
    }
    let child = command.spawn().with_context(cannot)?;
    drop(command);
    ignore_interrupts();
    if let Err(why) = supervisor.installed()
        && CAME.load(Ordering::Relaxed) == 0
    {
        thunk::say!("ggtrace: what no hook sees is not recorded: {why}");
    }
    Ok(Built { status: wait(recorder, child)?, supervisor: Some(supervisor) })
}

/// Asks about the build's command, and has the interceptor loaded into it. If it is deferred, it has ended.
fn preload(
    recorder: &Recorder,
    command: &mut Command,
    program: &Path,
    argv: &[OsString],
    cwd: &Path,
    fds: [FdIdentity; 3],
) -> Result<Option<ExitStatus>> {
    // SAFETY: umask only exchanges a number; no other thread of this process makes files yet.
    let umask = unsafe { libc::umask(0o022) };
    // SAFETY: as above; put back at once.
    unsafe { libc::umask(umask) };
    let invocation = Invocation {
        program: program.to_path_buf(),
        argv: argv.to_vec(),
        env: std::env::vars_os().collect(),
        cwd: cwd.to_path_buf(),
    };
    let exec = Exec { pid: std::process::id(), invocation, umask, fds: Some(fds), ..Exec::default() };
    let (id, flags) = match decide::exec(recorder, &Arc::new(exec), &decide::at_once) {
        Answer::Run { command, flags } => (command, flags),
        Answer::Exit { code, .. } => return Ok(Some(ExitStatus::from_raw((code & 0xff) << 8))),
        Answer::Fail { errno, why } if why.is_empty() => {
            return Err(std::io::Error::from_raw_os_error(errno))
                .with_context(|| program.display().to_string());
        }
        Answer::Fail { why, .. } => bail!(why),
        Answer::Killed => bail!("{} was ended before it began", program.display()),
    };
    for (variable, value) in recorder.environment_of(id, flags) {
        let value = match std::env::var_os(&variable) {
            Some(foreign) if variable == "LD_PRELOAD" && !foreign.is_empty() => joined(foreign, &value),
            _ => value,
        };
        if variable != "LD_PRELOAD" || flags & wire::reply_flags::NO_PRELOAD == 0 {
            command.env(variable, value);
        }
    }
    Ok(None)
}

fn wait(recorder: &Recorder, mut child: Child) -> Result<ExitStatus> {
    let _ = recorder.build.set(child.id().cast_signed());
    termination::forward_to(child.id());
    child.wait().context("cannot wait for the build")
}

/// Runs the build under ptrace, until it and all that it started have ended: what is under the tracer's filter cannot go on
/// without it.
fn traced(recorder: &Arc<Recorder>, mut command: Command) -> Result<ExitStatus> {
    let (entrance, guard) = Gate::new()?.split();
    // SAFETY: between fork and exec, entering is async-signal-safe.
    unsafe {
        command.pre_exec(move || entrance.enter().inspect_err(|error| entrance.fail(error)));
    }
    let kernel = Kernel(Arc::clone(recorder));
    std::thread::scope(|scope| {
        let follow = scope.spawn(|| guard.follow(&Options::default(), &mut kernel.clone(), Some(&kernel)));
        // Returns when the child has executed its program, which waits for the tracer; the tracer reaps it.
        let spawned = command.spawn();
        drop(command);
        ignore_interrupts();
        if let Ok(child) = &spawned {
            termination::forward_to(child.id());
        }
        let run = follow.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        // What the exec said tells more than that the tracer found nobody.
        spawned?;
        Ok(run?.status)
    })
}

const INTERRUPTS: [i32; 2] = [libc::SIGINT, libc::SIGQUIT];
/// The last of these that came while the build was being started.
static CAME: AtomicI32 = AtomicI32::new(0);

/// Ctrl-C is the build's: it ends, and what was recorded so far is kept. A build in the background ignores it. One that
/// comes while the build's process is being made finds that process as soon as it can end by it.
fn leave_interrupts_to_the_build(command: &mut Command) {
    extern "C" fn keep(signal: libc::c_int) {
        CAME.store(signal, Ordering::Relaxed);
    }
    let before = INTERRUPTS.map(|signal| {
        // SAFETY: the handler only writes to an atomic.
        let handler = unsafe { libc::signal(signal, keep as *const () as libc::sighandler_t) };
        if handler == libc::SIG_IGN {
            ignore(signal);
        }
        (signal, handler)
    });
    // SAFETY: between fork and exec only async-signal-safe calls are made: signal(), getpid() and kill().
    unsafe {
        command.pre_exec(move || {
            for (signal, handler) in before {
                libc::signal(signal, handler);
            }
            match CAME.load(Ordering::Relaxed) {
                0 => {}
                signal => _ = libc::kill(libc::getpid(), signal),
            }
            Ok(())
        });
    }
}

/// The build is there: from now on nothing of this process need be interrupted.
fn ignore_interrupts() {
    INTERRUPTS.into_iter().for_each(ignore);
}

fn ignore(signal: i32) {
    // SAFETY: ignoring a signal touches no memory of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn die_of(signal: i32) -> ! {
    // SAFETY: restores the default action and ends this process by the signal that ended the build.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
    std::process::exit(128 + signal)
}

fn joined(mut foreign: OsString, own: &OsStr) -> OsString {
    foreign.push(":");
    foreign.push(own);
    foreign
}

/// The program that a shell would run, as it would call it: along `PATH` the first that can be executed, or the first that is there.
fn find_program(name: &OsStr, cwd: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let metadata = |path: &Path| std::fs::metadata(cwd.join(path));
    let is_file = |path: &PathBuf| metadata(path).is_ok_and(|m| m.is_file());
    let usable = |path: &PathBuf| metadata(path).is_ok_and(|m| m.permissions().mode() & 0o111 != 0);
    if name.as_bytes().contains(&b'/') {
        return Some(name.into()).filter(is_file);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let below = |directory: PathBuf| {
        // An empty entry is the current directory. A name without a slash would be looked for once more.
        let is_empty = directory.as_os_str().is_empty();
        let mut path = if is_empty { OsString::from(".") } else { directory.into() };
        path.push("/");
        path.push(name);
        PathBuf::from(path)
    };
    let found = || std::env::split_paths(&path).map(below).filter(is_file);
    found().find(usable).or_else(|| found().next())
}

/// A number that nobody can guess.
pub fn random() -> Result<u64> {
    let mut bytes = [0u8; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(u64::from_ne_bytes(bytes))
}
