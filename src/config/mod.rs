//! Configuration: what the user wrote (command line, environment, TOML files) becomes what proem will do, [`plan::Plan`].
//! Every mistake is found before any side effect, and all are reported at once. Nothing here does I/O except reading
//! the configuration files themselves.

pub mod plan;
