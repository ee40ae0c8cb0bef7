//! The shape that every source's URI has: `scheme:thing`, `scheme://authority/thing`, `?query`.

use crate::error::Complaint;

/// A source's URI, split but not yet understood by its kind.
///
/// Consul keys may hold `?`, `#`, `%` and spaces; a `%XX` in the path is decoded, so such a key is written `%3F`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// As written (after `${…}` expansion), for messages: without what may be a password.
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

impl Uri {
    /// Splits a URI. What its path and query mean is the kind's to say ([`super::kind::inspect`]).
    ///
    /// The text has been expanded already, part by part ([`Uri::parse_expanding`]), so a value cannot add options.
    pub fn parse(text: &str) -> Result<Uri, Complaint> {
        Uri::parse_expanding(text, |part| Ok(part.to_owned()))
    }

    /// Splits first, then expands `${…}` in each part: what a variable holds can neither add a query option nor name
    /// another scheme.
    pub fn parse_expanding(text: &str, expand: impl Fn(&str) -> Result<String, Complaint>) -> Result<Uri, Complaint> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Complaint::new(format!("`{text}` is not a source: it has no `scheme:`"))
                .hint(format!("a file is written `file:{text}`")));
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_empty() || !scheme.chars().all(legal) {
            return Err(Complaint::new(format!("`{text}` is not a source: `{scheme}` is no scheme"))
                .hint("a source is written `SCHEME:PATH`, such as `file:/app.toml`"));
        }
        let (rest, query) = split_query(rest);
        let (authority, path) = match rest.strip_prefix("//") {
            // `file:///path` has an empty authority.
            Some(rest) => match rest.find('/') {
                Some(0) => (None, rest),
                Some(slash) => (Some(&rest[..slash]), &rest[slash..]),
                None => (Some(rest), ""),
            },
            None => (None, rest),
        };
        let part = |part: &str| -> Result<String, Complaint> { decode(&expand(part)?, text) };
        let mut pairs = Vec::new();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(part(value)?)),
                None => (pair, None),
            };
            pairs.push((part(name)?, value));
        }
        let authority = authority.map(&expand).transpose()?;
        let path = part(path)?;
        let text = redacted(&expand(text)?, authority.as_deref(), &pairs);
        Ok(Uri { text, scheme: scheme.to_ascii_lowercase(), authority, path, query: pairs })
    }

    /// The value of a query option; `Some(None)` for a flag.
    pub fn option(&self, name: &str) -> Option<Option<&str>> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_deref())
    }
}

/// Without what stands before an `@` in the authority, and without the value of an option that sounds like a credential:
/// no kind takes one there, but somebody may try.
fn redacted(text: &str, authority: Option<&str>, query: &[(String, Option<String>)]) -> String {
    let mut shown = match authority.and_then(|authority| authority.rsplit_once('@')) {
        Some((user, _)) => text.replacen(&format!("{user}@"), "", 1),
        None => text.to_owned(),
    };
    for (name, value) in query {
        let sounds = super::secrets::sounds_secret(name);
        if let Some(value) = value.as_deref().filter(|value| sounds && !value.is_empty()) {
            shown = shown.replace(&format!("{name}={value}"), &format!("{name}=…"));
        }
    }
    shown
}

/// Splits at the first `?` that is not inside `${…}`.
fn split_query(text: &str) -> (&str, Option<&str>) {
    let mut depth = 0_u32;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'?' if depth == 0 => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn decode(part: &str, whole: &str) -> Result<String, Complaint> {
    percent_decode(part).map_err(|why| match why {
        NOT_UTF8 => Complaint::new(format!("`{whole}` is not UTF-8 after percent-decoding"))
            .hint("encode the bytes of UTF-8: `%C3%BC` is `ü`; or write the character itself"),
        why => Complaint::new(format!("`{whole}`: {why}")).hint("write a literal `%` as `%25`"),
    })
}

const NOT_UTF8: &str = "it is not UTF-8 after percent-decoding";

const BAD_PERCENT: &str = "a `%` is not followed by two hexadecimal digits";

/// Decodes `%XX`; the error says what is wrong, as the rest of a sentence.
pub fn percent_decode(part: &str) -> Result<String, &'static str> {
    if !part.contains('%') {
        return Ok(part.to_owned());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        // `from_str_radix` takes a sign.
        let hex = tail.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            _ if byte == b'%' => return Err(BAD_PERCENT),
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| NOT_UTF8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_uri() {
        let uri = Uri::parse("consul://db:8500/config/app?dc=eu&stale").unwrap();
        assert_eq!(
            (uri.scheme.as_str(), uri.authority.as_deref(), uri.path.as_str()),
            ("consul", Some("db:8500"), "/config/app")
        );
        assert_eq!(uri.option("dc"), Some(Some("eu")));
        assert_eq!(uri.option("stale"), Some(None));
        assert_eq!(uri.option("wait"), None);
        assert_eq!(Uri::parse("file:///run/secrets").unwrap().path, "/run/secrets");
        assert_eq!(Uri::parse("env:").unwrap().path, "");
        assert_eq!(Uri::parse("consul:a%3Fb%20c").unwrap().path, "a?b c");
    }

    #[test]
    fn a_value_cannot_add_options() {
        let uri = Uri::parse_expanding("consul:config/${X:-a?b}/shop?optional", |part| {
            Ok(part.replace("${X:-a?b}", "dev?dc=evil"))
        })
        .unwrap();
        assert_eq!(uri.path, "config/dev?dc=evil/shop");
        assert_eq!(uri.query, [("optional".to_owned(), None)]);
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(Uri::parse("consul:a?dc=x&token=hunter2").unwrap().text, "consul:a?dc=x&token=…");
        assert_eq!(Uri::parse("redis://me:pw@host:1/x?a").unwrap().text, "redis://host:1/x?a");
        assert_eq!(Uri::parse("consul:a@b").unwrap().text, "consul:a@b");
    }

    #[test]
    fn what_is_no_uri_says_so() {
        assert!(Uri::parse("/etc/app.toml").unwrap_err().hint.unwrap().contains("file:/etc/app.toml"));
        assert!(Uri::parse("consul:50%").is_err());
    }
}
