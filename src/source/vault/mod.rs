//! Vault: one path of it is a source (`vault:PATH`, [`secret`]), read with a token that all sources of one store share
//! ([`session`]). Nothing in Vault can be watched: what it lends has an end ([`term`]), everything else is read again at
//! intervals. docs/reference/vault.md is the user's side of this.

mod client;
mod login;
mod mount;
mod secret;
mod session;
mod settings;
mod term;

use super::Remote;
use super::kind::{self, Facts, Takes};
use super::store;
use super::uri::Uri;
use crate::config::plan::StorePlan;
use crate::error::Complaint;
use std::collections::BTreeMap;

/// The variables that hold credentials.
const CREDENTIALS: &[&str] = &[
    "VAULT_TOKEN",
    "VAULT_TOKEN_FILE",
    "VAULT_ROLE_ID",
    "VAULT_ROLE_ID_FILE",
    "VAULT_SECRET_ID",
    "VAULT_SECRET_ID_FILE",
];

const OPTIONS: &[(&str, Takes)] = &[("every", Takes::Every), ("store", Takes::Text)];

/// Checks a `vault:` URI without any I/O; a mistake names the option and the nearest known one.
pub fn inspect(uri: &Uri) -> Result<Facts, Complaint> {
    kind::check_options(uri, OPTIONS)?;
    path(uri)?;
    Ok(Facts { changes: true, credentials: CREDENTIALS, store: Some("vault") })
}

/// The source that a URI names. Reads the environment, but connects to nothing and reads no file: what can still arrive
/// (a token file, a CA) is awaited.
pub fn open(uri: &Uri, stores: &BTreeMap<String, StorePlan>) -> Result<Box<dyn Remote>, Complaint> {
    let path = path(uri)?;
    let store = store::find(uri, "vault", stores)?;
    let settings = settings::Settings::resolve(uri, store, &|variable| std::env::var(variable).ok())?;
    Ok(Box::new(secret::Secret::new(session::Session::shared(settings), path, kind::every(uri))))
}

/// The path without slashes around it. `vault://host:port/secret/db` and `vault:/secret/db` are `secret/db`.
fn path(uri: &Uri) -> Result<String, Complaint> {
    let path = uri.path.trim_matches('/');
    if path.is_empty() {
        return Err(Complaint::new(format!("`{}` names nothing in Vault", uri.text))
            .hint("write the path of a secret, such as `vault:secret/db`"));
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Complaint::new(format!("`{}`: a path cannot hold `//` or the segments `.` and `..`", uri.text))
            .hint("write the path of one secret, such as `vault:secret/db`"));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_options() {
        let of = |text: &str| path(&Uri::parse(text).unwrap());
        for text in ["vault:secret/db", "vault:/secret/db/", "vault://v.test:8200/secret/db?every=1m&store=x"] {
            assert_eq!(of(text).unwrap(), "secret/db", "{text}");
        }
        assert_eq!(of("vault:kv/a%3Fb c").unwrap(), "kv/a?b c");
        for wrong in ["vault:", "vault:/", "vault://v.test:8200", "vault:a//b", "vault:a/../b", "vault:./a"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        let inspect = |text: &str| inspect(&Uri::parse(text).unwrap());
        let facts = inspect("vault:secret/db?every=30s&optional&format=json").unwrap();
        assert!(facts.changes && facts.credentials.contains(&"VAULT_SECRET_ID") && facts.store == Some("vault"));
        assert!(inspect("vault:secret/db?evry=30s").unwrap_err().hint.unwrap().starts_with("did you mean `every`?"));
        assert!(inspect("vault:secret/db?every=1").is_err());
    }
}
