//! At rest: memory, threads, wakeups.

use crate::Bench;
use crate::consul::Agent;
use crate::process::{Running, Usage, command, halves, until};
use crate::watching;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// How long wakeups are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Usage at the end of the window, with wakeups and processor time of the window alone.
fn watch(all: &[(String, Running)]) -> Vec<Usage> {
    let pids: Vec<Vec<u32>> = all.iter().map(|(_, running)| halves(running.pid())).collect();
    watch_for(&pids, WINDOW)
}

/// The same for another window, and for processes that somebody else chose.
pub fn watch_for(pids: &[Vec<u32>], window: Duration) -> Vec<Usage> {
    let before: Vec<Usage> = pids.iter().map(|p| Usage::of(p)).collect();
    sleep(window);
    let window = |(pids, before): (&Vec<u32>, &Usage)| {
        let after = Usage::of(pids);
        Usage { wakeups: after.wakeups - before.wakeups, cpu_ns: after.cpu_ns - before.cpu_ns, ..after }
    };
    pids.iter().zip(&before).map(window).collect()
}

fn table(all: &[(String, Running)], usage: &[Usage]) -> Vec<Vec<String>> {
    let head = ["", "processes", "threads", "RSS kB", "anonymous kB", "PSS kB", "wakeups in 10 s"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for ((name, _), u) in all.iter().zip(usage) {
        let figures =
            [u.processes as u64, u.threads as u64, u.rss, u.anonymous, u.pss, u.wakeups].map(|v| v.to_string());
        rows.push(std::iter::once(name.clone()).chain(figures).collect());
    }
    rows
}

/// PID 1 at rest, plain and after a template that cannot change.
pub fn at_rest(bench: &mut Bench) -> Result<()> {
    let dir = bench.folder("rest")?;
    let (template, out) = (dir.join("a.tera"), dir.join("out.conf"));
    fs::write(&template, "port {{ env.BENCH_PORT }}\n")?;
    let pair = format!("{}:{}", template.display(), out.display());
    let contenders: [(&str, Option<PathBuf>, Vec<&str>); 6] = [
        ("tini-static", bench.peers.tini_static.clone(), vec!["-s", "--"]),
        ("tini", bench.peers.tini.clone(), vec!["-s", "--"]),
        ("dumb-init", bench.peers.dumb_init.clone(), vec!["--"]),
        ("catatonit", bench.peers.catatonit.clone(), vec!["--"]),
        ("proem, plain", Some(bench.peers.proem.clone()), vec!["--"]),
        ("proem, after a fixed template", Some(bench.peers.proem.clone()), vec!["run", "-t", &pair, "--"]),
    ];
    let mut all = Vec::new();
    for (name, program, arguments) in contenders {
        let Some(program) = program else { continue };
        let mut c = command(program);
        c.env("BENCH_PORT", "8080").args(arguments).args(["sleep", "60"]);
        all.push((name.to_owned(), Running::start(&mut c)?));
    }
    sleep(Duration::from_secs(2));
    for (name, running) in &mut all {
        running.check().map_err(|e| e.context(name.clone()))?;
    }
    let usage = watch(&all);
    let tini = all.iter().position(|(name, _)| name == "tini-static").map(|at| usage[at]);
    let reference = tini.map_or("tini-static: not there".into(), |u| {
        format!("tini-static: {} kB RSS, {} kB anonymous", u.rss, u.anonymous)
    });
    for ((name, _), u) in all.iter().zip(&usage).filter(|((name, _), _)| name.starts_with("proem")) {
        let met = u.processes == 1 && u.rss <= 2048 && u.anonymous <= 150 && u.wakeups == 0;
        let found = format!("{} kB RSS, {} kB anonymous, {} wakeups", u.rss, u.anonymous, u.wakeups);
        let what = format!("at rest: {name}");
        bench.report.goal(&what, reference.clone(), "≤ 2 MB RSS, ≤ 150 kB anonymous, 0 wakeups", found, Some(met));
    }
    let note = "With `sleep 60` as the child, two seconds after start; the child is not counted.";
    bench.report.section("At rest", note, &table(&all, &usage));
    Ok(())
}

/// The whole of proem that watches one Consul key.
pub fn watching(bench: &mut Bench) -> Result<()> {
    let agent = Agent::start(bench)?;
    let mut client = agent.client()?;
    let mut all = Vec::new();
    let ours = watching::proem(bench, &agent, "rest", &[("out".into(), "{{ app.key }}\n".into())])?;
    let template = ("out".into(), "{{ key \"rest-ct/key\" }}\n".into());
    let theirs = watching::consul_template(bench, &agent, "rest-ct", &[template]);
    let mut targets = vec![ours.out.join("out")];
    client.ok("PUT", "/v1/kv/rest/key", b"start")?;
    client.ok("PUT", "/v1/kv/rest-ct/key", b"start")?;
    all.push(("proem, init and worker".to_owned(), ours.running));
    match theirs {
        Ok(theirs) => {
            targets.push(theirs.out.join("out"));
            all.push(("consul-template".to_owned(), theirs.running));
        }
        Err(error) => bench.report.skipped(&format!("watching one key: {error:#}")),
    }
    until("the first render", Duration::from_secs(10), || targets.iter().all(|t| t.exists()))?;
    // A few changes, so that what is measured has done its work at least once.
    for round in 0..20 {
        let value = format!("value {round}");
        client.ok("PUT", "/v1/kv/rest/key", value.as_bytes())?;
        client.ok("PUT", "/v1/kv/rest-ct/key", value.as_bytes())?;
        sleep(Duration::from_millis(150));
    }
    sleep(Duration::from_secs(2));
    let usage = watch(&all);
    let u = usage[0];
    let reference = usage.get(1).map_or("consul-template: not there".into(), |c| {
        format!("consul-template: {} kB RSS, {} kB anonymous, {} threads", c.rss, c.anonymous, c.threads)
    });
    let met = u.rss <= 8192 && u.anonymous <= 1536;
    let found = format!("{} kB RSS, {} kB anonymous, {} threads", u.rss, u.anonymous, u.threads);
    bench.report.goal("watching one Consul key", reference, "≤ 8 MB RSS, ≤ 1.5 MB anonymous", found, Some(met));
    let note =
        "After 20 changes. Summed over the processes, so that shared pages count twice in RSS; PSS counts them once.";
    let mut table = table(&all, &usage);
    for pid in halves(all[0].1.pid()) {
        let half = Usage::of(&[pid]);
        let name = if pid == all[0].1.pid() { "of it, init" } else { "of it, the worker" };
        let figures = [1, half.threads as u64, half.rss, half.anonymous, half.pss].map(|v| v.to_string());
        table.push(std::iter::once(name.to_owned()).chain(figures).chain([String::new()]).collect());
    }
    bench.report.section("Watching one Consul key", note, &table);
    Ok(())
}
