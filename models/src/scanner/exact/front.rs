// SPDX-License-Identifier: Apache-2.0
//! What a compiler has built in: its macros, and its answers to tests such as `__has_builtin`. Asked once for all commands
//! with the same options. Unaware of files.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::Lost;
use super::script::{Macro, definition};
use super::token::Text;
use crate::scanner::Files;
use crate::scanner::tree::View;
use crate::{Answer, Question};

/// A compiler with certain options.
pub(super) struct Front {
    /// What it said, as long as it says the same.
    said: Arc<Answer>,
    pub macros: Vec<(Text, Arc<Macro>)>,
    /// Answers, by question; nothing where it gave none.
    answers: Mutex<HashMap<Box<[u8]>, Option<i64>>>,
}

/// All that were asked so far.
#[derive(Default)]
pub(in super::super) struct Fronts(Mutex<HashMap<Question, Arc<Front>>>);

/// Stands before each answer.
const MARK: &[u8] = b"__gg_answer__";

impl Fronts {
    /// `question` is a command without source, and with neither `-E` nor `-dM`. The header that gcc includes before all
    /// others is not built in: it is one of those that the command finds, or none.
    pub(super) fn get(&self, question: &Question, view: View<'_>) -> Option<Arc<Front>> {
        let texts = &view.tree.texts;
        let said = put(question, &["-nostdinc", "-E", "-dM", "-"], b"", view.files)?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(question).filter(|front| front.said == said) {
            return Some(Arc::clone(known));
        }
        let lines = said.stdout.split(|&c| c == b'\n').filter_map(|line| line.strip_prefix(b"#define "));
        let macros = lines.filter_map(|line| definition(line, texts)).map(|(name, of)| (name, Arc::new(of)));
        let front = Arc::new(Front { macros: macros.collect(), said, answers: Mutex::default() });
        let bodies = front.macros.iter().map(|(_, of)| size_of::<Macro>() + size_of_val(&*of.body) + 32);
        view.tree.add_weight(bodies.sum::<usize>() + front.said.stdout.len());
        all.insert(question.clone(), Arc::clone(&front));
        Some(front)
    }
}

fn put(question: &Question, options: &[&str], text: &[u8], files: &dyn Files) -> Option<Arc<Answer>> {
    let mut question = question.clone();
    question.argv.extend(options.iter().map(Into::into));
    question.input = text.to_vec();
    files.ask(&question).ok().filter(|answer| answer.code == 0)
}

impl Front {
    /// Has the compiler asked for what one run wanted to know.
    pub(super) fn learn(
        &self,
        question: &Question,
        files: &dyn Files,
        asker: &Asker<'_>,
    ) -> Result<(), Lost> {
        let mut text = Vec::new();
        for (number, wanted) in asker.wanted.iter().enumerate() {
            text.extend_from_slice(MARK);
            text.extend_from_slice(format!(" {number}\n").as_bytes());
            text.extend_from_slice(wanted);
            text.push(b'\n');
        }
        let answer =
            put(question, &["-nostdinc", "-E", "-P", "-"], &text, files).ok_or(Lost("a test that fails"))?;
        let words: Vec<_> = answer.stdout.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).collect();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, wanted) in asker.wanted.iter().enumerate() {
            let number = number.to_string();
            let at = words.windows(2).position(|pair| pair == [MARK, number.as_bytes()]);
            let value = at.and_then(|at| match &words[at + 2..] {
                [value] => integer(value),
                [value, next, ..] if *next == MARK => integer(value),
                _ => None,
            });
            answers.insert(wanted.clone(), value);
        }
        Ok(())
    }
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim_end_matches(['L', 'l']).parse().ok()
}

/// Answers what is known, and collects what is not: then the answer is made up, and what follows from it does not count.
pub(super) struct Asker<'a> {
    front: &'a Front,
    wanted: BTreeSet<Box<[u8]>>,
}

impl<'a> Asker<'a> {
    pub fn new(front: &'a Front) -> Self {
        Self { front, wanted: BTreeSet::new() }
    }

    /// Was everything known?
    pub fn has_all(&self) -> bool {
        self.wanted.is_empty()
    }

    /// What a test gives.
    pub fn ask(&mut self, question: &[u8]) -> Result<i64, Lost> {
        let answers = self.front.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match answers.get(question) {
            Some(answer) => answer.ok_or(Lost("a test that the compiler does not answer")),
            None => {
                self.wanted.insert(question.into());
                Ok(0)
            }
        }
    }

    /// Is a name built in?
    pub fn is_defined(&mut self, name: &[u8]) -> Result<i64, Lost> {
        self.ask(&[b"#ifdef ", name, b"\n1\n#else\n0\n#endif"].concat())
    }
}
