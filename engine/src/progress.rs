// SPDX-License-Identifier: Apache-2.0
//! What a person sees while thunks are forced: one line that is written over on a terminal, a line now and then
//! elsewhere; failures and warnings as they come. Knows no graph.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use thunk::Thunk;

use crate::protocol::Failed;

/// Numbers for the progress line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Finished, one way or the other.
    pub done: usize,
    /// Running now.
    pub running: usize,
    /// All.
    pub total: usize,
    /// What it has cost so far, if somebody is paid for it.
    pub dollars: Option<f64>,
}

/// Writes to standard error.
pub struct Progress {
    started: Instant,
    terminal: bool,
    quiet: bool,
    /// What is told of the whole run goes here too, quiet or not.
    report: Option<File>,
    /// When the line was last written.
    written: Option<Instant>,
    /// Is a line of ours on the terminal that the next output must clear?
    line: bool,
}

/// On a terminal: often enough to look alive.
const OFTEN: Duration = Duration::from_millis(100);
/// Elsewhere: seldom enough for a log.
const SELDOM: Duration = Duration::from_secs(10);

impl Progress {
    /// Starts the clock. `quiet` shows failures and warnings only.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { started: Instant::now(), terminal, quiet, report: None, written: None, line: false }
    }

    /// Appends what is told of the whole run to this file too.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn report_to(&mut self, path: &Path) -> Result<()> {
        let file = File::options().append(true).create(true).open(path);
        self.report = Some(file.with_context(|| format!("cannot write to {}", path.display()))?);
        Ok(())
    }

    /// In one piece: several may write there.
    fn report(&self, text: &str) {
        if let Some(mut file) = self.report.as_ref() {
            let _ = file.write_all(format!("ggforce: {text}\n").as_bytes());
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows where things stand, if it is time to.
    pub fn update(&mut self, numbers: Numbers) {
        let interval = if self.terminal { OFTEN } else { SELDOM };
        if self.quiet || self.written.unwrap_or(self.started).elapsed() < interval {
            return;
        }
        self.written = Some(Instant::now());
        let Numbers { done, running, total, dollars } = numbers;
        let left = total.saturating_sub(done + running);
        let paid = dollars.map(|dollars| format!(", ${dollars:.4}")).unwrap_or_default();
        let text = format!(
            "ggforce: {done} done, {running} running, {left} left, {:.0} s{paid}",
            self.elapsed().as_secs_f64()
        );
        if self.terminal {
            thunk::say(format_args!("\r\x1b[K{text}"));
            self.line = true;
        } else {
            thunk::say!("{text}");
        }
    }

    fn clear(&mut self) {
        if self.line {
            thunk::say(format_args!("\r\x1b[K"));
            self.line = false;
        }
    }

    /// A line of our own.
    pub fn say(&mut self, text: &str) {
        self.clear();
        thunk::say!("ggforce: {text}");
    }

    /// A line of our own that no result depends on.
    pub fn note(&mut self, text: &str) {
        self.report(text);
        if !self.quiet {
            self.say(text);
        }
    }

    /// What a successful command wrote.
    pub fn command_said(&mut self, stdout: &[u8], stderr: &[u8]) {
        if !stdout.is_empty() || !stderr.is_empty() {
            self.clear();
            let _ = std::io::stdout().write_all(stdout);
            let _ = std::io::stdout().flush();
            let _ = std::io::stderr().write_all(stderr);
        }
    }

    /// A command failed: what it said, which command it was, how it ended.
    pub fn command_failed(&mut self, thunk: &Thunk, failed: &Failed) {
        self.command_said(&failed.stdout, &failed.stderr);
        self.clear();
        let how =
            if failed.how.is_empty() { format!("exit code {}", failed.code) } else { failed.how.clone() };
        let directory = thunk.workdir.as_deref().unwrap_or(Path::new("/"));
        thunk::say!("ggforce: failed ({how}) in {}: {}", directory.display(), command_line(&thunk.args));
    }

    /// The last line.
    pub fn end(&mut self, text: &str) {
        self.report(text);
        if self.quiet {
            self.clear();
        } else {
            self.say(text);
        }
    }
}

/// The arguments as one would type them.
fn command_line(args: &[OsString]) -> String {
    let quoted = args.iter().map(|arg| {
        let text = arg.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=+,:@%^".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_pasted_into_a_shell() {
        let args = ["gcc", "-DX=\"a b\"", "it's", ""].map(OsString::from);
        assert_eq!(command_line(&args), r#"gcc '-DX="a b"' 'it'\''s' ''"#);
    }
}
