// SPDX-License-Identifier: Apache-2.0
//! Hard links that a command made: which names are of one file when it has ended. Knows only the names that it linked or renamed
//! since, and nothing of a file that got both names without a path (`O_TMPFILE`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of files that have been linked, by their real paths; each with the number of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Linked {
    names: BTreeMap<PathBuf, u32>,
    files: u32,
}

impl Linked {
    /// What stands at `from` stands at `to`, too.
    pub(crate) fn link(&mut self, from: &Path, to: &Path) {
        let file = *self.names.entry(from.to_path_buf()).or_insert_with(|| {
            self.files += 1;
            self.files
        });
        self.names.insert(to.to_path_buf(), file);
    }

    /// What stood at `from` stands at `to`. Of two names of one file neither goes then.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) {
        let file = self.names.get(from).copied();
        if file.is_some() && file == self.names.get(to).copied() {
            return;
        }
        self.names.remove(from);
        match file {
            Some(file) => drop(self.names.insert(to.to_path_buf(), file)),
            None => self.remove(to),
        }
    }

    /// Nothing of what stood there stands there any more.
    pub(crate) fn remove(&mut self, path: &Path) {
        self.names.remove(path);
    }

    /// Two names that are of one file. A descriptor is none that stays.
    pub(crate) fn shared(&self) -> Option<[&Path; 2]> {
        let mut first = BTreeMap::new();
        self.names
            .iter()
            .filter(|(path, _)| !path.starts_with("/proc"))
            .find_map(|(path, file)| first.insert(file, &**path).map(|first| [first, &**path]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_followed_to_their_files() {
        for (steps, expected) in [
            ("ln t a", Some(["/a", "/t"])),
            ("ln t a; rm t", None),
            ("ln t a; ln t x; mv x b; rm t", Some(["/a", "/b"])),
            ("ln t a; ln u b; rm t; rm u", None),
            ("ln t a; ln t b; rm t; ln u c; mv c d; rm u", Some(["/a", "/b"])),
            ("ln t a; mv t a", Some(["/a", "/t"])),
            ("ln t a; mv u t", None),
            ("ln t a; mv t b; rm a", None),
            ("ln proc/self/fd/3 a", None),
            ("ln proc/self/fd/3 a; ln proc/self/fd/3 b", Some(["/a", "/b"])),
        ] {
            let mut linked = Linked::default();
            for step in steps.split("; ") {
                let words: Vec<PathBuf> = step.split(' ').map(|word| Path::new("/").join(word)).collect();
                match (step.split(' ').next(), &words[1..]) {
                    (Some("ln"), [from, to]) => linked.link(from, to),
                    (Some("mv"), [from, to]) => linked.rename(from, to),
                    (_, all) => linked.remove(&all[0]),
                }
            }
            assert_eq!(linked.shared(), expected.map(|names| names.map(Path::new)), "{steps}");
        }
    }
}
