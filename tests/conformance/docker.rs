//! Real containers: proem as their first process, by entrypoint and by the daemon's own `--init`.

use crate::stand::{Guard, Stand};
use crate::support::docker::{self, Container};
use crate::support::images::{self, Context, which};
use crate::support::proem::{BINARY, Builder};
use crate::support::pty::Pty;
use crate::support::{folder, procs, read, text, wait};
use crate::{FIRST, Row};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const SECTION: &str = "containers";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "Docker, `FROM scratch`, read-only, uid 65534, no capabilities: exit codes, `docker stop`, orphans",
        places: FIRST,
        general: false,
        check: hardened,
    },
    Row {
        section: SECTION,
        case: "`docker run -it`: job control without warnings, `exit 7` is 7, Ctrl-C is 130",
        places: FIRST,
        general: false,
        check: interactive,
    },
    Row {
        section: SECTION,
        case: "`docker run --init` with dockerd's init path set to it: a normal container",
        places: FIRST,
        general: false,
        check: init_path,
    },
    Row {
        section: SECTION,
        case: "`podman run --init --init-path`: a normal container",
        places: FIRST,
        general: false,
        check: podman,
    },
];

/// A busybox with proem as its entrypoint.
fn image() -> String {
    static IMAGE: OnceLock<String> = OnceLock::new();
    let make = || {
        let instructions = format!("COPY --from={} /proem /proem\nENTRYPOINT [\"/proem\", \"--\"]", images::proem());
        Context::new().on(&images::busybox(), &instructions)
    };
    IMAGE.get_or_init(make).clone()
}

const HARDENED: [&str; 5] =
    ["--read-only", "--user=65534:65534", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"];

fn hardened(_: &Stand) {
    let options = &HARDENED[..];
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143), ("sleep 1000 & exit 0", 0)] {
        assert_eq!(Container::run(&image(), options, &["sh", "-c", script]).ended(), code, "{script}");
    }
    let script = "i=0; while [ $i -lt 100 ]; do (sleep 0 &); i=$((i+1)); done; echo spawned; exec sleep 1000";
    let container = Container::run(&image(), options, &["sh", "-c", script]);
    container.says("spawned");
    let init = container.state().pid;
    container.until("only main is left", || (procs::namespace(init).len() == 2).then_some(()));
    let (took, code) = container.stop(20);
    assert_eq!(code, 143);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// The client on a terminal of its own.
fn on_a_terminal(stand: &Stand, pty: &Pty, name: &str, argv: &[&str]) -> Guard {
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--interactive", "--tty", "--network=none", "--label=proem-test", "--name", name]);
    command.arg(image()).args(argv);
    Guard::new(stand, pty.lead(&mut command))
}

fn interactive(stand: &Stand) {
    let limit = docker::SOON;
    let mut pty = Pty::open();
    let name = docker::unique("tty");
    let mut guard = on_a_terminal(stand, &pty, &name, &["sh"]);
    let container = Container { name };
    let before = pty.says(limit, "# ");
    assert!(!before.contains("job control") && !before.contains("tty"), "{before:?}");
    pty.types("sleep 1000\n");
    container.until("sleep runs", || {
        let there = procs::namespace(container.state().pid);
        there.iter().any(|process| process.name == "sleep" || process.name == "busybox").then_some(())
    });
    pty.types("\x1a");
    pty.says(limit, "Stopped");
    pty.types("exit 6\nexit 7\n");
    assert_eq!(guard.ended(), 7, "{}", pty.text());

    let mut pty = Pty::open();
    let name = docker::unique("tty");
    let mut guard = on_a_terminal(stand, &pty, &name, &["sh", "-c", "echo up; exec sleep 1000"]);
    let _container = Container { name };
    pty.says(limit, "up");
    pty.types("\x03");
    assert_eq!(guard.ended(), 130);
}

/// A Docker daemon of our own, whose `--init` is proem.
struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start(init: &Path) -> Daemon {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        // In a network namespace of its own: a daemon without a bridge removes the `docker0` that it finds.
        let mut command = Command::new("unshare");
        command.arg("--net").arg(which("dockerd"));
        command.args(["--bridge=none", "--iptables=false", "--storage-driver=vfs"]);
        for (option, value) in
            [("--data-root", path("data")), ("--exec-root", path("exec")), ("--pidfile", path("pid"))]
        {
            command.arg(option).arg(value);
        }
        command.arg(format!("--host={}", host(&folder))).arg("--init-path").arg(init);
        // It starts a containerd of its own, which it finds there.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let log = File::create(path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = Daemon { child: command.spawn().unwrap(), folder };
        wait::until(
            Duration::from_mins(1),
            "the second daemon answers",
            || read(&daemon.folder.path().join("log")),
            || (daemon.code(&["version"]).0 == 0).then_some(()),
        );
        daemon
    }

    fn code(&self, args: &[&str]) -> (i32, String) {
        said(client("docker").args(["--host", &host(&self.folder)]).args(args.iter().copied()))
    }
}

