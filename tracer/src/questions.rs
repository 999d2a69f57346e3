// SPDX-License-Identifier: Apache-2.0
//! Asking tools about themselves, once. Answers are remembered for this recording, for as long as the tool is the same; and, where the tool
//! was observed while it answered, for as long as all that it used then is the same, for later ones, too. Knows nothing of what the
//! answers mean.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use memchr::memmem;
use models::{Answer, Question};
use thunk::FileId;

use crate::key;
use crate::place::Place;
use crate::recorder::lock;
use crate::silent::Silent;
use crate::tool::{Done, Failure, Job, Observed};
use crate::touched::{self, Doubts, Rests, Touched};

/// Answers so far.
#[derive(Debug)]
pub struct Questions {
    directory: PathBuf,
    places: PathBuf,
    place: OnceLock<Option<Place>>,
    kept: PathBuf,
    silent: Arc<Silent>,
    limit: Duration,
    known: Mutex<HashMap<QuestionToTool, Cell>>,
}

/// A question, and the identity of the program that is asked.
type QuestionToTool = (Question, Option<FileId>);

/// An answer, once there is one.
type Cell = Arc<Mutex<Option<Known>>>;

/// An answer, and what it rests on, where that is known.
#[derive(Debug)]
struct Known {
    answer: Arc<Answer>,
    rests: Option<Rests>,
}

const HEADER: &str = "gg-answer 2";
/// A tool that takes longer to answer does not end at all, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(30);

impl Questions {
    /// Questions are asked in a [`Place`] in `places`, and answers kept in `kept`; or asked in `directory`, which is
    /// empty, and not kept.
    pub fn new(directory: PathBuf, places: PathBuf, kept: PathBuf, silent: Arc<Silent>) -> Self {
        let (place, known) = (OnceLock::new(), Mutex::default());
        Self { directory, places, place, kept, silent, limit: LIMIT, known }
    }

    /// Asks, or remembers.
    ///
    /// # Errors
    /// The tool cannot be run, or does not end.
    pub fn ask(&self, question: &Question, is_in_doubt: Doubts<'_>) -> io::Result<Arc<Answer>> {
        let program = std::fs::metadata(&question.program).ok().map(|m| FileId::of(&m));
        let cell = Arc::clone(lock(&self.known).entry((question.clone(), program)).or_default());
        // Others that ask the same wait here: a build's first commands do so at the same time.
        let mut known = lock(&cell);
        let holds = |known: &&Known| known.rests.as_ref().is_none_or(|rests| rests.hold(is_in_doubt));
        if let Some(known) = known.as_ref().filter(holds) {
            return Ok(Arc::clone(&known.answer));
        }
        let own_key = || key(question, Path::new(""));
        self.silent.check(&question.program, &own_key()).map_err(io::Error::other)?;
        let (answer, used, was_killed) = self.put(question).map_err(|failure| {
            io::Error::other(match failure {
                Failure::Hangs(used) => self.silent.add(&question.program, &own_key(), &used),
                Failure::Cannot(why) => why,
            })
        })?;
        let answer = Arc::new(answer);
        // A tool that was killed has not answered.
        if !was_killed {
            *known = Some(Known { answer: Arc::clone(&answer), rests: used.as_ref().map(Rests::of) });
        }
        Ok(answer)
    }

    /// What the tool says, or has said, what it used, and whether a signal ended it.
    fn put(&self, question: &Question) -> Result<(Answer, Option<Touched>, bool), Failure> {
        if let Some(place) = self.place_for(question)
            && let Some((answer, used)) = self.kept_or_observed(place, question)?
        {
            return Ok((answer, used, false));
        }
        let done = self.job(question, &self.directory).unobserved(&question.input)?;
        let was_killed = done.status.code().is_none();
        Ok((answer(done), None, was_killed))
    }

    /// Where it is asked so that the answer can be kept, if it may be.
    fn place_for(&self, question: &Question) -> Option<&Place> {
        // What the processor is shows in no file; and who is observed is given no input.
        let asks_the_processor =
            question.argv.iter().any(|word| memmem::find(word.as_bytes(), b"native").is_some());
        if asks_the_processor || !question.input.is_empty() {
            return None;
        }
        self.place.get_or_init(|| Place::take(&self.places)).as_ref()
    }

