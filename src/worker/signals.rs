//! Without init (`exec`, `render`) there is no child to be transparent for: HUP, INT, QUIT and TERM end proem, and so does
//! main's own stop signal.

use crate::config::plan::Plan;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::thread::JoinHandle;

/// What ends proem where it has no child.
pub fn ending(plan: &Plan) -> Vec<i32> {
    let mut signals = vec![SIGHUP, SIGINT, SIGQUIT, SIGTERM];
    let stop_signals = plan.processes.iter().filter_map(|process| process.stop_signal);
    // Those that signal-hook refuses to handle are none that a program is stopped by.
    let handled = |signal: &i32| !signal_hook::consts::FORBIDDEN.contains(signal);
    signals.extend(stop_signals.filter(handled));
    signals
}

/// A thread that waits for signals.
#[derive(Debug)]
pub struct Listener {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Ends the thread: what it took has been fed when this returns, and what arrives later stays pending.
    pub fn stop(self) {
        self.handle.close();
        // It cannot panic; there is nothing to do if it did.
        let _ = self.thread.join();
    }
}

/// Feeds these signals to `feed`, until that says that nobody listens any more.
///
/// Signals have been blocked since the first instructions of `main`, so one that came earlier is delivered now: nothing
/// is lost, and as PID 1 (where the kernel drops a signal without a handler) neither.
pub fn listen(signals: Vec<i32>, feed: impl Fn(i32) -> bool + Send + 'static) -> Option<Listener> {
    let refused = |error: std::io::Error| {
        let error = crate::error::reason(&error);
        crate::warn!("failed to handle signals: {error}\n  hint: only KILL ends proem while it waits");
    };
    let mut received = Signals::new(&signals).map_err(refused).ok()?;
    let handle = received.handle();
    let body = move || {
        crate::os::inherited::unblock(&signals);
        for signal in received.forever() {
            if !feed(signal) {
                return;
            }
        }
    };
    let thread = super::builder("signals").spawn(body).map_err(refused).ok()?;
    Some(Listener { handle, thread })
}
