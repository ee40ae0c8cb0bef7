//! When a verify tries, and when its time is over.
//!
//! Pure: the time is a parameter. One try at a time: the next begins after the last has ended.

use std::time::{Duration, Instant};

/// A signal is sent long before it is obeyed: a try at once would find the process with its old files, and accept.
pub const OBEYED: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// However late this machine is, a try gets this long.
const LEAST: Duration = Duration::from_millis(500);

/// The tries of one verify.
#[derive(Debug, Clone)]
pub struct Tries {
    deadline: Instant,
    /// `None` while one runs.
    next: Option<Instant>,
}

impl Tries {
    /// The reload was done at `now`. The first try comes after a quarter of the time, a second at most.
    pub fn new(now: Instant, within: Duration) -> Tries {
        Tries { deadline: now + within, next: Some(now + (within / 4).min(OBEYED)) }
    }

    /// When the next try begins.
    pub fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Begins a try if it is time, and says how long it may take.
    pub fn begin(&mut self, now: Instant) -> Option<Duration> {
        self.next.take_if(|next| *next <= now)?;
        Some(self.deadline.saturating_duration_since(now).max(LEAST))
    }

    /// The verdict would not be about this publish alone: all the time is given anew from `now`. A try that runs is not
    /// cut off.
    pub fn renew(&mut self, now: Instant, within: Duration) {
        let fresh = Tries::new(now, within);
        self.deadline = fresh.deadline;
        self.next = self.next.and(fresh.next);
    }

    /// The try that began has failed. `false`: it was the last, for another could not begin in time.
    pub fn again(&mut self, now: Instant) -> bool {
        self.next = Some(now + PAUSE).filter(|next| *next < self.deadline);
        self.next.is_some()
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
    fn the_first_try_leaves_the_process_time_to_obey() {
        let t = Instant::now();
        assert_eq!(Tries::new(t, ms(400)).due(), Some(t + ms(100)));
        assert_eq!(Tries::new(t, ms(60_000)).due(), Some(t + OBEYED));
    }

    #[test]
    fn renewed_it_has_all_its_time_again_and_still_one_try_at_a_time() {
        let t = Instant::now();
        let mut tries = Tries::new(t, ms(400));
        tries.renew(t + ms(90), ms(400));
        assert_eq!(tries.due(), Some(t + ms(190)));
        tries.begin(t + ms(190)).unwrap();
        tries.renew(t + ms(300), ms(400));
        assert_eq!(tries.due(), None);
        assert!(tries.again(t + ms(440)));
        assert_eq!(tries.due(), Some(t + ms(690)));
        tries.begin(t + ms(690)).unwrap();
        assert!(!tries.again(t + ms(695)));
    }

    proptest! {
        /// Whatever each try takes: there is at least one, never two at once, none begins after the time is over, and
        /// each that is in time may take all that is left of it.
        #[test]
        fn there_is_always_a_try_and_none_too_late(
            within in 1_u64..20_000,
            late in prop::collection::vec(0_u64..300, 100),
            takes in prop::collection::vec(0_u64..3_000, 100),
        ) {
            let t = Instant::now();
            let mut tries = Tries::new(t, ms(within));
            let mut made = 0;
            let mut now = t;
            for (late, takes) in late.into_iter().zip(takes) {
                let Some(due) = tries.due() else { break };
                prop_assert!(due >= now && due < t + ms(within));
                prop_assert_eq!(tries.begin(due.checked_sub(ms(1)).unwrap()), None);
                now = due + ms(late);
                let time = tries.begin(now).expect("it is due");
                prop_assert!(time >= LEAST && time <= (t + ms(within)).saturating_duration_since(now).max(LEAST));
                prop_assert_eq!((tries.due(), tries.begin(now + ms(60_000))), (None, None));
                made += 1;
                now += ms(takes).min(time);
                let again = tries.again(now);
                prop_assert_eq!(again, tries.due().is_some());
                prop_assert_eq!(again, now + PAUSE < t + ms(within));
                if !again {
                    break;
                }
            }
            prop_assert!(made > 0);
        }
    }
}
