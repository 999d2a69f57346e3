// SPDX-License-Identifier: Apache-2.0
//! Whether how old a file was shows in what a command made of it: `gzip -c` writes it down, and so does who compiles Python. It may
//! have been asked for by a descriptor, which nobody sees. Looks for seconds as they are written mostly: four bytes in either
//! order, decimal, octal, and dates with times of day, in UTC where no other zone is named. Knows nothing of formats.

use std::fs::File;
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use foldhash::HashMap;

/// No more of a file is looked through: where times are written at all, there is one near the beginning.
const MOST: u64 = 1 << 20;
/// Fewer seconds are too common a number.
const LEAST: u32 = 100_000_000;

/// Those of these files, given with their times in nanoseconds, whose times show in one of those outputs.
pub fn in_outputs<'a>(
    inputs: impl Iterator<Item = (&'a Path, i64)>,
    outputs: impl Iterator<Item = &'a Path>,
) -> Vec<PathBuf> {
    let mut looked_for: HashMap<u32, Vec<&Path>> = HashMap::default();
    for (path, time) in inputs {
        if let Ok(seconds) = u32::try_from(time / 1_000_000_000)
            && seconds >= LEAST
        {
            looked_for.entry(seconds).or_default().push(path);
        }
    }
    // Nearly all numbers in a file are no times.
    let seconds = looked_for.keys();
    let Some((least, most)) = seconds.clone().min().copied().zip(seconds.max().copied()) else {
        return Vec::new();
    };
    let range = least..=most;
    let mut shown = Vec::new();
    for output in outputs {
        let mut content = Vec::new();
        // What is gone by now shows nothing to anybody.
        let read = File::open(output).and_then(|file| file.take(MOST).read_to_end(&mut content));
        if read.is_ok() {
            numbers(&content, &range, |number| {
                let paths = looked_for.remove(&number).unwrap_or_default();
                shown.extend(paths.into_iter().map(Path::to_path_buf));
            });
        }
    }
    shown.sort();
    shown
}

/// The numbers of this range that a text or a binary file may be taken to hold.
fn numbers(content: &[u8], range: &RangeInclusive<u32>, mut found: impl FnMut(u32)) {
    let mut found = |number: u32| {
        if range.contains(&number) {
            found(number);
        }
    };
    // Most bytes are not the first one of such a number.
    let first = (range.start() >> 24) as u8..=(range.end() >> 24) as u8;
    for (at, _) in content.iter().enumerate().filter(|(_, byte)| first.contains(byte)) {
        if let Some(bytes) = content.get(at..).and_then(|rest| rest.first_chunk()) {
            found(u32::from_be_bytes(*bytes));
        }
        if let Some(bytes) = content.get(..=at).and_then(|before| before.last_chunk()) {
            found(u32::from_le_bytes(*bytes));
        }
    }
    for digits in digits(content) {
        for radix in [8, 10] {
            let text = std::str::from_utf8(digits).unwrap_or_default();
            u32::from_str_radix(text, radix).into_iter().for_each(&mut found);
        }
        joined_date(digits).into_iter().for_each(&mut found);
    }
    dates(content).for_each(&mut found);
}

/// `20200101000000`.
fn joined_date(digits: &[u8]) -> Option<u32> {
    let digits = digits.first_chunk::<14>().filter(|all| all.len() == digits.len())?;
    let part = |at: usize, length: usize| number(&digits[at..at + length]);
    seconds([part(0, 4)?, part(4, 2)?, part(6, 2)?, part(8, 2)?, part(10, 2)?, part(12, 2)?], 0)
}

/// `2020-01-01 00:00:00`, and with fractions and zones: `2020-01-01T01:00:00.5+01:00`.
fn dates(content: &[u8]) -> impl Iterator<Item = u32> {
    const COLON: usize = b"2020-01-01 00".len();
    memchr::memchr_iter(b':', content).filter_map(|colon| {
        let (date, rest) = content.get(colon.checked_sub(COLON)?..)?.split_first_chunk::<19>()?;
        let [.., b'-', _, _, b'-', _, _, b' ' | b'T', _, _, b':', _, _, b':', _, _] = date else {
            return None;
        };
        let part = |at: usize, length: usize| number(&date[at..at + length]);
        let parts = [part(0, 4)?, part(5, 2)?, part(8, 2)?, part(11, 2)?, part(14, 2)?, part(17, 2)?];
        seconds(parts, zone(rest).unwrap_or_default())
    })
}

