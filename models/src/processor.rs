// SPDX-License-Identifier: Apache-2.0
//! Options by which compilers and their like go by the processor that they run on: `-march=native` of gcc and clang, `-C
//! target-cpu=native` of rustc, `-xHost` of ICC. Names no program: what is taken for one too many only runs once more.
//! What a program asks the processor itself does not show here.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::{Decline, response};

/// Why what has such an option is not computed elsewhere.
pub(crate) const REASON: &str = "goes by this machine's processor";

/// Does a command with these words go by the processor, or with those in the response files that they name? `read` says what is in
/// one, or that there is none. One that cannot be read may hold anything.
pub fn decides(argv: &[OsString], read: &mut dyn FnMut(&Path) -> io::Result<Option<Vec<u8>>>) -> bool {
    if !argv.iter().any(|word| word.as_bytes().starts_with(b"@")) {
        return is_named(argv);
    }
    let mut read = |path: &Path| read(path).map_err(|error| Decline(error.to_string()));
    response::expand(argv, &mut read).map_or(true, |(words, _)| is_named(&words))
}

/// Is one of these words such an option, the value of one, or a text of a shell's in which one is?
pub(crate) fn is_named(words: &[OsString]) -> bool {
    static PARTS: LazyLock<[Finder<'_>; 3]> = LazyLock::new(|| ["native", "ost", "OST"].map(Finder::new));
    let mut last = Vec::new();
    words.iter().any(|word| {
        let word = word.as_bytes();
        // Nearly all.
        if !PARTS.iter().any(|part| part.find(word).is_some()) {
            last.clear();
            last.extend_from_slice(word);
            return false;
        }
        let plain: Vec<u8> = word.iter().copied().filter(|byte| !b"'\"\\".contains(byte)).collect();
        // gcc's `-Wa,…` and nvcc's `-Xcompiler=…,…` give several.
        plain.split(|byte| byte.is_ascii_whitespace() || b";,".contains(byte)).any(|word| {
            let before = std::mem::replace(&mut last, word.to_vec());
            match of_macro(&before, word) {
                Some(value) => is_own(&[], value),
                None => is_own(&before, word),
            }
        })
    })
}

/// What the word defines a macro of C as, if it does: `-DTARGET_CPU=native` is none of these options, `-DFLAGS=-march=native` may be given
/// on. Options of other programs, as zig's `-Dcpu=native`, are no macros by their looks.
fn of_macro<'a>(before: &[u8], word: &'a [u8]) -> Option<&'a [u8]> {
    let defined = word.strip_prefix(b"-D").or_else(|| Some(word).filter(|_| before == b"-D"))?;
    let equals = defined.iter().position(|&byte| byte == b'=')?;
    let is_macro = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    defined[..equals].iter().all(is_macro).then(|| &defined[equals + 1..])
}

/// `before`: the word before it, which may be the option of which this is the value.
fn is_own(before: &[u8], word: &[u8]) -> bool {
    if [&b"-xHost"[..], b"/QxHost"].iter().any(|own| word.eq_ignore_ascii_case(own)) {
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
            let of_sun = [&b"-xtarget"[..], b"-target"].contains(&&name[..]);
            of_compiler_driver || of_sun || ["arch", "cpu", "tune"].into_iter().any(is_in_name)
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
            ("-xtarget=native", true),
            ("-Wa,-mtune=native", true),
            ("-Xcompiler=-march=native,-std=c++17", true),
            ("-DFLAGS=-march=native", true),
            ("zig build -Dcpu=native", true),
            ("ifort -xHOST -c a.f", true),
            ("-march=x86-64", false),
            ("-march=nativex", false),
            ("-DARCH=native/lib", false),
            ("-DTARGET_CPU=native", false),
            ("-DHOST_ARCH=\\\"native\\\"", false),
            ("-D|TARGET_CPU=native", false),
            ("--build=native", false),
            ("--host=host", false),
            ("native", false),
            ("-march|a.c|native", false),
            ("cp|arch|native", false),
        ] {
            let split: Vec<_> = words.split('|').map(OsString::from).collect();
            assert_eq!(is_named(&split), expected, "{words}");
        }
    }

    #[test]
    fn response_files_are_looked_into_and_what_cannot_be_read_may_hold_anything() {
        let mut read = |path: &Path| match path.to_str() {
            Some("plain") => Ok(Some(b"-O2 -march=x86-64".to_vec())),
            Some("own") => Ok(Some(b"-O2\n-march=native\n".to_vec())),
            Some("more") => Ok(Some(b"-O2 @own".to_vec())),
            Some("locked") => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(None),
        };
        for (words, expected) in [
            ("cc @plain", false),
            ("cc @none", false),
            ("cc @", false),
            ("cc @own", true),
            ("cc -save-temps @more", true),
            ("cc @locked", true),
            ("rustc -C target-cpu=native @plain", true),
        ] {
            let argv: Vec<_> = words.split(' ').map(OsString::from).collect();
            assert_eq!(decides(&argv, &mut read), expected, "{words}");
        }
    }
}
