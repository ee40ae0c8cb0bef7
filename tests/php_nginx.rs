//! The `php-nginx` example in Docker: what becomes of it when php-fpm hangs or dies, and when nginx ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};
use support::docker::{Container, must};
use support::images::Context;
use support::{docker, http, images, procs, read};

/// The example's image, its values from the environment instead of Consul, and with these replacements in its configuration.
fn image(changes: &[(&str, &str)]) -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/php-nginx");
    let shipped = docker::build(&example, &[("PROEM", &images::proem()), ("BASE", &images::php_nginx())]);
    let mut configuration = read(&example.join("proem.toml"));
    for (old, new) in [("consul:config/site", "env:SITE_")].iter().chain(changes) {
        assert_eq!(configuration.matches(old).count(), 1, "`{old}` in the example's proem.toml");
        configuration = configuration.replace(old, new);
    }
    Context::new().file("etc/proem/proem.toml", 0o644, &configuration).on(&shipped, "")
}

/// The container; its page is up.
struct Pair {
    container: Container,
    address: String,
}

impl Pair {
    fn start(changes: &[(&str, &str)]) -> Pair {
        // Health is asked more often than the example does, and for the same times in a row.
        let options = ["--env", "SITE_GREETING=hello", "--health-interval", "500ms"];
        let container = Container::run(&image(changes), &options, &[]);
        let address = format!("{}:80", container.ip());
        let pair = Pair { container, address };
        pair.serves();
        pair
    }

    fn serves(&self) {
        self.container.until("the page is served", || {
            http::get(&self.address, "/").filter(|page| page == "hello from php\n").map(drop)
        });
    }

    fn php(&self) -> i32 {
        self.container.child("php-fpm")
    }

    fn nginx(&self) -> i32 {
        self.container.child("nginx")
    }

    /// A signal to php-fpm's master and all of its workers; the master's id.
    fn signal_php(&self, signal: i32) -> i32 {
        let master = self.php();
        let workers = procs::children(master);
        assert_eq!(workers.len(), 2, "{workers:?}");
        // The master first: it would replace a worker that is killed.
        for pid in std::iter::once(master).chain(workers.iter().map(|worker| worker.pid)) {
            procs::kill(pid, signal);
        }
        master
    }

    /// Waits for another master than this one; the old one's orphans, which are init's for a moment, have no workers.
    fn restarted(&self, old: i32) -> i32 {
        let init = self.container.state().pid;
        self.container
            .until("php-fpm is started again", || {
                procs::children(init)
                    .into_iter()
                    .find(|child| child.name == "php-fpm" && child.pid != old && procs::children(child.pid).len() == 2)
            })
            .pid
    }

    fn health(&self, wanted: &str) {
        let look = || must(["inspect", "--format", "{{.State.Health.Status}}", &self.container.name]);
        self.container.until(&format!("Docker says `{wanted}`"), || (look() == wanted).then_some(()));
    }

    /// What HEALTHCHECK printed the last times.
    fn health_log(&self) -> String {
        must(["inspect", "--format", "{{range .State.Health.Log}}{{.Output}}{{end}}", &self.container.name])
    }

    /// Where each of these texts begins in the log; they must be there.
    fn order<const N: usize>(&self, texts: [&str; N]) -> [usize; N] {
        let log = self.container.logs();
        texts.map(|text| log.find(text).unwrap_or_else(|| panic!("no `{text}` in\n{log}")))
    }
}

#[test]
fn health_follows_php_fpm_and_alive_is_more_patient() {
    let pair = Pair::start(&[]);
    let [warm, ready] = pair.order(["warm-up: done", "ready to handle connections"]);
    assert!(warm < ready, "{}", pair.container.logs());
    pair.health("healthy");
    let nginx = pair.nginx();
    let php = pair.signal_php(libc::SIGSTOP);
    pair.health("unhealthy");
    assert!(pair.health_log().contains("is down: no answer in time"), "{}", pair.health_log());
    assert_eq!(pair.signal_php(libc::SIGCONT), php);
    pair.health("healthy");
    assert!(pair.health_log().contains("is up"), "{}", pair.health_log());
    pair.serves();
    assert_eq!((pair.php(), pair.nginx()), (php, nginx));
}

