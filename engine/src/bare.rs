// SPDX-License-Identifier: Apache-2.0
//! A worker without a sandbox, to measure what engine and process starts cost without it. It runs gg's own thunks, which name
//! all they need without a directory, in an empty directory; nothing keeps a command from reading or changing anything else. For others
//! there is no such directory: they are refused.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::FromRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use thunk::{ObjectName, ReducedOutput, Reduction, Store, Thunk};

use crate::protocol::{self, Failed, Job};
use crate::worker::link::Link;
use start::Place;

mod start;

/// Answers what comes over this link until it is closed.
///
/// # Errors
/// The store is not to be had.
pub fn serve(link: Link, store: Store) -> Result<()> {
    let directory = store.root().join(format!("sandbox/bare-{}", std::process::id()));
    std::fs::create_dir(&directory).context("cannot make a directory to run in")?;
    // What commands write to standard output and error is wiped after each.
    let streams = [File::open("/dev/null")?, nameless(c"stdout")?, nameless(c"stderr")?];
    let place = Place::new(CString::new(directory.as_os_str().as_bytes())?, streams);
    let mut worker = Worker { place, store, directory };
    link.serve(|job| {
        worker.run(job).unwrap_or_else(|why| protocol::Result::Broken(format!("{why:#}"))).into()
    })
}

struct Worker {
    store: Store,
    directory: PathBuf,
    place: Place,
}

impl Worker {
    fn run(&mut self, job: &Job) -> Result<protocol::Result> {
        let name: ObjectName = job.thunk.parse()?;
        let thunk = self.store.thunk(&name)?;
        if thunk.workdir.is_some() || !thunk.thunks.is_empty() {
            bail!("it cannot run without a sandbox: it is not one of gg's own, with values only");
        }
        self.clear()?;
        self.link_inputs(&thunk)?;
        let function = thunk.function.context("it has no function")?;
        let mut args = vec![self.store.file(&function, true)?.into_os_string()];
        let mut blob = |blob: ObjectName| {
            let executable = thunk.executables.iter().any(|input| input.value == blob);
            self.store.file(&blob, executable)
        };
        for arg in thunk.args.iter().skip(1) {
            args.push(thunk::substitute(arg, &mut blob)?);
        }
        let mut env = Vec::with_capacity(thunk.env.len());
        for variable in &thunk.env {
            let (mut variable, value) = thunk::split_variable(&thunk::substitute(variable, &mut blob)?);
            variable.push("=");
            variable.push(value);
            env.push(variable);
        }
        let start = Instant::now();
        let status = self.place.run(args, env).context("it cannot be started")?;
        let wall = start.elapsed();
        let [_, stdout, stderr] = &self.place.streams;
        let (stdout, stderr) = (wipe(stdout)?, wipe(stderr)?);
        if !status.success() {
            let code = status.code().unwrap_or(1);
            return Ok(protocol::Result::Failed(Failed { code, how: status.to_string(), stdout, stderr }));
        }
        let mut outputs = Vec::new();
        for path in &thunk.outputs {
            let file = self.directory.join(path);
            let metadata = file.metadata().with_context(|| format!("it did not write {}", path.display()))?;
            let executable = metadata.permissions().mode() & 0o111 != 0;
            outputs.push(ReducedOutput {
                path: path.clone(),
                value: self.store.adopt(&file, executable)?,
                executable,
            });
        }
        let reduction = Reduction { outputs, stdout, stderr, wall, ..Reduction::default() };
        self.store.put_reduction(&name, &reduction)?;
        Ok(protocol::Result::Reduced(reduction.encode()))
    }

    fn link_inputs(&self, thunk: &Thunk) -> Result<()> {
        for (inputs, executable) in [(&thunk.values, false), (&thunk.executables, true)] {
            for input in inputs.iter().filter(|input| !input.path.as_os_str().is_empty()) {
                let path = self.directory.join(&input.path);
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                std::os::unix::fs::symlink(self.store.file(&input.value, executable)?, path)?;
            }
        }
        Ok(())
    }

    /// Removes what the last command has left.
    fn clear(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What stays is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn nameless(name: &std::ffi::CStr) -> Result<File> {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot make a file in memory");
    }
    // SAFETY: the kernel has just given it, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Reads what is in the file, and empties it.
fn wipe(mut file: &File) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut content)?;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
    }
    Ok(content)
}
