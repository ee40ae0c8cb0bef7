//! When a group is published: after `settle`, no more often than `throttle`, and the last change is never lost.
//!
//! Pure: the time is a parameter. One machine per group.

use super::retry::Retry;
use std::time::{Duration, Instant};

/// The longest that a refusal keeps the next publish away.
const AFTER_REFUSAL: Duration = Duration::from_secs(2);

/// The timing of one group.
#[derive(Debug, Clone)]
pub struct Schedule {
    settle: Duration,
    settle_max: Duration,
    throttle: Duration,
    /// The first and the last change that no publish has seen yet.
    pending: Option<(Instant, Instant)>,
    /// When the last publish changed something.
    published: Option<Instant>,
    /// After a refusal: not before then.
    refused_until: Option<Instant>,
    /// A publish that failed for a reason outside its inputs (a full disk) is tried again then.
    retry: Option<Retry>,
}

impl Schedule {
    /// `settle`: quiet time before a change is published; `settle_max`: the longest that it may put a publish off;
    /// `throttle`: at most one publish in this time.
    pub fn new(settle: Duration, settle_max: Duration, throttle: Duration) -> Schedule {
        let settle_max = settle_max.max(settle);
        Schedule { settle, settle_max, throttle, pending: None, published: None, refused_until: None, retry: None }
    }

    /// An input of the group changed.
    pub fn changed(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |(first, _)| first);
        self.pending = Some((first, now));
        // New inputs deserve a try at once, whatever failed before.
        self.retry = None;
    }

    /// When the group is to be published next; `None`: when something changes.
    pub fn due(&self) -> Option<Instant> {
        let change = self.pending.map(|(first, last)| {
            let settled = (last + self.settle).min(first + self.settle_max);
            let throttled = self.published.map(|published| published + self.throttle);
            [throttled, self.refused_until].into_iter().flatten().fold(settled, Instant::max)
        });
        match (change, self.retry) {
            (None, Some(retry)) => Some(retry.at),
            (change, _) => change,
        }
    }

    /// A publish begins, with all that is known now: what changes from here on is a new change.
    pub fn begin(&mut self) {
        self.pending = None;
    }

    /// The publish that began changed files at `now`: the throttle counts from here.
    pub fn published(&mut self, now: Instant) {
        self.published = Some(now);
        self.retry = None;
    }

    /// The publish that began failed, but not because of its inputs: try again with backoff.
    pub fn failed(&mut self, now: Instant) {
        self.retry = Some(Retry::after(self.retry, now));
    }

    /// The publish that began was refused by its check at `now`: a check is a program, and one after the rename has shown
    /// the new files to every reader. Nobody was told, so even where restarts are throttled for long the next try comes soon.
    pub fn refused(&mut self, now: Instant) {
        self.refused_until = Some(now + self.throttle.min(AFTER_REFUSAL));
        self.retry = None;
    }

    /// The publish that began had nothing to change, or its inputs were refused: wait for the next change.
    pub fn rest(&mut self) {
        self.retry = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn without_settle_the_first_change_is_due_at_once() {
        let t = Instant::now();
        let mut schedule = Schedule::new(ms(0), ms(0), ms(2000));
        schedule.changed(t);
        assert_eq!(schedule.due(), Some(t));
        schedule.begin();
        schedule.published(t);
        assert_eq!(schedule.due(), None);
        schedule.changed(t + ms(5));
        assert_eq!(schedule.due(), Some(t + ms(2000)));
    }

    #[test]
    fn a_change_during_a_publish_is_a_new_change() {
        let t = Instant::now();
        let mut schedule = Schedule::new(ms(0), ms(0), ms(100));
        schedule.changed(t);
        schedule.begin();
        schedule.changed(t + ms(1));
        schedule.published(t + ms(2));
        assert_eq!(schedule.due(), Some(t + ms(102)));
    }

    #[test]
    fn a_refusal_counts_for_the_throttle_but_not_for_long() {
        let t = Instant::now();
        for (throttle, due) in [(0, 10), (500, 510), (30_000, 2010)] {
            let mut schedule = Schedule::new(ms(0), ms(0), ms(throttle));
            schedule.changed(t);
            schedule.begin();
            schedule.refused(t + ms(10));
            assert_eq!(schedule.due(), None);
            schedule.changed(t + ms(10));
            assert_eq!(schedule.due(), Some(t + ms(due)));
        }
    }

    #[test]
    fn a_failed_write_is_tried_again_with_backoff_and_a_cap() {
        let t = Instant::now();
        let mut schedule = Schedule::new(ms(0), ms(0), ms(0));
        let mut now = t;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            schedule.begin();
            schedule.failed(now);
            let due = schedule.due().unwrap();
            pauses.push(due - now);
            now = due;
        }
        assert_eq!(pauses[0], ms(500));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(*pauses.last().unwrap(), crate::worker::retry::CAP);
    }

    proptest! {
        /// Changes at any times, published whenever due: the last state is always published, two publishes are never
        /// closer than `throttle`, and none is later than `settle_max` allows.
        #[test]
        fn never_lost_never_too_often_never_too_late(
            gaps in prop::collection::vec(0_u64..400, 1..60),
            settle in 0_u64..100,
            factor in 1_u64..5,
            throttle in 0_u64..500,
        ) {
            let start = Instant::now();
            let mut schedule = Schedule::new(ms(settle), ms(settle * factor), ms(throttle));
            let mut changes = Vec::new();
            let mut now = start;
            for gap in gaps {
                now += ms(gap);
                changes.push(now);
            }
            let mut publishes: Vec<Instant> = Vec::new();
            let mut unseen: Option<Instant> = None;
            let mut next = changes.iter().copied().peekable();
            loop {
                let due = schedule.due();
                match (next.peek().copied(), due) {
                    (Some(change), due) if due.is_none_or(|due| change <= due) => {
                        next.next();
                        unseen.get_or_insert(change);
                        schedule.changed(change);
                    }
                    (_, Some(due)) => {
                        let first = unseen.take().expect("something to publish");
                        let earliest = publishes.last().map_or(first, |last| first.max(*last + ms(throttle)));
                        prop_assert!(due <= earliest.max(first + ms(settle * factor)));
                        if let Some(last) = publishes.last() {
                            prop_assert!(due - *last >= ms(throttle));
                        }
                        schedule.begin();
                        schedule.published(due);
                        publishes.push(due);
                    }
                    (None, None) => break,
                    (Some(_), None) => unreachable!("a change is always taken when nothing is due"),
                }
            }
            prop_assert!(unseen.is_none());
        }
    }
}
