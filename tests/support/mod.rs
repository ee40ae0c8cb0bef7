//! What the black-box tests stand on: the real binary, real stores, real containers. Whatever is started here is ended
//! by its id when its handle is dropped, and whatever is waited for has a deadline.

#![allow(dead_code, reason = "every test binary compiles all of this and uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(clippy::disallowed_methods, reason = "the tests are dynamic programs on a whole machine, not PID 1")]

pub mod docker;
pub mod fpm;
pub mod http;
pub mod images;
pub mod inits;
pub mod namespace;
pub mod ports;
pub mod procs;
pub mod proem;
pub mod pty;
pub mod server;
pub mod service;
pub mod vault;
pub mod wait;

use std::path::{Path, PathBuf};

/// A file below `dir`, with its parents; returns its path.
pub fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

/// A whole file as text; empty when it is not there.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A new temporary folder, removed when dropped.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("proem-test-").tempdir().unwrap()
}

/// A path as text, for command lines.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}
