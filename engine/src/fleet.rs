// SPDX-License-Identifier: Apache-2.0
//! Several back ends as one. A thunk goes to the one with the largest share of free slots among those that can run it; what
//! one back end did not manage, another is asked for. A back end that fails rests for a while, longer each time. Unaware of
//! the graph, and of what back ends are.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use thunk::ObjectName;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backend::{Answer, Backend, Forcing};
use crate::schedule::until;

/// A back end is not asked more often than this for one thunk.
const TRIES: u32 = 3;
const FIRST_REST: Duration = Duration::from_millis(500);
/// A slot that becomes free is told. This is for what nobody thought of.
const LOOK: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// One that has given no answer for so long, whatever it was asked for, is waited for no more: when it has rested it is
/// asked again, for what is to be done then. Else each thunk of a build would wait for it.
const GONE: Duration = Duration::from_secs(60);

/// When a back end is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Always.
    Regular,
    /// When no regular one can run a thunk, or they have all failed with it.
    Fallback,
}

/// How a back end fares.
enum Health {
    /// It answered last, or was not asked yet. `failed`: when a failure was last counted before that.
    Answers { failed: Option<Instant> },
    /// It has failed since it last answered.
    Fails(Failing),
}

struct Failing {
    since: Instant,
    /// How often. What fails together counts once,
    count: u32,
    /// the last time here.
    counted: Instant,
    /// With which thunks.
    thunks: HashSet<ObjectName>,
}

impl Failing {
    /// When it is asked again.
    fn rested(&self) -> Instant {
        let longer = 2u32.saturating_pow((self.count - 1).min(10));
        self.counted + (FIRST_REST * longer).min(LONGEST_REST)
    }
}

impl Health {
    fn failing(&self) -> Option<&Failing> {
        match self {
            Self::Answers { .. } => None,
            Self::Fails(failing) => Some(failing),
        }
    }

    /// When a failure was counted last.
    fn counted(&self) -> Option<Instant> {
        match self {
            Self::Answers { failed } => *failed,
            Self::Fails(failing) => Some(failing.counted),
        }
    }

    fn answered(&mut self) {
        *self = Self::Answers { failed: self.counted() };
    }

    /// `asked`: when it was asked for what has failed by now.
    fn failed(&mut self, thunk: ObjectName, asked: Instant, now: Instant) {
        // All that was under way when it failed comes back: that is one failure.
        let together = self.counted().is_some_and(|counted| counted >= asked);
        match self {
            Self::Fails(failing) => {
                failing.thunks.insert(thunk);
                if !together {
                    failing.count = failing.count.saturating_add(1);
                    failing.counted = now;
                }
            }
            Self::Answers { .. } if together => {}
            Self::Answers { .. } => {
                *self = Self::Fails(Failing {
                    since: now,
                    count: 1,
                    counted: now,
                    thunks: HashSet::from([thunk]),
                });
            }
        }
    }
}

struct Member {
    backend: Rc<dyn Backend>,
    duty: Duty,
    running: Cell<usize>,
    health: RefCell<Health>,
}

impl Member {
    /// If it has failed since it last answered: when it is, or was, asked again.
    fn rested(&self) -> Option<Instant> {
        self.health.borrow().failing().map(Failing::rested)
    }

    fn rests(&self) -> bool {
        self.rested().is_some_and(|rested| rested > Instant::now())
    }

    fn is_free(&self) -> bool {
        !self.rests() && self.running.get() < self.backend.job_count()
    }

    /// Is there no more use in waiting for it? That it fails with one thunk only may be the thunk's fault.
    fn is_gone(&self) -> bool {
        self.rests()
            && self.health.borrow().failing().is_some_and(|failing| {
                let never_there = !self.backend.is_met() && failing.count >= TRIES;
                never_there || failing.since.elapsed() >= GONE && failing.thunks.len() > 1
            })
    }

