//! One `GET` of Consul's HTTP API: its parameters, its headers, and its refusals in words.

use super::settings::{NAMES, Settings};
use super::{Consistency, Options};
use crate::net::http::{self, KeepSlash};
use crate::source::store::{self, Credential, first_line};
use crate::source::{Retry, SourceError};
use reqwest::header::{HeaderMap, HeaderName};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// An answer that nobody has to wait for comes within this time.
const AT_ONCE: Duration = Duration::from_secs(30);
/// What is wrong with a token that cannot be sent.
const TOKEN: &str = "a token is one line of text: its SecretID";
/// What a blocking query may take beyond its own wait.
const SLACK: Duration = Duration::from_secs(15);

/// What is asked for.
pub(super) struct Endpoint {
    /// Percent-encoded, from `/v1/`, with its own query after `?` (which is always there).
    pub path: String,
    /// In messages, in backticks: `config/app/`.
    pub what: String,
    /// The ACL rule that allows it.
    pub rule: String,
}

/// How it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// As it is now.
    AtOnce,
    /// When it is newer than this index, or the wait is over. 0 is at once.
    Newer(u64),
    /// As it is now, whatever the source's consistency: the leader's word, verified by a quorum.
    Verified,
}

/// What Consul answered.
pub(super) struct Reply {
    /// `X-Consul-Index`.
    pub index: u64,
    /// Whether the server that answered knows a leader; else its data can be old.
    pub known_leader: bool,
    /// Whether the token hid a part of the answer (since Consul 1.12).
    pub filtered: bool,
    /// 200, or 404.
    pub exists: bool,
    /// JSON.
    pub body: Vec<u8>,
}

/// Why Consul did not answer that.
pub(super) struct Refusal {
    /// 403: the token may not.
    pub denied: bool,
    /// What is said.
    pub error: SourceError,
}

/// Why a round of a watch ended without a value.
pub(super) struct Fault {
    /// Consul answered, and what it said is the trouble: the watch goes on from there. Else everything is read again.
    pub keep_watching: bool,
    /// What is said.
    pub error: SourceError,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault { keep_watching: false, error: refusal.error }
    }
}

/// Reads from one Consul in one way.
pub(super) struct Client {
    http: Arc<http::Client>,
    token: Credential,
    by_default: bool,
    /// The parameters of every request, each after `&`.
    fixed: String,
    consistency: Consistency,
    wait: Duration,
}

