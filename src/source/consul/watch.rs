//! A watch's bookkeeping: which index to wait on, what counts as a change, and when a server is asked too fast.
//!
//! The rules are those of Consul's API documentation, "Blocking Queries: Implementation Details".

use super::client::Fault;
use crate::source::{Next, Reading};
use std::hash::{BuildHasher as _, DefaultHasher, RandomState};
use std::time::{Duration, Instant};

/// The index to wait on next, after `answered` came for a query on `previous`; 0 reads at once.
///
/// An index that goes backwards (a restored snapshot, a new cluster) starts over. One that is 0 or absent cannot be
/// waited on.
pub(super) fn next_index(previous: u64, answered: u64) -> u64 {
    if answered < previous { 0 } else { answered }
}

/// Slows down a watch that is woken over and over for nothing (a prefix that does not exist is woken by writes to its
/// neighbours; a proxy may ignore `index`), and never one that brings news.
#[derive(Debug, Default)]
pub(super) struct Pace {
    in_vain: u32,
}

impl Pace {
    /// How many wakings for nothing are followed at once.
    const FREE: u32 = 4;
    /// The first pause; it doubles.
    const FIRST: Duration = Duration::from_millis(20);
    /// The longest pause: what a real change can be late by at worst.
    const LONGEST: Duration = Duration::from_secs(1);

    /// Counts a round that took this long.
    pub(super) fn round(&mut self, brought_news: bool, took: Duration) {
        if brought_news || took >= Pace::LONGEST {
            self.in_vain = 0;
        } else {
            self.in_vain = self.in_vain.saturating_add(1);
        }
    }

    /// The pause before the next round.
    pub(super) fn pause(&self) -> Duration {
        match self.in_vain.checked_sub(Pace::FREE) {
            None | Some(0) => Duration::ZERO,
            Some(n) => (Pace::FIRST * 2_u32.pow((n - 1).min(10))).min(Pace::LONGEST),
        }
    }
}

/// The rounds of one watch: what the last one brought, and how fast they follow each other.
pub(super) struct Rounds {
    /// The hash of the last content; none yet: the next is news.
    last: Option<u64>,
    /// Its keys are random, so nobody can write content with the hash of another.
    state: RandomState,
    begun: Instant,
    pace: Pace,
}

impl Default for Rounds {
    fn default() -> Self {
        Rounds { last: None, state: RandomState::new(), begun: Instant::now(), pace: Pace::default() }
    }
}

impl Rounds {
    /// Begins a round, after a pause when the last ones were in vain.
    pub(super) async fn begin(&mut self) {
        let pause = self.pace.pause();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.begun = Instant::now();
    }

    /// Goes on within a round that was woken in vain.
    pub(super) async fn again(&mut self) {
        self.pace.round(false, self.begun.elapsed());
        self.begin().await;
    }

    /// Hashes the content of this round.
    pub(super) fn hasher(&self) -> DefaultHasher {
        self.state.build_hasher()
    }

    /// Ends a round that read content of this hash. An index that moved without the content is no change. An answer
    /// from a server that knows no leader is taken, with a warning, but proves nothing when it says what was known.
    pub(super) fn end(
        &mut self,
        hash: u64,
        reading: impl FnOnce() -> Reading,
        known_leader: bool,
        no_leader: impl FnOnce() -> Fault,
    ) -> Result<Next, Fault> {
        let news = self.last != Some(hash);
        self.pace.round(news, self.begun.elapsed());
        if !news {
            return if known_leader { Ok(Next::Same) } else { Err(no_leader()) };
        }
        self.last = Some(hash);
        let mut reading = reading();
        if !known_leader {
            reading.warnings.push(format!("{}; its data may be old", no_leader().error.message));
        }
        Ok(Next::Changed(reading))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn indexes() {
        assert_eq!(next_index(0, 7), 7);
        assert_eq!(next_index(7, 7), 7);
        assert_eq!(next_index(7, 9), 9);
        assert_eq!(next_index(9, 3), 0);
        assert_eq!(next_index(9, 0), 0);
    }

    #[test]
    fn only_what_is_in_vain_is_slowed_down() {
        let mut pace = Pace::default();
        let quick = Duration::from_millis(1);
        for _ in 0..1000 {
            pace.round(true, quick);
        }
        assert_eq!(pace.pause(), Duration::ZERO);
        for _ in 0..4 {
            pace.round(false, quick);
            assert_eq!(pace.pause(), Duration::ZERO);
        }
        pace.round(false, quick);
        assert_eq!(pace.pause(), Pace::FIRST);
        pace.round(false, Duration::from_mins(5));
        assert_eq!(pace.pause(), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn an_index_never_goes_below_what_was_answered_but_to_zero(previous: u64, answered: u64) {
            let next = next_index(previous, answered);
            prop_assert!(next == 0 || next == answered && next >= previous);
        }

        #[test]
        fn pauses_grow_and_are_bounded(rounds in 0_u32..100) {
            let mut pace = Pace::default();
            let mut last = Duration::ZERO;
            for _ in 0..rounds {
                pace.round(false, Duration::ZERO);
                prop_assert!(pace.pause() >= last && pace.pause() <= Pace::LONGEST);
                last = pace.pause();
            }
        }
    }
}
