//! Waiting for something to become true, never for time to pass.

use std::time::{Duration, Instant};

/// Between two looks.
const STEP: Duration = Duration::from_millis(5);

/// Looks until `look` gives something; panics after `limit`, saying what was waited for and what `state` says then.
pub fn until<T>(limit: Duration, what: &str, state: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}\n{}", state());
        std::thread::sleep(STEP);
    }
}

/// Looks for `time` and panics as soon as `holds` says no.
pub fn throughout(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(holds(), "{what}: no longer true after {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
}
