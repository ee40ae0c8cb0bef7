//! Names without NSS and without a runtime: /etc/hosts, then the servers of /etc/resolv.conf, as resolv.conf(5) says.
//!
//! No nameserver is an error: a public one is never asked instead.

mod message;

use super::Down;
use super::stream::left;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// As libc's MAXNS.
const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;
/// For IPv6 addresses, when there are IPv4 ones.
const AFTER_IPV4: Duration = Duration::from_millis(500);

/// Where names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    hosts: String,
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    /// For one question to one server.
    patience: Duration,
    attempts: u32,
}

/// What a server said to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<IpAddr>),
    /// So many SRV records.
    Services(usize),
    /// The name is not there, or has no address.
    Nothing,
    /// It cannot say; another may.
    Failed,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Addresses of both families.
    Any,
    A,
    Aaaa,
    Srv,
}

impl Kind {
    fn records(self) -> &'static [u16] {
        match self {
            Kind::Any => &[message::A, message::AAAA],
            Kind::A => &[message::A],
            Kind::Aaaa => &[message::AAAA],
            Kind::Srv => &[message::SRV],
        }
    }

    fn takes(self, address: &IpAddr) -> bool {
        match self {
            Kind::Any => true,
            Kind::A => address.is_ipv4(),
            Kind::Aaaa => address.is_ipv6(),
            Kind::Srv => false,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Kind::Any => "address",
            Kind::A => "IPv4 address",
            Kind::Aaaa => "IPv6 address",
            Kind::Srv => "SRV record",
        }
    }
}

impl Names {
    /// As the image and the container runtime set it up; read anew each time, since both files change under a
    /// container that moves between networks.
    pub(super) fn of_system() -> Names {
        let read = |path: &str| {
            std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
        };
        Names::parse(read("/etc/hosts"), &read("/etc/resolv.conf"))
    }

