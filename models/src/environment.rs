// SPDX-License-Identifier: Apache-2.0
//! The variables of a command, all in one piece of memory: a build has some dozens, and hands them to each of its commands. Knows
//! nothing of what they mean.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

/// Variables in their order; names may come twice.
#[derive(Clone, Default)]
pub struct Environment {
    text: Vec<u8>,
    /// Of each variable, where in the text it begins, how long its name is, and where it ends.
    variables: Vec<(usize, usize, usize)>,
}

impl Environment {
    /// The variables `NAME=VALUE` that are at these places of a text, which may hold anything else. One without `=` has no value; a
    /// place outside of the text holds nothing.
    #[must_use]
    pub fn in_text(text: Vec<u8>, places: impl Iterator<Item = Range<usize>>) -> Self {
        let at = |place: Range<usize>| {
            let variable = text.get(place.clone()).unwrap_or_default();
            let name = memchr::memchr(b'=', variable).unwrap_or(variable.len());
            (place.start, name, place.start + variable.len())
        };
        Self { variables: places.map(at).collect(), text }
    }

    /// Adds one at the end.
    pub fn push(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let (name, value) = (name.as_ref().as_bytes(), value.as_ref().as_bytes());
        let start = self.text.len();
        self.text.extend_from_slice(name);
        self.text.push(b'=');
        self.text.extend_from_slice(value);
        self.variables.push((start, name.len(), self.text.len()));
    }

    /// Gives a variable this value, wherever it had another one.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let name = name.as_ref();
        let same = |&(start, length, _): &(usize, usize, usize)| {
            self.text.get(start..start + length) == Some(name.as_bytes())
        };
        let place = self.variables.iter().position(same);
        self.push(name, value);
        if let Some(place) = place
            && let Some(new) = self.variables.pop()
        {
            self.variables[place] = new;
        }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|&(start, name, end)| {
            let variable = self.text.get(start..end).unwrap_or_default();
            let value = variable.get(name + 1..).unwrap_or_default();
            (OsStr::from_bytes(&variable[..name.min(variable.len())]), OsStr::from_bytes(value))
        })
    }

    /// The value of a variable; the first one counts, as in `getenv`.
    #[must_use]
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        let name = name.as_ref();
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Those of some names, to be kept elsewhere.
    pub fn of(&self, matters: impl Fn(&OsStr) -> bool) -> Vec<(OsString, OsString)> {
        let kept = self.iter().filter(|(name, _)| matters(name));
        kept.map(|(name, value)| (name.to_os_string(), value.to_os_string())).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.variables.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }
}

impl<N: AsRef<OsStr>, V: AsRef<OsStr>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let mut environment = Self::default();
        variables.into_iter().for_each(|(name, value)| environment.push(name, value));
        environment
    }
}

/// The same variables, wherever in a text they are.
impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Environment {}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_wherever_they_are() {
        let text = b"/bin/cc\0A=1\0B==x\0C\0A=2\0D=".to_vec();
        let found = Environment::in_text(text, [8..11, 12..16, 17..18, 19..22, 23..25, 90..95].into_iter());
        let pairs = [("A", "1"), ("B", "=x"), ("C", ""), ("A", "2"), ("D", ""), ("", "")];
        assert!(found.iter().eq(pairs.map(|(name, value)| (OsStr::new(name), OsStr::new(value)))));
        assert_eq!((found.get("A"), found.get("E")), (Some(OsStr::new("1")), None));
        assert_eq!(found, pairs.into_iter().collect());
        assert_eq!(found.of(|name| name == "B"), [("B".into(), "=x".into())]);
        let mut more = found.clone();
        more.push("E", "5");
        assert!(more != found && more.len() == found.len() + 1);
        assert_eq!(more.get("E"), Some(OsStr::new("5")));
        more.set("A", "6");
        more.set("F", "7");
        let pairs =
            [("A", "6"), ("B", "=x"), ("C", ""), ("A", "2"), ("D", ""), ("", ""), ("E", "5"), ("F", "7")];
        assert_eq!(more, pairs.into_iter().collect());
    }
}
