// SPDX-License-Identifier: Apache-2.0
//! All that a preprocessor could make of some tokens when each macro may have any of its definitions, or none.
//!
//! A macro in the middle of other tokens becomes a *choice*: one token that stands for all its expansions. It is taken
//! apart only where it matters which one it is: beside `##`, under `#`, behind the name of a macro with parameters, and
//! in the end. So what a macro drops again, which is most, multiplies nothing. Expansions that what follows could
//! change (they end in the name of a macro with parameters, or have commas that would divide arguments) are no
//! choice: for each of them, the rest is expanded on its own.
//!
//! That one macro has the same definition in all places of one line is not made use of.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::tokens::{Definition, Item, Kind, Piece, Space, Token, is_one, token, tokens};
use super::{Header, Headers};
use crate::scanner::directives::{Form, NameId, Names, name_id};
use crate::scanner::intern::Fast;

/// Too much work, or something that only the compiler knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beyond;

type Sequence = Vec<Token>;
type Sequences = Rc<[Sequence]>;

/// Tokens looked at for one line.
const STEPS: usize = 1 << 20;
/// Sequences made by one substitution, or of one choice taken apart.
const ALTERNATIVES: usize = 1 << 12;
/// Macros within macros.
const DEPTH: usize = 192;

/// Names that the compiler may define without an underscore in front, as 1.
const GNU: &[&[u8]] = &[
    b"linux", b"unix", b"i386", b"sun", b"sparc", b"mips", b"m68k", b"vax", b"hpux", b"hppa", b"arm", b"PPC",
];

pub(super) struct Expander<'a> {
    names: &'a Names,
    definitions: &'a mut dyn FnMut(NameId) -> Arc<[Arc<Definition>]>,
    known: HashMap<NameId, Arc<[Arc<Definition>]>, Fast>,
    expanded: HashMap<Sequence, Sequences, Fast>,
    choices: Vec<Sequences>,
    choice_ids: HashMap<Sequences, u32, Fast>,
    hidden: Vec<Rc<[NameId]>>,
    hidden_ids: HashMap<Rc<[NameId]>, u32, Fast>,
    steps: usize,
    depth: usize,
}

/// What the head of a sequence can become.
enum Step {
    /// Exactly these tokens, nothing that follows changes them.
    Done(Sequence),
    /// For each of these the rest is another: done tokens, and tokens to expand together with the rest.
    Branch(Vec<(Sequence, Sequence)>),
}

impl<'a> Expander<'a> {
    pub fn new(names: &'a Names, definitions: &'a mut dyn FnMut(NameId) -> Arc<[Arc<Definition>]>) -> Self {
        let none: Rc<[NameId]> = Rc::new([]);
        Self {
            names,
            definitions,
            known: HashMap::default(),
            expanded: HashMap::default(),
            choices: vec![],
            choice_ids: HashMap::default(),
            hidden: vec![none.clone()],
            hidden_ids: HashMap::from_iter([(none, 0)]),
            steps: 0,
            depth: 0,
        }
    }

    /// All header names that a text can amount to.
    pub fn headers(&mut self, text: &[u8]) -> Result<Headers, Beyond> {
        let all = self.expand(&tokens(text, self.names))?;
        let mut headers = Headers::default();
        for sequence in &*all {
            self.header(sequence, &mut headers)?;
        }
        headers.names.sort_by_key(|h| (h.form, self.names.get(h.name)));
        headers.names.dedup();
        Ok(headers)
    }

