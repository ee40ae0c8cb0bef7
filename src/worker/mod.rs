//! The worker: one loop that owns the state; sources in, publishes and reloads out.
