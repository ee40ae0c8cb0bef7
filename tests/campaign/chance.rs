//! Chance that can be repeated, and what it came to.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// What was done, by name.
#[derive(Debug, Default)]
pub struct Summary {
    /// How often each.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Adds to one of them.
    pub fn add(&mut self, what: &'static str, n: u64) {
        *self.counts.entry(what).or_default() += n;
    }

    /// Takes in another lane's.
    pub fn merge(&mut self, other: &Summary) {
        for (what, n) in &other.counts {
            self.add(what, *n);
        }
    }
}

/// Numbers by `SplitMix64`: the same seed gives the same faults in the same order.
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `n` numbers from 0 on.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Sleeps for a random part of this time.
    pub fn wait(&mut self, most: Duration) {
        let most = u64::try_from(most.as_micros()).unwrap();
        thread::sleep(Duration::from_micros(self.below(most)));
    }
}
