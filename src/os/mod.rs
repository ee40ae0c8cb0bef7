//! What the kernel and the image offer, without libc's NSS: passwd, descriptors, signals by name.
pub mod environ;
pub mod signals;
