// SPDX-License-Identifier: Apache-2.0
//! How long runs take lately beside what was expected of them: the ground on which one is called late. Durations come from other days
//! and other machines, so that all may take three times as long as expected, and none of them is late. Knows no thunks and no workers.

use std::collections::VecDeque;
use std::time::Duration;

/// So many runs are remembered, and fewer than this tell nothing. Many, because those that hang end last: of the last hundred of a wave
/// they may be most.
const RECENT: usize = 1024;
const FEW: usize = 16;
/// So many of ten keep within what is usual: it takes more than a few that hang to make that usual.
const WITHIN: usize = 8;
/// Who takes so many times what is usual is late.
const LATE: f64 = 1.5;
/// The chance to be late that is assumed before any run has ended.
const AT_FIRST: f64 = 0.05;
/// What is shorter is taken to be so long: starting and answering count more there.
const BRIEF: Duration = Duration::from_millis(100);

/// What was seen of runs.
#[derive(Debug, Default)]
pub struct Pace {
    /// How many times what was expected they took, in the order in which they ended.
    ratios: VecDeque<f64>,
    /// To be found out anew after each run.
    usual: Option<Usual>,
}

#[derive(Clone, Copy, Debug)]
struct Usual {
    /// What eight of ten keep within.
    ratio: f64,
    /// How many of all were late.
    late: usize,
}

impl Pace {
    /// A run took so long, or was given up after that.
    pub fn took(&mut self, expected: Duration, took: Duration) {
        if self.ratios.len() == RECENT {
            self.ratios.pop_front();
        }
        self.ratios.push_back(took.as_secs_f64() / expected.max(BRIEF).as_secs_f64());
        self.usual = None;
    }

    /// After how long a run is late of which so much was expected. Nothing where too few are known.
    pub fn late_after(&mut self, expected: Duration) -> Option<Duration> {
        let Usual { ratio, .. } = self.usual()?;
        Some(expected.max(BRIEF).mul_f64(ratio * LATE))
    }

    /// The chance that a run will be late, as far as is known. Before anything is, some are.
    pub fn risk(&mut self) -> f64 {
        let late = self.usual().map_or(0, |usual| usual.late);
        (late as f64 + 1.0) / (self.ratios.len() as f64 + 1.0 / AT_FIRST)
    }

    fn usual(&mut self) -> Option<Usual> {
        if self.ratios.len() < FEW {
            return None;
        }
        let ratios = &self.ratios;
        Some(*self.usual.get_or_insert_with(|| {
            let mut sorted: Vec<_> = ratios.iter().copied().collect();
            let at = sorted.len() * WITHIN / 10;
            let ratio = *sorted.select_nth_unstable_by(at, f64::total_cmp).1;
            // Faster than expected is no ground to be called late sooner: a machine that others use is fast by turns.
            let ratio = ratio.max(1.0);
            Usual { ratio, late: ratios.iter().filter(|one| **one > ratio * LATE).count() }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(ratios: impl IntoIterator<Item = f64>) -> Pace {
        let mut pace = Pace::default();
        ratios.into_iter().for_each(|ratio| pace.took(SECOND, SECOND.mul_f64(ratio)));
        pace
    }

    #[test]
    fn what_is_late_goes_by_what_is_usual() {
        let late = |ratios: &[f64]| pace(ratios.iter().copied().cycle().take(100)).late_after(10 * SECOND);
        assert_eq!(late(&[1.0]), Some(15 * SECOND));
        assert_eq!(late(&[0.5]), Some(15 * SECOND), "faster than expected");
        assert_eq!(late(&[2.0]), Some(30 * SECOND), "a slower machine");
        let one_in_twenty = [[1.0; 19].as_slice(), &[5.0]].concat();
        assert_eq!(late(&one_in_twenty), Some(15 * SECOND), "these are late");
        assert_eq!(
            late(&[1.0, 1.0, 1.0, 2.5]),
            Some(10 * SECOND.mul_f64(2.5 * LATE)),
            "a host of four is slow"
        );
        assert_eq!(late(&[1.0, 5.0]), Some(75 * SECOND), "expectations tell little");
    }

    #[test]
    fn the_risk_is_what_was_seen_once_something_was() {
        assert!((Pace::default().risk() - AT_FIRST).abs() < 1e-9);
        assert!(pace([1.0; 500]).risk() < 0.005);
        let one_in_ten = [[1.0; 9].as_slice(), &[5.0]].concat();
        let risk = pace(one_in_ten.into_iter().cycle().take(500)).risk();
        assert!((0.09..0.11).contains(&risk), "{risk}");
    }

    #[test]
    fn few_runs_tell_nothing_and_old_ones_are_forgotten() {
        assert_eq!(pace([1.0; FEW - 1]).late_after(SECOND), None);
        let mut pace = pace([1.0; RECENT]);
        assert_eq!(pace.late_after(SECOND), Some(SECOND.mul_f64(LATE)));
        (0..RECENT).for_each(|_| pace.took(SECOND, 2 * SECOND));
        assert_eq!(pace.late_after(SECOND), Some(SECOND.mul_f64(2.0 * LATE)));
        assert_eq!(pace.late_after(Duration::ZERO), Some(BRIEF.mul_f64(2.0 * LATE)), "what is brief");
    }
}
