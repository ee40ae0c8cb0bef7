//! The main job in containers: Docker, a real Consul, an nginx image of the official kind, proem as its first process.

#![cfg(feature = "consul")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::docker::{Container, Network};
use support::images::{ConsulContainer, Context};
use support::{docker, http, images, procs, read, wait};

/// A change must be served this soon.
const PROMPT: Duration = Duration::from_secs(1);

/// `docker stop` must be over this soon.
const AT_ONCE: Duration = Duration::from_secs(1);

const PAGE: &str = "server {
    listen 80;
    location / { return 200 \"{{ site.greeting }}\\n\"; }
}
";

/// The official-style nginx with proem and one template: the three lines that a user adds.
fn site() -> String {
    Context::new().file("templates/default.conf.tera", 0o644, PAGE).on(
        &images::nginx(),
        &format!(
            "COPY --from={} /proem /proem\n\
             ENTRYPOINT [\"/proem\", \"-t\", \"/templates/:/etc/nginx/conf.d/:HUP\", \"--\", \"/docker-entrypoint.sh\"]\n\
             CMD [\"nginx\", \"-g\", \"daemon off;\"]",
            images::proem()
        ),
    )
}

/// A Consul, and the site beside it on a network of their own; the page is up.
struct Site {
    // Dropped in this order: the network goes last.
    nginx: Container,
    address: String,
    consul: ConsulContainer,
    _network: Network,
}

impl Site {
    fn start(options: &[&str]) -> Site {
        let network = Network::create();
        let consul = ConsulContainer::start(&network);
        consul.api.put("config/site/greeting", "hello");
        // The name is resolved by Docker's own DNS.
        let address = format!("CONSUL_HTTP_ADDR={}:8500", consul.container.name);
        let source = "PROEM_SOURCE=site=consul:config/site";
        let mut all = vec!["--network", &network.name, "--env", &address, "--env", source];
        all.extend(options);
        let nginx = Container::run(&site(), &all, &[]);
        let address = format!("{}:80", nginx.ip());
        let site = Site { nginx, address, consul, _network: network };
        site.shows("hello\n");
        site
    }

    fn page(&self) -> Option<String> {
        http::get(&self.address, "/")
    }

    /// Waits until the page is this.
    fn shows(&self, text: &str) {
        self.nginx.until(&format!("the page shows {text:?}"), || (self.page()? == text).then_some(()));
    }

    /// The nginx master's process id.
    fn master(&self) -> i32 {
        self.nginx.child("nginx")
    }
}

#[test]
fn a_changed_key_is_on_the_page_within_a_second_in_the_same_nginx() {
    let site = Site::start(&["--env", "PROEM_THROTTLE=0s"]);
    let master = site.master();
    for value in ["one", "two", "three"] {
        let start = Instant::now();
        site.consul.api.put("config/site/greeting", value);
        site.shows(&format!("{value}\n"));
        assert!(start.elapsed() < PROMPT, "{value}: it took {:?}", start.elapsed());
    }
    assert_eq!(site.master(), master);
    // nginx answers TERM and QUIT with 0, and that is the container's code.
    let (time, code) = site.nginx.stop(10);
    assert_eq!(code, 0, "{}", site.nginx.logs());
    assert!(time < AT_ONCE, "docker stop took {time:?}");
}

