//! The shape that every source's URI has: `scheme:thing`, `scheme://authority/thing`, `?query`.

/// A source's URI, split but not yet understood by its kind.
///
/// Consul keys may hold `?`, `#`, `%` and spaces; a `%XX` in the path is decoded, so such a key is written `%3F`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// As written (after `${…}` expansion), for messages.
    pub text: String,
    /// `consul`, `consul+service`, `env`, `file`…
    pub scheme: String,
    /// `host:port` of `scheme://host:port/thing`.
    pub authority: Option<String>,
    /// What is named, percent-decoded.
    pub path: String,
    /// `?a=1&b` in order, percent-decoded; a flag has no value.
    pub query: Vec<(String, Option<String>)>,
}
