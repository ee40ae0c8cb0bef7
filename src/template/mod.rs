//! Templates: Tera, made strict, with proem's functions, filters, escaping and diagnostics.

/// How a value is escaped inside a double-quoted scalar of the target's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Escape {
    /// As it is.
    None,
    /// The body of a JSON string.
    Json,
    /// The body of a YAML double-quoted scalar.
    Yaml,
    /// The body of a TOML basic string.
    Toml,
    /// Inside double quotes of a POSIX shell.
    Shell,
    /// The body of a double-quoted value in an env file.
    Env,
    /// HTML text and attributes.
    Html,
}

impl Escape {
    /// The escaping that a target's ending asks for; [`Escape::None`] for any other.
    pub fn of_path(path: &std::path::Path) -> Escape {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("json") => Escape::Json,
            Some("yaml" | "yml") => Escape::Yaml,
            Some("toml") => Escape::Toml,
            Some("sh" | "bash") => Escape::Shell,
            Some("env") => Escape::Env,
            Some("html" | "htm" | "xml") => Escape::Html,
            _ => Escape::None,
        }
    }

    /// The escaping of this name (`none`, `json`, `yaml`, `toml`, `shell`, `env`, `html`).
    pub fn by_name(name: &str) -> Option<Escape> {
        Some(match name {
            "none" => Escape::None,
            "json" => Escape::Json,
            "yaml" => Escape::Yaml,
            "toml" => Escape::Toml,
            "shell" => Escape::Shell,
            "env" => Escape::Env,
            "html" => Escape::Html,
            _ => return None,
        })
    }
}
