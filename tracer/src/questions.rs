// SPDX-License-Identifier: Apache-2.0
//! Asking tools about themselves, once. Answers are remembered for this recording, for as long as the tool is the same; and, where the tool
//! was observed while it answered, for later ones, for as long as all that it used then is the same. Knows nothing of what the
//! answers mean.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use memchr::memmem;
use models::{Answer, Question};
use observe::Touches;
use thunk::FileId;

use crate::key;
use crate::recorder::lock;
use crate::toolchain::settled;
use crate::touched::{self, Touched};

/// Answers so far.
#[derive(Debug)]
pub struct Questions {
    directory: PathBuf,
    kept: PathBuf,
    known: Mutex<HashMap<QuestionToTool, Cell>>,
}

/// A question, and the identity of the program that is asked.
type QuestionToTool = (Question, Option<FileId>);

/// An answer, once there is one.
type Cell = Arc<Mutex<Option<Arc<Answer>>>>;

const HEADER: &str = "gg-answer 1";
/// A tool that takes longer to answer is asked without being observed.
const LIMIT: Duration = Duration::from_secs(20);

impl Questions {
    /// Questions are asked in `directory`, which is empty; answers are kept in `kept`.
    pub fn new(directory: PathBuf, kept: PathBuf) -> Self {
        Self { directory, kept, known: Mutex::default() }
    }

    /// Asks, or remembers.
    ///
    /// # Errors
    /// The tool cannot be run.
    pub fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        let program = std::fs::metadata(&question.program).ok().map(|m| FileId::of(&m));
        let cell = Arc::clone(lock(&self.known).entry((question.clone(), program)).or_default());
        // Others that ask the same wait here: a build's first commands do so at the same time.
        let mut known = lock(&cell);
        if let Some(answer) = &*known {
            return Ok(Arc::clone(answer));
        }
        let (answer, was_killed) =
            match self.keeps(question).and_then(|path| self.kept_or_observed(&path, question)) {
                Some(answer) => (Arc::new(answer), false),
                None => self.asked(question).map(|(answer, was_killed)| (Arc::new(answer), was_killed))?,
            };
        // A tool that was killed has not answered.
        if !was_killed {
            *known = Some(Arc::clone(&answer));
        }
        Ok(answer)
    }

    /// Where the answer is kept, if it may be.
    fn keeps(&self, question: &Question) -> Option<PathBuf> {
        // What the processor is shows in no file; and who is observed is given no input.
        let asks_the_processor =
            question.argv.iter().any(|word| memmem::find(word.as_bytes(), b"native").is_some());
        (!asks_the_processor && question.input.is_empty()).then(|| self.kept.join(key(question)))
    }

    fn kept_or_observed(&self, path: &Path, question: &Question) -> Option<Answer> {
        let kept = std::fs::read(path).ok();
        if let Some(answer) = kept.as_deref().and_then(|kept| decode(touched::unsealed(HEADER, kept)?)) {
            return Some(answer);
        }
        let command = observe::Command {
            argv: settled(&question.argv, &question.program),
            env: question.env.clone(),
            cwd: self.directory.clone(),
            ..observe::Command::new(&question.program)
        };
        let options = observe::Options { timeout: Some(LIMIT), rest: observe::Rest::Kill };
        let start = SystemTime::now();
        let observation = observe::observe(&command, &options).ok()?;
        // Why it fails may show in no file: a full disk, too little memory, that it is observed.
        let code = observation.status.code().filter(|code| *code == 0)?;
        let used = used(&observation.touches, &self.directory);
        let answer = Answer { code, stdout: observation.stdout, stderr: observation.stderr };
        if let Some(used) = used.filter(|used| used.is_older_than(start) && !self.is_named_in(&answer)) {
            // Without it the next recording asks again.
            let _ = thunk::write_atomically(path, &touched::sealed(HEADER, &encode(&answer, &used)), 0o644);
        }
        Some(answer)
    }

    /// Is the directory in the answer, which is another one next time?
    fn is_named_in(&self, answer: &Answer) -> bool {
        let directory = self.directory.as_os_str().as_bytes();
        [&answer.stdout, &answer.stderr].iter().any(|text| memmem::find(text, directory).is_some())
    }

    /// What the tool says, and whether a signal ended it.
    fn asked(&self, question: &Question) -> io::Result<(Answer, bool)> {
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
        let answer =
            Answer { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr: output.stderr };
        Ok((answer, output.status.signal().is_some()))
    }
}

/// What the tool used, if its answer rests on nothing else.
fn used(touches: &Touches, directory: &Path) -> Option<Touched> {
    let mut about_the_machine = touches.iter().map(|(path, _)| path);
    let asks_the_machine =
        about_the_machine.any(|path| path == Path::new("/proc/cpuinfo") || path.starts_with("/sys/devices"));
    let is_seen = !touches.network && !touches.foreign && touches.gaps == 0;
    let asks_others = || {
        let mut kinds =
            touches.iter().filter_map(|(path, _)| Some(std::fs::metadata(path).ok()?.file_type()));
        kinds.any(|kind| kind.is_socket() || kind.is_fifo())
    };
    Touched::of(touches, directory).ok().filter(|_| is_seen && !asks_the_machine && !asks_others())
}

fn key(question: &Question) -> String {
    let count = question.argv.len().to_string();
    let head = [question.program.as_os_str(), OsStr::new(&count)];
    let env = question.env.iter().flat_map(|(name, value)| [name, value]);
    key::of(head.into_iter().chain(question.argv.iter().chain(env).map(|word| &**word)))
}

/// A line with the exit code and the lengths of what was said on either stream; what was said; what was used.
fn encode(answer: &Answer, used: &Touched) -> Vec<u8> {
    let Answer { code, stdout, stderr } = answer;
    let head = format!("{code} {} {}\n", stdout.len(), stderr.len());
    [head.as_bytes(), stdout, stderr, &used.encode()].concat()
}

