//! The main job on one machine, with a real Consul: a key changes, the file follows, the process is told.

#![cfg(feature = "consul")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::proem::{Builder, SOON, proem};
use support::server::Consul;
use support::service::{AT_TERM, Service};
use support::{folder, procs, read, text, wait, write};

const SH: &str = "/bin/sh";

fn with(consul: &Consul, builder: Builder) -> Builder {
    builder.env("CONSUL_HTTP_ADDR", &consul.api.url())
}

/// The first use of this project: a whole tree of keys as a Symfony `parameters.yml`.
#[test]
fn a_tree_of_keys_becomes_parameters_yml() {
    let (dir, consul) = (folder(), Consul::start());
    consul.api.put("config/mijndomein/example", "data");
    write(dir.path(), "parameters.yml.tera", "{{ parameters | yaml }}\n");
    let (source, template) = ("parameters=consul:config/mijndomein", "parameters.yml.tera:parameters.yml");
    let target = dir.path().join("parameters.yml");

    let output = with(&consul, proem(["render", "-s", source, "-t", template])).dir(dir.path()).output();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(read(&target).trim_end(), "example: data");

    let process = with(&consul, proem(["render", "--watch", "--throttle", "0s", "-s", source, "-t", template]))
        .dir(dir.path())
        .start();
    consul.api.put("config/mijndomein/database/host", "db: \"1\"");
    let parsed = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).ok();
    let want = serde_json::json!({"database": {"host": "db: \"1\""}, "example": "data"});
    process.until("the tree follows", || (parsed(&read(&target)) == Some(want.clone())).then_some(()));
    consul.api.delete("config/mijndomein/database/host");
    let want = serde_json::json!({"example": "data"});
    process.until("a deleted key goes", || (parsed(&read(&target)) == Some(want.clone())).then_some(()));
}

#[test]
fn a_changed_key_reaches_the_file_and_the_process() {
    let (dir, consul) = (folder(), Consul::start());
    consul.api.put("config/app/greeting", "hello");
    // Never part of `config/app`.
    consul.api.put("config/app2/greeting", "wrong");
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    let service = Service::new(dir.path(), &dir.path().join("t"));
    let mut process =
        with(&consul, proem(["-s", "app=consul:config/app", "-t", "t.tera:t:HUP", "--", SH, text(&service.script)]))
            .dir(dir.path())
            .start();
    process.file(&service.seen, "hello");
    assert_eq!(service.hups(), 0);
    consul.api.put("config/app/greeting", "bonjour");
    process.file(&service.seen, "bonjour");
    assert_eq!(service.hups(), 1);
    // What changes no template's text tells nobody.
    consul.api.put("config/app/unused", "x");
    consul.api.put("config/app2/greeting", "still wrong");
    consul.api.put("config/app/greeting", "salut");
    process.file(&service.seen, "salut");
    assert_eq!(service.hups(), 2);
    let start = Instant::now();
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, AT_TERM);
    assert!(start.elapsed() < Duration::from_secs(1), "it took {:?}", start.elapsed());
}

#[test]
fn odd_keys_and_values_arrive_as_they_are() {
    let (dir, consul) = (folder(), Consul::start());
    let large = "x".repeat(512 * 1024 - 1);
    for (key, value) in [
        ("odd/a b/ü ?#%", "one"),
        ("odd/empty", ""),
        ("odd/lines", "first\nsecond\n"),
        ("odd/quotes", "\"'\\"),
        ("odd/folder/", ""),
        ("odd/large", &large),
    ] {
        consul.api.put(key, value);
    }
    write(dir.path(), "t.tera", "{{ odd | json }}");
    let output = with(&consul, proem(["render", "-s", "odd=consul:odd", "-t", "t.tera:-"])).dir(dir.path()).output();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let got: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(got["a b"]["ü ?#%"], "one");
    assert_eq!(got["empty"], "");
    assert_eq!(got["lines"], "first\nsecond\n");
    assert_eq!(got["quotes"], "\"'\\");
    assert_eq!(got["large"], large.as_str());
}

#[test]
fn a_value_that_is_not_there_yet_is_waited_for_and_named() {
    let (dir, consul) = (folder(), Consul::start());
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    let mut process =
        with(&consul, proem(["-s", "app=consul:config/late", "-t", "t.tera:t:none", "--", "/bin/cat", "t"]))
            .dir(dir.path())
            .start();
    process.says("config/late");
    consul.api.put("config/late/greeting", "at last");
    let output = process.ended(SOON);
    assert_eq!((output.code, output.stdout.as_str()), (0, "at last"), "{}", output.stderr);
}

#[test]
fn a_value_that_never_comes_is_65_after_the_wait() {
    let (dir, consul) = (folder(), Consul::start());
    consul.api.put("config/app/other", "x");
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    let args = ["--wait", "1s", "-s", "app=consul:config/app", "-t", "t.tera:t:none", "--", "/bin/touch", "started"];
    let output = with(&consul, proem(args)).dir(dir.path()).output();
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("`app.greeting`"), "{}", output.stderr);
    assert!(!dir.path().join("started").exists());
}

#[test]
fn term_while_waiting_for_a_store_ends_at_once() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    let [port] = support::ports::free();
    // One that refuses, one that takes the connection and never answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [format!("127.0.0.1:{port}"), deaf.local_addr().unwrap().to_string()] {
        let mut process = proem(["-s", "app=consul:config/app", "-t", "t.tera:t:none", "--", "/bin/true"])
            .dir(dir.path())
            .env("CONSUL_HTTP_ADDR", &address)
            .start();
        process.worker();
        let start = Instant::now();
        process.signal(libc::SIGTERM);
        assert_eq!(process.ended(SOON).code, 143);
        assert!(start.elapsed() < Duration::from_secs(1), "it took {:?}", start.elapsed());
    }
}

