//! Document formats: which one a file is, and how its text becomes a value.

/// A format that proem reads and checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// YAML 1.2, one document.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// `KEY=value` lines as docker's `--env-file` and systemd's `EnvironmentFile` take them.
    Env,
    /// `[section]` and `key = value`.
    Ini,
    /// Anything else.
    Text,
}
