//! The proem binary.
fn main() {}
