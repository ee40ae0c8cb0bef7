//! A real `consul agent -dev` on free ports in its own temporary folder, ended by its pid.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an agent may take to elect itself.
const READY: Duration = Duration::from_mins(1);

/// A running agent. Dropping it ends it.
pub struct Consul {
    /// Plain HTTP, on 127.0.0.1.
    pub port: u16,
    /// Its folder: configuration, log, and what a test puts there.
    pub dir: tempfile::TempDir,
    ports: Vec<u16>,
    token: Option<String>,
    child: Child,
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Consul {
    /// An agent as it is by default.
    pub fn start() -> Consul {
        Consul::start_in(tempfile::tempdir().expect("a temporary folder"), "{}", None)
    }

    /// An agent with more configuration (JSON), in a folder that holds what that names, and the token that
    /// [`Consul::put`] and the others use.
    pub fn start_in(dir: tempfile::TempDir, config: &str, token: Option<&str>) -> Consul {
        std::fs::write(dir.path().join("agent.json"), config).expect("the configuration is written");
        let ports = free_ports(4);
        let child = spawn(dir.path(), &ports);
        let mut consul = Consul { port: ports[0], dir, ports, token: token.map(str::to_owned), child };
        // A port that was free a moment ago may have been taken: then the agent ends, and others are tried.
        for _ in 0..4 {
            if consul.is_ready() {
                return consul;
            }
            consul.stop();
            consul.ports = free_ports(4);
            consul.port = consul.ports[0];
            consul.child = spawn(consul.dir.path(), &consul.ports);
        }
        assert!(consul.is_ready(), "consul does not start: {}", consul.log());
        consul
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the agent at once. A `-dev` agent forgets everything.
    pub fn stop(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same ports after [`Consul::stop`].
    pub fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), &self.ports);
        assert!(self.is_ready(), "consul does not start again: {}", self.log());
    }

    /// Writes a key; `key` is percent-encoded.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        let (status, body) = self.request("PUT", &format!("/v1/kv/{key}"), value.as_ref());
        assert_eq!((status, body.trim()), (200, "true"), "{key}");
    }

    /// Deletes a key, or with `?recurse` all that begin so.
    pub fn delete(&self, key: &str) {
        let (status, body) = self.request("DELETE", &format!("/v1/kv/{key}"), b"");
        assert_eq!((status, body.trim()), (200, "true"), "{key}");
    }

    /// `PUT` of JSON to the API; the answer.
    pub fn api(&self, path: &str, json: &serde_json::Value) -> String {
        let (status, body) = self.request("PUT", path, json.to_string().as_bytes());
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// One request; status and body.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        self.try_request(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {}", self.log()))
    }

    fn try_request(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let token = self.token.as_ref().map(|token| format!("X-Consul-Token: {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: consul\r\n{token}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        Ok((status, body))
    }

    /// What the agent has logged, its end.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// Waits until it takes writes; false when it has ended instead.
    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + READY;
        while Instant::now() < deadline {
            if self.child.try_wait().expect("the agent's state").is_some() {
                return false;
            }
            // A write needs the leader, and with ACLs their bootstrap.
            if let Ok((200, body)) = self.try_request("PUT", "/v1/kv/ready", b"")
                && body.trim() == "true"
            {
                self.delete("ready");
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

fn spawn(dir: &Path, ports: &[u16]) -> Child {
    let log = std::fs::File::create(dir.join("log")).expect("a log");
    let mut command = Command::new("consul");
    command.args(["agent", "-dev", "-bind=127.0.0.1", "-dns-port=-1", "-grpc-port=-1"]);
    for (option, port) in ["http", "server", "serf-lan", "serf-wan"].iter().zip(ports) {
        command.arg(format!("-{option}-port={port}"));
    }
    command.arg(format!("-config-file={}", dir.join("agent.json").display()));
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    command.spawn().expect("consul is installed (scripts/install-consul)")
}

/// Ports that are free now, for TCP.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
