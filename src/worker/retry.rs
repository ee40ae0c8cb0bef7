//! The pause after a failure that its cause may end: a full disk, a reload command that failed.
//!
//! Pure: the time is a parameter. No jitter: what is retried is local to this container.

use std::time::{Duration, Instant};

/// The first pause.
pub const BASE: Duration = Duration::from_millis(500);
/// The longest.
pub const CAP: Duration = Duration::from_mins(1);

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Not before then.
    pub at: Instant,
    failures: u32,
}

impl Retry {
    /// After a failure at `now`; `before` is the pause that it followed, if it was not the first. Doubles up to the cap.
    pub fn after(before: Option<Retry>, now: Instant) -> Retry {
        let failures = before.map_or(0, |before| before.failures);
        let pause = BASE.saturating_mul(1 << failures.min(10)).min(CAP);
        Retry { at: now + pause, failures: failures + 1 }
    }
}
