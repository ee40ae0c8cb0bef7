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
