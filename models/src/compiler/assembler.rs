// SPDX-License-Identifier: Apache-2.0
//! What the driver hands on to the assembler: the words of `-Wa,…` and `-Xassembler`. Words that the tables do not know
//! are declined.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::about;
use crate::Decline;

/// What the words for the assembler say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssemblerWords {
    /// `-I` directories, for `.include` and `.incbin`.
    pub dirs: Vec<PathBuf>,
}

/// Words of the assembler that are whole options.
const AS_FLAGS: &[&str] = &[
    "--32",
    "--64",
    "--alternate",
    "--execstack",
    "--fatal-warnings",
    "--gen-debug",
    "--keep-locals",
    "--no-pad-sections",
    "--no-warn",
    "--noexecstack",
    "--nocompress-debug-sections",
    "--compress-debug-sections",
    "--reduce-memory-overheads",
    "--strip-local-absolute",
    "--traditional-format",
    "--warn",
    "--x32",
    "-D",
    "-EB",
    "-EL",
    "-J",
    "-K",
    "-L",
    "-Q",
    "-R",
    "-W",
    "-Z",
    "-f",
    "-g",
    "-n",
    "-w",
];

/// Words of the assembler that begin so and name no file.
const AS_PREFIXES: &[&str] = &[
    "--compress-debug-sections=",
    "--debug-prefix-map=",
    "--defsym=",
    "--elf-stt-common=",
    "--gdwarf",
    "--generate-missing-build-notes=",
    "--gstabs",
    "--hash-size=",
    "--max-macro-nest",
    "--size-check=",
    "--sectname-subst",
    "-gdwarf",
    "-gstabs",
    "-m",
];

/// Takes the words for the assembler in order.
pub(super) fn assembler_words(words: &[OsString]) -> Result<AssemblerWords, Decline> {
    let mut found = AssemblerWords::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.as_bytes();
        let starts = |prefix: &&str| text.starts_with(prefix.as_bytes());
        if text == b"-I" || text == b"--defsym" || text == b"--debug-prefix-map" {
            let value = words.next().ok_or_else(|| about(word, "for the assembler, without its value"))?;
            if text == b"-I" {
                found.dirs.push(value.into());
            }
        } else if let Some(dir) = text.strip_prefix(b"-I") {
            found.dirs.push(OsStr::from_bytes(dir).into());
        } else if text.starts_with(b"-a") {
            return Err(about(word, "prints an assembler listing"));
        } else if !AS_FLAGS.iter().any(|flag| flag.as_bytes() == text) && !AS_PREFIXES.iter().any(starts) {
            return Err(about(word, "for the assembler"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assembler_words_name_directories() {
        let words = ["-I", "inc", "-Ilib", "--noexecstack", "--defsym", "X=1", "-mrelax-relocations=no"];
        let found = assembler_words(&words.map(OsString::from)).unwrap();
        assert_eq!(found.dirs, ["inc", "lib"].map(PathBuf::from));
        assert!(assembler_words(&["-adhln".into()]).is_err());
        assert!(assembler_words(&["--MD".into()]).is_err());
    }
}
