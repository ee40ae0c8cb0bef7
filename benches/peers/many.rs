//! From an acknowledged write to the renamed target: one key, a big prefix, many templates.

use crate::Bench;
use crate::consul::Agent;
use crate::process::{Usage, halves};
use crate::stats::{Samples, ms};
use crate::watch::{self, Event};
use crate::watching::{self, Renderer, Template};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// consul-template waits 100 ms between two fetches of a key: between two writes to one contender there is more.
const PAUSE: Duration = Duration::from_millis(45);

/// Who sees a change of its own prefix: a renderer, or a raw blocking query.
struct Observer {
    name: &'static str,
    prefix: String,
    events: Receiver<Event>,
    /// `None` for the raw query.
    renderer: Option<Renderer>,
    samples: Samples,
    before: Usage,
    cpu_ms: f64,
}

impl Observer {
    fn usage(&self) -> Usage {
        self.renderer.as_ref().map_or(Usage::default(), |r| Usage::of(&halves(r.running.pid())))
    }

    fn of_renderer(name: &'static str, prefix: &str, renderer: Renderer) -> Result<Observer> {
        let events = watch::folder(&renderer.out)?;
        Ok(Observer::new(name, prefix, events, Some(renderer)))
    }

    fn new(name: &'static str, prefix: &str, events: Receiver<Event>, renderer: Option<Renderer>) -> Observer {
        let (samples, before) = (Samples::default(), Usage::default());
        Observer { name, prefix: prefix.into(), events, renderer, samples, before, cpu_ms: 0.0 }
    }

    /// One blocking query after the other; an event when an answer is complete. Ends with the agent or the receiver.
    fn raw(agent: &Agent, prefix: &str) -> Result<Observer> {
        let mut client = agent.client()?;
        let mut index = client.ok("GET", &format!("/v1/kv/{prefix}/?recurse"), b"")?.index;
        let path = format!("/v1/kv/{prefix}/?recurse&wait=60s");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            while let Ok(answer) = client.ok("GET", &format!("{path}&index={index}"), b"") {
                let changed = answer.index != index;
                index = answer.index;
                if changed && sender.send(Event { at: Instant::now(), name: String::new() }).is_err() {
                    return;
                }
            }
        });
        Ok(Observer::new("raw blocking query", prefix, events, None))
    }

    /// From `acknowledged` until the file has the value; for the raw query, until the next answer.
    fn wait(&self, acknowledged: Instant, file: &str, value: &str) -> Result<f64> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).with_context(|| format!("{} saw no change", self.name))?;
            let Some(renderer) = &self.renderer else { return Ok(ms(acknowledged, event.at)) };
            if event.name == file && fs::read_to_string(renderer.out.join(file))?.contains(value) {
                return Ok(ms(acknowledged, event.at));
            }
        }
    }
}

/// A contest: in each round each observer's prefix gets one write.
struct Contest<'a> {
    agent: &'a Agent,
    observers: Vec<Observer>,
    /// Round → key and the target that prints it.
    turn: &'a dyn Fn(usize) -> (String, String),
    /// Rounds so far: a value that is written again changes nothing.
    played: usize,
}

