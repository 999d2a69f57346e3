// SPDX-License-Identifier: Apache-2.0
//! The lines by which the makefiles of CMake tell how far a build is: `cmake -E cmake_echo_color … "Building C object …"`.
//! Before each command of the build make starts cmake for one, which takes longer than to defer that command.
//! As `cmcmd::ExecuteEchoColor` of CMake 3 has it, but for the colours, of which CMake itself is asked
//! ([`Echo::question`]). What it does not know: several texts in one command, how to count what is no number.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::{Answer, Question};

/// What such a command is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// As what cmake is called.
    name: OsString,
    /// What says how the text is to look.
    options: Vec<OsString>,
    /// What is done by now.
    pub progress: Option<Progress>,
    text: OsString,
}

/// How far the build is: for all that is done there is a file in a directory, beside one that says how many there will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The directory.
    pub directory: PathBuf,
    /// Names of files to be made in it, with [this](MARK) in them.
    pub marks: Vec<OsString>,
}

/// The file with the number.
pub const COUNT: &str = "count.txt";
/// The content of the other files.
pub const MARK: &[u8] = b"empty";

/// A text as none that says how it looks.
const TEXT: &str = "gg";
/// Options without a value.
const STYLES: [&str; 12] = [
    "--normal",
    "--black",
    "--red",
    "--green",
    "--yellow",
    "--blue",
    "--magenta",
    "--cyan",
    "--white",
    "--bold",
    "--newline",
    "--no-newline",
];
/// What make tells its commands of itself, and shells of theirs: the same in each, and nothing to CMake.
const OF_MAKE: [&str; 8] =
    ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PWD", "OLDPWD", "SHLVL", "_"];
/// The terminal, if make prints to one: GNU make 4.1 and later say so, and CMake believes it.
const TERMINALS: [&str; 2] = ["MAKE_TERMOUT", "MAKE_TERMERR"];

/// Does a variable say what terminal there is? All others are nothing to CMake that mean nothing to commands that print to none.
#[must_use]
pub fn is_of_terminal(name: &OsStr) -> bool {
    name == "TERM" || name == "COLORTERM" || TERMINALS.iter().any(|known| name == *known)
}

impl Echo {
    /// The arguments of cmake, its name among them. Nothing where it is another command, or something about it is unusual.
    #[must_use]
    pub fn of(argv: &[OsString]) -> Option<Self> {
        let [name, option, command, options @ .., text] = argv else { return None };
        (option == "-E" && command == "cmake_echo_color" && !text.as_bytes().starts_with(b"--"))
            .then_some(())?;
        let mut echo = Self { name: name.clone(), options: Vec::new(), progress: None, text: text.clone() };
        let mut directory = None;
        for option in options {
            let value = |name: &[u8]| option.as_bytes().strip_prefix(name).map(OsStr::from_bytes);
            if let Some(value) = value(b"--progress-dir=") {
                (directory.is_none() && !value.is_empty()).then(|| directory = Some(Path::new(value)))?;
            } else if let Some(numbers) = value(b"--progress-num=") {
                let marks = numbers.as_bytes().split(|&c| c == b',').filter(|mark| !mark.is_empty());
                let marks: Vec<_> = marks.map(|mark| OsStr::from_bytes(mark).to_os_string()).collect();
                let is_number = |mark: &OsString| mark.as_bytes().iter().all(u8::is_ascii_digit);
                (echo.progress.is_none() && marks.iter().all(is_number)).then_some(())?;
                echo.progress = Some(Progress { directory: directory?.join("Progress"), marks });
            } else if value(b"--switch=").is_some() || STYLES.iter().any(|known| option == known) {
                echo.options.push(option.clone());
            } else {
                return None;
            }
        }
        Some(echo)
    }

    /// Asks CMake how it prints a text so, not to a terminal.
    #[must_use]
    pub fn question(&self, program: &Path, mut env: Vec<(OsString, OsString)>) -> Question {
        env.retain(|(name, _)| !OF_MAKE.iter().any(|known| name == known));
        for (name, terminal) in &mut env {
            // Which one makes no difference.
            if TERMINALS.iter().any(|known| name == known) && !terminal.is_empty() {
                *terminal = "/dev/tty".into();
            }
        }
        let words = [&self.name, OsStr::new("-E"), OsStr::new("cmake_echo_color")].map(OsStr::to_os_string);
        let options = self.options.iter().cloned();
        let argv = words.into_iter().chain(options).chain([TEXT.into()]).collect();
        Question { program: program.to_path_buf(), argv, env, input: Vec::new() }
    }

    /// What is printed, where CMake has answered that: to a terminal, if it prints colours already to what is none. `done`: how many files there are of what is done, with the one for this
    /// command, and what the file with the number says.
    #[must_use]
    pub fn prints(
        &self,
        answer: &Answer,
        is_terminal: bool,
        done: Option<(usize, &[u8])>,
    ) -> Option<Vec<u8>> {
        let Answer { code: 0, stdout, stderr } = answer else { return None };
        let at = memmem::find(stdout, TEXT.as_bytes()).filter(|_| stderr.is_empty())?;
        let (before, after) = (&stdout[..at], &stdout[at + TEXT.len()..]);
        let is_coloured = before.contains(&b'\x1b') || self.options.iter().all(|option| is_plain(option));
        (memmem::find(after, TEXT.as_bytes()).is_none() && (is_coloured || !is_terminal)).then_some(())?;
        let head = done.map_or(Some(String::new()), |(done, all)| percent(done, all))?;
        Some([head.as_bytes(), before, self.text.as_bytes(), after].concat())
    }
}

