// SPDX-License-Identifier: Apache-2.0
//! Programs are executed by the loader that is below the root, which is told where the libraries are, to load this library, and what the
//! program's `argv[0]` is. Scripts are executed by their interpreter in the same way.

use core::ffi::{CStr, c_char, c_int, c_void};

use translation::{
    ARGV0, Found, GLIBC_OPTION, Kind, LIBRARY_PATH, PATH_MAX, PRELOAD, Setting, examine, is_musl, search_path,
};

use crate::arguments::{NAME_MAX, for_each_candidate, with_arguments};
use crate::hooks::{Number, next};
use crate::libc;
use crate::more;
use crate::root::{Room, Root, string};
use crate::sys::{self, AT_FDCWD, Errno, O_CLOEXEC, O_RDONLY};
use crate::text::{Array, Strings, Text, value_of, with_memory};

/// As deep as the kernel follows scripts whose interpreter is a script.
const DEEPEST: u32 = 5;

/// `execve` and those that differ from it in their prototype only.
///
/// # Safety
/// The arguments are as `execve` wants them.
pub(crate) unsafe fn by_path(
    root: &Root,
    path: *const c_char,
    argv: Array,
    envp: Array,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let (path, argv, envp) = unsafe { (string(path), Strings::new(argv), Strings::new(envp)) };
    Err(execute(root, path.ok_or(Errno::FAULT)?, argv, envp))
}

/// `execvp` and its like.
///
/// # Safety
/// The arguments are as `execvpe` wants them.
pub(crate) unsafe fn by_search(
    root: &Root,
    file: *const c_char,
    argv: Array,
    envp: Array,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let (file, argv, envp) = unsafe { (string(file), Strings::new(argv), Strings::new(envp)) };
    search(root, file.ok_or(Errno::FAULT)?, |path| Err(execute_or_interpret(root, path, argv, envp)))
}

/// `execveat` and `fexecve`.
///
/// # Safety
/// The arguments are as `execveat` wants them.
pub(crate) unsafe fn by_descriptor(
    root: &Root,
    dirfd: c_int,
    path: *const c_char,
    argv: Array,
    envp: Array,
    flags: c_int,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let (path, argv, envp) = unsafe { (string(path), Strings::new(argv), Strings::new(envp)) };
    let path = path.ok_or(Errno::FAULT)?;
    let mut buffer = [0; PATH_MAX];
    let mut whole = [0; PATH_MAX];
    let mut text = Text::new(&mut whole);
    if path.is_empty() && flags & sys::AT_EMPTY_PATH != 0 {
        text.push(more::path_of(dirfd, &mut buffer)?);
    } else {
        if dirfd != AT_FDCWD && !path.to_bytes().starts_with(b"/") {
            text.push(more::path_of(dirfd, &mut buffer)?).push(b"/");
        }
        text.push(path.to_bytes());
    }
    Err(execute(root, text.finish().ok_or(Errno::NAMETOOLONG)?, argv, envp))
}

/// What `posix_spawn` gets beside program, arguments and environment.
#[derive(Clone, Copy)]
pub(crate) struct Spawn {
    pub(crate) pid: *mut c_int,
    pub(crate) actions: *const c_void,
    pub(crate) attributes: *const c_void,
}

impl Spawn {
    /// The child, made by the C library.
    ///
    /// # Safety
    /// The arguments are as `posix_spawn` wants them.
    pub(crate) unsafe fn start(
        self,
        root: &Root,
        path: &CStr,
        argv: Strings,
        envp: Strings,
    ) -> Result<(), Errno> {
        prepare(root, path, argv, envp, 0, &mut |file, argv, envp| {
            let Some(spawn) = next::posix_spawn.get() else { return Errno::NOSYS };
            // SAFETY: as the caller promises; what we made is as good.
            Errno(unsafe { spawn(self.pid, file, self.actions, self.attributes, argv, envp) }.0)
        })
        .and_then(|errno| if errno.0 == 0 { Ok(()) } else { Err(errno) })
    }
}

/// `posix_spawn`.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
pub(crate) unsafe fn spawn(
    root: &Root,
    spawn: Spawn,
    path: *const c_char,
    argv: Array,
    envp: Array,
) -> Result<Number, Errno> {
    // SAFETY: as the caller promises.
    unsafe {
        let path = string(path).ok_or(Errno::FAULT)?;
        spawn.start(root, path, Strings::new(argv), Strings::new(envp)).map(|()| Number(0))
    }
}

