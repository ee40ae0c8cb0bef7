//! Small threads that feed the loop.

/// They copy messages and wait; none recurses.
const THREAD_STACK: usize = 128 * 1024;

/// Starts a small thread that feeds the loop.
pub(crate) fn thread(name: &str, body: impl FnOnce() + Send + 'static) {
    start(builder(name), name, body);
}

/// The same for one that needs more stack, bytes.
pub(super) fn large_thread(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) {
    start(builder(name).stack_size(stack), name, body);
}

fn start(builder: std::thread::Builder, name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = builder.spawn(body) {
        crate::error!("failed to start thread `{name}`: {}", crate::error::reason(&error));
        // The loop cannot do its work without it; init starts a new worker.
        std::process::abort();
    }
}

/// A thread of the worker: named, with a small stack.
pub(crate) fn builder(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK)
}
