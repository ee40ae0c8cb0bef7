//! When changed files are read. Pure.
//!
//! Several files are changed one after the other, and some are closed between truncating and writing (`: >f; cmd >>f`): so a
//! directory must have been quiet for a moment. That is a promise about time. A file whose writer has not closed it is waited
//! for by the sources themselves.

use std::time::{Duration, Instant};

/// How long nothing must have happened.
const QUIET: Duration = Duration::from_millis(50);
/// The longest that files may go on changing before they are read anyway.
const QUIET_MAX: Duration = Duration::from_millis(500);

/// Waits for a quiet moment since the first event that was not followed by a reading.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// When to look next, and when to read at the latest.
    waiting: Option<(Instant, Instant)>,
}

impl Quiet {
    /// Something happened in a watched directory, the first since files were read.
    pub(super) fn begin(&mut self, now: Instant) {
        self.waiting = Some((now + QUIET, now + QUIET_MAX));
    }

    /// When [`Quiet::is_over`] may be true.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.map(|(due, _)| due)
    }

    /// Whether files are to be read now. `last`: when something last happened.
    pub(super) fn is_over(&mut self, last: Option<Instant>, now: Instant) -> bool {
        let Some((due, latest)) = self.waiting.filter(|(due, _)| *due <= now) else { return false };
        // Another file of the directory may have been the first, and this one be half-written.
        let quiet = last.map_or(due, |last| last + QUIET).min(latest);
        self.waiting = (now < quiet).then_some((quiet, latest));
        self.waiting.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Goes through events at these times, in milliseconds, and looks whenever that is due: when files are read.
    fn reads(events: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let (mut quiet, mut last, mut reads) = (Quiet::default(), None, Vec::new());
        let mut events = events.iter().map(|at| start + ms(*at)).peekable();
        loop {
            let next = match (quiet.due(), events.peek()) {
                (Some(due), Some(event)) if due < *event => due,
                (_, Some(_)) => {
                    let event = events.next().unwrap();
                    if last.is_none() {
                        quiet.begin(event);
                    }
                    last = Some(event);
                    continue;
                }
                (Some(due), None) => due,
                (None, None) => return reads,
            };
            if quiet.is_over(last, next) {
                reads.push(u64::try_from((next - start).as_millis()).unwrap());
                last = None;
            }
        }
    }

    #[test]
    fn a_file_that_is_truncated_first_is_read_when_it_is_whole() {
        assert_eq!(reads(&[0]), [50]);
        // Truncated, written.
        assert_eq!(reads(&[0, 30]), [80]);
        // Another file, truncated, written.
        assert_eq!(reads(&[0, 30, 60]), [110]);
        // Who pauses for longer is read twice.
        assert_eq!(reads(&[0, 51]), [50, 101]);
        // Who never stops is read all the same.
        let busy: Vec<u64> = (0..100).map(|at| at * 10).collect();
        assert_eq!(reads(&busy), [500, 1010]);
    }

    proptest! {
        #[test]
        fn every_event_is_followed_by_a_reading_in_time(steps in proptest::collection::vec(0_u64..120, 1..60)) {
            let events: Vec<u64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let reads = reads(&events);
            for event in &events {
                let read = reads.iter().find(|read| *read >= event).copied();
                prop_assert!(read.is_some_and(|read| read - event <= 500), "{event} in {events:?}: {reads:?}");
            }
            for read in &reads {
                let before: Vec<u64> = events.iter().copied().filter(|event| event < read).collect();
                let quiet = before.last().is_some_and(|last| read - last >= 50);
                let first_unread = reads.iter().copied().filter(|other| other < read).max();
                let first = before.iter().find(|event| first_unread.is_none_or(|other| **event >= other));
                prop_assert!(quiet || first.is_some_and(|first| read - first == 500), "{read} of {events:?}: {reads:?}");
            }
        }
    }
}
