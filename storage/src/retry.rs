// SPDX-License-Identifier: Apache-2.0
//! Makes a request again when that may help. Time is tokio's, so that tests need not wait.

use std::future::Future;
use std::time::Duration;

use crate::error::{Error, Result};

/// How often a request is made before it is given up.
const ATTEMPTS: u32 = 6;
/// Nor is it made again after so long: a place that takes requests and says nothing would hold up everybody for several times the
/// longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The times between attempts: random, or those who failed together would come again together, and longer each time.
#[derive(Debug)]
pub struct Pauses {
    ceiling: Duration,
    longest: Duration,
}

impl Pauses {
    /// From half of `first` on, never beyond `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { ceiling: first, longest }
    }

    /// Waits for the next one.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.ceiling = (self.ceiling * 2).min(self.longest);
    }
}

/// Makes the request until it succeeds, or fails in a way that repetition does not change, or has failed too often.
pub async fn retry<T, F: Future<Output = Result<T>>>(mut request: impl FnMut() -> F) -> Result<T> {
    let mut pauses = Pauses::new(FIRST, LONGEST);
    let started = tokio::time::Instant::now();
    for _ in 1..ATTEMPTS {
        match request().await {
            Err(Error::Unavailable { .. }) if started.elapsed() < PATIENCE => {}
            settled => return settled,
        }
        pauses.pause().await;
    }
    request().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn run(answers: impl Fn(u32) -> Result<u32>) -> (Result<u32>, u32, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let made = Cell::new(0);
        let request = || {
            made.set(made.get() + 1);
            let answer = answers(made.get());
            async move { answer }
        };
        runtime.unwrap().block_on(async {
            let start = tokio::time::Instant::now();
            let result = retry(request).await;
            (result, made.get(), start.elapsed())
        })
    }

    fn unavailable() -> Error {
        Error::Unavailable { place: "p".into(), why: "busy".into() }
    }

    #[test]
    fn only_what_may_change_is_tried_again_and_not_for_ever() {
        let (result, made, took) = run(|n| if n < 4 { Err(unavailable()) } else { Ok(n) });
        assert_eq!((result.unwrap(), made), (4, 4));
        assert!(took >= Duration::from_millis(350) && took <= Duration::from_millis(700), "{took:?}");
        let (result, made, _) = run(|_| Err(unavailable()));
        assert!(result.is_err());
        assert_eq!(made, ATTEMPTS);
        let (_, made, took) = run(|_| Err(Error::Refused { place: "p".into(), why: "403".into() }));
        assert_eq!((made, took), (1, Duration::ZERO));
    }

    #[test]
    fn what_says_nothing_is_not_asked_all_the_times() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let made = Cell::new(0);
        let request = || async {
            made.set(made.get() + 1);
            tokio::time::sleep(PATIENCE * 2).await;
            Err::<(), _>(unavailable())
        };
        assert!(runtime.unwrap().block_on(retry(request)).is_err());
        assert_eq!(made.get(), 1);
    }
}
