// SPDX-License-Identifier: Apache-2.0
//! What the environment said at load: the root, and what programs are started with. Never changed afterwards. Also the one place where a
//! path becomes another.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use translation::{ClimbError, PATH_MAX, Place, Setting, VARIABLE, climb, place, strip};

use crate::libc::{self, environ};
use crate::more;
use crate::sys::{self, AT_FDCWD, Errno, O_CLOEXEC, O_DIRECTORY, O_PATH};
use crate::text::{Array, Strings, Text, value_of};

/// Room for one path. Not filled with zeros each time.
pub(crate) type Room = MaybeUninit<[u8; PATH_MAX]>;

/// The setting, its fields one after the other.
pub(crate) struct Root {
    bytes: [u8; SIZE],
    ends: [usize; 4],
}

/// More than the worker ever says.
const SIZE: usize = 4 * PATH_MAX;

struct Shared(UnsafeCell<Root>);

// SAFETY: written by `at_load` alone, before `ACTIVE` is set; only read afterwards.
unsafe impl Sync for Shared {}

static ACTIVE: AtomicBool = AtomicBool::new(false);
static ROOT: Shared = Shared(UnsafeCell::new(Root { bytes: [0; SIZE], ends: [0; 4] }));

impl Root {
    /// Nothing where this library was loaded by somebody else.
    #[inline]
    pub(crate) fn current() -> Option<&'static Self> {
        // SAFETY: written once, before the flag was set; only read since.
        ACTIVE.load(Ordering::Acquire).then(|| unsafe { &*ROOT.0.get() })
    }

    /// What the environment said.
    pub(crate) fn setting(&self) -> Setting<'_> {
        let [a, b, c, d] = self.ends;
        let part = |from, to| self.bytes.get(from..to).unwrap_or_default();
        Setting { root: part(0, a), library: part(a, b), directories: part(b, c), program: part(c, d) }
    }

    /// The root itself.
    #[inline]
    pub(crate) fn path(&self) -> &[u8] {
        self.bytes.get(..self.ends[0]).unwrap_or_default()
    }

    fn set(&mut self, value: &[u8]) -> Option<()> {
        let setting = Setting::parse(value)?;
        let mut length = 0;
        let fields = [setting.root, setting.library, setting.directories, setting.program];
        for (field, end) in fields.into_iter().zip(&mut self.ends) {
            self.bytes.get_mut(length..length + field.len())?.copy_from_slice(field);
            length += field.len();
            *end = length;
        }
        Some(())
    }

    /// The path inside of one that the kernel gave.
    pub(crate) fn inside<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        strip(self.path(), path).unwrap_or(path)
    }

    /// What stands for `path` outside: itself, or a path that is written to `room`. `dirfd` is where relative ones start.
    pub(crate) fn outside<'a>(
        &self,
        dirfd: c_int,
        path: &'a CStr,
        room: &'a mut Room,
    ) -> Result<&'a CStr, Errno> {
        let bytes = path.to_bytes();
        match place(self.path(), bytes, own_id(bytes)) {
            Place::Same => Ok(path),
            Place::Below(inside) => self.below(inside, room),
            Place::Program => self.below(self.setting().program, room),
            Place::Climbs => self.climbed(dirfd, bytes, room),
        }
    }

    /// The root and a path inside.
    fn below<'a>(&self, inside: &[u8], room: &'a mut Room) -> Result<&'a CStr, Errno> {
        let root = self.path();
        let size = root.len() + inside.len() + 1;
        if size > PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let start = room.as_mut_ptr().cast::<u8>();
        // SAFETY: the room has PATH_MAX bytes, of which `size` are written and then read.
        let written = unsafe {
            core::ptr::copy_nonoverlapping(root.as_ptr(), start, root.len());
            core::ptr::copy_nonoverlapping(inside.as_ptr(), start.add(root.len()), inside.len());
            start.add(size - 1).write(0);
            core::slice::from_raw_parts(start, size)
        };
        CStr::from_bytes_with_nul(written).map_err(|_| Errno::INVAL)
    }

    #[cold]
    #[inline(never)]
    fn climbed<'a>(&self, dirfd: c_int, path: &[u8], room: &'a mut Room) -> Result<&'a CStr, Errno> {
        let mut whole = [0; PATH_MAX];
        let mut text = Text::new(&mut whole);
        if !path.starts_with(b"/") {
            let mut start = [0; PATH_MAX];
            let start =
                if dirfd == AT_FDCWD { sys::getcwd(&mut start) } else { more::path_of(dirfd, &mut start)? };
            text.push(self.inside(start)).push(b"/");
        }
        text.push(path);
        if text.complete().is_none() {
            return Err(Errno::NAMETOOLONG);
        }
        let mut inside = [0; PATH_MAX];
        let length = climb(self.path(), text.bytes(), &mut inside, follow).map_err(|error| match error {
            ClimbError::System(errno) => Errno(errno),
            ClimbError::TooLong => Errno::NAMETOOLONG,
            ClimbError::Outside => Errno::NOENT,
        })?;
        let inside = inside.get(..length).unwrap_or_default();
        match place(self.path(), inside, own_id(inside)) {
            Place::Below(inside) => self.below(inside, room),
            Place::Program => self.below(self.setting().program, room),
            Place::Same => {
                let start = room.write([0; PATH_MAX]);
                Text::new(start).push(inside).push(b"\0");
                CStr::from_bytes_until_nul(start).map_err(|_| Errno::NAMETOOLONG)
            }
            Place::Climbs => Err(Errno::INVAL),
        }
    }
}

