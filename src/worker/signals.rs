//! Without init (`exec`, `render`, `check`) there is no child to be transparent for: TERM, INT and QUIT end proem.

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// Feeds the signals that end proem to `feed`, until that says that nobody listens any more.
///
/// Signals have been blocked since the first instructions of `main`, so one that came earlier is delivered now: nothing
/// is lost, and as PID 1 (where the kernel drops a signal without a handler) neither.
pub fn listen(feed: impl Fn(i32) -> bool + Send + 'static) {
    let mut signals = match Signals::new([SIGTERM, SIGINT, SIGQUIT]) {
        Ok(signals) => signals,
        Err(error) => {
            crate::warn!("failed to handle signals: {error}\n  hint: only KILL ends proem while it waits");
            return;
        }
    };
    super::thread("signals", move || {
        crate::os::inherited::unblock(&[SIGTERM, SIGINT, SIGQUIT]);
        for signal in signals.forever() {
            if !feed(signal) {
                return;
            }
        }
    });
}
