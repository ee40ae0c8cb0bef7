//! Names to addresses, without NSS: `localhost` and literals by definition, then `/etc/hosts`, then DNS as
//! `/etc/resolv.conf` says (nameservers in their order, `search`, `ndots`, `timeout`, `attempts`, `rotate`, `use-vc`).
//!
//! Both files are read at each look-up, which is once per connection: they change while a container runs (`docker
//! network connect`, a rewritten resolv.conf). For the same reason nothing is cached: Docker's DNS gives a container's
//! address a TTL of ten minutes, and a store that comes back elsewhere must be found at once. No nameserver is an
//! error, never a public server.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a name has no address; follows "… : ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotResolved(String);

impl fmt::Display for NotResolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotResolved {}

/// The resolver; cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// What resolv.conf said when the DNS client was made, and that client.
    dns: Mutex<Option<(Vec<u8>, TokioResolver)>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Resolver::from_files("/etc/hosts", "/etc/resolv.conf")
    }
}

impl Resolver {
    /// A resolver that reads these files instead of those in `/etc`.
    pub fn from_files(hosts: impl Into<PathBuf>, resolv_conf: impl Into<PathBuf>) -> Resolver {
        let shared = Shared { hosts: hosts.into(), resolv_conf: resolv_conf.into(), dns: Mutex::new(None) };
        Resolver { shared: Arc::new(shared) }
    }

    /// The addresses of a name, at least one; IPv4 first, as the files and servers order them.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, NotResolved> {
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let plain = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // RFC 6761 §6.3: never asked of anybody, whatever the files say.
        if plain == "localhost" || plain.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        // Without an /etc/hosts (an empty root) there is only DNS.
        let listed = std::fs::read_to_string(&self.shared.hosts).map(|text| in_hosts(&text, &plain));
        match listed {
            Ok(addresses) if !addresses.is_empty() => Ok(addresses),
            _ => self.ask_dns(name).await,
        }
    }

    async fn ask_dns(&self, name: &str) -> Result<Vec<IpAddr>, NotResolved> {
        let dns = self.dns_client(name)?;
        let found = dns.lookup_ip(name).await.map_err(|error| {
            let why = if error.is_nx_domain() {
                "no such name".to_owned()
            } else if error.is_no_records_found() {
                "the name has no address".to_owned()
            } else {
                format!("DNS: {error}")
            };
            NotResolved(format!("`{name}` cannot be resolved: {why}"))
        })?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err(NotResolved(format!("`{name}` cannot be resolved: the name has no address")));
        }
        Ok(addresses)
    }

    fn dns_client(&self, name: &str) -> Result<TokioResolver, NotResolved> {
        let path = self.shared.resolv_conf.display();
        let text = std::fs::read(&self.shared.resolv_conf).map_err(|error| {
            NotResolved(format!("`{name}` cannot be resolved: {path}: {}", crate::error::reason(&error)))
        })?;
        // A panic cannot leave the pair half-written, so a poisoned lock is as good as any.
        let mut current = self.shared.dns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, client)) = &*current
            && *made_of == text
        {
            return Ok(client.clone());
        }
        let client = client(&text).map_err(|why| NotResolved(format!("`{name}` cannot be resolved: {path}: {why}")))?;
        *current = Some((text, client.clone()));
        Ok(client)
    }
}

/// A DNS client that behaves as glibc's does with this resolv.conf.
fn client(resolv_conf: &[u8]) -> Result<TokioResolver, String> {
    let (config, mut options) = parse_resolv_conf(resolv_conf).map_err(|error| error.to_string())?;
    let (domain, search, mut servers) = config.into_parts();
    if servers.is_empty() {
        return Err("it names no nameserver".to_owned());
    }
    let words = option_words(resolv_conf);
    let has = |word: &str| words.iter().any(|w| w == word);
    for server in &mut servers {
        // One that says "no such name" is believed, as glibc does; one that fails is not.
        server.trust_negative_responses = true;
        if has("use-vc") {
            server.connections = vec![ConnectionConfig::tcp()];
        }
    }
    options.server_ordering_strategy =
        if has("rotate") { ServerOrderingStrategy::RoundRobin } else { ServerOrderingStrategy::UserProvidedOrder };
    // In parallel, the second server's "no such name" could win over the first one's answer.
    options.num_concurrent_reqs = 1;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.try_tcp_on_error = true;
    build(ResolverConfig::from_parts(domain, search, servers), options)
}

fn build(config: ResolverConfig, options: ResolverOpts) -> Result<TokioResolver, String> {
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| error.to_string())
}

/// The words of every `options` line (resolv.conf(5)).
fn option_words(resolv_conf: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(resolv_conf)
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("options"))
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

/// The addresses that hosts(5) gives this lower-case name, in the file's order but IPv4 first.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else { continue };
        if !words.any(|word| word.eq_ignore_ascii_case(name)) {
            continue;
        }
        // A zone (`fe80::1%eth0`) cannot be kept in an `IpAddr`.
        let address = address.split('%').next().unwrap_or("");
        if let Ok(address) = address.parse::<IpAddr>()
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// For reqwest: the same resolver, with one name standing for another host (a TLS server name that differs from the
/// address).
pub(super) struct ForHttp {
    pub(super) resolver: Resolver,
    /// `(name asked for, host to look up instead)`.
    pub(super) alias: Option<(String, String)>,
}

