// SPDX-License-Identifier: Apache-2.0
//! What calls cost, about. Knows prices and durations, not who asks.

use std::fmt;
use std::time::Duration;

/// For one gigabyte of memory, one second long, on x86-64, in dollars: us-east-1, the first tier, as listed at
/// <https://aws.amazon.com/lambda/pricing/> in November 2026. Other regions cost up to about a third more.
const GIGABYTE_SECOND: f64 = 0.000_016_666_7;
/// For one request; the same page.
const REQUEST: f64 = 0.20 / 1e6;

/// Calls that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    calls: u64,
    gigabyte_seconds: f64,
}

impl Cost {
    /// One more call took so long, with so many megabytes of memory. Lambda counts whole milliseconds.
    pub fn add(&mut self, took: Duration, memory: u64) {
        self.calls += 1;
        let millis = took.as_micros().div_ceil(1000) as f64;
        self.gigabyte_seconds += millis / 1e3 * memory as f64 / 1024.0;
    }

    /// All of it in dollars, without the storage's part.
    pub fn dollars(&self) -> f64 {
        self.gigabyte_seconds * GIGABYTE_SECOND + self.calls as f64 * REQUEST
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, gigabyte_seconds } = self;
        write!(f, "{calls} calls, {gigabyte_seconds:.2} GB-seconds, about ${:.6}", self.dollars())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_calls_of_a_second_and_two_gigabytes() {
        let mut cost = Cost::default();
        (0..1000).for_each(|_| cost.add(Duration::from_micros(999_001), 2048));
        assert!((cost.dollars() * 1000.0 - 33.5334).abs() < 0.001, "{}", cost.dollars());
        assert_eq!(cost.to_string(), "1000 calls, 2000.00 GB-seconds, about $0.033533");
    }
}
