//! Docker through its command line, as users drive it. Containers, networks and images of the tests carry the label
//! `proem-test`; what a test started is removed when its handle is dropped.

use super::{procs, wait};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long Docker and what runs in it may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Runs `docker ARGS…` and returns its output, whatever its status.
pub fn docker<'a>(args: impl IntoIterator<Item = &'a str>) -> Output {
    Command::new("docker")
        .args(args)
        // The classic builder is everywhere; BuildKit needs a plugin.
        .env("DOCKER_BUILDKIT", "0")
        .stdin(Stdio::null())
        .output()
        .expect("no docker on this machine: run scripts/setup")
}

/// Runs `docker ARGS…`, which must succeed, and returns its trimmed standard output.
pub fn must<'a>(args: impl IntoIterator<Item = &'a str>) -> String {
    let args: Vec<&str> = args.into_iter().collect();
    let output = docker(args.iter().copied());
    assert!(
        output.status.success(),
        "docker {}: {}\n(no daemon? scripts/setup starts one)",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A name that no other test, in this process or another, uses.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("proem-test-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Builds the Dockerfile in `context` and returns the image's id. Docker caches by content, so an unchanged image costs
/// nothing.
pub fn build(context: &Path, arguments: &[(&str, &str)]) -> String {
    let mut args = vec!["build".to_owned(), "--quiet".into(), "--label".into(), "proem-test".into()];
    for (name, value) in arguments {
        args.extend(["--build-arg".into(), format!("{name}={value}")]);
    }
    args.push(super::text(context).to_owned());
    must(args.iter().map(String::as_str))
}

/// A user-defined network, with Docker's own DNS in it.
pub struct Network {
    /// Its name.
    pub name: String,
}

impl Network {
    /// Creates one.
    pub fn create() -> Network {
        let name = unique("net");
        must(["network", "create", "--label", "proem-test", &name]);
        Network { name }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        docker(["network", "rm", &self.name]);
    }
}

/// A container; removed by force when dropped.
pub struct Container {
    /// Its name, which also is its DNS name on a user-defined network.
    pub name: String,
}

/// What `docker inspect` says of a container's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether it runs.
    pub running: bool,
    /// Its first process, in the root PID namespace; 0 when it does not run.
    pub pid: i32,
    /// Its exit code, once it does not run any more.
    pub code: i32,
    /// When it was started: changes with each start.
    pub started: String,
}

impl Container {
    /// `docker run -d OPTIONS… IMAGE COMMAND…`.
    pub fn run(image: &str, options: &[&str], command: &[&str]) -> Container {
        Container::run_as(&unique("c"), image, options, command)
    }

    /// The same with a name of the caller's choice.
    pub fn run_as(name: &str, image: &str, options: &[&str], command: &[&str]) -> Container {
        let container = Container { name: name.to_owned() };
        let mut args = vec!["run", "--detach", "--label", "proem-test", "--name", name];
        args.extend(options);
        args.push(image);
        args.extend(command);
        must(args);
        container
    }

    /// What Docker says of it.
    pub fn state(&self) -> State {
        let format = "{{.State.Running}} {{.State.Pid}} {{.State.ExitCode}} {{.State.StartedAt}}";
        let text = must(["inspect", "--format", format, &self.name]);
        let fields: Vec<&str> = text.split(' ').collect();
        State {
            running: fields[0] == "true",
            pid: fields[1].parse().unwrap(),
            code: fields[2].parse().unwrap(),
            started: fields[3].to_owned(),
        }
    }

    /// Its address; the host reaches it there.
    pub fn ip(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let text = must(["inspect", "--format", format, &self.name]);
        text.split(' ').next().filter(|ip| !ip.is_empty()).expect("the container has no address").to_owned()
    }

    /// Both of its streams so far.
    pub fn logs(&self) -> String {
        let output = docker(["logs", &self.name]);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// Runs a command inside; its status, and both of its streams.
    pub fn exec(&self, command: &[&str]) -> (i32, String) {
        let output = docker(["exec", &self.name].into_iter().chain(command.iter().copied()));
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    }

    /// Waits until `look` gives something, showing the container's log when that does not happen.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait::until(SOON, what, || format!("{:?}\n{}", self.state(), self.logs()), look)
    }

    /// Waits until its log holds this text.
    pub fn says(&self, text: &str) {
        self.until(&format!("the log says `{text}`"), || self.logs().contains(text).then_some(()));
    }

    /// `docker stop` with this patience, in seconds; how long it took, and the exit code.
    pub fn stop(&self, patience: u32) -> (Duration, i32) {
        let start = Instant::now();
        must(["stop", "--time", &patience.to_string(), &self.name]);
        (start.elapsed(), self.state().code)
    }

    /// `docker start`.
    pub fn start(&self) {
        must(["start", &self.name]);
    }

    /// Waits until it has ended by itself; its exit code.
    pub fn ended(&self) -> i32 {
        self.until("the container ends", || Some(self.state()).filter(|state| !state.running)).code
    }

    /// The proem worker's process id, in the root PID namespace.
    pub fn worker(&self) -> i32 {
        let init = self.state().pid;
        self.until("there is a worker", || procs::worker(init))
    }

    /// The child of its first process with this name, in the root PID namespace.
    pub fn child(&self, name: &str) -> i32 {
        let init = self.state().pid;
        self.until(&format!("`{name}` runs"), || procs::children(init).into_iter().find(|child| child.name == name)).pid
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(["rm", "--force", "--volumes", &self.name]);
    }
}
