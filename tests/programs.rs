//! Real programs check their own configuration, and serve over the loopback interface: what they refuse is taken back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::images::which;
use support::proem::{Proem, SOON, proem};
use support::{http, ports, procs, read, text, write};

/// A folder with templates, a source and a configuration; what is rendered is served at `address`.
struct Stand {
    dir: tempfile::TempDir,
    address: String,
    port: u16,
}

impl Stand {
    fn new() -> Stand {
        let [port] = ports::free();
        Stand { dir: support::folder(), address: format!("127.0.0.1:{port}"), port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        write(self.dir.path(), name, content)
    }

    /// The source's values; replaced by a rename.
    fn set(&self, json: &str) {
        let new = self.write(".new", json);
        fs::rename(new, self.path("app.json")).unwrap();
    }

    /// proem with this configuration beside the source, and `main` as its process.
    fn run(&self, tables: &str, main: &[&str]) -> Proem {
        let head = format!("throttle = \"0s\"\n[source]\napp = \"file:{}\"\n", text(&self.path("app.json")));
        self.write("proem.toml", &format!("{head}{tables}"));
        proem(["-c", text(&self.path("proem.toml")), "--"]).args(main.iter().copied()).dir(self.dir.path()).start()
    }

    fn get(&self, path: &str) -> Option<String> {
        http::get(&self.address, path)
    }

    fn serves(&self, process: &Proem, path: &str, body: &str) {
        process.until(&format!("{path} is {body:?}"), || (self.get(path)? == body).then_some(()));
    }

    /// What proem keeps for itself in this folder.
    fn kept(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(dir)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".proem-")).collect()
    }
}

/// Its main process, by the program's name.
fn main_of(process: &Proem, name: &str) -> i32 {
    process
        .until(&format!("`{name}` runs"), || {
            procs::children(process.pid()).into_iter().find(|child| child.name == name && child.state != 'Z')
        })
        .pid
}

