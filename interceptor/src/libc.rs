// SPDX-License-Identifier: Apache-2.0
//! What we use of the C library that the program brought, glibc or musl: `errno`, `environ`, and the functions that our hooks stand in
//! front of. All but `environ` and `errno` are weak references or looked up by name, so that the library loads beside any C library.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::arch::weak_symbol;
use crate::sys::Errno;

// SAFETY: both are so declared by glibc and musl; `__errno_location` takes nothing and always returns a valid pointer.
unsafe extern "C" {
    /// The program's environment.
    pub(crate) static mut environ: *mut *const c_char;
    safe fn __errno_location() -> *mut c_int;
}

weak_symbol!(weak_dlsym = "dlsym");
weak_symbol!(weak_gnu_get_libc_version = "gnu_get_libc_version");
weak_symbol!(weak_libc_dlopen = "__libc_dlopen_mode");
weak_symbol!(weak_libc_dlsym = "__libc_dlsym");
weak_symbol!(weak_single_threaded = "__libc_single_threaded");
weak_symbol!(weak_malloc = "malloc");
weak_symbol!(weak_read = "__read");
weak_symbol!(weak_write = "__write");

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

/// Is the C library glibc? Its `posix_spawn_file_actions_t` is then known to us.
pub(crate) fn is_glibc() -> bool {
    !weak_gnu_get_libc_version().is_null()
}

/// This thread's error number.
pub(crate) fn errno() -> Errno {
    // SAFETY: the C library gives a valid pointer to this thread's variable.
    Errno(unsafe { *__errno_location() })
}

/// Sets this thread's error number: for the hook macro only.
pub(crate) fn set_errno(errno: Errno) {
    // SAFETY: as above.
    unsafe { *__errno_location() = errno.0 }
}

// SAFETY: the prototypes that these have in every C library.
static FDOPEN: Next<unsafe extern "C" fn(c_int, *const c_char) -> *mut c_void> =
    unsafe { Next::new(c"fdopen") };
// SAFETY: as above.
static SET_CANCEL_TYPE: Next<unsafe extern "C" fn(c_int, *mut c_int) -> c_int> =
    unsafe { Next::new(c"pthread_setcanceltype") };

// SAFETY: as above.
static FDOPENDIR: Next<unsafe extern "C" fn(c_int) -> *mut c_void> = unsafe { Next::new(c"fdopendir") };

/// A stream for a descriptor of a directory. Null with `errno` where it fails.
pub(crate) fn fdopendir(fd: c_int) -> *mut c_void {
    // SAFETY: `fdopendir` takes any number.
    FDOPENDIR.get().map_or(core::ptr::null_mut(), |fdopendir| unsafe { fdopendir(fd) })
}

/// A stream for a descriptor, in the words of `fopen`. Null with `errno` where it fails.
///
/// # Safety
/// `mode` is a string.
pub(crate) unsafe fn fdopen(fd: c_int, mode: *const c_char) -> *mut c_void {
    // SAFETY: as the caller promises.
    FDOPEN.get().map_or(core::ptr::null_mut(), |fdopen| unsafe { fdopen(fd, mode) })
}

/// Memory that the program may free: only in place of functions that allocate themselves. It comes from the `malloc` that the C
/// library's own calls reach, too: the program's, where it has one; never the next after ours.
pub(crate) fn allocate(size: usize) -> Option<*mut c_void> {
    let malloc = weak_malloc();
    if malloc.is_null() {
        return None;
    }
    // SAFETY: every `malloc` has this prototype, and takes any size.
    let memory = unsafe { core::mem::transmute::<*mut c_void, Malloc>(malloc)(size) };
    (!memory.is_null()).then_some(memory)
}

/// Is there certainly one thread only?
#[inline]
pub(crate) fn is_single_threaded() -> bool {
    let single = weak_single_threaded().cast::<u8>();
    // SAFETY: glibc's variable, a `char`.
    !single.is_null() && unsafe { single.read_volatile() } != 0
}

