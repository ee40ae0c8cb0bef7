//! A Consul agent of this run's own.

use crate::Bench;
use crate::http::Client;
use crate::process::{Running, command, until};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// A development agent on free ports; it ends when this is dropped.
pub struct Agent {
    /// The HTTP API's port on 127.0.0.1.
    pub port: u16,
    _process: Running,
}

impl Agent {
    /// Starts one and waits for its leader.
    pub fn start(bench: &Bench) -> Result<Agent> {
        let consul = bench.peers.consul.as_ref().context("consul is not installed")?;
        // Held together, so that they differ; free again when the agent binds them.
        let held = (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<std::io::Result<Vec<_>>>()?;
        let ports = held.iter().map(|l| Ok(l.local_addr()?.port())).collect::<std::io::Result<Vec<u16>>>()?;
        drop(held);
        let mut agent = command(consul);
        agent.args(["agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=err", "-dns-port=-1"]);
        agent.arg("-grpc-port=-1");
        let names = ["http", "server", "serf-lan", "serf-wan"];
        agent.args(names.iter().zip(&ports).map(|(name, port)| format!("-{name}-port={port}")));
        // consul-template opens one connection per key; the default limit is 200 per client.
        agent.args(["-hcl", "limits { http_max_conns_per_client = 15000 }", "-hcl", "disable_update_check = true"]);
        let process = Running::start(&mut agent)?;
        let port = ports[0];
        until("consul has a leader", Duration::from_secs(30), || {
            let answer = Client::connect(port).and_then(|mut c| c.ok("GET", "/v1/status/leader", b""));
            answer.is_ok_and(|a| a.body.len() > 4)
        })?;
        let agent = Agent { port, _process: process };
        // The leader is known a little before writes are taken.
        let mut client = agent.client()?;
        until("consul takes writes", Duration::from_secs(30), || {
            client.request("PUT", "/v1/kv/ready", b"1").is_ok_and(|a| a.status == 200)
        })?;
        Ok(agent)
    }

    /// A connection to it.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.port)
    }

    /// As `CONSUL_HTTP_ADDR` takes it.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes many keys, 64 (the limit) in one transaction.
    pub fn fill(&self, pairs: &[(String, String)]) -> Result<()> {
        let mut client = self.client()?;
        for chunk in pairs.chunks(64) {
            let mut body = String::new();
            for (key, value) in chunk {
                let comma = if body.is_empty() { '[' } else { ',' };
                let value = base64(value.as_bytes());
                write!(body, r#"{comma}{{"KV":{{"Verb":"set","Key":"{key}","Value":"{value}"}}}}"#)?;
            }
            body.push(']');
            client.ok("PUT", "/v1/txn", body.as_bytes())?;
        }
        Ok(())
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let group = part.iter().chain([&0, &0]).take(3).fold(0_usize, |sum, b| sum << 8 | usize::from(*b));
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = char::from(DIGITS[group >> shift & 63]);
            text.push(if place <= part.len() { digit } else { '=' });
        }
    }
    text
}