/// Has it nothing to do with colours?
fn is_plain(option: &OsStr) -> bool {
    ["--newline", "--no-newline", "--normal"].iter().any(|known| option == *known)
        || option.as_bytes().starts_with(b"--switch=")
}

/// How much that is. The file says a number as `%i` of scanf reads it: one that begins with 0 is another one.
fn percent(done: usize, all: &[u8]) -> Option<String> {
    let all = std::str::from_utf8(all).ok()?.trim_end_matches('\n');
    (all.bytes().all(|c| c.is_ascii_digit()) && (all == "0" || !all.starts_with('0'))).then_some(())?;
    let all = usize::try_from(all.parse::<i32>().ok()?).ok()?;
    let hundredths = i32::try_from(done.checked_mul(100)?).ok()?.unsigned_abs() as usize;
    Some(hundredths.checked_div(all).map_or_else(String::new, |percent| format!("[{percent:3}%] ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(words: &str) -> Option<Echo> {
        let words = words.split(' ').map(|word| word.replace('_', " ").into());
        Echo::of(
            &["cmake", "-E", "cmake_echo_color"]
                .map(OsString::from)
                .into_iter()
                .chain(words)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn what_makefiles_say_is_understood() {
        let said =
            echo("--switch= --green --progress-dir=/b/CMakeFiles --progress-num=3,4 Building_C").unwrap();
        let progress = said.progress.clone().unwrap();
        assert_eq!(progress.directory, Path::new("/b/CMakeFiles/Progress"));
        assert_eq!(progress.marks, ["3", "4"]);
        assert_eq!(
            (&said.options, &said.text),
            (&vec!["--switch=".into(), "--green".into()], &"Building C".into())
        );
        // A target without sources.
        let built = echo("--switch= --progress-dir=/b --progress-num= Built_target_x").unwrap();
        assert_eq!(built.progress.unwrap().marks, [""; 0]);
        assert!(echo("--bold text").unwrap().progress.is_none());
        for unusual in [
            "one two",
            "--green",
            "--purple text",
            "--progress-num=1 text",
            "--progress-dir=/b --progress-num=../x text",
            "--progress-dir=/b --progress-num=1 --progress-num=2 text",
        ] {
            assert_eq!(echo(unusual), None, "{unusual}");
        }
        assert_eq!(Echo::of(&["cmake", "-E", "echo", "text"].map(Into::into)), None);
    }

    #[test]
    fn percents_are_as_scanf_and_division_give_them() {
        assert_eq!(percent(1, b"36\n").as_deref(), Some("[  2%] "));
        assert_eq!(percent(36, b"36\n").as_deref(), Some("[100%] "));
        assert_eq!(percent(0, b"7").as_deref(), Some("[  0%] "));
        assert_eq!(percent(5, b"0\n").as_deref(), Some(""));
        for unclear in [&b""[..], b"010", b"x", b"-3", b"99999999999", b"\xff", b"3 4"] {
            assert_eq!(percent(1, unclear), None, "{unclear:?}");
        }
    }

    #[test]
    fn the_text_stands_where_the_other_one_stood() {
        let said = echo("--green Building_C").unwrap();
        let says = |stdout: &str| Answer { code: 0, stdout: stdout.into(), stderr: Vec::new() };
        let colours = says("\x1b[32mgg\x1b[0m\n");
        let expected = b"[ 50%] \x1b[32mBuilding C\x1b[0m\n".to_vec();
        assert_eq!(said.prints(&colours, true, Some((1, b"2\n"))), Some(expected));
        assert_eq!(said.prints(&says("gg\n"), false, None), Some(b"Building C\n".to_vec()));
        assert_eq!(said.prints(&says("gg\n"), true, None), None, "it may print colours there");
        assert!(echo("--switch= text").unwrap().prints(&says("gg\n"), true, None).is_some());
        assert_eq!(said.prints(&says("gg gg\n"), false, None), None);
        assert_eq!(said.prints(&Answer { code: 1, ..says("gg\n") }, false, None), None);
    }

    #[test]
    fn what_make_says_of_a_command_makes_no_other_question() {
        let said = echo("--green text").unwrap();
        let asks = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
            said.question(Path::new("/usr/bin/cmake"), variables.collect())
        };
        let one = asks(&[("A", "1"), ("MAKELEVEL", "2"), ("MAKE_TERMOUT", "/dev/pts/1")]);
        assert_eq!(one, asks(&[("A", "1"), ("MAKELEVEL", "3"), ("MAKE_TERMOUT", "/dev/pts/2")]));
        assert_ne!(one, asks(&[("A", "1"), ("MAKE_TERMOUT", "")]));
        assert_eq!(one.argv, ["cmake", "-E", "cmake_echo_color", "--green", TEXT]);
    }
}
