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
    /// The same, but to a letter it is not believed to be attached: `-entire` may be a long option that is not known.
    ValueApart,
    /// Yes, attached: tools differ on whether the next argument counts.
    Joined,
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

/// Why an option could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is not in the table.
    Unknown,
    /// Its value would be the next argument, and there is none.
    WithoutValue,
}

impl Unread {
    /// The reason, for this argument.
    pub(crate) fn decline(self, arg: &OsStr) -> Decline {
        match self {
            Unread::Unknown => decline!("option {}", arg.to_string_lossy()),
            Unread::WithoutValue => decline!("option {} without its value", arg.to_string_lossy()),
        }
    }
}

/// What an argument says (several items where letters stand together), and how many arguments that took.
type Read<E> = Result<(Vec<Item<E>>, usize), Unread>;

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
        if arg == "--" {
            items.extend(rest[1..].iter().cloned().map(Item::Operand));
            break;
        }
        if !arg.as_bytes().starts_with(b"-") || arg == "-" {
            items.push(Item::Operand(arg.clone()));
            rest = &rest[1..];
            continue;
        }
        let (read, words) = read(rest, &[table], style).map_err(|unread| unread.decline(arg))?;
        items.extend(read);
        rest = &rest[words..];
    }
    Ok(items)
}

/// Reads the first option of `args`, by the first row of any table that fits it.
///
/// # Errors
/// See [`parse`].
pub(super) fn read<E: Copy>(args: &[OsString], tables: &[&[Row<E>]], style: Style) -> Read<E> {
    let arg = args.first().ok_or(Unread::Unknown)?.as_bytes();
    let two_dashes = arg.starts_with(b"--");
    let long_allowed = match style {
        Style::Long => two_dashes,
        Style::LongOnly => true,
        Style::Linker => two_dashes || !(arg.starts_with(b"-o") || arg.starts_with(b"-l")),
    };
    let body = if two_dashes { &arg[2..] } else { arg.get(1..).unwrap_or_default() };
    if long_allowed && let Some(read) = read_long(args, body, tables) {
        return read;
    }
    if two_dashes { Err(Unread::Unknown) } else { read_letters(args, tables, style) }
}

/// `None` where no long option has this name and takes such a value.
fn read_long<E: Copy>(args: &[OsString], body: &[u8], tables: &[&[Row<E>]]) -> Option<Read<E>> {
    let (name, value) = match memchr::memchr(b'=', body) {
        Some(at) => (&body[..at], Some(OsStr::from_bytes(&body[at + 1..]).to_os_string())),
        None => (body, None),
    };
    let fits = |row: &&Row<E>| {
        row.long.iter().any(|long| long.as_bytes() == name)
            && !(row.takes == Takes::Nothing && value.is_some())
    };
    let row = tables.iter().copied().flatten().find(fits)?;
    let (value, words) = match (row.takes, value) {
        (_, Some(value)) => (value, 1),
        (Takes::Nothing | Takes::Attached, None) => (OsString::new(), 1),
        (Takes::Joined, None) => return Some(Err(Unread::Unknown)),
        (Takes::Value | Takes::ValueApart, None) => match args.get(1) {
            Some(next) => (next.clone(), 2),
            None => return Some(Err(Unread::WithoutValue)),
        },
    };
    Some(Ok((vec![Item::Option(row.effect, value)], words)))
}

fn read_letters<E: Copy>(args: &[OsString], tables: &[&[Row<E>]], style: Style) -> Read<E> {
    let mut items = Vec::new();
    let mut letters = args[0].as_bytes().get(1..).unwrap_or_default();
    while let Some((letter, rest)) = letters.split_first() {
        let mut rows = tables.iter().copied().flatten();
        let row = rows.find(|row| row.short.as_bytes().contains(letter)).ok_or(Unread::Unknown)?;
        match row.takes {
            Takes::Nothing if style == Style::Linker && !rest.is_empty() => return Err(Unread::Unknown),
            Takes::Nothing => {
                items.push(Item::Option(row.effect, OsString::new()));
                letters = rest;
            }
            Takes::Value | Takes::ValueApart if rest.is_empty() => {
                let value = args.get(1).ok_or(Unread::WithoutValue)?;
                items.push(Item::Option(row.effect, value.clone()));
                return Ok((items, 2));
            }
            Takes::ValueApart => return Err(Unread::Unknown),
            Takes::Joined if rest.is_empty() => return Err(Unread::Unknown),
            Takes::Value | Takes::Attached | Takes::Joined => {
                items.push(Item::Option(row.effect, OsStr::from_bytes(rest).to_os_string()));
                break;
            }
        }
    }
    Ok((items, 1))
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
