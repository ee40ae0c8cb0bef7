//! nginx and php-fpm in one container, under proem, supervisord and s6: memory of who supervises, start, end, rest.

use crate::Bench;
use crate::consul::Agent;
use crate::http::Client;
use crate::peers::which;
use crate::process::{Running, Usage, children, command, descendants, send};
use crate::stats::{Samples, ms};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const READY: &str = "proem: `ready`; nothing watched";
const WATCHED: &str = "proem: `ready`, `alive`; a Consul key watched";
const SUPERVISORD: &str = "supervisord";
const S6: &str = "s6";
const PAGE: &[u8] = b"hello from php";
/// The PID 1 and what it needs to be one, each of a PID namespace of its own; it ends with who started it.
const CONTAINER: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];

/// The two programs, their configuration in a folder of their own: the same for each supervisor but for paths and port.
struct Pair {
    dir: PathBuf,
    port: u16,
    nginx: Vec<String>,
    php: Vec<String>,
}

impl Pair {
    fn new(bench: &Bench, name: &str) -> Result<Pair> {
        let dir = bench.folder(name)?;
        let at = dir.display().to_string();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        fs::write(dir.join("index.php"), [b"<?php echo '".as_slice(), PAGE, b"';\n"].concat())?;
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!(" {name}_temp_path {at}/{name};\n"))
            .concat();
        let nginx = format!(
            "user root;\nworker_processes 2;\npid {at}/nginx.pid;\nevents {{}}\nhttp {{\n access_log off;\n{places}\
             \x20server {{\n  listen 127.0.0.1:{port};\n  location / {{\n   fastcgi_pass unix:{at}/php.sock;\n   \
             fastcgi_param REQUEST_METHOD $request_method;\n   fastcgi_param SCRIPT_FILENAME {at}/index.php;\n  }}\n \
             }}\n}}\n"
        );
        fs::write(dir.join("nginx.conf"), nginx)?;
        let php = format!(
            "[global]\nerror_log = {at}/php.log\n[www]\nuser = root\ngroup = root\nlisten = {at}/php.sock\n\
             pm = static\npm.max_children = 2\nping.path = /ping\n"
        );
        fs::write(dir.join("php.conf"), php)?;
        let words = |program: &Path, rest: &[&str]| {
            std::iter::once(program.display().to_string()).chain(rest.iter().map(|word| (*word).to_owned())).collect()
        };
        let nginx = which("nginx").context("nginx is not installed")?;
        Ok(Pair {
            nginx: words(
                &nginx,
                &["-c", &format!("{at}/nginx.conf"), "-e", &format!("{at}/nginx.log"), "-g", "daemon off;"],
            ),
            php: words(&php_fpm()?, &["-n", "-R", "-F", "-y", &format!("{at}/php.conf")]),
            dir,
            port,
        })
    }

    /// Whether nginx answers with what php-fpm says.
    fn serves(&self) -> bool {
        let answer = Client::connect(self.port).and_then(|mut client| client.request("GET", "/", b""));
        answer.is_ok_and(|answer| answer.status == 200 && answer.body == PAGE)
    }

    /// `keys` are php-fpm's, beside its readiness probe.
    fn proem(&self, bench: &Bench, keys: &str, more: &str) -> Result<Command> {
        let quoted = |words: &[String]| words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
        let probe = format!("fcgi:{}/php.sock:/ping", self.dir.display());
        let text = format!(
            "control = \"none\"\n{more}[process.php]\ncommand = [{}]\nstop_signal = \"QUIT\"\nready = \"{probe}\"\n{}\n\
             [process.main]\ncommand = [{}]\nstop_signal = \"QUIT\"\nafter = [\"php\"]\n",
            quoted(&self.php),
            keys.replace("PROBE", &probe),
            quoted(&self.nginx),
        );
        let path = self.dir.join("proem.toml");
        fs::write(&path, text)?;
        let mut c = container()?;
        c.arg(&bench.peers.proem).arg("-c").arg(path);
        Ok(c)
    }

    fn supervisord(&self, bench: &Bench) -> Result<Command> {
        let program = bench.peers.supervisord.as_ref().context("supervisord is not installed")?;
        let at = self.dir.display();
        let mut text = format!("[supervisord]\nnodaemon = true\nuser = root\nlogfile = {at}/log\npidfile = {at}/pid\n");
        for (name, words) in [("php", &self.php), ("nginx", &self.nginx)] {
            let line = quoted(words);
            write!(
                text,
                "[program:{name}]\ncommand = {line}\nstopsignal = QUIT\nstdout_logfile = /dev/stdout\n\
                 stdout_logfile_maxbytes = 0\nstderr_logfile = /dev/stderr\nstderr_logfile_maxbytes = 0\n"
            )?;
        }
        let path = self.dir.join("supervisord.conf");
        fs::write(&path, text)?;
        let mut c = container()?;
        c.arg(program).arg("-c").arg(path);
        Ok(c)
    }

    fn s6(&self) -> Result<Command> {
        let program = which("s6-svscan").context("s6 is not installed")?;
        let services = self.dir.join("services");
        for (name, words) in [("php", &self.php), ("nginx", &self.nginx)] {
            let service = services.join(name);
            // What the life before left (its `supervise`) is part of a restart, not of a start.
            let _ = fs::remove_dir_all(&service);
            fs::create_dir_all(&service)?;
            fs::write(service.join("run"), format!("#!/bin/sh\nexec {}\n", quoted(words)))?;
            fs::set_permissions(service.join("run"), fs::Permissions::from_mode(0o755))?;
            fs::write(service.join("down-signal"), "SIGQUIT\n")?;
        }
        let mut c = container()?;
        c.arg(program).arg(services);
        Ok(c)
    }
}

