//! Consul: the KV store (`consul:PREFIX`, [`kv`]) and the health of services (`consul+service:NAME`, [`service`]), on
//! the thin client in [`client`]. Both are watched by blocking queries, one per source. docs/reference/consul.md is
//! the user's side of this, docs/decisions/consulrs.md says why the client is our own.

mod client;
mod entries;
mod kv;
mod service;
mod settings;
mod watch;

use super::Remote;
use super::kind::{self, Facts, Takes};
use super::store;
use super::uri::Uri;
use crate::config::plan::StorePlan;
use crate::error::Complaint;
use std::collections::BTreeMap;
use std::time::Duration;

/// The variables that hold Consul's credentials.
const CREDENTIALS: &[&str] = &["CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE"];

/// Options of every kind of Consul source.
const KV: &[(&str, Takes)] = &[
    ("dc", Takes::Text),
    ("stale", Takes::Nothing),
    ("consistent", Takes::Nothing),
    ("store", Takes::Text),
    ("wait", Takes::Text),
];
/// Options of `consul+service:` alone.
const SERVICE: &[(&str, Takes)] =
    &[("passing", Takes::Nothing), ("tag", Takes::Texts), ("near", Takes::Text), ("min", Takes::Number)];

/// What a Consul URI asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    what: What,
    options: Options,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A prefix without a slash at its end, or empty: all keys.
    Kv(String),
    Service(service::Query),
}

/// How the store is read, from the URI's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// The datacenter that is asked.
    pub datacenter: Option<String>,
    /// The consistency mode (Consul's API, "Consistency Modes").
    pub consistency: Consistency,
    /// How long a blocking query waits for a change at most. The server adds up to a sixteenth.
    pub wait: Duration,
}

/// Which server may answer, and how sure it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    /// The leader, unverified.
    Default,
    /// Any server, even one that knows no leader.
    Stale,
    /// The leader, verified by a quorum.
    Consistent,
}

/// Checks a `consul:` or `consul+service:` URI without any I/O; a mistake names the option and the nearest known one.
pub fn inspect(uri: &Uri) -> Result<Facts, Complaint> {
    parse(uri)?;
    Ok(Facts { changes: true, credentials: CREDENTIALS, store: Some("consul") })
}

/// The source that a URI names. Reads the environment, but connects to nothing and reads no file: what can still
/// arrive (a token file, a CA) is awaited by the watch.
pub fn open(uri: &Uri, stores: &BTreeMap<String, StorePlan>) -> Result<Box<dyn Remote>, Complaint> {
    let request = parse(uri)?;
    let store = store::find(uri, "consul", stores)?;
    let settings = settings::Settings::resolve(uri, store, &|variable| std::env::var(variable).ok())?;
    let client = client::Client::new(settings, request.options);
    Ok(match request.what {
        What::Kv(prefix) => Box::new(kv::Kv::new(client, &prefix)),
        What::Service(query) => Box::new(service::Service::new(client, query)),
    })
}

fn parse(uri: &Uri) -> Result<Request, Complaint> {
    match uri.scheme.as_str() {
        "consul" => kind::check_options(uri, KV)?,
        "consul+service" => kind::check_options(uri, &[KV, SERVICE].concat())?,
        other => {
            return Err(Complaint::new(format!("`{}`: `{other}` is no kind of Consul source", uri.text))
                .hint("known: `consul:PREFIX`, `consul+service:NAME`"));
        }
    }
    let options = options(uri)?;
    // `consul://host:port/prefix` and a habit of writing `consul:/prefix`: no key begins with a slash.
    let path = uri.path.strip_prefix('/').unwrap_or(&uri.path);
    let what = if uri.scheme == "consul" {
        What::Kv(prefix(uri, path)?)
    } else {
        if path.is_empty() || path.contains('/') {
            return Err(Complaint::new(format!("`{}` names no service", uri.text)).hint("write `consul+service:NAME`"));
        }
        What::Service(service::Query::parse(uri, path))
    };
    Ok(Request { what, options })
}

