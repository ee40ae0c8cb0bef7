//! One request to Vault's HTTP API, and what an answer is made of.

use super::settings::{NAMES, Settings};
use crate::net::http::{self, Cause, KeepSlash, Method};
use crate::source::SourceError;
use crate::source::secrets::Known;
use crate::source::store;
use crate::value::{self, Value};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// An answer comes within this time.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server in development mode is the usual case.
const HANDSHAKE: &str = "a server without TLS has an address with http://; one that verifies clients needs VAULT_CLIENT_CERT \
                         and VAULT_CLIENT_KEY";

/// Talks to one Vault.
pub(super) struct Client {
    http: Arc<http::Client>,
    by_default: bool,
    /// Percent-encoded, so that it fits a header.
    namespace: Option<String>,
}

/// What Vault answered.
pub(super) struct Reply {
    /// HTTP status.
    pub status: u16,
    /// What it says went wrong, in one line.
    pub said: String,
    body: Value,
}

impl Client {
    /// Connects to nothing yet.
    pub(super) fn new(settings: &Settings) -> Client {
        let namespace = settings.namespace.as_deref().map(|namespace| {
            let mut encoded = String::new();
            http::encode(&mut encoded, namespace, KeepSlash::Yes);
            encoded
        });
        let http = http::Client::shared(settings.address.clone(), settings.tls.clone());
        Client { http, by_default: settings.by_default, namespace }
    }

    /// Reads a path, not encoded, below `/v1/`.
    pub(super) async fn read(&self, path: &str, token: Option<&HeaderValue>) -> Result<Reply, SourceError> {
        self.request(Method::GET, path, token, None).await
    }

    /// Tells it something: a login, a renewal.
    pub(super) async fn tell(
        &self,
        path: &str,
        token: Option<&HeaderValue>,
        body: &serde_json::Value,
    ) -> Result<Reply, SourceError> {
        self.request(Method::POST, path, token, Some(body)).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&HeaderValue>,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, SourceError> {
        // Whoever answers could send back what it was sent.
        let mut sent = Known::new();
        let in_body = |name: &&str| body.and_then(|body| body.get(*name)).and_then(serde_json::Value::as_str);
        ["role_id", "secret_id", "jwt"].iter().filter_map(in_body).for_each(|text| sent.add_text(text));
        token.and_then(|token| token.to_str().ok()).into_iter().for_each(|token| sent.add_text(token));
        let body = body.map(ToString::to_string);
        let mut headers = HeaderMap::new();
        // What Vault's own clients send: its agent can be told to refuse requests without it.
        headers.insert(HeaderName::from_static("x-vault-request"), HeaderValue::from_static("true"));
        if let Some(token) = token {
            headers.insert(HeaderName::from_static("x-vault-token"), token.clone());
        }
        if let Some(namespace) = self.namespace.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(HeaderName::from_static("x-vault-namespace"), namespace);
        }
        let mut encoded = String::from("/v1/");
        http::encode(&mut encoded, path, KeepSlash::Yes);
        let answer = self.http.send(method, &encoded, headers, body, DEADLINE).await.map_err(|no_answer| {
            let error = store::unreachable(&NAMES, self.http.address(), self.by_default, &no_answer);
            match no_answer.cause {
                Cause::Handshake => error.hint(HANDSHAKE),
                _ => error,
            }
        })?;
        Ok(Reply::new(answer.status, &answer.body, &sent))
    }

    /// "read `secret/db` from vault at http://…: 403 permission denied". `doing`: the part before the address.
    pub(super) fn refused(&self, doing: &str, reply: &Reply) -> SourceError {
        let Reply { status, said, .. } = reply;
        let separator = if said.is_empty() { "" } else { " " };
        let error = SourceError::later(format!("{doing} vault at {}: {status}{separator}{said}", self.http.address()));
        if *status == 503 {
            error.hint("it is sealed, or has no active node: unseal it; proem goes on by itself")
        } else if said.contains("HTTP request to an HTTPS server") {
            error.hint("write the address with https://")
        } else if matches!(status, 301..=308) {
            error.hint("redirects are not followed: use the address that it leads to")
        } else {
            error
        }
    }

    /// The same for an answer whose content makes no sense.
    pub(super) fn nonsense(&self, doing: &str, why: &str) -> SourceError {
        SourceError::later(format!("{doing} vault at {}: {why}", self.http.address()))
            .hint("something other than Vault answers there, or this path is not for reading")
    }
}

impl Reply {
    /// What is not JSON, or nested too deep, holds nothing.
    fn new(status: u16, raw: &[u8], sent: &Known) -> Reply {
        let mut json = serde_json::Deserializer::from_slice(raw);
        let body = value::from_document(&mut json).unwrap_or_else(|_| Value::none());
        Reply { status, said: said(&body, raw, sent), body }
    }

    /// An answer in a test.
    #[cfg(test)]
    pub(super) fn of(status: u16, body: &str) -> Reply {
        let mut sent = Known::new();
        sent.add_text("hvs.sent");
        Reply::new(status, body.as_bytes(), &sent)
    }

    /// The part of the body at a dotted path; nulls are absent.
    pub(super) fn at<'a>(&'a self, path: &'a str) -> Option<&'a Value> {
        self.body.get_from_path(path).filter(|value| !value.is_none())
    }

    /// Text there; empty is none.
    pub(super) fn text<'a>(&'a self, path: &'a str) -> Option<&'a str> {
        self.at(path).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Seconds there; zero where there are none.
    pub(super) fn seconds(&self, path: &str) -> Duration {
        Duration::from_secs(self.at(path).and_then(Value::as_u64).unwrap_or(0))
    }

    /// A boolean there.
    pub(super) fn is(&self, path: &str) -> bool {
        self.at(path).and_then(Value::as_bool) == Some(true)
    }
}

/// Vault's `errors` (or an `error`, as others say it), else the first line: one line, short, without control characters
/// and without what was sent or the password of a database's address.
fn said(body: &Value, raw: &[u8], sent: &Known) -> String {
    let errors = body.get_from_path("errors").and_then(Value::as_array).unwrap_or_default();
    let errors: Vec<&str> = errors.iter().filter_map(Value::as_str).collect();
    let text = match body.get_from_path("error").and_then(Value::as_str) {
        Some(error) => error.to_owned(),
        None if !errors.is_empty() => errors.join("; "),
        None if body.as_map().is_some() => String::new(),
        None => store::first_line(raw),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    // "1 error occurred: * permission denied"
    let text = words.join(" ").replace("1 error occurred: * ", "");
    let text = sent.hide(&text);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_one_line() {
        let said = |text: &str| Reply::of(400, text).said;
        assert_eq!(said(r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#), "permission denied");
        assert_eq!(said(r#"{"errors":["Vault is sealed"]}"#), "Vault is sealed");
        assert_eq!(said(r#"{"errors":["a","b\u001b[31m"]}"#), "a; b[31m");
        assert_eq!(said(r#"{"error":"RustyVault is sealed."}"#), "RustyVault is sealed.");
        assert_eq!(said(r#"{"errors":["dial postgres://root:hunter2@db/x"]}"#), "dial postgres://[redacted]@db/x");
        assert_eq!(said(r#"{"data":{"password":"hunter2"}}"#), "");
        assert_eq!(said("<html>\nwelcome"), "<html>");
        assert_eq!(said("no such token: hvs.sent"), "no such token: [redacted]");
        assert_eq!(said(""), "");
    }
}
