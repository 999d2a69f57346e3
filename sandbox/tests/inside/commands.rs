// SPDX-License-Identifier: Apache-2.0
//! What this program does inside of a sandbox.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Runs one action; an error of any call is told and ends it.
pub fn run(args: &[OsString]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(|a| a.to_str().unwrap_or("")).collect();
    match act(&words, args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[&str], args: &[OsString]) -> std::io::Result<ExitCode> {
    match *words {
        // Every file, link and directory outside of /proc and /dev.
        ["walk"] => walk(Path::new("/"))?,
        ["write", path, text] => fs::write(path, text)?,
        ["append", path, text] => {
            fs::OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?
        }
        ["recreate", path, text] => {
            fs::remove_file(path)?;
            fs::write(path, text)?;
        }
        ["rename", from, to] => fs::rename(from, to)?,
        ["remove", path] => fs::remove_file(path)?,
        ["chmod", path] => fs::set_permissions(path, PermissionsExt::from_mode(0o600))?,
        ["remake", path] => {
            fs::remove_dir_all(path)?;
            fs::create_dir(path)?;
        }
        ["cat", path] => std::io::stdout().write_all(&fs::read(path)?)?,
        ["copy-stdin"] => {
            let mut all = Vec::new();
            std::io::stdin().read_to_end(&mut all)?;
            std::io::stdout().write_all(&all)?;
        }
        ["symlink", target, path] => symlink(target, path)?,
        ["canonical", path] => print!("{}", fs::canonicalize(path)?.display()),
        ["exe"] => print!("{}", fs::read_link("/proc/self/exe")?.display()),
        ["whoami"] => {
            let own = fs::metadata("/proc/self")?;
            let status = fs::read_to_string("/proc/self/status")?;
            let field = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap_or("").to_owned();
            let fds = fs::read_dir("/proc/self/fd")?.count();
            println!("{} {} {}", own.uid(), own.gid(), std::process::id());
            println!("{}\n{}\n{}", field("NoNewPrivs"), field("CapEff"), field("SigIgn"));
            // One of them is the listing's own.
            println!("fds {}", fds - 1);
        }
        ["devices"] => {
            for device in ["null", "zero", "full", "random", "urandom"] {
                let mut file = fs::File::open(format!("/dev/{device}"))?;
                let mut byte = [1u8];
                println!("{device} {}", file.read(&mut byte)?);
            }
            fs::write("/dev/null", "x")?;
            fs::write("/dev/stdout", "stdout\n")?;
            fs::write("/dev/shm/object", "x")?;
            for path in ["/dev/new", "/dev/null/x"] {
                assert!(fs::write(path, "x").is_err());
            }
            assert!(fs::set_permissions("/dev/null", PermissionsExt::from_mode(0o600)).is_err());
            for directory in ["/tmp", "/var/tmp", "/dev/shm"] {
                assert_eq!(fs::metadata(directory)?.mode() & 0o7777, 0o1777, "{directory}");
                fs::write(Path::new(directory).join("file"), "x")?;
            }
        }
        ["spam", bytes] => {
            let bytes: usize = bytes.parse().expect("a number");
            let out: Vec<u8> = (0..bytes).map(|i| b'a' + (i % 23) as u8).collect();
            let writer = std::thread::spawn(move || std::io::stderr().write_all(&vec![b'e'; bytes]));
            std::io::stdout().write_all(&out)?;
            writer.join().expect("a thread")?;
        }
        ["exit", code] => return Ok(ExitCode::from(code.parse::<u8>().expect("a code"))),
        ["abort"] => std::process::abort(),
        ["sleep", seconds] => std::thread::sleep(Duration::from_secs(seconds.parse().expect("seconds"))),
        // Leaves a process behind that keeps writing, in a session of its own, with the pipes open.
        ["daemon", path] => {
            // SAFETY: this program has one thread here.
            if unsafe { libc::fork() } == 0 {
                // SAFETY: takes nothing.
                unsafe { libc::setsid() };
                for n in 0..100_000u64 {
                    fs::write(path, n.to_string())?;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            while !Path::new(path).exists() {}
        }
        // Children that nobody waits for, each with another that outlives it.
        ["orphans"] => {
            for _ in 0..20 {
                // SAFETY: this program has one thread here.
                if unsafe { libc::fork() } == 0 {
                    // SAFETY: as above.
                    if unsafe { libc::fork() } == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    std::process::exit(0);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Tries to get at what is outside: every one of these has to fail.
        ["escape", outside] => escape(outside)?,
        ["steal-stdin"] => {
            for path in ["/proc/self/fd/0", "/dev/stdin"] {
                assert!(fs::write(path, "stolen").is_err(), "{path}");
                assert!(fs::OpenOptions::new().append(true).open(path).is_err(), "{path}");
            }
            // SAFETY: integers.
            assert_ne!(unsafe { libc::fchmod(0, 0o777) }, 0);
        }
        ["raw-name"] => {
            let name = std::ffi::OsStr::from_bytes(b"/work/in-\xff\xfe");
            let text = fs::read(name)?;
            fs::write(std::ffi::OsStr::from_bytes(b"/work/out-\xff\xfe"), text)?;
            assert_eq!(args.len(), 1);
        }
        ["sh", script] => {
            let status = Command::new("/bin/sh").args(["-c", script]).status()?;
            return Ok(ExitCode::from(status.code().unwrap_or(99) as u8));
        }
        ["closed"] => {
            fs::create_dir_all("/work/closed/inner")?;
            fs::write("/work/closed/inner/file", "x")?;
            fs::set_permissions("/work/closed/inner", PermissionsExt::from_mode(0o0))?;
            fs::set_permissions("/work/closed", PermissionsExt::from_mode(0o0))?;
        }
        _ => panic!("what is {words:?}?"),
    }
    Ok(ExitCode::SUCCESS)
}

fn walk(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        println!("{}", path.display());
        let skip = path == Path::new("/proc") || path == Path::new("/dev");
        if fs::symlink_metadata(&path)?.is_dir() && !skip {
            walk(&path)?;
        }
    }
    Ok(())
}

fn escape(outside: &str) -> std::io::Result<()> {
    for root in ["", "/..", "/../../../../..", "/proc/1/root", "/proc/1/cwd", "/proc/self/root/.."] {
        let path = format!("{root}{outside}");
        assert!(fs::metadata(&path).is_err(), "{path} is there");
    }
    for fd in 0..200 {
        for process in [1, std::process::id()] {
            let path = format!("/proc/{process}/fd/{fd}{outside}");
            assert!(fs::metadata(&path).is_err(), "{path} is there");
        }
    }
    // chroot into a directory, from outside of it climb up: the way out of a plain chroot.
    fs::create_dir_all("/work/deep")?;
    // SAFETY: strings that end in NUL.
    unsafe {
        if libc::chroot(c"/work/deep".as_ptr()) == 0 {
            for _ in 0..50 {
                libc::chdir(c"..".as_ptr());
            }
            libc::chroot(c".".as_ptr());
        }
    }
    assert!(fs::metadata(outside).is_err(), "outside after chroot");
    // SAFETY: strings that end in NUL, and null where that is allowed.
    unsafe {
        let none: *const libc::c_void = std::ptr::null();
        assert_ne!(libc::mount(c"x".as_ptr(), c"/work".as_ptr(), c"tmpfs".as_ptr(), 0, none), 0);
        assert_ne!(libc::mknod(c"/work/disk".as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(254, 0)), 0);
        assert_ne!(libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH), 0);
    }
    Ok(())
}