impl Contest<'_> {
    fn play(&mut self, rounds: usize) -> Result<()> {
        let mut client = self.agent.client()?;
        if self.played == 0 {
            for observer in &mut self.observers {
                observer.before = observer.usage();
            }
        }
        let count = self.observers.len();
        for round in self.played..self.played + rounds {
            let (key, file) = (self.turn)(round);
            for turn in 0..count {
                let observer = &mut self.observers[(round + turn) % count];
                // Padded to fifty bytes, and never the same twice.
                let value = format!("round-{round:06}-{}", "x".repeat(37));
                while observer.events.try_recv().is_ok() {}
                client.ok("PUT", &format!("/v1/kv/{}/{key}", observer.prefix), value.as_bytes())?;
                let acknowledged = Instant::now();
                let ms = observer.wait(acknowledged, &file, &value)?;
                observer.samples.push(ms);
                sleep(PAUSE);
            }
        }
        self.played += rounds;
        for observer in &mut self.observers {
            let spent = observer.usage().cpu_ns - observer.before.cpu_ns;
            observer.cpu_ms = spent as f64 / 1e6 / self.played as f64;
        }
        Ok(())
    }

    fn of(&self, name: &str) -> Option<&Observer> {
        self.observers.iter().find(|o| o.name == name)
    }

    fn table(&self) -> Vec<Vec<String>> {
        let head = [
            "",
            "p10 ms",
            "median ms",
            "p99 ms",
            "CPU ms per change",
            "RSS kB",
            "anonymous kB",
            "of it, worker RSS kB",
        ];
        let mut rows = vec![head.map(String::from).to_vec()];
        for o in &self.observers {
            let mut row = vec![o.name.to_owned()];
            row.extend([0.1, 0.5, 0.99].map(|p| format!("{:.2}", o.samples.at(p))));
            if let Some(renderer) = &o.renderer {
                let (all, worker) = (o.usage(), worker_rss(renderer));
                row.extend([
                    format!("{:.2}", o.cpu_ms),
                    all.rss.to_string(),
                    all.anonymous.to_string(),
                    worker.to_string(),
                ]);
            } else {
                row.extend(["", "", "", ""].map(String::from));
            }
            rows.push(row);
        }
        rows
    }
}

/// The second process' RSS, or that of the only one.
fn worker_rss(renderer: &Renderer) -> u64 {
    halves(renderer.running.pid()).last().map_or(0, |pid| Usage::of(&[*pid]).rss)
}

const RAW: &str = "raw blocking query";
const OURS: &str = "proem";
const CT: &str = "consul-template";

/// Waits until all these targets were renamed into the folder; when the last was.
fn all_of(events: &Receiver<Event>, mut missing: HashSet<String>, limit: Duration) -> Result<Instant> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left).with_context(|| {
            format!("{} targets are missing, for instance {:?}", missing.len(), missing.iter().next())
        })?;
        missing.remove(&event.name);
        if missing.is_empty() {
            return Ok(event.at);
        }
    }
}

/// Both renderers, each with its first render done, and the raw query. A missing peer is said and left out.
fn observers(
    bench: &mut Bench,
    agent: &Agent,
    prefix: &str,
    ours: &[Template],
    theirs: &[Template],
) -> Result<Vec<Observer>> {
    let names = |templates: &[Template]| templates.iter().map(|(name, _)| name.clone()).collect::<HashSet<_>>();
    let limit = Duration::from_mins(1);
    let mut found = vec![Observer::raw(agent, &format!("{prefix}-raw"))?];
    let ct_prefix = format!("{prefix}-ct");
    let contenders = [
        (OURS, prefix, watching::proem(bench, agent, prefix, ours), names(ours)),
        (CT, &*ct_prefix, watching::consul_template(bench, agent, &ct_prefix, theirs), names(theirs)),
    ];
    for (name, prefix, started, targets) in contenders {
        let observer = started.and_then(|renderer| {
            ready(&renderer.out, &targets, limit)?;
            Observer::of_renderer(name, prefix, renderer)
        });
        match observer {
            Ok(observer) => found.push(observer),
            Err(error) => {
                eprintln!("bench: {name}: {error:#}");
                bench.report.skipped(&format!("{name}, {prefix}: {error:#}"));
            }
        }
    }
    sleep(Duration::from_millis(500));
    Ok(found)
}

fn ready(out: &PathBuf, names: &HashSet<String>, limit: Duration) -> Result<()> {
    crate::process::until("the first render", limit, || {
        let Ok(entries) = fs::read_dir(out) else { return false };
        entries.flatten().filter(|e| names.contains(&*e.file_name().to_string_lossy())).count() == names.len()
    })
}

