//! `proem probe` and `wait_for`: each kind of probe against the real thing, and what is said of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "probe/fcgi.rs"]
mod fcgi;
#[path = "probe/health.rs"]
mod health;
#[path = "probe/programs.rs"]
mod programs;
mod support;
#[cfg(feature = "net")]
#[path = "probe/tls.rs"]
mod tls;
#[path = "probe/wait_for.rs"]
mod wait_for;

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};
use support::proem::{BINARY, Builder, Output, proem};
use support::{folder, ports, read, text, write};

/// Probes these; the one line that it says, and its code.
fn probe(uris: &[&str]) -> (String, i32) {
    line(&Builder::new(BINARY).args(["probe"]).args(uris.iter().copied()).output())
}

fn line(output: &Output) -> (String, i32) {
    assert_eq!(output.stderr, "");
    let line = output.stdout.strip_suffix('\n').expect("a line").to_owned();
    assert!(!line.contains('\n'), "{line}");
    (line, output.code)
}

fn is_up(uri: &str) {
    assert_eq!(probe(&[uri]), (format!("{uri} is up"), 0));
}

fn is_down(uri: &str, why: &str) {
    assert_eq!(probe(&[uri]), (format!("{uri} is down: {why}"), 1));
}

/// A server that takes connections and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn several_are_one_line_with_what_is_down_first() {
    let dir = folder();
    let up = format!("file:{}", text(&write(dir.path(), "ready", "")));
    let [port] = ports::free();
    let down = format!("tcp:127.0.0.1:{port}");
    let missing = format!("unix:{}", text(&dir.path().join("none")));
    assert_eq!(
        probe(&[&up, &down, &missing]),
        (format!("{down} is down: connection refused; {missing} is down: no such file or directory; {up} is up"), 1)
    );
    assert_eq!(probe(&[&up, &up]), (format!("{up} is up; {up} is up"), 0));
}