    /// `asked`: when it was asked.
    fn note(&self, thunk: &ObjectName, answer: &Answer, asked: Instant) {
        let mut health = self.health.borrow_mut();
        // What it says it cannot run is no fault of it.
        if matches!(answer, Answer::Broken(_)) && self.backend.can_execute(thunk) {
            health.failed(*thunk, asked, Instant::now());
        } else {
            health.answered();
        }
    }
}

/// Takes a slot for as long as it lives.
struct Slot<'a>(&'a Member, &'a Notify);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.1.notify_waiters();
    }
}

/// The back ends.
pub struct Fleet {
    members: Vec<Member>,
    label: String,
    freed: Notify,
    complaints: RefCell<Vec<String>>,
    /// What went wrong last.
    last: RefCell<Option<String>>,
}

impl Fleet {
    /// These back ends.
    pub fn new(backends: Vec<(Rc<dyn Backend>, Duty)>) -> Self {
        let labels: Vec<&str> = backends.iter().map(|(backend, _)| backend.label()).collect();
        let label = labels.join(", ");
        let member = |(backend, duty)| Member {
            backend,
            duty,
            running: Cell::new(0),
            health: RefCell::new(Health::Answers { failed: None }),
        };
        let members = backends.into_iter().map(member).collect();
        Self {
            members,
            label,
            freed: Notify::new(),
            complaints: RefCell::default(),
            last: RefCell::default(),
        }
    }

    /// What went wrong with back ends, each first failure once.
    pub fn complaints(&self) -> Vec<String> {
        std::mem::take(&mut *self.complaints.borrow_mut())
    }

    /// Runs the thunk on this back end once it has a free slot.
    async fn run(&self, member: &Member, thunk: ObjectName) -> Answer {
        while !member.is_free() {
            let rested = member.rested().filter(|rested| *rested > Instant::now());
            tokio::select! {
                () = self.freed.notified() => {}
                () = until(rested) => {}
            }
        }
        member.running.set(member.running.get() + 1);
        let slot = Slot(member, &self.freed);
        let asked = Instant::now();
        let answer = member.backend.force(thunk).await;
        if let Answer::Broken(why) = &answer {
            let why = format!("{}: {why}", member.backend.label());
            let mut complaints = self.complaints.borrow_mut();
            // Of a program that a back end cannot run, there may be many thunks.
            if member.health.borrow().failing().is_none() && !complaints.contains(&why) {
                complaints.push(why.clone());
            }
            self.last.replace(Some(why));
        }
        member.note(&thunk, &answer, asked);
        drop(slot);
        answer
    }

    /// Of these, the one that can begin first.
    fn choose(&self, candidates: &[usize]) -> Option<usize> {
        let share = |index: usize| {
            let member = &self.members[index];
            member.running.get() as f64 / member.backend.job_count().max(1) as f64
        };
        let rested = |index: usize| self.members[index].rested();
        let free = candidates.iter().copied().filter(|&index| self.members[index].is_free());
        free.min_by(|&a, &b| share(a).total_cmp(&share(b)))
            .or_else(|| candidates.iter().copied().min_by_key(|&index| (rested(index), index)))
    }

