//! The tree that a snapshot is: a [`tera::Value`], shared by `Arc`, so that a clone costs nothing and a template reads
//! it without a conversion.
//!
//! Rules that every snapshot keeps, so that the same values always render the same bytes:
//! maps have string keys and are sorted by key; there is no null (a null removes its key when layers are merged);
//! nothing is nested deeper than [`MAX_DEPTH`].

pub use tera::{Map, Value};

/// How deep a snapshot may be nested. A tree of 100,000 levels overflows the stack of whoever renders it.
pub const MAX_DEPTH: usize = 128;
