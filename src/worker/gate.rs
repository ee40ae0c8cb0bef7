//! The start gate: what start still waits for, until when, and how often that is said.
//!
//! Pure: the time is a parameter.

use std::time::{Duration, Instant};

/// How often what is missing is named.
const EVERY: Duration = Duration::from_secs(5);
/// How long a first answer may take.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// The first time it is named: soon enough for a human, late enough for a store that only takes a moment.
const FIRST: Duration = Duration::from_secs(1);

/// The deadline of start.
#[derive(Debug, Clone)]
pub struct Gate {
    began: Instant,
    wait: Duration,
    say: Instant,
}

impl Gate {
    /// Start began at `now` and may take `wait`.
    pub fn new(now: Instant, wait: Duration) -> Gate {
        Gate { began: now, wait, say: now + FIRST.min(wait) }
    }

    /// When the loop must look again.
    pub fn due(&self, unread: bool) -> Instant {
        self.say.min(self.deadline(unread))
    }

    /// When start gives up. A source that has not answered at all (`unread`) gets the time for one answer, however short
    /// the wait: `wait = "0s"` means "what is there now", and a store that is up needs a moment to say it.
    pub fn deadline(&self, unread: bool) -> Instant {
        self.began + if unread { self.wait.max(FIRST_ANSWER) } else { self.wait }
    }

    /// Whether it is time to name what is missing; asking arms the next time.
    pub fn say(&mut self, now: Instant) -> bool {
        if now < self.say {
            return false;
        }
        self.say = now + EVERY;
        true
    }

    /// `12s of 60s`, for the line that names what is missing.
    pub fn progress(&self, now: Instant) -> String {
        format!("{}s of {}s", now.saturating_duration_since(self.began).as_secs(), self.wait.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_things_are_named_after_one_second_and_then_every_five() {
        let t = Instant::now();
        let s = Duration::from_secs;
        let mut gate = Gate::new(t, s(60));
        let said: Vec<u64> = (0..=20).filter(|&n| gate.say(t + s(n))).collect();
        assert_eq!(said, [1, 6, 11, 16]);
        assert_eq!(gate.progress(t + s(12)), "12s of 60s");
    }

    #[test]
    fn the_deadline_is_seen_in_time_whatever_is_said() {
        let t = Instant::now();
        let mut gate = Gate::new(t, Duration::from_secs(3));
        gate.say(t + Duration::from_secs(1));
        assert_eq!(gate.due(false), t + Duration::from_secs(3));
    }

    #[test]
    fn no_wait_is_time_for_one_answer() {
        let t = Instant::now();
        let gate = Gate::new(t, Duration::ZERO);
        assert_eq!(gate.deadline(true), t + FIRST_ANSWER);
        assert_eq!(gate.deadline(false), t);
    }
}
