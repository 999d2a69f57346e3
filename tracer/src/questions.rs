// SPDX-License-Identifier: Apache-2.0
//! Asking tools about themselves, once: answers are remembered for this recording, for as long as the tool is the same.
//! Knows nothing of what the answers mean.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use models::{Answer, Question};
use thunk::FileId;

use crate::recorder::lock;
use crate::toolchain::settled;

/// Answers so far.
#[derive(Debug)]
pub struct Questions {
    directory: PathBuf,
    known: Mutex<HashMap<QuestionToTool, Arc<Answer>>>,
}

/// A question, and the identity of the program that is asked.
type QuestionToTool = (Question, Option<FileId>);

impl Questions {
    /// Questions are asked in `directory`, which is empty.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, known: Mutex::default() }
    }

    /// Asks, or remembers.
    ///
    /// # Errors
    /// The tool cannot be run.
    pub fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        let program = std::fs::metadata(&question.program).ok().map(|m| FileId::of(&m));
        let key = (question.clone(), program);
        if let Some(answer) = lock(&self.known).get(&key) {
            return Ok(Arc::clone(answer));
        }
        let mut command = Command::new(&question.program);
        let argv = settled(&question.argv, &question.program);
        if let Some((name, arguments)) = argv.split_first() {
            command.arg0(name).args(arguments);
        }
        command.env_clear().envs(question.env.iter().map(|(k, v)| (k, v)));
        command.current_dir(&self.directory).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if question.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut tool = command.spawn()?;
        let input = tool.stdin.take();
        let output = std::thread::scope(|scope| {
            // Beside reading what it says, which it may do first. It need not read all.
            scope.spawn(|| input.map(|mut input| input.write_all(&question.input)));
            tool.wait_with_output()
        })?;
        let answer = Arc::new(Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: output.stderr,
        });
        // A tool that was killed has not answered.
        if output.status.signal().is_none() {
            lock(&self.known).insert(key, Arc::clone(&answer));
        }
        Ok(answer)
    }
}