#[test]
fn a_storm_of_writes_ends_with_the_last_value_and_few_reloads() {
    let (dir, consul) = (folder(), Consul::start());
    consul.api.put("storm/value", "first");
    write(dir.path(), "t.tera", "{{ storm.value }}");
    let service = Service::new(dir.path(), &dir.path().join("t"));
    let process =
        with(&consul, proem(["-s", "storm=consul:storm", "-t", "t.tera:t:HUP", "--", SH, text(&service.script)]))
            .dir(dir.path())
            .start();
    process.file(&service.seen, "first");

    let (start, span, writes) = (Instant::now(), Duration::from_secs(2), 1_000);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= writes {
                        return;
                    }
                    // Spread evenly over the two seconds, as far as the server keeps up.
                    let due = span * u32::try_from(number).unwrap() / 1_000;
                    std::thread::sleep(due.saturating_sub(start.elapsed()));
                    consul.api.put("storm/value", number.to_string());
                }
            });
        }
    });
    consul.api.put("storm/value", "last");
    process.file(&service.seen, "last");
    // At most one publish per `throttle` (2 s): the first at once, and the last.
    let most = usize::try_from(start.elapsed().as_secs()).unwrap() / 2 + 2;
    assert!(service.hups() <= most, "{} reloads, at most {most} were due", service.hups());
    assert_eq!(read(&dir.path().join("t")), "last");
}

#[test]
fn an_outage_changes_nothing_and_the_next_change_arrives() {
    let (dir, mut consul) = (folder(), Consul::start());
    consul.api.put("config/app/greeting", "hello");
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    let service = Service::new(dir.path(), &dir.path().join("t"));
    let process =
        with(&consul, proem(["-s", "app=consul:config/app", "-t", "t.tera:t:HUP", "--", SH, text(&service.script)]))
            .dir(dir.path())
            .start();
    process.file(&service.seen, "hello");
    consul.stop();
    process.says("failed to reach consul");
    let main = procs::children(process.pid());
    assert_eq!(read(&dir.path().join("t")), "hello");
    consul.start_again();
    consul.api.put("config/app/greeting", "again");
    process.file(&service.seen, "again");
    assert_eq!(service.hups(), 1);
    assert_eq!(main.len(), procs::children(process.pid()).len());
}

#[test]
fn a_killed_worker_comes_back_and_the_next_change_arrives() {
    let (dir, consul) = (folder(), Consul::start());
    consul.api.put("config/app/greeting", "hello");
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    let service = Service::new(dir.path(), &dir.path().join("t"));
    let process =
        with(&consul, proem(["-s", "app=consul:config/app", "-t", "t.tera:t:HUP", "--", SH, text(&service.script)]))
            .dir(dir.path())
            .start();
    process.file(&service.seen, "hello");
    for value in ["one", "two", "three"] {
        let worker = process.worker();
        procs::kill(worker, libc::SIGKILL);
        procs::gone(worker, SOON);
        consul.api.put("config/app/greeting", value);
        process.file(&service.seen, value);
    }
    assert!(procs::children(process.pid()).iter().any(|child| child.name == "sh" && child.state != 'Z'));
}

#[test]
fn instances_of_a_service_follow_and_never_fall_below_the_minimum() {
    let (dir, consul) = (folder(), Consul::start());
    write(
        dir.path(),
        "up.tera",
        "{% for instance in web %}server {{ instance.address }}:{{ instance.port }};\n{% endfor %}",
    );
    let args =
        ["render", "--watch", "--throttle", "0s", "-s", "web=consul+service:web?passing&min=1", "-t", "up.tera:up"];
    let process = with(&consul, proem(args)).dir(dir.path()).start();
    let target = dir.path().join("up");
    process.says("web");
    assert!(!target.exists(), "no instance yet, so no file");
    let (one, both) = ("server 10.9.0.1:81;\n", "server 10.9.0.1:81;\nserver 10.9.0.2:82;\n");
    consul.api.register("web", "one", "10.9.0.1", 81);
    process.file(&target, one);
    consul.api.register("web", "two", "10.9.0.2", 82);
    process.file(&target, both);
    consul.api.check("two", "fail");
    process.file(&target, one);
    consul.api.check("two", "pass");
    process.file(&target, both);
    consul.api.deregister("two");
    process.file(&target, one);
    // Below the minimum the last snapshot stays, and is complained about.
    let before = process.stderr().len();
    consul.api.check("one", "fail");
    process.until("it complains", || process.stderr()[before..].contains("web").then_some(()));
    wait::throughout(Duration::from_secs(1), "the file stays", || read(&target) == one);
    consul.api.check("one", "pass");
    consul.api.register("web", "two", "10.9.0.2", 82);
    process.file(&target, both);
}

#[test]
fn credentials_that_a_source_used_are_not_passed_on() {
    let (dir, consul) = (folder(), Consul::start());
    consul.api.put("config/app/greeting", "hello");
    write(dir.path(), "t.tera", "{{ app.greeting }}");
    for how in ["run", "exec"] {
        let args = [how, "-s", "app=consul:config/app", "-t", "t.tera:t:none", "--", "/usr/bin/env"];
        let output = with(&consul, proem(args)).dir(dir.path()).env("CONSUL_HTTP_TOKEN", "").env("KEPT", "1").output();
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(output.stdout.contains("KEPT=1") && !output.stdout.contains("CONSUL_HTTP_TOKEN"), "{}", output.stdout);
    }
}
