//! What must not be shown where values are shown on purpose: in the diff of a dry run. Exactly what is hidden, and what
//! cannot be, is in `docs/reference/render.md`.
//!
//! Two ways, used together. A *masked* tree has a placeholder in the place of every secret: what is rendered from it
//! holds nothing of them, whatever the template did with them (encoded, cut, hashed). And [`Known`] replaces values
//! that are known to be secret wherever their text appears.

use crate::value::{Map, Value};
use std::collections::BTreeSet;
use std::ops::Range;

/// Stands for a secret.
pub const PLACEHOLDER: &str = "[redacted]";
/// A shorter value is too likely to be a part of something else.
const SHORTEST: usize = 4;

/// Whether something of this name is likely to be a credential.
pub fn sounds_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let words = ["token", "pass", "pwd", "secret", "key", "auth", "credential", "private", "dsn"];
    // Those two are directories in every environment.
    let directory = ["pwd", "oldpwd"].contains(&lower.as_str());
    !directory && (lower.ends_with("pw") || words.iter().any(|word| lower.contains(word)))
}

/// Whether a line of a configuration is likely to hold a credential. Narrower than names are: `proxy_pass` is none.
pub fn line_sounds_secret(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let words = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "credential",
        "apikey",
        "api_key",
        "api-key",
        "access_key",
        "access-key",
        "private_key",
        "private-key",
        "authorization",
    ];
    words.iter().any(|word| lower.contains(word))
}

/// Which values of a tree are secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hide {
    /// All of them.
    All,
    /// Those whose name, or a name above them, sounds like a credential, and URIs with a password in them.
    Likely,
}

/// The tree with the placeholder instead of each secret; `None` where it holds none. Names stay, and so do `true`, `false`
/// and the empty text: none is a secret, and templates decide by them.
pub fn masked(value: &Value, hide: Hide) -> Option<Value> {
    if let Some(map) = value.as_map() {
        let mut any = false;
        let mut made = Map::with_capacity(map.len());
        for (key, value) in map {
            let below = if key.as_str().is_some_and(sounds_secret) { Hide::All } else { hide };
            let hidden = masked(value, below);
            any |= hidden.is_some();
            made.insert(key.clone(), hidden.unwrap_or_else(|| value.clone()));
        }
        return any.then(|| Value::from(made));
    }
    if let Some(items) = value.as_array() {
        let hidden: Vec<Option<Value>> = items.iter().map(|item| masked(item, hide)).collect();
        let any = hidden.iter().any(Option::is_some);
        let whole = hidden.into_iter().zip(items).map(|(hidden, item)| hidden.unwrap_or_else(|| item.clone()));
        return any.then(|| Value::from(whole.collect::<Vec<_>>()));
    }
    is_secret(value, hide).then(|| Value::from(placeholder(value)))
}

/// Of a text with several lines as many placeholders, so that what follows it stays on its line.
fn placeholder(leaf: &Value) -> String {
    match leaf.as_str() {
        Some(text) if text.contains('\n') => {
            let hidden =
                |line: &str| if line.ends_with('\n') { format!("{PLACEHOLDER}\n") } else { PLACEHOLDER.into() };
            text.split_inclusive('\n').map(hidden).collect()
        }
        _ => PLACEHOLDER.to_owned(),
    }
}

fn is_secret(leaf: &Value, hide: Hide) -> bool {
    match hide {
        Hide::All => leaf.as_bool().is_none() && leaf.as_str() != Some(""),
        Hide::Likely => leaf.as_str().is_some_and(|text| without_passwords(text).is_some() || is_private_key(text)),
    }
}

/// Whether a text holds a private key in PEM.
pub fn is_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
}

/// Texts that are known to be secret.
#[derive(Debug, Default)]
pub struct Known {
    values: BTreeSet<String>,
}

impl Known {
    /// Nothing yet.
    pub fn new() -> Known {
        Known::default()
    }

    /// Every secret of a tree.
    pub fn add(&mut self, value: &Value, hide: Hide) {
        if let Some(map) = value.as_map() {
            for (key, value) in map {
                self.add(value, if key.as_str().is_some_and(sounds_secret) { Hide::All } else { hide });
            }
        } else if let Some(items) = value.as_array() {
            for item in items {
                self.add(item, hide);
            }
        } else if is_secret(value, hide) {
            self.add_text(&value.to_string());
        }
    }

