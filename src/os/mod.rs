//! What the kernel and the image offer, without libc's NSS: passwd, descriptors, signals, becoming another program.
//! Nothing here knows of templates, sources or the worker.

pub mod confine;
pub mod environ;
pub mod exec;
pub mod fds;
pub mod inherited;
pub mod memory;
pub mod mounts;
pub mod passwd;
pub mod peer;
pub mod ready;
pub mod signals;
pub mod socket;