#[test]
fn upstreams_follow_the_instances_of_a_service_and_never_become_empty() {
    let network = Network::create();
    let consul = ConsulContainer::start(&network);
    let upstream = |body: &str| {
        let command = format!("mkdir -p /www; echo {body} >/www/index.html; exec httpd -f -p 80 -h /www");
        let container = Container::run(&images::busybox(), &["--network", &network.name], &["sh", "-c", &command]);
        let ip = container.ip();
        container.until("it serves", || http::get(&format!("{ip}:80"), "/"));
        (container, ip)
    };
    let ((_one, one), (_two, two)) = (upstream("one"), upstream("two"));
    consul.api.register("web", "one", &one, 80);

    let template = "upstream web {\n{% for instance in web %}    server {{ instance.address }}:{{ instance.port }};\n{% endfor %}}\n\
                    server {\n    listen 80;\n    location / { proxy_pass http://web; }\n}\n";
    let image = Context::new().file("templates/default.conf.tera", 0o644, template).on(
        &images::nginx(),
        &format!(
            "COPY --from={} /proem /proem\n\
             ENTRYPOINT [\"/proem\", \"-s\", \"web=consul+service:web?passing&min=1\", \"--throttle\", \"0s\", \
             \"-t\", \"/templates/:/etc/nginx/conf.d/:HUP\", \"--\", \"/docker-entrypoint.sh\"]\n\
             CMD [\"nginx\", \"-g\", \"daemon off;\"]",
            images::proem()
        ),
    );
    let address = format!("CONSUL_HTTP_ADDR=http://{}:8500", consul.container.name);
    let nginx = Container::run(&image, &["--network", &network.name, "--env", &address], &[]);
    let page = format!("{}:80", nginx.ip());
    let served = |wanted: &[&str]| {
        nginx.until(&format!("{wanted:?} are served"), || {
            // As many requests as two instances by turns need, and one more.
            let mut seen: Vec<String> = (0..3).filter_map(|_| http::get(&page, "/")).collect();
            seen.sort();
            seen.dedup();
            (seen == wanted).then_some(())
        });
    };
    served(&["one\n"]);
    let master = nginx.child("nginx");
    consul.api.register("web", "two", &two, 80);
    served(&["one\n", "two\n"]);
    consul.api.check("one", "fail");
    served(&["two\n"]);
    consul.api.check("one", "pass");
    served(&["one\n", "two\n"]);
    consul.api.deregister("two");
    served(&["one\n"]);
    // nginx's old processes may still take a connection or two after a reload.
    nginx.until("nothing else is served any more", || {
        let calm = || {
            std::thread::sleep(Duration::from_millis(20));
            http::get(&page, "/").as_deref() == Some("one\n")
        };
        (0..20).all(|_| calm()).then_some(())
    });
    // The last one goes: `min=1` keeps what was.
    consul.api.check("one", "fail");
    wait::throughout(Duration::from_secs(2), "it still serves", || http::get(&page, "/").as_deref() == Some("one\n"));
    consul.api.deregister("one");
    wait::throughout(Duration::from_secs(1), "it still serves", || http::get(&page, "/").as_deref() == Some("one\n"));
    consul.api.register("web", "two", &two, 80);
    served(&["two\n"]);
    assert_eq!(nginx.child("nginx"), master);
}

#[test]
fn a_killed_worker_is_not_noticed_by_the_page_and_the_next_change_arrives() {
    let site = Site::start(&[]);
    let (master, state) = (site.master(), site.nginx.state());
    for value in ["one", "two"] {
        let worker = site.nginx.worker();
        procs::kill(worker, libc::SIGKILL);
        assert!(site.page().is_some());
        procs::gone(worker, docker::SOON);
        site.consul.api.put("config/site/greeting", value);
        site.shows(&format!("{value}\n"));
    }
    assert_eq!((site.master(), site.nginx.state()), (master, state));
}

#[test]
fn an_outage_of_thirty_seconds_leaves_the_container_unmoved() {
    let mut site = Site::start(&[]);
    let (master, state) = (site.master(), site.nginx.state());
    site.consul.container.stop(10);
    wait::throughout(Duration::from_secs(30), "the page is served", || site.page().as_deref() == Some("hello\n"));
    assert_eq!((site.master(), site.nginx.state()), (master, state.clone()));
    site.consul.start_again();
    site.consul.api.put("config/site/greeting", "back");
    // The pause between two tries is a minute at most, and by now it may be that long.
    let shown = || (site.page().as_deref() == Some("back\n")).then_some(());
    wait::until(Duration::from_secs(100), "the next change arrives", || site.nginx.logs(), shown);
    assert_eq!((site.master(), site.nginx.state()), (master, state));
}

#[test]
fn docker_stop_while_waiting_for_consul_is_over_at_once() {
    let network = Network::create();
    // One name that does not exist, one address that refuses.
    for address in ["CONSUL_HTTP_ADDR=http://nowhere:8500", "CONSUL_HTTP_ADDR=http://127.0.0.1:8500"] {
        for (signal, code) in [("TERM", 143), ("QUIT", 131)] {
            let options = [
                "--network",
                &network.name,
                "--env",
                address,
                "--env",
                "PROEM_SOURCE=site=consul:config/site",
                "--stop-signal",
                signal,
            ];
            let container = Container::run(&site(), &options, &[]);
            container.says("failed to reach consul");
            let (time, got) = container.stop(10);
            assert_eq!(got, code, "{address} {signal}\n{}", container.logs());
            assert!(time < AT_ONCE, "{address}: docker stop took {time:?}");
        }
    }
}

