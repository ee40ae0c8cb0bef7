//! Medians and percentiles. Milliseconds throughout.

use std::time::Instant;

/// What was measured of one contender.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which the share `p` (0..=1) of the samples lies; NaN without samples.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    pub fn at(&self, p: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * p).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.at(0.5)
    }
}

/// From `start` to `end` in milliseconds; negative when `end` came first.
pub fn ms(start: Instant, end: Instant) -> f64 {
    match end.checked_duration_since(start) {
        Some(after) => after.as_secs_f64() * 1e3,
        None => -start.duration_since(end).as_secs_f64() * 1e3,
    }
}
