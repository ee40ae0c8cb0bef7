//! The same error is logged once per interval, however often it happens; that it is over, once.

use std::time::{Duration, Instant};

/// How long one text stays unsaid after it was said.
const INTERVAL: Duration = Duration::from_mins(1);
/// How many different texts are remembered. A store that finds a new text each time is logged each time.
const REMEMBERED: usize = 8;

/// What of one layer's errors is worth a line now. Time is a parameter.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    said: Vec<(String, Instant)>,
    /// An error was said since the last recovery.
    open: bool,
}

impl Sampler {
    /// Whether to say this error now.
    pub(crate) fn error(&mut self, text: &str, now: Instant) -> bool {
        self.open = true;
        self.said.retain(|(_, at)| now.saturating_duration_since(*at) < INTERVAL);
        if self.said.iter().any(|(said, _)| said == text) {
            return false;
        }
        if self.said.len() == REMEMBERED {
            self.said.remove(0);
        }
        self.said.push((text.to_owned(), now));
        true
    }

    /// Whether to say that it is over. The texts stay unsaid until their interval ends: a flapping store is one line of
    /// each a minute.
    pub(crate) fn recovered(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.open) {
            return false;
        }
        let text = "recovered";
        let again = self.error(text, now);
        self.open = false;
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_per_text_and_interval() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sampler = Sampler::default();
        assert!(!sampler.recovered(at(0)));
        assert!(sampler.error("a", at(0)));
        assert!(!sampler.error("a", at(59)));
        assert!(sampler.error("b", at(59)));
        assert!(sampler.error("a", at(60)));
        assert!(sampler.recovered(at(61)));
        assert!(!sampler.recovered(at(62)));
        assert!(!sampler.error("a", at(63)));
        assert!(!sampler.recovered(at(64)), "one line of recovery per interval, too");
        assert!(sampler.error("a", at(200)));
    }

    #[test]
    fn texts_without_end_are_not_kept() {
        let mut sampler = Sampler::default();
        for i in 0..1000 {
            assert!(sampler.error(&i.to_string(), Instant::now()));
        }
        assert!(sampler.said.len() <= REMEMBERED);
    }
}
