//! The proem binary: the C entry point, because Rust's own comes too late.
//!
//! Before Rust's `main` runs, its runtime ignores SIGPIPE, installs handlers for SEGV and BUS and opens /dev/null over
//! closed descriptors: the truth that a child must get back is unreadable by then, and a TERM that arrives first is
//! lost. Here the first thing that happens is that every signal is blocked.
#![no_main]

use proem::os::{fds, inherited::Inherited};
use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

/// Called by the C runtime.
// SAFETY: the symbol `main` is what the C runtime expects, with this signature, and nothing else here defines it.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, vector: *const *const c_char) -> c_int {
    let inherited = Inherited::take();
    fds::occupy_stdio();
    // musl gives no arguments to `std::env::args` where `main` is not Rust's.
    let args = (0..usize::try_from(count).unwrap_or(0))
        .map(|i| {
            // SAFETY: the C runtime passes `count` pointers to NUL-terminated strings that live as long as the process.
            let bytes = unsafe { CStr::from_ptr(*vector.add(i)) }.to_bytes();
            OsString::from_vec(bytes.to_vec())
        })
        .collect();
    proem::commands::main(args, &inherited).0.into()
}
