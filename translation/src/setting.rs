// SPDX-License-Identifier: Apache-2.0
//! What the library in a process is told, as the value of one environment variable.

/// The variable. The library takes it out of the program's environment, and puts it back for what the program executes.
pub const VARIABLE: &str = "GG_TRANSLATION";

/// Between the fields: no path that gg makes has it.
const SEPARATOR: u8 = 1;

/// The fields of [`VARIABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// The root: an absolute path without symbolic links.
    pub root: &'a [u8],
    /// The library's own file.
    pub library: &'a [u8],
    /// Where loaders look for libraries at last: paths outside, separated by colons.
    pub directories: &'a [u8],
    /// The program that runs: its path inside, without symbolic links.
    pub program: &'a [u8],
}

impl<'a> Setting<'a> {
    /// Reads a value.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut fields = value.splitn(4, |&byte| byte == SEPARATOR);
        let mut next = || fields.next();
        let setting = Self { root: next()?, library: next()?, directories: next()?, program: next()? };
        (setting.root.starts_with(b"/") && setting.program.starts_with(b"/")).then_some(setting)
    }

    /// Writes `NAME=value`, piece by piece.
    pub fn write(&self, mut push: impl FnMut(&[u8])) {
        push(VARIABLE.as_bytes());
        push(b"=");
        for field in [self.root, self.library, self.directories] {
            push(field);
            push(&[SEPARATOR]);
        }
        push(self.program);
    }

    /// How many bytes [`Self::write`] writes.
    #[must_use]
    pub fn size(&self) -> usize {
        let mut size = 0;
        self.write(|piece| size += piece.len());
        size
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let setting = Setting { root: b"/t/a", library: b"/l.so", directories: b"/a:/b", program: b"/bin/x" };
        let mut text = Vec::new();
        setting.write(|piece| text.extend_from_slice(piece));
        assert_eq!(text.len(), setting.size());
        let value = text.strip_prefix(b"GG_TRANSLATION=").unwrap();
        assert_eq!(Setting::parse(value), Some(setting));
        assert_eq!(Setting::parse(b"nonsense"), None);
    }
}