#[test]
fn docker_stop_gives_the_main_processs_exit_code() {
    let image = Context::new().on(
        &images::busybox(),
        &format!("COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"--\"]", images::proem()),
    );
    let script = "trap 'exit 7' TERM; echo up; while :; do sleep 1 & wait; done";
    let container = Container::run(&image, &[], &["sh", "-c", script]);
    container.says("up");
    let (time, code) = container.stop(10);
    assert_eq!(code, 7, "{}", container.logs());
    assert!(time < AT_ONCE, "docker stop took {time:?}");
}

#[test]
fn no_zombie_is_left_of_a_hundred_orphans() {
    let image = Context::new().on(
        &images::busybox(),
        &format!("COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"--\"]", images::proem()),
    );
    let script = "i=0; while [ $i -lt 100 ]; do (sleep 0.2 &) ; i=$((i+1)); done; echo spawned; exec sleep 600";
    let container = Container::run(&image, &[], &["sh", "-c", script]);
    container.says("spawned");
    let init = container.state().pid;
    container.until("only proem and main are left", || {
        let all = procs::namespace(init);
        (all.len() == 2 && all.iter().all(|process| process.state != 'Z')).then_some(())
    });
}

#[test]
fn a_bad_configuration_is_78_and_prints_every_mistake() {
    let config = "waitt = \"60s\"\n[source]\nsite = \"consull:config/site\"\n[template.page]\nfrom = \"t.tera\"\ntoo = \"/page\"\n";
    let image = Context::new().file("etc/proem/proem.toml", 0o644, config).on(
        &images::busybox(),
        &format!("COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"--\"]", images::proem()),
    );
    let container = Container::run(&image, &[], &["echo", "it started"]);
    assert_eq!(container.ended(), 78);
    let logs = container.logs();
    for part in [
        "/etc/proem/proem.toml:1:",
        "`waitt`",
        "/etc/proem/proem.toml:3:",
        "consull",
        "/etc/proem/proem.toml:6:",
        "`too`",
        "proem: exit 78: ",
    ] {
        assert!(logs.contains(part), "`{part}` is not said:\n{logs}");
    }
    assert!(!logs.contains("it started"));
}

/// No libc, no /etc/nsswitch.conf, no certificates, no user database: the name comes from Docker's own DNS.
#[test]
fn in_an_empty_root_consuls_name_is_resolved_by_dockers_dns() {
    let network = Network::create();
    let consul = ConsulContainer::start(&network);
    consul.api.put("config/site/greeting", "from nowhere");
    let image = Context::new().file("page.tera", 0o644, "{{ site.greeting }}\n").image(&format!(
        "COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"-s\", \"site=consul:config/site\", \"-t\", \"/page.tera:-\"]",
        images::proem()
    ));
    let address = format!("CONSUL_HTTP_ADDR=http://{}:8500", consul.container.name);
    // `render` is a word of the command line, so it can also stand behind the options of the ENTRYPOINT's image.
    let options = ["--network", network.name.as_str(), "--env", &address, "--entrypoint", "/proem"];
    let command = ["render", "-s", "site=consul:config/site", "-t", "/page.tera:-"];
    let container = Container::run(&image, &options, &command);
    assert_eq!(container.ended(), 0, "{}", container.logs());
    assert_eq!(
        container.logs().lines().filter(|line| !line.starts_with("proem: ")).collect::<Vec<_>>(),
        ["from nowhere"]
    );
}

#[test]
fn a_read_only_root_and_another_user_do() {
    let site =
        Site::start(&["--read-only", "--tmpfs", "/etc/nginx/conf.d", "--tmpfs", "/run", "--tmpfs", "/var/lib/nginx"]);
    site.consul.api.put("config/site/greeting", "changed");
    site.shows("changed\n");

    let image = Context::new().file("t.tera", 0o644, "{{ env.X }}\n").on(
        &images::busybox(),
        &format!(
            "COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"-t\", \"/t.tera:/tmp/t\", \"--\"]",
            images::proem()
        ),
    );
    let container = Container::run(&image, &["--user", "65534:65534", "--env", "X=mine"], &["cat", "/tmp/t"]);
    assert_eq!(container.ended(), 0, "{}", container.logs());
    assert!(container.logs().contains("mine\n"), "{}", container.logs());
}

#[test]
fn targets_are_whole_files_of_the_mode_that_is_asked_for() {
    let site = Site::start(&[]);
    let root = PathBuf::from(format!("/proc/{}/root", site.nginx.state().pid));
    let target = root.join("etc/nginx/conf.d/default.conf");
    assert!(read(&target).contains("return 200 \"hello\\n\""), "{}", read(&target));
    let names: Vec<_> = std::fs::read_dir(target.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["default.conf"], "something staged was left");
}