impl Client {
    /// Connects to nothing yet.
    pub(super) fn new(settings: Settings, options: Options) -> Client {
        let mut fixed = String::new();
        let parameters = [("dc", options.datacenter.or(settings.datacenter)), ("ns", settings.namespace)];
        for (name, value) in parameters {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = write!(fixed, "&{name}=");
                http::encode(&mut fixed, &value, KeepSlash::No);
            }
        }
        let http = http::Client::shared(settings.address, settings.tls);
        let Options { consistency, wait, .. } = options;
        Client { http, token: settings.token, by_default: settings.by_default, fixed, consistency, wait }
    }

    /// How long a blocking query waits.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Asks, and waits as long as `ask` says.
    pub(super) async fn get(&self, endpoint: &Endpoint, ask: Ask) -> Result<Reply, Refusal> {
        let mut path = format!("{}{}", endpoint.path, self.fixed);
        let consistency = if ask == Ask::Verified { Consistency::Consistent } else { self.consistency };
        path.push_str(match consistency {
            Consistency::Default => "",
            Consistency::Stale => "&stale",
            Consistency::Consistent => "&consistent",
        });
        let mut deadline = AT_ONCE;
        if let Ask::Newer(index @ 1..) = ask {
            let _ = write!(path, "&index={index}&wait={}s", self.wait.as_secs());
            // The server adds up to a sixteenth, so that watches do not all end at once.
            deadline = self.wait + self.wait / 16 + SLACK;
        }
        let headers = self.headers().map_err(|error| Refusal { denied: false, error })?;
        let answer = self.http.get(&path, headers, deadline).await.map_err(|no_answer| {
            let error = store::unreachable(&NAMES, self.http.address(), self.by_default, &no_answer);
            Refusal { denied: false, error }
        })?;
        if !matches!(answer.status, 200 | 404) {
            return Err(self.refused(endpoint, &answer));
        }
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let Some(index) = header("x-consul-index").and_then(|text| text.parse().ok()) else {
            let message = format!("{}: the answer has no X-Consul-Index", self.reading(endpoint));
            let hint = "something other than Consul, or a proxy that drops headers, answers there";
            return Err(Refusal { denied: false, error: later(message, Some(hint.to_owned())) });
        };
        Ok(Reply {
            index,
            known_leader: header("x-consul-knownleader") != Some("false"),
            filtered: header("x-consul-results-filtered-by-acls") == Some("true"),
            exists: answer.status == 200,
            body: answer.body,
        })
    }

    /// An error about the content of an answer: "read `config/app/` from consul at http://…: {why}".
    pub(super) fn wrong_content(&self, endpoint: &Endpoint, why: &str) -> Fault {
        let message = format!("{}: {why}", self.reading(endpoint));
        Fault { keep_watching: true, error: SourceError { message, hint: None, retry: Retry::OnChange } }
    }

    /// An answer that proves nothing, because the server that gave it may be cut off from the others.
    pub(super) fn no_leader(&self, endpoint: &Endpoint) -> Fault {
        let message = format!("{}: the server that answered knows no leader", self.reading(endpoint));
        let hint = "the last value stays until the servers have elected one".to_owned();
        Fault { keep_watching: false, error: later(message, Some(hint)) }
    }

    fn reading(&self, endpoint: &Endpoint) -> String {
        format!("read `{}` from consul at {}", endpoint.what, self.http.address())
    }

    fn headers(&self) -> Result<HeaderMap, SourceError> {
        let mut headers = HeaderMap::new();
        let Some(token) = self.token.read("token")? else { return Ok(headers) };
        let wrong = match &self.token {
            Credential::File(path) => format!("use the token in `{}`", path.display()),
            _ => "use the Consul token that is given".to_owned(),
        };
        match http::secret_header(&token) {
            Some(value) if !token.is_empty() => headers.insert(HeaderName::from_static("x-consul-token"), value),
            Some(_) => return Err(later(format!("{wrong}: it is empty"), Some(TOKEN.to_owned()))),
            None => {
                return Err(later(format!("{wrong}: it holds characters that no token has"), Some(TOKEN.to_owned())));
            }
        };
        Ok(headers)
    }

    fn refused(&self, endpoint: &Endpoint, answer: &http::Answer) -> Refusal {
        let said = first_line(&answer.body);
        let denied = answer.status == 403;
        let hint = if denied {
            let rule = &endpoint.rule;
            Some(match &self.token {
                Credential::None => format!("no token is given: CONSUL_HTTP_TOKEN_FILE names one that has `{rule}`"),
                Credential::Value(_) => format!("the token needs `{rule}`"),
                Credential::File(path) => format!("the token in `{}` needs `{rule}`", path.display()),
            })
        } else if said.contains("HTTP request to an HTTPS server") {
            Some("set CONSUL_HTTP_SSL=true, or write the address with https://".to_owned())
        } else if matches!(answer.status, 301..=308) {
            Some("redirects are not followed: use the address that it leads to".to_owned())
        } else if answer.status == 504 {
            Some("a proxy gave up waiting: set `?wait=` below its idle timeout, for example `?wait=50s`".to_owned())
        } else {
            None
        };
        let separator = if said.is_empty() { "" } else { " " };
        let message = format!("{}: {}{separator}{said}", self.reading(endpoint), answer.status);
        Refusal { denied, error: later(message, hint) }
    }
}

fn later(message: String, hint: Option<String>) -> SourceError {
    SourceError { message, hint, retry: Retry::Later }
}
