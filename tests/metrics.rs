//! `/metrics`, `/health` and `/ready` of a running proem: Prometheus' own check of the page, its names beside those of the
//! reference, what moves them, and clients that take their time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::proem::{Proem, SOON, proem};
use support::{folder, http, images, ports, read, text, write};

/// What nobody may have to wait for somebody else's connection.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A proem with a checked template, main and a sidecar, that listens.
struct Case {
    dir: tempfile::TempDir,
    process: Proem,
    address: String,
}

impl Case {
    fn start() -> Case {
        let dir = folder();
        let [port] = ports::free();
        let address = format!("127.0.0.1:{port}");
        write(dir.path(), "values.toml", "name = \"one\"\n");
        write(dir.path(), "t.tera", "{{ app.name }}\n");
        let config = format!(
            r#"
control = "{dir}/sock"
listen = "{address}"
throttle = "0s"
[source]
app = "file:{dir}/values.toml"
[template.out]
from = "{dir}/t.tera"
to = "{dir}/out"
check = ["/bin/sh", "-c", "! grep -q refused \"$1\"", "sh", "{{staged:out}}"]
reload = "main:HUP"
[process.main]
command = ["/bin/sh", "-c", "trap 'echo term; exit 5' TERM; trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done"]
drain = "3s"
[process.web]
command = ["sleep", "1000"]
"#,
            dir = text(dir.path()),
        );
        let config = write(dir.path(), "proem.toml", &config);
        let process = proem(["-c", text(&config)]).start();
        let case = Case { dir, process, address };
        case.answers("/ready", 200, "all is well\n");
        case
    }

    fn values(&self, name: &str) {
        write(self.dir.path(), "values.toml", &format!("name = \"{name}\"\n"));
    }

    /// Waits until a path is answered so.
    fn answers(&self, path: &str, status: u16, body: &str) {
        let mut last = None;
        support::wait::until(
            SOON,
            &format!("{path} is {status} {body:?}"),
            || self.process.stderr(),
            || {
                last = http::request(&self.address, "GET", path, b"");
                last.as_ref().filter(|answer| (answer.status, &*answer.body) == (status, body)).map(drop)
            },
        );
    }

    /// One answer, whatever it is, which must come at once.
    fn status(&self, path: &str) -> u16 {
        let asked = Instant::now();
        let answer = http::request(&self.address, "GET", path, b"").expect("an answer");
        assert!(asked.elapsed() < AT_ONCE, "{path} took {:?}", asked.elapsed());
        answer.status
    }

    /// The samples of the text format by name with labels.
    fn samples(&self) -> BTreeMap<String, f64> {
        samples(&http::get(&self.address, "/metrics").expect("the page"))
    }

    fn sample(&self, name: &str) -> f64 {
        let samples = self.samples();
        *samples.get(name).unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
    }

    /// Waits until a sample has a value.
    fn becomes(&self, name: &str, value: f64) {
        let same = || (self.sample(name) - value).abs() < f64::EPSILON;
        self.process.until(&format!("{name} is {value}"), || same().then_some(()));
    }

    fn ask(&self, words: &[&str]) {
        let socket = self.dir.path().join("sock");
        let output = proem([]).args(words.iter().copied()).args(["--control", text(&socket)]).output();
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
}

fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// `proem_x{process="web"}` → `proem_x{process}`.
fn without_values(sample: &str) -> String {
    let mut words = sample.split('"');
    let name: String = std::iter::from_fn(|| {
        let outside = words.next()?.to_owned();
        // The label's value.
        words.next();
        Some(outside)
    })
    .collect();
    name.replace('=', "")
}

/// Name with labels → kind, as docs/reference/control.md has them; a summary is its two samples.
fn documented() -> BTreeMap<String, String> {
    let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/control.md"));
    let mut all = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `proem_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[1].split('`').filter(|word| word.starts_with("proem_")) {
            let suffixes: &[&str] = if cells[2] == "summary" { &["_count", "_sum"] } else { &[""] };
            for suffix in suffixes {
                assert_eq!(all.insert(format!("{name}{suffix}"), cells[2].to_owned()), None, "{name} twice");
            }
        }
    }
    all
}

