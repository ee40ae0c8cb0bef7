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

impl Format {
    /// The format that a file name's ending says; [`Format::Text`] for any other.
    pub fn of_path(path: &std::path::Path) -> Format {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("toml") => Format::Toml,
            Some("yaml" | "yml") => Format::Yaml,
            Some("json") => Format::Json,
            Some("env") => Format::Env,
            Some("ini") => Format::Ini,
            _ => Format::Text,
        }
    }

    /// The format of this name (`toml`, `yaml`, `json`, `env`, `ini`, `text`).
    pub fn by_name(name: &str) -> Option<Format> {
        Some(match name {
            "toml" => Format::Toml,
            "yaml" => Format::Yaml,
            "json" => Format::Json,
            "env" => Format::Env,
            "ini" => Format::Ini,
            "text" => Format::Text,
            _ => return None,
        })
    }
}