    /// A text; of several lines each by itself, because texts are shown by lines.
    pub fn add_text(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            if line.chars().count() >= SHORTEST && !["true", "false"].contains(&line) {
                self.values.insert(line.to_owned());
            }
        }
    }

    /// The text with the placeholder instead of every known secret, and of passwords in URIs.
    pub fn hide(&self, text: &str) -> String {
        let mut found: Vec<Range<usize>> = Vec::new();
        for value in &self.values {
            let mut from = 0;
            // Occurrences that overlap count, too: what is left of one beside another is a part of a secret.
            while let Some(at) = text.get(from..).and_then(|rest| rest.find(value.as_str())) {
                let start = from + at;
                found.push(start..start + value.len());
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        found.sort_by_key(|range| range.start);
        let mut shown = String::with_capacity(text.len());
        let mut done = 0;
        for range in found {
            if range.start >= done {
                shown.push_str(&text[done..range.start]);
                shown.push_str(PLACEHOLDER);
            }
            done = done.max(range.end);
        }
        shown.push_str(&text[done..]);
        without_passwords(&shown).unwrap_or(shown)
    }
}

/// `scheme://user:password@host` without user and password; `None` where no URI has any.
fn without_passwords(text: &str) -> Option<String> {
    let mut shown = String::with_capacity(text.len());
    let mut any = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>');
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        // A password may hold an `@`: the host begins after the last one.
        rest = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') && user != PLACEHOLDER => {
                any = true;
                shown.push_str(PLACEHOLDER);
                &after[user.len()..]
            }
            _ => after,
        };
    }
    shown.push_str(rest);
    any.then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::sorted_map;
    use proptest::prelude::*;

    fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        sorted_map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    #[test]
    fn names_that_sound_secret() {
        for name in ["DB_PASSWORD", "MYSQL_PWD", "dbpw", "api-key", "authorization", "SENTRY_DSN", "client_secret"] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in ["PWD", "OLDPWD", "PATH", "host", "port", "upwards"] {
            assert!(!sounds_secret(name), "{name}");
        }
    }

    #[test]
    fn names_and_truth_stay() {
        let tree = map([
            ("host", Value::from("db1")),
            ("list", Value::from(vec![Value::from("a"), Value::from(1)])),
            ("tls", Value::from(true)),
        ]);
        let hidden = Value::from(PLACEHOLDER);
        let all = map([
            ("host", hidden.clone()),
            ("list", Value::from(vec![hidden.clone(), hidden.clone()])),
            ("tls", Value::from(true)),
        ]);
        assert_eq!(masked(&tree, Hide::All), Some(all));
        assert_eq!(masked(&tree, Hide::Likely), None);
    }

    #[test]
    fn what_sounds_secret_is_hidden_with_all_below() {
        let deep = map([("db", map([("a", Value::from("x"))])), ("n", Value::from(1))]);
        let tree = map([("api_tokens", deep), ("host", Value::from("db1")), ("url", Value::from("amqp://u:p@h/v"))]);
        let shown = masked(&tree, Hide::Likely).unwrap();
        let hidden = || Value::from(PLACEHOLDER);
        let deep = map([("db", map([("a", hidden())])), ("n", hidden())]);
        assert_eq!(shown, map([("api_tokens", deep), ("host", Value::from("db1")), ("url", hidden())]));
    }

    #[test]
    fn known_values_are_hidden_wherever_they_are() {
        let mut known = Known::new();
        known.add(
            &map([("a", Value::from("hunter2")), ("b", Value::from("hunter22")), ("c", Value::from("abc"))]),
            Hide::All,
        );
        known.add(&map([("pin", Value::from(12345)), ("ok", Value::from("true"))]), Hide::All);
        known.add(
            &map([("db_password", Value::from("first line\nsecond line\n")), ("host", Value::from("db.test"))]),
            Hide::Likely,
        );
        assert_eq!(
            known.hide("x=hunter22 y=hunter2! abc 12345 true\tsecond line, db.test"),
            "x=[redacted] y=[redacted]! abc [redacted] true\t[redacted], db.test"
        );
        known.add_text("redacted");
        assert_eq!(known.hide("hunter2redacted"), "[redacted][redacted]");
    }

    #[test]
    fn passwords_in_uris_are_hidden() {
        let hide = |text: &str| Known::new().hide(text);
        assert_eq!(hide("url: \"postgres://app:p@ss@db:5432/x?y\","), "url: \"postgres://[redacted]@db:5432/x?y\",");
        assert_eq!(hide("a://u:p@h b://c:d@e"), "a://[redacted]@h b://[redacted]@e");
        for plain in ["http://host:80/a@b:c", "git://git@host/x", "://", "x://[redacted]@h", "ü://é"] {
            assert_eq!(hide(plain), plain);
        }
    }

    proptest! {
        #[test]
        fn no_known_value_is_left(values in proptest::collection::vec("[a-cü]{4,6}", 1..4), text in "[a-cü]{0,40}") {
            let mut known = Known::new();
            for value in &values {
                known.add_text(value);
            }
            let shown = known.hide(&text);
            for value in &values {
                prop_assert!(!shown.contains(value.as_str()), "{} in {}", value, shown);
            }
        }
    }
}
