//! How long something lives that Vault lends, a token or a lease, and when to do something about it. Pure: time and
//! randomness are parameters.
//!
//! The rules are those of Vault's own clients (`LifetimeWatcher` in its Go API): renewed after two thirds, replaced
//! before the end when it cannot be renewed any further; each at a random moment, so that a fleet does not come at once.

use std::time::{Duration, Instant};

/// When what can be renewed is, in thousandths of its length.
const RENEW: (u32, u32) = (633, 700);
/// When it is replaced, because renewing failed so far.
const TOO_LATE: u32 = 900;
/// When what cannot be renewed is replaced.
const REPLACE: (u32, u32) = (800, 900);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until [`Term::due`].
    Rest,
    /// Renew it.
    Renew,
    /// Get another one.
    Replace,
}

/// The life of one token or lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// What was granted first. Shorter renewals mean that its longest life comes to an end.
    granted: Duration,
    due: Instant,
    replace: Instant,
}

impl Term {
    /// Granted at `now`, for `length`. `None`: it never ends.
    pub(super) fn new(length: Duration, renewable: bool, now: Instant, random: u64) -> Option<Term> {
        (!length.is_zero()).then(|| Term::of(length, length, renewable, now, random))
    }

    /// The same after a renewal at `now`, for `length`.
    pub(super) fn renewed(&self, length: Duration, renewable: bool, now: Instant, random: u64) -> Option<Term> {
        // A third of what it was: there is less and less to be had, and ever more often.
        let renewable = renewable && length >= self.granted / 3;
        (!length.is_zero()).then(|| Term::of(self.granted, length, renewable, now, random))
    }

    fn of(granted: Duration, length: Duration, renewable: bool, now: Instant, random: u64) -> Term {
        // Longer than anybody waits, and no sum with it overflows.
        let length = length.min(Duration::from_hours(24 * 365));
        let due = now + part(length, if renewable { RENEW } else { REPLACE }, random);
        let replace = if renewable { now + part(length, (TOO_LATE, TOO_LATE), 0) } else { due };
        Term { granted, due, replace }
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// From when on it is replaced.
    pub(super) fn replace(&self) -> Instant {
        self.replace
    }

    /// What is to be done at `now`.
    pub(super) fn step(&self, now: Instant) -> Step {
        if now < self.due {
            Step::Rest
        } else if now < self.replace {
            Step::Renew
        } else {
            Step::Replace
        }
    }
}

/// Between these two thousandths of a time, uniformly. `random`: uniform over all of u64.
pub(super) fn part(whole: Duration, (from, to): (u32, u32), random: u64) -> Duration {
    let low = whole / 1000 * from;
    let width = whole / 1000 * (to - from);
    // Less than 2^64 nanoseconds times less than 2^64: fits u128.
    let offset = (width.as_nanos() * u128::from(random)) >> 64;
    low + Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn what_can_be_renewed_is_after_two_thirds() {
        let now = Instant::now();
        let term = Term::new(HOUR, true, now, u64::MAX / 2).unwrap();
        assert_eq!((term.due() - now).as_secs(), 2399);
        assert_eq!(term.step(now + Duration::from_mins(30)), Step::Rest);
        assert_eq!(term.step(now + Duration::from_mins(45)), Step::Renew);
        assert_eq!(term.step(now + Duration::from_mins(54)), Step::Replace);
    }

    #[test]
    fn what_cannot_is_replaced_before_its_end() {
        let now = Instant::now();
        let term = Term::new(HOUR, false, now, 0).unwrap();
        assert_eq!(term.step(now + Duration::from_mins(47)), Step::Rest);
        assert_eq!(term.step(now + Duration::from_mins(48)), Step::Replace);
        assert_eq!(Term::new(Duration::ZERO, true, now, 0), None);
        // What a server says must not overflow anything.
        let endless = Term::new(Duration::MAX, true, now, u64::MAX).unwrap();
        assert!(endless.renewed(Duration::MAX, false, now, u64::MAX).unwrap().due() > endless.due());
    }

    #[test]
    fn a_life_that_comes_to_its_end_is_not_renewed_in_ever_smaller_steps() {
        let now = Instant::now();
        let term = Term::new(HOUR, true, now, 0).unwrap();
        let half = term.renewed(HOUR / 2, true, now, 0).unwrap();
        assert_eq!(half.step(half.due()), Step::Renew);
        let last = half.renewed(HOUR / 4, true, now, 0).unwrap();
        assert_eq!(last.step(last.due()), Step::Replace);
    }

    proptest! {
        #[test]
        fn something_is_done_before_the_end(seconds in 1_u64..100_000_000, renewable: bool, random: u64, shorter in 0_u64..1000) {
            let now = Instant::now();
            let length = Duration::from_secs(seconds);
            let term = Term::new(length, renewable, now, random).unwrap();
            prop_assert!(term.due() > now && term.due() < now + length);
            prop_assert!(term.replace >= term.due() && term.replace < now + length);
            let renewed = term.renewed(length / u32::try_from(shorter + 1).unwrap(), renewable, now, random);
            prop_assert!(renewed.is_none_or(|renewed| renewed.due() > now && renewed.due() <= term.due()));
        }

        #[test]
        fn a_part_is_within_its_bounds(nanos in 0_u64..1 << 60, from in 0_u32..1000, width in 0_u32..500, random: u64) {
            let whole = Duration::from_nanos(nanos);
            let part = part(whole, (from, from + width), random);
            prop_assert!(part >= whole / 1000 * from && part <= whole / 1000 * (from + width));
        }
    }
}
