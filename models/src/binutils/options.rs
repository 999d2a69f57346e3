// SPDX-License-Identifier: Apache-2.0
//! Takes a command line apart by a table of options, as `getopt_long` and `getopt_long_only` do. Pure.
//!
//! Abbreviated long options (`--strip-d`) are not understood, though getopt takes them: which option an abbreviation means
//! depends on the version of the tool.

use super::draft::decline;
use crate::Decline;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Does an option take a value?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// No.
    Nothing,
    /// Yes: attached, or the next argument.
    Value,
    /// Only if it is attached: `--build-id=none`, `-O2`.
    Attached,
}

/// One option under all its names; `E` is what it means to the model.
pub(super) struct Row<E: 'static> {
    /// Names of more than one letter, without dashes.
    pub long: &'static [&'static str],
    /// Names of one letter.
    pub short: &'static str,
    /// Its value.
    pub takes: Takes,
    /// Its meaning.
    pub effect: E,
}

/// How a tool reads its options.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `getopt_long`: long options have two dashes; letters can stand together behind one.
    Long,
    /// `getopt_long_only`: long options have one dash or two, and go before letters.
    LongOnly,
    /// GNU ld's and gold's: the same, but one dash and `o` is always the output; and letters do not stand together.
    Linker,
}

/// One piece of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<E> {
    /// An option of the table, with its value.
    Option(E, OsString),
    /// Anything else: the name of a file.
    Operand(OsString),
}

/// One option was read from the beginning of `args`.
struct Read<E> {
    items: Vec<Item<E>>,
    /// How many arguments it took.
    words: usize,
}

/// Takes `args` (without `argv[0]`) apart.
///
/// # Errors
/// An option that is not in the table, or whose value is missing.
pub(super) fn parse<E: Copy>(
    args: &[OsString],
    table: &[Row<E>],
    style: Style,
) -> Result<Vec<Item<E>>, Decline> {
    let mut items = Vec::with_capacity(args.len());
    let mut rest = args;
    while let Some(arg) = rest.first() {
        if arg == "--" && style != Style::Linker {
            items.extend(rest[1..].iter().cloned().map(Item::Operand));
            break;
        }
        if !arg.as_bytes().starts_with(b"-") || arg == "-" {
            items.push(Item::Operand(arg.clone()));
            rest = &rest[1..];
            continue;
        }
        let read = read_option(rest, table, style)?;
        items.extend(read.items);
        rest = &rest[read.words..];
    }
    Ok(items)
}

/// Reads the first option of `args`, alone.
///
/// # Errors
/// See [`parse`].
pub(super) fn parse_one<E: Copy>(
    args: &[OsString],
    table: &[Row<E>],
    style: Style,
) -> Result<(Vec<Item<E>>, usize), Decline> {
    let read = read_option(args, table, style)?;
    Ok((read.items, read.words))
}

fn read_option<E: Copy>(args: &[OsString], table: &[Row<E>], style: Style) -> Result<Read<E>, Decline> {
    let arg = args[0].as_bytes();
    let unknown = || Err(decline!("option {}", args[0].to_string_lossy()));
    let two_dashes = arg.starts_with(b"--");
    let long_allowed = match style {
        Style::Long => two_dashes,
        Style::LongOnly => true,
        Style::Linker => two_dashes || !arg.starts_with(b"-o"),
    };
    if long_allowed
        && let Some(read) = read_long(args, if two_dashes { &arg[2..] } else { &arg[1..] }, table)?
    {
        return Ok(read);
    }
    if two_dashes { unknown() } else { read_letters(args, table, style).unwrap_or_else(unknown) }
}

fn read_long<E: Copy>(args: &[OsString], body: &[u8], table: &[Row<E>]) -> Result<Option<Read<E>>, Decline> {
    let (name, value) = match memchr::memchr(b'=', body) {
        Some(at) => (&body[..at], Some(OsStr::from_bytes(&body[at + 1..]).to_os_string())),
        None => (body, None),
    };
    let Some(row) = table.iter().find(|row| row.long.iter().any(|long| long.as_bytes() == name)) else {
        return Ok(None);
    };
    let (value, words) = match (row.takes, value) {
        (Takes::Nothing, Some(_)) => return Ok(None),
        (Takes::Nothing | Takes::Attached, None) => (OsString::new(), 1),
        (_, Some(value)) => (value, 1),
        (Takes::Value, None) => match args.get(1) {
            Some(next) => (next.clone(), 2),
            None => return Err(decline!("option {} without its value", args[0].to_string_lossy())),
        },
    };
    Ok(Some(Read { items: vec![Item::Option(row.effect, value)], words }))
}