impl reqwest::dns::Resolve for ForHttp {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let host = match &self.alias {
            Some((asked, real)) if asked.eq_ignore_ascii_case(name.as_str()) => real.clone(),
            _ => name.as_str().to_owned(),
        };
        let resolver = self.resolver.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(&host).await?;
            // Port 0: reqwest puts the URL's port in.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// A nameserver on loopback that knows one name, A 192.0.2.7, and says NXDOMAIN to the rest; the names it was asked.
    fn nameserver(known: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (asked, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let query = &buffer[..length];
                let (mut at, mut name) = (12, String::new());
                while query[at] != 0 {
                    let end = at + 1 + usize::from(query[at]);
                    name.push_str(&String::from_utf8_lossy(&query[at + 1..end]));
                    name.push('.');
                    at = end;
                }
                let question = &query[12..at + 5];
                let is_a = question[question.len() - 3] == 1;
                let hit = name == known;
                let mut answer = query[..2].to_vec();
                answer.extend([0x81, if hit { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(hit && is_a), 0, 0, 0, 0]);
                answer.extend(question);
                if hit && is_a {
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 192, 0, 2, 7]);
                }
                if asked.send(name).is_err() || socket.send_to(&answer, from).is_err() {
                    return;
                }
            }
        });
        (address, received)
    }

    fn files(hosts: &str, resolv_conf: &str) -> (tempfile::TempDir, Resolver) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hosts"), hosts).unwrap();
        std::fs::write(dir.path().join("resolv.conf"), resolv_conf).unwrap();
        let resolver = Resolver::from_files(dir.path().join("hosts"), dir.path().join("resolv.conf"));
        (dir, resolver)
    }

    fn lookup(resolver: &Resolver, name: &str) -> Result<Vec<IpAddr>, NotResolved> {
        crate::net::runtime().unwrap().block_on(resolver.lookup(name))
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn hosts_lines() {
        let text =
            "127.0.0.1 localhost # a comment DB\n::5 db\n10.0.0.5\tDB db.local\nnonsense db\nfe80::1%eth0 zoned\n";
        assert_eq!(in_hosts(text, "db"), ips(&["10.0.0.5", "::5"]));
        assert_eq!(in_hosts(text, "db.local"), ips(&["10.0.0.5"]));
        assert_eq!(in_hosts(text, "zoned"), ips(&["fe80::1"]));
        assert_eq!(in_hosts(text, "a"), ips(&[]));
    }

    #[test]
    fn literals_and_localhost_need_no_file() {
        let resolver = Resolver::from_files("/nonexistent/hosts", "/nonexistent/resolv.conf");
        assert_eq!(lookup(&resolver, "localhost").unwrap(), ips(&["127.0.0.1", "::1"]));
        assert_eq!(lookup(&resolver, "consul.localhost.").unwrap(), ips(&["127.0.0.1", "::1"]));
        assert_eq!(lookup(&resolver, "10.1.2.3").unwrap(), ips(&["10.1.2.3"]));
        assert_eq!(lookup(&resolver, "[::2]").unwrap(), ips(&["::2"]));
        let error = lookup(&resolver, "consul").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/resolv.conf"), "{error}");
    }

    #[test]
    fn no_nameserver_is_an_error() {
        let (_dir, resolver) = files("", "search example.test\n");
        let error = lookup(&resolver, "consul").unwrap_err().to_string();
        assert!(error.contains("nameserver"), "{error}");
    }

    #[test]
    fn hosts_come_first_and_both_files_are_read_again() {
        let (dir, resolver) = files("10.0.0.1 consul\n", "nameserver 192.0.2.1\noptions timeout:1 attempts:1\n");
        assert_eq!(lookup(&resolver, "consul").unwrap(), ips(&["10.0.0.1"]));
        std::fs::write(dir.path().join("hosts"), "10.0.0.2 consul\n").unwrap();
        assert_eq!(lookup(&resolver, "CONSUL").unwrap(), ips(&["10.0.0.2"]));
        std::fs::write(dir.path().join("hosts"), "").unwrap();
        std::fs::write(dir.path().join("resolv.conf"), "").unwrap();
        assert!(lookup(&resolver, "consul").unwrap_err().to_string().contains("nameserver"));
    }

    #[test]
    fn dns_follows_search_and_ndots() {
        let (address, asked) = nameserver("consul.example.test.");
        let text = "nameserver 127.0.0.1\nsearch other.test example.test\noptions ndots:5 timeout:1\n";
        let (config, mut options) = parse_resolv_conf(text).unwrap();
        // resolv.conf has no place for a port: the parsed servers get the test's.
        let (domain, search, mut servers) = config.into_parts();
        for connection in &mut servers[0].connections {
            connection.port = address.port();
        }
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = build(ResolverConfig::from_parts(domain, search, servers), options).unwrap();
        let found = crate::net::runtime().unwrap().block_on(resolver.lookup_ip("consul")).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), ips(&["192.0.2.7"]));
        let asked: Vec<String> = asked.try_iter().collect();
        assert_eq!(asked.first().map(String::as_str), Some("consul.other.test."), "{asked:?}");
    }

    #[test]
    fn option_words_of_all_lines() {
        assert_eq!(
            option_words(b"options rotate ndots:2\noptions use-vc\noptionsx y\n"),
            ["rotate", "ndots:2", "use-vc"]
        );
    }
}
