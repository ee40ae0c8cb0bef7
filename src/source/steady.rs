//! Whether what was just read is whole, where no event has told otherwise. Pure: what was seen and the time are
//! parameters.
//!
//! Where inotify tells of changes: a file whose inode changed a moment ago may be in the middle of a change whose event is still
//! on its way. Where files are polled nobody tells when a writer has closed: a change counts once two looks have found the
//! same.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::{Duration, Instant, SystemTime};

use super::watcher::Means;

/// What the files of a reading were, as far as can be told without reading them again.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    digest: u64,
    /// When the last of them changed, by the clock of their file system.
    newest: Option<SystemTime>,
    /// Nothing is in one of them: it may have been truncated to be written.
    empty: bool,
    /// One changed while it was read.
    torn: bool,
}

impl Trace {
    /// One more file: its device, inode, size and times.
    pub(super) fn add(&mut self, what: impl Hash, changed: SystemTime, empty: bool) {
        let mut hasher = DefaultHasher::new();
        (self.digest, what, changed).hash(&mut hasher);
        self.digest = hasher.finish();
        self.newest = self.newest.max(Some(changed));
        self.empty |= empty;
    }

    /// A file that changed while it was read.
    pub(super) fn add_torn(&mut self) {
        self.torn = true;
    }

    /// How long ago the last change was; `None`: in the future, by another clock.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        if self.torn { Some(Duration::ZERO) } else { now.duration_since(self.newest?).ok() }
    }
}

/// Changes younger than this may not have been told yet.
const YOUNG: Duration = Duration::from_millis(50);
/// The longest that files which keep changing are waited for. With it they are read as they are: as in [`super::watcher`]'s
/// other half, the worker's quiet time.
const YOUNG_MAX: Duration = Duration::from_millis(500);
/// What is polled must have been the same for this long; and for [`EMPTY`], where it has become empty.
pub(super) const STILL: Duration = Duration::from_millis(250);
const EMPTY: Duration = Duration::from_secs(2);
const STILL_MAX: Duration = super::writers::PATIENCE;

/// What becomes of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Take,
    /// It does not: read again then.
    Again(Instant),
}

/// The readings of one layer.
#[derive(Debug, Default)]
pub(super) struct Steady {
    /// Of the last reading that counted.
    taken: Option<u64>,
    /// Of the last one that did not, and since when it has been so.
    seen: Option<(u64, Instant)>,
    /// Since when nothing was taken.
    since: Option<Instant>,
}

impl Steady {
    /// Judges a reading at `now`, which is `clock` on the wall; `None`: no file was read, something else was found. The
    /// first counts: a start takes what is there.
    pub(super) fn judge(&mut self, trace: Option<&Trace>, means: Means, now: Instant, clock: SystemTime) -> Verdict {
        let Some(trace) = trace else { return self.take(None) };
        let since = *self.since.get_or_insert(now);
        let (wait, longest) = match means {
            _ if self.taken.is_none() => (None, Duration::ZERO),
            Means::Events => {
                let young = trace.age(clock).is_some_and(|age| age < YOUNG);
                (young.then_some(YOUNG), YOUNG_MAX)
            }
            Means::Polling if !trace.torn && self.taken == Some(trace.digest) => (None, Duration::ZERO),
            Means::Polling => {
                let first =
                    self.seen.filter(|(seen, _)| !trace.torn && *seen == trace.digest).map_or(now, |(_, at)| at);
                self.seen = Some((trace.digest, first));
                let still = if trace.empty { EMPTY } else { STILL };
                let left = still.saturating_sub(now.saturating_duration_since(first));
                ((!left.is_zero()).then_some(left), STILL_MAX)
            }
        };
        match wait {
            Some(wait) if now < since + longest => Verdict::Again(now + wait),
            _ => self.take(Some(trace.digest)),
        }
    }

    fn take(&mut self, digest: Option<u64>) -> Verdict {
        *self = Steady { taken: Some(digest.unwrap_or_default()), seen: None, since: None };
        Verdict::Take
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One file with this number for all that it is, changed at this time.
    fn file(number: u32, changed: SystemTime) -> Trace {
        let mut trace = Trace::default();
        trace.add(number, changed, number == 0);
        trace
    }

    #[test]
    fn a_change_of_just_now_is_looked_at_again_and_a_start_takes_what_is_there() {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut steady = Steady::default();
        let mut at = |ms_: u64, trace: &Trace| steady.judge(Some(trace), Means::Events, now + ms(ms_), clock + ms(ms_));
        assert_eq!(at(0, &file(1, clock)), Verdict::Take, "the first");
        assert_eq!(at(1000, &file(2, clock + ms(990))), Verdict::Again(now + ms(1050)));
        assert_eq!(at(1050, &file(2, clock + ms(990))), Verdict::Take);
        assert_eq!(at(2000, &file(3, clock + ms(9000))), Verdict::Take, "another clock");
        // Who never stops.
        let mut torn = file(4, clock);
        torn.add_torn();
        for ms_ in (3000..3500).step_by(50) {
            assert_eq!(at(ms_, &torn), Verdict::Again(now + ms(ms_ + 50)));
        }
        assert_eq!(at(3500, &torn), Verdict::Take);
    }

    #[test]
    fn what_is_polled_must_stay_as_it_is_for_a_moment() {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut steady = Steady::default();
        let mut at = |ms_: u64, number: u32| {
            steady.judge(Some(&file(number, clock)), Means::Polling, now + ms(ms_), clock + ms(ms_))
        };
        assert_eq!(at(0, 1), Verdict::Take);
        assert_eq!(at(2000, 1), Verdict::Take, "nothing has changed");
        // Truncated; half of it is there; all of it is.
        assert_eq!(at(4000, 0), Verdict::Again(now + ms(6000)));
        assert_eq!(at(4500, 2), Verdict::Again(now + ms(4750)));
        assert_eq!(at(4750, 3), Verdict::Again(now + ms(5000)));
        assert_eq!(at(5000, 3), Verdict::Take);
        // It is to be empty.
        assert_eq!(at(6000, 0), Verdict::Again(now + ms(8000)));
        assert_eq!(at(7000, 0), Verdict::Again(now + ms(8000)));
        assert_eq!(at(8000, 0), Verdict::Take);
        // Who never stops.
        for (ms_, number) in (10_000..15_000).step_by(250).zip(10..) {
            assert_eq!(at(ms_, number), Verdict::Again(now + ms(ms_ + 250)));
        }
        assert_eq!(at(15_000, 99), Verdict::Take);
    }
}