/// `None` where a letter is unknown.
fn read_letters<E: Copy>(
    args: &[OsString],
    table: &[Row<E>],
    style: Style,
) -> Option<Result<Read<E>, Decline>> {
    let mut items = Vec::new();
    let mut letters = &args[0].as_bytes()[1..];
    while let Some((letter, rest)) = letters.split_first() {
        let row = table.iter().find(|row| row.short.as_bytes().contains(letter))?;
        match row.takes {
            Takes::Nothing if style == Style::Linker && !rest.is_empty() => return None,
            Takes::Nothing => {
                items.push(Item::Option(row.effect, OsString::new()));
                letters = rest;
            }
            Takes::Value if rest.is_empty() => {
                let Some(value) = args.get(1) else {
                    return Some(Err(decline!("option {} without its value", args[0].to_string_lossy())));
                };
                items.push(Item::Option(row.effect, value.clone()));
                return Some(Ok(Read { items, words: 2 }));
            }
            Takes::Value | Takes::Attached => {
                items.push(Item::Option(row.effect, OsStr::from_bytes(rest).to_os_string()));
                break;
            }
        }
    }
    Some(Ok(Read { items, words: 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Meaning {
        Strip,
        Keep,
        Output,
        Id,
    }

    const TABLE: &[Row<Meaning>] = &[
        Row { long: &["strip-all"], short: "s", takes: Takes::Nothing, effect: Meaning::Strip },
        Row { long: &["keep"], short: "K", takes: Takes::Value, effect: Meaning::Keep },
        Row { long: &["output"], short: "o", takes: Takes::Value, effect: Meaning::Output },
        Row { long: &["id"], short: "O", takes: Takes::Attached, effect: Meaning::Id },
    ];

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn shown(line: &str, style: Style) -> Result<String, String> {
        let items = parse(&words(line), TABLE, style).map_err(|e| e.0)?;
        let show = |item: &Item<Meaning>| match item {
            Item::Option(meaning, value) => format!("{meaning:?}={}", value.to_string_lossy()),
            Item::Operand(name) => name.to_string_lossy().into_owned(),
        };
        Ok(items.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn values_attach_in_all_ways() {
        assert_eq!(
            shown("--keep=a --keep b -Kc -K d -sKe --id --id=f -O -O2 x", Style::Long).unwrap(),
            "Keep=a Keep=b Keep=c Keep=d Strip= Keep=e Id= Id=f Id= Id=2 x"
        );
        assert_eq!(shown("-s -- -s", Style::Long).unwrap(), "Strip= -s");
        assert_eq!(shown("-", Style::Long).unwrap(), "-");
    }

    #[test]
    fn the_linker_takes_one_dash_for_two() {
        assert_eq!(
            shown("-keep a -strip-all -output -o b", Style::Linker).unwrap(),
            "Keep=a Strip= Output=utput Output=b"
        );
        assert_eq!(shown("-ss", Style::Linker).unwrap_err(), "option -ss");
    }

    #[test]
    fn what_is_not_in_the_table_is_told() {
        assert_eq!(shown("--strip-a", Style::Long).unwrap_err(), "option --strip-a");
        assert_eq!(shown("--strip-all=x", Style::Long).unwrap_err(), "option --strip-all=x");
        assert_eq!(shown("-sq", Style::Long).unwrap_err(), "option -sq");
        assert_eq!(shown("-K", Style::Long).unwrap_err(), "option -K without its value");
        assert_eq!(shown("--keep", Style::LongOnly).unwrap_err(), "option --keep without its value");
    }

    proptest! {
        #[test]
        fn any_words_are_taken_apart(words in prop::collection::vec("-{0,2}[a-zA-Z=-]{0,8}", 0..8)) {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            for style in [Style::Long, Style::LongOnly, Style::Linker] {
                let _ = parse(&words, TABLE, style);
            }
        }
    }
}