    fn job<'a>(&self, question: &'a Question, directory: &'a Path) -> Job<'a> {
        let Question { program, argv, env, input: _ } = question;
        Job { program, argv, env, directory, limit: self.limit }
    }

    fn kept_or_observed(
        &self,
        place: &Place,
        question: &Question,
    ) -> Result<Option<(Answer, Option<Touched>)>, Failure> {
        let path = self.kept.join(key(question, place.path()));
        let kept = std::fs::read(&path).ok();
        if let Some((answer, used)) =
            kept.as_deref().and_then(|kept| decode(touched::unsealed(HEADER, kept)?))
        {
            return Ok(Some((answer, Some(used))));
        }
        if !place.is_empty() {
            return Ok(None);
        }
        let observed = match self.job(question, place.path()).observed() {
            Err(Failure::Cannot(_)) => return Ok(None),
            observed => observed?,
        };
        let Observed { done, start, used, asks_the_machine } = observed;
        // Why it fails may show in no file: a full disk, too little memory, that it is observed.
        if done.status.code() != Some(0) {
            return Ok(None);
        }
        let answer = answer(done);
        let used = used.ok();
        if let Some(used) = used.as_ref().filter(|_| !asks_the_machine && place.is_empty()) {
            let record = touched::sealed(HEADER, &encode(&answer, used));
            // After a look at how each file is recognised again: what changes later is another one by then.
            if used.is_older_than(start) {
                // Without it the next recording asks again.
                let _ = thunk::write_atomically(&path, &record, 0o644);
            }
        }
        Ok(Some((answer, used)))
    }
}

fn answer(done: Done) -> Answer {
    Answer { code: done.status.code().unwrap_or(-1), stdout: done.stdout, stderr: done.stderr }
}

