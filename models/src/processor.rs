// SPDX-License-Identifier: Apache-2.0
//! Options by which compilers and their like go by the processor that they run on: `-march=native` of gcc and clang, `-C
//! target-cpu=native` of rustc, `-xHost` of ICC. Names no program: what is taken for one too many only runs once more.
//! What a program asks the processor itself does not show here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// Why what has such an option is not computed elsewhere.
pub const REASON: &str = "the result depends on this machine's CPU";

/// The first of these words that is such an option, the value of one, or a text of a shell's in which one is.
pub fn own<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> Option<&'a OsStr> {
    let mut last = Vec::new();
    words.into_iter().find(|word| {
        let word = word.as_bytes();
        // Nearly all.
        let may_be = [&b"native"[..], b"ost"].iter().any(|part| memchr::memmem::find(word, part).is_some());
        if !may_be {
            last.clear();
            last.extend_from_slice(word);
            return false;
        }
        let plain: Vec<u8> = word.iter().copied().filter(|byte| !b"'\"\\".contains(byte)).collect();
        plain.split(|byte| byte.is_ascii_whitespace() || *byte == b';').any(|word| {
            let before = std::mem::replace(&mut last, word.to_vec());
            is_own(&before, word)
        })
    })
}

/// `before`: the word before it, which may be the option of which this is the value.
fn is_own(before: &[u8], word: &[u8]) -> bool {
    if matches!(word, b"-xHost" | b"/QxHost") {
        return true;
    }
    let (name, value) = match word.iter().rposition(|&byte| byte == b'=') {
        Some(at) => (&word[..at], &word[at + 1..]),
        None if before.first() == Some(&b'-') => (before, word),
        None => return false,
    };
    let name = name.to_ascii_lowercase();
    let ends = value.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"_/.".contains(byte));
    let of_compiler_driver = name.ends_with(b"-tp");
    match &value[..ends.unwrap_or(value.len())] {
        b"host" => of_compiler_driver,
        b"native" => {
            let is_in_name = |what: &str| memchr::memmem::find(&name, what.as_bytes()).is_some();
            of_compiler_driver || ["arch", "cpu", "tune"].into_iter().any(is_in_name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_name_the_processor() {
        for (words, expected) in [
            ("-march=native", true),
            ("exec cc -O2 -mtune=native -c a.c", true),
            ("cc -march=\"native\" -c a.c", true),
            ("cc -march=\\native;true", true),
            ("CFLAGS='-mcpu=native'", true),
            ("-Ctarget-cpu=native", true),
            ("-C|target-cpu=native", true),
            ("-target-cpu|native", true),
            ("swiftc -target-cpu native", true),
            ("--gpu-architecture=native", true),
            ("-mcpu=native+nosve", true),
            ("-tp=host", true),
            ("-tp|native", true),
            ("-xHost", true),
            ("-march=x86-64", false),
            ("-march=nativex", false),
            ("-DARCH=native/lib", false),
            ("--build=native", false),
            ("--host=host", false),
            ("native", false),
            ("-march|a.c|native", false),
            ("cp|arch|native", false),
        ] {
            let own = own(words.split('|').map(OsStr::new)).is_some();
            assert_eq!(own, expected, "{words}");
        }
    }
}