    fn header(&mut self, sequence: &[Token], headers: &mut Headers) -> Result<(), Beyond> {
        let Some((first, rest)) = sequence.split_first() else { return Ok(()) };
        match first.kind {
            Kind::Choice => {
                for mut all in self.open(*first)? {
                    all.extend_from_slice(rest);
                    self.header(&all, headers)?;
                }
            }
            Kind::Opaque => return Err(Beyond),
            Kind::File => headers.itself = true,
            Kind::Text => {
                let spelling = self.names.get(first.id);
                self.add(Form::Quote, &spelling[1..spelling.len() - 1], headers);
            }
            Kind::Less => {
                for name in self.spellings(rest, Some(Kind::Greater))?.into_iter().flatten() {
                    self.add(Form::Angle, &name, headers);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&self, form: Form, name: &[u8], headers: &mut Headers) {
        if !name.is_empty() && !name.contains(&0) && !name.ends_with(b"/") {
            headers.names.push(Header { form, name: name_id(self.names, name) });
        }
    }

    /// What a sequence can look like when it is written out, up to a token of kind `end` if one is asked for;
    /// `None` for what can be no file's name.
    fn spellings(&mut self, sequence: &[Token], end: Option<Kind>) -> Result<Vec<Option<Vec<u8>>>, Beyond> {
        let mut open: Vec<(Vec<u8>, bool)> = vec![(vec![], false)];
        let mut done = vec![];
        let mut flat = vec![sequence.to_vec()];
        // Choices first: which token ends the name may depend on them.
        while let Some(all) = flat.pop() {
            if let Some(at) = all.iter().position(|t| t.kind == Kind::Choice || Some(t.kind) == end)
                && all[at].kind == Kind::Choice
            {
                for inner in self.open(all[at])? {
                    flat.push([&all[..at], &inner, &all[at + 1..]].concat());
                }
                self.step(flat.len())?;
                continue;
            }
            open.clear();
            open.push((vec![], false));
            let mut ended = end.is_none();
            for (at, t) in all.iter().enumerate() {
                if Some(t.kind) == end {
                    ended = true;
                    break;
                }
                if t.kind == Kind::Opaque || t.kind == Kind::File {
                    return Err(Beyond);
                }
                let spelling = self.names.get(t.id);
                let wide = (at > 0 || end.is_some()) && t.space != Space::No;
                if wide && t.space == Space::Maybe {
                    open.extend_from_within(..);
                }
                let half = open.len() / 2;
                for (n, (name, call)) in open.iter_mut().enumerate() {
                    if wide && (t.space == Space::Yes || n < half) {
                        name.push(b' ');
                    }
                    *call |= t.kind == Kind::Call;
                    for &c in &**spelling {
                        if end.is_none() && matches!(c, b'"' | b'\\') && matches!(spelling[0], b'"' | b'\'' | b'L' | b'u' | b'U' | b'R') {
                            name.push(b'\\');
                        }
                        name.push(c);
                    }
                }
                self.step(open.len())?;
                if open.len() > ALTERNATIVES {
                    return Err(Beyond);
                }
            }
            if ended {
                done.extend(open.drain(..).map(|(name, call)| (!call).then_some(name)));
            }
        }
        done.sort_unstable();
        done.dedup();
        Ok(done)
    }

    fn step(&mut self, count: usize) -> Result<(), Beyond> {
        self.steps += count + 1;
        if self.steps > STEPS { Err(Beyond) } else { Ok(()) }
    }

    fn definitions(&mut self, name: NameId) -> Arc<[Arc<Definition>]> {
        self.known.entry(name).or_insert_with(|| (self.definitions)(name)).clone()
    }

    fn hide(&mut self, set: u32, more: u32) -> u32 {
        if set == more || more == 0 {
            return set;
        }
        let mut union: Vec<_> = [&self.hidden[set as usize][..], &self.hidden[more as usize]].concat();
        union.sort_unstable();
        union.dedup();
        self.hidden_id(union)
    }

    fn hidden_id(&mut self, set: Vec<NameId>) -> u32 {
        let set: Rc<[NameId]> = set.into();
        let Self { hidden, hidden_ids, .. } = self;
        *hidden_ids.entry(set.clone()).or_insert_with(|| {
            hidden.push(set);
            hidden.len() as u32 - 1
        })
    }

    /// The sequences that a choice stands for, as they would stand in its place.
    fn open(&mut self, choice: Token) -> Result<Vec<Sequence>, Beyond> {
        let all = self.choices[choice.id as usize].clone();
        let mut opened = Vec::with_capacity(all.len());
        for inner in &*all {
            self.step(inner.len())?;
            let mut inner = inner.clone();
            self.hide_all(&mut inner, choice.hidden);
            if let Some(first) = inner.first_mut() {
                first.space = first.space.merge(choice.space);
            }
            opened.push(inner);
        }
        Ok(opened)
    }

    fn hide_all(&mut self, sequence: &mut [Token], more: u32) {
        for t in sequence {
            if matches!(t.kind, Kind::Word | Kind::Choice | Kind::Close) {
                t.hidden = self.hide(t.hidden, more);
            }
        }
    }

    /// One token for all these, if nothing that follows can change them and they divide no arguments.
    fn choice(&mut self, all: &[Sequence], space: Space) -> Option<Sequence> {
        if !all.iter().all(|s| self.is_closed(s)) {
            return None;
        }
        let mut flat: Vec<Sequence> = vec![];
        for s in all {
            match &s[..] {
                [t] if t.kind == Kind::Choice && t.hidden == 0 => flat.extend_from_slice(&self.choices[t.id as usize]),
                _ => flat.push(s.clone()),
            }
        }
        for s in &mut flat {
            s[0].space = Space::No;
        }
        flat.sort_unstable();
        flat.dedup();
        if let [only] = &mut flat[..] {
            only[0].space = space;
            return Some(std::mem::take(only));
        }
        let flat: Sequences = flat.into();
        let Self { choices, choice_ids, .. } = self;
        let id = *choice_ids.entry(flat.clone()).or_insert_with(|| {
            choices.push(flat);
            choices.len() as u32 - 1
        });
        Some(vec![Token { kind: Kind::Choice, space, id, hidden: 0 }])
    }

    fn is_closed(&mut self, sequence: &[Token]) -> bool {
        let mut depth = 0;
        for (at, t) in sequence.iter().enumerate() {
            match t.kind {
                Kind::Open => depth += 1,
                Kind::Close if depth == 0 => return false,
                Kind::Close => depth -= 1,
                Kind::Comma if depth == 0 => return false,
                Kind::Word if self.definitions(t.id).iter().any(|d| d.parameters.is_some()) => {
                    if matches!(sequence.get(at + 1).map(|t| t.kind), None | Some(Kind::Open | Kind::Choice)) {
                        return false;
                    }
                }
                _ => {}
            }
        }
        depth == 0 && !sequence.is_empty()
    }

    /// All full expansions of a sequence.
    fn expand(&mut self, input: &[Token]) -> Result<Sequences, Beyond> {
        if let Some(known) = self.expanded.get(input) {
            return Ok(known.clone());
        }
        if self.depth == DEPTH {
            return Err(Beyond);
        }
        self.depth += 1;
        let mut results = HashSet::<Sequence, Fast>::default();
        let mut seen = HashSet::<(Sequence, Sequence), Fast>::default();
        let mut todo = vec![(Vec::with_capacity(input.len()), input.iter().rev().copied().collect::<Sequence>())];
        while let Some((mut out, mut rest)) = todo.pop() {
            self.step(out.len() + rest.len())?;
            loop {
                let Some(t) = rest.pop() else {
                    results.insert(out);
                    break;
                };
                if t.kind != Kind::Word {
                    out.push(t);
                    continue;
                }
                match self.head(t, &mut rest)? {
                    Step::Done(done) => out.extend(done),
                    Step::Branch(branches) => {
                        for (done, again) in branches {
                            let mut rest = rest.clone();
                            if done.is_empty() && again.is_empty() {
                                spread(t.space, rest.last_mut());
                            }
                            rest.extend(again.into_iter().rev());
                            let out = [&out[..], &done].concat();
                            self.step(out.len() + rest.len())?;
                            if seen.insert((out.clone(), rest.clone())) {
                                todo.push((out, rest));
                            }
                        }
                        break;
                    }
                }
            }
        }
        self.depth -= 1;
        let mut results: Vec<_> = results.into_iter().collect();
        results.sort_unstable();
        let results: Sequences = results.into();
        self.expanded.insert(input.to_vec(), results.clone());
        Ok(results)
    }

    /// Expands the identifier that came off `rest`, which is reversed.
    fn head(&mut self, t: Token, rest: &mut Sequence) -> Result<Step, Beyond> {
        let painted = Token { kind: Kind::Painted, ..t };
        if self.hidden[t.hidden as usize].contains(&t.id) {
            return Ok(Step::Done(vec![painted]));
        }
        let definitions = self.definitions(t.id);
        if definitions.is_empty() {
            return self.predefined(t, rest);
        }
        if definitions.iter().any(|d| d.beyond) {
            return Err(Beyond);
        }
        let function = definitions.iter().any(|d| d.parameters.is_some());
        if function && let Some(&choice) = rest.last().filter(|t| t.kind == Kind::Choice) {
            rest.pop();
            let opened = self.open(choice)?.into_iter();
            return Ok(Step::Branch(
                opened.map(|inner| (vec![], [&[t][..], &inner].concat())).collect(),
            ));
        }
        let object = definitions.iter().any(|d| d.parameters.is_none());
        let call = if function { Call::parse(rest) } else { None };
        if !object && call.is_none() {
            return Ok(Step::Done(vec![t]));
        }
        let own = self.hidden_id(vec![t.id]);
        // What its definitions without parameters give.
        let mut plain = vec![];
        if object {
            let hidden = self.hide(t.hidden, own);
            for d in definitions.iter().filter(|d| d.parameters.is_none()) {
                plain.extend(self.substitute(d, &[], hidden)?);
            }
        }
        let Some(call) = call else {
            // A name that is no macro there, or one with parameters that get none.
            return self.finish(t, plain, if function { t } else { painted });
        };
        let hidden: Vec<_> = {
            let (a, b) = (&self.hidden[t.hidden as usize], &self.hidden[call.close.hidden as usize]);
            a.iter().filter(|n| b.contains(n)).copied().collect()
        };
        let hidden = self.hidden_id(hidden);
        let hidden = self.hide(hidden, own);
        let mut calls = vec![];
        for d in definitions.iter() {
            if let Some(arguments) = call.bind(d) {
                calls.extend(self.substitute(d, &arguments, hidden)?);
            }
        }
        let untouched = Token { kind: Kind::Call, hidden: 0, ..t };
        let given = call.take(rest);
        if !object {
            return self.finish(t, calls, untouched);
        }
        // With and without its arguments: each to be followed by its own rest.
        let with = |s: Sequence| (vec![], [&s[..], &given].concat());
        let mut branches: Vec<_> = plain.into_iter().map(with).collect();
        branches.extend(calls.into_iter().map(|s| (vec![], s)));
        branches.push((vec![untouched], vec![]));
        Ok(Step::Branch(branches))
    }

    /// From what may replace a macro, and what stands there if nothing does.
    fn finish(&mut self, t: Token, mut replaced: Vec<Sequence>, untouched: Token) -> Result<Step, Beyond> {
        replaced.sort_unstable();
        replaced.dedup();
        let mut all = vec![vec![untouched]];
        for r in &replaced {
            all.extend_from_slice(&self.expand(r)?);
        }
        if let Some(choice) = self.choice(&all, t.space) {
            return Ok(Step::Done(choice));
        }
        let branches = replaced.into_iter().map(|mut s| {
            if let Some(first) = s.first_mut() {
                first.space = first.space.merge(t.space);
            }
            (vec![], s)
        });
        Ok(Step::Branch(branches.chain([(vec![untouched], vec![])]).collect()))
    }

    /// An identifier without a known definition: perhaps the compiler has one.
    fn predefined(&mut self, t: Token, rest: &mut Sequence) -> Result<Step, Beyond> {
        let spelling = self.names.get(t.id);
        let painted = Token { kind: Kind::Painted, ..t };
        let opaque = Token { kind: Kind::Opaque, hidden: 0, ..t };
        match &**spelling {
            b"__FILE__" => Ok(Step::Done(vec![Token { kind: Kind::File, hidden: 0, ..t }])),
            [b'_', b'_' | b'A'..=b'Z', ..] => match Call::parse(rest) {
                None => {
                    let all = [vec![painted], vec![opaque]];
                    Ok(Step::Done(self.choice(&all, t.space).ok_or(Beyond)?))
                }
                Some(call) => {
                    let given = call.take(rest);
                    Ok(Step::Branch(vec![(vec![painted], given.clone()), (vec![opaque], given), (vec![opaque], vec![])]))
                }
            },
            word if GNU.contains(&word) => {
                let all = [vec![painted], vec![token(b"1", t.space, self.names)]];
                Ok(Step::Done(self.choice(&all, t.space).ok_or(Beyond)?))
            }
            _ => Ok(Step::Done(vec![painted])),
        }
    }

    /// What a definition's body becomes with these arguments.
    fn substitute(&mut self, d: &Definition, arguments: &[Sequence], hidden: u32) -> Result<Vec<Sequence>, Beyond> {
        let mut expanded: Vec<Vec<Sequence>> = vec![];
        for (n, argument) in arguments.iter().enumerate() {
            expanded.push(if uses(&d.body, n, d.variadic && n + 1 == arguments.len()) {
                let all = self.expand(argument)?;
                match self.choice(&all, argument.first().map_or(Space::No, |t| t.space)) {
                    Some(choice) => vec![choice],
                    None => all.to_vec(),
                }
            } else {
                vec![vec![]]
            });
        }
        let mut all = vec![];
        let mut digits = vec![0; expanded.len()];
        if expanded.iter().any(Vec::is_empty) {
            return Ok(all);
        }
        'combinations: loop {
            let chosen: Vec<&Sequence> = expanded.iter().zip(&digits).map(|(e, &n)| &e[n]).collect();
            all.extend(self.build(d, &d.body, arguments, &chosen)?);
            if all.len() > ALTERNATIVES {
                return Err(Beyond);
            }
            for (digit, e) in digits.iter_mut().zip(&expanded) {
                *digit += 1;
                if *digit < e.len() {
                    continue 'combinations;
                }
                *digit = 0;
            }
            break;
        }
        for sequence in &mut all {
            for at in (0..sequence.len()).rev().filter(|&at| sequence[at].kind == Kind::Nothing).collect::<Vec<_>>() {
                let gone = sequence.remove(at);
                spread(gone.space, sequence.get_mut(at));
            }
            self.hide_all(sequence, hidden);
        }
        Ok(all)
    }

    fn build(
        &mut self,
        d: &Definition,
        items: &[Item],
        raw: &[Sequence],
        expanded: &[&Sequence],
    ) -> Result<Vec<Sequence>, Beyond> {
        let nothing = || vec![Token { kind: Kind::Nothing, space: Space::No, id: 0, hidden: 0 }];
        let mut made: Vec<Sequence> = vec![vec![]];
        for (at, item) in items.iter().enumerate() {
            let pasted = item.pasted || items.get(at + 1).is_some_and(|next| next.pasted);
            let last = |n: usize| d.variadic && n + 1 == raw.len();
            let alternatives: Vec<Sequence> = match &item.piece {
                Piece::Token(t) => vec![vec![*t]],
                Piece::Parameter(n) => {
                    let mut tokens = if pasted { raw[*n].clone() } else { expanded[*n].clone() };
                    if let Some(first) = tokens.first_mut() {
                        first.space = first.space.merge(item.space);
                    } else {
                        tokens = nothing();
                        tokens[0].space = item.space;
                    }
                    vec![tokens]
                }
                Piece::String(n) => {
                    let mut all = vec![];
                    match self.spellings(&raw[*n], None) {
                        Ok(spellings) => {
                            for spelling in spellings {
                                let t = match spelling {
                                    Some(s) => Token { kind: Kind::Text, ..token(&[b"\"", &s[..], b"\""].concat(), item.space, self.names) },
                                    None => Token { kind: Kind::Call, ..token(b"", item.space, self.names) },
                                };
                                all.push(vec![t]);
                            }
                        }
                        Err(Beyond) if self.steps > STEPS => return Err(Beyond),
                        Err(Beyond) => all.push(vec![Token { kind: Kind::Opaque, ..token(b"", item.space, self.names) }]),
                    }
                    all
                }
                Piece::Optional(inner) => match expanded.last() {
                    Some(rest) if !rest.is_empty() => self.build(d, inner, raw, expanded)?,
                    _ => vec![nothing()],
                },
            };
            let mut next = vec![];
            for start in &made {
                for more in &alternatives {
                    self.step(start.len() + more.len())?;
                    if !item.pasted {
                        next.push([&start[..], more].concat());
                        continue;
                    }
                    if let (Piece::Parameter(n), Some(comma)) = (&item.piece, start.last())
                        && last(*n)
                        && comma.kind == Kind::Comma
                    {
                        // GNU: no arguments, no comma; but not in all modes if there are some, which are empty.
                        if raw[*n].is_empty() {
                            next.push(start[..start.len() - 1].to_vec());
                            next.push(start.clone());
                        } else {
                            next.push([&start[..], more].concat());
                        }
                        continue;
                    }
                    for start in self.opened(start, true)? {
                        for more in self.opened(more, false)? {
                            next.push(self.paste(&start, &more)?);
                        }
                    }
                }
            }
            if next.len() > ALTERNATIVES {
                return Err(Beyond);
            }
            made = next;
        }
        Ok(made)
    }

    /// A sequence whose last or first token is no choice.
    fn opened(&mut self, sequence: &[Token], last: bool) -> Result<Vec<Sequence>, Beyond> {
        let (mut todo, mut done) = (vec![sequence.to_vec()], vec![]);
        while let Some(s) = todo.pop() {
            let at = if last { s.len().wrapping_sub(1) } else { 0 };
            match s.get(at) {
                Some(&t) if t.kind == Kind::Choice => {
                    for inner in self.open(t)? {
                        todo.push([&s[..at], &inner, &s[at + 1..]].concat());
                    }
                }
                _ => done.push(s),
            }
        }
        Ok(done)
    }

    /// `##` between two sequences.
    fn paste(&mut self, left: &[Token], right: &[Token]) -> Result<Sequence, Beyond> {
        let ((Some(l), before), (Some(r), after)) = (
            (left.last(), &left[..left.len().saturating_sub(1)]),
            (right.first(), right.get(1..).unwrap_or_default()),
        ) else {
            return Ok([left, right].concat());
        };
        if r.kind == Kind::Nothing {
            return Ok([left, after].concat());
        }
        if l.kind == Kind::Nothing {
            let r = Token { space: r.space.merge(l.space), ..*r };
            return Ok([before, &[r], after].concat());
        }
        if [l, r].iter().any(|t| matches!(t.kind, Kind::Opaque | Kind::File)) {
            return Err(Beyond);
        }
        let spelling = [&self.names.get(l.id)[..], self.names.get(r.id)].concat();
        if l.kind == Kind::Call || !is_one(&spelling) {
            // An error, but in assembler texts: there, both stay.
            return Ok([left, right].concat());
        }
        let made = token(&spelling, l.space, self.names);
        if r.kind == Kind::Call {
            // A call of a macro that has the composed name.
            if !self.definitions(made.id).is_empty() {
                return Err(Beyond);
            }
            return Ok([before, &[Token { kind: Kind::Call, ..made }], after].concat());
        }
        Ok([before, &[made], after].concat())
    }
}

/// Something that had this space before it vanished before `next`: some compilers keep the space.
fn spread(space: Space, next: Option<&mut Token>) {
    if let Some(next) = next.filter(|next| space != Space::No && next.space == Space::No) {
        next.space = Space::Maybe;
    }
}

/// Does a body take this argument expanded?
fn uses(items: &[Item], parameter: usize, variadic: bool) -> bool {
    items.iter().enumerate().any(|(at, item)| match &item.piece {
        Piece::Parameter(n) => {
            *n == parameter && !item.pasted && !items.get(at + 1).is_some_and(|next| next.pasted)
        }
        Piece::Optional(inner) => variadic || uses(inner, parameter, variadic),
        Piece::Token(_) | Piece::String(_) => false,
    })
}

/// What stands in parentheses behind a macro's name.
struct Call {
    /// Divided at commas.
    arguments: Vec<Sequence>,
    commas: Vec<Token>,
    close: Token,
    /// Number of its tokens, the parentheses included.
    length: usize,
}

impl Call {
    /// The call that `rest`, which is reversed, begins with.
    fn parse(rest: &[Token]) -> Option<Self> {
        let mut tokens = rest.iter().rev().enumerate();
        tokens.next().filter(|(_, t)| t.kind == Kind::Open)?;
        let (mut arguments, mut commas, mut depth) = (vec![vec![]], vec![], 0);
        for (at, t) in tokens {
            match t.kind {
                Kind::Close if depth == 0 => return Some(Self { arguments, commas, close: *t, length: at + 1 }),
                Kind::Comma if depth == 0 => {
                    commas.push(*t);
                    arguments.push(vec![]);
                    continue;
                }
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                _ => {}
            }
            arguments.last_mut()?.push(*t);
        }
        None
    }

    /// Takes it off a reversed sequence; all its tokens.
    fn take(&self, rest: &mut Sequence) -> Sequence {
        let mut tokens = rest.split_off(rest.len() - self.length);
        tokens.reverse();
        tokens
    }

    /// The arguments by parameter; `None` if their number is wrong.
    fn bind(&self, d: &Definition) -> Option<Vec<Sequence>> {
        let given = &self.arguments;
        let wanted = d.parameters?;
        if wanted == 0 {
            return matches!(&given[..], [only] if only.is_empty()).then(Vec::new);
        }
        if !d.variadic {
            return (given.len() == wanted).then(|| given.clone());
        }
        let fixed = wanted - 1;
        let mut bound = given.get(..fixed)?.to_vec();
        let mut rest = vec![];
        for (n, argument) in given.iter().enumerate().skip(fixed) {
            if n > fixed {
                rest.push(self.commas[n - 1]);
            }
            rest.extend_from_slice(argument);
        }
        bound.push(rest);
        Some(bound)
    }
}
