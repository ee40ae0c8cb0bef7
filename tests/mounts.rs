//! Targets and sources that a container runtime mounts: single files, `/etc/hosts`, a read-only root, Docker configs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::docker::{self, Container};
use support::images::{self, Context};
use support::{procs, read, text, wait, write};

/// Said once of a target that cannot be replaced by a rename.
const IN_PLACE: &str = "written in place";

/// Says its configuration, given as `$0`, when it starts and when it is told.
const SERVICE: &str = r#"look() { echo "it reads: $(cat $0)"; }
trap look HUP
look
while :; do sleep 1 & wait $!; done"#;

/// busybox with proem, its configuration and one template.
fn image(template: &str, to: &str) -> String {
    let toml = format!(
        "throttle = \"0s\"\n[source]\napp = \"file:/source/app.json\"\n\
         [template.app]\nfrom = \"/t/app.tera\"\nto = \"{to}\"\nreload = \"HUP\"\n\
         check = [\"/bin/grep\", \"-q\", \"ok\", \"{{staged}}\"]\n"
    );
    Context::new().file("t/app.tera", 0o644, template).file("etc/proem/proem.toml", 0o644, &toml).on(
        &images::busybox(),
        &format!("COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"--\"]", images::proem()),
    )
}

/// A source in a directory of the host, which is mounted.
struct Source {
    dir: tempfile::TempDir,
}

impl Source {
    fn new(value: &str) -> Source {
        let source = Source { dir: support::folder() };
        source.set(value);
        source
    }

    fn set(&self, value: &str) {
        let new = write(self.dir.path(), ".new", &format!("{{\"value\":\"{value}\"}}"));
        fs::rename(new, self.dir.path().join("app.json")).unwrap();
    }

    fn mount(&self) -> String {
        format!("{}:/source:ro", text(self.dir.path()))
    }
}

/// Starts the service on `target`, and waits until it has read `value`.
fn serve(image: &str, source: &Source, options: &[&str], target: &str, value: &str) -> Container {
    let mount = source.mount();
    let options: Vec<&str> = ["--volume", &mount].into_iter().chain(options.iter().copied()).collect();
    let container = Container::run(image, &options, &["sh", "-c", SERVICE, target]);
    container.says(&format!("it reads: {value}"));
    container
}

fn warnings(container: &Container) -> usize {
    container.logs().matches(IN_PLACE).count()
}

/// Inode, owner, group and mode.
fn identity(path: &Path) -> (u64, u32, u32, u32) {
    let is = fs::metadata(path).unwrap();
    (is.ino(), is.uid(), is.gid(), is.mode())
}

/// What a file is inside.
fn inside(container: &Container, path: &str) -> String {
    let (code, content) = container.exec(&["cat", path]);
    assert_eq!(code, 0, "{content}");
    content
}

#[test]
fn a_mounted_file_keeps_its_inode_owner_and_mode() {
    let (source, host) = (Source::new("one ok"), support::folder());
    let file = write(host.path(), "app.conf", "what an operator put there\n");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&file, Some(1234), Some(2345)).unwrap();
    let before = identity(&file);
    let mount = format!("{}:/etc/app.conf", text(&file));
    let container =
        serve(&image("{{ app.value }}\n", "/etc/app.conf"), &source, &["--volume", &mount], "/etc/app.conf", "one ok");
    for value in ["two ok", "ok, and longer than it was before", "4 ok"] {
        source.set(value);
        container.says(&format!("it reads: {value}"));
        assert_eq!((read(&file), identity(&file)), (format!("{value}\n"), before), "{}", container.logs());
        assert_eq!(inside(&container, "/etc/app.conf"), format!("{value}\n"));
    }
    // Refused before anything is written.
    source.set("wrong");
    container.says("refused");
    assert_eq!((read(&file).as_str(), identity(&file)), ("4 ok\n", before));
    assert_eq!(warnings(&container), 1, "{}", container.logs());
    let left = container.exec(&["sh", "-c", "ls -a /etc /run /tmp /dev/shm 2>/dev/null | grep proem-"]);
    assert_eq!(left.1, "", "something is left");
}

#[test]
fn on_a_read_only_root_a_writable_mount_is_published_by_renames() {
    let (source, host) = (Source::new("one ok"), support::folder());
    let target = host.path().join("app.conf");
    let mount = format!("{}:/data", text(host.path()));
    let options = ["--read-only", "--volume", &mount];
    let container = serve(&image("{{ app.value }}\n", "/data/app.conf"), &source, &options, "/data/app.conf", "one ok");
    let before = identity(&target);
    assert_eq!((before.1, before.3 & 0o7777), (0, 0o644));
    source.set("two ok");
    container.says("it reads: two ok");
    let after = identity(&target);
    assert!(
        after.0 != before.0 && (after.1, after.2, after.3) == (before.1, before.2, before.3),
        "{before:?} {after:?}"
    );
    assert_eq!(warnings(&container), 0, "{}", container.logs());
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1, "something is left");
}

