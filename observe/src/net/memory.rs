// SPDX-License-Identifier: Apache-2.0
//! What came of questions that change nothing: the same program loads the same libraries and asks for the same locales over and over,
//! and to foresee what it will find takes longer than all else about the call. Rests on the judge's word for what has not changed on
//! the way ([`Judge::way`]); looks at nothing itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;

use crate::event::Kind;
use crate::handle::{Done, Outcome, Question, Request, Seen};
use crate::{Judge, Way};

/// When this many answers are remembered, all are forgotten.
const MANY: usize = 1 << 16;

/// Answers, each to what was asked last of its path: by its bytes, which are compared and hashed faster than its components.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<OsString, Known>>);

struct Known {
    question: Question,
    way: Way,
    answer: Result<Option<Seen>, i32>,
}

/// A question that may be answered from memory, or whose answer is to be remembered.
pub(super) struct Asked {
    path: PathBuf,
    question: Question,
    way: Way,
}

impl Memory {
    /// The question that a request is, if the answer rests on the way alone, and the way can be told. To be made before anybody looks.
    pub(super) fn asked(judge: &dyn Judge, request: &Request) -> Option<Asked> {
        let (path, question) = request.question()?;
        Some(Asked { path: path.to_owned(), question, way: judge.way(path)? })
    }

    pub(super) fn answer(&self, judge: &dyn Judge, asked: &Asked) -> Option<Outcome> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(asked.path.as_os_str())?;
        if known.question != asked.question || !Arc::ptr_eq(&known.way, &asked.way) {
            return None;
        }
        // What comes to be in a directory is no change of the way to it, and the judge may want to be asked by now.
        let is_directory = matches!(&known.answer, Ok(Some(seen)) if seen.kind == Kind::Directory);
        (!is_directory || !judge.may_hold_placeholders())
            .then(|| known.answer.clone().map(|seen| seen.map_or(Done::Foreseen, Done::File)))
    }

    pub(super) fn remember(&self, asked: Asked, outcome: &Outcome) {
        let answer = match outcome {
            Ok(Done::Foreseen) => Ok(None),
            Ok(Done::File(seen)) => Ok(Some(seen.clone())),
            Ok(Done::Returned(_)) => return,
            Err(errno) => Err(*errno),
        };
        let Asked { path, question, way } = asked;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY {
            known.clear();
        }
        known.insert(path.into_os_string(), Known { question, way, answer });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::handle::Open;

    struct Told {
        way: Mutex<Way>,
        known: AtomicBool,
        placeholders: AtomicBool,
    }

    impl Judge for Told {
        fn way(&self, _: &Path) -> Option<Way> {
            self.known.load(Ordering::Relaxed).then(|| Arc::clone(&self.way.lock().unwrap()))
        }

        fn may_hold_placeholders(&self) -> bool {
            self.placeholders.load(Ordering::Relaxed)
        }
    }

    fn told() -> Told {
        let (known, placeholders) = (AtomicBool::new(true), AtomicBool::new(false));
        Told { way: Mutex::new(Arc::new(1)), known, placeholders }
    }

    fn open(path: &str, flags: i32) -> Request {
        Request::Open(Open { path: path.into(), flags, created: false })
    }

    #[test]
    fn an_answer_holds_for_its_question_as_long_as_the_way_does() {
        let judge = told();
        let memory = Memory::default();
        let asked = |path, flags| Memory::asked(&judge, &open(path, flags)).unwrap();
        let seen = Seen { kind: Kind::File, real: Some("/real".into()) };
        memory.remember(asked("/a", libc::O_RDONLY), &Ok(Done::File(seen)));
        memory.remember(asked("/b", libc::O_RDONLY), &Err(libc::ENOENT));
        let answer = |path, flags| memory.answer(&judge, &asked(path, flags));
        assert!(
            matches!(answer("/a", libc::O_RDONLY), Some(Ok(Done::File(seen))) if seen.real == Some("/real".into()))
        );
        assert!(matches!(answer("/b", libc::O_RDONLY), Some(Err(libc::ENOENT))));
        assert!(answer("/c", libc::O_RDONLY).is_none());
        let directory = Seen { kind: Kind::Directory, real: Some("/d".into()) };
        memory.remember(asked("/d", libc::O_RDONLY), &Ok(Done::File(directory)));
        assert!(matches!(answer("/d", libc::O_RDONLY), Some(Ok(Done::File(_)))));
        judge.placeholders.store(true, Ordering::Relaxed);
        assert!(answer("/d", libc::O_RDONLY).is_none(), "the judge is to be asked");
        assert!(answer("/a", libc::O_RDONLY).is_some());
        assert!(answer("/a", libc::O_RDONLY | libc::O_DIRECTORY).is_none(), "another question");
        *judge.way.lock().unwrap() = Arc::new(2);
        assert!(answer("/a", libc::O_RDONLY).is_none() && answer("/b", libc::O_RDONLY).is_none());
        judge.known.store(false, Ordering::Relaxed);
        assert!(Memory::asked(&judge, &open("/a", libc::O_RDONLY)).is_none());
    }

    #[test]
    fn what_changes_something_is_no_question() {
        for flags in
            [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_PATH, libc::O_TMPFILE]
        {
            assert!(open("/a", flags).question().is_none(), "{flags:o}");
        }
        assert!(Request::Make { path: "/a".into(), target: None }.question().is_none());
        assert!(Request::LookUp { path: "/a".into(), follow: true, mode: None }.question().is_some());
    }
}