/// How many seconds a zone, of which this is told behind a time, is before UTC.
fn zone(text: &[u8]) -> Option<i64> {
    let text =
        text.iter().position(|byte| !matches!(byte, b'.' | b',' | b'0'..=b'9')).map(|end| &text[end..])?;
    let (sign, text) = match text.strip_prefix(b" ").unwrap_or(text) {
        [b'+', text @ ..] => (1, text),
        [b'-', text @ ..] => (-1, text),
        _ => return None,
    };
    let (hours, rest) = text.split_first_chunk::<2>()?;
    let minutes = rest.strip_prefix(b":").unwrap_or(rest).first_chunk::<2>()?;
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

fn number(digits: &[u8]) -> Option<i64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    digits.iter().try_fold(0, |number, byte| Some(number * 10 + digit(byte)?))
}

/// Since 1970, in UTC.
fn seconds([year, month, day, hour, minute, second]: [i64; 6], zone: i64) -> Option<u32> {
    if !(1..=12).contains(&month) {
        return None;
    }
    // Years begin in March, so that the day by which some are longer is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    u32::try_from(days * 86_400 + hour * 3600 + minute * 60 + second - zone).ok()
}

/// Digits that stand together, as many as seconds have, or a date.
fn digits(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    const FEWEST: usize = 9;
    const MOST: usize = 14;
    // So many cannot stand together without being met on the way.
    let mut at = FEWEST - 1;
    std::iter::from_fn(move || {
        while let Some(byte) = content.get(at) {
            if !byte.is_ascii_digit() {
                at += FEWEST;
                continue;
            }
            let is_other = |byte: &u8| !byte.is_ascii_digit();
            let begin = content[..at].iter().rposition(is_other).map_or(0, |before| before + 1);
            let end = content[at..].iter().position(is_other).map_or(content.len(), |length| at + length);
            at = end + FEWEST;
            if (FEWEST..=MOST).contains(&(end - begin)) {
                return content.get(begin..end);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_found_in_each_way_in_which_they_are_written_and_others_are_not() {
        const TIME: u32 = 1_577_836_800;
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        let shown = |content: &[u8]| {
            std::fs::write(&output, content).unwrap();
            let inputs = [("/in", i64::from(TIME)), ("/other", i64::from(TIME) + 1), ("/old", 7)];
            let inputs = inputs.iter().map(|(path, time)| (Path::new(path), time * 1_000_000_000 + 5));
            in_outputs(inputs, [dir.path().join("gone").as_path(), &output].into_iter())
        };
        for content in [
            [b"\x1f\x8b\x08\x08", &TIME.to_le_bytes()[..], b"in"].concat(),
            [&TIME.to_be_bytes()[..], b"x"].concat(),
            format!("it is from {TIME}.").into_bytes(),
            format!("{TIME:011o}\0").into_bytes(),
            b"D util.ads\t\t20200101000000 3ae71041".to_vec(),
            b"2020-01-01 00:00:00".to_vec(),
            b"from 2020-01-01T00:00:00Z on".to_vec(),
            b" 2020-01-01 01:30:00.123456789 +0130".to_vec(),
            b" 2019-12-31T16:00:00,5-08:00\n".to_vec(),
        ] {
            assert_eq!(shown(&content), [Path::new("/in")]);
        }
        let longer = format!("{TIME}1 1{TIME}");
        let others = [
            "",
            "7 text",
            &longer,
            "120200101000000 20201301000000",
            "2020-01-01 00:00",
            ":2020-01-01 00:00:00 -0100",
        ];
        for content in others.map(str::as_bytes) {
            assert!(shown(content).is_empty());
        }
    }

    #[test]
    fn no_place_is_passed_over() {
        const TIME: u32 = 0x6abc_def0;
        let range = TIME - 9..=TIME + (1 << 24);
        let forms: [&[u8]; 4] =
            [&TIME.to_le_bytes(), &TIME.to_be_bytes(), b" 1790762736,", b"\"015257157360\""];
        for form in forms {
            for before in 0..30 {
                for after in 0..12 {
                    let content = [&vec![b'x'; before], form, &vec![b'5'; after][..]].concat();
                    let mut all = Vec::new();
                    numbers(&content, &range, |number| all.push(number));
                    assert!(all.contains(&TIME), "{form:?} after {before}, before {after}");
                }
            }
        }
    }
}