/// As sh and supervisord read it.
fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ")
}

fn container() -> Result<Command> {
    let mut c = command(which("unshare").context("unshare is not installed")?);
    c.args(CONTAINER);
    if std::env::var_os("BENCH_STDERR").is_some() {
        c.stderr(std::process::Stdio::inherit());
    }
    Ok(c)
}

/// Debian's is called by its version.
fn php_fpm() -> Result<PathBuf> {
    let names = fs::read_dir("/usr/sbin")?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        names.filter(|path| path.to_string_lossy().starts_with("/usr/sbin/php-fpm")).collect();
    found.sort();
    found.pop().context("php-fpm is not installed")
}

/// One of those that take turns.
struct Contender {
    name: &'static str,
    pair: Pair,
    start: Samples,
    end: Samples,
}

impl Contender {
    fn command(&self, bench: &Bench, agent: Option<&Agent>) -> Result<Command> {
        match self.name {
            READY => self.pair.proem(bench, "", ""),
            WATCHED => {
                let agent = agent.context("consul is not installed")?;
                let at = self.pair.dir.display();
                fs::write(self.pair.dir.join("motd.tera"), "{{ app.key }}\n")?;
                let more = format!(
                    "settle = \"0s\"\n[source]\napp = \"consul:pair\"\n[template.motd]\nfrom = \"{at}/motd.tera\"\n\
                     to = \"{at}/motd\"\nreload = \"none\"\n"
                );
                let mut c = self.pair.proem(bench, "alive = { probe = \"PROBE\" }", &more)?;
                c.env("CONSUL_HTTP_ADDR", agent.address());
                Ok(c)
            }
            SUPERVISORD => self.pair.supervisord(bench),
            _ => self.pair.s6(),
        }
    }

    /// A life: until the page is served.
    fn up(&mut self, bench: &Bench, agent: Option<&Agent>) -> Result<Running> {
        let mut c = self.command(bench, agent)?;
        let began = Instant::now();
        let mut running = Running::start(&mut c)?;
        while !self.pair.serves() {
            running.check().with_context(|| self.name)?;
            if began.elapsed() > Duration::from_secs(20) {
                bail!("{}: no page within 20 s", self.name);
            }
            sleep(Duration::from_millis(1));
        }
        self.start.push(ms(began, Instant::now()));
        Ok(running)
    }

    /// From TERM to the end of all.
    fn down(&mut self, mut running: Running) -> Result<()> {
        let init = init(&running)?;
        let began = Instant::now();
        send(init, libc::SIGTERM);
        while running.check().is_ok() {
            if began.elapsed() > Duration::from_secs(20) {
                bail!("{}: not ended 20 s after TERM", self.name);
            }
            sleep(Duration::from_micros(200));
        }
        self.end.push(ms(began, Instant::now()));
        Ok(())
    }
}

/// The PID 1 of the container.
fn init(running: &Running) -> Result<u32> {
    children(running.pid()).first().copied().context("unshare has no child")
}

