//! The network, once for every remote store: names ([`resolve`]), TLS ([`tls`]) and HTTP ([`http`]).
//!
//! Nothing here knows a store. Nothing here calls getaddrinfo, reads roots for plain HTTP, follows a redirect, or uses
//! a proxy from the environment: a container's store is reached directly, and a token goes nowhere else.

pub mod http;
pub mod resolve;
pub mod tls;

/// The runtime that all network sources share: one thread, the one that drives it.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()
}