/// The prefix without its last slash. Refused is what Consul's HTTP server would redirect elsewhere.
fn prefix(uri: &Uri, path: &str) -> Result<String, Complaint> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.split('/').any(|part| matches!(part, "." | "..")) || path.contains("//") || path.starts_with('/') {
        return Err(Complaint::new(format!("`{}`: a prefix cannot hold `//` or the segments `.` and `..`", uri.text))
            .hint("name the prefix above it"));
    }
    Ok(path.to_owned())
}

fn options(uri: &Uri) -> Result<Options, Complaint> {
    let consistency = match (uri.option("stale"), uri.option("consistent")) {
        (Some(_), Some(_)) => {
            return Err(Complaint::new(format!("`{}`: `?stale` and `?consistent` exclude one another", uri.text))
                .hint("leave one of them out"));
        }
        (Some(_), None) => Consistency::Stale,
        (None, Some(_)) => Consistency::Consistent,
        (None, None) => Consistency::Default,
    };
    let wait = match uri.option("wait").flatten() {
        None => Duration::from_mins(5),
        Some(text) => wait(text).ok_or_else(|| {
            Complaint::new(format!("`{}`: `?wait={text}` is not a time between 1s and 10m", uri.text))
                .hint("write for example `?wait=50s`, below the idle timeout of a proxy on the way")
        })?,
    };
    Ok(Options { datacenter: uri.option("dc").flatten().map(str::to_owned), consistency, wait })
}

/// Whole seconds or minutes; Consul's own limit is ten minutes.
fn wait(text: &str) -> Option<Duration> {
    let wait = crate::config::units::duration(text).ok()?;
    (Duration::from_secs(1)..=Duration::from_mins(10)).contains(&wait).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Request, Complaint> {
        parse(&Uri::parse(text).unwrap())
    }

    fn kv(text: &str) -> String {
        match parsed(text).unwrap().what {
            What::Kv(prefix) => prefix,
            What::Service(query) => panic!("{query:?}"),
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!(kv("consul:config/app"), "config/app");
        assert_eq!(kv("consul:config/app/"), "config/app");
        assert_eq!(kv("consul://db:8500/config/app?dc=eu"), "config/app");
        assert_eq!(kv("consul:"), "");
        assert_eq!(kv("consul:a%3Fb%23c d"), "a?b#c d");
        for wrong in
            ["consul:a/../b", "consul:a//b", "consul:.", "consul+service:", "consul+service:a/b", "consul+nodes:"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_are_checked() {
        let options = parsed("consul:a?dc=eu&stale&wait=2m&optional").unwrap().options;
        let wanted = Options {
            datacenter: Some("eu".to_owned()),
            consistency: Consistency::Stale,
            wait: Duration::from_mins(2),
        };
        assert_eq!(options, wanted);
        let hint = |text| parsed(text).unwrap_err().hint.unwrap_or_default();
        assert!(hint("consul:a?stal").starts_with("did you mean `stale`? known: "));
        assert!(hint("consul:a?passing").starts_with("known: "));
        assert!(hint("consul:a?wait=11m").contains("wait=50s"));
        for wrong in [
            "consul:a?stale&consistent",
            "consul:a?stale=1",
            "consul:a?dc",
            "consul:a?format=jsn",
            "consul+service:web?min=x",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_store_must_be_declared_and_of_the_kind() {
        let uri = Uri::parse("consul:a?store=dc2").unwrap();
        let message = |stores: &BTreeMap<_, _>| open(&uri, stores).map(|_| ()).unwrap_err().message;
        let mut stores = BTreeMap::new();
        assert!(message(&stores).contains("there is no store `dc2`"));
        let place = crate::config::plan::Place("test".to_owned());
        let store = StorePlan { kind: "vault".to_owned(), settings: BTreeMap::new(), place };
        stores.insert("dc2".to_owned(), store);
        assert!(message(&stores).contains("of kind `vault`"));
    }
}
