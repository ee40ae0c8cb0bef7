//! The network: one runtime thread, one HTTP client, one resolver.
