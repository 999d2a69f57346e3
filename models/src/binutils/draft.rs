// SPDX-License-Identifier: Apache-2.0
//! A plan in the making: checks each file against the world as it is added. Knows no tool.

use crate::libraries::runtime_libraries;
use crate::{Decline, Invocation, Node, Output, Plan, Probe, Role, World, response};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A [`Decline`] with a formatted reason.
macro_rules! decline {
    ($($format:tt)*) => { $crate::Decline(format!($($format)*)) };
}
pub(super) use decline;

/// See the module.
pub(super) struct Draft<'a> {
    pub invocation: &'a Invocation,
    pub world: &'a dyn World,
    pub plan: Plan,
}

impl<'a> Draft<'a> {
    pub fn new(invocation: &'a Invocation, world: &'a dyn World, environment: &[&'static str]) -> Draft<'a> {
        let plan = Plan { environment: environment.to_vec(), ..Plan::default() };
        Draft { invocation, world, plan }
    }

    /// The arguments without `argv[0]`, with the contents of `@FILE`s in place of these; the files become inputs.
    ///
    /// # Errors
    /// Response files that cannot be followed.
    pub fn arguments(&mut self) -> Result<Vec<OsString>, Decline> {
        let Draft { invocation, world, .. } = *self;
        let mut read = |name: &Path| {
            let file = invocation.absolute(name);
            match world.node(&file) {
                // What is no file is taken as it stands, as the tools do.
                None => Ok(None),
                Some(Node::File) => match world.read(&file) {
                    Ok(text) => Ok(Some(text.to_vec())),
                    Err(e) => Err(decline!("{} cannot be read: {e}", file.display())),
                },
                Some(_) => Err(decline!("response file {} is not a plain file", file.display())),
            }
        };
        let (words, files) = response::expand(invocation.argv.get(1..).unwrap_or_default(), &mut read)?;
        self.plan.inputs.extend(files.iter().map(|file| invocation.absolute(file)));
        Ok(words)
    }

    /// The absolute path of a file that an argument names.
    pub fn path(&self, name: &OsStr) -> PathBuf {
        self.invocation.absolute(name)
    }

    /// Adds a file that is read.
    ///
    /// # Errors
    /// There is no such regular file.
    pub fn input(&mut self, path: &Path) -> Result<(), Decline> {
        match self.world.node(path) {
            None => Err(Decline::missing(path)),
            Some(Node::File | Node::Placeholder) => {
                self.plan.inputs.insert(path.to_path_buf());
                Ok(())
            }
            Some(Node::Directory | Node::Other) => Err(decline!("{} is not a regular file", path.display())),
        }
    }

    /// Adds a plugin that the tool loads, with the libraries that it needs.
    ///
    /// # Errors
    /// See [`Draft::input`]; and what the loader would look for in its own directories.
    pub fn plugin(&mut self, name: &OsStr) -> Result<(), Decline> {
        if !name.as_bytes().contains(&b'/') {
            return Err(decline!("plugin {} without its directory", name.to_string_lossy()));
        }
        let path = self.path(name);
        if self.world.node(&path) == Some(Node::Placeholder) {
            return Err(decline!("plugin {} is not there yet", path.display()));
        }
        self.input(&path)?;
        // What is none, the tool will complain of.
        if let Some(facts) = self.world.elf(&path) {
            let Invocation { cwd, .. } = self.invocation;
            let library_path = self.invocation.var("LD_LIBRARY_PATH");
            self.plan.inputs.extend(runtime_libraries(&facts, &path, library_path, cwd, self.world));
        }
        Ok(())
    }

    /// Adds a file that is written.
    ///
    /// # Errors
    /// Something else stands there, or there is no directory for it.
    pub fn output(&mut self, path: PathBuf, executable: bool, role: Role) -> Result<(), Decline> {
        let dir = path.parent().ok_or_else(|| decline!("output to {}", path.display()))?;
        match self.world.node(dir) {
            Some(Node::Directory) => {}
            _ => return Err(decline!("{} is not a directory", dir.display())),
        }
        match self.world.node(&path) {
            None | Some(Node::File | Node::Placeholder) => {}
            Some(_) => return Err(decline!("output {} is not a regular file", path.display())),
        }
        if self.plan.outputs.iter().any(|output| output.path == path) {
            return Err(decline!("{} is written twice", path.display()));
        }
        self.plan.outputs.push(Output { path, executable, role });
        Ok(())
    }

    /// Adds a file that is changed in place; it keeps its mode.
    ///
    /// # Errors
    /// See [`Draft::input`] and [`Draft::output`].
    pub fn in_place(&mut self, path: PathBuf) -> Result<(), Decline> {
        let executable = self.world.executable(&path);
        self.changed(path, executable)
    }

    /// The same, where it is known whether it is a program or a shared library.
    ///
    /// # Errors
    /// See [`Draft::in_place`].
    pub fn changed(&mut self, path: PathBuf, linked: bool) -> Result<(), Decline> {
        self.input(&path)?;
        self.output(path, linked, Role::Main)
    }

    /// Adds a directory that is searched, if it exists.
    pub fn directory(&mut self, path: PathBuf) {
        if self.world.node(&path) == Some(Node::Directory) {
            self.plan.directories.insert(path);
        }
    }

    /// Adds a probe: the same program and name, with other arguments.
    pub fn probe(&mut self, args: &[&str], files: Vec<(&str, Vec<u8>)>) {
        let name = self.invocation.argv.first().cloned().unwrap_or_default();
        let argv = std::iter::once(name).chain(args.iter().map(OsString::from)).collect();
        let matters = |name: &OsStr| self.plan.environment.iter().any(|known| name == *known);
        let env = self.invocation.env.of(matters);
        let files = files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
        self.plan.probes.push(Probe { program: self.invocation.program.clone(), argv, env, files });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, command};

    #[test]
    fn response_files_hold_words_and_other_response_files() {
        let world = Memory::default()
            .file("/w/objects.rsp", b"a.o 'b c.o'\n\"d\\\"e.o\" @more.rsp f\\ g.o\n")
            .file("/w/more.rsp", b"h.o @gone.rsp");
        let invocation = command("ar cr x.a @objects.rsp @none");
        let mut draft = Draft::new(&invocation, &world, &[]);
        let expected = ["cr", "x.a", "a.o", "b c.o", "d\"e.o", "h.o", "@gone.rsp", "f g.o", "@none"];
        assert_eq!(draft.arguments().unwrap(), expected.map(OsString::from));
        assert_eq!(draft.plan.inputs.len(), 2);
    }

    #[test]
    fn response_files_without_end_are_declined() {
        let world = Memory::default().file("/w/x", b"a @x");
        let invocation = command("ar cr x.a @x");
        assert!(Draft::new(&invocation, &world, &[]).arguments().is_err());
    }
}