#[test]
fn nginx_refuses_an_include_after_the_rename_and_serves_the_old_page() {
    let stand = Stand::new();
    let nginx = which("nginx");
    let at = |name: &str| text(&stand.path(name)).to_owned();
    stand.write(
        "nginx.conf",
        &format!(
            "pid {};\nerror_log stderr notice;\nworker_processes 1;\nevents {{ worker_connections 32; }}\n\
             http {{\n    access_log off;\n    client_body_temp_path {tmp};\n    proxy_temp_path {tmp};\n    \
             fastcgi_temp_path {tmp};\n    uwsgi_temp_path {tmp};\n    scgi_temp_path {tmp};\n    include {};\n}}\n",
            at("nginx.pid"),
            at("conf.d/*.conf"),
            tmp = at("tmp"),
        ),
    );
    let page = "server {\n    listen 127.0.0.1:{{ app.port }};\n    {{ app.extra }}\n    \
                location / { return 200 \"{{ app.page }}\"; }\n}\n";
    stand.write("site.tera", page);
    let values = |page: &str, extra: &str| format!(r#"{{"port":{},"page":"{page}","extra":"{extra}"}}"#, stand.port);
    stand.set(&values("one", ""));
    let tables = format!(
        "[template.site]\nfrom = {:?}\nto = {:?}\ncheck = [{nginx:?}, \"-t\", \"-c\", {:?}]\nreload = \"HUP\"\n",
        at("site.tera"),
        at("conf.d/site.conf"),
        at("nginx.conf")
    );
    let process = stand.run(&tables, &[&nginx, "-c", &at("nginx.conf"), "-g", "daemon off;"]);
    stand.serves(&process, "/", "one");
    let (master, before) = (main_of(&process, "nginx"), read(&stand.path("conf.d/site.conf")));

    stand.set(&values("two", "lisssten 80;"));
    process.says("refused (exit 1)");
    // nginx's own words, with its own line number.
    let words = format!("unknown directive \"lisssten\" in {}:3", at("conf.d/site.conf"));
    assert!(process.stderr().contains(&words), "{}", process.stderr());
    assert_eq!(read(&stand.path("conf.d/site.conf")), before);
    support::wait::throughout(std::time::Duration::from_millis(300), "the old page is served", || {
        stand.get("/").as_deref() == Some("one")
    });
    assert!(!process.stderr().contains("reloaded"), "{}", process.stderr());

    stand.set(&values("three", ""));
    stand.serves(&process, "/", "three");
    assert_eq!(main_of(&process, "nginx"), master);
    process.until("nothing is left", || stand.kept("conf.d").is_empty().then_some(()));
}

/// The group of `docs/reference/configuration.md`, as it stands there.
fn documented_group(stand: &Stand) -> String {
    let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/configuration.md"));
    let start = page.find("```toml\n[template.haproxy]").expect("the reference shows the group") + "```toml\n".len();
    let block = &page[start..];
    let block = &block[..block.find("```").unwrap()];
    assert!(block.contains("/etc/haproxy/") && block.contains("USR2"), "{block}");
    block.replace("/etc/haproxy/", &format!("{}/", text(&stand.path("etc"))))
}

/// haproxy with a map: the configuration names it by the path that it will have.
fn haproxy() -> (Stand, String) {
    let stand = Stand::new();
    let cfg = format!(
        "defaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\n\
         frontend web\n    bind 127.0.0.1:{}\n    {{{{ app.extra }}}}\n    \
         http-request return status 200 content-type text/plain lf-string \"{{{{ app.word }}}} %[path,map_str_int({},0)]\"\n",
        stand.port,
        text(&stand.path("etc/hosts.map"))
    );
    stand.write("haproxy.cfg.tera", &cfg);
    stand.write("hosts.map.tera", "/one {{ app.one }}\n");
    (stand, which("haproxy"))
}

fn values(word: &str, one: &str, extra: &str) -> String {
    format!(r#"{{"word":"{word}","one":"{one}","extra":"{extra}"}}"#)
}

#[test]
fn haproxy_and_its_map_are_one_group_from_the_first_start_on() {
    let (stand, program) = haproxy();
    let config = text(&stand.path("etc/haproxy.cfg")).to_owned();
    stand.set(&values("v1", "1", ""));
    // Nothing is there yet, not even the directory.
    let process = stand.run(&documented_group(&stand), &[&program, "-W", "-db", "-f", &config]);
    stand.serves(&process, "/one", "v1 1");
    let master = main_of(&process, "haproxy");

    // The map alone, then both.
    stand.set(&values("v1", "2", ""));
    stand.serves(&process, "/one", "v1 2");
    stand.set(&values("v2", "3", ""));
    stand.serves(&process, "/one", "v2 3");

    // What is refused is both: a map that does not load takes a good configuration back with it, and the other way round.
    for (bad, words) in [
        (values("v3", "none", ""), "unable to parse 'none' at line 1 of file"),
        (values("v3", "4", "no-such-keyword"), "unknown keyword 'no-such-keyword'"),
    ] {
        let before = (read(&stand.path("etc/haproxy.cfg")), read(&stand.path("etc/hosts.map")));
        stand.set(&bad);
        process.says(words);
        let is = || (read(&stand.path("etc/haproxy.cfg")), read(&stand.path("etc/hosts.map")));
        process.until("both are back", || (is() == before).then_some(()));
        assert_eq!(stand.get("/one").as_deref(), Some("v2 3"), "{}", process.stderr());
    }
    stand.set(&values("v4", "5", ""));
    stand.serves(&process, "/one", "v4 5");
    assert_eq!(main_of(&process, "haproxy"), master);
    process.until("nothing is left", || stand.kept("etc").is_empty().then_some(()));
}

#[test]
fn a_map_that_haproxy_refuses_at_the_first_start_leaves_nothing_and_starts_nobody() {
    let (stand, program) = haproxy();
    stand.set(&values("v1", "none", ""));
    let config = text(&stand.path("etc/haproxy.cfg")).to_owned();
    let output = stand.run(&documented_group(&stand), &[&program, "-W", "-db", "-f", &config]).ended(SOON);
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("unable to parse 'none'"), "{}", output.stderr);
    assert_eq!(fs::read_dir(stand.path("etc")).unwrap().count(), 0);
}

/// Why the reference says otherwise: the staged configuration names the map by its final path.
#[test]
fn a_staged_configuration_does_not_find_its_map_at_the_first_start() {
    let (stand, program) = haproxy();
    stand.set(&values("v1", "1", ""));
    let config = text(&stand.path("etc/haproxy.cfg")).to_owned();
    let staged = documented_group(&stand).replace(&format!("\"-f\", \"{config}\""), "\"-f\", \"{staged:haproxy}\"");
    assert!(staged.contains("{staged:haproxy}"), "{staged}");
    let output = stand.run(&staged, &[&program, "-W", "-db", "-f", &config]).ended(SOON);
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("failed to open pattern file"), "{}", output.stderr);
}
