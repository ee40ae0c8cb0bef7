//! Free TCP ports on the loopback interface.

use std::net::TcpListener;

/// `N` different ports that are free now. Somebody else could take one before it is used; the range is large.
pub fn free<const N: usize>() -> [u16; N] {
    // All are held until all are known, so that they differ.
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
