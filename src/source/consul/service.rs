//! `consul+service:NAME`: the instances of a service as a list, by one blocking query of the health endpoint.
//!
//! Fewer than `min` instances is "missing" at start. While running the last list stays, loudly: a template must not
//! lose its last upstream because a check flaps.

use super::client::{Ask, Client, Endpoint, Fault, Reply};
use super::watch::{Rounds, next_index};
use crate::net::http::{KeepSlash, encode};
use crate::source::uri::Uri;
use crate::source::{Found, Next, Reading, Remote, Retry, SourceError};
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{Hash as _, Hasher as _};
use std::pin::Pin;
use std::time::{Duration, Instant};

/// How long a list below `min` is watched at most before that is said again. The last query of a round still lasts
/// its whole wait, and a round must end before the driver takes it for dead.
const TELL_AGAIN: Duration = Duration::from_mins(4);

/// Which instances of which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    name: String,
    passing: bool,
    /// Instances that have all of these.
    tags: Vec<String>,
    /// Sorted by the round-trip time to this node; `_agent`: the one that is asked.
    near: Option<String>,
    min: usize,
}

impl Query {
    /// From a URI whose options are known to be this kind's.
    pub(super) fn parse(uri: &Uri, name: &str) -> Query {
        // `check_options` said that it is a number.
        let min = uri.option("min").flatten().and_then(|text| text.parse().ok()).unwrap_or(0);
        let tags = uri.query.iter().filter(|(option, _)| option == "tag").filter_map(|(_, tag)| tag.clone());
        Query {
            name: name.to_owned(),
            passing: uri.option("passing").is_some(),
            tags: tags.collect(),
            near: uri.option("near").flatten().map(str::to_owned),
            min,
        }
    }

    fn endpoint(&self) -> Endpoint {
        let mut path = String::from("/v1/health/service/");
        encode(&mut path, &self.name, KeepSlash::No);
        path.push('?');
        if self.passing {
            path.push_str("&passing");
        }
        let tags = self.tags.iter().map(|tag| ("tag", tag));
        for (name, value) in tags.chain(self.near.iter().map(|near| ("near", near))) {
            path.push('&');
            path.push_str(name);
            path.push('=');
            encode(&mut path, value, KeepSlash::No);
        }
        let rule =
            format!("service \"{}\" {{ policy = \"read\" }} node_prefix \"\" {{ policy = \"read\" }}", self.name);
        Endpoint { path, what: format!("service {}", self.name), rule }
    }

    /// `0 of 1 passing instances of …`.
    fn too_few(&self, count: usize) -> String {
        let passing = if self.passing { "passing " } else { "" };
        format!("{count} of {} {passing}instances of `{}`", self.min, self.name)
    }
}

/// One instance, as a template sees it. The fields are in the order of their names, as every map of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct Instance {
    /// The service's address, else its node's.
    address: String,
    id: String,
    meta: BTreeMap<String, String>,
    name: String,
    node: String,
    port: u16,
    /// The worst of its checks and its node's: `passing`, `warning`, `critical`, `maintenance`.
    status: &'static str,
    tags: Vec<String>,
    weights: Weights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct Weights {
    passing: u32,
    warning: u32,
}

