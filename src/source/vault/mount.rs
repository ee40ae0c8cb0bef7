//! Where the data of a path is read. Version 2 of the KV engine keeps it below `data/` of its mount, together with what it
//! knows about it; users write the path without. Which version it is says the mount.

use super::client::Reply;
use crate::value::Value;

/// Where Vault tells what is mounted at a path: the way that its own command line takes.
pub(super) const MOUNTS: &str = "sys/internal/ui/mounts/";

/// Where something is read, and how it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Below `/v1/`.
    pub path: String,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `data` is the value.
    Plain,
    /// `data.data` is the value: KV version 2.
    Versioned,
}

impl Place {
    /// As Vault tells: `reply` is the answer at [`MOUNTS`]; `None` when it tells nothing.
    pub(super) fn told(path: &str, reply: &Reply) -> Option<Place> {
        let mount = reply.text("data.path")?;
        let is_versioned = reply.text("data.type") == Some("kv") && reply.text("data.options.version") == Some("2");
        Some(match path.strip_prefix(mount.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) if is_versioned => Place::versioned(mount, rest),
            _ => Place::plain(path),
        })
    }

    /// Where it may be, in the order in which it is tried, when Vault does not tell: it is older than 0.10, or something
    /// else that speaks its protocol, or the token may not ask.
    pub(super) fn guesses(path: &str) -> Vec<Place> {
        let mut guesses = vec![Place::plain(path)];
        if let Some((mount, rest)) = path.split_once('/')
            && !rest.starts_with("data/")
        {
            guesses.push(Place::versioned(mount, rest));
        }
        guesses
    }

    fn plain(path: &str) -> Place {
        Place { path: path.to_owned(), shape: Shape::Plain }
    }

    /// `rest` is below the mount; whoever writes `data/` himself means the same.
    fn versioned(mount: &str, rest: &str) -> Place {
        let mount = mount.trim_end_matches('/');
        let infix = if rest.starts_with("data/") { "" } else { "data/" };
        Place { path: format!("{mount}/{infix}{rest}"), shape: Shape::Versioned }
    }

    /// The value of an answer 200; `None`: there is none (version 2: it was deleted).
    pub(super) fn value(&self, reply: &Reply) -> Option<Value> {
        let guessed =
            || self.path.contains("/data/") && reply.at("data.metadata.version").is_some_and(Value::is_number);
        let at = if self.shape == Shape::Versioned || guessed() { "data.data" } else { "data" };
        reply.at(at).cloned()
    }
}

/// What a policy must have to read one of these: of guesses, the last is version 2, which is what most have.
pub(super) fn rule(places: &[Place]) -> String {
    let rule = |place: &Place| format!("`path \"{}\" {{ capabilities = [\"read\"] }}`", place.path);
    match places {
        [one, two] => format!("{}, or with version 1 of KV the same for `{}`", rule(two), one.path),
        places => places.iter().map(rule).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, answer: &str) -> Option<Place> {
        Place::told(path, &Reply::of(200, answer))
    }

    #[test]
    fn the_mount_tells_where_the_data_is() {
        let v2 = r#"{"data":{"path":"team/kv/","type":"kv","options":{"version":"2"}}}"#;
        let path = |path| told(path, v2).unwrap().path;
        assert_eq!(path("team/kv/app/db"), "team/kv/data/app/db");
        assert_eq!(path("team/kv/data/app/db"), "team/kv/data/app/db");
        let v1 = r#"{"data":{"path":"secret/","type":"kv","options":{"version":"1"}}}"#;
        assert_eq!(told("secret/db", v1), Some(Place::plain("secret/db")));
        let other = r#"{"data":{"path":"database/","type":"database","options":null}}"#;
        assert_eq!(told("database/creds/app", other), Some(Place::plain("database/creds/app")));
        assert_eq!(told("secret/db", "{}"), None);
    }

    #[test]
    fn what_is_not_told_is_guessed() {
        let guesses = |path| Place::guesses(path).into_iter().map(|place| place.path).collect::<Vec<_>>().join(" ");
        assert_eq!(guesses("secret/a/b"), "secret/a/b secret/data/a/b");
        assert_eq!(guesses("secret/data/a/b"), "secret/data/a/b");
        assert_eq!(guesses("cubbyhole"), "cubbyhole");
    }

    #[test]
    fn the_rule_is_for_both_versions_where_it_is_not_known_which() {
        assert_eq!(
            rule(&Place::guesses("secret/db")),
            r#"`path "secret/data/db" { capabilities = ["read"] }`, or with version 1 of KV the same for `secret/db`"#
        );
        assert_eq!(rule(&[Place::plain("a")]), r#"`path "a" { capabilities = ["read"] }`"#);
    }

    #[test]
    fn the_value_is_the_data() {
        let value = |place: &Place, answer| place.value(&Reply::of(200, answer)).map(|value| value.to_string());
        let v2 = r#"{"data":{"data":{"a":"1"},"metadata":{"version":3}}}"#;
        let bare =
            |text: &str| told("x/y", &format!(r#"{{"data":{{"path":"x/","type":"kv","options":{text}}}}}"#)).unwrap();
        let versioned = bare(r#"{"version":"2"}"#);
        assert_eq!(value(&versioned, v2), value(&Place::plain("x/data/y"), v2));
        assert_eq!(value(&versioned, v2), value(&bare("null"), r#"{"data":{"a":"1"}}"#));
        assert_ne!(value(&versioned, v2), value(&Place::plain("x/y"), v2));
        assert_eq!(value(&versioned, r#"{"data":{"data":null,"metadata":{"version":3}}}"#), None);
        assert_eq!(value(&Place::plain("x/y"), "{}"), None);
    }
}