/// The inverse of [`encode`], if all that was used is as it was.
fn decode(body: &[u8]) -> Option<Answer> {
    let end = memchr::memchr(b'\n', body)?;
    let mut numbers = std::str::from_utf8(&body[..end]).ok()?.split(' ');
    let code = numbers.next()?.parse().ok()?;
    let (stdout, rest) = body[end + 1..].split_at_checked(numbers.next()?.parse().ok()?)?;
    let (stderr, used) = rest.split_at_checked(numbers.next()?.parse().ok()?)?;
    Touched::decode(used)?;
    Some(Answer { code, stdout: stdout.to_vec(), stderr: stderr.to_vec() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Space {
        dir: tempfile::TempDir,
    }

    impl Space {
        /// A tool that says what is in a file, and leaves a byte in another for each time that it is asked.
        fn new() -> Self {
            let space = Self { dir: tempfile::tempdir().unwrap() };
            fs::create_dir(space.path("empty")).unwrap();
            fs::create_dir(space.path("kept")).unwrap();
            fs::write(space.path("says"), "one\n").unwrap();
            space
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn question(&self, script: &str) -> Question {
            let tool = self.path("tool");
            fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
            // Old enough to be told apart from the next one.
            std::thread::sleep(Duration::from_millis(30));
            Question { program: tool, argv: vec!["tool".into(), "-x".into()], ..Question::default() }
        }

        /// What another recording is told.
        fn asks(&self, question: &Question) -> (i32, String) {
            let answer = Questions::new(self.path("empty"), self.path("kept")).ask(question).unwrap();
            (answer.code, String::from_utf8(answer.stdout.clone()).unwrap())
        }

        fn kept(&self) -> usize {
            fs::read_dir(self.path("kept")).unwrap().count()
        }
    }

    #[test]
    fn an_answer_holds_for_as_long_as_all_that_the_tool_used() {
        let space = Space::new();
        let (says, more) = (space.path("says"), space.path("more"));
        let question = space.question(&format!(
            "while read l; do echo $l; done <{}; test ! -e {}",
            says.display(),
            more.display()
        ));
        assert_eq!(space.asks(&question), (0, "one\n".into()));
        assert_eq!(space.kept(), 1);
        // What nobody can tell but from what was kept.
        let kept = fs::read_dir(space.path("kept")).unwrap().next().unwrap().unwrap().path();
        let record = fs::read(&kept).unwrap();
        let body = touched::unsealed(HEADER, &record).unwrap();
        let other = [b"0 4 0\nown\n".as_slice(), &body[b"0 4 0\none\n".len()..]].concat();
        fs::write(&kept, touched::sealed(HEADER, &other)).unwrap();
        assert_eq!(space.asks(&question), (0, "own\n".into()));
        fs::write(&kept, &record[..record.len() - 1]).unwrap();
        assert_eq!(space.asks(&question), (0, "one\n".into()));
        fs::write(&says, "two\n").unwrap();
        assert_eq!(space.asks(&question), (0, "two\n".into()));
        fs::write(&more, "").unwrap();
        assert_eq!(space.asks(&question), (1, "two\n".into()));
    }

    #[test]
    fn an_answer_holds_while_no_name_comes_into_a_directory_that_the_tool_has_listed() {
        let space = Space::new();
        let versions = space.path("versions");
        fs::create_dir_all(versions.join("12")).unwrap();
        let question = space.question(&format!("cd {}; echo *", versions.display()));
        assert_eq!(space.asks(&question), (0, "12\n".into()));
        assert_eq!(space.kept(), 1);
        fs::create_dir(versions.join("13")).unwrap();
        assert_eq!(space.asks(&question), (0, "12 13\n".into()));
    }

    #[test]
    fn what_changes_while_the_tool_answers_is_not_taken_for_what_it_used() {
        let space = Space::new();
        let says = space.path("says");
        let question = space.question(&format!("read l <{}; sleep 0.5; echo $l", says.display()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(250));
                fs::write(&says, "two\n").unwrap();
            });
            space.asks(&question);
        });
        assert_eq!(space.asks(&question), (0, "two\n".into()));
    }

    #[test]
    fn what_shows_in_no_file_is_not_kept() {
        let space = Space::new();
        let mut question = space.question("pwd");
        assert!(space.asks(&question).1.ends_with("empty\n"));
        assert_eq!(space.kept(), 0, "it says where it was asked");
        question = space.question("read l </proc/cpuinfo; echo x");
        space.asks(&question);
        assert_eq!(space.kept(), 0, "it asks about the machine");
        question = space.question("echo x");
        question.argv.push("-march=native".into());
        space.asks(&question);
        assert_eq!(space.kept(), 0);
        question = space.question("perl -MSocket -e 'socket my $s, PF_INET, SOCK_DGRAM, 0 or die'");
        question.env.push(("PATH".into(), "/usr/bin".into()));
        assert_eq!(space.asks(&question).0, 0);
        assert_eq!(space.kept(), 0, "others answer it, perhaps");
        let socket = space.path("socket");
        let _daemon = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let script = "socket my $s, PF_UNIX, SOCK_STREAM, 0; connect $s, sockaddr_un shift or die";
        question.argv[1] = socket.into();
        fs::write(&question.program, format!("#!/bin/sh\nperl -MSocket -e '{script}' $1\n")).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(space.asks(&question).0, 0);
        assert_eq!(space.kept(), 0, "a daemon answers it, perhaps");
        question = space.question("exit 3");
        assert_eq!(space.asks(&question).0, 3);
        assert_eq!(space.kept(), 0, "why it fails is not known");
    }
}