    async fn force(&self, thunk: ObjectName) -> Answer {
        let mut tries = vec![0u32; self.members.len()];
        let mut why = "no back end can run it: --fallback-engine local may".to_owned();
        if let Some(last) = &*self.last.borrow() {
            why = format!("{why} ({last})");
        }
        let candidates = |duty: Duty, tries: &[u32]| -> Vec<usize> {
            let all = self.members.iter().enumerate();
            let fit = all.filter(|(index, member)| member.duty == duty && tries[*index] < TRIES);
            fit.filter(|(_, member)| member.backend.can_execute(&thunk)).map(|(index, _)| index).collect()
        };
        loop {
            let mut fit = candidates(Duty::Regular, &tries);
            let fallback = candidates(Duty::Fallback, &tries);
            // Nobody waits for what may never come back while somebody else is ready.
            if !fallback.is_empty() && fit.iter().all(|&index| self.members[index].rests()) {
                fit = fallback;
            }
            if !fit.is_empty() && fit.iter().all(|&index| self.members[index].is_gone()) {
                return Answer::Broken(why);
            }
            // Those that have failed with it least.
            let least = fit.iter().map(|&index| tries[index]).min();
            fit.retain(|&index| Some(tries[index]) == least);
            // Waiting for whichever is free first needs another look after each change.
            if !fit.is_empty() && !fit.iter().any(|&index| self.members[index].is_free()) {
                let now = Instant::now();
                let rested = fit.iter().filter_map(|&index| self.members[index].rested());
                let wake = rested.filter(|until| *until > now).min().unwrap_or(now + LOOK);
                let wake = wake - now;
                let _ = tokio::time::timeout(wake, self.freed.notified()).await;
                continue;
            }
            let Some(index) = self.choose(&fit) else { return Answer::Broken(why) };
            let member = &self.members[index];
            match self.run(member, thunk).await {
                Answer::Broken(said) => {
                    tries[index] += 1;
                    why = format!("{}: {said}", member.backend.label());
                }
                // It may have lacked a file that only this machine has.
                failed @ Answer::Failed(_) if !member.backend.completes() => {
                    return self.confirm(thunk).await.unwrap_or(failed);
                }
                answer => return answer,
            }
        }
    }

    /// Where a command failed that another back end would have completed: what that one says.
    async fn confirm(&self, thunk: ObjectName) -> Option<Answer> {
        let completes = |member: &&Member| member.backend.completes() && member.backend.can_execute(&thunk);
        let answer = self.run(self.members.iter().find(completes)?, thunk).await;
        (!matches!(answer, Answer::Broken(_))).then_some(answer)
    }
}

impl Backend for Fleet {
    fn label(&self) -> &str {
        &self.label
    }

    fn job_count(&self) -> usize {
        let regular = || self.members.iter().filter(|member| member.duty == Duty::Regular);
        regular().map(|member| member.backend.job_count()).sum()
    }

    fn copies_may_help(&self) -> bool {
        self.members.iter().any(|member| member.backend.copies_may_help())
    }

    fn ends_what_is_given_up(&self) -> bool {
        self.members.iter().all(|member| member.backend.ends_what_is_given_up())
    }

    fn can_execute(&self, thunk: &ObjectName) -> bool {
        self.members.iter().any(|member| member.backend.can_execute(thunk))
    }

    fn completes(&self) -> bool {
        self.members.iter().any(|member| member.backend.completes())
    }

    fn dollars(&self) -> Option<f64> {
        self.members.iter().filter_map(|member| member.backend.dollars()).reduce(|a, b| a + b)
    }

    fn report(&self) -> Vec<String> {
        self.members.iter().flat_map(|member| member.backend.report()).collect()
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(Fleet::force(self, thunk))
    }
}

#[cfg(test)]
mod tests {
    use thunk::{ObjectKind, Reduction};

    use super::*;
    use crate::protocol::Failed;

    type Script = Box<dyn Fn(u32) -> Answer>;

    struct Scripted {
        label: &'static str,
        jobs: usize,
        takes: Rc<Cell<bool>>,
        completes: bool,
        met: bool,
        asked: Cell<u32>,
        most: Cell<usize>,
        now: Cell<usize>,
        script: Script,
    }

    impl Backend for Scripted {
        fn label(&self) -> &str {
            self.label
        }

        fn job_count(&self) -> usize {
            self.jobs
        }

        fn can_execute(&self, _: &ObjectName) -> bool {
            self.takes.get()
        }

        fn completes(&self) -> bool {
            self.completes
        }

        fn is_met(&self) -> bool {
            self.met
        }

