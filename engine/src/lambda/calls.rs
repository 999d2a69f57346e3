// SPDX-License-Identifier: Apache-2.0
//! How many calls are made at once, and which are made again. Where Lambda says that it is too much, fewer are made, and then
//! slowly more again, as TCP does it. Knows faults, not what is called. Time is tokio's, so that tests need not wait.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use storage::Pauses;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fault::Fault;

/// How often a call is made that the service fails with.
const ATTEMPTS: u32 = 6;
/// How long one waits for a service that says that it is too much.
const PATIENCE: Duration = Duration::from_secs(300);
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// Calls that were refused together count once.
const APART: Duration = Duration::from_millis(500);
/// Nothing is called for so long after a refusal: refusals come quickly, and whoever waits would be refused next.
const PAUSE: Duration = Duration::from_millis(250);
/// What is left of the calls at once after a refusal.
const LESS: f64 = 0.7;

/// A bound on calls at once, which follows what the service bears.
pub struct Calls {
    most: f64,
    allowed: Cell<f64>,
    under_way: Cell<usize>,
    /// When a call was refused last, and when fewer were allowed because of it.
    refused: Cell<Option<Instant>>,
    lowered: Cell<Option<Instant>>,
    freed: Notify,
}

/// A call under way.
struct Permit<'a>(&'a Calls);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.freed.notify_one();
    }
}

impl Calls {
    /// Up to this many.
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self {
            most,
            allowed: Cell::new(most),
            under_way: Cell::new(0),
            refused: Cell::new(None),
            lowered: Cell::new(None),
            freed: Notify::new(),
        }
    }

    async fn permit(&self) -> Permit<'_> {
        loop {
            let pause = self.refused.get().map(|then| then + PAUSE).filter(|until| *until > Instant::now());
            if let Some(until) = pause {
                tokio::time::sleep_until(until).await;
            } else if self.under_way.get() as f64 >= self.allowed.get().floor() {
                self.freed.notified().await;
            } else {
                break;
            }
        }
        self.under_way.set(self.under_way.get() + 1);
        Permit(self)
    }

    fn less(&self) {
        let now = Instant::now();
        self.refused.set(Some(now));
        if self.lowered.get().is_none_or(|then| now - then >= APART) {
            self.lowered.set(Some(now));
            self.allowed.set((self.allowed.get() * LESS).max(1.0));
        }
    }

    fn more(&self) {
        let before = self.allowed.get();
        if before < self.most {
            self.allowed.set((before + 1.0 / before).min(self.most));
            // The one that gives its place back wakes one; this is for the new place.
            if self.allowed.get().floor() > before.floor() {
                self.freed.notify_one();
            }
        }
    }

    /// Makes the call, and again where that may help.
    pub async fn call<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        mut request: impl FnMut() -> F,
    ) -> Result<T, Fault> {
        let started = Instant::now();
        let mut pauses = Pauses::new(FIRST, LONGEST);
        let mut attempts = 0;
        loop {
            let permit = self.permit().await;
            let answer = request().await;
            drop(permit);
            match &answer {
                Ok(_) => self.more(),
                Err(Fault::Throttled(_)) => self.less(),
                Err(_) => {}
            }
            let again = match &answer {
                Err(Fault::Throttled(_)) => started.elapsed() < PATIENCE,
                Err(Fault::Unavailable(_)) => {
                    attempts += 1;
                    attempts < ATTEMPTS
                }
                _ => false,
            };
            if !again {
                return answer;
            }
            pauses.pause().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn only_what_may_change_is_tried_again_and_not_for_ever() {
        let attempts = |fault: fn() -> Fault| {
            let made = Cell::new(0);
            let calls = Calls::new(4);
            let answer: Result<(), _> = run(calls.call(|| {
                made.set(made.get() + 1);
                std::future::ready(Err(fault()))
            }));
            assert_eq!(answer, Err(fault()));
            made.get()
        };
        assert_eq!(attempts(|| Fault::Unavailable("500".into())), ATTEMPTS);
        assert_eq!(attempts(|| Fault::Refused("403".into())), 1);
        assert_eq!(attempts(|| Fault::Crashed("exit".into())), 1);
        assert_eq!(attempts(|| Fault::Late("15 min".into())), 1);
        assert!(attempts(|| Fault::Throttled("429".into())) > 20);
    }

    #[test]
    fn a_service_that_bears_less_is_asked_for_less_and_nothing_is_lost() {
        let (calls, now, most, refused) = (Calls::new(64), Cell::new(0), Cell::new(0), Cell::new(0));
        let request = || async {
            if now.get() >= 10 {
                refused.set(refused.get() + 1);
                return Err(Fault::Throttled("429".into()));
            }
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            tokio::time::sleep(Duration::from_millis(500)).await;
            now.set(now.get() - 1);
            Ok(())
        };
        let (answers, took) = run(async {
            let start = Instant::now();
            let answers = join_all((0..1000).map(|_| calls.call(request))).await;
            (answers, start.elapsed())
        });
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(most.get(), 10);
        assert!(calls.allowed.get() < 20.0, "{}", calls.allowed.get());
        // 1000 of half a second, ten at once, are 50 s.
        assert!(took < Duration::from_secs(80), "{took:?}");
        assert!(refused.get() < 300, "{}", refused.get());
    }
}