#[test]
fn promtool_has_nothing_to_say_about_the_page() {
    let case = Case::start();
    let page = http::get(&case.address, "/metrics").unwrap();
    let mut promtool = Command::new(images::which("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{page}");
}

#[test]
fn names_and_kinds_are_those_of_the_reference() {
    let case = Case::start();
    let page = http::get(&case.address, "/metrics").unwrap();
    let documented = documented();
    let served: BTreeSet<String> = samples(&page).keys().map(|name| without_values(name)).collect();
    assert_eq!(served, documented.keys().cloned().collect());
    let kinds: BTreeMap<&str, &str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in &documented {
        let mut family = name.split('{').next().unwrap();
        if kind == "summary" {
            family = family.rsplit_once('_').unwrap().0;
        }
        assert_eq!(kinds.get(family), Some(&kind.as_str()), "{name}");
    }
}

#[test]
fn openmetrics_says_the_same_and_ends_with_its_mark() {
    let case = Case::start();
    let mut stream = TcpStream::connect(&case.address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(page.ends_with("\n# EOF\n") && page.matches("# EOF").count() == 1, "{page}");
    // The family of a counter has no suffix there, its sample has.
    assert!(page.contains("# TYPE proem_publishes counter\nproem_publishes_total{group=\"out\"} 1\n"), "{page}");
    assert_eq!(samples(page).keys().collect::<Vec<_>>(), case.samples().keys().collect::<Vec<_>>());
}

#[test]
fn counters_move_with_what_they_count() {
    let case = Case::start();
    let (publishes, refusals) = (r#"proem_publishes_total{group="out"}"#, r#"proem_refusals_total{group="out"}"#);
    let before = case.samples();
    assert_eq!((before[publishes], before[refusals], before["proem_reloads_total"]), (1.0, 0.0, 0.0));
    case.values("two");
    case.becomes(publishes, 2.0);
    case.becomes("proem_reloads_total", 1.0);
    case.values("refused");
    case.becomes(refusals, 1.0);
    let after = case.samples();
    assert_eq!((after[publishes], after["proem_reloads_total"]), (2.0, 1.0));
    assert!(after["proem_render_seconds_count"] >= before["proem_render_seconds_count"] + 2.0, "{after:#?}");
    assert!(after["proem_render_seconds_sum"] > before["proem_render_seconds_sum"]);
    assert!(after["proem_uptime_seconds"] > before["proem_uptime_seconds"]);
    assert_eq!(read(&case.dir.path().join("out")), "two\n");

    let web = r#"proem_process_restarts_total{process="web"}"#;
    assert_eq!((after[web], after[r#"proem_process_up{process="web"}"#]), (0.0, 1.0));
    case.ask(&["signal", "web", "KILL"]);
    case.becomes(web, 1.0);
    let page = http::get(&case.address, "/metrics").unwrap();
    assert!(!page.contains("two") && !page.contains("refused\""), "a value: {page}");
}

#[test]
fn health_and_ready_follow_a_process_that_is_stopped() {
    let case = Case::start();
    assert_eq!((case.status("/health"), case.sample("proem_healthy")), (200, 1.0));
    case.ask(&["stop", "web"]);
    for path in ["/health", "/ready"] {
        case.answers(path, 503, "process `web` is stopped\n");
    }
    assert_eq!((case.sample("proem_healthy"), case.sample(r#"proem_process_up{process="web"}"#)), (0.0, 0.0));
    case.ask(&["start", "web"]);
    for path in ["/health", "/ready"] {
        case.answers(path, 200, "all is well\n");
    }
    case.becomes("proem_healthy", 1.0);
}

#[test]
fn a_drain_fails_both_before_the_stop_signal() {
    let mut case = Case::start();
    case.process.signal(libc::SIGTERM);
    let told = Instant::now();
    for path in ["/health", "/ready"] {
        case.answers(path, 503, "proem is draining\n");
    }
    assert!(!case.process.stdout().contains("term"), "main was told {:?} after TERM already", told.elapsed());
    // Both processes are what they were.
    assert!(case.sample(r#"proem_process_ready{process="web"}"#) > 0.0);
    let output = case.process.ended(SOON);
    assert_eq!(output.code, 5, "{}", output.stderr);
    assert!(told.elapsed() >= Duration::from_secs(3), "main was told {:?} after TERM", told.elapsed());
}

#[test]
fn a_client_that_takes_its_time_blocks_nobody() {
    let case = Case::start();
    // Fewer than are served at a time: silent ones, and some in the middle of a head.
    let held: Vec<TcpStream> = (0..12)
        .map(|number| {
            let mut stream = TcpStream::connect(&case.address).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /health HTTP/1.1\r\nHost:").unwrap();
            }
            stream
        })
        .collect();
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(case.status(path), 200);
    }
    // Neither do they hinder publishing.
    case.values("two");
    case.process.file(&case.dir.path().join("out"), "two\n");
    // They are not waited for for ever.
    for mut stream in held {
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "it is closed without an answer");
    }
}

#[test]
fn clients_that_keep_their_places_keep_nobody_out() {
    let case = Case::start();
    // More than there are places: silent ones, some in the middle of a head, and some that have their answer and go on
    // talking. Who had to leave comes again.
    let mut held: Vec<TcpStream> = Vec::new();
    for round in 0..120_usize {
        let mut stream = TcpStream::connect(&case.address).unwrap();
        let said: &[u8] = [b"" as &[u8], b"GET /health HTTP/1.1\r\nHost:", b"POST /health HTTP/1.1\r\n\r\n"][round % 3];
        stream.write_all(said).unwrap();
        held.push(stream);
        held.retain_mut(|stream| stream.write_all(b".").is_ok());
        if held.len() >= 16 {
            assert_eq!(case.status(["/health", "/ready", "/metrics"][round % 3]), 200, "round {round}");
        }
    }
    assert!(!case.process.stderr().contains("the worker died"), "{}", case.process.stderr());
}