fn fill(agent: &Agent, prefix: &str, count: usize) -> Result<()> {
    for prefix in [prefix.to_owned(), format!("{prefix}-ct"), format!("{prefix}-raw")] {
        let pair = |n: usize| (format!("{prefix}/k{n:05}"), format!("value-{n:05}-{}", "v".repeat(38)));
        agent.fill(&(0..count).map(pair).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// One key, one template.
pub fn one_key(bench: &mut Bench) -> Result<()> {
    let agent = Agent::start(bench)?;
    fill(&agent, "one", 1)?;
    let ours = [("out".into(), "{{ app.k00000 }}\n".into())];
    let theirs = [("out".into(), "{{ key \"one-ct/k00000\" }}\n".into())];
    let observers = observers(bench, &agent, "one", &ours, &theirs)?;
    let mut contest = Contest { agent: &agent, observers, played: 0, turn: &|_| ("k00000".into(), "out".into()) };
    let rounds = bench.rounds(500);
    contest.play(rounds)?;
    let note = format!(
        "From the acknowledged PUT until the rename is seen (inotify), `--settle 0s --throttle 0s`. {rounds} rounds; \
         each contender has a key of its own, and more than 100 ms between two writes to it. (Consul answers the \
         watcher as early as the writer, so the raw query is at zero.)"
    );
    bench.report.section("Latency, one key", &note, &contest.table());
    let (raw, ours) = (contest.of(RAW).context("raw")?, contest.of(OURS).context("proem")?);
    let median = ours.samples.median() - raw.samples.median();
    let tail = ours.samples.at(0.99) - raw.samples.at(0.99);
    let ct = contest.of(CT).map_or(String::new(), |ct| {
        format!("; consul-template: raw + {:.2} ms", ct.samples.median() - raw.samples.median())
    });
    let reference = format!("raw: {:.2} ms, p99 {:.2} ms{ct}", raw.samples.median(), raw.samples.at(0.99));
    let found = format!("raw + {median:.2} ms, p99: raw's + {tail:.2} ms");
    let goal = "median ≤ raw + 0.6 ms, p99 ≤ raw's + 3 ms";
    bench.report.goal("KV write → target renamed", reference, goal, found, Some(median <= 0.6 && tail <= 3.0));
    Ok(())
}

/// 10,000 keys below one prefix, all of them printed by one template.
pub fn big_prefix(bench: &mut Bench) -> Result<()> {
    const KEYS: usize = 10_000;
    let agent = Agent::start(bench)?;
    fill(&agent, "big", KEYS)?;
    let ours = [("out".into(), "{% for k, v in app %}{{ k }}={{ v }}\n{% endfor %}".into())];
    let theirs = [("out".into(), "{{ range ls \"big-ct\" }}{{ .Key }}={{ .Value }}\n{{ end }}".into())];
    let observers = observers(bench, &agent, "big", &ours, &theirs)?;
    let turn = |round| (format!("k{:05}", round * 7919 % KEYS), "out".into());
    let mut contest = Contest { agent: &agent, observers, played: 0, turn: &turn };
    let mut plain = Samples::default();
    let mut client = agent.client()?;
    let rounds = bench.rounds(60);
    // In slices, so that the plain requests see the same machine as the rest.
    for _ in 0..3 {
        contest.play(rounds.div_ceil(3))?;
        for _ in 0..rounds.div_ceil(3) {
            let start = Instant::now();
            client.ok("GET", "/v1/kv/big-raw/?recurse", b"")?;
            plain.push(ms(start, Instant::now()));
        }
    }
    let note = format!("Keys with values of about 50 bytes; the template prints all. {rounds} rounds.");
    let mut table = contest.table();
    let mut row = vec!["raw `GET ?recurse`, unconditional".to_owned()];
    row.extend([0.1, 0.5, 0.99].map(|p| format!("{:.2}", plain.at(p))));
    row.extend(["", "", "", ""].map(String::from));
    table.push(row);
    bench.report.section("10,000 keys", &note, &table);
    let ours = contest.of(OURS).context("proem")?;
    let (ratio, all) = (ours.samples.median() / plain.median(), ours.usage());
    let ct = contest.of(CT).map_or(String::new(), |ct| {
        format!("; consul-template: {:.1} ms, {:.1} MB", ct.samples.median(), ct.usage().rss as f64 / 1024.0)
    });
    let reference = format!("raw `GET ?recurse`: {:.1} ms{ct}", plain.median());
    let mb = all.rss as f64 / 1024.0;
    let found = format!("{ratio:.2} × ({:.1} ms), {mb:.1} MB", ours.samples.median());
    let met = ratio <= 1.5 && mb <= 24.0;
    bench.report.goal("10,000-key prefix, one changes", reference, "≤ 1.5 × raw, ≤ 24 MB", found, Some(met));
    Ok(())
}

/// 1,000 templates, each printing one key of one prefix; a key is printed by three of them.
pub fn many_templates(bench: &mut Bench) -> Result<()> {
    const COUNT: usize = 1_000;
    const KEYS: usize = COUNT / 3;
    let agent = Agent::start(bench)?;
    fill(&agent, "many", KEYS + 1)?;
    let name = |n: usize| format!("k{n:05}");
    let ours: Vec<Template> = (0..COUNT).map(|n| (name(n), format!("{{{{ app.{} }}}}\n", name(n / 3)))).collect();
    // A loop over `ls` would be one watch, as proem's, but a million comparisons per change: 1.2 s of CPU. This is its best.
    let theirs: Vec<Template> =
        (0..COUNT).map(|n| (name(n), format!("{{{{ key \"many-ct/{}\" }}}}\n", name(n / 3)))).collect();

    let names: HashSet<String> = (0..COUNT).map(name).collect();
    let mut starts = [Samples::default(), Samples::default()];
    for _ in 0..bench.rounds(50) {
        for (who, samples) in starts.iter_mut().enumerate() {
            let prefix = if who == 0 { "many" } else { "many-ct" };
            if who == 1 && (bench.peers.ct.is_none() || samples.len() >= 5) {
                continue;
            }
            // The folder is made here, so that it can be watched from before the start; the starter keeps it.
            let events = watch::folder(&bench.folder(&format!("{prefix}.out"))?)?;
            let start = Instant::now();
            let mut renderer = match who {
                0 => watching::proem(bench, &agent, prefix, &ours)?,
                _ => watching::consul_template(bench, &agent, prefix, &theirs)?,
            };
            let done = all_of(&events, names.clone(), Duration::from_mins(1));
            if done.is_err() {
                renderer.running.check()?;
            }
            let done = done.with_context(|| format!("start {} of {prefix}", samples.len()))?;
            samples.push(ms(start, done));
        }
    }

    let observers = observers(bench, &agent, "many", &ours, &theirs)?;
    // Until the last of the three is renamed.
    let turn = |round| (name(round * 7919 % KEYS), name(round * 7919 % KEYS * 3 + 2));
    let mut contest = Contest { agent: &agent, observers, played: 0, turn: &turn };
    let rounds = bench.rounds(100);
    contest.play(rounds)?;
    let note = format!(
        "Each template prints one key of one prefix, and three print the one that changes: until the last is renamed. {rounds} rounds. Start is from before the fork until the \
         last of 1,000 absent targets is renamed: proem {:.1} ms (p10 {:.1}, {} starts), consul-template \
         {:.0} ms ({} starts). consul-template watches each `key` over a connection of its own; the agent's \
         limit of 200 per client is raised for it.",
        starts[0].median(),
        starts[0].at(0.1),
        starts[0].len(),
        starts[1].median(),
        starts[1].len()
    );
    bench.report.section("1,000 templates", &note, &contest.table());
    let (raw, ours) = (contest.of(RAW).context("raw")?, contest.of(OURS).context("proem")?);
    let beyond = ours.samples.median() - raw.samples.median();
    let mb = ours.usage().rss as f64 / 1024.0;
    let start = starts[0].median();
    let ct = contest.of(CT).map_or("consul-template: not there".into(), |ct| {
        format!(
            "consul-template: raw + {:.1} ms, {:.1} ms of CPU, {:.1} MB, start {:.0} ms",
            ct.samples.median() - raw.samples.median(),
            ct.cpu_ms,
            ct.usage().rss as f64 / 1024.0,
            starts[1].median()
        )
    });
    let reference = format!("raw fetch: {:.1} ms; {ct}", raw.samples.median());
    let found = format!("raw + {beyond:.1} ms, {:.1} ms of CPU, {mb:.1} MB, start {start:.0} ms", ours.cpu_ms);
    let met = beyond <= 5.0 && ours.cpu_ms <= 10.0 && mb <= 16.0 && start <= 100.0;
    let goal = "≤ raw + 5 ms, ≤ 10 ms of CPU, ≤ 16 MB, start ≤ 100 ms";
    bench.report.goal("1,000 templates, one key changes, three touched", reference, goal, found, Some(met));
    Ok(())
}