        fn force(&self, _: ObjectName) -> Forcing<'_> {
            Box::pin(async move {
                self.now.set(self.now.get() + 1);
                self.most.set(self.most.get().max(self.now.get()));
                tokio::time::sleep(Duration::from_millis(10)).await;
                self.now.set(self.now.get() - 1);
                self.asked.set(self.asked.get() + 1);
                (self.script)(self.asked.get())
            })
        }
    }

    fn scripted(label: &'static str, jobs: usize, script: impl Fn(u32) -> Answer + 'static) -> Scripted {
        Scripted {
            label,
            jobs,
            takes: Rc::new(Cell::new(true)),
            completes: false,
            met: true,
            asked: Cell::new(0),
            most: Cell::new(0),
            now: Cell::new(0),
            script: Box::new(script),
        }
    }

    fn reduced(_: u32) -> Answer {
        Answer::Reduced { reduction: Reduction::default(), completed: Vec::new() }
    }

    fn broken(_: u32) -> Answer {
        Answer::Broken("gone".into())
    }

    fn failed(_: u32) -> Answer {
        Answer::Failed(Failed { code: 1, ..Failed::default() })
    }

    fn force(backends: &[(&Rc<Scripted>, Duty)], count: usize) -> Vec<Answer> {
        let members = backends.iter().map(|(b, duty)| (Rc::clone(*b) as Rc<dyn Backend>, *duty)).collect();
        let fleet = Fleet::new(members);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let thunk = ObjectName::of(ObjectKind::Thunk, b"t");
        let all = (0..count).map(|_| fleet.force(thunk));
        runtime.unwrap().block_on(futures_util::future::join_all(all))
    }

    fn all_reduced(answers: &[Answer]) -> bool {
        answers.iter().all(|answer| matches!(answer, Answer::Reduced { .. }))
    }

    #[test]
    fn work_is_shared_and_no_one_gets_more_than_it_takes() {
        let (a, b) = (Rc::new(scripted("a", 1, reduced)), Rc::new(scripted("b", 3, reduced)));
        let answers = force(&[(&a, Duty::Regular), (&b, Duty::Regular)], 40);
        assert!(all_reduced(&answers));
        assert_eq!((a.most.get(), b.most.get()), (1, 3));
        assert_eq!((a.asked.get(), b.asked.get()), (10, 30));
    }

    #[test]
    fn what_one_cannot_do_another_does() {
        let (a, b) = (Rc::new(scripted("a", 4, broken)), Rc::new(scripted("b", 1, reduced)));
        let answers = force(&[(&a, Duty::Regular), (&b, Duty::Regular)], 20);
        assert!(all_reduced(&answers));
        assert!(a.asked.get() < 20, "it rests meanwhile: {}", a.asked.get());
        let fallback = Rc::new(scripted("f", 1, reduced));
        assert!(all_reduced(&force(&[(&a, Duty::Regular), (&fallback, Duty::Fallback)], 2)));
        let refuses = Rc::new(Scripted { takes: Rc::default(), ..scripted("r", 1, reduced) });
        assert!(all_reduced(&force(&[(&refuses, Duty::Regular), (&fallback, Duty::Fallback)], 2)));
        assert_eq!(refuses.asked.get(), 0);
        let answers = force(&[(&refuses, Duty::Regular)], 1);
        assert!(matches!(&answers[0], Answer::Broken(why) if why.contains("--fallback-engine")));
        // It comes back: nothing is lost by a short absence.
        let back = Rc::new(scripted("back", 2, |n| if n < 3 { broken(n) } else { reduced(n) }));
        assert!(all_reduced(&force(&[(&back, Duty::Regular)], 4)));
    }

    /// All that ran on a worker host comes back in one moment when that is killed.
    #[test]
    fn what_fails_together_is_one_failure() {
        let back = Rc::new(scripted("back", 16, |n| if n <= 16 { broken(n) } else { reduced(n) }));
        let fleet = Fleet::new(vec![(Rc::clone(&back) as Rc<dyn Backend>, Duty::Regular)]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let (answers, took) = runtime.unwrap().block_on(async {
            let started = Instant::now();
            let all = (0..16u8).map(|n| fleet.force(ObjectName::of(ObjectKind::Thunk, &[n])));
            (futures_util::future::join_all(all).await, started.elapsed())
        });
        assert!(all_reduced(&answers));
        assert!(took < FIRST_REST * 2, "{took:?}");
    }

    /// A worker host that is there again answers before the last of what it dropped is known to be lost.
    #[test]
    fn what_comes_back_late_is_no_new_failure() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let [a, b] = [b"a", b"b"].map(|thunk| ObjectName::of(ObjectKind::Thunk, thunk));
        let mut health = Health::Answers { failed: None };
        health.failed(a, began, began + second);
        assert_eq!(health.failing().map(Failing::rested), Some(began + second + FIRST_REST));
        health.failed(b, began, began + 2 * second);
        assert_eq!(health.failing().map(|failing| (failing.count, failing.thunks.len())), Some((1, 2)));
        health.answered();
        health.failed(b, began, began + 3 * second);
        assert!(health.failing().is_none());
        health.failed(b, began + 2 * second, began + 4 * second);
        assert_eq!(health.failing().map(Failing::rested), Some(began + 4 * second + FIRST_REST));
        health.failed(b, began + 5 * second, began + 6 * second);
        assert_eq!(health.failing().map(Failing::rested), Some(began + 6 * second + 2 * FIRST_REST));
    }

    /// With `-k`, all thunks of a build are asked for, and three times.
    #[test]
    fn who_is_gone_is_not_waited_for_by_each_thunk() {
        for (met, longest) in [(true, 300), (false, 3)] {
            let gone = Rc::new(Scripted { met, ..scripted("gone", 1, broken) });
            let fleet = Fleet::new(vec![(gone as Rc<dyn Backend>, Duty::Regular)]);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let took = runtime.unwrap().block_on(async {
                let started = Instant::now();
                for n in 0..1000u32 {
                    let answer = fleet.force(ObjectName::of(ObjectKind::Thunk, &(n / 3).to_le_bytes())).await;
                    assert!(matches!(answer, Answer::Broken(_)));
                }
                started.elapsed()
            });
            assert!(took < Duration::from_secs(longest), "{took:?}");
        }
    }

    #[test]
    fn a_failure_far_away_is_confirmed_where_inputs_can_be_completed() {
        let far = Rc::new(scripted("far", 1, failed));
        let here = Rc::new(Scripted { completes: true, ..scripted("here", 1, reduced) });
        assert!(all_reduced(&force(&[(&far, Duty::Regular), (&here, Duty::Fallback)], 1)));
        assert_eq!((far.asked.get(), here.asked.get()), (1, 1));
        assert!(matches!(force(&[(&far, Duty::Regular)], 1)[0], Answer::Failed(_)));
    }

    #[test]
    fn what_is_refused_on_the_way_is_asked_once_and_holds_nobody_up() {
        let takes = Rc::new(Cell::new(true));
        let told = Rc::clone(&takes);
        let unfit = scripted("unfit", 1, move |_| {
            told.set(false);
            Answer::Broken("tool is statically linked".into())
        });
        let unfit = Rc::new(Scripted { takes, ..unfit });
        let fallback = Rc::new(scripted("here", 1, reduced));
        let member = |backend: &Rc<Scripted>, duty| (Rc::clone(backend) as Rc<dyn Backend>, duty);
        let fleet = Fleet::new(vec![member(&unfit, Duty::Regular), member(&fallback, Duty::Fallback)]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let answer = runtime.unwrap().block_on(fleet.force(ObjectName::of(ObjectKind::Thunk, b"t")));
        assert!(matches!(answer, Answer::Reduced { .. }));
        assert_eq!((unfit.asked.get(), fallback.asked.get()), (1, 1));
        assert!(!fleet.members[0].rests());
        assert_eq!(fleet.complaints(), ["unfit: tool is statically linked"]);
    }
}