/// The parts of an entry of Consul's answer that are used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: EntryNode,
    service: EntryService,
    #[serde(default)]
    checks: Option<Vec<EntryCheck>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryNode {
    node: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryService {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    address: String,
    port: u16,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
    weights: Option<EntryWeights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryWeights {
    passing: u32,
    warning: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryCheck {
    #[serde(rename = "CheckID")]
    id: String,
    status: String,
}

impl From<Entry> for Instance {
    fn from(entry: Entry) -> Instance {
        let Entry { node, service, checks } = entry;
        let weights = service.weights.map_or((1, 1), |weights| (weights.passing, weights.warning));
        Instance {
            address: if service.address.is_empty() { node.address } else { service.address },
            id: service.id,
            meta: service.meta.unwrap_or_default(),
            name: service.service,
            node: node.node,
            port: service.port,
            status: status(&checks.unwrap_or_default()),
            tags: service.tags.unwrap_or_default(),
            weights: Weights { passing: weights.0, warning: weights.1 },
        }
    }
}

/// The worst of the checks, as Consul's own clients aggregate them.
fn status(checks: &[EntryCheck]) -> &'static str {
    let rank = |check: &EntryCheck| match check.status.as_str() {
        _ if check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:") => 3,
        "passing" => 0,
        "warning" => 1,
        _ => 2,
    };
    match checks.iter().map(rank).max() {
        None | Some(0) => "passing",
        Some(1) => "warning",
        Some(2) => "critical",
        Some(_) => "maintenance",
    }
}

/// The instances of an answer, in Consul's order.
fn instances(body: &[u8]) -> Result<Vec<Instance>, String> {
    let list: Vec<Entry> = serde_json::from_slice(body).map_err(|error| {
        // serde_json's own text can quote what it read.
        format!("the answer is not a list of instances (line {}, column {})", error.line(), error.column())
    })?;
    Ok(list.into_iter().map(Instance::from).collect())
}

/// A watched service.
pub(super) struct Service {
    client: Client,
    query: Query,
    endpoint: Endpoint,
    index: u64,
    /// Whether a list that was long enough has been handed out.
    served: bool,
    /// Whether it was said that there are too few since then.
    told: bool,
    /// Whether the last answer had instances: one that is suddenly empty is not believed at once.
    filled: bool,
    rounds: Rounds,
}

impl Service {
    pub(super) fn new(client: Client, query: Query) -> Service {
        let endpoint = query.endpoint();
        Service {
            client,
            query,
            endpoint,
            index: 0,
            served: false,
            told: false,
            filled: false,
            rounds: Rounds::default(),
        }
    }

    async fn round(&mut self) -> Result<Next, Fault> {
        self.rounds.begin().await;
        let begun = Instant::now();
        let (mut list, reply, too_few) = loop {
            let (list, reply) = self.read().await?;
            let too_few = list.len() < self.query.min;
            if !too_few || !self.served {
                self.told = false;
                break (list, reply, too_few);
            }
            // Said once, and again when some time has gone by: failing checks move the index all the time, and a
            // driver that is told of each would put the next look further and further off.
            if !self.told || begun.elapsed() >= self.client.wait().min(TELL_AGAIN) {
                self.told = true;
                return Err(self.kept(list.len()));
            }
            self.rounds.again().await;
        };
        self.served = self.served || !too_few;

        let by_place = |a: &Instance, b: &Instance| (&a.node, &a.id).cmp(&(&b.node, &b.id));
        let ranked = self.query.near.is_some().then(|| list.clone());
        list.sort_by(by_place);
        // The order by distance changes with every ping: alone it is no change.
        let mut hasher = self.rounds.hasher();
        list.hash(&mut hasher);
        let mut warnings = Vec::new();
        if reply.filtered {
            warnings.push(format!("the token may not see all instances of `{}`", self.query.name));
        }
        let reading = || Reading {
            found: if too_few {
                Found::Missing(self.query.too_few(list.len()))
            } else {
                Found::Value(Value::from_serializable(&ranked.unwrap_or(list)))
            },
            secret: false,
            warnings,
        };
        self.rounds.end(hasher.finish(), reading, reply.known_leader, || self.client.no_leader(&self.endpoint))
    }

    async fn read(&mut self) -> Result<(Vec<Instance>, Reply), Fault> {
        let mut reply = self.client.get(&self.endpoint, Ask::Newer(self.index)).await?;
        self.index = next_index(self.index, reply.index);
        let mut list = self.instances(&reply)?;
        if list.is_empty() && self.filled {
            reply = self.client.get(&self.endpoint, Ask::Verified).await?;
            self.index = next_index(self.index, reply.index);
            list = self.instances(&reply)?;
        }
        self.filled = !list.is_empty();
        Ok((list, reply))
    }

    fn instances(&self, reply: &Reply) -> Result<Vec<Instance>, Fault> {
        if !reply.exists {
            return Ok(Vec::new());
        }
        instances(&reply.body).map_err(|why| self.client.wrong_content(&self.endpoint, &why))
    }

    /// Below `min` while running. The watch goes on from where it is: Consul answers when that changes.
    fn kept(&self, count: usize) -> Fault {
        let error = SourceError {
            message: format!("see enough instances: {}; the last list stays", self.query.too_few(count)),
            hint: Some("`?min=0` would let the list become empty".to_owned()),
            retry: Retry::Later,
        };
        Fault { keep_watching: true, error }
    }
}

impl Remote for Service {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Next, SourceError>> + '_>> {
        Box::pin(async move {
            self.round().await.map_err(|fault| {
                if !fault.keep_watching {
                    self.index = 0;
                }
                fault.error
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let uri = Uri::parse(text).unwrap();
        Query::parse(&uri, &uri.path)
    }

    #[test]
    fn the_request() {
        let path = query("consul+service:my%20web?passing&tag=a%26b&tag=c&near=_agent&min=2").endpoint().path;
        assert_eq!(path, "/v1/health/service/my%20web?&passing&tag=a%26b&tag=c&near=_agent");
    }

    #[test]
    fn too_few_is_said_as_in_the_design() {
        assert_eq!(query("consul+service:web?passing&min=1").too_few(0), "0 of 1 passing instances of `web`");
    }

    #[test]
    fn an_entry_becomes_an_instance() {
        let body = br#"[{"Node":{"Node":"n1","Address":"10.0.0.1"},
            "Service":{"ID":"w1","Service":"web","Address":"","Port":80,"Tags":null,"Meta":{"v":"1"},
                       "Weights":{"Passing":3,"Warning":1}},
            "Checks":[{"CheckID":"serfHealth","Status":"passing"},{"CheckID":"c","Status":"warning"}]}]"#;
        let list = instances(body).unwrap();
        let json = serde_json::to_string(&Value::from_serializable(&list)).unwrap();
        assert_eq!(
            json,
            r#"[{"address":"10.0.0.1","id":"w1","meta":{"v":"1"},"name":"web","node":"n1","port":80,"status":"warning","tags":[],"weights":{"passing":3,"warning":1}}]"#
        );
    }

    #[test]
    fn the_worst_check_decides() {
        let of = |pairs: &[(&str, &str)]| {
            let checks: Vec<_> = pairs
                .iter()
                .map(|(id, status)| EntryCheck { id: (*id).to_owned(), status: (*status).to_owned() })
                .collect();
            status(&checks)
        };
        assert_eq!(of(&[]), "passing");
        assert_eq!(of(&[("a", "critical"), ("b", "passing")]), "critical");
        assert_eq!(of(&[("_service_maintenance:w", "critical")]), "maintenance");
    }
}
