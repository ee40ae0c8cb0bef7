//! How long to wait before the next try: exponential, full jitter, a cap, for ever. Pure: randomness is a parameter.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// The first wait is at most this long.
const BASE: Duration = Duration::from_millis(200);
/// No wait is longer.
const CAP: Duration = Duration::from_mins(1);
/// No wait is shorter: full jitter reaches down to 0, and ten tries in a millisecond help nobody.
const FLOOR: Duration = Duration::from_millis(20);

/// The waits of one layer. "Full jitter": uniform between nothing and a bound that doubles, so that a fleet whose store
/// comes back does not knock in step.
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `random`: uniform over all of u64 ([`random`]).
    pub fn next(&mut self, random: u64) -> Duration {
        let bound = BASE.saturating_mul(2_u32.saturating_pow(self.failures)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        // Below 2^36 nanoseconds times below 2^64: fits u128.
        let nanos = (bound.as_nanos() * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).max(FLOOR)
    }

    /// It worked: the next failure starts over.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number that no other process draws at the same time. The standard library seeds its hash maps from the kernel; that
/// is random enough for jitter, and no crate.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..12).map(|_| backoff.next(u64::MAX).as_millis()).collect();
        assert_eq!(bounds[..9], [199, 399, 799, 1599, 3199, 6399, 12799, 25599, 51199]);
        assert!(bounds[9..].iter().all(|bound| *bound == 59_999));
        assert_eq!(backoff.next(0), FLOOR);
        backoff.reset();
        assert_eq!(backoff.next(u64::MAX).as_millis(), 199);
    }

    #[test]
    fn randomness_is_not_a_constant() {
        assert!((0..8).map(|_| random()).collect::<std::collections::BTreeSet<_>>().len() > 1);
    }

    proptest! {
        #[test]
        fn every_wait_is_within_its_bounds(draws in proptest::collection::vec(any::<u64>(), 1..200)) {
            let mut backoff = Backoff::default();
            for (failures, draw) in draws.into_iter().enumerate() {
                let wait = backoff.next(draw);
                prop_assert!(wait >= FLOOR && wait <= CAP);
                let bound = u32::try_from(failures).ok().and_then(|n| 2_u32.checked_pow(n)).map_or(CAP, |n| BASE.saturating_mul(n));
                prop_assert!(wait <= bound.max(FLOOR));
            }
        }
    }
}