/// `posix_spawnp`.
///
/// # Safety
/// As [`spawn`].
pub(crate) unsafe fn spawn_searching(
    root: &Root,
    spawn: Spawn,
    file: *const c_char,
    argv: Array,
    envp: Array,
) -> Result<Number, Errno> {
    // SAFETY: as the caller promises.
    unsafe {
        let file = string(file).ok_or(Errno::FAULT)?;
        let (argv, envp) = (Strings::new(argv), Strings::new(envp));
        search(root, file, |path| spawn.start(root, path, argv, envp)).map(|()| Number(0))
    }
}

/// Calls `run` with each path that a program of this name may be at, until it is one.
fn search<T>(root: &Root, name: &CStr, mut run: impl FnMut(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
    if name.to_bytes().contains(&b'/') {
        return run(name);
    }
    if name.count_bytes() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let mut denied = false;
    let found = for_each_candidate(name, |path| {
        if !is_there(root, path) {
            return None;
        }
        match run(path) {
            Err(Errno::ACCES) => {
                denied = true;
                None
            }
            Err(Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::NODEV | Errno::TIMEDOUT) => None,
            result => Some(result),
        }
    });
    found.unwrap_or(Err(if denied { Errno::ACCES } else { Errno::NOENT }))
}

fn is_there(root: &Root, path: &CStr) -> bool {
    let mut room = Room::uninit();
    root.outside(AT_FDCWD, path, &mut room).is_ok_and(|path| sys::exists(AT_FDCWD, path.as_ptr()).is_ok())
}

/// Executes a program, or says why not.
fn execute(root: &Root, path: &CStr, argv: Strings, envp: Strings) -> Errno {
    let mut run = |file: *const c_char, argv, envp| sys::execve(file, argv, envp);
    prepare(root, path, argv, envp, 0, &mut run).unwrap_or_else(|errno| errno)
}

/// The same; what is no program is given to the shell, as glibc's `execvp` does. musl leaves that to its caller.
fn execute_or_interpret(root: &Root, path: &CStr, argv: Strings, envp: Strings) -> Errno {
    match execute(root, path, argv, envp) {
        Errno::NOEXEC if libc::is_glibc() => {}
        errno => return errno,
    }
    let shell = c"/bin/sh";
    let mut errno = Errno::NOEXEC;
    let head = [shell.as_ptr(), path.as_ptr()];
    with_arguments(&head, argv, |argv| errno = execute(root, shell, argv, envp));
    errno
}

/// What starts a program: file, arguments, environment.
type Run<'a> = dyn FnMut(*const c_char, Array, Array) -> Errno + 'a;

/// Calls `run` with what starts the program at `path`, and gives back what it says. `depth`: so many scripts led here.
#[inline(never)]
fn prepare(
    root: &Root,
    path: &CStr,
    argv: Strings,
    envp: Strings,
    depth: u32,
    run: &mut Run<'_>,
) -> Result<Errno, Errno> {
    let mut found = Found::default();
    let mut real = [0; PATH_MAX];
    let (kind, real) = look(root, path, &mut found, &mut real)?;
    let why: &[u8] = match kind {
        Kind::Script => {
            let mut texts = [0; 1026];
            let (interpreter, argument) = texts.split_at_mut(513);
            let interpreter = terminated(interpreter, found.interpreter())?;
            let argument = terminated(argument, found.argument())?;
            if depth >= DEEPEST {
                return Err(Errno(40));
            }
            let head = [interpreter.as_ptr(), argument.as_ptr(), path.as_ptr()];
            let without = [interpreter.as_ptr(), path.as_ptr()];
            let head: &[_] = if argument.is_empty() { &without } else { &head };
            let mut result = Err(Errno::TOOBIG);
            with_arguments(head, argv, |argv| {
                result = prepare(root, interpreter, argv, envp, depth + 1, run)
            });
            return result;
        }
        Kind::Dynamic => {
            let mut loader = [0; 513];
            let loader = terminated(&mut loader, found.interpreter())?;
            return load(root, loader, real, found.search(), argv, envp, run);
        }
        Kind::Unknown => return Err(Errno::NOEXEC),
        Kind::Static => {
            b"is statically linked: no library can be loaded into it, so it cannot run without namespaces"
        }
        Kind::Foreign => b"is for another kind of machine: it cannot run without namespaces",
    };
    more::refuse(root.path(), path.to_bytes(), why);
    Err(Errno::NOEXEC)
}

fn terminated<'a>(buffer: &'a mut [u8], text: &[u8]) -> Result<&'a CStr, Errno> {
    let mut copy = Text::new(buffer);
    copy.push(text);
    copy.finish().ok_or(Errno::NAMETOOLONG)
}

