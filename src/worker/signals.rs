//! Without init (`exec`, `render`, `check`) there is no child to be transparent for: HUP, INT, QUIT and TERM end proem.

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// What ends proem where it has no child.
pub const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Feeds the signals that end proem to `feed`, until that says that nobody listens any more.
///
/// Signals have been blocked since the first instructions of `main`, so one that came earlier is delivered now: nothing
/// is lost, and as PID 1 (where the kernel drops a signal without a handler) neither.
pub fn listen(feed: impl Fn(i32) -> bool + Send + 'static) {
    let mut signals = match Signals::new(ENDING) {
        Ok(signals) => signals,
        Err(error) => {
            crate::warn!("failed to handle signals: {error}\n  hint: only KILL ends proem while it waits");
            return;
        }
    };
    super::thread("signals", move || {
        crate::os::inherited::unblock(&ENDING);
        for signal in signals.forever() {
            if !feed(signal) {
                return;
            }
        }
    });
}