#[test]
fn on_a_read_only_root_a_mounted_file_is_checked_elsewhere_and_written_in_place() {
    let (source, host) = (Source::new("one ok"), support::folder());
    let file = write(host.path(), "app.conf", "");
    let before = identity(&file);
    let mount = format!("{}:/etc/app.conf", text(&file));
    let image = image("{{ app.value }}\n", "/etc/app.conf");
    let container = serve(&image, &source, &["--read-only", "--volume", &mount], "/etc/app.conf", "one ok");
    source.set("wrong");
    container.says("refused");
    assert_eq!(read(&file), "one ok\n");
    // Nothing is writable, and what was refused is remembered all the same when the worker dies.
    procs::kill(container.worker(), libc::SIGKILL);
    container.says("template `app`: its check has refused this content before");
    assert_eq!(container.logs().matches("refused (exit 1)").count(), 1, "{}", container.logs());
    source.set("two ok");
    container.says("it reads: two ok");
    assert_eq!((read(&file).as_str(), identity(&file)), ("two ok\n", before));
    // Once by each worker.
    assert_eq!(warnings(&container), 2, "{}", container.logs());
    // And a target that nothing can write ends the start with the reason.
    let options = ["--read-only", "--volume", &source.mount()];
    let refused = Container::run(&image, &options, &["sh", "-c", SERVICE, "/etc/app.conf"]);
    assert_eq!(refused.ended(), 73);
    let logs = refused.logs();
    assert!(logs.contains("proem: exit 73: failed to write /etc/app.conf: read-only file system"), "{logs}");
    assert!(!logs.contains("it reads"), "{logs}");
}

/// The file that every runtime mounts: Docker's own, which it writes again at the next start.
#[test]
fn etc_hosts_is_a_target() {
    let source = Source::new("192.0.2.1 ok.example");
    let template = "127.0.0.1 localhost\n{{ app.value }}\n";
    let container =
        serve(&image(template, "/etc/hosts"), &source, &[], "/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 ok.example");
    let host = docker::must(["inspect", "--format", "{{.HostsPath}}", &container.name]);
    let before = identity(Path::new(&host));
    source.set("192.0.2.2 ok.example");
    container.says("192.0.2.2 ok.example");
    assert_eq!(inside(&container, "/etc/hosts"), "127.0.0.1 localhost\n192.0.2.2 ok.example\n");
    assert_eq!(identity(Path::new(&host)), before);
    assert_eq!(warnings(&container), 1, "{}", container.logs());
}

/// A Swarm of this machine alone, on the loopback interface; left when dropped, if it was not there before.
struct Swarm {
    ours: bool,
    _only_one: File,
}

impl Swarm {
    fn join() -> Swarm {
        let lock = File::create(std::env::temp_dir().join("proem-test-swarm.lock")).unwrap();
        lock.lock().unwrap();
        let state = docker::must(["info", "--format", "{{.Swarm.LocalNodeState}}"]);
        let ours = state == "inactive";
        if ours {
            let [port] = support::ports::free();
            let listen = format!("127.0.0.1:{port}");
            docker::must(["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", &listen]);
        }
        Swarm { ours, _only_one: lock }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if self.ours {
            docker::docker(["swarm", "leave", "--force"]);
        }
    }
}

/// A service of the Swarm with its configs; removed when dropped.
struct Service {
    name: String,
    configs: Vec<String>,
}

impl Service {
    fn config(&mut self, content: &str) -> String {
        let name = docker::unique("config");
        let file = support::folder();
        let file = write(file.path(), "content", content);
        docker::must(["config", "create", "--label", "proem-test", &name, text(&file)]);
        self.configs.push(name.clone());
        name
    }

    fn logs(&self) -> String {
        String::from_utf8_lossy(&docker::docker(["service", "logs", "--raw", &self.name]).stdout).into_owned()
    }

    /// Waits until a task says this.
    fn says(&self, text: &str) {
        let state = || {
            let tasks = docker::docker(["service", "ps", "--no-trunc", &self.name]);
            format!("{}\n{}", String::from_utf8_lossy(&tasks.stdout), self.logs())
        };
        wait::until(docker::SOON * 2, text, state, || self.logs().contains(text).then_some(()));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        docker::docker(["service", "rm", &self.name]);
        for config in &self.configs {
            docker::docker(["config", "rm", config]);
        }
    }
}

#[test]
fn docker_configs_are_sources_and_templates() {
    let _swarm = Swarm::join();
    let plain = format!("COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"--\"]", images::proem());
    let image = Context::new().on(&images::busybox(), &plain);
    let mut service = Service { name: docker::unique("service"), configs: Vec::new() };
    let (values, template) = (service.config("greeting = \"hello\"\n"), service.config("{{ app.greeting }} ok\n"));
    // `docker config` mounts single files, read-only, owned by root: `mode=0440` is what its documentation shows.
    let (values_at, template_at) =
        (format!("source={values},target=/values.toml,mode=0440"), format!("source={template},target=/app.tera"));
    docker::must([
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--label",
        "proem-test",
        "--name",
        &service.name,
        "--restart-condition",
        "none",
        "--config",
        &values_at,
        "--config",
        &template_at,
        "--entrypoint",
        "/proem",
        &image,
        "-s",
        "app=file:/values.toml",
        "-t",
        "/app.tera:/etc/app.conf:HUP",
        "--",
        "sh",
        "-c",
        SERVICE,
        "/etc/app.conf",
    ]);
    service.says("it reads: hello ok");
    // A config never changes; its successor comes with the next task.
    let next = service.config("greeting = \"bonjour\"\n");
    let next_at = format!("source={next},target=/values.toml,mode=0440");
    docker::must([
        "service",
        "update",
        "--detach",
        "--no-resolve-image",
        "--config-rm",
        &values,
        "--config-add",
        &next_at,
        &service.name,
    ]);
    service.says("it reads: bonjour ok");
}