/// The process's id, where it matters.
fn own_id(path: &[u8]) -> u32 {
    if path.starts_with(b"/proc") || path.starts_with(b"//") || path.starts_with(b"/.") {
        sys::getpid()
    } else {
        0
    }
}

/// Where a directory really is.
fn follow(path: &[u8], buffer: &mut [u8]) -> Result<usize, c_int> {
    let mut name = [0; PATH_MAX + 1];
    let mut text = Text::new(&mut name);
    text.push(path);
    let name = text.finish().ok_or(Errno::NAMETOOLONG.0)?;
    let fd =
        sys::open_at(AT_FDCWD, name.as_ptr(), O_PATH | O_DIRECTORY | O_CLOEXEC).map_err(|errno| errno.0)?;
    let length = more::path_of(fd, buffer).map(<[u8]>::len);
    sys::close(fd);
    length.map_err(|errno| errno.0)
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: unsafe extern "C" fn(c_int, Array, Array) = at_load;

/// The loader calls this before all other constructors. Only glibc passes arguments, at a time when its `environ` may
/// not be set yet; musl has set that, and passes none.
unsafe extern "C" fn at_load(_argc: c_int, _argv: Array, envp: Array) {
    // SAFETY: see above: either is the environment that the process was started with.
    let array = if libc::is_glibc() { envp } else { unsafe { environ.cast_const() } };
    // SAFETY: as above.
    let environment = unsafe { Strings::new(array) };
    let found = environment.iter().enumerate().find_map(|(at, entry)| Some((at, value_of(entry, VARIABLE)?)));
    let Some((at, value)) = found else { return };
    // SAFETY: no other thread can be inside this library's data yet: hooks look at it only once `ACTIVE` is set, below.
    let root = unsafe { &mut *ROOT.0.get() };
    if ACTIVE.load(Ordering::Relaxed) || root.set(value).is_none() {
        return;
    }
    // The program sees the environment that its caller gave it.
    let mut entry = array.wrapping_add(at).cast_mut();
    // SAFETY: the array is the process's own, ends with a null pointer, and nobody else has looked at it yet.
    unsafe {
        while !(*entry).is_null() {
            *entry = *entry.add(1);
            entry = entry.add(1);
        }
    }
    more::name_process(root.setting().program);
    ACTIVE.store(true, Ordering::Release);
}

/// The string at `path`, if it is one.
///
/// # Safety
/// Null, or a string that stays for `'a`.
pub(crate) unsafe fn string<'a>(path: *const c_char) -> Option<&'a CStr> {
    // SAFETY: as the caller promises.
    unsafe { crate::text::string(path) }
}