/// A container engine's command line.
fn client(name: &str) -> Builder {
    Builder::new(&which(name)).env("HOME", "/root")
}

/// Runs it to its end; the exit code, and all that it wrote.
fn said(command: Builder) -> (i32, String) {
    let output = command.output();
    (output.code, output.stdout + &output.stderr)
}

fn host(folder: &tempfile::TempDir) -> String {
    format!("unix://{}", text(&folder.path().join("socket")))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its containers and its containerd, and gives its mounts back.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            procs::kill(pid, libc::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

fn init_path(_: &Stand) {
    let folder = folder();
    let init: PathBuf = folder.path().join("docker-init");
    std::fs::copy(BINARY, &init).unwrap();
    let daemon = Daemon::start(&init);

    // The image comes from the daemon that builds all others.
    let load = format!("docker save {} | docker --host {} load", images::busybox(), host(&daemon.folder));
    let (code, loaded) = said(client("sh").args(["-c", &load]));
    assert_eq!(code, 0, "{loaded}");

    let image = images::busybox();
    let run = ["run", "--rm", "--init", "--network=none", &image];
    let with = |argv: &[&str]| daemon.code(&[&run, argv].concat());
    assert_eq!(with(&["sh", "-c", "exit 7"]), (7, String::new()));
    assert_eq!(with(&["sh", "-c", "kill -TERM $$"]).0, 143);
    // As with Docker's own: a program that is not there is 127, and says so.
    let (code, said) = with(&["no-such-program"]);
    assert_eq!(code, 127, "{said}");
    assert!(said.contains("no-such-program"), "{said}");
    // PID 1 is it, and a process whose parent is gone becomes its child.
    let orphan = "cat /proc/1/comm; (sleep 1000 & exec true); until ps -o ppid,comm | grep '^ *1 sleep'; do :; done";
    let (code, said) = with(&["sh", "-c", orphan]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("docker-init"), "{said}");

    let name = docker::unique("init");
    let detached =
        ["run", "--detach", "--init", "--network=none", "--name", &name, &image, "sh", "-c", "exec sleep 1000"];
    assert_eq!(daemon.code(&detached).0, 0);
    assert_eq!(daemon.code(&["stop", "--time", "20", &name]).0, 0);
    assert_eq!(daemon.code(&["inspect", "--format", "{{.State.ExitCode}}", &name]).1.trim(), "143");
    daemon.code(&["rm", "--force", &name]);
}

fn podman(_: &Stand) {
    // Its storage and state are ours: nothing of the machine's own podman is touched.
    let folder = folder();
    let context = Context::new().busybox();
    for dir in ["proc", "dev", "sys", "etc", "run"] {
        std::fs::create_dir_all(context.root().join(dir)).unwrap();
    }
    let mut global = vec!["--storage-driver=vfs".to_owned(), "--cgroup-manager=cgroupfs".to_owned()];
    for option in ["root", "runroot", "tmpdir"] {
        global.push(format!("--{option}={}", text(&folder.path().join(option))));
    }
    let global = global.iter().map(String::as_str);
    let podman = |args: &[&str]| said(client("podman").args(global.clone()).args(args.iter().copied()));
    let root = context.root();
    // Its own limits may be above those of the machine that the tests run in.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--network=none"];
    let run = [&["run", "--init", "--init-path", BINARY], &limits[..]].concat();
    let with = |options: &[&str], script: &str| {
        podman(&[&run[..], options, &["--rootfs", text(&root), "sh", "-c", script]].concat())
    };
    let orphan = "cat /proc/1/comm; (sleep 1000 & exec true); until ps -o ppid,comm | grep '^ *1 sleep'; do :; done";
    let (code, said) = with(&["--rm"], &format!("{orphan}; exit 7"));
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("podman-init"), "{said}");
    assert_eq!(with(&["--rm"], "kill -TERM $$").0, 143);
    let name = docker::unique("podman");
    assert_eq!(with(&["--detach", "--name", &name], "exec sleep 1000").0, 0);
    assert_eq!(podman(&["stop", "--time", "20", &name]).0, 0);
    assert_eq!(podman(&["inspect", "--format", "{{.State.ExitCode}}", &name]).1.trim(), "143");
    assert_eq!(podman(&["rm", "--force", &name]).0, 0);
}