    fn parse(hosts: String, resolv_conf: &str) -> Names {
        let patience = Duration::from_secs(5);
        let mut names = Names { hosts, servers: Vec::new(), search: Vec::new(), ndots: 1, patience, attempts: 2 };
        for line in resolv_conf.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
                    names.servers.extend(server.map(|server| SocketAddr::new(server, PORT)));
                }
                // The last one counts.
                Some("search" | "domain") => {
                    names.search = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
                }
                Some("options") => words.for_each(|word| names.option(word)),
                _ => {}
            }
        }
        names.servers.truncate(MAX_SERVERS);
        names
    }

    fn option(&mut self, word: &str) {
        // The limits are libc's.
        match word.split_once(':') {
            Some(("ndots", n)) => self.ndots = n.parse().unwrap_or(1).min(15),
            Some(("timeout", n)) => self.patience = Duration::from_secs(n.parse().unwrap_or(5).clamp(1, 30)),
            Some(("attempts", n)) => self.attempts = n.parse().unwrap_or(2).clamp(1, 5),
            _ => {}
        }
    }

    /// Every address of a host, at least one; IPv4 first, as most that listens in containers does.
    pub(super) fn look_up(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, Down> {
        match self.find(host, Kind::Any, deadline)? {
            Answer::Addresses(addresses) => Ok(addresses),
            _ => Err(nothing(host, Kind::Any)),
        }
    }

    /// How many addresses or records of a kind a name has, at least one.
    pub(super) fn count(&self, name: &str, kind: Kind, deadline: Instant) -> Result<usize, Down> {
        match self.find(name, kind, deadline)? {
            Answer::Addresses(addresses) => Ok(addresses.len()),
            Answer::Services(count) => Ok(count),
            Answer::Nothing | Answer::Failed => Err(nothing(name, kind)),
        }
    }

    fn find(&self, host: &str, kind: Kind, deadline: Instant) -> Result<Answer, Down> {
        let mut here = self.in_hosts(host);
        let bare = host.trim_end_matches('.').to_ascii_lowercase();
        // RFC 6761: never asked of a server.
        let local = bare == "localhost" || bare.ends_with(".localhost");
        if here.is_empty() && local {
            here = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        here.retain(|address| kind.takes(address));
        if !here.is_empty() {
            return Ok(Answer::Addresses(here));
        }
        if local {
            return Err(nothing(host, kind));
        }
        if self.servers.is_empty() {
            let down = Down::new(format!("`{host}` is not in /etc/hosts, and /etc/resolv.conf names no server"));
            return Err(down.hint("use an address, or give the container a nameserver"));
        }
        let mut failed = false;
        for name in self.candidates(host) {
            match self.ask_all(&name, kind, deadline) {
                Answer::Nothing => {}
                Answer::Failed => failed = true,
                found => return Ok(found),
            }
            if Instant::now() >= deadline {
                return Err(Down::new(format!("`{host}` was not resolved in time")));
            }
        }
        Err(if failed { Down::new(format!("no nameserver could resolve `{host}`")) } else { nothing(host, kind) })
    }

    fn in_hosts(&self, host: &str) -> Vec<IpAddr> {
        let wanted = host.trim_end_matches('.');
        let lines = self.hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
        let mut found: Vec<IpAddr> = lines
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let address = words.next()?.parse().ok()?;
                words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(wanted)).then_some(address)
            })
            .collect();
        found.sort_by_key(IpAddr::is_ipv6);
        found.dedup();
        found
    }

    /// With at least `ndots` dots the name itself comes first, else last; one that ends with a dot is complete.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(complete) = host.strip_suffix('.') {
            return vec![complete.to_owned()];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{host}.{domain}")).collect();
        let itself = if host.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(itself, host.to_owned());
        names
    }

    fn ask_all(&self, name: &str, kind: Kind, deadline: Instant) -> Answer {
        let mut addresses = Vec::new();
        let mut failed = false;
        for record in kind.records() {
            // A server that swallows questions for IPv6 must not cost the time to use an IPv4 address.
            let deadline = if addresses.is_empty() { deadline } else { deadline.min(Instant::now() + AFTER_IPV4) };
            match self.ask(name, *record, deadline) {
                Answer::Addresses(found) => addresses.extend(found),
                services @ Answer::Services(_) => return services,
                Answer::Nothing => {}
                Answer::Failed => failed = true,
            }
        }
        match (addresses.is_empty(), failed) {
            (false, _) => Answer::Addresses(addresses),
            (true, true) => Answer::Failed,
            (true, false) => Answer::Nothing,
        }
    }

    fn ask(&self, name: &str, kind: u16, deadline: Instant) -> Answer {
        for _ in 0..self.attempts {
            for server in &self.servers {
                let until = deadline.min(Instant::now() + self.patience);
                // No route, a timeout, nonsense: the next server.
                match ask_one(*server, name, kind, until).unwrap_or(Answer::Failed) {
                    Answer::Failed => {}
                    answer => return answer,
                }
                if Instant::now() >= deadline {
                    return Answer::Failed;
                }
            }
        }
        Answer::Failed
    }
}

fn ask_one(server: SocketAddr, name: &str, kind: u16, until: Instant) -> std::io::Result<Answer> {
    let id = u16::try_from(RandomState::new().hash_one(name) & 0xffff).unwrap_or_default();
    let Some(question) = message::question(id, name, kind) else { return Ok(Answer::Nothing) };
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of the kernel's choice, and connected: only this server's answers arrive.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(&question)?;
    let mut buffer = [0; 4096];
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        let length = socket.recv(&mut buffer)?;
        // What is no answer to this question is somebody's noise.
        let Some(reply) = message::reply(&buffer[..length], &question) else { continue };
        if !reply.truncated {
            return Ok(reply.answer());
        }
        let whole = over_tcp(server, &question, until)?;
        return Ok(message::reply(&whole, &question).map_or(Answer::Failed, message::Reply::answer));
    }
}

fn over_tcp(server: SocketAddr, question: &[u8], until: Instant) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
    stream.set_read_timeout(Some(left(until)?))?;
    stream.set_write_timeout(Some(left(until)?))?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut whole = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut whole)?;
    Ok(whole)
}

fn nothing(host: &str, kind: Kind) -> Down {
    Down::new(format!("there is no {} for `{host}`", kind.what()))
}

#[cfg(test)]
mod tests;
