// SPDX-License-Identifier: Apache-2.0
//! Response files: `@FILE` in a command line stands for the words in FILE, by the quoting rules that libiberty (gcc and
//! binutils) and LLVM share. Knows no file system: the caller reads.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::Decline;

/// Files that include each other without end are cut off here; libiberty stops at 2,000.
const MOST_FILES: usize = 2000;
/// A command line longer than this is not taken apart: no tool would accept its words either.
const MOST_WORDS: usize = 4_000_000;

/// Splits the text of a response file into words. A backslash takes the next byte literally, within quotes too;
/// single and double quotes group; an unclosed quote ends with the text.
fn words(text: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => word.get_or_insert_default().extend(bytes.next()),
            (_, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(byte),
            (b'\'' | b'"', None) => {
                word.get_or_insert_default();
                quote = Some(byte);
            }
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, None) => {
                words.extend(word.take().map(OsString::from_vec))
            }
            (_, None) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    words
}

/// What a response file says; `None` where there is no such file.
pub(crate) type Text = Result<Option<Vec<u8>>, Decline>;

/// Replaces each `@FILE` by the words of the file, nested ones too, and lists the files. Where there is no such file the
/// argument stays as it is, as in the tools.
///
/// # Errors
/// What `read` gives, and response files without end.
pub(crate) fn expand(
    args: &[OsString],
    read: &mut dyn FnMut(&Path) -> Text,
) -> Result<(Vec<OsString>, Vec<PathBuf>), Decline> {
    let mut files = Vec::new();
    let mut out = Vec::with_capacity(args.len());
    let mut todo: Vec<OsString> = args.iter().rev().cloned().collect();
    while let Some(arg) = todo.pop() {
        let Some(name) = arg.as_bytes().strip_prefix(b"@").filter(|name| !name.is_empty()) else {
            out.push(arg);
            continue;
        };
        let path = Path::new(OsStr::from_bytes(name));
        let Some(text) = read(path)? else {
            out.push(arg);
            continue;
        };
        if files.len() == MOST_FILES || todo.len() > MOST_WORDS {
            return Err(Decline("response files without end".into()));
        }
        files.push(path.to_owned());
        todo.extend(words(&text).into_iter().rev());
    }
    Ok((out, files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<String> {
        words(text.as_bytes()).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn quoting_is_that_of_libiberty() {
        assert_eq!(split("a b\n\tc"), ["a", "b", "c"]);
        assert_eq!(split(r#"-DX="\"v\"" 'a b' c\ d"#), [r#"-DX="v""#, "a b", "c d"]);
        assert_eq!(split(r"'it\'s' x"), ["it's", "x"]);
        assert_eq!(split(r#""" ''"#), ["", ""]);
        assert_eq!(split("\"open end"), ["open end"]);
        assert_eq!(split("  \n"), [""; 0]);
        assert_eq!(split("tail\\"), ["tail"]);
    }

    #[test]
    fn files_nest_and_may_be_missing() {
        let mut read = |path: &Path| match path.to_str() {
            Some("a") => Ok(Some(b"1 @b 4".to_vec())),
            Some("b") => Ok(Some(b"2 '3 3' @none".to_vec())),
            _ => Ok(None),
        };
        let args = ["gcc", "@a", "@none", "@"].map(OsString::from);
        let (words, files) = expand(&args, &mut read).unwrap();
        assert_eq!(words, ["gcc", "1", "2", "3 3", "@none", "4", "@none", "@"]);
        assert_eq!(files, [Path::new("a"), Path::new("b")]);
    }

    #[test]
    fn a_file_that_names_itself_is_refused() {
        let mut read = |_: &Path| Ok(Some(b"@a @a".to_vec()));
        assert!(expand(&["@a".into()], &mut read).is_err());
    }

    #[test]
    fn a_file_that_may_not_be_read_is_told() {
        let mut read = |_: &Path| Err(Decline("is a device".into()));
        assert_eq!(expand(&["@a".into()], &mut read), Err(Decline("is a device".into())));
        assert!(expand(&["a".into()], &mut read).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_split(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = words(&text);
        }

        #[test]
        fn quoted_words_come_back(input in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..8)) {
            let mut text = Vec::new();
            for word in &input {
                text.push(b'"');
                for &byte in word {
                    if byte == b'"' || byte == b'\\' {
                        text.push(b'\\');
                    }
                    text.push(byte);
                }
                text.extend(b"\" ");
            }
            let got: Vec<Vec<u8>> = words(&text).into_iter().map(OsString::into_vec).collect();
            prop_assert_eq!(got, input);
        }
    }
}
