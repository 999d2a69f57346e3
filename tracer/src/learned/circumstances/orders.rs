// SPDX-License-Identifier: Apache-2.0
//! Which of two files is the older one, for all files whose times a command could tell, and in which other orders they made no difference
//! to it. Each two by themselves: that it does not mind about some tells nothing of others. Knows no file, and no command.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::{Circumstances, Fact, UNKNOWN, What};

/// Of so many pairs it is kept at most that another order made no difference: one more, and the command runs where that is so again.
const MANY: usize = 4096;

/// The files in the order in which the circumstances have them, each with its time.
#[derive(Debug, Default)]
pub struct Orders<'a> {
    files: Vec<(&'a Path, i128)>,
    /// Numbers of two files, the smaller one first, and all ways in which they may compare.
    free: BTreeMap<[usize; 2], u8>,
}

/// As one bit.
fn bit(ordering: Ordering) -> u8 {
    1 << (ordering as i8 + 1)
}

impl<'a> Orders<'a> {
    /// Those of a command.
    pub fn of(circumstances: &'a Circumstances) -> Self {
        let mut orders = Self::default();
        for Fact { what, path, value } in &circumstances.0 {
            match what {
                What::Order => orders.files.push((path, *value)),
                What::Orders => {
                    let (pair, ways) = unpack(*value);
                    orders.free.insert(pair, ways);
                }
                _ => {}
            }
        }
        orders
    }

    /// These, after a run with those; `same`: nothing else is different.
    #[must_use]
    pub fn after(mut self, before: &Self, same: bool) -> Self {
        let now: HashMap<&Path, usize> =
            self.files.iter().enumerate().map(|(number, (path, _))| (*path, number)).collect();
        let number = |of: usize| before.files.get(of).and_then(|(path, _)| now.get(path).copied());
        for (&[a, b], &ways) in &before.free {
            if let (Some(a), Some(b)) = (number(a), number(b)) {
                // As a pair is named by the smaller number, what it says may be the other way round.
                let (pair, ways) = if a < b { ([a, b], ways) } else { ([b, a], turned(ways)) };
                self.free.insert(pair, ways);
            }
        }
        if !same {
            return self;
        }
        let both: Vec<(usize, i128, i128)> = before
            .files
            .iter()
            .filter_map(|(path, then)| now.get(path).map(|&number| (number, *then, self.files[number].1)))
            // What nobody knew has stood in no order.
            .filter(|(_, then, now)| *then != UNKNOWN && *now != UNKNOWN)
            .collect();
        for (at, (a, a_then, a_now)) in both.iter().enumerate() {
            for (b, b_then, b_now) in &both[at + 1..] {
                let (then, now) = (a_then.cmp(b_then), a_now.cmp(b_now));
                if then == now {
                    continue;
                }
                if self.free.len() >= MANY {
                    return self;
                }
                let ways = bit(then) | bit(now);
                let (pair, ways) = if a < b { ([*a, *b], ways) } else { ([*b, *a], turned(ways)) };
                *self.free.entry(pair).or_default() |= ways;
            }
        }
        self
    }

    /// A file that is older now, or newer, than another one than it was, where that may make a difference. `now`: the times of all.
    pub fn changed(&self, now: &[i128]) -> Option<&'a Path> {
        if self.files.len() != now.len() || self.is_same(now) {
            return None;
        }
        let changed = |a: usize, b: usize| {
            let (then, now) = (self.files[a].1.cmp(&self.files[b].1), now[a].cmp(&now[b]));
            then != now && self.free.get(&[a, b]).is_none_or(|ways| ways & bit(now) == 0)
        };
        let pairs = (0..now.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        // Most often one file is another one, and all others are as they were.
        let moved = |(a, b): &(usize, usize)| now[*a] != self.files[*a].1 || now[*b] != self.files[*b].1;
        let (a, b) = pairs.filter(moved).find(|(a, b)| changed(*a, *b))?;
        let is_other = |of: usize| now[of] != self.files[of].1;
        Some(self.files[if is_other(b) { b } else { a }].0)
    }

    /// May the command do otherwise where all of these files have one time, as in a sandbox? Who did the same whichever of two was the
    /// older one does so, too.
    pub fn matter_among(&self, counts: impl Fn(&Path) -> bool) -> bool {
        let is_free = |pair: &[usize; 2]| {
            let both = bit(Ordering::Less) | bit(Ordering::Greater);
            self.free.get(pair).is_some_and(|ways| ways & both == both)
        };
        let among: Vec<usize> = (0..self.files.len()).filter(|of| counts(self.files[*of].0)).collect();
        let pairs = among.iter().enumerate().flat_map(|(at, b)| among[..at].iter().map(|a| [*a, *b]));
        pairs.into_iter().any(|pair| self.files[pair[0]].1 != self.files[pair[1]].1 && !is_free(&pair))
    }

