//! A real Consul agent on free ports of the loopback interface, and its HTTP API as the tests use it.

use super::{http, ports, wait};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server's HTTP API, wherever it runs.
#[derive(Debug, Clone)]
pub struct Api {
    /// `127.0.0.1:8500`.
    pub address: String,
}

impl Api {
    /// The address as `CONSUL_HTTP_ADDR` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has a leader and serves.
    pub fn ready(&self, state: impl Fn() -> String) {
        wait::until(Duration::from_mins(1), "consul has a leader", state, || {
            let leader = http::get(&self.address, "/v1/status/leader")?;
            // A write proves more than the answer: right after a start they are refused for a moment.
            (leader.len() > 2 && self.send("PUT", "/v1/kv/proem-test-ready", b"")).then_some(())
        });
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> bool {
        http::request(&self.address, method, path, body).is_some_and(|response| response.status == 200)
    }

    fn must(&self, method: &str, path: &str, body: &[u8]) {
        let response = http::request(&self.address, method, path, body);
        assert!(response.as_ref().is_some_and(|r| r.status == 200), "{method} {path}: {response:?}");
    }

    /// Writes a key.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        self.must("PUT", &format!("/v1/kv/{}", encode(key)), value.as_ref());
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        self.must("DELETE", &format!("/v1/kv/{}", encode(key)), b"");
    }

    /// Registers an instance of a service, with a check that passes until told otherwise.
    pub fn register(&self, service: &str, id: &str, address: &str, port: u16) {
        let body = format!(
            r#"{{"Name":"{service}","ID":"{id}","Address":"{address}","Port":{port},"Check":{{"TTL":"60m","Status":"passing"}}}}"#
        );
        self.must("PUT", "/v1/agent/service/register", body.as_bytes());
    }

    /// Its check says `pass` or `fail`.
    pub fn check(&self, id: &str, verdict: &str) {
        self.must("PUT", &format!("/v1/agent/check/{verdict}/service:{id}"), b"");
    }

    /// Removes an instance.
    pub fn deregister(&self, id: &str) {
        self.must("PUT", &format!("/v1/agent/service/deregister/{id}"), b"");
    }
}

fn encode(key: &str) -> String {
    use std::fmt::Write as _;
    key.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").unwrap(),
        }
        out
    })
}

/// The configuration of a server that is its own cluster: it keeps its data over a restart, is reachable only as far
/// as `client` says, and elects itself within a second.
pub fn configuration(client: &str, [http, near, far, server]: [u16; 4]) -> String {
    format!(
        r#"{{"server":true,"bootstrap_expect":1,"bind_addr":"127.0.0.1","client_addr":"{client}","node_name":"test",
            "datacenter":"dc1","log_level":"WARN","disable_update_check":true,"leave_on_terminate":false,
            "performance":{{"raft_multiplier":1}},
            "ports":{{"http":{http},"serf_lan":{near},"serf_wan":{far},"server":{server},"dns":-1,"grpc":-1}}}}"#
    )
}

/// An agent of our own; ended when dropped.
pub struct Consul {
    /// What it serves.
    pub api: Api,
    child: Option<Child>,
    folder: tempfile::TempDir,
}

impl Consul {
    /// Starts a server and waits until it takes writes.
    pub fn start() -> Consul {
        let folder = super::folder();
        let ports = ports::free();
        super::write(folder.path(), "consul.json", &configuration("127.0.0.1", ports));
        let api = Api { address: format!("127.0.0.1:{}", ports[0]) };
        let mut consul = Consul { api, child: None, folder };
        consul.start_again();
        consul
    }

    /// Starts it after [`Consul::stop`], with the data it had, at the same address.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let folder = self.folder.path();
        let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let child = Command::new("consul")
            .arg("agent")
            .args(["-config-file", super::text(&folder.join("consul.json"))])
            .args(["-data-dir", super::text(&folder.join("data"))])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("no consul on this machine: run scripts/setup");
        self.child = Some(child);
        self.api.ready(|| super::read(&self.folder.path().join("log")));
    }

    /// Ends it as a crash would; its address stops to answer at once.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
    }
}