#[test]
fn all_are_probed_within_one_timeout() {
    let (_listener, address) = silent();
    let uri = format!("http://{address}/");
    let uris = [uri.as_str(); 6];
    let start = Instant::now();
    let output = Builder::new(BINARY).args(["probe", "--timeout", "1s"]).args(uris).output();
    let took = start.elapsed();
    assert_eq!(line(&output), (vec![format!("{uri} is down: no answer in time"); 6].join("; "), 1));
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn mistakes_are_64_all_at_once_and_probe_nothing() {
    let dir = folder();
    let touch = format!("exec:touch {}", text(&dir.path().join("touched")));
    let output = proem(["probe", "db:5432", "fcgi:127.0.0.1:9000", &touch]).output();
    assert_eq!((output.code, output.stdout.as_str()), (64, ""));
    assert_eq!(
        output.stderr,
        "proem: probe `db:5432` cannot be used: its scheme is missing or unknown\n  \
         hint: known are `tcp:HOST:PORT`, `http://HOST[:PORT]/PATH`, `https://…`, `unix:/PATH`, `fcgi:HOST:PORT/PATH`, \
         `file:/PATH`, `exec:PROGRAM` and `dns:NAME`\n\
         proem: probe `fcgi:127.0.0.1:9000` cannot be used: a path is expected after the address\n  \
         hint: it is written `fcgi:HOST:PORT/PATH` or `fcgi:/SOCKET:/PATH`, such as `fcgi:127.0.0.1:9000/ping` and \
         `fcgi:/run/php-fpm.sock:/ping`\n\
         proem: exit 64: 2 reasons, above\n"
    );
    assert!(!dir.path().join("touched").exists());
}

#[test]
fn references_are_expanded_without_a_shell() {
    let (_listener, address) = silent();
    let (host, port) = address.split_once(':').unwrap();
    let output = proem(["probe", "tcp:${DB_HOST:-127.0.0.1}:${DB_PORT}"]).env("DB_PORT", port).output();
    assert_eq!(line(&output), (format!("tcp:{host}:{port} is up"), 0));
    let output = proem(["probe", "tcp:${DB_HOST}:1"]).output();
    assert_eq!(output.code, 64);
    assert!(output.stderr.contains("`${DB_HOST}` is not set in the environment"), "{}", output.stderr);
    let secret = proem(["probe", "tcp:127.0.0.1:${PW}"]).env("PW", "hunter2").output();
    assert_eq!(secret.code, 64);
    assert!(!secret.stderr.contains("hunter2"), "{}", secret.stderr);
}

#[test]
fn a_file_is_new_enough_or_not() {
    let dir = folder();
    let (beat, other) = (write(dir.path(), "beat", ""), write(dir.path(), "other", ""));
    let age = |path, age| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    age(&beat, 7200);
    age(&other, 9000);
    let (beat, other) = (text(&beat), text(&other));
    is_up(&format!("file:{beat}"));
    is_up(&format!("file:{beat}?newer=3h"));
    is_up(&format!("file:{beat}?newer_than={other}"));
    is_down(&format!("file:{other}?newer_than={beat}"), &format!("it is not newer than `{beat}`"));
    let (line, code) = probe(&[&format!("file:{beat}?newer=1h")]);
    // A busy machine adds a second.
    assert!(line.starts_with(&format!("file:{beat}?newer=1h is down: it was last changed 720")) && code == 1, "{line}");
}

/// In a mount namespace with these two files in the place of /etc/hosts and /etc/resolv.conf.
#[test]
fn a_name_is_looked_up_without_nss() {
    let dir = folder();
    let hosts = write(dir.path(), "hosts", "127.0.0.7 db.test db\n::7 db.test\n");
    let resolv = write(dir.path(), "resolv.conf", "search test\n");
    let script = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";
    let look_up = |uri: &str| {
        let words = ["--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", text(&hosts), text(&resolv)];
        line(&Builder::new("unshare").args(words).args([BINARY, "probe", uri]).output())
    };
    assert_eq!(look_up("dns:db"), ("dns:db is up".to_owned(), 0));
    assert_eq!(look_up("dns:db.test?min=2"), ("dns:db.test?min=2 is up".to_owned(), 0));
    assert_eq!(look_up("dns:db?min=2"), ("dns:db?min=2 is down: 1 of 2 records".to_owned(), 1));
    let none = "dns:web is down: `web` is not in /etc/hosts, and /etc/resolv.conf names no server \
                (use an address, or give the container a nameserver)";
    assert_eq!(look_up("dns:web"), (none.to_owned(), 1));
}

/// A HEALTHCHECK runs every few seconds for as long as a container lives.
#[test]
fn one_probe_needs_no_thread_and_no_child() {
    let dir = folder();
    let (_listener, address) = silent();
    let socket = dir.path().join("s");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let log = dir.path().join("strace");
    for uri in [
        format!("tcp:{address}"),
        format!("unix:{}", text(&socket)),
        format!("file:{}", text(&socket)),
        "dns:localhost".to_owned(),
        format!("fcgi:{address}/ping"),
        format!("http://{address}/"),
    ] {
        let words = ["-f", "-qq", "-e", "trace=process", "-o", text(&log), BINARY, "probe", "--timeout", "100ms", &uri];
        let output = Builder::new("strace").args(words).output();
        assert!(output.stdout.starts_with(&format!("{uri} is ")), "{output:?}");
        let trace = read(&log);
        let others = ["clone(", "clone3(", "fork("].iter().any(|call| trace.contains(call));
        assert!(trace.contains("execve(") && !others, "{uri}\n{trace}");
    }
}

/// Every HEALTHCHECK that the documentation shows is one that proem understands.
#[test]
fn the_documented_healthchecks_are_probes() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for page in ["docs/reference/probes.md", "README.md"] {
        for line in read(&root.join(page)).lines().filter(|line| line.starts_with("HEALTHCHECK ")) {
            let list = line.split_once("CMD ").expect("CMD").1;
            let words: Vec<String> = serde_json::from_str(list).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(words[..2], ["/proem", "probe"], "{line}");
            for uri in &words[2..] {
                ::proem::probe::Probe::parse(uri).unwrap_or_else(|mistake| panic!("{line}: {mistake}"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 8, "{seen}");
}