#[test]
fn a_php_fpm_that_hangs_is_started_anew_and_nginx_goes_on() {
    let pair = Pair::start(&[
        (r#"every = "10s", timeout = "2s""#, r#"every = "200ms", timeout = "500ms""#),
        (r#"stop_timeout = "10s""#, r#"stop_timeout = "500ms""#),
    ]);
    let nginx = pair.nginx();
    let php = pair.signal_php(libc::SIGSTOP);
    pair.restarted(php);
    pair.serves();
    pair.health("healthy");
    assert_eq!(pair.nginx(), nginx);
    assert!(procs::get(php).is_none(), "the old master is gone, and reaped");
}

#[test]
fn a_php_fpm_that_dies_comes_back_until_it_died_too_often() {
    let pair = Pair::start(&[]);
    let nginx = pair.nginx();
    let began = Instant::now();
    let mut php = pair.php();
    for _ in 0..5 {
        procs::kill(php, libc::SIGKILL);
        php = pair.restarted(php);
        assert_eq!(pair.nginx(), nginx);
    }
    pair.serves();
    procs::kill(php, libc::SIGKILL);
    assert_eq!(pair.container.ended(), 128 + libc::SIGKILL, "{}", pair.container.logs());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let log = pair.container.logs();
    // The first time at once, then after pauses.
    assert_eq!(log.matches("process `php` is started again in").count(), 4, "{log}");
    let word = "proem: exit 137: process `php` ended 6 times within 60s; the last exit was 137\n";
    assert!(log.contains(word), "{log}");
    // nginx was asked in its own way.
    pair.order(["gracefully shutting down"]);
}

#[test]
fn when_nginx_ends_php_fpm_is_asked_to_finish() {
    let pair = Pair::start(&[]);
    let began = Instant::now();
    procs::kill(pair.nginx(), libc::SIGQUIT);
    assert_eq!(pair.container.ended(), 0, "{}", pair.container.logs());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // `Finishing` is php-fpm's word at QUIT, `Terminating` that at TERM.
    let [nginx, finishing, bye] = pair.order(["gracefully shutting down", "NOTICE: Finishing", "bye-bye"]);
    assert!(nginx < finishing && finishing < bye, "{}", pair.container.logs());
    assert!(!pair.container.logs().contains("Terminating"), "{}", pair.container.logs());
}

#[test]
fn a_request_that_is_being_answered_is_answered_before_the_end() {
    let pair = Pair::start(&[]);
    let address = pair.address.clone();
    let asked = std::thread::spawn(move || http::get(&address, "/slow"));
    let workers = procs::children(pair.php());
    pair.container.until("php-fpm is at it", || workers.iter().any(|worker| in_script(worker.pid)).then_some(()));
    let (took, code) = pair.container.stop(10);
    assert_eq!(asked.join().unwrap().as_deref(), Some("hello from php\n"));
    assert_eq!(code, 0, "{}", pair.container.logs());
    assert!(took < Duration::from_secs(6), "{took:?}");
    let [nginx, finishing] = pair.order(["gracefully shutting down", "NOTICE: Finishing"]);
    assert!(nginx < finishing, "{}", pair.container.logs());
}

/// Whether the process sleeps by its own will: PHP's `sleep`.
fn in_script(pid: i32) -> bool {
    let call = read(Path::new(&format!("/proc/{pid}/syscall")));
    let number = call.split(' ').next().and_then(|number| number.parse::<i64>().ok());
    number.is_some_and(|number| number == libc::SYS_nanosleep || number == libc::SYS_clock_nanosleep)
}