/// Of a container, whoever is there only for the two: all but these and their workers.
pub fn supervisors(init: u32) -> Vec<u32> {
    let supervises = |pid: &u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let exe = exe.to_string_lossy();
        !exe.contains("/nginx") && !exe.contains("/php-fpm")
    };
    std::iter::once(init).chain(descendants(init)).filter(supervises).collect()
}

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let agent = Agent::start(bench).ok();
    if let Some(agent) = &agent {
        agent.client()?.ok("PUT", "/v1/kv/pair/key", b"hello")?;
    }
    let mut contenders = Vec::new();
    for name in [READY, WATCHED, SUPERVISORD, S6] {
        let pair = Pair::new(bench, &format!("pair{}", contenders.len()))?;
        let mut contender = Contender { name, pair, start: Samples::default(), end: Samples::default() };
        // Once, unmeasured: what does not work is said before anything is measured.
        match contender.up(bench, agent.as_ref()).and_then(|running| contender.down(running)) {
            Ok(()) => {
                (contender.start, contender.end) = (Samples::default(), Samples::default());
                contenders.push(contender);
            }
            Err(error) => bench.report.skipped(&format!("nginx + php-fpm: {name}: {error:#}")),
        }
    }
    let rounds = bench.rounds(7);
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let running = contenders[at].up(bench, agent.as_ref())?;
            contenders[at].down(running)?;
        }
    }
    let mut lives = Vec::new();
    for contender in &mut contenders {
        lives.push(contender.up(bench, agent.as_ref())?);
    }
    sleep(Duration::from_secs(3));
    let pids = lives.iter().map(|running| init(running).map(supervisors)).collect::<Result<Vec<_>>>()?;
    let window = Duration::from_secs(if bench.quick { 5 } else { 10 });
    let usage = crate::memory::watch_for(&pids, window);
    drop(lives);
    report(bench, &contenders, &usage, rounds, window);
    Ok(())
}

fn report(bench: &mut Bench, contenders: &[Contender], usage: &[Usage], rounds: usize, window: Duration) {
    let rest = [format!("wakeups in {} s", window.as_secs()), "CPU ms in it".into()];
    let head = ["", "processes", "RSS kB", "anonymous kB", "PSS kB", "start → page ms", "TERM → end ms"];
    let mut table = vec![head.map(str::to_owned).into_iter().chain(rest).collect::<Vec<_>>()];
    for (contender, u) in contenders.iter().zip(usage) {
        let memory = [u.processes as u64, u.rss, u.anonymous, u.pss].map(|figure| figure.to_string());
        let times = [contender.start.median(), contender.end.median()].map(|time| format!("{time:.1}"));
        let rest = [u.wakeups.to_string(), format!("{:.2}", u.cpu_ns as f64 / 1e6)];
        let figures = memory.into_iter().chain(times).chain(rest);
        table.push(std::iter::once(contender.name.to_owned()).chain(figures).collect());
    }
    let note = format!(
        "Each as PID 1 of a PID namespace, with the same nginx (two workers) and php-fpm (two children); memory, wakeups and \
         processor time are those of whoever supervises, without nginx and php-fpm. Under proem nginx starts when php-fpm answers its \
         ping; supervisord and s6 start both at once. With `ready` alone init is all that is left of proem once php-fpm is \
         ready; a watched key or `alive` keeps the worker. Medians of {rounds} rounds; page and end are looked for every \
         millisecond."
    );
    bench.report.section("nginx + php-fpm", &note, &table);
    let of =
        |name| contenders.iter().position(|contender| contender.name == name).map(|at| (&contenders[at], usage[at]));
    let peer = of(SUPERVISORD);
    for name in [READY, WATCHED] {
        let Some((ours, u)) = of(name) else { continue };
        let what = format!("nginx + php-fpm, {name}");
        let reference = peer.map_or("supervisord: not there".into(), |(_, peer)| {
            format!("supervisord: {} kB RSS, {} kB PSS", peer.rss, peer.pss)
        });
        let ratio = peer.map(|(_, peer)| u.rss as f64 / peer.rss as f64);
        let shown = ratio.map_or("no ratio".into(), |ratio| format!("{ratio:.3} ×"));
        let found = format!("{shown} ({} kB RSS, {} kB PSS), {} wakeups", u.rss, u.pss, u.wakeups);
        bench.report.goal(&what, reference, "≤ 1/8 × RSS", found, ratio.map(|ratio| ratio <= 0.125));
        let reference = peer.map_or("supervisord: not there".into(), |(peer, _)| {
            format!("supervisord: {:.0} ms, {:.0} ms", peer.start.median(), peer.end.median())
        });
        let found = format!("{:.0} ms, {:.0} ms", ours.start.median(), ours.end.median());
        let met =
            peer.map(|(peer, _)| ours.start.median() <= peer.start.median() && ours.end.median() <= peer.end.median());
        bench.report.goal(&format!("{what}: start → page, TERM → end"), reference, "no later", found, met);
    }
}