    /// Is the whole order as it was? Told without a look at each pair.
    fn is_same(&self, now: &[i128]) -> bool {
        let mut both: Vec<(i128, i128)> =
            self.files.iter().zip(now).map(|((_, then), now)| (*then, *now)).collect();
        both.sort_unstable();
        both.is_sorted_by(|a, b| a.0.cmp(&b.0) == a.1.cmp(&b.1))
    }

    /// What is to be kept of it beside the times.
    pub fn facts(&self) -> Vec<Fact> {
        let fact = |(pair, ways): (&[usize; 2], &u8)| Fact {
            what: What::Orders,
            path: Path::new("").into(),
            value: pack(*pair, *ways),
        };
        self.free.iter().map(fact).collect()
    }
}

/// The same of the two the other way round.
fn turned(ways: u8) -> u8 {
    const MIDDLE: u8 = 0b010;
    ways & MIDDLE | ways << 2 & 0b100 | ways >> 2 & 0b001
}

fn pack([a, b]: [usize; 2], ways: u8) -> i128 {
    (a as i128) << 64 | (b as i128) << 8 | i128::from(ways)
}

fn unpack(value: i128) -> ([usize; 2], u8) {
    ([(value >> 64) as usize, (value as u64 >> 8) as usize], value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(times: &[(&str, i128)]) -> Circumstances {
        let fact =
            |(path, value): &(&str, i128)| Fact { what: What::Order, path: path.into(), value: *value };
        Circumstances(times.iter().map(fact).collect())
    }

    fn changed(circumstances: &Circumstances, now: &[i128]) -> bool {
        Orders::of(circumstances).changed(now).is_some()
    }

    #[test]
    fn an_order_counts_until_another_one_made_no_difference_for_these_two() {
        let first = times(&[("a", 1), ("b", 2), ("c", 3)]);
        assert!(!changed(&first, &[10, 20, 30]), "other times in the same order");
        assert!(changed(&first, &[4, 2, 3]));
        assert!(changed(&first, &[2, 2, 3]), "equal is an order of its own");
        assert_eq!(Orders::of(&first).changed(&[4, 2, 3]), Some(Path::new("a")));
        // `a` was newer than `b` then, and that made no difference.
        let second = times(&[("a", 20), ("b", 10), ("c", 30)]).after(&first, true);
        assert!(!changed(&second, &[1, 2, 3]));
        let matter = |names: [&str; 2]| {
            Orders::of(&second).matter_among(|path| names.iter().any(|name| path == Path::new(name)))
        };
        assert_eq!([matter(["a", "b"]), matter(["a", "c"]), matter(["a", "a"])], [false, true, false]);
        assert!(changed(&second, &[2, 2, 3]), "equal they never were");
        assert!(changed(&second, &[4, 2, 3]), "nor `a` newer than `c`");
        // What is known stays known, whichever place files have; what made a difference tells nothing.
        let third = times(&[("b", 1), ("c", 2), ("a", 3), ("d", 4)]).after(&second, false);
        assert!(!changed(&third, &[4, 5, 6, 7]));
        assert!(changed(&third, &[4, 6, 3, 7]), "`c` and `a`");
        assert!(changed(&third, &[4, 5, 3, 7]), "`c` and `a`");
        let fourth = times(&[("b", 4), ("c", 5), ("a", 3), ("d", 7)]).after(&third, true);
        assert!(!changed(&fourth, &[1, 2, 3, 4]));
        assert!(changed(&fourth, &[9, 2, 3, 4]));
    }

    #[test]
    fn what_was_not_known_has_been_in_no_order() {
        let first = times(&[("out", UNKNOWN), ("a", 1)]);
        let second = times(&[("out", 5), ("a", 1)]).after(&first, true);
        assert!(changed(&second, &[1, 5]), "`out` was never seen to be older");
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for value in [([0, 1], 5), ([70_000, 1 << 40], 7), ([3, 9], 2)] {
            assert_eq!(unpack(pack(value.0, value.1)), value);
        }
        assert_eq!([0b001, 0b010, 0b011, 0b101].map(turned), [0b100, 0b010, 0b110, 0b101]);
    }
}
