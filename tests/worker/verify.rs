//! Verify: whoever was reloaded must do well with the new files, else the previous ones come back.

use super::support::service::Service;
use super::support::{http, ports, procs, text};
use super::{Fixture, SH, STAY, is_alive, kill_worker, main_of, throughout};

/// Writes a line for each try, and refuses what main saw when it was told last.
const TRY: &str = "cat seen >>tries; echo >>tries\n! grep -q BAD seen\n";

const VERIFIED: &str = r#"
[template.a]
from = "a.tera"
to = "a"
reload = "HUP"
verify = { run = ["/bin/sh", "verify.sh"], within = "1s" }
"#;

fn fixture(json: &str, tables: &str) -> (Fixture, Service) {
    let fixture = Fixture::new(json, tables);
    fixture.write("verify.sh", TRY);
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    (fixture, service)
}

fn lines(fixture: &Fixture, name: &str, line: &str) -> usize {
    fixture.read(name).lines().filter(|one| *one == line).count()
}

#[test]
fn what_does_well_stays_and_what_does_not_is_taken_back_and_told() {
    let (fixture, service) = fixture(r#"{"a": 1}"#, VERIFIED);
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": 2}"#);
    process.says("verified");
    // The first publish was verified by nobody: main started after it.
    assert_eq!((service.hups(), fixture.read("tries").as_str()), (1, "2\n"), "{}", process.stderr());
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));

    fixture.set(r#"{"a": "BAD"}"#);
    process.file(&service.seen, "BAD");
    process.says("template `a`: not verified within 1s, so the previous content is back: verify `/bin/sh verify.sh` failed (exit 1)");
    process.file(&service.seen, "2");
    process.until("it was told twice", || (service.hups() == 3).then_some(()));
    process.until("nothing is kept", || fixture.kept(".").is_empty().then_some(()));
    assert!(lines(&fixture, "tries", "BAD") > 1, "it is tried again: {}", fixture.read("tries"));
    throughout("it is not tried again", || fixture.read("a") == "2" && service.hups() == 3);

    fixture.set(r#"{"a": 3}"#);
    process.file(&service.seen, "3");
    process.until("it is verified", || (process.stderr().matches("verified").count() == 3).then_some(()));
    assert_eq!((service.hups(), fixture.read("a").as_str()), (4, "3"), "{}", process.stderr());
}

#[test]
fn refused_content_is_not_published_again_for_a_change_that_does_not_concern_it() {
    let (fixture, service) = fixture(r#"{"a": 1, "b": 1}"#, VERIFIED);
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": "BAD", "b": 1}"#);
    process.says("not verified");
    process.until("it was told twice", || (service.hups() == 2).then_some(()));
    fixture.set(r#"{"a": "BAD", "b": 2}"#);
    throughout("it is refused already", || fixture.read("a") == "1" && service.hups() == 2);
    // Another content in between, and its turn comes again.
    fixture.set(r#"{"a": 1, "b": 3}"#);
    throughout("nothing is to be done", || fixture.read("a") == "1" && service.hups() == 2);
    fixture.set(r#"{"a": "BAD", "b": 3}"#);
    fixture.becomes(&process, "a", "BAD");
}

#[test]
fn a_newer_change_waits_until_the_verify_has_ended() {
    let (fixture, service) = fixture(r#"{"a": 1}"#, VERIFIED);
    fixture.write("verify.sh", "touch trying\n[ -e go ]\n");
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": 2}"#);
    fixture.appears(&process, "trying");
    fixture.set(r#"{"a": 3}"#);
    process.until("it is verified, or taken back", || {
        assert!(fixture.read("a") != "3" || process.stderr().contains("verified within"), "{}", process.stderr());
        (fixture.read("a") == "3").then_some(())
    });
    process.file(&service.seen, "3");
    fixture.touch("go");
    process.says("proem: verified ");
    assert_eq!((fixture.read("a").as_str(), fixture.kept(".").len()), ("3", 0), "{}", process.stderr());
}

/// Nothing is forgotten: whatever dies, the next worker verifies what the last one published.
#[test]
fn a_worker_that_dies_while_verifying_leaves_it_to_the_next() {
    for (value, last, hups) in [("2", "2", 1), ("\"BAD\"", "1", 2)] {
        let (fixture, service) = fixture(r#"{"a": 1}"#, VERIFIED);
        fixture.write("verify.sh", "touch trying\nwhile [ ! -e go ]; do sleep 0.05; done\n! grep -q BAD seen\n");
        let process = fixture.run(&[SH, text(&service.script)]);
        process.file(&service.seen, "1");
        let main = main_of(&process, "sh");
        fixture.set(&format!(r#"{{"a": {value}}}"#));
        fixture.appears(&process, "trying");
        assert_eq!(fixture.kept(".").len(), 2, "a journal and a kept file: {:?}", fixture.kept("."));
        kill_worker(&process);
        std::fs::remove_file(fixture.path("trying")).unwrap();
        // The next one begins its own try; the first could end before a worker that is killed later.
        fixture.appears(&process, "trying");
        fixture.touch("go");
        process.says(if hups == 1 { "verified" } else { "not verified" });
        process.file(&service.seen, last);
        process.until("it was told", || (service.hups() == hups).then_some(()));
        process.until("nothing is kept", || fixture.kept(".").is_empty().then_some(()));
        throughout("it stays", || fixture.read("a") == last && service.hups() == hups && is_alive(main));
    }
}

/// What a new container starts on is what is there; nobody who knew the old files runs any more.
#[test]
fn what_a_container_did_not_verify_the_next_one_starts_on() {
    let (fixture, service) = fixture(r#"{"a": 1}"#, VERIFIED);
    fixture.write("verify.sh", "touch trying\nsleep 1000\n");
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    let main = main_of(&process, "sh");
    fixture.set(r#"{"a": 2}"#);
    fixture.appears(&process, "trying");
    let worker = process.worker();
    for pid in [process.pid(), worker, main] {
        if is_alive(pid) {
            procs::kill(pid, libc::SIGKILL);
        }
    }
    drop(process);
    assert!(!fixture.kept(".").is_empty());
    std::fs::remove_file(fixture.path("trying")).unwrap();
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "2");
    throughout("nothing is verified and nobody is told", || !fixture.exists("trying") && service.hups() == 1);
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));
}

#[test]
fn a_stop_in_the_middle_of_a_verify_leaves_nothing_behind() {
    let (fixture, service) = fixture(r#"{"a": 1}"#, VERIFIED);
    fixture.write("verify.sh", "touch trying\nsleep 1000\n");
    let mut process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": 2}"#);
    fixture.appears(&process, "trying");
    process.signal(libc::SIGTERM);
    let output = process.ended(super::support::proem::SOON);
    assert_eq!((output.code, fixture.read("a").as_str()), (super::support::service::AT_TERM, "2"), "{}", output.stderr);
    process.until("nobody is left", || fixture.inhabitants().is_empty().then_some(()));
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));
}

/// One reload for both; each is judged by itself.
#[test]
fn of_two_groups_only_the_one_that_fails_is_taken_back() {
    let (fixture, service) = fixture(
        r#"{"a": 1, "b": 1}"#,
        r#"
        [group.one]
        reload = "HUP"
        verify = { run = ["/bin/sh", "one.sh"], within = "1s" }
        [template.a]
        from = "a.tera"
        to = "a"
        group = "one"
        [template.c]
        from = "b.tera"
        to = "c"
        group = "one"
        [template.b]
        from = "b.tera"
        to = "b"
        reload = "HUP"
        verify = { run = ["/bin/true"], within = "1s" }
        "#,
    );
    fixture.write("one.sh", "! grep -q BAD a\n");
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": "BAD", "b": 2}"#);
    process.says("group `one`: not verified");
    process.until("it was told twice", || (service.hups() == 2).then_some(()));
    throughout("each is what it should be", || {
        (fixture.read("a").as_str(), fixture.read("b").as_str(), fixture.read("c").as_str()) == ("1", "2", "1")
            && service.hups() == 2
    });
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));
}

/// Both are told by one reload, and both verifies fail for the content of one of them.
#[test]
fn a_good_change_does_not_stay_away_for_anothers_bad_one() {
    for (bad, good) in [("a", "b"), ("b", "a")] {
        let table = |name: &str| {
            format!(
                "[template.{name}]\nfrom = \"{name}.tera\"\nto = \"o/{name}\"\nreload = \"HUP\"\n\
                 verify = {{ run = [\"/bin/sh\", \"verify.sh\"], within = \"1s\" }}\n"
            )
        };
        let fixture = Fixture::new(r#"{"a": 1, "b": 1}"#, &[table("a"), table("b")].concat());
        fixture.write("verify.sh", "! grep -q BAD o/a o/b\n");
        let service = Service::new(fixture.dir.path(), &fixture.path("o/a"));
        let process = fixture.run(&[SH, text(&service.script)]);
        process.file(&service.seen, "1");
        fixture.set(&format!(r#"{{"{good}": 2, "{bad}": "BAD"}}"#));
        process.says(&format!("template `{bad}`: not verified"));
        let is = |name: &str, content: &str| fixture.read(&format!("o/{name}")) == content;
        process.until("the good one is published", || (is(good, "2") && is(bad, "1")).then_some(()));
        process.says("proem: verified ");
        throughout("that is how it stays", || is(good, "2") && is(bad, "1") && fixture.kept("o").is_empty());
        let refusals = process.stderr().matches("not verified").count();
        assert!(refusals <= 2, "{refusals} refusals: {}", process.stderr());
    }
}

/// A reload that fails is owed; what is overtaken meanwhile was never verified, so it is not what comes back.
#[test]
fn what_comes_back_is_what_was_verified_last() {
    let (fixture, service) = fixture(
        r#"{"a": 1}"#,
        r#"
        [template.a]
        from = "a.tera"
        to = "a"
        reload = { run = ["/bin/sh", "reload.sh"] }
        verify = { run = ["/bin/sh", "verify.sh"], within = "1s" }
        "#,
    );
    fixture.write("reload.sh", "grep -q WORSE a && exit 1\ncat a >>told; echo >>told\n");
    fixture.write("verify.sh", "! grep -q BAD a\n");
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": "WORSE"}"#);
    process.says("it is owed");
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("not verified");
    fixture.becomes(&process, "told", "BAD\n1\n");
    throughout("that is what stays", || fixture.read("a") == "1" && fixture.read("told") == "BAD\n1\n");
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));
}

#[test]
fn what_was_kept_and_is_gone_cannot_come_back_and_stops_nothing() {
    let (fixture, service) = fixture(r#"{"a": 1}"#, VERIFIED);
    let process = fixture.run(&[SH, text(&service.script)]);
    process.file(&service.seen, "1");
    fixture.set(r#"{"a": "BAD"}"#);
    fixture.appears(&process, "tries");
    let kept =
        fixture.kept(".").into_iter().find(|name| std::path::Path::new(name).extension() == Some("kept".as_ref()));
    std::fs::remove_file(fixture.path(&kept.unwrap())).unwrap();
    process.says("the new content stays");
    assert_eq!((fixture.read("a").as_str(), service.hups()), ("BAD", 1), "{}", process.stderr());
    fixture.set(r#"{"a": 2}"#);
    process.says("proem: verified ");
    assert_eq!((fixture.read("a").as_str(), fixture.kept(".").len()), ("2", 0), "{}", process.stderr());
}

#[test]
fn without_a_reload_main_is_verified_as_it_is() {
    let (fixture, _) = fixture(r#"{"a": 1}"#, &VERIFIED.replace("\"HUP\"", "\"none\""));
    fixture.write("verify.sh", "! grep -q BAD a\n");
    let process = fixture.run(&STAY);
    main_of(&process, "sleep");
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("not verified");
    throughout("the previous content stays", || fixture.read("a") == "1");
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));
    fixture.set(r#"{"a": 2}"#);
    process.says("proem: verified ");
    assert_eq!(fixture.read("a"), "2");
}

/// nginx, told by HUP; the new content is correct for `nginx -t`, and answers 500.
#[test]
fn a_server_that_answers_500_serves_its_previous_content_again() {
    let [port] = ports::free();
    let fixture = Fixture::new(
        r#"{"a": "return 200 old;"}"#,
        &format!(
            r#"
            [template.a]
            from = "a.tera"
            to = "a.conf"
            check = ["nginx", "-t", "-q", "-c", "{{CONF}}"]
            reload = "HUP"
            verify = {{ probe = "http://127.0.0.1:{port}/", within = "2s" }}
            "#
        ),
    );
    let conf = fixture.path("nginx.conf");
    let toml = fixture.read("proem.toml").replace("{CONF}", text(&conf));
    fixture.write("proem.toml", &toml);
    let dir = text(fixture.dir.path());
    fixture.write(
        "nginx.conf",
        &format!(
            "daemon off;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nworker_processes 1;\n\
             events {{}}\nhttp {{\n access_log off;\n client_body_temp_path {dir}/t1;\n proxy_temp_path {dir}/t2;\n \
             fastcgi_temp_path {dir}/t3;\n uwsgi_temp_path {dir}/t4;\n scgi_temp_path {dir}/t5;\n \
             server {{ listen 127.0.0.1:{port}; location / {{ include {dir}/a.conf; }} }}\n}}\n"
        ),
    );
    let process = fixture.run(&["nginx", "-c", text(&conf)]);
    let address = format!("127.0.0.1:{port}");
    let serves = |status: u16, body: &str| {
        process.until(&format!("{status} {body}"), || {
            let answer = http::request(&address, "GET", "/", b"")?;
            (answer.status == status && answer.body == body).then_some(())
        });
    };
    serves(200, "old");
    let main = main_of(&process, "nginx");
    fixture.set(r#"{"a": "return 200 new;"}"#);
    serves(200, "new");
    process.says("proem: verified ");
    let since = std::time::Instant::now();
    fixture.set(r#"{"a": "return 500 broken;"}"#);
    serves(500, "broken");
    process.says("template `a`: not verified within 2s, so the previous content is back: http://127.0.0.1:");
    assert!(since.elapsed().as_secs() < 10, "{:?}", since.elapsed());
    assert!(process.stderr().contains("status 500"), "{}", process.stderr());
    serves(200, "new");
    assert_eq!(fixture.read("a.conf"), "return 200 new;");
    assert!(is_alive(main) && main_of(&process, "nginx") == main, "{}", process.stderr());
    fixture.set(r#"{"a": "return 200 newest;"}"#);
    serves(200, "newest");
}