/// Makes a call in which a thread may be cancelled, as the C library's own functions do where they may wait.
#[inline]
pub(crate) fn cancellable<R>(call: impl FnOnce() -> R) -> R {
    const ASYNCHRONOUS: c_int = 1;
    if is_single_threaded() {
        return call();
    }
    let Some(set) = SET_CANCEL_TYPE.get() else { return call() };
    let mut before = 0;
    // SAFETY: plain calls of a function that takes one of two numbers. What is between them is one system call.
    unsafe { set(ASYNCHRONOUS, &raw mut before) };
    let result = call();
    // SAFETY: as above.
    unsafe { set(before, core::ptr::null_mut()) };
    result
}

/// Finds what [`cancellable`] may want later.
pub(crate) fn prepare_cancellation() {
    let _ = SET_CANCEL_TYPE.get();
}

/// Before glibc 2.34 `dlsym` is in libdl, which not every program has loaded: this finds it. Null until then.
static DLSYM: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Finds at load what must not take the loader's lock later: `execve` is called between `fork` and exec, when another thread of
/// the parent may have held that lock.
pub(crate) fn prepare() {
    let mut dlsym = weak_dlsym();
    if dlsym.is_null() && !weak_libc_dlopen().is_null() && !weak_libc_dlsym().is_null() {
        const RTLD_LAZY_AND_DLOPEN_MODE: c_int = 1 | 0x8000_0000_u32 as c_int;
        // SAFETY: glibc before 2.34 has these two, with these prototypes.
        dlsym = unsafe {
            let open: Dlopen = core::mem::transmute(weak_libc_dlopen());
            let find: Dlsym = core::mem::transmute(weak_libc_dlsym());
            let library = open(c"libdl.so.2".as_ptr(), RTLD_LAZY_AND_DLOPEN_MODE);
            if library.is_null() { library } else { find(library, c"dlsym".as_ptr()) }
        };
    }
    DLSYM.store(dlsym, Ordering::Relaxed);
    let _ = crate::hooks::next::execve.get();
}

/// In place of the address of a function that is not there.
const ABSENT: *mut c_void = core::ptr::without_provenance_mut(1);

/// The name of a row of hooks, with a NUL at its end.
pub(crate) const fn symbol(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a symbol's name ends with a NUL"),
    }
}

/// The function of a name that comes after ours, looked up when it is first wanted. `F` is its type.
pub(crate) struct Next<F> {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
    prototype: PhantomData<F>,
}

impl<F: Copy> Next<F> {
    /// # Safety
    /// `F` is the type `unsafe extern "C" fn(…)` of what C libraries have under this name.
    pub(crate) const unsafe fn new(name: &'static CStr) -> Self {
        assert!(size_of::<F>() == size_of::<*mut c_void>());
        Self { name, address: AtomicPtr::new(core::ptr::null_mut()), prototype: PhantomData }
    }

    /// The function, if the C library has it. `errno` stays as it is.
    #[inline]
    pub(crate) fn get(&self) -> Option<F> {
        let mut address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            address = self.find();
        }
        // SAFETY: `new` promises the type; a pointer and a function pointer are of one size, which `new` asserts.
        (address != ABSENT && !address.is_null()).then(|| unsafe { core::mem::transmute_copy(&address) })
    }

    #[cold]
    fn find(&self) -> *mut c_void {
        const RTLD_NEXT: *mut c_void = core::ptr::without_provenance_mut(usize::MAX);
        let mut dlsym = DLSYM.load(Ordering::Relaxed);
        if dlsym.is_null() {
            dlsym = weak_dlsym();
        }
        if dlsym.is_null() {
            return dlsym;
        }
        let saved = errno();
        // SAFETY: this is `dlsym`, which has this prototype everywhere.
        let address = unsafe {
            let dlsym: Dlsym = core::mem::transmute(dlsym);
            dlsym(RTLD_NEXT, self.name.as_ptr())
        };
        set_errno(saved);
        let address = if address.is_null() { ABSENT } else { address };
        self.address.store(address, Ordering::Relaxed);
        address
    }
}