fn key(question: &Question, place: &Path) -> String {
    let count = question.argv.len().to_string();
    let input = OsStr::from_bytes(&question.input);
    let head = [place.as_os_str(), question.program.as_os_str(), input, OsStr::new(&count)];
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
fn decode(body: &[u8]) -> Option<(Answer, Touched)> {
    let end = memchr::memchr(b'\n', body)?;
    let mut numbers = std::str::from_utf8(&body[..end]).ok()?.split(' ');
    let code = numbers.next()?.parse().ok()?;
    let (stdout, rest) = body[end + 1..].split_at_checked(numbers.next()?.parse().ok()?)?;
    let (stderr, used) = rest.split_at_checked(numbers.next()?.parse().ok()?)?;
    let used = Touched::decode(used)?;
    Some((Answer { code, stdout: stdout.to_vec(), stderr: stderr.to_vec() }, used))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
            fs::create_dir(space.path("places")).unwrap();
            fs::write(space.path("says"), "one\n").unwrap();
            space
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn question(&self, script: &str) -> Question {
            let tool = self.path("tool");
            crate::tool::write_script(&tool, script);
            // Old enough to be told apart from the next one.
            std::thread::sleep(Duration::from_millis(30));
            Question { program: tool, argv: vec!["tool".into(), "-x".into()], ..Question::default() }
        }

        fn recording(&self) -> Questions {
            let [empty, places, kept] = ["empty", "places", "kept"].map(|name| self.path(name));
            let silent = Arc::new(Silent::new(kept.clone()));
            Questions::new(empty, places, kept, silent)
        }

        /// What another recording is told.
        fn asks(&self, question: &Question) -> (i32, String) {
            let answer = self.recording().ask(question, &|_| false).unwrap();
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
    fn what_the_build_changes_is_asked_again() {
        let space = Space::new();
        let says = space.path("says");
        let question = space.question(&format!("cat {}", says.display()));
        let recording = space.recording();
        let asks = |name: &str| {
            let is_in_doubt = |asked| asked == wire::log::name_hash(name.as_bytes());
            String::from_utf8(recording.ask(&question, &is_in_doubt).unwrap().stdout.clone()).unwrap()
        };
        assert_eq!(asks("says"), "one\n");
        fs::write(&says, "another\n").unwrap();
        assert_eq!(asks("another"), "one\n");
        assert_eq!(asks("says"), "another\n");
        assert_eq!(asks(""), "another\n");
    }

    #[test]
    fn where_a_tool_was_asked_is_the_same_place_the_next_time() {
        let space = Space::new();
        let question = space.question("pwd");
        let place = space.path("places/0").display().to_string() + "\n";
        assert_eq!(space.asks(&question), (0, place.clone()));
        assert_eq!(space.kept(), 1);
        assert_eq!(space.asks(&question), (0, place));
        // Beside another recording it is another one.
        let other = Place::take(&space.path("places")).unwrap();
        assert!(space.asks(&question).1.ends_with("places/1\n"));
        drop(other);
        let question = space.question("test ! -e left && echo new; touch left");
        let recording = space.recording();
        for argument in ["-x", "-y"] {
            let question = Question { argv: vec!["tool".into(), argument.into()], ..question.clone() };
            assert_eq!(recording.ask(&question, &|_| false).unwrap().stdout, b"new\n");
        }
        assert_eq!(space.kept(), 2, "what rests on what it has left before is not kept");
    }

    #[test]
    fn what_clang_says_is_kept() {
        let clang = PathBuf::from("/usr/bin/clang");
        if !clang.exists() {
            return;
        }
        let space = Space::new();
        let words = ["clang", "-x", "c", "-E", "-v", "/dev/null"];
        let argv = words.map(Into::into).to_vec();
        let question = Question { program: clang, argv, ..Question::default() };
        let said = space.recording().ask(&question, &|_| false).unwrap();
        assert_eq!((said.code, space.kept()), (0, 1));
        let place = space.path("places");
        let names_the_place = memmem::find(&said.stderr, place.as_os_str().as_bytes()).is_some();
        assert!(names_the_place, "else this tests nothing");
        let record = fs::read_dir(space.path("kept")).unwrap().next().unwrap().unwrap().path();
        assert!(decode(touched::unsealed(HEADER, &fs::read(record).unwrap()).unwrap()).is_some());
    }

    #[test]
    fn a_tool_that_does_not_end_is_killed_and_not_asked_again() {
        let space = Space::new();
        let asked = space.path("asked");
        let script = format!("echo >>{}; sleep 1000 & sleep 1000", asked.display());
        let mut question = space.question(&script);
        let times = || fs::read(&asked).map_or(0, |asked| asked.len());
        let asks = |question: &Question| {
            let started = std::time::Instant::now();
            // As much as it takes to begin, on a busy machine.
            let recording = Questions { limit: Duration::from_secs(3), ..space.recording() };
            let why = recording.ask(question, &|_| false).unwrap_err().to_string();
            assert!(why.ends_with("tool does not end when it is asked about itself"), "{why}");
            assert!(started.elapsed() < Duration::from_secs(60));
        };
        asks(&question);
        asks(&question);
        assert_eq!(times(), 1);
        // One that is given something is not observed.
        question = Question { input: b"text".to_vec(), ..space.question(&format!("{script} & wait")) };
        asks(&question);
        asks(&question);
        assert_eq!(times(), 2);
        question = space.question("echo x");
        assert_eq!(space.asks(&question), (0, "x\n".into()));
    }

    #[test]
    fn what_a_tool_has_left_running_is_not_waited_for() {
        let space = Space::new();
        let mut question = space.question("sleep 1000 & read l; echo $l");
        question.input = b"text\n".to_vec();
        assert_eq!(space.asks(&question), (0, "text\n".into()));
    }

    #[test]
    fn what_shows_in_no_file_is_not_kept() {
        let space = Space::new();
        let mut question = space.question("read l </proc/cpuinfo; echo x");
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
        crate::tool::write_script(&question.program, &format!("perl -MSocket -e '{script}' $1"));
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(space.asks(&question).0, 0);
        assert_eq!(space.kept(), 0, "a daemon answers it, perhaps");
        question = space.question("exit 3");
        assert_eq!(space.asks(&question).0, 3);
        assert_eq!(space.kept(), 0, "why it fails is not known");
    }
}
