//! No NSS: a static glibc program that asks getaddrinfo or getpwnam loads the libnss modules of whatever libc the image
//! has into itself. strace shows that proem opens neither nsswitch.conf nor any shared library, on a machine whose
//! nsswitch.conf lists foreign modules, and in a root of another libc.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::{Path, PathBuf};
use support::images::which;
use support::proem::{BINARY, Builder, Output, Proem, SOON};
use support::{folder, procs, read, text, write};

const FOREIGN: &str = "passwd: foreign systemd files\ngroup: foreign systemd files\nhosts: foreign mymachines resolve dns files\n\
                       initgroups: foreign systemd\n";

/// A command under strace where /etc/nsswitch.conf lists foreign modules (in a mount namespace of its own).
struct Traced {
    process: Proem,
    log: PathBuf,
    program: String,
}

impl Traced {
    /// Starts it; `program` is the one that is looked at, once it has been executed.
    fn start(dir: &Path, program: &str, command: &[&str], env: &[(&str, String)]) -> Traced {
        let (nsswitch, log) = (write(dir, "nsswitch.conf", FOREIGN), dir.join("strace.log"));
        let script = "mount --bind \"$1\" /etc/nsswitch.conf && shift && exec \"$@\"";
        let mut builder = Builder::new("unshare")
            .args(["--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", text(&nsswitch)])
            .args(["strace", "-f", "-qq", "-s", "256", "-e", "trace=open,openat,openat2,execve", "-o", text(&log)])
            .args(command.iter().copied())
            .dir(dir);
        for (name, value) in env {
            builder = builder.env(name, value);
        }
        Traced { process: builder.start(), log, program: program.to_owned() }
    }

    /// Its end, and everything that the program opened.
    fn ended(mut self) -> (Output, Vec<String>) {
        let output = self.process.ended(SOON);
        let log = read(&self.log);
        // What comes before belongs to chroot(1).
        let executed = format!("execve(\"{}\"", self.program);
        assert!(log.contains(&executed), "{executed} is not in the trace:\n{}\n{log}", output.stderr);
        let lines = log.lines().skip_while(|line| !line.contains(&executed));
        (output, lines.filter(|line| line.contains("open")).map(str::to_owned).collect())
    }
}

fn traced(dir: &Path, program: &str, command: &[&str], env: &[(&str, String)]) -> (Output, Vec<String>) {
    Traced::start(dir, program, command, env).ended()
}

fn nothing_foreign(opened: &[String]) {
    let foreign: Vec<&String> = opened
        .iter()
        .filter(|line| line.contains("nsswitch") || line.contains("libnss") || line.contains(".so"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

/// The trace would show it: a dynamic program opens its libraries.
#[test]
fn the_trace_sees_what_it_looks_for() {
    let dir = folder();
    let (output, opened) = traced(dir.path(), "/usr/bin/id", &["/usr/bin/id", "nobody"], &[]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(opened.iter().any(|line| line.contains("nsswitch.conf")), "{opened:#?}");
    assert!(opened.iter().any(|line| line.contains(".so")), "{opened:#?}");
}

/// A configuration that needs every kind of name: a host, a user with supplementary groups, an owner.
fn configuration(dir: &Path, target: &str) -> String {
    let source = if cfg!(feature = "consul") { "consul:config/app" } else { "file:app.toml" };
    write(dir, "app.toml", "x = \"value\"\n");
    write(dir, "t.tera", "{{ app.x }}");
    let config = format!(
        "[source]\napp = \"{source}\"\n[template.t]\nfrom = \"t.tera\"\nto = \"{target}\"\nowner = \"nobody\"\nreload = \"none\"\n\
         [process.main]\nuser = \"nobody\"\n"
    );
    text(&write(dir, "proem.toml", &config)).to_owned()
}

/// Where the value comes from, and the variable that says so; without Consul it is a file. Consul's host is a name, so that it must be looked up.
#[cfg(feature = "consul")]
fn store() -> (support::server::Consul, [(&'static str, String); 1]) {
    let consul = support::server::Consul::start();
    consul.api.put("config/app/x", "value");
    let address = consul.api.url().replace("127.0.0.1", "localhost");
    (consul, [("CONSUL_HTTP_ADDR", address)])
}

#[cfg(not(feature = "consul"))]
fn store() -> ((), [(&'static str, String); 0]) {
    ((), [])
}

#[test]
fn run_exec_and_watch_open_no_library_on_a_foreign_machine() {
    let (dir, (_store, env)) = (folder(), store());
    let config = configuration(dir.path(), "t");
    std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
    // A static program, so that the trace shows proem's own doing.
    let busybox = which("busybox");
    for how in ["run", "exec"] {
        let command = [BINARY, how, "-c", &config, "--", &busybox, "cat", "t"];
        let (output, opened) = traced(dir.path(), BINARY, &command, &env);
        assert_eq!((output.code, output.stdout.as_str()), (0, "value"), "{how}\n{}", output.stderr);
        nothing_foreign(&opened);
        std::fs::remove_file(dir.path().join("t")).unwrap();
    }
    let watch = Traced::start(dir.path(), BINARY, &[BINARY, "render", "--watch", "-c", &config], &env);
    watch.process.file(&dir.path().join("t"), "value");
    let tracee = procs::children(watch.process.pid()).into_iter().find(|child| child.name == "proem").unwrap();
    procs::kill(tracee.pid, libc::SIGTERM);
    nothing_foreign(&watch.ended().1);
}

#[test]
fn in_a_root_of_another_libc_nothing_of_it_is_loaded() {
    let (root, dir, (_store, env)) = (folder(), folder(), store());
    // musl's names, and modules that would end any glibc program that loads them.
    for name in
        ["lib/ld-musl-x86_64.so.1", "lib/libnss_foreign.so.2", "lib/libnss_systemd.so.2", "usr/lib/libnss_files.so.2"]
    {
        write(root.path(), name, "not a library\n");
    }
    write(root.path(), "etc/nsswitch.conf", FOREIGN);
    write(root.path(), "etc/hosts", "127.0.0.1 localhost\n");
    write(root.path(), "etc/passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n");
    write(root.path(), "etc/group", "root:x:0:\nextra:x:77:nobody\nnobody:x:65534:\n");
    std::fs::create_dir_all(root.path().join("bin")).unwrap();
    std::fs::create_dir_all(root.path().join("out")).unwrap();
    std::fs::copy(BINARY, root.path().join("proem")).unwrap();
    std::fs::copy(which("busybox"), root.path().join("bin/busybox")).unwrap();
    configuration(root.path(), "/out/t");
    let chroot = which("chroot");
    for how in ["run", "exec"] {
        let command = [
            &chroot,
            text(root.path()),
            "/proem",
            how,
            "-c",
            "/proem.toml",
            "--",
            "/bin/busybox",
            "sh",
            "-c",
            "busybox cat /out/t; echo; busybox id -G",
        ];
        let (output, opened) = traced(dir.path(), "/proem", &command, &env);
        assert_eq!((output.code, output.stdout.as_str()), (0, "value\n65534 77\n"), "{how}\n{}", output.stderr);
        nothing_foreign(&opened);
    }
}
