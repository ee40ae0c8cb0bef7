//! `render --once` with one Consul key.

use crate::Bench;
use crate::consul::Agent;
use crate::http::Client;
use crate::process::command;
use crate::start::{Contender, Turns};
use crate::stats::{Samples, ms};
use anyhow::Result;
use std::fs;
use std::time::Instant;

const OURS: &str = "`proem render --once`";

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let dir = bench.folder("once")?;
    let agent = Agent::start(bench)?;
    agent.client()?.ok("PUT", "/v1/kv/once/key", b"some value")?;
    let (tera, go) = (dir.join("a.tera"), dir.join("a.ctmpl"));
    fs::write(&tera, "key = {{ app.key }}\n")?;
    fs::write(&go, "key = {{ key \"once/key\" }}\n")?;
    let mut turns = Turns::default();
    let out = dir.join("proem.conf");
    let mut ours = command(&bench.peers.proem);
    ours.env("CONSUL_HTTP_ADDR", agent.address()).args(["render", "--once", "-s", "app=consul:once", "-t"]);
    ours.arg(format!("{}:{}", tera.display(), out.display()));
    turns.add(&mut bench.report, Contender::new(OURS, ours).without(&out));
    let out = dir.join("version");
    let mut version = command(&bench.peers.proem);
    version.arg("--version");
    turns.add(&mut bench.report, Contender::new("`proem --version`", version).without(&out));
    if let Some(ct) = &bench.peers.ct {
        let out = dir.join("ct.conf");
        let mut c = command(ct);
        c.env("CONSUL_HTTP_ADDR", agent.address()).arg("-once").arg("-template");
        c.arg(format!("{}:{}", go.display(), out.display()));
        turns.add(&mut bench.report, Contender::new("consul-template `-once`", c).without(&out));
    }
    let mut raw = Samples::default();
    let rounds = bench.rounds(300);
    turns.play(rounds, || {
        let start = Instant::now();
        Client::connect(agent.port)?.ok("GET", "/v1/kv/once/?recurse", b"")?;
        raw.push(ms(start, Instant::now()));
        Ok(())
    })?;
    if let Some(ours) = turns.of(OURS) {
        let beyond = ours.median() - raw.median();
        let found = format!("raw + {beyond:.2} ms ({:.2} ms)", ours.median());
        let reference = format!("raw request: {:.2} ms", raw.median());
        bench.report.goal("`render --once`, one Consul key", reference, "≤ raw + 2 ms", found, Some(beyond <= 2.0));
    }
    let mut table = turns.table(OURS);
    table[0][4] = "p10 × proem".into();
    table[0][5] = "median × proem".into();
    let figures = [raw.at(0.1), raw.median(), raw.at(0.99)].map(|v| format!("{v:.2}"));
    table.push(
        ["raw request, connection included".to_owned()]
            .into_iter()
            .chain(figures)
            .chain([String::new(), String::new()])
            .collect(),
    );
    let note = format!("Process start to exit, target absent before; {rounds} rounds.");
    bench.report.section("`render --once`", &note, &table);
    Ok(())
}