/// What kind of file it is, and where it really is, outside.
fn look<'a>(
    root: &Root,
    path: &CStr,
    found: &mut Found,
    real: &'a mut [u8; PATH_MAX],
) -> Result<(Kind, &'a CStr), Errno> {
    let mut room = Room::uninit();
    let outside = root.outside(AT_FDCWD, path, &mut room)?;
    sys::may_execute(AT_FDCWD, outside.as_ptr())?;
    let fd = sys::open_at(AT_FDCWD, outside.as_ptr(), O_RDONLY | O_CLOEXEC)?;
    let is_file = sys::fstat(fd).is_ok_and(|stat| stat.is_file());
    let kind = examine(|offset, buffer| sys::pread(fd, buffer, offset).unwrap_or(0), found);
    let length = more::path_of(fd, real).map(<[u8]>::len);
    sys::close(fd);
    if !is_file {
        return Err(Errno::ACCES);
    }
    let length = length?;
    if let Some(end) = real.get_mut(length) {
        *end = 0;
    }
    let real = CStr::from_bytes_until_nul(real).map_err(|_| Errno::NAMETOOLONG)?;
    translation::strip(root.path(), real.to_bytes()).ok_or(Errno::ACCES)?;
    Ok((kind, real))
}

/// Room for what the loader is told as `--library-path`, and for the variable.
const TEXT: usize = 3 * PATH_MAX;

/// Starts a program by its loader.
fn load(
    root: &Root,
    loader: &CStr,
    program: &CStr,
    search: &[u8],
    argv: Strings,
    envp: Strings,
    run: &mut Run<'_>,
) -> Result<Errno, Errno> {
    let setting = root.setting();
    let inside = root.inside(program.to_bytes());
    let mut room = Room::uninit();
    let loader = root.outside(AT_FDCWD, loader, &mut room)?;
    sys::exists(AT_FDCWD, loader.as_ptr())?;

    let environment = envp.iter().find_map(|entry| value_of(entry, "LD_LIBRARY_PATH")).unwrap_or_default();
    let mut libraries = [0; TEXT];
    let mut text = Text::new(&mut libraries);
    search_path(setting.root, environment, inside, search, setting.directories, |piece| {
        text.push(piece);
    });
    let libraries = text.finish().ok_or(Errno::TOOBIG)?;
    let mut own = [0; PATH_MAX];
    let own = terminated(&mut own, setting.library)?;
    let mut variable = [0; TEXT];
    let mut text = Text::new(&mut variable);
    Setting { program: inside, ..setting }.write(|piece| {
        text.push(piece);
    });
    let variable = text.finish().ok_or(Errno::TOOBIG)?;

    let options: &[&CStr] = if is_musl(loader.to_bytes()) { &[] } else { &[GLIBC_OPTION] };
    let name = argv.iter().next().unwrap_or(c"").as_ptr();
    let [libraries, own, program] = [libraries, own, program].map(CStr::as_ptr);
    let told = [LIBRARY_PATH.as_ptr(), libraries, PRELOAD.as_ptr(), own, ARGV0.as_ptr(), name, program];
    let options = options.iter().map(|option| option.as_ptr());
    let head = || [loader.as_ptr()].into_iter().chain(options.clone()).chain(told);
    let arguments = head().count() + argv.len().saturating_sub(1) + 1;
    let entries = envp.len() + 2;
    let mut result = Err(Errno::TOOBIG);
    with_memory((arguments + entries) * size_of::<*const c_char>(), |memory| {
        let array = memory.cast::<*const c_char>();
        let environment = array.wrapping_add(arguments);
        let all = head().chain(argv.iter().skip(1).map(CStr::as_ptr)).take(arguments - 1);
        for (index, argument) in all.chain([core::ptr::null()]).enumerate() {
            // SAFETY: at most `arguments` pointers are written.
            unsafe { array.add(index).write(argument) }
        }
        let all = envp.iter().map(CStr::as_ptr).chain([variable.as_ptr()]).take(entries - 1);
        for (index, entry) in all.chain([core::ptr::null()]).enumerate() {
            // SAFETY: at most `entries` pointers are written, after those of the arguments.
            unsafe { environment.add(index).write(entry) }
        }
        result = Ok(run(loader.as_ptr(), array.cast_const(), environment.cast_const()));
    });
    result
}
